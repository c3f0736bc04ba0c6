package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"perch/bridge"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
	"perch/bridge/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a journal with what works on it, and the events of all.
type fixture struct {
	*journal.Journal
	bus    *eventlog.Bus
	events *eventlog.Subscription
	left   []bridge.Event // came, and were not asked for yet
	next   int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{bus: &eventlog.Bus{}}
	f.events = f.bus.Subscribe(1000)
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"), journal.Options{Sink: f.bus})
	if err != nil {
		t.Fatal(err)
	}
	f.Journal = j
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// message returns a new message of alice.
func (f *fixture) message(room, text string) bridge.Message {
	f.next++
	id := strconv.Itoa(f.next)
	return bridge.Message{
		Key:    bridge.Key{Server: "https://cloud.example.com", Room: room, ID: id},
		Kind:   bridge.KindChat,
		Room:   bridge.Room{Token: room, Name: "the " + room},
		Author: bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: "Alice"},
		Text:   text, Nonce: "nonce " + id, ReceivedAt: time.Now(),
	}
}

func (f *fixture) put(t *testing.T, room, text string) {
	t.Helper()
	if novelty, err := f.Put(t.Context(), f.message(room, text), bridge.MessageWaiting, nil); err != nil || novelty != bridge.Fresh {
		t.Fatalf("Put: %v %v", novelty, err)
	}
}

func (f *fixture) enqueue(t *testing.T, rooms ...string) []int64 {
	t.Helper()
	var replies []bridge.Reply
	for i, room := range rooms {
		replies = append(replies, bridge.Reply{Ref: pipeline.NewRef(), Room: bridge.Room{Token: room}, Text: fmt.Sprintf("%s-%d", room, i)})
	}
	ids, err := f.Enqueue(t.Context(), replies)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// await returns the first event that is wanted.
func (f *fixture) await(t *testing.T, wanted func(bridge.Event) bool) bridge.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	var seen []string
	for {
		for len(f.left) > 0 {
			e := f.left[0]
			f.left = f.left[1:]
			if wanted(e) {
				return e
			}
			seen = append(seen, fmt.Sprint(e.Level, " ", e.Title, " ", e.Cause))
		}
		var err error
		if f.left, _, err = f.events.Next(ctx); err != nil {
			t.Fatalf("the event did not come; there were:\n%s", strings.Join(seen, "\n"))
		}
	}
}

func titled(part string) func(bridge.Event) bool {
	return func(e bridge.Event) bool { return strings.Contains(e.Title.String(), part) }
}

// running runs something until the test ends or stop is called.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func (f *fixture) worker(h bridge.HandlerFunc) *pipeline.Worker {
	return &pipeline.Worker{
		Inbox: f.Journal,
		Bots:  bot{h},
		Rooms: 3,
		Sink:  f.bus,
	}
}

// bot is a handler whose replies are cut at every |.
type bot struct{ bridge.HandlerFunc }

func (b bot) Bot() pipeline.Bot { return b }

func (bot) Split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '|' })
}

func TestAllowList(t *testing.T) {
	user := func(id string) bridge.Actor { return bridge.Actor{Type: bridge.ActorUser, ID: id} }
	guest := bridge.Actor{Type: bridge.ActorGuest, ID: "3fb1"}
	bot := bridge.Actor{Type: bridge.ActorBot, ID: "bot-1"}
	tests := []struct {
		name string
		list pipeline.AllowList
		who  bridge.Actor
		want bool
	}{
		{"nobody", nil, user("alice"), false},
		{"by id", pipeline.AllowList{"admin", "alice"}, user("alice"), true},
		{"by type and id", pipeline.AllowList{"users/alice"}, user("alice"), true},
		{"another", pipeline.AllowList{"alice"}, user("alicea"), false},
		{"in other letters", pipeline.AllowList{"alice"}, user("Alice"), false},
		{"everybody", pipeline.AllowList{"*"}, user("alice"), true},
		{"everybody, a guest", pipeline.AllowList{"*"}, guest, true},
		{"everybody, a bot", pipeline.AllowList{"*"}, bot, false},
		{"a bot by name", pipeline.AllowList{"bots/bot-1"}, bot, false},
		{"a guest by id", pipeline.AllowList{"guests/3fb1"}, guest, true},
		{"a guest by a user's id", pipeline.AllowList{"3fb1"}, guest, false},
		{"a user by a guest's id", pipeline.AllowList{"guests/alice"}, user("alice"), false},
		{"no id", pipeline.AllowList{"*"}, user(""), false},
		{"part of a pattern", pipeline.AllowList{"al*"}, user("alice"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.list.Allows(tt.who); got != tt.want {
				t.Errorf("%v allows %v: %v, want %v", tt.list, tt.who.Ref(), got, tt.want)
			}
		})
	}
}

func (f *fixture) intake() *pipeline.Intake {
	return &pipeline.Intake{Journal: f.Journal, Sink: f.bus}
}

// policy answers alice where she begins with "!"; so many messages can wait.
type policy struct{ most int }

func (policy) Access(room string) pipeline.Access {
	return pipeline.Access{Enabled: room != "off", Allowed: pipeline.AllowList{"alice"}, Own: room == "own"}
}

func (policy) Own(m bridge.Message) bool { return m.Text == "!ours" }

func (p policy) Route(m bridge.Message) (int, bool) { return p.most, strings.HasPrefix(m.Text, "!") }

func TestIntake(t *testing.T) {
	tests := []struct {
		name             string
		change           func(m *bridge.Message)
		received, queued int
		state            bridge.MessageState // empty: it is not stored
		level            slog.Level
		hint             string
	}{
		{"a message", func(*bridge.Message) {}, 1, 1, bridge.MessageWaiting, slog.LevelInfo, ""},
		{"that is for nobody", func(m *bridge.Message) { m.Text = "hi" }, 1, 0, bridge.MessageNotForBot, slog.LevelInfo, ""},
		{"of a stranger", func(m *bridge.Message) { m.Author.ID = `o"neil` }, 0, 0, bridge.MessageNotAllowed, slog.LevelWarn, `config.toml: allowed_users = ["alice", "o\"neil"]`},
		{"of a guest", func(m *bridge.Message) { m.Author.Type = bridge.ActorGuest }, 0, 0, bridge.MessageNotAllowed, slog.LevelWarn, `allowed_users = ["alice", "guests/alice"]`},
		{"of a stranger to this room", func(m *bridge.Message) { m.Author.ID, m.Room.Token = "bob", "own" }, 0, 0, bridge.MessageNotAllowed, slog.LevelWarn, `under [rooms.own]: allowed_users = ["alice", "bob"]`},
		{"where nobody is answered", func(m *bridge.Message) { m.Room.Token = "off" }, 0, 0, bridge.MessageRoomOff, slog.LevelDebug, ""},
		{"of a bot", func(m *bridge.Message) { m.Author.Type = bridge.ActorBot }, 1, 0, bridge.MessageNotForBot, slog.LevelInfo, ""},
		{"of the system", func(m *bridge.Message) { m.Kind = bridge.KindSystem }, 0, 0, "", slog.LevelInfo, ""},
		{"of the system, about a bot", func(m *bridge.Message) { m.Kind, m.Author.Type = bridge.KindSystem, bridge.ActorBot }, 0, 0, "", slog.LevelDebug, ""},
		{"a reaction", func(m *bridge.Message) { m.Kind = bridge.KindReaction }, 0, 0, "", slog.LevelDebug, ""},
		{"a reaction removed", func(m *bridge.Message) { m.Kind = bridge.KindReactionRemoved }, 0, 0, "", slog.LevelDebug, ""},
		{"the bot joined", func(m *bridge.Message) { m.Kind = bridge.KindJoined }, 0, 0, "", slog.LevelInfo, ""},
		{"the bot left", func(m *bridge.Message) { m.Kind = bridge.KindLeft }, 0, 0, "", slog.LevelInfo, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			m := f.message("room", "!hi")
			tt.change(&m)
			if _, _, err := f.intake().Accept(t.Context(), policy{10}, m); err != nil {
				t.Fatal(err)
			}
			traffic, err := f.Traffic(t.Context(), time.Time{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if queued, _ := f.Backlog(); traffic.Received != tt.received || queued != tt.queued {
				t.Errorf("%d messages are stored and %d queued", traffic.Received, queued)
			}
			if records, err := f.Messages(t.Context(), journal.Filter{}); err != nil || tt.state != "" != (len(records) == 1) || tt.state != "" && records[0].State != tt.state {
				t.Errorf("the journal has %+v %v, want the state %q", records, err, tt.state)
			}
			e := f.await(t, func(bridge.Event) bool { return true })
			if e.Level != tt.level || !strings.Contains(e.Hint.String(), tt.hint) || e.Title.IsZero() {
				t.Errorf("event: %v %q, hint %q", e.Level, e.Title, e.Hint)
			}
		})
	}
}

// What was shared as another than the bot is neither answered nor told of.
func TestIntakeKnowsWhatWasShared(t *testing.T) {
	f := newFixture(t)
	state, novelty, err := f.intake().Accept(t.Context(), policy{10}, f.message("room", "!ours"))
	if queued, _ := f.Backlog(); err != nil || state != bridge.MessageOwn || novelty != bridge.Fresh || queued != 0 {
		t.Errorf("Accept: %s %v %v, %d queued", state, novelty, err, queued)
	}
}

func TestIntakeSaysWhenItCannotStore(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// The queue to the disk may take it all the same; then it is stored.
	_, _, err := f.intake().Accept(ctx, policy{10}, f.message("room", "!hi"))
	if messages, _ := f.Backlog(); (err == nil) != (messages == 1) {
		t.Errorf("Accept: %v, with %d messages stored", err, messages)
	}
}

func TestARoomThatAsksTooMuchIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		in := f.intake()
		say := func(room, text string) bridge.Message {
			t.Helper()
			m := f.message(room, text)
			if _, _, err := in.Accept(t.Context(), policy{2}, m); err != nil {
				t.Fatal(err)
			}
			return m
		}
		for range 3 { // one that is handled, and two that wait
			say("room", "!hi")
		}
		refused := say("room", "!again")
		if messages, replies := f.Backlog(); messages != 3 || replies != 1 {
			t.Fatalf("%d messages and %d replies wait, want 3 and 1", messages, replies)
		}
		item, err := f.Due(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := "I am still busy with 3 earlier messages here. Please say it again later."
		if r := item.Reply; r.Text != want || r.ReplyTo != refused.Key.ID || r.Room != refused.Room || len(r.Ref) != 64 {
			t.Errorf("reply %+v", r)
		}
		e := f.await(t, titled("was not taken: 3 earlier ones wait"))
		if e.Level != slog.LevelWarn || e.Hint.IsZero() || e.MessageID != refused.Key.ID {
			t.Errorf("event %+v", e)
		}

		say("room", "!again")
		say("room", "talk among people")
		f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventMessageNotForBot })
		say("other", "!hi")
		if messages, replies := f.Backlog(); messages != 4 || replies != 1 {
			t.Errorf("%d messages and %d replies wait; want 4, and no second answer within a minute", messages, replies)
		}
		time.Sleep(time.Minute)
		say("room", "!again")
		if _, replies := f.Backlog(); replies != 2 {
			t.Errorf("%d replies wait; want another after a minute", replies)
		}

		done, err := f.Claim(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Finish(t.Context(), done.ID, nil, nil); err != nil {
			t.Fatal(err)
		}
		say(done.Message.Room.Token, "!hi")
		if messages, replies := f.Backlog(); messages != 4 || replies != 2 {
			t.Errorf("%d messages and %d replies wait, want 4 and 2: there is a place again", messages, replies)
		}
	})
}

// full is a journal that takes no replies.
type full struct{ *journal.Journal }

func (full) Enqueue(context.Context, []bridge.Reply) ([]int64, error) {
	return nil, failure(bridge.CodeUnavailable)
}

func TestARoomThatCouldNotBeToldIsToldNext(t *testing.T) {
	f := newFixture(t)
	f.put(t, "room", "!hi")
	in := f.intake()
	in.Journal = full{f.Journal}
	if _, _, err := in.Accept(t.Context(), policy{0}, f.message("room", "!again")); err != nil {
		t.Fatal(err) // it is stored as turned away
	}
	in.Journal = f.Journal
	if _, _, err := in.Accept(t.Context(), policy{0}, f.message("room", "!again")); err != nil {
		t.Fatal(err)
	}
	if _, replies := f.Backlog(); replies != 1 {
		t.Errorf("%d replies wait", replies)
	}
}

func TestRepliesAreCompleted(t *testing.T) {
	f := newFixture(t)
	running(t, f.worker(func(context.Context, bridge.Message) ([]bridge.Reply, error) {
		return []bridge.Reply{{Text: "one|two", ReplyTo: "1"}, {Room: bridge.Room{Token: "other"}, Text: "th\x00r\x1b[1mee"}, {Reaction: "👍\x00", ReplyTo: "1"}, {Text: "\x00"}}, nil
	}).Run)
	m := f.message("room", "hi")
	m.Thread = bridge.Thread{ID: "7", Title: "Lunch"}
	if _, err := f.Put(t.Context(), m, bridge.MessageWaiting, nil); err != nil {
		t.Fatal(err)
	}
	f.await(t, titled("Handled"))
	var got []string
	refs := map[string]bool{}
	for range 4 {
		item, err := f.Due(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := item.Reply
		got = append(got, fmt.Sprintf("%s %s%s to %q in %q", r.Room.Token, r.Text, r.Reaction, r.ReplyTo, r.Thread))
		refs[r.Ref] = len(r.Ref) == 64
		if r.Answers != "1" || time.Since(r.AskedAt) > time.Minute {
			t.Errorf("%s%s answers %q of %s", r.Text, r.Reaction, r.Answers, r.AskedAt)
		}
		if err := f.Sent(t.Context(), item.ID, ""); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`room one to "1" in "7"`, `other three to "" in ""`, `room two to "" in "7"`, `room 👍 to "1" in ""`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("replies:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(refs) != 4 {
		t.Errorf("references: %v, want four different of 64 digits", refs)
	}
	if _, waiting := f.Backlog(); waiting != 0 {
		t.Errorf("%d more replies wait, want none: an empty text is no reply", waiting)
	}
}

func TestFailingHandlersDoNotStopTheOthers(t *testing.T) {
	f := newFixture(t)
	running(t, f.worker(func(_ context.Context, m bridge.Message) ([]bridge.Reply, error) {
		switch m.Text {
		case "panic":
			panic("on purpose")
		case "fail":
			return nil, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("on purpose"), Hint: bridge.Say("do this")}
		}
		return []bridge.Reply{{Text: "fine"}}, nil
	}).Run)
	for text, reason := range map[string]string{"panic": "crashed", "fail": "on purpose"} {
		f.put(t, "room", text)
		e := f.await(t, titled("The handler failed"))
		if e.Level != slog.LevelError || !strings.Contains(e.Reason.String(), reason) {
			t.Errorf("%s: %v %q because %q", text, e.Level, e.Title, e.Reason)
		}
		f.put(t, "room", "fine")
		f.await(t, titled("Handled"))
	}
	if messages, _ := f.Backlog(); messages != 0 {
		t.Errorf("%d messages wait, want none", messages)
	}
}

func TestAFailingHandlerCanReply(t *testing.T) {
	f := newFixture(t)
	running(t, f.worker(func(context.Context, bridge.Message) ([]bridge.Reply, error) {
		return []bridge.Reply{{Text: "Sorry."}}, failure(bridge.CodeUnavailable)
	}).Run)
	f.put(t, "room", "hi")
	f.await(t, titled("The handler failed"))
	item, err := f.Due(t.Context())
	if err != nil || item.Reply.Text != "Sorry." {
		t.Errorf("reply %+v %v", item.Reply, err)
	}
	totals, err := f.Traffic(t.Context(), time.Time{}, 0)
	if err != nil || totals.Failed != 1 {
		t.Errorf("totals %+v %v", totals, err)
	}
}

// Whatever a handler does when it is stopped, the stop is soon, and the next
// start handles the message.
func TestAStopEndsEveryHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		leave := make(chan struct{})
		t.Cleanup(func() { close(leave) })
		var entered sync.WaitGroup
		entered.Add(3)
		stop := running(t, f.worker(func(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
			entered.Done()
			switch m.Room.Token {
			case "hangs":
				<-leave
			case "fails":
				<-ctx.Done()
				return []bridge.Reply{{Text: "Sorry."}}, failure(bridge.CodeInternal)
			default:
				<-ctx.Done()
			}
			return nil, ctx.Err()
		}).Run)
		for _, room := range []string{"hangs", "fails", "ends"} {
			f.put(t, room, "hi")
		}
		entered.Wait()
		stop()
		if messages, replies := f.Backlog(); messages != 3 || replies != 0 {
			t.Errorf("%d messages and %d replies wait, want 3 and 0", messages, replies)
		}
	})
}

func TestRoomsAreServedAtOnceAndEachInOrder(t *testing.T) {
	f := newFixture(t)
	const rooms, each = 3, 10
	var mu sync.Mutex
	order := map[string][]string{}
	together := make(chan struct{})
	var first sync.WaitGroup
	first.Add(rooms)
	go func() { first.Wait(); close(together) }()
	running(t, f.worker(func(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
		mu.Lock()
		order[m.Room.Token] = append(order[m.Room.Token], m.Text)
		n := len(order[m.Room.Token])
		mu.Unlock()
		if n == 1 {
			first.Done()
			select {
			case <-together: // all rooms are being served
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return nil, nil
	}).Run)
	for i := range each {
		for room := range rooms {
			f.put(t, "room"+strconv.Itoa(room), strconv.Itoa(i))
		}
	}
	for range rooms * each {
		if e := f.await(t, func(e bridge.Event) bool { return e.Stage == bridge.StageHandler }); e.Level >= slog.LevelWarn {
			t.Fatalf("%s: %s", e.Title, e.Reason)
		}
	}
	for room, texts := range order {
		if got := strings.Join(texts, " "); got != "0 1 2 3 4 5 6 7 8 9" {
			t.Errorf("%s was handled in the order %s", room, got)
		}
	}
}

func TestAStopLetsTheHandlerEnd(t *testing.T) {
	f := newFixture(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	stop := running(t, f.worker(func(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
		close(entered)
		<-leave
		return []bridge.Reply{{Text: "late"}}, ctx.Err()
	}).Run)
	f.put(t, "room", "hi")
	<-entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(leave)
	<-stopped
	if messages, replies := f.Backlog(); messages != 0 || replies != 1 {
		t.Errorf("%d messages and %d replies wait, want 0 and 1", messages, replies)
	}
}

func TestARoomThatAnswersItselfIsPaused(t *testing.T) {
	f := newFixture(t)
	handled := 0
	running(t, f.worker(func(_ context.Context, m bridge.Message) ([]bridge.Reply, error) {
		if m.Room.Token == "loop" {
			handled++
		}
		return []bridge.Reply{{Text: "You said: " + m.Text[:min(len(m.Text), 30)]}}, nil
	}).Run)
	text := "hi"
	var e bridge.Event
	for range 100 {
		f.put(t, "loop", text)
		e = f.await(t, func(e bridge.Event) bool { return e.Stage == bridge.StageHandler })
		if e.Level == slog.LevelError {
			break
		}
		text = "[other chat] You said: " + text[:min(len(text), 30)] // as a bridge repeats it
	}
	if !strings.Contains(e.Title.String(), "answers itself") || e.Hint.IsZero() {
		t.Fatalf("after %d answers: %q", handled, e.Title)
	}
	if handled > 20 {
		t.Errorf("it took %d answers to notice", handled)
	}
	if messages, _ := f.Backlog(); messages != 1 {
		t.Errorf("%d messages of the room wait, want the one that was not answered", messages)
	}
	f.put(t, "other", "hi")
	f.await(t, titled("Handled"))
}

func TestPeopleMayRepeatThemselves(t *testing.T) {
	f := newFixture(t)
	running(t, f.worker(func(context.Context, bridge.Message) ([]bridge.Reply, error) {
		return []bridge.Reply{{Text: "pong"}}, nil
	}).Run)
	for range 50 {
		f.put(t, "room", "!ping")
		if e := f.await(t, func(e bridge.Event) bool { return e.Stage == bridge.StageHandler }); e.Level >= slog.LevelWarn {
			t.Fatalf("%s", e.Title)
		}
	}
}

// server is a Talk that answers as its script says.
type server struct {
	mu    sync.Mutex
	sent  []bridge.Reply
	looks int
	send  func(n int, r bridge.Reply) (string, error)
	find  func(ref string) (string, bool, error)
	up    func() error // nil: it is

	edited []string
	edit   func(n int) error
}

func (s *server) Answers(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil {
		return nil
	}
	return s.up()
}

func (s *server) Send(_ context.Context, r bridge.Reply) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, r)
	return s.send(len(s.sent), r)
}

func (s *server) Edit(_ context.Context, _ bridge.Room, messageID, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edited = append(s.edited, messageID+" "+text)
	return s.edit(len(s.edited))
}

func (s *server) Talk() pipeline.Talk { return s }

func (s *server) FindByRef(_ context.Context, _, ref string) (string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.find == nil {
		return "", false, &bridge.Error{Code: bridge.CodeUnauthorized, Text: bridge.Say("no app token")}
	}
	return s.find(ref)
}

func (f *fixture) delivery(s *server) *pipeline.Delivery {
	return &pipeline.Delivery{Outbox: f.Journal, Servers: s, Parallel: 4, Sink: f.bus}
}

func failure(code bridge.Code) error {
	return &bridge.Error{Code: code, Text: bridge.Say("the server said no"), Hint: bridge.Say("do this")}
}

// A reply that edits an earlier one is the same message with another text, or a
// new one where that is not possible.
func TestDeliveryEdits(t *testing.T) {
	for _, tt := range []struct {
		name      string
		edit      func(n int) error
		messageID string
		edited    int
		sent      []string
		kept      []string // of the journal, with the ids of their messages
	}{
		{"at once", func(int) error { return nil }, "7", 1, []string{"half"}, []string{"7 whole"}},
		{"the second time", func(n int) error {
			if n == 1 {
				return failure(bridge.CodeUnavailable)
			}
			return nil
		}, "7", 2, []string{"half"}, []string{"7 whole"}},
		{"refused", func(int) error { return failure(bridge.CodeRejected) }, "7", 1, []string{"half", "whole"}, []string{"7 half", "8 whole"}},
		{"of what Talk told no id", nil, "", 0, []string{"half", "whole"}, []string{" half", " whole"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			s := &server{edit: tt.edit, send: func(n int, _ bridge.Reply) (string, error) {
				if tt.messageID == "" {
					return "", nil
				}
				return strconv.Itoa(6 + n), nil
			}}
			room := bridge.Room{Token: "room"}
			half := bridge.Reply{Ref: pipeline.NewRef(), Room: room, Text: "half"}
			whole := bridge.Reply{Ref: pipeline.NewRef(), Room: room, Text: "whole", Edits: half.Ref}
			if _, err := f.Enqueue(t.Context(), []bridge.Reply{half, whole}); err != nil {
				t.Fatal(err)
			}
			stop := running(t, f.delivery(s).Run)
			f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventReplySent && e.Text == "whole" })
			stop()
			var sent, kept []string
			for _, r := range s.sent {
				sent = append(sent, r.Text)
			}
			replies, err := f.Replies(t.Context(), journal.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range replies {
				kept = append(kept, r.MessageID+" "+r.Reply.Text)
			}
			if !slices.Equal(sent, tt.sent) || !slices.Equal(kept, tt.kept) || len(s.edited) != tt.edited {
				t.Errorf("sent %q, edited %q, kept %q", sent, s.edited, kept)
			}
		})
	}
}

func TestDeliveryInOrder(t *testing.T) {
	f := newFixture(t)
	s := &server{send: func(int, bridge.Reply) (string, error) { return "7", nil }}
	running(t, f.delivery(s).Run)
	f.enqueue(t, "a", "b", "a", "b", "a")
	for range 5 {
		f.await(t, titled("Reply sent"))
	}
	var a, b []string
	for _, r := range s.sent {
		if r.Room.Token == "a" {
			a = append(a, r.Text)
		} else {
			b = append(b, r.Text)
		}
	}
	if got := strings.Join(a, " ") + ", " + strings.Join(b, " "); got != "a-0 a-2 a-4, b-1 b-3" {
		t.Errorf("sent %s", got)
	}
}

func TestRefusedSignatureStopsEverything(t *testing.T) {
	f := newFixture(t)
	refuse := true
	s := &server{}
	s.send = func(int, bridge.Reply) (string, error) {
		if refuse {
			return "", failure(bridge.CodeUnauthorized)
		}
		return "", nil
	}
	f.enqueue(t, "a", "b", "c", "d", "e")
	running(t, f.delivery(s).Run)
	e := f.await(t, titled("was refused (401)"))
	if e.Level != slog.LevelError || e.Hint.String() != "do this" {
		t.Errorf("event: %v, hint %q", e.Level, e.Hint)
	}
	if _, held, err := f.HeldUntil(t.Context()); err != nil || !held {
		t.Fatalf("held: %v %v", held, err)
	}
	f.enqueue(t, "f")
	s.mu.Lock()
	if len(s.sent) != 1 {
		t.Errorf("%d replies were sent, want one and no more", len(s.sent))
	}
	refuse = false
	s.mu.Unlock()
	if err := f.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		f.await(t, titled("Reply sent"))
	}
}

// attempts is a server whose requests are answered by the test.
type attempts struct{ began chan chan error }

func (a attempts) Talk() pipeline.Talk { return a }

func (a attempts) Send(ctx context.Context, _ bridge.Reply) (string, error) {
	answer := make(chan error, 1)
	a.began <- answer
	select {
	case err := <-answer:
		return "", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (a attempts) Edit(context.Context, bridge.Room, string, string) error {
	return failure(bridge.CodeRejected)
}

func (a attempts) Answers(context.Context) error { return nil }

func (a attempts) FindByRef(context.Context, string, string) (string, bool, error) {
	return "", false, failure(bridge.CodeUnauthorized)
}

// After a 401 there is one attempt at a time, although others that were under
// way at that moment went well.
func TestOneAttemptAtATimeUntilTheSecretIsProven(t *testing.T) {
	f := newFixture(t)
	s := attempts{make(chan chan error, 8)}
	f.enqueue(t, "a", "b", "c", "d", "e", "f", "g", "h")
	running(t, (&pipeline.Delivery{Outbox: f.Journal, Servers: s, Parallel: 4, Sink: f.bus}).Run)
	next := func() chan error {
		t.Helper()
		select {
		case answer := <-s.began:
			return answer
		case <-time.After(testenv.Patience):
			t.Fatal("no attempt began")
			return nil
		}
	}
	alone := func() chan error {
		t.Helper()
		answer := next()
		select {
		case second := <-s.began:
			second <- nil
			t.Fatal("a second attempt began before the first had an answer")
		case <-time.After(100 * time.Millisecond):
		}
		return answer
	}
	alone() <- nil
	first, second, third, fourth := next(), next(), next(), next()
	first <- failure(bridge.CodeUnauthorized)
	f.await(t, titled("was refused (401)"))
	second <- nil
	f.await(t, titled("Reply sent"))
	if err := f.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	third <- nil
	fourth <- nil
	alone() <- failure(bridge.CodeUnauthorized)
	f.await(t, titled("was refused (401)"))
	if err := f.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	alone() <- nil
	for range 3 {
		next() <- nil
	}
}

func TestThrottled(t *testing.T) {
	for _, tt := range []struct {
		name     string
		said     time.Duration
		min, max time.Duration
	}{
		{"as long as told", 3 * time.Minute, 3*time.Minute - 5*time.Second, 3 * time.Minute},
		{"a minute, if not told", 0, 55 * time.Second, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			s := &server{send: func(int, bridge.Reply) (string, error) {
				return "", &bridge.Error{Code: bridge.CodeThrottled, Text: bridge.Say("slow"), RetryAfter: tt.said}
			}}
			f.enqueue(t, "a", "b")
			stop := running(t, f.delivery(s).Run)
			f.await(t, titled("slow down (429)"))
			stop() // and the hold is written
			until, held, err := f.HeldUntil(t.Context())
			if err != nil || !held || len(s.sent) != 1 {
				t.Fatalf("held %v %v after %d requests", held, err, len(s.sent))
			}
			if wait := time.Until(until); wait < tt.min || wait > tt.max {
				t.Errorf("held for %v", wait)
			}
		})
	}
}

func TestThrottledAgainWaitsLonger(t *testing.T) {
	f := newFixture(t)
	s := &server{send: func(int, bridge.Reply) (string, error) { return "", failure(bridge.CodeThrottled) }}
	f.enqueue(t, "a")
	running(t, f.delivery(s).Run)
	f.await(t, titled("Nothing is sent for 1m0s"))
	if err := f.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.await(t, titled("Nothing is sent for 2m0s"))
}

func TestRejectedIsGivenUp(t *testing.T) {
	f := newFixture(t)
	s := &server{send: func(n int, _ bridge.Reply) (string, error) {
		if n == 1 {
			return "", failure(bridge.CodeRejected)
		}
		return "", nil
	}}
	ids := f.enqueue(t, "a", "a")
	stop := running(t, f.delivery(s).Run)
	e := f.await(t, titled("was given up"))
	if e.Reason.String() != "the server said no" {
		t.Errorf("reason %q", e.Reason)
	}
	f.await(t, titled("Reply sent"))
	stop()
	if r, err := f.Reply(t.Context(), ids[0]); err != nil || r.State != bridge.ReplyGivenUp {
		t.Errorf("reply %+v %v", r, err)
	}
}

func TestUnavailableIsTriedAgain(t *testing.T) {
	f := newFixture(t)
	s := &server{send: func(n int, _ bridge.Reply) (string, error) {
		if n < 3 {
			return "", failure(bridge.CodeUnavailable)
		}
		return "", nil
	}}
	f.enqueue(t, "a")
	running(t, f.delivery(s).Run)
	f.await(t, titled("attempt 2 follows"))
	f.await(t, titled("attempt 3 follows"))
	f.await(t, titled("Reply sent"))
	if s.looks != 0 {
		t.Error("it was looked for, though it never went out")
	}
}

func TestUnclear(t *testing.T) {
	unclear := func(int, bridge.Reply) (string, error) { return "", failure(bridge.CodeUnclear) }
	t.Run("found", func(t *testing.T) {
		f := newFixture(t)
		s := &server{send: unclear, find: func(string) (string, bool, error) { return "99", true, nil }}
		ids := f.enqueue(t, "a")
		stop := running(t, f.delivery(s).Run)
		e := f.await(t, titled("Reply sent"))
		stop()
		if o, err := f.Reply(t.Context(), ids[0]); err != nil || o.State != bridge.ReplySent || len(s.sent) != 1 || e.MessageID != "99" {
			t.Errorf("outcome %+v %v after %d requests, message %s", o, err, len(s.sent), e.MessageID)
		}
	})
	t.Run("not found", func(t *testing.T) {
		f := newFixture(t)
		s := &server{find: func(string) (string, bool, error) { return "", false, nil }}
		s.send = func(n int, r bridge.Reply) (string, error) {
			if n == 1 {
				return unclear(n, r)
			}
			return "100", nil
		}
		f.enqueue(t, "a")
		running(t, f.delivery(s).Run)
		f.await(t, titled("Reply sent"))
		if len(s.sent) != 2 || s.sent[0].Ref != s.sent[1].Ref {
			t.Errorf("sent %+v, want the same reference twice", s.sent)
		}
	})
	t.Run("cannot look", func(t *testing.T) {
		f := newFixture(t)
		s := &server{send: unclear}
		ids := f.enqueue(t, "a")
		stop := running(t, f.delivery(s).Run)
		f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventReplyGivenUp })
		stop()
		if o, err := f.Reply(t.Context(), ids[0]); err != nil || o.State != bridge.ReplyGivenUp || len(s.sent) != 2 {
			t.Errorf("outcome %+v %v after %d requests, want given up after 2", o, err, len(s.sent))
		}
	})
	t.Run("cannot look, and the server is down", func(t *testing.T) {
		f := newFixture(t)
		asked := 0
		s := &server{send: func(n int, r bridge.Reply) (string, error) {
			if n == 1 {
				return unclear(n, r)
			}
			return "100", nil
		}}
		s.up = func() error {
			if asked++; asked < 3 {
				return failure(bridge.CodeUnavailable)
			}
			return nil
		}
		f.enqueue(t, "a")
		running(t, f.delivery(s).Run)
		f.await(t, titled("attempt 3 follows"))
		f.await(t, titled("Reply sent"))
		if len(s.sent) != 2 || asked != 3 {
			t.Errorf("sent %d times after %d looks, want a second time once it is up", len(s.sent), asked)
		}
	})
	t.Run("cannot look now", func(t *testing.T) {
		f := newFixture(t)
		s := &server{send: unclear, find: func(string) (string, bool, error) { return "", false, failure(bridge.CodeUnclear) }}
		f.enqueue(t, "a")
		running(t, f.delivery(s).Run)
		f.await(t, titled("attempt 2 follows"))
		f.await(t, titled("attempt 3 follows"))
		if len(s.sent) != 1 {
			t.Errorf("sent %d times before it was known whether the first arrived", len(s.sent))
		}
	})
}

// A day without a server is counted in attempts: the clock may be set.
func TestGivenUpAfterManyAttempts(t *testing.T) {
	f := newFixture(t)
	ids := f.enqueue(t, "a", "b")
	item, err := f.Due(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 295 {
		if err := f.Begin(t.Context(), item.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Retry(t.Context(), item.ID, time.Now(), false, failure(bridge.CodeUnavailable)); err != nil {
		t.Fatal(err)
	}
	stop := running(t, f.delivery(&server{send: func(int, bridge.Reply) (string, error) {
		return "", failure(bridge.CodeUnavailable)
	}}).Run)
	e := f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventReplyGivenUp })
	if !strings.Contains(e.Reason.String(), "296 attempts") {
		t.Errorf("reason: %s", e.Reason)
	}
	stop()
	if r, err := f.Reply(t.Context(), ids[1]); err != nil || r.State != bridge.ReplyWaiting {
		t.Errorf("the other is %+v %v", r, err)
	}
}

// A reply that the server refuses again and again does not mute its room, if it
// takes those to other rooms.
func TestAReplyThatFailsAloneIsGivenUp(t *testing.T) {
	f := newFixture(t)
	ids := f.enqueue(t, "bad", "bad", "good")
	item, err := f.Due(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 9 {
		if err := f.Begin(t.Context(), item.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Retry(t.Context(), item.ID, time.Now().Add(time.Hour), false, failure(bridge.CodeUnavailable)); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	s.send = func(_ int, r bridge.Reply) (string, error) {
		if r.Text == "bad-0" {
			return "", failure(bridge.CodeUnavailable)
		}
		return "", nil
	}
	running(t, f.delivery(s).Run)
	f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventReplySent })
	if err := f.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventReplyGivenUp })
	f.await(t, func(e bridge.Event) bool { return e.Kind == bridge.EventReplySent && e.Text == "bad-1" })
	if r, err := f.Reply(t.Context(), ids[0]); err != nil || r.State != bridge.ReplyGivenUp {
		t.Errorf("reply %+v %v", r, err)
	}
}

func TestNewRefIsNew(t *testing.T) {
	if a, b := pipeline.NewRef(), pipeline.NewRef(); a == b || len(a) != 64 {
		t.Errorf("references %s and %s", a, b)
	}
}
