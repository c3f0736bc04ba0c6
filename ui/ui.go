package ui

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"

	"perch/bridge"
	"perch/ui/kit"
)

// Page is a place in the window.
type Page int

// The pages. Those before PageWelcome are in the rail, in this order.
const (
	PageOverview Page = iota
	PageLog
	PageDoctor
	PagePractice
	PageSettings
	PageWelcome
	pages // how many there are
)

// page is what a page does. All of it is called on Fyne's own goroutine.
type page interface {
	// object returns what is shown, always the same.
	object() fyne.CanvasObject
	// header returns what the head of the window says while the page is shown.
	header() header
	// refresh is called while the page is shown: at once, when the bot or what
	// the page poked about has changed, and as time passes. It is cheap where
	// nothing has changed.
	refresh(s bridge.Snapshot)
	// shown is called when the page comes before a person's eyes, hidden when it
	// goes, with the window too.
	shown()
	hidden()
}

// Pages that have a use for Escape or Ctrl+F implement these.
type (
	// escaper closes what is open on the page, and returns false if nothing is.
	escaper interface{ escape() bool }
	// finder puts the cursor where a person can type what to look for.
	finder interface{ find() }
)

// header is what the head of the window says.
type header struct {
	status        kit.Status
	title, detail string
	actions       []fyne.CanvasObject // always the same objects, else the head is built anew
}

// Options are what the window needs from outside.
type Options struct {
	App       fyne.App            // for its clipboard
	Window    fyne.Window         // that Content is shown in: for shortcuts, focus and dialogs
	Translate func(string) string // from English; nil: English
	Now       func() time.Time    // nil: time.Now
}

// UI is the content of the window.
type UI struct {
	kit     *kit.Kit
	backend Backend
	app     fyne.App
	window  fyne.Window
	now     func() time.Time
	do      func(func()) // runs a function on Fyne's goroutine, soon

	// On Fyne's goroutine only.
	shell         *shell
	pages         [pages]page
	current, last Page
	snapshot      bridge.Snapshot
	inView        bool // the window is visible and the current page knows
	pausing       *kit.Button
	resuming      *kit.Button
	settingUp     *kit.Button
	examining     *kit.Button

	visible atomic.Bool
	poked   atomic.Bool
	wake    chan struct{} // what Run waits for beside the ticker; one in it is enough

	life  context.Context //nolint:containedctx // of the jobs; ends with Run
	end   context.CancelFunc
	mu    sync.Mutex // guards that no job starts once life is over
	tasks sync.WaitGroup
}

// tickEvery is how often the window may change at most.
const tickEvery = 500 * time.Millisecond

// New returns the content of a window. It shows the overview, or the first
// steps if nothing is configured yet. It is to be called on Fyne's goroutine.
func New(backend Backend, o Options) *UI { return newUI(backend, o, fyne.Do) }

// newUI is New with another way onto Fyne's goroutine.
func newUI(backend Backend, o Options, do func(func())) *UI {
	u := &UI{backend: backend, app: o.App, window: o.Window, now: o.Now, do: do, wake: make(chan struct{}, 1), last: PageOverview}
	if u.now == nil {
		u.now = time.Now
	}
	u.life, u.end = context.WithCancel(context.Background())
	u.visible.Store(true)
	u.kit = &kit.Kit{
		Translate: o.Translate,
		Copy:      func(s string) { o.App.Clipboard().SetContent(s) },
		Later:     u.later,
		Escape:    u.Back,
		Shortcut:  u.typedShortcut,
		Unfocus:   func() { u.window.Canvas().Unfocus() },
		Reveal:    u.reveal,
	}
	u.pausing = u.kit.Button(bridge.Say("Pause"), u.askPause)
	u.resuming = u.kit.PrimaryButton(bridge.Say("Resume"), func() { u.ask(u.backend.Resume) })
	u.settingUp = u.kit.PrimaryButton(bridge.Say("Set up…"), func() { u.Show(PageWelcome) })
	u.examining = u.kit.Button(bridge.Say("Run doctor"), u.RunDoctor)

	u.snapshot, _ = backend.Snapshot()
	u.pages = [pages]page{
		PageOverview: newOverview(u),
		PageLog:      newLog(u),
		PageDoctor:   newDoctor(u),
		PagePractice: newPractice(u),
		PageSettings: newSettings(u),
		PageWelcome:  newWelcome(u),
	}
	u.shell = newShell(u)
	if u.snapshot.State == bridge.StateNew {
		u.current = PageWelcome
	}
	u.listenToKeys()
	u.enter()
	return u
}

// say returns a sentence in the user's language.
func (u *UI) say(t bridge.Text) string { return u.kit.Say(t) }

// Content returns what stands in the window.
func (u *UI) Content() fyne.CanvasObject { return u.shell.object }

// Show brings a page into view. It is to be called on Fyne's goroutine.
func (u *UI) Show(p Page) {
	if p == u.current {
		return
	}
	u.leave()
	u.last, u.current = u.current, p
	u.shell.notice.hide()
	if _, ok := u.window.Canvas().Focused().(*kit.RailItem); !ok {
		u.kit.Unfocus() // what has the focus is gone
	}
	u.enter()
}

// RunDoctor shows the doctor and lets it look again.
func (u *UI) RunDoctor() {
	u.Show(PageDoctor)
	if d, ok := u.pages[PageDoctor].(*doctorPage); ok {
		d.begin()
	}
}

// CopyAddress shows the overview and copies the address of the bot that stands
// there.
func (u *UI) CopyAddress() {
	u.Show(PageOverview)
	if u.snapshot.Address != "" {
		u.kit.Copy(u.snapshot.Address)
		u.tell(kit.OK, bridge.Say("The address is copied"))
	}
}

// Back does what Escape does: it closes what is open on the page, or the
// notice, or goes back to the page before.
func (u *UI) Back() {
	if e, ok := u.pages[u.current].(escaper); ok && e.escape() {
		return
	}
	if u.shell.notice.Visible() {
		u.shell.notice.hide()
		return
	}
	u.Show(u.last)
}

// reveal scrolls the page so that o is in view.
func (u *UI) reveal(o fyne.CanvasObject) {
	driver := u.app.Driver()
	for _, s := range []fyne.CanvasObject{u.pages[u.current].object(), u.shell.places} {
		s, ok := s.(*kit.Scroller)
		if !ok {
			continue
		}
		at, from := driver.AbsolutePositionForObject(o), driver.AbsolutePositionForObject(s)
		if at.X >= from.X && at.X < from.X+s.Size().Width {
			s.Reveal(at.Y-from.Y, o.Size().Height)
		}
	}
}

// SetVisible says if a person can see the window. What cannot be seen is not
// kept fresh. It is to be called on Fyne's goroutine.
func (u *UI) SetVisible(yes bool) {
	u.visible.Store(yes)
	if !yes {
		u.leave()
		return
	}
	u.snapshot, _ = u.backend.Snapshot()
	u.enter()
	u.signal()
}

// enter and leave tell the current page whether it is seen.
func (u *UI) enter() {
	if u.inView || !u.visible.Load() {
		return
	}
	u.inView = true
	p := u.pages[u.current]
	u.shell.show(u.current, p)
	p.shown()
	u.refresh(u.snapshot)
}

func (u *UI) leave() {
	if u.inView {
		u.inView = false
		u.pages[u.current].hidden()
	}
}

// refresh shows how the bot is now.
func (u *UI) refresh(s bridge.Snapshot) {
	u.snapshot = s
	if !u.inView {
		return
	}
	u.pages[u.current].refresh(s)
	u.shell.refresh(s)
	u.refreshHeader()
}

// refreshHeader shows what the current page's header says now.
func (u *UI) refreshHeader() {
	if u.inView {
		u.shell.head.set(u.pages[u.current].header())
	}
}

// poke asks that the page be refreshed with the next tick: something that it
// shows has changed. It can be called on any goroutine.
func (u *UI) poke() { u.poked.Store(true) }

func (u *UI) signal() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// Run keeps the window fresh until ctx is done; then it ends all that the
// window has under way. It is not to be called on Fyne's goroutine.
func (u *UI) Run(ctx context.Context) {
	defer u.stop()
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var t ticking
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		case <-ticker.C:
		}
		u.tick(&t)
	}
}

// ticking is what tick remembers.
type ticking struct {
	changed  <-chan struct{}
	snapshot bridge.Snapshot
	at       time.Time // of the snapshot
}

// staleAfter is how long a look at the bot holds while nothing but the time
// changes.
const staleAfter = time.Second

// tick refreshes the window if it is visible and there is something new.
func (u *UI) tick(t *ticking) {
	if !u.visible.Load() {
		return
	}
	now, poked := u.now(), u.poked.Swap(false)
	if t.changed != nil && !poked && now.Sub(t.at) < staleAfter {
		select {
		case <-t.changed:
		default:
			return
		}
	}
	s, changed := u.backend.Snapshot()
	same := reflect.DeepEqual(s, t.snapshot)
	*t = ticking{changed: changed, snapshot: s, at: now}
	if poked || !same {
		u.do(func() { u.refresh(s) })
	}
}

// stop ends the jobs and waits for them.
func (u *UI) stop() {
	u.mu.Lock()
	u.end()
	u.mu.Unlock()
	u.tasks.Wait()
}

// background does work on a goroutine of its own, and then, on Fyne's, what it
// returned, if that is not nil. The context ends with Run and with stop, and
// then nothing is done on Fyne's goroutine any more.
func (u *UI) background(work func(ctx context.Context) func()) (stop context.CancelFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ctx, cancel := context.WithCancel(u.life)
	if ctx.Err() != nil {
		return cancel
	}
	u.tasks.Go(func() {
		defer cancel()
		if then := work(ctx); then != nil && ctx.Err() == nil {
			u.do(then)
		}
	})
	return cancel
}

// later calls f on Fyne's goroutine after a while.
func (u *UI) later(after time.Duration, f func()) {
	u.background(func(ctx context.Context) func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return f
		}
	})
}

// ask asks the backend for something and says if that failed. What has changed
// shows at once.
func (u *UI) ask(what func(context.Context) error) {
	u.background(func(ctx context.Context) func() {
		err := what(ctx)
		return func() {
			if err != nil {
				u.failed(err)
			}
			u.poke()
			u.signal()
		}
	})
}

// failed tells a person about an error, and what to do about it.
func (u *UI) failed(err error) {
	u.shell.notice.show(kit.Bad, u.say(bridge.TextOf(err)), u.say(bridge.HintOf(err)))
}

// tell tells a person something, with what can be done about it.
func (u *UI) tell(t kit.Tone, text bridge.Text, buttons ...fyne.CanvasObject) {
	u.shell.notice.show(t, u.say(text), "", buttons...)
}

// hideNotice takes away what failed or tell have said.
func (u *UI) hideNotice() { u.shell.notice.hide() }

// askPause pauses once a person has read what that means.
func (u *UI) askPause() {
	u.tell(
		kit.Warn, bridge.Say("While Perch is paused it takes no messages, and Talk does not send them again."),
		u.kit.SmallButton(bridge.Say("Pause"), func() {
			u.hideNotice()
			u.ask(u.backend.Pause)
		}),
	)
}

// badge shows a word at a page's place in the rail; the empty one is none.
func (u *UI) badge(p Page, text string, t kit.Tone) { u.shell.badge(p, kit.Badge{Text: text, Tone: t}) }

// botHeader returns the header of pages that have nothing to say for
// themselves: how the bot is, and the one thing to do about it.
func (u *UI) botHeader() header {
	s := u.snapshot
	h := header{title: u.say(s.Title), detail: u.say(s.Detail)}
	switch s.State {
	case bridge.StateNew:
		h.status, h.actions = kit.StatusSkip, []fyne.CanvasObject{u.settingUp}
	case bridge.StateStarting:
		h.status = kit.StatusBusy
	case bridge.StateRunning:
		h.status, h.actions = kit.StatusOK, []fyne.CanvasObject{u.pausing}
	case bridge.StateDegraded:
		h.status, h.actions = kit.StatusWarn, []fyne.CanvasObject{u.pausing}
	case bridge.StatePaused:
		h.status, h.actions = kit.StatusPaused, []fyne.CanvasObject{u.resuming}
	case bridge.StateFailed:
		h.status, h.actions = kit.StatusBad, []fyne.CanvasObject{u.examining}
	}
	return h
}

// when returns the time of day, with the date if that is not today.
func (u *UI) when(t time.Time) string {
	if now := u.now().Local(); t.Local().YearDay() != now.YearDay() || t.Local().Year() != now.Year() {
		return t.Local().Format("2006-01-02 15:04")
	}
	return kit.FormatClock(t, false)
}

// listenToKeys makes the shortcuts work: Ctrl+1 to Ctrl+5 for the places, Ctrl
// and comma for the settings, Ctrl+F to look for something, Escape to go back.
func (u *UI) listenToKeys() {
	c := u.window.Canvas()
	for _, key := range []fyne.KeyName{fyne.Key1, fyne.Key2, fyne.Key3, fyne.Key4, fyne.Key5, fyne.KeyComma, fyne.KeyF} {
		c.AddShortcut(&desktop.CustomShortcut{KeyName: key, Modifier: fyne.KeyModifierShortcutDefault}, u.typedShortcut)
	}
	c.SetOnTypedKey(func(e *fyne.KeyEvent) {
		if e.Name == fyne.KeyEscape {
			u.Back()
		}
	})
}

func (u *UI) typedShortcut(s fyne.Shortcut) {
	typed, ok := s.(*desktop.CustomShortcut)
	if !ok || typed.Modifier != fyne.KeyModifierShortcutDefault {
		return
	}
	switch typed.KeyName {
	case fyne.Key1, fyne.Key2, fyne.Key3, fyne.Key4, fyne.Key5:
		u.Show(Page(typed.KeyName[0] - '1'))
	case fyne.KeyComma:
		u.Show(PageSettings)
	case fyne.KeyF:
		if f, ok := u.pages[u.current].(finder); ok {
			f.find()
		}
	default:
	}
}
