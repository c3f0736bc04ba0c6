//go:build !headless

package tray

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fyne.io/systray"

	"perch/bridge"
	"perch/ui/session"
)

const (
	// patience is how long there is neither an icon nor a window at most: a panel
	// that starts with the session, or again, needs a moment.
	patience = 10 * time.Second
	// calm is how long the tray stays as it is at least: a bot that is busy
	// changes all the time.
	calm = 250 * time.Millisecond
	// parting is how long a window may take to end.
	parting = 5 * time.Second
)

// Run has the icon in the tray, and a window while a person wants one, until the
// person quits or ctx is done. It must be called on the main goroutine, once. The
// error is a *bridge.Error.
func Run(ctx context.Context, o Options) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	t := &tray{
		o: o, end: end, icon: newIcon(o.Translate), host: openHost(ctx, o.Log), memory: remember(o.DataDir),
		acts: make(chan func()), windows: make(chan ended), hosts: make(chan bool),
	}
	defer t.host.close()
	t.there = t.host.hasTray(ctx)
	first, _ := o.Backend.Snapshot()
	looped := make(chan error, 1)
	prepare()
	systray.SetOnTapped(func() { t.act(ctx, func() { t.open(ctx, session.Raise) }) }) // where a click does not open the menu
	systray.Run(func() {
		t.icon.build(func(do action) { t.act(ctx, func() { t.chosen(ctx, do) }) }, ctx.Done())
		t.showFace(t.faceOf(first))
		go func() {
			t.host.awaitIcon(context.WithoutCancel(ctx))
			err := t.loop(ctx)
			end()
			t.tasks.Wait()
			looped <- err
			systray.Quit()
		}()
	}, nil)
	return <-looped
}

// tray is the running tray. Its fields are used by loop alone, unless they never
// change.
type tray struct {
	o       Options
	end     context.CancelFunc
	icon    *icon
	host    *host
	tasks   sync.WaitGroup
	acts    chan func()
	windows chan ended // windows that have ended
	hosts   chan bool  // somebody shows icons, or does not any more
	memory  memory

	face    face
	there   bool    // somebody shows the icon
	window  *window // nil: there is none that this process has opened
	drawn   bool    // a window was seen once
	crashed bool    // the last window
	quits   bool    // the end was asked for
	lonely  <-chan time.Time
	failure error // with which it ends
}

// window is a process that has the window.
type window struct {
	drawn  bool
	wanted string          // what it was asked for, and did not do as it was about to end
	gone   context.Context //nolint:containedctx // ends with the process
	end    context.CancelFunc
	kill   func() error
}

// ended is how a process ended that was to have the window.
type ended struct {
	window *window
	err    error // nil: as it should
}

// loop does all that happens until the end.
func (t *tray) loop(ctx context.Context) error {
	t.tasks.Go(func() {
		t.host.watchTray(ctx, func(there bool) {
			select {
			case t.hosts <- there:
			case <-ctx.Done():
			}
		})
	})
	if t.o.Hidden {
		t.awaitIcon()
	} else {
		t.open(ctx, session.Raise)
	}
	var news notices
	again := time.NewTimer(0)
	defer again.Stop()
	var changed <-chan struct{}
	for !t.quits {
		select {
		case <-ctx.Done():
			t.quits = true
		case <-t.host.gone(): // with the session that this process was started in
			t.o.Log.InfoContext(ctx, "the session has ended")
			t.quits = true
		case do := <-t.acts:
			do()
		case call := <-t.o.Calls:
			call.Answer(t.answer(ctx, call.Word))
		case e := <-t.windows:
			t.windowEnded(ctx, e)
		case t.there = <-t.hosts:
			t.o.Log.DebugContext(ctx, "tray", "shown", t.there)
			t.awaitIcon()
		case <-t.lonely:
			if t.lonely = nil; t.window == nil && !t.there {
				t.open(ctx, session.Raise)
			}
		case <-changed:
			changed = nil
			again.Reset(calm)
		case <-again.C:
			var s bridge.Snapshot
			s, changed = t.o.Backend.Snapshot()
			t.showFace(t.faceOf(s))
			now := time.Now()
			news.see(s, now)
			told, ok, wait := news.due(now)
			if ok {
				t.notify(ctx, told)
			}
			if wait > 0 {
				again.Reset(wait)
			}
		}
	}
	t.part(context.WithoutCancel(ctx))
	return t.failure
}

// act has the loop do something.
func (t *tray) act(ctx context.Context, do func()) {
	select {
	case t.acts <- do:
	case <-ctx.Done():
	}
}

// chosen does what a line of the menu is for.
func (t *tray) chosen(ctx context.Context, a action) {
	switch a {
	case actOpen:
		t.open(ctx, session.Raise)
	case actPause:
		t.open(ctx, session.Pause)
	case actCopy:
		t.open(ctx, session.Copy)
	case actDoctor:
		t.open(ctx, session.Doctor)
	case actSettings:
		t.open(ctx, session.Settings)
	case actQuit:
		t.quit(ctx)
	case actResume:
		t.tasks.Go(func() {
			if err := t.o.Backend.Resume(ctx); err != nil && ctx.Err() == nil {
				t.notify(ctx, notice{bridge.TextOf(err), bridge.HintOf(err)})
			}
		})
	}
}

// answer answers another process.
func (t *tray) answer(ctx context.Context, word string) string {
	switch word {
	case session.Raise:
		t.open(ctx, session.Raise)
	case session.Opened:
		t.drawn, t.crashed = true, false
		if t.window != nil {
			t.window.drawn = true
		}
		s, _ := t.o.Backend.Snapshot()
		t.showFace(t.faceOf(s))
		t.o.Log.DebugContext(ctx, "window drawn")
	case session.Quit:
		t.quit(ctx)
	case session.Closing:
		switch {
		case t.there:
			t.keepsRunning(ctx)
		case t.o.Attached: // and this process shows nothing any more
			t.quit(ctx)
		default:
			return session.Ask
		}
		return session.Go
	default:
		return ""
	}
	return session.Yes
}

// keepsRunning tells a person who closes the window for the first time.
func (t *tray) keepsRunning(ctx context.Context) {
	if !t.memory.Told {
		t.memory.Told = true
		t.memory.keep()
		t.notify(ctx, notice{bridge.Say("Perch keeps running"), bridge.Say("Use its icon in the panel to open it again or to quit.")})
	}
}

// quit ends the tray.
func (t *tray) quit(ctx context.Context) {
	if t.quits = true; t.o.Attached {
		t.host.notify(ctx, t.say(bridge.Say("The bot goes on")), t.say(bridge.Say("It runs without this icon. To see it again, start Perch.")))
	}
}

// open opens the window, or brings the one that there is before the person's
// eyes, and has it do what word says.
func (t *tray) open(ctx context.Context, word string) {
	if w := t.window; w != nil {
		t.tasks.Go(func() {
			if session.Reach(w.gone, t.o.DataDir, session.Window, word) == nil { //nolint:contextcheck // as long as there is this window
				return
			}
			t.act(ctx, func() {
				if t.window == w {
					w.wanted = word
				} else {
					t.open(ctx, word)
				}
			})
		})
		return
	}
	cmd := t.o.Window(word)
	if err := cmd.Start(); err != nil {
		t.o.Log.WarnContext(ctx, "the window does not start", "error", err)
		t.failed(ctx)
		return
	}
	w := &window{kill: cmd.Process.Kill}
	w.gone, w.end = context.WithCancel(context.WithoutCancel(ctx))
	t.window = w
	go func() { // until the window ends, which may go on without this process
		err := cmd.Wait()
		w.end()
		select {
		case t.windows <- ended{w, err}:
		case <-ctx.Done():
		}
	}()
}

// windowEnded learns that a window is gone.
func (t *tray) windowEnded(ctx context.Context, e ended) {
	t.window = nil
	if e.err != nil {
		t.o.Log.WarnContext(ctx, "the window failed", "error", e.err)
		t.failed(ctx)
	}
	switch {
	case t.quits:
	case e.window.wanted != "":
		t.open(ctx, e.window.wanted)
	case e.window.drawn: // else another has it, or it would fail again
		t.awaitIcon()
	}
}

// failed tells that there is no window, and should be.
func (t *tray) failed(ctx context.Context) {
	if !t.drawn && !t.there && !t.o.Hidden {
		t.quits, t.failure = true, &bridge.Error{
			Code: bridge.CodeUnavailable,
			Text: bridge.Say("The window cannot be opened"),
			Hint: bridge.Say("Without a window Perch runs with: perch run"),
		}
		return
	}
	t.crashed = true
	s, _ := t.o.Backend.Snapshot()
	t.showFace(t.faceOf(s))
	t.notify(ctx, notice{crashTitle(), bridge.Say("The bot goes on. A click on the icon opens the window again.")})
}

func crashTitle() bridge.Text { return bridge.Say("The window has stopped unexpectedly") }

// awaitIcon opens the window if there is no icon to open it by for too long.
func (t *tray) awaitIcon() {
	if t.lonely = nil; t.window == nil && !t.there {
		t.lonely = time.After(patience)
	}
}

// part has the window end, too.
func (t *tray) part(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, parting)
	defer cancel()
	if _, err := session.Tell(ctx, t.o.DataDir, session.Window, session.Quit); err != nil {
		t.o.Log.DebugContext(ctx, "no window ends", "error", err)
	}
	if t.window == nil {
		return
	}
	select {
	case <-t.window.gone.Done():
	case <-ctx.Done():
		_ = t.window.kill() // it does not answer
	}
}

// notify tells the person something, in a while.
func (t *tray) notify(ctx context.Context, n notice) {
	t.tasks.Go(func() { t.host.notify(ctx, t.say(n.title), t.say(n.body)) })
}

func (t *tray) say(text bridge.Text) string { return text.In(t.o.Translate) }

// memory is what is remembered of the tray.
type memory struct {
	Told bool `json:"told"` // that closing the window does not quit

	file string
}

// remember returns what was kept in the folder dir.
func remember(dir string) memory {
	m := memory{file: filepath.Join(dir, "tray.json")}
	if data, err := os.ReadFile(m.file); err == nil {
		_ = json.Unmarshal(data, &m)
	}
	return m
}

// keep remembers m. It is no loss if that fails.
func (m memory) keep() {
	if data, err := json.Marshal(m); err == nil {
		_ = os.WriteFile(m.file, data, 0o600)
	}
}
