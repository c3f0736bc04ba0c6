package ui

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

// openLog opens a window at the log, with what is in the journal, when it is
// being watched.
func openLog(t *testing.T, b *fakeBackend, v fyne.ThemeVariant) (*tested, *logPage) {
	t.Helper()
	b.live = true
	x := openIn(t, b, v)
	p := x.pages[PageLog].(*logPage)
	x.Show(PageLog)
	x.settle(func() bool { return p.loaded })
	for b.errs["WatchLog"] == nil && b.publish() == 0 {
		if t.Context().Err() != nil {
			t.Fatal("nobody watches")
		}
		runtime.Gosched()
	}
	x.tickNow()
	return x, p
}

// refusing is a bot whose server has refused a reply.
func refusing() *fakeBackend {
	b := newFake()
	b.snapshot.State = bridge.StateDegraded
	b.snapshot.Title, b.snapshot.Detail = bridge.Say("Replies are held back"), bridge.Say("The server refused a reply, so nothing more is sent until the cause is fixed.")
	b.snapshot.Held, b.snapshot.Waiting = true, 1
	return b
}

// lineOf returns the line of a message.
func (x *tested) lineOf(message string) *logLine {
	x.t.Helper()
	return find(x, func(l *logLine) bool { return l.row.event.MessageID == message })
}

// lines returns what the rows say that a person can see, the newest first:
// "14:35:08 Kitchen Alice what is for dinner? sent 0.9 s".
func (x *tested) lines() []string {
	type at struct {
		y    float32
		text string
	}
	var all []at
	for _, o := range kittest.VisibleObjects(x.window.Canvas().Content()) {
		l, is := o.(*logLine)
		if !is || l.row == nil {
			continue
		}
		var words []string
		for _, o := range kittest.VisibleObjects(l) {
			if w, is := o.(*kit.Line); is && w.Text != "" {
				words = append(words, w.Text)
			}
		}
		all = append(all, at{x.app.Driver().AbsolutePositionForObject(l).Y, strings.Join(words, " ")})
	}
	slices.SortFunc(all, func(a, b at) int { return int(a.y - b.y) })
	list := []string{}
	for _, a := range all {
		list = append(list, a.text)
	}
	return list
}

// wantLines fails unless the newest rows say that.
func (x *tested) wantLines(want ...string) {
	x.t.Helper()
	got := x.lines()
	if len(want) > 0 {
		got = got[:min(len(got), len(want))]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		x.t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// live returns events as they happen now.
func live(_ *fakeBackend, events ...bridge.Event) []bridge.Event {
	for i := range events {
		events[i].Time = atTime()
	}
	return events
}

func TestLog(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x, _ := openLog(t, refusing(), v)
		x.shoot("log-rows-" + name)
		test.Tap(x.lineOf("1567"))
		x.looks("log")
		x.isDrawnIn(v)
		x.shoot("log-" + name)
		x.window.Resize(fyne.NewSize(540, 350)) // as at twice the size
		x.shoot("log-narrow-details-" + name)
		x.pages[PageLog].(*logPage).body.Scroll.ScrollToTop()
		x.shoot("log-narrow-" + name)
		x.fits()
	})
}

func TestLogShowsTheJournal(t *testing.T) {
	x, _ := openLog(t, refusing(), theme.VariantLight)
	x.wantLines(
		"14:35:08 Kitchen Alice what is for dinner? sent 0.9 s",
		"14:34:51 Ops Bob !status sent 12 ms",
		"14:34:20 Ops Mallory Not among the allowed users refused",
		"14:33:02 Family Grandma Are the lights off? no reply",
		"14:32:39 Kitchen Alice !ping 401 held",
		"14:31:15 — — The tunnel is online at https://bot.example.com (FRA, quic) tunnel",
		"14:30:55 Ops Bob Summarise the last backup log, please sent 3.1 s",
		"14:29:12 — 203.0.113.9 Wrong signature 401",
	)
}

func TestLogShowsWhatHappens(t *testing.T) {
	x, p := openLog(t, newFake(), theme.VariantLight)
	n := len(p.view.rows)
	x.fake.publish(live(x.fake, received("2000"))...)
	if len(p.view.rows) != n {
		t.Error("rows do not wait for the next tick")
	}
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2000 working 0 s")
	// The second passes.
	x.now = func() time.Time { return atTime().Add(4 * time.Second) }
	if len(x.timers) == 0 {
		t.Fatal("nothing waits for the next second")
	}
	for _, f := range x.timers {
		f()
	}
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2000 working 4 s")
	x.now = func() time.Time { return atTime().Add(20 * time.Minute) }
	x.poke()
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2000 working 20 min")
	x.fake.publish(handled("2000", bridge.EventMessageHandled, time.Second))
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2000 sending")
	x.fake.publish(live(x.fake, replied("2000"))...)
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2000 sent 0.9 s", "14:35:08 Kitchen Alice what is for dinner? sent 0.9 s")
}

// Nothing comes twice.
func TestLogShowsEachEntryOnce(t *testing.T) {
	x, p := openLog(t, newFake(), theme.VariantLight)
	n := len(p.view.rows)
	next := live(x.fake, received("2000"), received("2001"), received("2002"))
	x.fake.publish(next...)
	x.fake.publish(next...)
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2002 working 0 s", "14:35:20 Kitchen Alice question 2001 working 0 s", "14:35:20 Kitchen Alice question 2000 working 0 s")
	if len(p.view.rows) != n+3 {
		t.Errorf("%d rows, want %d", len(p.view.rows), n+3)
	}
}

// The log that comes back into view has what happened meanwhile.
func TestLogCollectsWhileItIsHidden(t *testing.T) {
	x, p := openLog(t, newFake(), theme.VariantLight)
	x.SetVisible(false)
	x.fake.publish(live(x.fake, received("2000"))...)
	version := p.view.version
	x.tickNow()
	if p.view.version != version {
		t.Error("a log that nobody sees is refreshed")
	}
	x.SetVisible(true)
	x.wantLines("14:35:20 Kitchen Alice question 2000 working 0 s")
}

func TestLogHold(t *testing.T) {
	x, p := openLog(t, newFake(), theme.VariantLight)
	test.Tap(x.buttonOf("Hold"))
	x.buttonOf("Go on")
	before := x.lines()
	x.fake.publish(live(x.fake, received("2000"), received("2001"), replied("2000"))...)
	x.tickNow()
	x.wantLines(before...)
	x.shoot("log-held")
	test.Tap(x.buttonOf("2 new"))
	x.buttonOf("Hold")
	x.wantLines("14:35:20 Kitchen Alice question 2001 working 0 s", "14:35:20 Kitchen Alice question 2000 sent 0.9 s")
	// A filter counts what it lets through.
	test.Tap(p.hold)
	p.search.SetText("status")
	x.fake.publish(live(x.fake, received("2002"))...)
	x.tickNow()
	x.buttonOf("Go on")
}

func TestLogByKeyboard(t *testing.T) {
	x, p := openLog(t, refusing(), theme.VariantLight)
	x.typedShortcut(&desktop.CustomShortcut{KeyName: fyne.KeyF, Modifier: fyne.KeyModifierShortcutDefault})
	if x.window.Canvas().Focused() != fyne.Focusable(p.search) {
		t.Fatal("Ctrl+F does not lead to the search")
	}
	for _, r := range "ki" {
		p.search.TypedRune(r)
	}
	x.wantLines("14:35:08 Kitchen Alice what is for dinner? sent 0.9 s", "14:32:39 Kitchen Alice !ping 401 held")
	x.press(fyne.KeyReturn)
	if x.window.Canvas().Focused() != fyne.Focusable(p.list) {
		t.Fatal("Enter does not lead from the search to the rows")
	}
	selected := func() string { return p.selected.event.MessageID }
	if selected() != "1571" || p.details.Visible() {
		t.Errorf("selected at first: %s, details %v", selected(), p.details.Visible())
	}
	x.press(fyne.KeyDown)
	if selected() != "1567" {
		t.Errorf("selected below: %s", selected())
	}
	x.press(fyne.KeyDown, fyne.KeyReturn)
	x.reads("Reply to message 1567 · Kitchen · 401 held · 2026-11-22 14:32:39", "Check the secret, then:", "perch retry")
	x.press(fyne.KeyUp)
	x.reads("Reply to message 1571 · Kitchen · sent 0.9 s · 2026-11-22 14:35:08", "Perch  Lentil soup.  after 0.9 s")
	p.list.TypedShortcut(&fyne.ShortcutCopy{})
	if got := x.app.Clipboard().Content(); !strings.Contains(got, "Alice: what is for dinner?") || !strings.Contains(got, "answers=1571") {
		t.Errorf("copied: %q", got)
	}
	x.press(fyne.KeyEscape)
	if p.details.Visible() {
		t.Error("Escape does not close the details")
	}
	x.press(fyne.KeyEnd, fyne.KeySpace)
	if selected() != "1567" || !p.details.Visible() {
		t.Error("End and Space do not open the last")
	}
	x.press(fyne.KeyHome, fyne.KeySpace)
	if selected() != "1571" || p.details.Visible() {
		t.Error("Space does not close the details")
	}
	x.press(fyne.KeyEscape)
	if p.search.Text != "" || len(p.view.rows) != 8 {
		t.Errorf("Escape does not clear the filter: %q", p.search.Text)
	}
	x.press(fyne.KeyEscape)
	if x.current != PageOverview {
		t.Error("Escape does not go back")
	}
	p.list.TypedShortcut(&desktop.CustomShortcut{KeyName: fyne.Key3, Modifier: fyne.KeyModifierShortcutDefault})
	if x.current != PageDoctor {
		t.Error("Ctrl+3 does not work in the rows")
	}
}

// Everything can be reached by Tab, from left to right and down.
func TestLogTabOrder(t *testing.T) {
	x, p := openLog(t, refusing(), theme.VariantLight)
	test.Tap(x.lineOf("1567"))
	x.window.Canvas().Focus(p.search)
	want := []fyne.Focusable{p.levels, p.rooms, p.people, p.hold, p.export, p.clears, p.list, p.details.retry, p.details.copies}
	for i, w := range want {
		x.press(fyne.KeyTab)
		if got := x.window.Canvas().Focused(); got != w {
			t.Fatalf("%d. Tab leads to %T, want %T", i+1, got, w)
		}
	}
}

func TestLogFiltersByLevelRoomAndPerson(t *testing.T) {
	x, p := openLog(t, refusing(), theme.VariantLight)
	p.levels.SetSelected("Warnings")
	x.wantLines("14:34:20 Ops Mallory Not among the allowed users refused", "14:32:39 Kitchen Alice !ping 401 held", "14:29:12 — 203.0.113.9 Wrong signature 401")
	p.levels.SetSelected("Errors")
	x.wantLines("14:32:39 Kitchen Alice !ping 401 held")
	p.levels.SetSelected("All levels")
	p.rooms.SetSelected("Ops")
	x.wantLines("14:34:51 Ops Bob !status sent 12 ms", "14:34:20 Ops Mallory Not among the allowed users refused", "14:30:55 Ops Bob Summarise the last backup log, please sent 3.1 s")
	p.people.SetSelected("Mallory")
	x.wantLines("14:34:20 Ops Mallory Not among the allowed users refused")
	// A new room does not change what is chosen.
	x.fake.publish(live(x.fake, inRoom(received("2000"), bridge.Room{Token: "attic123", Name: "Attic"}))...)
	x.tickNow()
	if p.rooms.Selected != "Ops" || !slices.Contains(p.rooms.Options, "Attic") {
		t.Errorf("%s is chosen of %v", p.rooms.Selected, p.rooms.Options)
	}
	x.wantLines("14:34:20 Ops Mallory Not among the allowed users refused")
	p.rooms.SetSelected("Family")
	x.reads("Nothing matches the filter", "None of the newest 9 entries is like that.")
	x.shoot("log-no-match")
	test.Tap(x.buttonOf("Clear filter"))
	if len(x.lines()) < 8 || p.rooms.Selected != "All rooms" || p.people.Selected != "Everybody" {
		t.Errorf("the filter is not gone: %v", x.lines())
	}
}

func TestLogTriesAgain(t *testing.T) {
	x, p := openLog(t, refusing(), theme.VariantLight)
	test.Tap(x.lineOf("1567"))
	x.reads("A reply to Kitchen was refused (401). Nothing more is sent until the cause is fixed. Its secret is another one.",
		"POST /ocs/v2.php/apps/spreed/api/v1/bot/knzaftd5/message: 401", "Perch  pong  not sent")
	test.Tap(x.buttonOf("Try again"))
	x.settle(func() bool { return slices.Contains(x.fake.asked(), "Retry") })
	x.fake.change(func(b *fakeBackend) { b.snapshot = newFake().snapshot })
	x.tickNow()
	if !p.details.retry.Hidden {
		t.Error("there is nothing to try again")
	}
	x.fake.publish(live(x.fake, replied("1567"))...)
	x.tickNow()
	x.reads("Reply to message 1567 · Kitchen · sent 0.9 s · 2026-11-22 14:32:39", "Perch  answer 1567  after 0.9 s")
}

func TestLogClears(t *testing.T) {
	x, p := openLog(t, newFake(), theme.VariantLight)
	test.Tap(x.buttonOf("Clear…"))
	x.reads("Everything in the log is removed from the journal, for good. Messages that wait and their replies stay.")
	x.shoot("log-clear")
	if slices.Contains(x.fake.asked(), "ClearLog") {
		t.Error("it is cleared without a question")
	}
	test.Tap(x.buttonOf("Clear the log"))
	x.settle(func() bool { return len(p.view.rows) == 0 })
	x.reads("Messages appear here")
	x.shoot("log-cleared")
	x.fake.publish(live(x.fake, received("2000"))...)
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2000 working 0 s")
	if n := len(p.view.rows); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestLogIsNotClearedWhereThatFails(t *testing.T) {
	x, p := openLog(t, newFake(), theme.VariantLight)
	x.fake.change(func(b *fakeBackend) {
		b.errs["ClearLog"] = &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The disk is full"), Hint: bridge.Say("Make room.")}
	})
	test.Tap(x.buttonOf("Clear…"))
	test.Tap(x.buttonOf("Clear the log"))
	x.step()
	x.reads("The disk is full Make room.")
	if len(p.view.rows) != 8 {
		t.Error("rows are gone that are in the journal")
	}
}

func TestLogWithoutEvents(t *testing.T) {
	b := newFake()
	b.log = &ledger{}
	x := open(t, b)
	p := x.pages[PageLog].(*logPage)
	x.Show(PageLog)
	x.reads("Reading the journal…")
	x.settle(func() bool { return p.loaded })
	x.reads("Messages appear here", "Write to the bot in a conversation in which it is enabled, or try it here. What goes wrong appears here, too.")
	x.looks("log-empty")
	x.shoot("log-empty")
	x.fake.change(func(b *fakeBackend) { b.snapshot.State = bridge.StatePaused })
	x.tickNow()
	x.reads("Perch is paused: it takes no messages until you resume it.")
	test.Tap(find(x, func(b *kit.Button) bool { return b.Text == "Practice" }))
	if x.current != PagePractice {
		t.Error("Practice does not lead there")
	}
}

func TestLogOfAJournalThatCannotBeRead(t *testing.T) {
	b := newFake()
	b.errs["WatchLog"] = &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The journal cannot be read"), Hint: bridge.Say("perch doctor")}
	b.log = &ledger{}
	x, _ := openLog(t, b, theme.VariantLight)
	x.reads("The journal cannot be read perch doctor", "Messages appear here")
}

// What is written has what the filter shows.
func TestLogExports(t *testing.T) {
	x, p := openLog(t, refusing(), theme.VariantLight)
	p.search.SetText("kitchen")
	test.Tap(x.buttonOf("Export…"))
	menu := x.menu()
	x.shoot("log-export")
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyEscape})

	file := &memoryFile{}
	p.write(file, filepath.Join("home", "log.jsonl"), writeJSON)
	x.settle(func() bool { return x.shell.notice.Visible() })
	x.reads("4 events are in home/log.jsonl")
	if n := bytes.Count(file.Bytes(), []byte("\n")); n != 4 || !file.closed {
		t.Errorf("%d lines, closed %v", n, file.closed)
	}
	x.hideNotice()
	p.write(failing{errors.New("no space left")}, "log.txt", writeJSON)
	x.settle(func() bool { return x.shell.notice.Visible() })
	x.reads("log.txt could not be written Choose another folder, or check whether the disk is full.")
}

// menu returns the menu that is open.
func (x *tested) menu() *widget.PopUpMenu {
	x.t.Helper()
	for _, o := range test.LaidOutObjects(x.window.Canvas().Overlays().Top()) {
		if m, is := o.(*widget.PopUpMenu); is {
			return m
		}
	}
	x.t.Fatal("no menu is open")
	return nil
}

type memoryFile struct {
	bytes.Buffer
	closed bool
}

func (c *memoryFile) Close() error {
	c.closed = true
	return nil
}

// busyLedger returns the answered messages of a busy bot, oldest first.
func busyLedger(messages int) *ledger {
	l := &ledger{}
	for i := range messages {
		l.append(answered(i))
	}
	return l
}

// Whoever reads further down is not carried away by what comes.
func TestLogStaysWhereItIsRead(t *testing.T) {
	b := newFake()
	b.log = busyLedger(1000)
	x, p := openLog(t, b, theme.VariantLight)
	p.list.ScrollToOffset(500 * logPitch)
	x.wantLines("14:35:00 Kitchen Alice question 499 sent 0.9 s")
	x.fake.publish(live(b, received("2000"), received("2001"))...)
	x.tickNow()
	x.wantLines("14:35:00 Kitchen Alice question 499 sent 0.9 s")
	// At the top the newest is seen.
	p.list.ScrollToOffset(0)
	x.fake.publish(live(b, received("2002"))...)
	x.tickNow()
	x.wantLines("14:35:20 Kitchen Alice question 2002 working 0 s")
	// A selected row stays selected.
	test.Tap(x.lineOf("2000"))
	x.fake.publish(live(b, received("2003"))...)
	x.tickNow()
	if p.selected.event.MessageID != "2000" {
		t.Errorf("%s is selected", p.selected.event.MessageID)
	}
	x.press(fyne.KeyDown)
	if p.selected.event.MessageID != "999" {
		t.Errorf("%s is below", p.selected.event.MessageID)
	}
	// A tap into the gap below a row is one on the row.
	gap := fyne.NewPos(100, 2*logPitch-1)
	p.list.ScrollToOffset(0)
	p.list.Tapped(&fyne.PointEvent{Position: gap})
	if p.selected.event.MessageID != "2002" {
		t.Errorf("%s was tapped", p.selected.event.MessageID)
	}
}

// With 100 000 rows and 200 events more a second, a bounded number of rows is
// kept, and only those that are seen are made of anything.
func TestLogOfABusyBot(t *testing.T) {
	b := newFake()
	b.log = busyLedger(logRows / 2)
	x, p := openLog(t, b, theme.VariantLight)
	if n := len(p.view.rows); n != logRows/2 {
		t.Fatalf("%d rows", n)
	}
	var made []*logLine
	create := p.list.CreateItem
	p.list.CreateItem = func() fyne.CanvasObject {
		o := create()
		made = append(made, o.(*logLine))
		return o
	}
	next := logRows / 2
	second := func() {
		for range 2 {
			entries := make([]bridge.Entry, 0, 50)
			for range 50 {
				entries = append(entries, answered(next))
				next++
			}
			x.fake.hand(entries)
			x.tickNow()
		}
	}
	const seconds = 600
	for s := range seconds {
		second()
		switch s {
		case 200:
			p.search.SetText("question 7")
		case 300:
			test.Tap(x.buttonOf("Hold"))
		case 400:
			test.Tap(p.hold)
			p.unfilter()
		}
	}
	if len(p.view.rows) != logRows || len(p.book.rows) != logRows || len(p.book.known) != logRows {
		t.Errorf("%d rows are shown, %d kept, %d known, want %d", len(p.view.rows), len(p.book.rows), len(p.book.known), logRows)
	}
	if c := cap(p.view.rows); c > 3*logRows {
		t.Errorf("the view has room for %d rows", c)
	}
	if got := p.view.newestAt(0).event.MessageID; got != strconv.Itoa(next-1) {
		t.Errorf("the newest is %s, want %d", got, next-1)
	}
	rendered := 0
	for _, l := range made {
		if l.row != nil {
			rendered++
		}
	}
	if seen := len(x.lines()); rendered > 4*seen {
		t.Errorf("%d lines were made of something in %d s, %d are seen", rendered, seconds, seen)
	}
}
