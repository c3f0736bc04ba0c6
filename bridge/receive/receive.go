// Package receive is account mode: it logs in as a user, follows the
// conversations of that account by asking the server, and hands what is said
// there to the same intake as the webhook does. No port, no tunnel and no
// administrator are needed.
//
// At rest one short request is under way at a time: which conversations changed
// since the last answer. A conversation in which somebody speaks is followed by
// a long poll, which the server answers as soon as there is something to say,
// until it has been quiet for some minutes.
package receive

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"perch/bridge"
)

// Server is Nextcloud Talk as the account sees it. An error of CodeUnauthorized
// means that the account is logged out, of CodeThrottled that the server wants
// to be left alone, and of CodeNotFound that the account is not in a
// conversation (any more).
type Server interface {
	// User returns who the account is.
	User(ctx context.Context) (bridge.Actor, error)
	// Conversations returns those of the account, or those that changed since.
	Conversations(ctx context.Context, since int64) (bridge.Conversations, error)
	// Poll returns what was written after a message, and waits for it.
	Poll(ctx context.Context, room bridge.Room, after int64, wait time.Duration) (bridge.Chat, error)
	// Latest returns what was written last.
	Latest(ctx context.Context, room bridge.Room) (bridge.Chat, error)
	// MarkRead marks a conversation as read up to a message.
	MarkRead(ctx context.Context, room bridge.Room, upTo int64) error
}

// Places remembers how far each conversation was read, over restarts. A name
// that was never set has the empty value.
type Places interface {
	Get(ctx context.Context, name string) (string, error)
	Set(ctx context.Context, name, value string) error
}

// Options say what a Follower works with. All are needed.
type Options struct {
	Server Server
	Intake bridge.Intake
	Places Places
	// Own reports whether a message of the account was posted by us, and not by
	// the person whose account it is.
	Own func(ctx context.Context, m bridge.Message) (bool, error)
	// Allowed reports whether somebody is answered in a conversation. Only
	// invitations of such a person are accepted.
	Allowed  func(room string, who bridge.Actor) bool
	CatchUp  time.Duration // what is older when it is found is not answered
	MarkRead bool          // what was handed in is marked as read
	Sink     bridge.EventSink
}

// The schedule. What it costs and gives is measured by BenchmarkFollower.
const (
	restEvery = 1500 * time.Millisecond // the list, when nothing happens
	newsEvery = 250 * time.Millisecond  // the list, after something happened; it doubles up to restEvery
	busyEvery = 400 * time.Millisecond  // the list, while more conversations are active than are polled
	fullEvery = 10 * time.Minute        // the whole list, which shows what the account is no longer in

	activeFor   = 3 * time.Minute  // how long a conversation is polled after the last message
	pollsAtOnce = 3                // a poll keeps a worker of the server busy, and small servers have five
	longestPoll = 30 * time.Second // Talk's own limit
	soonestEnd  = 5 * time.Second  // a poll that broke off later was ended by a proxy

	retryFirst    = 2 * time.Second // after a failure; it doubles up to retryMost
	retryMost     = time.Minute
	throttleFirst = time.Minute // after a 429 that does not say how long
	roomRetryMost = time.Hour   // of a conversation that cannot be read

	overlap   = 2  // seconds: a message can show up later than it was written
	pagesMost = 50 // of a conversation that was not looked at for long
)

// Names in Places that are no conversation: those have no space.
const begun = "since when"

// Follower hands in what is said in the conversations of an account.
type Follower struct {
	Options

	made    time.Time
	user    bridge.Actor
	started time.Time // what is older was never to be answered
	since   int64     // of the next list
	full    time.Time // when the whole list was asked for last
	pace    time.Duration

	wake    chan struct{}
	trouble chan error // of a poll
	polling sync.WaitGroup

	mu       sync.Mutex
	rooms    map[string]*room
	ahead    time.Duration // the server's clock of ours
	longest  time.Duration // of a poll
	requests []time.Time   // of the last minute
	state    State
	lost     bool            // the server cannot be reached, and that was said
	polls    context.Context // of all polls; nil: none was started since stop
	stop     context.CancelFunc
}

// room is a conversation that is followed. Who polls it owns place.
type room struct {
	bridge.Conversation

	place    int64 // id of the last message that was handed in
	known    bool  // place is set
	ignored  bridge.Actor
	pending  bool // there is something after place
	polled   bool
	news     time.Time // when somebody said something last
	failures int       // to read it
	retry    time.Time
	broke    int // polls
	noPoll   time.Time
}

// New returns a Follower. It asks nothing yet.
func New(o Options) *Follower {
	return &Follower{
		Options: o,
		made:    time.Now(),
		wake:    make(chan struct{}, 1),
		trouble: make(chan error, 1),
		rooms:   map[string]*room{},
		longest: longestPoll,
		pace:    newsEvery,
	}
}

// State is how a Follower is doing.
type State struct {
	User     bridge.Actor  // whose account it is; empty: not known yet
	Rooms    int           // conversations of the account
	Polled   int           // those of them with a long poll under way
	Ignored  int           // those that nobody invited the account to who may
	News     time.Time     // when somebody said something last; zero: not since the start
	Asked    time.Time     // when the list was answered last; zero: never
	Every    time.Duration // how often the list is asked for now
	Took     time.Duration // the last answer
	Requests int           // of the last minute
	Err      error         // why it does not work now
}

// State returns how f is doing.
func (f *Follower) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.User, s.Requests = f.user, f.asked(time.Now())
	for _, r := range f.rooms {
		s.Rooms++
		if r.polled {
			s.Polled++
		}
		if r.ignored.ID != "" {
			s.Ignored++
		}
	}
	return s
}

// Wake makes f ask at once, as the machine woke or has another network. What was
// under way is given up.
func (f *Follower) Wake() {
	f.stopPolls()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run follows the account until ctx is done, and returns when nothing is under
// way any more. It returns an error of CodeUnauthorized at once when the server
// refuses the account: the same token is never shown again.
func (f *Follower) Run(ctx context.Context) error {
	defer f.polling.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := 0
	var err error
	for {
		if err == nil {
			err = f.look(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait, held := f.pause(), false
		switch bridge.CodeOf(err) {
		case "":
			failures = 0
			f.found()
		case bridge.CodeUnauthorized:
			f.loggedOut(err)
			return err
		case bridge.CodeThrottled:
			f.stopPolls()
			fallthrough
		default:
			wait, held = retryAfter(err, failures)
			failures++
			f.failed(err)
		}
		f.mu.Lock()
		f.state.Err, f.state.Every = err, wait
		f.mu.Unlock()
		if err = f.sleep(ctx, wait, held); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// sleep waits; less if f is woken, unless the server said how long. Its error is
// the trouble that a poll has meanwhile.
func (f *Follower) sleep(ctx context.Context, wait time.Duration, held bool) error {
	if held {
		pause(ctx, wait)
		select {
		case <-f.trouble: //nolint:errcheck // the same that was waited for
		default:
		}
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-f.trouble:
		return err
	case <-f.wake:
	case <-timer.C:
	}
	return nil
}

// retryAfter returns how long to wait after an error, and whether the server
// said so.
func retryAfter(err error, failures int) (wait time.Duration, held bool) {
	first := retryFirst
	if bridge.CodeOf(err) == bridge.CodeThrottled {
		first, held = throttleFirst, true
	}
	wait = min(first<<min(failures, 16), max(first, retryMost))
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // jitter
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter, true
	}
	return wait, held
}

// pause returns how long to wait with the next list. A slow server is asked less
// often: at most a quarter of the time.
func (f *Follower) pause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	every, now := f.pace, time.Now()
	for _, r := range f.rooms {
		if !r.polled && now.Sub(r.news) < activeFor {
			every = min(every, busyEvery)
		}
	}
	f.pace = min(2*f.pace, restEvery)
	return rest(every, f.state.Took)
}

// rest returns how long to wait after a list that took so long.
func rest(every, took time.Duration) time.Duration { return max(every-took, min(3*took, retryMost)) }

// Delay returns after how long at most a message is seen at rest, by a server
// whose list takes so long.
func Delay(took time.Duration) time.Duration { return rest(restEvery, took) + took }

// ask counts a request.
func (f *Follower) ask() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.asked(now)
	f.requests = append(f.requests, now)
}

// asked returns how many requests there were in the last minute. It needs f.mu.
func (f *Follower) asked(now time.Time) int {
	old := 0
	for old < len(f.requests) && now.Sub(f.requests[old]) > time.Minute {
		old++
	}
	f.requests = append(f.requests[:0], f.requests[old:]...)
	return len(f.requests)
}

// failed says that the server does not answer, once.
func (f *Follower) failed(err error) {
	f.mu.Lock()
	said := f.lost
	f.lost = true
	f.mu.Unlock()
	if said {
		return
	}
	e := bridge.Event{
		Kind: bridge.EventServerLost, Stage: bridge.StageApp,
		Title: bridge.Say("The conversations of the account cannot be read now; it is tried again"),
	}.Failed(err)
	e.Level = slog.LevelWarn
	f.Sink.Publish(e)
}

// found says that the server answers again.
func (f *Follower) found() {
	f.mu.Lock()
	said := f.lost
	f.lost = false
	f.mu.Unlock()
	if said {
		f.Sink.Publish(bridge.Event{
			Kind: bridge.EventServerFound, Stage: bridge.StageApp,
			Title: bridge.Say("The conversations of the account can be read again"),
		})
	}
}

func (f *Follower) loggedOut(err error) {
	f.mu.Lock()
	f.state.Err = err
	f.mu.Unlock()
	e := bridge.Event{
		Kind: bridge.EventLoggedOut, Stage: bridge.StageApp,
		Title: bridge.Say("The server refuses the account; nothing is received until you log in again"),
	}.Failed(err)
	e.Hint = bridge.Say("Log in again: perch setup")
	f.Sink.Publish(e)
}
