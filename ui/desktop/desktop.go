//go:build !headless

package desktop

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/app"
	"github.com/go-gl/glfw/v3.4/glfw"

	"perch/assets"
	"perch/bridge"
	"perch/bridge/config"
	"perch/ui"
	"perch/ui/kit"
)

// Backend is what the window asks.
type Backend = ui.Backend

// Run shows the window and the tray icon until the user quits or ctx is done.
// It must be called on the main goroutine, once. The window is gone when it
// returns, and nothing uses the backend any more. The error is a *bridge.Error.
func Run(ctx context.Context, o Options) error {
	if !HasDisplay(os.Getenv) {
		return noDisplay(nil)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	p := &program{o: o, ctx: ctx, end: end, host: openHost(ctx, o.Log), remembered: remember(o.DataDir)}
	defer p.host.close()
	if err := tryDisplay(); err != nil {
		return noDisplay(err)
	}
	icon := fyne.NewStaticResource("perch.png", assets.Logo())
	app.SetMetadata(fyne.AppMetadata{ID: ID, Name: "Perch", Version: o.Version, Icon: icon})
	p.app = app.NewWithID(ID)
	p.app.SetIcon(icon)
	p.app.Settings().SetTheme(kit.NewTheme())
	p.window = p.app.NewWindow("Perch")
	p.window.SetMaster()
	p.window.SetPadded(false)
	p.content = ui.New(o.Backend, ui.Options{App: p.app, Window: p.window, Translate: o.Translate}) //nolint:contextcheck // its Run is given the context
	p.window.SetContent(p.content.Content())
	p.window.Resize(fyne.NewSize(p.remembered.Width, p.remembered.Height))
	p.window.SetCloseIntercept(p.closed)

	first, _ := o.Backend.Snapshot()
	p.prepareTray()
	p.showFace(p.faceOf(first))
	p.tray = p.host.hasTray(ctx)
	p.hidden = true
	p.content.SetVisible(false)
	if o.Hidden {
		p.awaitTray()
	} else {
		p.show()
	}
	p.app.Lifecycle().SetOnStarted(p.start)
	// What Fyne does at its end, to save preferences that there are none of here,
	// can come between the end of its loop and of its queue, and is waited for
	// for ever then.
	if l, ok := p.app.Lifecycle().(interface{ SetOnStoppedHookExecuted(hook func()) }); ok {
		l.SetOnStoppedHookExecuted(nil)
	}
	p.app.Run()
	end()
	p.tasks.Wait()
	p.keepSize()
	return nil
}

// noDisplay returns the error of Run where there is no screen, or none that
// can be used.
func noDisplay(cause error) error {
	display := os.Getenv("WAYLAND_DISPLAY")
	if display == "" {
		display = os.Getenv("DISPLAY")
	}
	text := bridge.Say("there is no display to open a window on")
	if display != "" {
		text = bridge.Say("the display %s cannot be opened", display)
	}
	return &bridge.Error{
		Code: bridge.CodeUnavailable, Text: text, Cause: cause,
		Hint: bridge.Say("run the bot without a window: %s", "perch run"),
	}
}

// tryDisplay returns what is wrong with the display, which the driver does not.
func tryDisplay() error {
	if err := glfw.Init(); err != nil {
		return err
	}
	glfw.Terminate()
	return nil
}

// program is the running application. Its fields are used on Fyne's goroutine
// alone, unless they never change.
type program struct {
	o       Options
	ctx     context.Context //nolint:containedctx // of the tasks; ends when the user quits
	end     context.CancelFunc
	tasks   sync.WaitGroup
	host    *host
	app     fyne.App
	window  fyne.Window
	content *ui.UI

	face       face
	tray       bool // somebody shows the icon
	hidden     bool // the window
	asking     bool // the user is asked something
	remembered memory
}

// trayPatience is how long the window stays hidden without a tray icon to open
// it by: a panel that starts with the session or again needs a moment.
const trayPatience = 10 * time.Second

// start starts what goes on beside the window.
func (p *program) start() {
	p.tasks.Go(p.host.awaitIcon)
	p.tasks.Go(func() { p.content.Run(p.ctx) })
	shown := p.face
	p.tasks.Go(func() { p.follow(shown) })
	p.tasks.Go(func() {
		p.host.watchTray(p.ctx, func(there bool) {
			p.do(func() {
				p.o.Log.DebugContext(p.ctx, "tray", "shown", there)
				p.tray = there
				p.awaitTray()
			})
		})
	})
	p.tasks.Go(func() {
		for {
			select {
			case <-p.ctx.Done():
				return
			case <-p.o.Raise:
				p.do(p.show)
			}
		}
	})
	go func() { // ends with the application
		<-p.ctx.Done()
		p.tasks.Wait()
		fyne.Do(p.app.Driver().Quit)
	}()
}

// do calls f on Fyne's goroutine, soon, unless the program ends. The driver
// ends by itself at SIGTERM, and would then call f right here.
func (p *program) do(f func()) {
	fyne.Do(func() {
		if p.ctx.Err() == nil {
			f()
		}
	})
}

// background does what takes its time.
func (p *program) background(f func()) {
	if p.ctx.Err() == nil {
		p.tasks.Go(f)
	}
}

func (p *program) say(t bridge.Text) string { return t.In(p.o.Translate) }

// follow keeps the tray as the bot is, and notifies. It is given what the tray
// shows.
func (p *program) follow(shown face) {
	var n notices
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		s, changed := p.o.Backend.Snapshot()
		if f := p.faceOf(s); f != shown {
			shown = f
			p.do(func() { p.showFace(f) })
		}
		now := time.Now()
		n.see(s, now)
		told, ok, wait := n.due(now)
		if ok {
			p.host.notify(p.ctx, p.app, p.say(told.title), p.say(told.body))
		}
		again.Stop()
		if wait > 0 {
			again.Reset(wait)
		}
		select {
		case <-p.ctx.Done():
			return
		case <-changed:
		case <-again.C:
		}
		// A bot that is busy changes all the time.
		pause := time.NewTimer(250 * time.Millisecond)
		select {
		case <-p.ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// show brings the window before the user's eyes.
func (p *program) show() {
	p.hidden = false
	p.window.Show()
	p.ofWindow((*glfw.Window).Restore)
	p.window.RequestFocus()
	p.content.SetVisible(true)
}

// hide takes the window away; the tray icon has it again.
func (p *program) hide() {
	p.hidden = true
	p.keepSize()
	p.window.Hide()
	p.content.SetVisible(false)
	if p.remembered.Told {
		return
	}
	p.remembered.Told = true
	p.remembered.keep()
	p.background(func() {
		p.host.notify(p.ctx, p.app, p.say(bridge.Say("Perch keeps running")),
			p.say(bridge.Say("Use its icon in the panel to open it again or to quit.")))
	})
}

// minimize leaves the window to the task bar.
func (p *program) minimize() { p.ofWindow((*glfw.Window).Iconify) }

// ofWindow calls a function of the window that Fyne does not have.
func (p *program) ofWindow(f func(*glfw.Window)) {
	if w, ok := p.window.(interface{ RunWithContext(func()) }); ok {
		w.RunWithContext(func() { f(glfw.GetCurrentContext()) })
	}
}

// closed is called when the user closes the window.
func (p *program) closed() {
	c, _, _ := p.o.Backend.Config()
	switch {
	case c.Window.OnClose == config.CloseQuits:
		p.quit()
	case p.tray:
		p.hide()
	default:
		p.askClose()
	}
}

// awaitTray shows a hidden window if there is no tray icon to open it by for
// too long.
func (p *program) awaitTray() {
	if !p.hidden || p.tray {
		return
	}
	p.background(func() {
		timer := time.NewTimer(trayPatience)
		defer timer.Stop()
		select {
		case <-p.ctx.Done():
		case <-timer.C:
			p.do(func() {
				if p.hidden && !p.tray {
					p.show()
				}
			})
		}
	})
}

// quit ends the program: the window goes at once, then what it has under way.
func (p *program) quit() {
	p.window.Hide()
	p.end()
}

// try asks the backend for something, and shows the window with what went wrong.
func (p *program) try(what func(context.Context) error) {
	p.background(func() {
		if err := what(p.ctx); err != nil && p.ctx.Err() == nil {
			p.do(func() { p.tell(err) })
		}
	})
}

// memory is what is remembered of the window.
type memory struct {
	Width  float32 `json:"width"`
	Height float32 `json:"height"`
	Told   bool    `json:"told"` // that closing the window does not quit

	file string
}

// remember returns what was kept in the folder dir.
func remember(dir string) memory {
	m := memory{file: filepath.Join(dir, "window.json")}
	if data, err := os.ReadFile(m.file); err == nil {
		_ = json.Unmarshal(data, &m)
	}
	if !(m.Width >= 500 && m.Width <= 10000 && m.Height >= 320 && m.Height <= 10000) {
		m.Width, m.Height = 1080, 700
	}
	return m
}

// keep remembers m. It is no loss if that fails.
func (m memory) keep() {
	if data, err := json.Marshal(m); err == nil {
		_ = os.WriteFile(m.file, data, 0o600)
	}
}

// keepSize remembers the size of the window.
func (p *program) keepSize() {
	size := p.window.Canvas().Size()
	if size.Width == p.remembered.Width && size.Height == p.remembered.Height {
		return
	}
	p.remembered.Width, p.remembered.Height = size.Width, size.Height
	p.remembered.keep()
}
