package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perch/bridge"
	"perch/bridge/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const server = "https://cloud.example.com"

// message returns a message with the given id in a room.
func message(room string, id int) bridge.Message {
	return bridge.Message{
		Key:        bridge.Key{Server: server, Room: room, ID: strconv.Itoa(id)},
		Kind:       bridge.KindChat,
		Room:       bridge.Room{Token: room, Name: "Kitchen"},
		Author:     bridge.Actor{Type: bridge.ActorUser, ID: "alice"},
		Text:       fmt.Sprintf("text of %s/%d", room, id),
		Nonce:      fmt.Sprintf("nonce of %s/%d", room, id),
		ReceivedAt: time.Now(),
	}
}

func reply(room, text string) bridge.Reply {
	return bridge.Reply{Ref: "ref of " + text, Room: bridge.Room{Token: room}, Text: text}
}

type sink struct {
	mu     sync.Mutex
	events []bridge.Event
}

func (s *sink) Publish(e bridge.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func open(t *testing.T, path string, o Options) *Journal {
	t.Helper()
	j, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return j
}

// opened returns a journal in a new folder that is closed with the test.
func opened(t *testing.T) *Journal {
	t.Helper()
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), Options{})
	t.Cleanup(func() { shut(t, j) })
	return j
}

func shut(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func put(t *testing.T, j *Journal, m bridge.Message) bool {
	t.Helper()
	novelty, err := j.Put(t.Context(), m, bridge.MessageWaiting, nil)
	if err != nil {
		t.Fatalf("Put %v: %v", m.Key, err)
	}
	return novelty != bridge.Known
}

func claim(t *testing.T, j *Journal) bridge.InboxItem {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	item, err := j.Claim(ctx)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return item
}

func due(t *testing.T, j *Journal) bridge.OutboxItem {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	item, err := j.Due(ctx)
	if err != nil {
		t.Fatalf("Due: %v", err)
	}
	return item
}

// sent sends a reply that is due.
func sent(t *testing.T, j *Journal, id int64, messageID string) {
	t.Helper()
	check(t, j.Begin(t.Context(), id))
	check(t, j.Sent(t.Context(), id, messageID))
}

func finish(t *testing.T, j *Journal, id int64, replies ...bridge.Reply) {
	t.Helper()
	if err := j.Finish(t.Context(), id, replies, nil); err != nil {
		t.Fatalf("Finish: %v", err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nothingToClaim fails if a message can be claimed now.
func nothingToClaim(t *testing.T, j *Journal, why string) {
	t.Helper()
	if _, id, _, ok := j.inbox.claim(); ok {
		t.Fatalf("message %d was handed out, though %s", id, why)
	}
}

func nothingDue(t *testing.T, j *Journal, why string) {
	t.Helper()
	if _, id, _, ok := j.outbox.claim(); ok {
		t.Fatalf("reply %d was handed out, though %s", id, why)
	}
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "journal.db")
	j := open(t, path, Options{})
	defer shut(t, j)
	put(t, j, message("room", 1))
	for _, name := range []string{path, path + "-wal"} {
		info, err := os.Stat(name)
		check(t, err)
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", filepath.Base(name), mode)
		}
	}
}

func TestAPathWithAnything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41é'", "journal.db")
	j := open(t, path, Options{})
	defer shut(t, j)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestMessagesOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	want := message("room", 1)
	put(t, j, want)
	claim(t, j) // and never finished
	put(t, j, message("room", 2))
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	got := claim(t, j)
	if got.Message.Text != want.Text || got.Message.Key != want.Key {
		t.Errorf("claimed %+v, want %+v", got.Message, want)
	}
	finish(t, j, got.ID)
	if got := claim(t, j).Message.Key.ID; got != "2" {
		t.Errorf("then claimed %s, want 2", got)
	}
}

func TestSeenBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	if !put(t, j, message("room", 1)) {
		t.Fatal("a new message is not fresh")
	}
	shut(t, j)
	j = open(t, path, Options{})
	defer shut(t, j)

	again := message("room", 1)
	again.Nonce = "another"
	if put(t, j, again) {
		t.Error("the same message with another nonce is fresh after a restart")
	}
	replay := message("room", 1)
	replay.Key.ID = "7"
	if put(t, j, replay) {
		t.Error("another message with a nonce seen before is fresh after a restart")
	}
	elsewhere := message("room", 1)
	elsewhere.Key.Server, elsewhere.Nonce = "https://other.example.com", "third"
	if !put(t, j, elsewhere) {
		t.Error("a message of another server with the same room and id is not fresh")
	}
	for _, id := range []int{8, 9} {
		unsigned := message("room", id)
		unsigned.Nonce = ""
		if !put(t, j, unsigned) {
			t.Errorf("message %d without a nonce is not fresh", id)
		}
	}
}

// keep keeps a message that nobody is asked.
func keep(t *testing.T, j *Journal, m bridge.Message) bool {
	t.Helper()
	novelty, err := j.Put(t.Context(), m, bridge.MessageNotForBot, nil)
	if err != nil {
		t.Fatalf("Put %v: %v", m.Key, err)
	}
	return novelty != bridge.Known
}

func TestKeptIsNotClaimed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	if !keep(t, j, message("a", 1)) {
		t.Error("a new message is not fresh")
	}
	put(t, j, message("a", 2))
	if keep(t, j, message("a", 1)) || put(t, j, message("a", 1)) || keep(t, j, message("a", 2)) {
		t.Error("a message that came before is fresh")
	}
	if n := j.Waiting("a"); n != 1 {
		t.Errorf("%d messages wait, want the one that was put", n)
	}
	if got := claim(t, j); got.Message.Key.ID != "2" {
		t.Errorf("claimed %s", got.Message.Key.ID)
	}
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	item := claim(t, j)
	if item.Message.Key.ID != "2" {
		t.Errorf("claimed %s after a restart", item.Message.Key.ID)
	}
	finish(t, j, item.ID)
	nothingToClaim(t, j, "nobody is asked what is kept")
	if got, err := j.Traffic(t.Context(), time.Time{}, 0); err != nil || got.Received != 2 {
		t.Errorf("traffic %+v %v, want 2 received", got, err)
	}
}

func TestKeptWithoutItsText(t *testing.T) {
	j := opened(t)
	j.StoreText(false)
	keep(t, j, message("a", 1))
	all, err := j.Messages(t.Context(), Filter{})
	check(t, err)
	if len(all) != 1 || all[0].Message.Text != "" || all[0].Message.Author.ID == "" {
		t.Errorf("stored: %+v, want who wrote and not what", all)
	}
}

func TestKeptOwnReplyIsOurs(t *testing.T) {
	j := opened(t)
	j.EchoesReturn(true)
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one"), reply("a", "two")})
	check(t, err)
	item := due(t, j)
	keep(t, j, message("a", 42)) // before the answer to our request
	check(t, j.Sent(t.Context(), item.ID, "42"))
	check(t, j.Sent(t.Context(), due(t, j).ID, "43"))
	keep(t, j, message("a", 43)) // after it
	if got, err := j.Traffic(t.Context(), time.Time{}, 0); err != nil || got.Received != 0 {
		t.Errorf("traffic %+v %v, want none received", got, err)
	}
}

// A reply that names its room by the token alone gets the name that is known.
func TestRepliesKnowTheNameOfTheirRoom(t *testing.T) {
	j := opened(t)
	keep(t, j, message("a", 42))
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one"), reply("unheard", "two")})
	check(t, err)
	for range 2 {
		item := due(t, j)
		check(t, j.Sent(t.Context(), item.ID, ""))
		room := item.Reply.Room
		if want := map[string]string{"a": "Kitchen", "unheard": ""}[room.Token]; room.Name != want {
			t.Errorf("the room %s is %q, want %q", room.Token, room.Name, want)
		}
	}
}

// A start does not read through all that was kept.
func TestKeptAreLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	var wg sync.WaitGroup
	for i := range advanceEvery {
		wg.Go(func() {
			if _, err := j.Put(t.Context(), message("a", i+1), bridge.MessageNotForBot, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	shut(t, j)
	j = open(t, path, Options{})
	defer shut(t, j)
	from, err := j.writer.current().waitingFrom(t.Context())
	if err != nil || from != advanceEvery+1 {
		t.Errorf("the waiting ones begin at %d %v, want %d", from, err, advanceEvery+1)
	}
}

func TestWaiting(t *testing.T) {
	j := opened(t)
	for i := range 3 {
		put(t, j, message("a", i+1))
	}
	put(t, j, message("b", 1))
	item := claim(t, j)
	if a, b, c := j.Waiting("a"), j.Waiting("b"), j.Waiting("c"); a != 3 || b != 1 || c != 0 {
		t.Errorf("%d, %d and %d messages wait, want 3, 1 and 0", a, b, c)
	}
	finish(t, j, item.ID)
	if n := j.Waiting(item.Message.Room.Token); n != 2 {
		t.Errorf("%d messages wait, want 2", n)
	}
}

func TestOneAtATimePerRoomInOrder(t *testing.T) {
	j := opened(t)
	for _, m := range []bridge.Message{message("a", 1), message("a", 2), message("b", 3), message("a", 4)} {
		put(t, j, m)
	}
	first, other := claim(t, j), claim(t, j)
	if first.Message.Key.ID != "1" || other.Message.Key.ID != "3" {
		t.Fatalf("claimed %s and %s, want 1 and 3", first.Message.Key.ID, other.Message.Key.ID)
	}
	nothingToClaim(t, j, "each room has one claimed")
	finish(t, j, first.ID)
	if got := claim(t, j); got.Message.Key.ID != "2" {
		t.Fatalf("after 1 came %s, want 2", got.Message.Key.ID)
	}
	nothingToClaim(t, j, "2 is not finished")
}

func TestReleasedIsNextOfItsRoom(t *testing.T) {
	j := opened(t)
	put(t, j, message("a", 1))
	put(t, j, message("a", 2))
	item := claim(t, j)
	j.Release(item.ID, time.Now().Add(time.Hour))
	nothingToClaim(t, j, "its time has not come")
	put(t, j, message("b", 3))
	if got := claim(t, j); got.Message.Key.ID != "3" {
		t.Fatalf("claimed %s, want 3 of the other room", got.Message.Key.ID)
	}
	j.inbox.resume(true)
	if got := claim(t, j); got.Message.Key.ID != "1" {
		t.Fatalf("claimed %s, want 1 again", got.Message.Key.ID)
	}
}

func TestClaimWakesForAMessage(t *testing.T) {
	j := opened(t)
	const waiting = 4
	got := make(chan string, waiting)
	for range waiting {
		go func() { got <- claim(t, j).Message.Key.Room }()
	}
	for i := range waiting {
		put(t, j, message(fmt.Sprintf("room%d", i), i))
	}
	rooms := map[string]bool{}
	for range waiting {
		rooms[<-got] = true
	}
	if len(rooms) != waiting {
		t.Errorf("claimed rooms %v, want %d different", rooms, waiting)
	}
}

func TestManyAtOnceShareCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	var wg sync.WaitGroup
	const clients, each = 16, 25
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				if novelty, err := j.Put(t.Context(), message("r"+strconv.Itoa(c), i), bridge.MessageWaiting, nil); err != nil || novelty != bridge.Fresh {
					t.Errorf("Put: %v %v", novelty, err)
				}
			}
		})
	}
	wg.Wait()
	shut(t, j)
	j = open(t, path, Options{})
	defer shut(t, j)
	if got, _ := j.Backlog(); got != clients*each {
		t.Errorf("%d messages are on disk, want %d", got, clients*each)
	}
}

func TestOneBadOperationDoesNotSpoilTheBatch(t *testing.T) {
	j := opened(t)
	bad := errors.New("bad")
	written := 0
	good := func(key string) *op {
		return &op{done: make(chan error, 1), run: func(ctx context.Context, db *database) error {
			return db.setMeta(ctx, key, "x")
		}}
	}
	batch := []*op{good("one"), {done: make(chan error, 1), run: func(context.Context, *database) error { return bad }}, good("two")}
	// The writer's goroutine is idle; this one takes its place for a moment.
	check(t, j.writer.do(t.Context(), func(context.Context, *database) error { written++; return nil }))
	j.writer.commit(t.Context(), batch)
	for i, want := range []error{nil, bad, nil} {
		if err := <-batch[i].done; !errors.Is(err, want) {
			t.Errorf("operation %d: %v, want %v", i, err, want)
		}
	}
	for _, key := range []string{"one", "two"} {
		if v, err := j.writer.current().meta(t.Context(), key); err != nil || v != "x" {
			t.Errorf("%s was not written: %q %v", key, v, err)
		}
	}
}

func TestFinishStoresRepliesInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	put(t, j, message("a", 1))
	finish(t, j, claim(t, j).ID, reply("a", "one"), reply("a", "two"), reply("b", "three"))
	first := due(t, j)
	if first.Reply.Text != "one" || first.Unclear != 0 {
		t.Fatalf("due: %+v, want one, not unclear", first)
	}
	nothingDue(t, j, "none was sent yet: one at a time")
	sent(t, j, first.ID, "")
	second, third := due(t, j), due(t, j)
	for _, item := range []bridge.OutboxItem{second, third} {
		if item.Reply.Text == "two" {
			check(t, j.Begin(t.Context(), item.ID))
		}
	}
	if got := second.Reply.Text + " " + third.Reply.Text; got != "three two" && got != "two three" {
		t.Fatalf("then due: %s", got)
	}
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	if got, _ := j.Backlog(); got != 0 {
		t.Errorf("%d messages wait after a restart, want 0", got)
	}
	other := due(t, j) // of the other room: what may be on its way is not looked for at once
	check(t, j.Sent(t.Context(), other.ID, ""))
	check(t, j.Resume(t.Context()))
	if again := due(t, j); again.Reply.Text != "two" || again.Unclear != 1 {
		t.Errorf("after a restart: %+v, want two, unclear", again)
	}
}

func TestRetryWaitsAndCounts(t *testing.T) {
	j := opened(t)
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one")})
	check(t, err)
	item := due(t, j)
	check(t, j.Begin(t.Context(), item.ID))
	check(t, j.Retry(t.Context(), item.ID, time.Now().Add(time.Hour), true, errors.New("no answer")))
	nothingDue(t, j, "it was put off for an hour")
	check(t, j.Resume(t.Context()))
	if item = due(t, j); item.Attempts != 1 || item.Unclear != 1 {
		t.Errorf("due: %+v, want one attempt, unclear", item)
	}
	check(t, j.Begin(t.Context(), item.ID))
	check(t, j.Retry(t.Context(), item.ID, time.Now(), false, errors.New("refused")))
	if item = due(t, j); item.Attempts != 2 || item.Unclear != 1 {
		t.Errorf("due: %+v, want two attempts, one unclear", item)
	}
	check(t, j.GiveUp(t.Context(), item.ID, errors.New("gone")))
	r, err := j.Reply(t.Context(), item.ID)
	check(t, err)
	if r.State != bridge.ReplyGivenUp || r.Failure == nil || r.Failure.Cause != "gone" {
		t.Errorf("reply: %+v", r)
	}
}

func TestHoldOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one"), reply("b", "two"), reply("c", "three")})
	check(t, err)
	check(t, j.Hold(t.Context(), due(t, j).ID, time.Time{}, errors.New("401")))
	nothingDue(t, j, "the outbox is held")
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	nothingDue(t, j, "the outbox is held, also after a restart")
	if _, held, err := j.HeldUntil(t.Context()); err != nil || !held {
		t.Errorf("HeldUntil: %v %v, want held", held, err)
	}
	check(t, j.Resume(t.Context()))
	first := due(t, j)
	nothingDue(t, j, "none was sent since the hold: one at a time")
	check(t, j.Begin(t.Context(), first.ID))
	check(t, j.Retry(t.Context(), first.ID, time.Now(), true, errors.New("no answer")))
	first = due(t, j)
	check(t, j.Sent(t.Context(), first.ID, "5"))
	if again := due(t, j); again.Reply.Text != "three" {
		t.Errorf("then due: %+v", again)
	}
	nothingDue(t, j, "the first stood there already, and nothing was sent: one at a time")
}

func TestTimedHoldEnds(t *testing.T) {
	j := opened(t)
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one"), reply("b", "two"), reply("c", "three")})
	check(t, err)
	sent(t, j, due(t, j).ID, "5") // now several may go at once
	check(t, j.Hold(t.Context(), due(t, j).ID, time.Now().Add(30*time.Millisecond), errors.New("429")))
	due(t, j) // waits for the end of the hold
	nothingDue(t, j, "none was sent since the hold: one at a time")
}

// What these settings are for cannot be tried here: it takes a power cut.
func TestWhatIsWrittenIsOnDisk(t *testing.T) {
	j := opened(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error {
			return db.row(ctx, "SELECT CAST("+pragma+" AS TEXT) FROM pragma_"+pragma, nil, &got)
		}))
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

func TestGuestNeedsAJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	_, err := Open(t.Context(), path, Options{Guest: true})
	if bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("Open: %v, want CodeNotFound", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a guest made the file")
	}
}

// Posted as a user, a reply comes back as a webhook, often before the server
// has answered the post.
func TestOwnReplyComingBackIsNotHandled(t *testing.T) {
	own := message("a", 42)
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			j := opened(t)
			j.EchoesReturn(true)
			_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one")})
			check(t, err)
			item := due(t, j)
			if !late {
				put(t, j, own)
			}
			person := message("a", 43)
			put(t, j, person)
			nothingToClaim(t, j, "a reply is under way, and either message may be it")
			put(t, j, message("b", 1))
			if got := claim(t, j); got.Message.Room.Token != "b" {
				t.Errorf("claimed %v, want the one of the other room", got.Message.Key)
			}
			check(t, j.Sent(t.Context(), item.ID, "42"))
			if late {
				put(t, j, own)
			}
			if got := claim(t, j); got.Message.Key != person.Key {
				t.Fatalf("claimed %v, want the person's", got.Message.Key)
			}
			put(t, j, own)
			finish(t, j, claimed(t, j, person.Key.Room))
			nothingToClaim(t, j, "what is left is our own")
		})
	}
}

// claimed returns the id of the message of a room that is claimed.
func claimed(t *testing.T, j *Journal, room string) int64 {
	t.Helper()
	j.inbox.mu.Lock()
	defer j.inbox.mu.Unlock()
	for id, ln := range j.inbox.owner {
		if ln.room == room {
			return id
		}
	}
	t.Fatalf("no message of %s is claimed", room)
	return 0
}

func TestOwnReplyComingBackAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	j.EchoesReturn(true)
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one")})
	check(t, err)
	check(t, j.Begin(t.Context(), due(t, j).ID))
	put(t, j, message("a", 42)) // it was posted, and the answer never came
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	j.EchoesReturn(true)
	nothingToClaim(t, j, "the reply's fate is not known")
	item := due(t, j)
	if item.Unclear != 1 {
		t.Fatal("the reply is not unclear")
	}
	check(t, j.Sent(t.Context(), item.ID, "42")) // found by its reference
	put(t, j, message("a", 43))
	if got := claim(t, j); got.Message.Key.ID != "43" {
		t.Errorf("claimed %s, our own", got.Message.Key.ID)
	}
}

func TestRefusedReplyFreesTheRoom(t *testing.T) {
	j := opened(t)
	j.EchoesReturn(true)
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one")})
	check(t, err)
	item := due(t, j)
	put(t, j, message("a", 43))
	check(t, j.Retry(t.Context(), item.ID, time.Now().Add(time.Hour), true, errors.New("no answer")))
	nothingToClaim(t, j, "the reply may stand there")
	check(t, j.Resume(t.Context()))
	check(t, j.GiveUp(t.Context(), due(t, j).ID, errors.New("gone")))
	claim(t, j)
}

func TestTextsAreNotKept(t *testing.T) {
	j := opened(t)
	j.StoreText(false)
	put(t, j, message("a", 1))
	item := claim(t, j)
	if item.Message.Text == "" {
		t.Fatal("the handler gets no text")
	}
	finish(t, j, item.ID, reply("a", "sent text"), reply("a", "given up text"))
	check(t, j.Sent(t.Context(), due(t, j).ID, "2"))
	check(t, j.GiveUp(t.Context(), due(t, j).ID, errors.New("gone")))
	check(t, j.Record(t.Context(), []bridge.Event{{Time: time.Now(), Title: bridge.Say("x"), Text: "event text"}}))
	for _, query := range []string{"SELECT body FROM inbox", "SELECT reply FROM outbox", "SELECT body FROM event"} {
		err := j.writer.current().each(t.Context(), query, func(scan scanner) error {
			var body []byte
			if err := scan(&body); err != nil {
				return err
			}
			if strings.Contains(string(body), "text of") || strings.Contains(string(body), `"text":"`) {
				t.Errorf("%s: %s", query, body)
			}
			return nil
		})
		check(t, err)
	}
	if put(t, j, message("a", 1)) {
		t.Error("without its text, the message is taken for new")
	}
}

func TestPrune(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{Now: func() time.Time { return now }})
	const old = 1200 // more than two chunks
	for id := range old {
		m := message("a", id)
		m.ReceivedAt = now
		put(t, j, m)
		item := claim(t, j)
		if id == 0 {
			finish(t, j, item.ID, reply("a", "old"))
			check(t, j.Sent(t.Context(), due(t, j).ID, ""))
		} else {
			finish(t, j, item.ID)
		}
	}
	odd := message("a", 0)
	odd.Key.ID, odd.Nonce, odd.ReceivedAt = "sha256-abc", "odd", now
	put(t, j, odd)
	finish(t, j, claim(t, j).ID)
	waiting := message("b", 5)
	waiting.ReceivedAt = now
	put(t, j, waiting)
	check(t, j.Record(t.Context(), []bridge.Event{{Time: now, Title: bridge.Say("old")}}))

	now = now.Add(48 * time.Hour)
	young := message("a", old+1)
	young.ReceivedAt = now
	put(t, j, young)
	check(t, j.Record(t.Context(), []bridge.Event{{Time: now, Title: bridge.Say("young")}}))
	check(t, j.Prune(t.Context(), now.Add(-24*time.Hour)))

	rows := func(query string) (n int) {
		check(t, j.writer.current().readers.QueryRowContext(t.Context(), query).Scan(&n))
		return n
	}
	if n := rows("SELECT count(*) FROM inbox"); n != 3 {
		t.Errorf("%d messages are left, want the waiting, the young and the one without a number", n)
	}
	if n := rows("SELECT count(*) FROM outbox"); n != 0 {
		t.Errorf("%d replies are left, want 0", n)
	}
	events, err := j.Events(t.Context(), Filter{})
	check(t, err)
	if len(events) != 1 || events[0].Title.String() != "young" {
		t.Errorf("events left: %v", events)
	}
	shut(t, j)

	j = open(t, path, Options{})
	defer shut(t, j)
	for _, id := range []int{0, 7, old - 1} {
		again := message("a", id)
		again.Nonce = "another " + again.Nonce
		if put(t, j, again) {
			t.Errorf("message %d is taken for new after it was pruned", id)
		}
	}
	odd.Nonce = "another odd"
	if put(t, j, odd) {
		t.Error("the message without a number is taken for new after it was pruned")
	}
	if !put(t, j, message("a", old+2)) {
		t.Error("a later message is not fresh")
	}
	if messages, _ := j.Backlog(); messages != 3 {
		t.Errorf("%d messages wait, want 3", messages)
	}
}

func TestEvents(t *testing.T) {
	j := opened(t)
	named := message("a", 1)
	named.Room.Name = "Kitchen"
	keep(t, j, named)
	for i, e := range []bridge.Event{
		{Level: slog.LevelInfo, Title: bridge.Say("one"), Room: bridge.Room{Token: "a", Name: "Kitchen"}},
		{Level: slog.LevelError, Title: bridge.Say("%s and %s", "two", "more"), Room: bridge.Room{Token: "b"}, Hint: bridge.Say("do")},
		{Level: slog.LevelWarn, Title: bridge.Say("three")},
	} {
		e.Time = time.UnixMilli(int64(i))
		check(t, j.Record(t.Context(), []bridge.Event{e}))
	}
	for _, tt := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"all, oldest first", Filter{}, "one, two and more, three"},
		{"the newest", Filter{Limit: 2}, "two and more, three"},
		{"by level", Filter{Level: slog.LevelWarn}, "two and more, three"},
		{"by token", Filter{Room: "b"}, "two and more"},
		{"by name", Filter{Room: "Kitchen"}, "one"},
		{"since", Filter{Since: time.UnixMilli(2)}, "three"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, err := j.Events(t.Context(), tt.filter)
			check(t, err)
			var titles []string
			for _, e := range events {
				titles = append(titles, e.Title.String())
			}
			if got := strings.Join(titles, ", "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSettingsFingerprint(t *testing.T) {
	j := opened(t)
	for i, tt := range []struct {
		fingerprint string
		want        bool
	}{{"a", true}, {"a", false}, {"b", true}, {"b", false}} {
		changed, err := j.Settings(t.Context(), tt.fingerprint)
		if err != nil || changed != tt.want {
			t.Errorf("%d: Settings(%s) = %v %v, want %v", i, tt.fingerprint, changed, err, tt.want)
		}
	}
	one, err := j.Salt(t.Context())
	check(t, err)
	two, err := j.Salt(t.Context())
	check(t, err)
	if len(one) < 16 || string(one) != string(two) {
		t.Errorf("salts %x and %x", one, two)
	}
}

func TestClosedJournal(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), Options{})
	shut(t, j)
	if _, err := j.Put(t.Context(), message("a", 1), bridge.MessageWaiting, nil); err == nil {
		t.Error("Put after Close succeeds")
	}
}
