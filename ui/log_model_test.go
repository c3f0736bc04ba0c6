package ui

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

// english says a text as the tests read it.
func english(t bridge.Text) string { return t.String() }

// received returns the event of a message in the kitchen.
func received(id string) bridge.Event {
	return bridge.Event{
		Time: clockTime(35, 0), Stage: bridge.StageIntake, Kind: bridge.EventMessageReceived, Title: bridge.Say("Message received"),
		Room: kitchen(), Actor: alice(), MessageID: id, Text: "question " + id,
	}
}

// replied returns the event of a reply to that message.
func replied(id string) bridge.Event {
	return bridge.Event{
		Time: clockTime(35, 1), Stage: bridge.StageSender, Kind: bridge.EventReplySent, Title: bridge.Say("Reply sent"),
		Room: kitchen(), MessageID: "9" + id, Answers: id, Text: "answer " + id, Waited: 900 * time.Millisecond,
	}
}

// unsent returns the event of a reply that was not sent.
func unsent(id string, level slog.Level, code bridge.Code) bridge.Event {
	e := replied(id).Failed(&bridge.Error{Code: code, Text: bridge.Say("refused"), Hint: bridge.Say("mend it")})
	e.Level, e.MessageID, e.Title = level, "", bridge.Say("A reply was not sent")
	switch {
	case level == slog.LevelWarn:
		e.Kind = bridge.EventReplyDelayed
	case code == bridge.CodeRejected:
		e.Kind = bridge.EventReplyGivenUp
	default:
		e.Kind = bridge.EventReplyHeld
	}
	return e
}

// handled returns the passing event of a handler that is done.
func handled(id string, kind bridge.EventKind, took time.Duration) bridge.Event {
	return bridge.Event{
		Time: clockTime(35, 1), Stage: bridge.StageHandler, Level: slog.LevelDebug, Kind: kind, Title: bridge.Say("%s", string(kind)),
		Room: kitchen(), Actor: alice(), MessageID: id, Duration: took,
	}
}

// bookOf returns a book with the entries that events make, one by one.
func bookOf(most uint64, events ...bridge.Event) (*logBook, *ledger) {
	b, l := newLogBook(most), &ledger{}
	for _, e := range events {
		b.add(l.all(e), clockTime(35, 4))
	}
	return b, l
}

// rowsOf returns the rows of a book as "question 1: sent 0.9 s", oldest first.
func rowsOf(b *logBook, f logFilter) []string {
	v := &logView{filter: f}
	b.update(v, english)
	return rowsIn(v)
}

func rowsIn(v *logView) []string {
	list := []string{}
	for _, r := range v.rows {
		state, _ := r.state(clockTime(35, 4), true)
		list = append(list, r.words(english)+": "+state.String())
	}
	return list
}

func TestLogRowsHaveTheFateOfTheirMessages(t *testing.T) {
	broken := handled("1", bridge.EventMessageFailed, time.Second).Failed(errors.New("no such model"))
	passed := handled("1", bridge.EventMessagePassed, time.Second)
	passed.Level = slog.LevelInfo
	warned := handled("1", bridge.EventHandlerNote, 0)
	warned.Title = bridge.Say("The model takes no pictures")
	warned.Level = slog.LevelWarn
	notForBot := received("1")
	notForBot.Kind = bridge.EventMessageNotForBot
	reaction := replied("1")
	reaction.Waited = 0
	for name, c := range map[string]struct {
		events []bridge.Event
		want   []string
	}{
		"in work":                         {[]bridge.Event{received("1")}, []string{"question 1: working 4 s"}},
		"answered":                        {[]bridge.Event{received("1"), replied("1")}, []string{"question 1: sent 0.9 s"}},
		"answered, told late":             {[]bridge.Event{received("1"), replied("1"), handled("1", bridge.EventMessageHandled, 5)}, []string{"question 1: sent 0.9 s"}},
		"the reply to an older message":   {[]bridge.Event{replied("7"), received("1")}, []string{"answer 7: sent", "question 1: working 4 s"}},
		"the reply in another room":       {[]bridge.Event{received("1"), inRoom(replied("1"), ops())}, []string{"question 1: working 4 s", "answer 1: sent"}},
		"handled":                         {[]bridge.Event{received("1"), handled("1", bridge.EventMessageHandled, 5)}, []string{"question 1: sending"}},
		"nothing to say":                  {[]bridge.Event{received("1"), handled("1", bridge.EventMessageSilent, 5)}, []string{"question 1: no reply"}},
		"no handler asked":                {[]bridge.Event{notForBot}, []string{"question 1: for the record"}},
		"the handler failed":              {[]bridge.Event{received("1"), broken, replied("1")}, []string{"question 1: failed"}},
		"another bot has it":              {[]bridge.Event{received("1"), passed}, []string{"question 1: handed on"}},
		"a warning is a row of its own":   {[]bridge.Event{received("1"), warned}, []string{"question 1: working 4 s", "The model takes no pictures: handler"}},
		"held":                            {[]bridge.Event{received("1"), unsent("1", slog.LevelError, bridge.CodeUnauthorized)}, []string{"question 1: 401 held"}},
		"slowed down":                     {[]bridge.Event{received("1"), unsent("1", slog.LevelError, bridge.CodeThrottled)}, []string{"question 1: 429 held"}},
		"held and then sent":              {[]bridge.Event{received("1"), unsent("1", slog.LevelError, bridge.CodeUnauthorized), replied("1")}, []string{"question 1: sent 0.9 s"}},
		"tried again":                     {[]bridge.Event{received("1"), unsent("1", slog.LevelWarn, bridge.CodeUnavailable)}, []string{"question 1: trying again"}},
		"given up":                        {[]bridge.Event{received("1"), unsent("1", slog.LevelError, bridge.CodeRejected)}, []string{"question 1: given up"}},
		"one part given up, another sent": {[]bridge.Event{received("1"), unsent("1", slog.LevelError, bridge.CodeRejected), replied("1")}, []string{"question 1: given up"}},
		"a reaction is no answer":         {[]bridge.Event{received("1"), reaction}, []string{"question 1: working 4 s"}},
		"others": {
			fakeEvents()[:4],
			[]string{"wrong signature: 401", "Summarise the last backup log, please: sent 3.1 s", "The tunnel is online at https://bot.example.com (FRA, quic): tunnel"},
		},
		"turned away": {fakeEvents()[7:8], []string{"not among the allowed users: refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, l := bookOf(10, c.events...) // one by one, as they come
			at := newLogBook(10)
			at.add(l.entries, clockTime(35, 4)) // as a start reads them
			if diff := cmp.Diff(c.want, rowsOf(at, logFilter{})); diff != "" {
				t.Errorf("at once (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.want, rowsOf(b, logFilter{})); diff != "" {
				t.Errorf("one by one (-want +got):\n%s", diff)
			}
		})
	}
}

func inRoom(e bridge.Event, r bridge.Room) bridge.Event {
	e.Room = r
	return e
}

// A reply is held as long as all are.
func TestWhatIsHeldIsSentOnceNothingIs(t *testing.T) {
	b, _ := bookOf(10, received("1"), unsent("1", slog.LevelError, bridge.CodeUnauthorized))
	state, _ := b.at(0).state(clockTime(35, 4), false)
	if state.String() != "sending" {
		t.Errorf("a reply that is no longer held is %q", state)
	}
}

func TestLogHasEachEntryOnce(t *testing.T) {
	b, l := bookOf(10, received("1"), received("2"), received("3"), received("4"))
	b.add(l.entries, clockTime(35, 4))
	b.add(l.entries[1:3], clockTime(35, 4))
	if got := len(rowsOf(b, logFilter{})); got != 4 {
		t.Errorf("%d rows", got)
	}
}

// Whatever comes in whatever order, a view that was kept up to date is as one
// that is new, and the book remembers nothing of what is gone.
func TestLogViewIsKeptUpToDate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	filters := []logFilter{{}, {level: slog.LevelError}, {text: "answer"}, {room: ops().Token}, {person: bob().Ref(), text: "question 1"}}
	for _, f := range filters {
		b := newLogBook(50)
		v := &logView{filter: f}
		l := &ledger{}
		for round := range 300 {
			var batch []bridge.Entry
			for range random.IntN(30) {
				m := strconv.Itoa(random.IntN(200))
				e := []bridge.Event{
					received(m), replied(m), unsent(m, slog.LevelError, bridge.CodeUnauthorized),
					handled(m, bridge.EventMessageHandled, 1), handled(m, bridge.EventMessageSilent, 1), handled(m, bridge.EventMessageFailed, 1).Failed(errors.New("x")),
				}[random.IntN(6)]
				if random.IntN(3) == 0 {
					e.Room, e.Actor = ops(), bob()
				}
				batch = append(batch, l.take(e))
			}
			b.add(batch, clockTime(35, 4))
			if round%100 == 99 {
				b.forget()
			}
			if random.IntN(3) > 0 {
				continue // the window is hidden
			}
			before := len(rowsIn(v))
			promised := b.fresh(v, english)
			if got := b.update(v, english); got != promised {
				t.Fatalf("%d new rows of %d, %d were promised", got, before, promised)
			}
			want := &logView{filter: f}
			fresh := &logBook{most: b.most, rows: b.rows, next: b.next, version: 1}
			fresh.update(want, english)
			if diff := cmp.Diff(rowsIn(want), rowsIn(v)); diff != "" {
				t.Fatalf("filter %+v, round %d (-new +kept):\n%s", f, round, diff)
			}
			if !slices.IsSortedFunc(v.rows, func(x, y *logRow) int { return int(x.seq) - int(y.seq) }) {
				t.Fatal("rows are out of order")
			}
		}
		for what, n := range map[string]int{"rows": len(b.rows), "known": len(b.known), "view": len(v.rows)} {
			if n > 50 {
				t.Errorf("%d %s are kept", n, what)
			}
		}
		for key, seq := range b.known {
			if seq < b.first() || b.keys[seq%b.most] != key {
				t.Fatalf("entry %v is not in row %d", key, seq)
			}
		}
	}
}

// Many rooms do not make a book grow.
func TestLogBookIsBounded(t *testing.T) {
	b := newLogBook(10)
	for i := range 2 * maxFrames {
		n := strconv.Itoa(i)
		e := inRoom(received(n), bridge.Room{Token: n})
		b.add([]bridge.Entry{{Message: &bridge.Record{
			ID: int64(i), State: bridge.MessageWaiting, Message: bridge.Message{Key: bridge.Key{Room: n, ID: n}, Room: e.Room, Author: e.Actor, ReceivedAt: e.Time},
		}}}, clockTime(35, 4))
	}
	if len(b.frames) > maxFrames || len(b.touched) > 10 || len(b.known) > 10 {
		t.Errorf("%d frames, %d known, %d touched", len(b.frames), len(b.known), len(b.touched))
	}
}

func TestLogForgets(t *testing.T) {
	b, l := bookOf(10, received("1"), replied("1"), received("2"))
	v := &logView{}
	b.update(v, english)
	b.forget()
	b.update(v, english)
	if got := rowsIn(v); len(got) != 0 {
		t.Errorf("after it was cleared there are %q", got)
	}
	b.add(l.all(received("3")), clockTime(35, 4))
	b.update(v, english)
	if diff := cmp.Diff([]string{"question 3: working 4 s"}, rowsIn(v)); diff != "" {
		t.Errorf("what was cleared comes back, or the rest is lost:\n%s", diff)
	}
}

func TestLogFilter(t *testing.T) {
	b, _ := bookOf(100, fakeEvents()...)
	for name, c := range map[string]struct {
		filter logFilter
		want   []string
	}{
		"warnings":            {logFilter{level: slog.LevelWarn}, []string{"wrong signature", "!ping", "not among the allowed users"}},
		"errors":              {logFilter{level: slog.LevelError}, []string{"!ping"}},
		"a room":              {logFilter{room: kitchen().Token}, []string{"!ping", "what is for dinner?"}},
		"a person":            {logFilter{person: bob().Ref()}, []string{"Summarise the last backup log, please", "!status"}},
		"what was written":    {logFilter{text: "DINNER for"}, []string{"what is for dinner?"}},
		"what was answered":   {logFilter{text: "lentil"}, []string{"what is for dinner?"}},
		"a refused reply":     {logFilter{text: "secret is another"}, []string{"!ping"}},
		"what happened":       {logFilter{text: "tunnel online"}, []string{"The tunnel is online at https://bot.example.com (FRA, quic)"}},
		"a name":              {logFilter{text: "grandma"}, []string{"Are the lights off?"}},
		"an id":               {logFilter{text: "1569"}, []string{"not among the allowed users"}},
		"room and text":       {logFilter{room: ops().Token, text: "status"}, []string{"!status"}},
		"nothing":             {logFilter{text: "breakfast"}, []string{}},
		"what all say is not": {logFilter{text: "message received"}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := rowsOf(b, c.filter)
			for i, row := range got {
				got[i] = row[:strings.LastIndex(row, ": ")]
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRoomsAndPeopleToChoose(t *testing.T) {
	b, l := newLogBook(10), &ledger{}
	renamed, twin := kitchen(), kitchen()
	renamed.Name, twin.Token = "the kitchen", "zzzz1111"
	twin.Name = "The Kitchen"
	b.add(l.all(received("1"), inRoom(received("2"), ops()), inRoom(received("3"), renamed)), clockTime(35, 4))
	rooms, people, version := b.choices(0)
	if diff := cmp.Diff([]logChoice{{"opsroom1", "Ops"}, {"knzaftd5", "the kitchen"}}, rooms, cmp.AllowUnexported(logChoice{})); diff != "" {
		t.Error(diff)
	}
	if len(people) != 1 || people[0].name != "Alice" {
		t.Errorf("people: %v", people)
	}
	b.add(l.all(bridge.Event{ID: 9, Level: slog.LevelInfo, Room: renamed}), clockTime(35, 4))
	if _, _, again := b.choices(0); again != version {
		t.Error("nobody is new")
	}
	twin.Name = renamed.Name
	b.add(l.all(bridge.Event{ID: 10, Level: slog.LevelInfo, Room: twin}), clockTime(35, 4))
	rooms, _, _ = b.choices(0)
	if rooms[1].name == rooms[2].name {
		t.Errorf("rooms of one name cannot be told apart: %v", rooms)
	}
	for i := range 1000 {
		b.add(l.all(bridge.Event{ID: int64(i) + 11, Level: slog.LevelInfo, Room: bridge.Room{Token: strconv.Itoa(i)}, Actor: bridge.Actor{Type: "guests", ID: strconv.Itoa(i)}}), clockTime(35, 4))
	}
	rooms, people, _ = b.choices(0)
	if len(rooms) > maxChoices || len(people) > maxChoices {
		t.Errorf("%d rooms and %d people", len(rooms), len(people))
	}
}

// The JSON has the keys that perch run --help tells of, and no others.
func TestExportAsJSON(t *testing.T) {
	b, _ := bookOf(100, fakeEvents()...)
	v := &logView{filter: logFilter{room: kitchen().Token}}
	b.update(v, english)
	events := eventsOf(v.rows)
	events[1].Text = "pong \u202e\u200b"
	var out bytes.Buffer
	must(t, writeJSON(&out, events))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var got []map[string]any
	for _, l := range lines {
		var m map[string]any
		must(t, json.Unmarshal([]byte(l), &m))
		got = append(got, m)
	}
	if len(got) != 4 {
		t.Fatalf("%d lines of 4", len(got))
	}
	at, err := time.Parse(time.RFC3339Nano, got[1]["time"].(string))
	if must(t, err); !at.Equal(clockTime(32, 40)) {
		t.Errorf("time: %v", at)
	}
	delete(got[1], "time")
	want := map[string]any{
		"level": "ERROR", "msg": "A reply to Kitchen was refused (401). Nothing more is sent until the cause is fixed", "stage": "sender", "room": "knzaftd5", "room_name": "Kitchen",
		"text": "pong \u202e\u200b", "code": "unauthorized", "reason": "Its secret is another one.",
		"cause": "POST /ocs/v2.php/apps/spreed/api/v1/bot/knzaftd5/message: 401", "hint": "Check the secret, then: perch retry", "kind": "reply-held",
	}
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.ContainsAny(out.String(), "\u202e\u200b") {
		t.Error("what turns the text around stands in the file as it is")
	}
	keys := slices.Sorted(maps.Keys(got[0]))
	if diff := cmp.Diff([]string{"actor", "actor_name", "kind", "level", "message_id", "msg", "room", "room_name", "stage", "text", "time"}, keys); diff != "" {
		t.Errorf("keys of a message (-want +got):\n%s", diff)
	}
	if got[3]["duration_ms"] != 210.0 || got[3]["text"] != "Lentil soup." {
		t.Errorf("reply: %v", got[3])
	}
}

func TestExportAsText(t *testing.T) {
	b, _ := bookOf(100, fakeEvents()...)
	v := &logView{filter: logFilter{room: kitchen().Token}}
	b.update(v, english)
	events := eventsOf(v.rows)
	events[2].Text = "two\r\nlines\x1b[31m"
	var out bytes.Buffer
	must(t, writeText(&out, events, english))
	want := `2026-11-22 14:32:39  → Kitchen  Alice: !ping
2026-11-22 14:32:40  ✕ A reply to Kitchen was refused (401). Nothing more is sent until the cause is fixed
                       Its secret is another one.
                       POST /ocs/v2.php/apps/spreed/api/v1/bot/knzaftd5/message: 401
                       Check the secret, then: perch retry.
2026-11-22 14:35:08  → Kitchen  Alice: two
                       lines·[31m
2026-11-22 14:35:09  ← Kitchen  Lentil soup.  (0.2 s)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExportSaysThatTheDiskIsFull(t *testing.T) {
	full := errors.New("no space left on device")
	events := []logEvent{newLogEvent(received("1"))}
	if err := writeText(failing{full}, events, english); !errors.Is(err, full) {
		t.Errorf("text: %v", err)
	}
	if err := writeJSON(failing{full}, events); !errors.Is(err, full) {
		t.Errorf("JSON: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return nil }

func TestExcerpt(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"  hello \n\t world ", "hello world"},
		{"12345678901234567890 more", "12345678901234567890…"},
		{"12345678901234567890", "12345678901234567890"},
		{"a\u202eb\x1bc\u200bd", "a·b·c·d"},
		{"日本語 👩‍🍳", "日本語 👩‍🍳"},
		{"", ""},
	} {
		if got := excerpt(c.text, 20); got != c.want {
			t.Errorf("%q became %q", c.text, got)
		}
	}
}

// hasWord is as it would be with strings alone.
func FuzzHasWord(f *testing.F) {
	for _, s := range []string{"", "What is for Dinner?", "ÉCOLE", "aaab", "[", "@"} {
		f.Add(s, "a")
		f.Add(s, "dinner?")
		f.Add(s, "école")
	}
	f.Fuzz(func(t *testing.T, s, word string) {
		word = strings.ToLower(word)
		if got, want := hasWord(s, word), strings.Contains(strings.ToLower(s), word); got != want {
			t.Errorf("%q in %q: %v, want %v", word, s, got, want)
		}
	})
}

// busyLog returns a book that is full, and what comes in half a second to a
// busy bot: 100 messages with their replies.
func busyLog() (b *logBook, batch func() []bridge.Entry) {
	b = newLogBook(logRows)
	n := 0
	batch = func() []bridge.Entry {
		entries := make([]bridge.Entry, 0, 100)
		for range 100 {
			n++
			entries = append(entries, answered(n))
		}
		return entries
	}
	for range logRows / 100 {
		b.add(batch(), clockTime(35, 4))
	}
	return b, batch
}

// answered returns the entry of a message that was answered.
func answered(n int) bridge.Entry {
	m, r := received(strconv.Itoa(n)), replied(strconv.Itoa(n))
	return bridge.Entry{Message: &bridge.Record{
		ID: int64(n), State: bridge.MessageHandled, EndedAt: r.Time,
		Message: bridge.Message{Key: bridge.Key{Room: m.Room.Token, ID: m.MessageID}, Room: m.Room, Author: m.Actor, Text: m.Text, ReceivedAt: m.Time},
		Replies: []bridge.ReplyRecord{{
			ID: int64(n), State: bridge.ReplySent, EndedAt: r.Time, MessageID: r.MessageID,
			Reply: bridge.Reply{Room: r.Room, Text: r.Text, Answers: r.Answers, AskedAt: r.Time.Add(-r.Waited)},
		}},
	}}
}

func BenchmarkLogBatch(b *testing.B) {
	book, batch := busyLog()
	v := &logView{filter: logFilter{text: "question 1"}}
	book.update(v, english)
	b.ReportAllocs()
	for b.Loop() {
		book.add(batch(), clockTime(35, 4))
		book.update(v, english)
	}
}

func BenchmarkLogFilter(b *testing.B) {
	book, _ := busyLog()
	v := &logView{}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		book.refilter(v, logFilter{text: "answer " + strconv.Itoa(n)}, english)
	}
}
