package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/testenv"
)

// told returns what the log says of each message and reply, a line each.
func told(t *testing.T, j *Journal, f Filter) string {
	t.Helper()
	entries, err := j.Entries(t.Context(), f)
	check(t, err)
	var lines []string
	for _, e := range entries {
		switch {
		case e.Message != nil:
			words := []string{e.Message.Message.Key.ID, string(e.Message.State)}
			for _, r := range e.Message.Replies {
				words = append(words, string(r.State))
			}
			lines = append(lines, strings.Join(words, " "))
		case e.Reply != nil:
			lines = append(lines, "reply "+string(e.Reply.State))
		default:
			lines = append(lines, "event "+string(e.Event.Kind))
		}
	}
	return strings.Join(lines, ", ")
}

func TestWhatBecameOfAMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	at := time.Now().Add(-time.Second)
	came := func(id int) bridge.Message {
		m := message("a", id)
		m.ReceivedAt = at.Add(time.Duration(id) * time.Millisecond)
		return m
	}
	for id, state := range []bridge.MessageState{
		bridge.MessageNotForBot, bridge.MessageNotAllowed, bridge.MessageRoomOff, bridge.MessageBusy,
	} {
		_, err := j.Put(t.Context(), came(id), state, &bridge.Failure{Code: bridge.CodeDenied, Reason: bridge.Say("no")})
		check(t, err)
	}
	put(t, j, came(4))
	finish(t, j, claim(t, j).ID, reply("a", "sent"))
	sent := due(t, j)
	check(t, j.Begin(t.Context(), sent.ID))
	check(t, j.Sent(t.Context(), sent.ID, ""))
	put(t, j, came(5))
	check(t, j.Finish(t.Context(), claim(t, j).ID, nil, errors.New("exit status 1")))
	put(t, j, came(6))
	finish(t, j, claim(t, j).ID, reply("a", "unclear"))
	unclear := due(t, j)
	check(t, j.Begin(t.Context(), unclear.ID))
	check(t, j.Retry(t.Context(), unclear.ID, time.Now().Add(time.Hour), true, errors.New("504")))
	put(t, j, came(7))
	finish(t, j, claim(t, j).ID, reply("b", "given up"))
	check(t, j.GiveUp(t.Context(), due(t, j).ID, errors.New("400")))
	put(t, j, came(8))
	claim(t, j)
	put(t, j, came(9))
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("c", "posted by a person")})
	check(t, err)
	check(t, j.Begin(t.Context(), due(t, j).ID))
	const want = "0 not-for-bot, 1 not-allowed, 2 room-off, 3 busy, 4 handled sent, 5 failed, " +
		"6 handled unclear, 7 handled given-up, 8 handling, 9 waiting, reply sending"
	if got := told(t, j, Filter{}); got != want {
		t.Errorf("told\n%s, want\n%s", got, want)
	}
	if got := told(t, j, Filter{Level: slog.LevelWarn}); got != "1 not-allowed, 3 busy, 5 failed, 6 handled unclear, 7 handled given-up" {
		t.Errorf("the warnings are %s", got)
	}
	if got := told(t, j, Filter{Level: slog.LevelError, Limit: 1}); got != "7 handled given-up" {
		t.Errorf("the newest error is %s", got)
	}
	records, err := j.Messages(t.Context(), Filter{Keys: []bridge.Key{{Room: "a", ID: "5"}, {Room: "a", ID: "404"}}})
	check(t, err)
	if len(records) != 1 || records[0].Failure == nil || records[0].Failure.Cause != "exit status 1" || records[0].EndedAt.IsZero() {
		t.Errorf("by key: %+v", records)
	}
	before, err := j.Traffic(t.Context(), at.Add(-time.Minute), time.Minute)
	check(t, err)
	if before.Received != 7 || before.Answered != 1 || before.Failed != 2 || before.Refused != 3 || before.Bars[1].Messages != 7 {
		t.Errorf("traffic: %+v", before)
	}
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	const after = "0 not-for-bot, 1 not-allowed, 2 room-off, 3 busy, 4 handled sent, 5 failed, " +
		"6 handled unclear, 7 handled given-up, 8 waiting, 9 waiting, reply unclear"
	if got := told(t, j, Filter{}); got != after {
		t.Errorf("after a restart, told\n%s, want\n%s", got, after)
	}
	check(t, j.Clear(t.Context()))
	if got := told(t, j, Filter{}); got != "6 handled unclear, 8 waiting, 9 waiting, reply unclear" {
		t.Errorf("after it was cleared, told %s", got)
	}
	again, err := j.Traffic(t.Context(), at.Add(-time.Minute), time.Minute)
	check(t, err)
	if again.Received != before.Received || again.Refused != before.Refused || again.Failed != before.Failed {
		t.Errorf("after a restart and a cleared log the traffic is %+v, before %+v", again, before)
	}
	if got := claim(t, j); got.Message.Key.ID != "8" || got.Message.Text == "" {
		t.Errorf("after it was cleared, %+v is handled first", got.Message)
	}
}

func TestRefusedWebhooksCount(t *testing.T) {
	j := opened(t)
	check(t, j.Record(t.Context(), []bridge.Event{
		{Time: time.Now(), Kind: bridge.EventWebhookRefused},
		{Time: time.Now(), Kind: bridge.EventWebhookRefused, Count: 41},
		{Time: time.Now(), Kind: bridge.EventStopped},
	}))
	got, err := j.Traffic(t.Context(), time.Now().Add(-time.Hour), 2*time.Minute)
	check(t, err)
	if got.Refused != 42 {
		t.Errorf("%d refused, want 42", got.Refused)
	}
}

// Messages of one room stay in the order in which they were stored, however
// close together they come.
func TestRoomOrderUnderLoad(t *testing.T) {
	j := opened(t)
	const n = 400
	var wg sync.WaitGroup
	turns := make([]chan struct{}, n+1)
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	close(turns[0])
	for i := range n {
		wg.Go(func() {
			<-turns[i]
			o := &op{done: make(chan error, 1), bare: true}
			m := message("a", i)
			p := &putting{j: j, m: &m, digest: digest(&m), body: []byte(`{"text":"x"}`)}
			o.run, o.after = p.run, p.after
			j.writer.ops <- o // in order
			close(turns[i+1])
			if err := <-o.done; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var ids []int64
	for range n {
		item := claim(t, j)
		ids = append(ids, item.ID)
		finish(t, j, item.ID)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("handed out as %v", ids)
	}
}

// A message whose end cannot be stored waits, and is not taken for handled until
// the program ends.
func TestEndThatIsNotStored(t *testing.T) {
	j := opened(t)
	put(t, j, message("a", 1))
	id := claim(t, j).ID
	check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error {
		_, _, err := db.exec(ctx, "CREATE TRIGGER no BEFORE UPDATE ON inbox BEGIN SELECT RAISE(ABORT, 'no'); END")
		return err
	}))
	finish(t, j, id)
	deadline := time.Now().Add(testenv.Patience)
	for told(t, j, Filter{}) != "1 waiting" {
		if time.Now().After(deadline) {
			t.Fatalf("the log says %s", told(t, j, Filter{}))
		}
		runtime.Gosched()
	}
}

// A server that was restored from a backup gives message ids a second time.
func TestReusedIDs(t *testing.T) {
	j := opened(t)
	put(t, j, message("a", 7))
	finish(t, j, claim(t, j).ID)
	m := message("a", 7)
	m.Nonce, m.Text, m.RawText = "another", "something else", "something else"
	novelty, err := j.Put(t.Context(), m, bridge.MessageWaiting, nil)
	check(t, err)
	if novelty != bridge.Reused {
		t.Errorf("another text with the same id is %v, want reused", novelty)
	}
	if got := claim(t, j); got.Message.Text != "something else" {
		t.Errorf("claimed %q", got.Message.Text)
	}
	m.Nonce = "third"
	if put(t, j, m) {
		t.Error("the same text with the same id is handled twice")
	}
	edited := m
	edited.Nonce, edited.Text = "", "as the history has it now"
	if put(t, j, edited) {
		t.Error("an edited message that was fetched is handled again")
	}
}

// A row that cannot be read does not mute its room.
func TestUnreadableIsSetAside(t *testing.T) {
	j := opened(t)
	for id := range 3 {
		put(t, j, message("a", id))
	}
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one"), reply("a", "two")})
	check(t, err)
	check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error {
		if _, _, err := db.exec(ctx, "UPDATE inbox SET body = x'7b00' WHERE id = 2"); err != nil {
			return err
		}
		_, _, err := db.exec(ctx, "UPDATE outbox SET reply = x'7b00' WHERE id = 1")
		return err
	}))
	j.inbox.clear()
	check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error { return j.load(ctx, db) }))
	finish(t, j, claim(t, j).ID)
	if got := claim(t, j); got.Message.Key.ID != "2" {
		t.Errorf("after the unreadable one, %s is handed out", got.Message.Key.ID)
	}
	if got := due(t, j); got.Reply.Text != "two" {
		t.Errorf("after the unreadable one, %q is due", got.Reply.Text)
	}
	if got := told(t, j, Filter{}); got != "0 handled, 1 unreadable, 2 handling, reply given-up, reply waiting" {
		t.Errorf("told %s", got)
	}
}

// The clock was set back by a year while Perch was not running.
func TestClockSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	now := time.Now().Add(365 * 24 * time.Hour)
	j := open(t, path, Options{Now: func() time.Time { return now }})
	ids, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one")})
	check(t, err)
	check(t, j.Retry(t.Context(), due(t, j).ID, now.Add(time.Minute), false, errors.New("503")))
	shut(t, j)
	j = open(t, path, Options{})
	defer shut(t, j)
	if r, err := j.Reply(t.Context(), ids[0]); err != nil || time.Until(r.DueAt) > maxWait {
		t.Errorf("it is said to be due at %s (%v)", r.DueAt, err)
	}
	j.outbox.mu.Lock()
	wait := time.Until(j.outbox.rooms["a"].notBefore)
	j.outbox.mu.Unlock()
	if wait > maxWait {
		t.Errorf("it waits for %s", wait)
	}
}

// version2.db was written by the release before this version: a message that was
// answered, one that failed, one that was kept, one whose reply waits after a
// 503, one that waits; two that were turned away, told by events alone.
func TestFileOfVersion2(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	data, err := os.ReadFile(filepath.Join("testdata", "version2.db"))
	check(t, err)
	check(t, os.WriteFile(path, data, 0o600))
	j := open(t, path, Options{})
	defer shut(t, j)
	const want = "event , 1 handled sent, 2 failed, 3 handled, 4 handled waiting, 5 waiting, 6 not-allowed, 7 busy"
	if got := told(t, j, Filter{}); got != want {
		t.Errorf("told\n%s, want\n%s", got, want)
	}
	if item := claim(t, j); item.Message.Text != "it waits" || item.Message.Room.Name != "Kitchen" {
		t.Errorf("claimed %+v", item.Message)
	}
	nothingToClaim(t, j, "who was turned away is not answered")
	check(t, j.Resume(t.Context()))
	item := due(t, j)
	if item.Reply.Text != "a waiting reply" || item.Attempts != 1 || item.Unclear != 0 {
		t.Errorf("due: %+v", item)
	}
	fetched := []bridge.Message{}
	for id := 1; id <= 8; id++ {
		m := message("kitchen1", id)
		m.Key.Server = "https://cloud.example.com"
		fetched = append(fetched, m)
	}
	unknown, err := j.Unknown(t.Context(), fetched)
	check(t, err)
	if len(unknown) != 1 || unknown[0].Key.ID != "8" {
		t.Errorf("unknown: %v", unknown)
	}
	if room, err := j.Room(t.Context(), "kitchen1"); err != nil || room.Name != "Kitchen" {
		t.Errorf("room %+v %v", room, err)
	}
	wantTurns(t, j, "kitchen1", 2, "Alice: hello", "hi")
}

// Counts do not fall, however much comes and however often Perch is started.
func TestTrafficOf20000(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	since := time.Now().Add(-time.Hour)
	var wg sync.WaitGroup
	const each, rooms = 500, 40
	for room := range rooms {
		wg.Go(func() {
			for i := range each {
				m := message(fmt.Sprint("room", room), i)
				m.ReceivedAt = time.Now()
				if _, err := j.Put(t.Context(), m, bridge.MessageNotForBot, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for range 3 {
		got, err := j.Traffic(t.Context(), since, 2*time.Minute)
		check(t, err)
		if got.Received != each*rooms {
			t.Errorf("%d received, want %d", got.Received, each*rooms)
		}
		shut(t, j)
		j = open(t, path, Options{})
	}
	shut(t, j)
}
