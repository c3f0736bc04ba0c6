package ui

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

func settingsShortcut() fyne.Shortcut {
	return &desktop.CustomShortcut{KeyName: fyne.KeyComma, Modifier: fyne.KeyModifierShortcutDefault}
}

// probe is a page that takes note of what it is told.
type probe struct {
	page
	log   *[]string
	name  string
	open  bool // something that Escape closes
	found int
}

func (p *probe) shown()  { *p.log = append(*p.log, p.name+" shown") }
func (p *probe) hidden() { *p.log = append(*p.log, p.name+" hidden") }
func (p *probe) refresh(bridge.Snapshot) {
	*p.log = append(*p.log, p.name+" refreshed")
}

func (p *probe) find() { p.found++ }

func (p *probe) escape() bool {
	was := p.open
	p.open = false
	return was
}

// probed opens a window whose overview and log are probes.
func probed(t *testing.T) (x *tested, overview, logs *probe, log *[]string) {
	t.Helper()
	x = open(t, newFake())
	log = &[]string{}
	overview = &probe{page: x.pages[PageOverview], log: log, name: "overview"}
	logs = &probe{page: x.pages[PageLog], log: log, name: "log"}
	x.pages[PageOverview], x.pages[PageLog] = overview, logs
	return x, overview, logs, log
}

func wantLog(t *testing.T, log *[]string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, *log); diff != "" {
		t.Errorf("pages were told (-want +got):\n%s", diff)
	}
	*log = nil
}

func TestPagesKnowWhetherTheyAreSeen(t *testing.T) {
	x, _, _, log := probed(t)
	x.Show(PageLog)
	wantLog(t, log, "overview hidden", "log shown", "log refreshed")
	x.Show(PageLog)
	x.SetVisible(false)
	wantLog(t, log, "log hidden")
	x.SetVisible(false)
	x.Show(PageOverview)
	x.fake.change(func(b *fakeBackend) { b.snapshot.Waiting = 1 })
	x.tickNow()
	wantLog(t, log)
	x.SetVisible(true)
	wantLog(t, log, "overview shown", "overview refreshed")
	if x.snapshot.Waiting != 1 {
		t.Error("a window that comes back shows what was")
	}
}

// The window is refreshed only where there is something new.
func TestTick(t *testing.T) {
	x, _, _, log := probed(t)
	now := atTime()
	x.now = func() time.Time { return now }
	x.tickNow()
	wantLog(t, log, "overview refreshed")
	x.tickNow()
	wantLog(t, log)
	x.poke()
	x.tickNow()
	wantLog(t, log, "overview refreshed")
	x.fake.change(func(b *fakeBackend) { b.snapshot.Hour.Received++ })
	x.tickNow()
	x.tickNow()
	wantLog(t, log, "overview refreshed")
	// A change that changes nothing that is shown.
	x.fake.change(func(*fakeBackend) {})
	x.tickNow()
	wantLog(t, log)
	// As time passes, the words change without a sign.
	x.fake.mu.Lock()
	x.fake.snapshot.Detail = bridge.Say("Last message %s s ago from %s in %s", "13", "Alice", "Kitchen")
	x.fake.mu.Unlock()
	x.tickNow()
	wantLog(t, log)
	now = now.Add(staleAfter)
	x.tickNow()
	wantLog(t, log, "overview refreshed")
	x.reads("Last message 13 s ago from Alice in Kitchen")
}

func TestShortcutsAndEscape(t *testing.T) {
	x, overview, logs, _ := probed(t)
	ctrl := func(key fyne.KeyName) {
		x.typedShortcut(&desktop.CustomShortcut{KeyName: key, Modifier: fyne.KeyModifierShortcutDefault})
	}
	for key, want := range map[fyne.KeyName]Page{
		fyne.Key1: PageOverview, fyne.Key2: PageLog, fyne.Key3: PageDoctor, fyne.Key4: PagePractice, fyne.Key5: PageSettings, fyne.KeyComma: PageSettings,
	} {
		x.Show(PageWelcome)
		if ctrl(key); x.current != want {
			t.Errorf("Ctrl+%s shows page %v, want %v", key, x.current, want)
		}
	}
	x.Show(PageOverview)
	x.Show(PageLog)
	ctrl(fyne.KeyF)
	if logs.found != 1 || overview.found != 0 {
		t.Error("Ctrl+F did not come to the page")
	}
	logs.open = true
	x.failed(errors.New("x"))
	x.press(fyne.KeyEscape)
	if logs.open || !x.shell.notice.Visible() {
		t.Error("Escape did not close what was open on the page, and that alone")
	}
	if x.press(fyne.KeyEscape); x.shell.notice.Visible() || x.current != PageLog {
		t.Error("Escape did not close the notice")
	}
	if x.press(fyne.KeyEscape); x.current != PageOverview {
		t.Error("Escape did not go back")
	}
}

// The rail works by keyboard alone: Tab and Enter.
func TestRailByKeyboard(t *testing.T) {
	x := open(t, newFake())
	x.press(fyne.KeyTab, fyne.KeyTab, fyne.KeyReturn)
	if _, ok := x.window.Canvas().Focused().(*kit.RailItem); x.current != PageLog || !ok {
		t.Errorf("the second place is page %v", x.current)
	}
	test.Tap(find(x, func(i *kit.RailItem) bool { return i.Label == "Settings" }))
	if x.current != PageSettings {
		t.Errorf("a tap on Settings shows page %v", x.current)
	}
}

// The header tells how the bot is, in a shape and in words, and has the one
// action that fits.
func TestHeaderTellsTheTruth(t *testing.T) {
	for state, want := range map[bridge.State]struct {
		status kit.Status
		action string
		badge  bool
	}{
		bridge.StateNew:      {kit.StatusSkip, "Set up…", false},
		bridge.StateStarting: {kit.StatusBusy, "", false},
		bridge.StateRunning:  {kit.StatusOK, "Pause", false},
		bridge.StateDegraded: {kit.StatusWarn, "Pause", true},
		bridge.StatePaused:   {kit.StatusPaused, "Resume", true},
		bridge.StateFailed:   {kit.StatusBad, "Run doctor", true},
	} {
		t.Run(string(state), func(t *testing.T) {
			x := open(t, newFake())
			x.fake.change(func(b *fakeBackend) {
				b.snapshot.State, b.snapshot.Title, b.snapshot.Detail = state, bridge.Say("It is %s", string(state)), bridge.Say("for a reason")
			})
			x.tickNow()
			x.reads("It is "+string(state), "for a reason")
			var actions []string
			for _, o := range x.shell.head.actions.Objects {
				actions = append(actions, o.(*kit.Button).Text)
			}
			if got := strings.Join(actions, " "); got != want.action || x.shell.head.shape.Status != want.status {
				t.Errorf("status %v, actions %q", x.shell.head.shape.Status, got)
			}
			// Where the page has a header of its own, the rail says it.
			if got := x.shell.items[PageOverview].Badge.Shaped; got != want.badge {
				t.Errorf("a badge in the rail: %v", got)
			}
		})
	}
}

// What had the focus on the page before does not get the keys on the next.
func TestFocusDoesNotStayBehind(t *testing.T) {
	x := open(t, newFake())
	x.window.Canvas().Focus(x.buttonOf("Run doctor"))
	x.press(fyne.KeyReturn)
	if x.current != PageDoctor || x.window.Canvas().Focused() != nil {
		t.Errorf("page %v, the focus is on %v", x.current, x.window.Canvas().Focused())
	}
}

// All colours follow when the system changes from light to dark.
func TestThemeChanges(t *testing.T) {
	x := open(t, newFake())
	x.app.Settings().SetTheme(kittest.FixedTheme{Theme: kit.NewTheme(), Variant: theme.VariantDark})
	x.isDrawnIn(theme.VariantDark)
}

// Pausing is asked for twice: what comes meanwhile is lost.
func TestPauseAndResume(t *testing.T) {
	x := open(t, newFake())
	test.Tap(x.buttonOf("Pause"))
	x.idle()
	if got := x.fake.asked(); len(got) > 0 {
		t.Fatalf("asked at once: %v", got)
	}
	x.reads("While Perch is paused it takes no messages, and Talk does not send them again.")
	test.Tap(find(x, func(b *kit.Button) bool { return b.Text == "Pause" && b.Small }))
	x.idle()
	x.fake.change(func(b *fakeBackend) { b.snapshot.State = bridge.StatePaused })
	x.tickNow()
	x.fake.errs["Resume"] = &bridge.Error{Code: bridge.CodeConflict, Text: bridge.Say("another Perch is running"), Hint: bridge.Say("end it first")}
	test.Tap(x.buttonOf("Resume"))
	x.idle()
	if diff := cmp.Diff([]string{"Pause", "Resume"}, x.fake.asked()); diff != "" {
		t.Error(diff)
	}
	x.reads("another Perch is running end it first")
	test.Tap(x.buttonOf("Close"))
	if x.shell.notice.Visible() {
		t.Error("the notice cannot be closed")
	}
}

func TestBackground(t *testing.T) {
	x := open(t, newFake())
	done := false
	x.background(func(context.Context) func() { return func() { done = true } })
	if x.idle(); !done {
		t.Error("what is to be done afterwards was not done")
	}

	// After stop, nothing comes back.
	release := make(chan struct{})
	ended := false
	stop := x.background(func(ctx context.Context) func() {
		<-ctx.Done()
		<-release
		return func() { ended = true }
	})
	stop()
	close(release)
	if x.idle(); ended {
		t.Error("a stopped job had the last word")
	}

	// Run ends what is under way, and then nothing begins.
	ctx, cancel := context.WithCancel(t.Context())
	jobEnded := make(chan struct{})
	x.background(func(ctx context.Context) func() {
		<-ctx.Done()
		close(jobEnded)
		return nil
	})
	cancel()
	x.Run(ctx)
	select {
	case <-jobEnded:
	default:
		t.Error("Run ended before its jobs")
	}
	x.background(func(context.Context) func() {
		t.Error("a job began after the end")
		return nil
	})
	x.tasks.Wait()
}

// Run follows what changes until it is told to end.
func TestRun(t *testing.T) {
	x := open(t, newFake())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		x.Run(ctx)
	}()
	x.fake.change(func(b *fakeBackend) { b.snapshot.Title = bridge.Say("Something else") })
	x.settle(func() bool { return x.shell.head.title.Text == "Something else" })
	cancel()
	<-ended
}

// With Tab alone a person comes to all that can be done, and what has the focus
// is in view.
func TestFocusIsInView(t *testing.T) {
	x := open(t, newFake())
	x.window.Resize(fyne.NewSize(540, 350))
	seen := map[string]bool{}
	for range 30 {
		x.press(fyne.KeyTab)
		o, ok := x.window.Canvas().Focused().(*kit.Button)
		if !ok {
			continue
		}
		seen[o.Text] = true
		top := x.app.Driver().AbsolutePositionForObject(o).Y
		if top < 0 || top+o.Size().Height > 350 {
			t.Errorf("%s has the focus at %v", o.Text, top)
		}
	}
	for _, want := range []string{"Pause", "Copy", "Run doctor"} {
		if !seen[want] {
			t.Errorf("%s never got the focus", want)
		}
	}
}

// Everything that the program says goes through the translation.
func TestEverythingIsTranslated(t *testing.T) {
	b := newFake()
	b.snapshot.State = bridge.StateDegraded
	b.snapshot.Address = "https://elsewhere.example.com/nextcloud-talk"
	b.snapshot.Waiting = 2
	x := openWith(t, b, func(s string) string { return "«" + s + "»" })
	x.idle()
	x.tickNow()
	x.failed(&bridge.Error{Text: bridge.Say("it failed"), Hint: bridge.Say("do something")})
	data := []string{
		"Perch", "cloud.example.com", "Nextcloud 32.0.1", "Talk 21.1.7", "148", "141", "6", "1", b.snapshot.Address,
		"Bare metal", "Docker", "AIO", "Snap",
	}
	for _, text := range x.texts() {
		if !strings.HasPrefix(text, "«") && !slices.Contains(data, text) && !strings.HasPrefix(text, "sudo ") {
			t.Errorf("not translated: %q", text)
		}
	}
	x.Show(PageLog)
	for _, o := range kittest.VisibleObjects(x.Content()) {
		if i, ok := o.(*kit.RailItem); ok && !strings.HasPrefix(i.Label, "«") {
			t.Errorf("not translated: %q", i.Label)
		}
	}
}
