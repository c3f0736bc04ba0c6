package receive_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/practice"
	"perch/bridge/receive"
	"perch/bridge/talk"
)

// world is a practice server with an account that is followed. What a journal
// keeps is kept here over restarts of the follower.
type world struct {
	*practice.Server

	t     *testing.T
	token string
	mark  bool         // what is received is marked as read
	now   atomic.Int64 // how far the server's clock is ahead

	mu       sync.Mutex
	places   map[string]string
	got      []bridge.Message
	known    map[bridge.Key]bool
	refs     map[string]bool // of what we posted
	allowed  map[string]bool
	events   []bridge.Event
	failNext error // of the intake
	changed  chan struct{}
}

func newWorld(t *testing.T, o practice.Options) *world {
	t.Helper()
	w := &world{
		t: t, places: map[string]string{}, known: map[bridge.Key]bool{}, refs: map[string]bool{},
		allowed: map[string]bool{"alice": true, "bob": true}, changed: make(chan struct{}),
	}
	o.Now = func() time.Time { return time.Now().Add(time.Duration(w.now.Load())) }
	s, err := practice.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w.Server, w.token = s, s.AppToken("owl")
	return w
}

func (w *world) update(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
	close(w.changed)
	w.changed = make(chan struct{})
}

// wait waits until fn, which has w to itself, returns true.
func (w *world) wait(what string, fn func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		ok, changed := fn(), w.changed
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			w.t.Fatalf("never happened: %s; got %v", what, w.texts())
		}
	}
}

func (w *world) Accept(_ context.Context, m bridge.Message) (err error) {
	w.update(func() {
		if err = w.failNext; err != nil {
			w.failNext = nil
			return
		}
		if m.Kind == bridge.KindChat && !w.known[m.Key] {
			w.known[m.Key] = true
			w.got = append(w.got, m)
		}
	})
	return err
}

func (w *world) Get(_ context.Context, name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.places[name], nil
}

func (w *world) Set(_ context.Context, name, value string) error {
	w.update(func() { w.places[name] = value })
	return nil
}

func (w *world) Publish(e bridge.Event) { w.update(func() { w.events = append(w.events, e) }) }

func (w *world) texts() (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.got {
		texts = append(texts, m.Text)
	}
	return texts
}

// heard waits until what was handed in is exactly this, in this order.
func (w *world) heard(want ...string) {
	w.t.Helper()
	w.wait(strings.Join(want, " | "), func() bool {
		var texts []string
		for _, m := range w.got {
			texts = append(texts, m.Text)
		}
		return slices.Equal(texts, want)
	})
}

func (w *world) told(kind bridge.EventKind) {
	w.t.Helper()
	w.wait("the event "+string(kind), func() bool {
		return slices.ContainsFunc(w.events, func(e bridge.Event) bool { return e.Kind == kind })
	})
}

// follow starts a follower; stop ends it and returns what it said.
func (w *world) follow() (f *receive.Follower, stop func() error) {
	w.t.Helper()
	client, err := talk.NewClient(talk.Options{BaseURL: w.URL(), AppToken: bridge.NewSecret(w.token)})
	if err != nil {
		w.t.Fatal(err)
	}
	f = receive.New(receive.Options{
		Server: client, Intake: w, Places: w, Sink: w, CatchUp: time.Hour, MarkRead: w.mark,
		Own: func(_ context.Context, m bridge.Message) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.refs[m.Ref], nil
		},
		Allowed: func(_ string, a bridge.Actor) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return a.Type == bridge.ActorUser && w.allowed[a.ID]
		},
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		defer client.Close()
		return <-done
	})
	w.t.Cleanup(func() { _ = stop() })
	return f, stop
}

// begun waits until the account is followed: what is said from now on counts.
func (w *world) begun() {
	w.t.Helper()
	w.wait("the first list", func() bool { return w.places["since when"] != "" })
}

func (w *world) say(room, who, text string) int {
	w.t.Helper()
	return w.draft(room, who, practice.Draft{Text: text})
}

func (w *world) draft(room, who string, d practice.Draft) int {
	w.t.Helper()
	r, err := w.PostDraft(w.t.Context(), room, who, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

// asked counts the requests so far whose path ends so.
func (w *world) asked(suffix string) (n int) {
	for _, r := range w.Requests() {
		if strings.HasSuffix(r.Path, suffix) {
			n++
		}
	}
	return n
}

// polled waits until the server holds as many long polls.
func (w *world) polled(n int) {
	w.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		changed := w.Changed()
		if w.Polls() == n {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			w.t.Fatalf("%d polls wait, not %d", w.Polls(), n)
		}
	}
}

func TestFollow(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "bob", "owl")
	w.say(group, "alice", "@owl from before")
	w.now.Add(int64(10 * time.Second))
	w.follow()
	w.begun()
	first := w.say(group, "alice", "nobody is meant")
	w.heard("nobody is meant")
	own := w.draft(group, "owl", practice.Draft{Text: "I am here", ReplyTo: first, ReferenceID: "ours"})
	w.update(func() { w.refs["ours"] = true })
	w.draft(group, "alice", practice.Draft{Text: "thank you", ReplyTo: own})
	w.heard("nobody is meant", "thank you")
	w.say(group, "bob", "@owl and @alice")
	w.say(group, "bob", "@all of you")
	pair := w.AddOneToOne("alice", "owl")
	w.say(pair, "alice", "just us")
	w.wait("five messages", func() bool { return len(w.got) == 5 })
	w.mu.Lock()
	defer w.mu.Unlock()
	addressed := map[string]bool{}
	for _, m := range w.got {
		addressed[m.Text] = m.Addressed == "owl"
		if m.Key.Server != w.URL() || m.Key.Room != m.Room.Token || m.SentAt.IsZero() {
			t.Errorf("%+v", m)
		}
	}
	for text, want := range map[string]bool{"nobody is meant": false, "thank you": true, "@owl and @alice": true, "@Kitchen of you": false, "@all of you": false, "just us": true} {
		if got, ok := addressed[text]; ok && got != want {
			t.Errorf("%q is addressed: %t", text, got)
		}
	}
	for _, m := range w.got {
		if m.Room.Token == pair && m.Room.Name != "alice" {
			t.Errorf("the conversation with alice is called %q", m.Room.Name)
		}
	}
}

// The person whose account it is may speak to the bot, too.
func TestThePersonOfTheAccount(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	w.follow()
	w.begun()
	w.say(group, "owl", "I may not ask")
	w.say(group, "alice", "one")
	w.heard("one")
	w.update(func() { w.allowed["owl"], w.refs["r"] = true, true })
	w.draft(group, "owl", practice.Draft{Text: "the bot speaks", ReferenceID: "r"})
	w.say(group, "owl", "I ask")
	w.heard("one", "I ask")
}

func TestNothingIsLostOrToldTwice(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	other := w.AddRoom("Cellar", "alice", "owl")
	_, stop := w.follow()
	w.begun()
	w.say(group, "alice", "1")
	w.heard("1")
	w.update(func() { w.failNext = errors.New("the disk is full") })
	w.say(group, "alice", "2") // the process ends before it is durable
	w.wait("the intake to fail", func() bool { return w.failNext == nil })
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	want := []string{"1", "2"}
	for i := 3; i < 260; i++ { // more than two pages
		want = append(want, strconv.Itoa(i))
		w.say(group, "alice", strconv.Itoa(i))
	}
	_, stop = w.follow()
	w.heard(want...)
	_ = stop()
	w.mu.Lock()
	kept := w.places[group]
	w.places[group] = "0" // the place was not written down
	w.mu.Unlock()
	w.say(other, "alice", "done")
	w.follow()
	w.heard(append(want, "done")...)
	w.wait("the place", func() bool { return w.places[group] == kept })
}

func TestTooOld(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	_, stop := w.follow()
	w.begun()
	_ = stop()
	w.say(group, "alice", "@owl yesterday")
	w.now.Add(int64(24 * time.Hour)) // the server's clock decides, not ours
	w.say(group, "alice", "@owl now")
	w.follow()
	w.heard("@owl now")
	w.told(bridge.EventTooOld)
}

func TestInvitations(t *testing.T) {
	w := newWorld(t, practice.Options{})
	w.AddUser("owl", "Owl")
	w.follow()
	w.begun()
	bad := w.AddRoom("Spam", "mallory", "alice")
	good := w.AddRoom("Kitchen", "bob", "alice")
	w.say(good, "alice", "@owl you are not here yet")
	for room, who := range map[string]string{bad: "mallory", good: "bob"} {
		if _, err := w.AddParticipant(t.Context(), room, who, "owl"); err != nil {
			t.Fatal(err)
		}
	}
	w.say(bad, "alice", "@owl from the wrong place")
	w.say(good, "alice", "@owl welcome")
	w.heard("@Owl welcome")
	w.wait("the place in the room that is ignored", func() bool { return strings.HasSuffix(w.places[bad], " users/mallory") })
	w.told(bridge.EventInvited)
	w.update(func() { w.allowed["mallory"] = true })
	w.say(bad, "mallory", "@owl now I may")
	w.heard("@Owl welcome", "@Owl from the wrong place", "@Owl now I may")
}

func TestRemoved(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	other := w.AddRoom("Cellar", "alice", "owl")
	f, _ := w.follow()
	w.begun()
	w.say(group, "alice", "1")
	w.heard("1")
	w.polled(1)
	if _, err := w.RemoveParticipant(t.Context(), group, "alice", "owl"); err != nil {
		t.Fatal(err)
	}
	w.wait("the place to be forgotten", func() bool { return w.places[group] == "" })
	w.say(other, "alice", "2")
	w.heard("1", "2")
	if err := f.State().Err; err != nil {
		t.Error(err)
	}
}

// At rest only the list is asked for, and in what happens only the conversation
// in which it does.
func TestRequestsOfAHundredRooms(t *testing.T) {
	w := newWorld(t, practice.Options{})
	var rooms []string
	for i := range 100 {
		rooms = append(rooms, w.AddRoom("Room "+strconv.Itoa(i), "alice", "owl"))
	}
	f, _ := w.follow()
	w.begun()
	if _, err := w.WaitRequest(t.Context(), 4, func(r practice.Request) bool { return strings.HasSuffix(r.Path, "/room") }); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Requests() {
		if !strings.HasSuffix(r.Path, "/room") && !strings.HasSuffix(r.Path, "/user") {
			t.Errorf("at rest %s was asked for", r.Path)
		}
	}
	if n := w.asked("/user"); n != 1 {
		t.Errorf("the user was asked for %d times", n)
	}
	w.say(rooms[42], "alice", "hello")
	w.heard("hello")
	w.polled(1)
	w.say(rooms[42], "alice", "again")
	w.heard("hello", "again")
	w.polled(1)
	chats := 0
	for _, r := range w.Requests() {
		if strings.Contains(r.Path, "/chat/") {
			chats++
			if !strings.HasSuffix(r.Path, rooms[42]) {
				t.Errorf("%s was asked for", r.Path)
			}
		}
	}
	if chats > 2 { // what was new, and the poll that is answered; the next is not yet
		t.Errorf("%d requests for two messages", chats)
	}
	for i := range 5 { // more than can be polled
		w.say(rooms[i], "alice", "m"+strconv.Itoa(i))
	}
	w.wait("seven messages", func() bool { return len(w.got) == 7 })
	w.polled(3)
	if s := f.State(); s.Rooms != 100 || s.Polled != 3 || s.User.ID != "owl" || s.Requests == 0 || s.News.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestPollsThatAProxyEnds(t *testing.T) {
	w := newWorld(t, practice.Options{ProxyTimeout: 20 * time.Millisecond})
	group := w.AddRoom("Kitchen", "alice", "owl")
	w.follow()
	w.begun()
	var want []string
	for i := range 4 {
		want = append(want, strconv.Itoa(i))
		w.say(group, "alice", strconv.Itoa(i))
		w.heard(want...)
	}
}

func TestThrottled(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	f, _ := w.follow()
	w.begun()
	w.SetFaults(practice.Fault{Kind: practice.FaultThrottle, Times: 1, RetryAfter: 2 * time.Second})
	w.say(group, "alice", "1")
	w.told(bridge.EventServerLost)
	f.Wake() // which must not shorten it
	w.heard("1")
	w.told(bridge.EventServerFound)
	all := w.Requests()
	i := slices.IndexFunc(all, func(r practice.Request) bool { return r.Status == 429 })
	if i < 0 || len(all) == i+1 || all[i+1].Time.Sub(all[i].Time) < 2*time.Second {
		t.Errorf("it was asked again too soon: %+v", all[max(i, 0):])
	}
}

func TestDownAndInMaintenance(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	f, _ := w.follow()
	w.begun()
	for i, kind := range []practice.FaultKind{practice.FaultMaintenance, practice.FaultProxyPage, practice.FaultDropBefore} {
		w.update(func() { w.events = nil })
		w.SetFaults(practice.Fault{Kind: kind})
		w.say(group, "alice", strconv.Itoa(i))
		w.told(bridge.EventServerLost)
		w.SetFaults()
		f.Wake()
		w.told(bridge.EventServerFound)
		w.heard([]string{"0", "1", "2"}[:i+1]...)
		w.mu.Lock()
		lost := 0
		for _, e := range w.events {
			if e.Kind == bridge.EventServerLost {
				lost++
			}
		}
		w.mu.Unlock()
		if lost != 1 {
			t.Errorf("%s: said %d times that the server is lost", kind, lost)
		}
	}
}

// A token that is refused is never shown again.
func TestRevoked(t *testing.T) {
	for name, active := range map[string]bool{"at rest": false, "while polling": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, practice.Options{})
			group := w.AddRoom("Kitchen", "alice", "owl")
			f, stop := w.follow()
			w.begun()
			if active {
				w.say(group, "alice", "1")
				w.heard("1")
				w.polled(1)
			}
			w.RevokeAppToken(w.token)
			w.told(bridge.EventLoggedOut)
			if err := stop(); bridge.CodeOf(err) != bridge.CodeUnauthorized || f.State().Err == nil {
				t.Errorf("%v, and the state says %v", err, f.State().Err)
			}
			refused := 0
			for _, r := range w.Requests() {
				if r.Status == 401 {
					refused++
				}
			}
			if refused != 1 {
				t.Errorf("the server refused %d times", refused)
			}
		})
	}
}

func TestWake(t *testing.T) {
	w := newWorld(t, practice.Options{})
	group := w.AddRoom("Kitchen", "alice", "owl")
	f, _ := w.follow()
	w.begun()
	w.say(group, "alice", "1")
	w.heard("1")
	w.polled(1)
	f.Wake()
	w.polled(0)
	w.say(group, "alice", "2")
	w.heard("1", "2")
	w.polled(1)
}

// Nobody sees that something was read, unless that is wanted.
func TestReadMarkers(t *testing.T) {
	for _, mark := range []bool{false, true} {
		w := newWorld(t, practice.Options{})
		w.mark = mark
		group := w.AddRoom("Kitchen", "alice", "owl")
		before := w.LastRead(group, "owl")
		_, stop := w.follow()
		w.begun()
		id := w.say(group, "alice", "1")
		w.heard("1")
		w.polled(1) // what was read is done with
		_ = stop()
		want := before
		if mark {
			want = id
		}
		if got := w.LastRead(group, "owl"); got != want {
			t.Errorf("with mark_read = %t it is read up to %d, not %d", mark, got, want)
		}
	}
}
