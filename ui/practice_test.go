package ui

import (
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/config"
	botcontrol "perch/bridge/control"
	"perch/bridge/secret"
	"perch/bridge/testenv"
	"perch/ui/kit"
)

// practising opens the practice page and waits for its server.
func practising(t *testing.T, b *fakeBackend, v fyne.ThemeVariant) (*tested, *practicePage) {
	t.Helper()
	x := openIn(t, b, v)
	x.tickNow()
	x.Show(PagePractice)
	p := x.pages[PagePractice].(*practicePage)
	x.settle(func() bool { return p.server() != nil || p.failure != nil })
	return x, p
}

// until ticks until done is true: it waits for what the page watches.
func (x *tested) until(what string, done func() bool) {
	x.t.Helper()
	late := time.After(testenv.Patience)
	for !done() {
		select {
		case f := <-x.queue:
			f()
		case <-x.wake:
			x.tick(&x.ticks)
		case <-late:
			x.t.Fatalf("never: %s; at last\n%s", what, strings.Join(x.texts(), "\n"))
		}
	}
}

func (x *tested) has(text string) func() bool {
	return func() bool { return slices.Contains(x.texts(), text) }
}

func (x *tested) write(text string) {
	test.Type(x.pages[PagePractice].(*practicePage).input, text)
}

func TestPractice(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x, _ := practising(t, newFake(), v)
		x.looks("practice")
		x.isDrawnIn(v)
		x.shoot("practice-" + name)
	})
}

// At twice the size nothing is lost, and the newest line is in view.
func TestPracticeInLittleSpace(t *testing.T) {
	x, _ := practising(t, newFake(), theme.VariantDark)
	x.window.Resize(fyne.NewSize(540, 350))
	x.shoot("practice-narrow")
	x.fits()
	last := find(x, func(o *kit.Prose) bool { return strings.HasPrefix(o.Text(), "not answered") })
	if y := x.app.Driver().AbsolutePositionForObject(last).Y; y < headHeight || y > 290 {
		t.Errorf("the newest line is at %v, out of view", y)
	}
}

func TestPracticeSaysWhatIsTyped(t *testing.T) {
	b := newFake()
	x, p := practising(t, b, theme.VariantLight)
	x.reads("Practice room", "A Talk server inside Perch. Nothing here reaches cloud.example.com.")
	if x.window.Canvas().Focused() != p.input {
		t.Errorf("the focus is on %T, not where one types", x.window.Canvas().Focused())
	}
	x.write("  !ping ")
	x.press(fyne.KeyReturn)
	x.until("the line", x.has("!ping"))
	x.until("that the answer is awaited", x.has("working…"))
	x.shoot("practice-working")
	b.practice.add("knzaftd5", bridge.Line{Time: atTime(), Author: bridge.Actor{Type: bridge.ActorBot, ID: "bot-perch", Name: "Perch"}, Bot: true, Text: "**pong**", Took: 12 * time.Millisecond})
	x.until("the answer", x.has("pong"))
	x.reads("Perch · 12 ms")
	if x.has("working…")() {
		t.Error("it still works on what it has answered")
	}

	x.until("that more can be said", func() bool { return !p.sending })
	p.person.SetSelectedIndex(2)
	p.room.SetSelectedIndex(1)
	if x.has("pong")() {
		t.Error("the other room has the lines of the first")
	}
	x.press(fyne.KeyUp)
	if p.input.Text != "  !ping " {
		t.Errorf("the arrow up brings back %q", p.input.Text)
	}
	test.Tap(x.buttonOf("Send"))
	x.until("the line in the other room", x.has("!ping"))
	x.press(fyne.KeyReturn) // an empty field says nothing
	x.until("that it is said", func() bool { return !p.sending })
	want := []string{"knzaftd5 alice !ping", "opsroom1 mallory !ping"}
	if diff := cmp.Diff(want, b.practice.said); diff != "" {
		t.Error(diff)
	}
}

func TestPracticeGivesBackWhatCouldNotBeSaid(t *testing.T) {
	b := newFake()
	b.practice.err = &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("the server is busy")}
	x, p := practising(t, b, theme.VariantLight)
	x.write("hello")
	x.press(fyne.KeyReturn)
	x.until("the notice", x.has("the server is busy"))
	if p.input.Text != "hello" {
		t.Errorf("the field has %q", p.input.Text)
	}
}

func TestPracticeClears(t *testing.T) {
	b := newFake()
	x, p := practising(t, b, theme.VariantLight)
	test.Tap(x.buttonOf("Clear"))
	if !p.input.Disabled() {
		t.Error("one can type into a room that is being cleared")
	}
	x.until("the empty room", x.has("Say something to your bot"))
	if p.talk.said() || p.input.Disabled() {
		t.Error("it does not begin anew")
	}
	x.looks("practice-empty")
	x.shoot("practice-empty")
}

func TestPracticeThatCannotStart(t *testing.T) {
	b := newFake()
	b.errs["Practice"] = &bridge.Error{
		Code: bridge.CodeUnavailable, Text: bridge.Say("cannot create a folder for it"), Hint: bridge.Say("Check that the disk is not full."),
	}
	x, p := practising(t, b, theme.VariantLight)
	x.reads("The practice server could not start", "Cannot create a folder for it. Check that the disk is not full.")
	x.shoot("practice-broken")
	if !p.input.Disabled() {
		t.Error("one can type to nobody")
	}
	delete(b.errs, "Practice")
	test.Tap(x.buttonOf("Try again"))
	x.until("the talk", x.has("hello?"))
	for _, text := range x.texts() {
		if text == "The practice server could not start" {
			t.Error("it has started")
		}
	}
}

func TestPracticeWithoutARealServer(t *testing.T) {
	b := newFake()
	b.snapshot.Server = ""
	x, _ := practising(t, b, theme.VariantLight)
	x.reads("A Talk server inside Perch. Nothing here reaches a real one.")
}

// The server is there for as long as the window, shown or not.
func TestPracticeEndsWithTheWindow(t *testing.T) {
	b := newFake()
	x, _ := practising(t, b, theme.VariantLight)
	x.Show(PageOverview)
	x.SetVisible(false)
	x.SetVisible(true)
	x.Show(PagePractice)
	if diff := cmp.Diff([]string{"Practice"}, b.asked()); diff != "" || b.practice.closed {
		t.Errorf("it is started once: %s", diff)
	}
	x.stop()
	if !b.practice.closed {
		t.Error("the server outlives the window")
	}
}

// A server that starts when the window ends is closed, too.
func TestPracticeThatStartsTooLate(t *testing.T) {
	b := newFake()
	b.rehearse = func(ctx context.Context) (bridge.Practice, error) {
		<-ctx.Done()
		return b.practice, nil
	}
	x := open(t, b)
	x.Show(PagePractice)
	x.stop()
	if !b.practice.closed {
		t.Error("the server outlives the window")
	}
}

// practiceToClose says when it is closed.
type practiceToClose struct {
	*fakePractice
	closed chan struct{}
}

func (c practiceToClose) Close() { close(c.closed) }

func TestPracticeBeginsAnewWithAnotherHandler(t *testing.T) {
	b := newFake()
	closed := make(chan struct{})
	b.rehearse = func(context.Context) (bridge.Practice, error) { return practiceToClose{b.practice, closed}, nil }
	x, p := practising(t, b, theme.VariantLight)
	x.Show(PageSettings)
	b.rehearse = nil
	b.change(func(b *fakeBackend) {
		b.config.Handler = config.DefaultHandler(config.LLM)
		b.practice = newFakePractice()
		b.practice.lines = nil
	})
	x.Show(PagePractice)
	x.reads("The handler has changed, so practice starts over with it.")
	if p.talk.said() {
		t.Error("it shows what was said to the other handler")
	}
	x.until("the new server", func() bool { return p.server() == bridge.Practice(b.practice) })
	<-closed // the old one
	x.Show(PageOverview)
	x.Show(PagePractice)
	if diff := cmp.Diff([]string{"Practice", "Practice"}, b.asked()); diff != "" {
		t.Errorf("the same handler needs no new server: %s", diff)
	}
}

// A server that was still starting then does not take the place of the new one.
func TestPracticeForgetsAServerThatComesTooLate(t *testing.T) {
	b := newFake()
	release, closed := make(chan struct{}), make(chan struct{})
	late := practiceToClose{newFakePractice(), closed}
	var calls atomic.Int32
	b.rehearse = func(context.Context) (bridge.Practice, error) {
		if calls.Add(1) > 1 {
			return b.practice, nil
		}
		<-release
		return late, nil
	}
	x := open(t, b)
	x.Show(PagePractice)
	for calls.Load() == 0 {
		runtime.Gosched()
	}
	x.Show(PageOverview)
	b.change(func(b *fakeBackend) { b.config.Handler = config.DefaultHandler(config.LLM) })
	x.Show(PagePractice)
	p := x.pages[PagePractice].(*practicePage)
	x.until("the new server", func() bool { return p.server() != nil })
	close(release)
	<-closed
	x.tickNow()
	if p.server() != bridge.Practice(b.practice) {
		t.Error("the late one is used, which is closed")
	}
}

// Who reads what was said before is not drawn away; who is at the end stays
// there.
func TestPracticeFollowsTheNewest(t *testing.T) {
	b := newFake()
	x, p := practising(t, b, theme.VariantLight)
	add := func(n int) {
		for i := range n {
			b.practice.add("knzaftd5", bridge.Line{Time: atTime(), Author: alice(), Text: "line " + strconv.Itoa(i)})
		}
		b.practice.add("knzaftd5", bridge.Line{Time: atTime(), Author: alice(), Text: "that was " + strconv.Itoa(n)})
		x.until("the lines", x.has("that was "+strconv.Itoa(n)))
	}
	add(20)
	if !p.talk.atEnd() || p.talk.body.Scroll.Offset.Y == 0 {
		t.Error("the newest line is out of view")
	}
	kept := p.talk.column.Objects[0]
	p.talk.body.Scroll.ScrollToOffset(fyne.NewPos(0, 40))
	add(5)
	if p.talk.body.Scroll.Offset.Y != 40 {
		t.Errorf("it is drawn away to %v", p.talk.body.Scroll.Offset)
	}
	if p.talk.column.Objects[0] != kept {
		t.Error("what is shown already is made anew")
	}
	x.write("back")
	x.press(fyne.KeyReturn)
	x.until("what I said", x.has("back"))
	if !p.talk.atEnd() {
		t.Error("what I said is out of view")
	}
}

func TestAwaited(t *testing.T) {
	asked := bridge.Line{Author: alice(), Text: "?"}
	acked, answered, noted := asked, bridge.Line{Bot: true, Text: "!"}, bridge.Line{Note: bridge.Say("not answered")}
	acked.Reaction = "👀"
	for name, tc := range map[string]struct {
		lines []bridge.Line
		ack   string
		want  bool
	}{
		"nothing was said":              {nil, "", false},
		"a message":                     {[]bridge.Line{answered, asked}, "", true},
		"an answer":                     {[]bridge.Line{asked, answered}, "", false},
		"a message that is turned away": {[]bridge.Line{asked, noted}, "", false},
		"a reaction as the answer":      {[]bridge.Line{acked}, "", false},
		"a reaction until the answer":   {[]bridge.Line{acked}, "👀", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := awaited(tc.lines, tc.ack); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// Lines that look the same are all shown.
func TestPracticeShowsTheSameTwice(t *testing.T) {
	b := newFake()
	x, p := practising(t, b, theme.VariantLight)
	l := bridge.Line{Time: atTime(), Author: alice(), Text: "again"}
	b.practice.add("knzaftd5", l)
	x.until("the line", x.has("again"))
	b.practice.add("knzaftd5", l)
	x.until("both", func() bool {
		var n int
		for _, text := range x.texts() {
			if text == "again" {
				n++
			}
		}
		return n == 2
	})
	if a, b := p.talk.column.Objects[6], p.talk.column.Objects[7]; a == b {
		t.Error("one object stands in two places")
	}
}

// The real thing: a bot with the built-in commands on the practice server.
func TestPracticeWithTheEngine(t *testing.T) {
	dir := t.TempDir()
	desk := botcontrol.New(botcontrol.Options{
		Home:    config.Home{ConfigDir: dir, DataDir: filepath.Join(dir, "data")},
		Secrets: secret.Chain(func(string) string { return "" }, secret.Memory()), Version: "test",
	})
	b := newFake()
	b.rehearse = desk.Practice
	x, p := practising(t, b, theme.VariantLight)
	if p.failure != nil {
		t.Fatal(p.failure)
	}
	say := func(text string) {
		t.Helper()
		x.until("that something can be said", func() bool { return !p.sending && !p.clearing })
		x.write(text)
		x.press(fyne.KeyReturn)
	}
	noted := func(text string) {
		t.Helper()
		x.until(text, x.has(text))
		if x.has("working…")() {
			t.Errorf("%s: it still works", text)
		}
	}
	say("!ping")
	noted("pong")
	say("no command")
	noted("the handler said nothing")
	p.person.SetSelectedIndex(2)
	say("hello?")
	noted("not answered: mallory is not among the allowed users")
	x.until("that more can be said", func() bool { return !p.sending })
	test.Tap(x.buttonOf("Clear"))
	x.until("the empty room", func() bool { return !p.clearing && !p.talk.said() })
	p.person.SetSelectedIndex(0)
	say("!ping")
	noted("pong")
}
