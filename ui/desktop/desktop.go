//go:build !headless

package desktop

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/app"
	"github.com/go-gl/glfw/v3.4/glfw"

	"perch/assets"
	"perch/bridge"
	"perch/bridge/config"
	"perch/ui"
	"perch/ui/kit"
	"perch/ui/session"
)

// Backend is what the window asks.
type Backend = ui.Backend

// Run shows the window until the user closes it or ctx is done. It must be
// called on the main goroutine, once. The window is gone when it returns, and
// nothing uses the backend any more. The error is a *bridge.Error.
func Run(ctx context.Context, o Options) error {
	if !session.HasDisplay(os.Getenv) {
		return noDisplay(nil)
	}
	if _, err := session.UseBus(); err != nil {
		o.Log.WarnContext(ctx, "the session bus cannot be set", "error", err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	p := &program{o: o, ctx: ctx, end: end, remembered: remember(o.DataDir)}
	if err := tryDisplay(); err != nil {
		return noDisplay(err)
	}
	icon := fyne.NewStaticResource("perch.png", assets.Logo())
	app.SetMetadata(fyne.AppMetadata{ID: session.ID, Name: "Perch", Version: o.Version, Icon: icon})
	p.app = app.NewWithID(session.ID)
	p.app.SetIcon(icon)
	p.app.Settings().SetTheme(kit.NewTheme())
	p.window = p.app.NewWindow(o.title())
	p.window.SetMaster()
	p.window.SetPadded(false)
	p.content = ui.New(o.Backend, ui.Options{App: p.app, Window: p.window, Translate: o.Translate}) //nolint:contextcheck // its Run is given the context
	p.window.SetContent(p.content.Content())
	p.window.Resize(fyne.NewSize(p.remembered.Width, p.remembered.Height))
	p.window.SetCloseIntercept(p.closed)
	p.show()
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
	app     fyne.App
	window  fyne.Window
	content *ui.UI

	asking     bool // the user is asked something
	remembered memory
}

// start starts what goes on beside the window.
func (p *program) start() {
	p.heed(p.o.Show)
	p.tasks.Go(func() { p.content.Run(p.ctx) })
	p.tasks.Go(func() { p.tell(session.Opened) })
	p.tasks.Go(p.attend)
	go func() { // ends with the application
		<-p.ctx.Done()
		p.tasks.Wait()
		fyne.Do(p.app.Driver().Quit)
	}()
}

// attend does what other processes ask for, until the end.
func (p *program) attend() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case call := <-p.o.Calls:
			p.do(func() {
				p.heed(call.Word)
				call.Answer(session.Yes)
			})
		}
	}
}

// heed does what a word asks for.
func (p *program) heed(word string) {
	if word == session.Quit {
		p.quit()
		return
	}
	p.show()
	switch word {
	case session.Doctor:
		p.content.RunDoctor()
	case session.Settings:
		p.content.Show(ui.PageSettings)
	case session.Pause:
		p.askPause()
	case session.Copy:
		p.content.CopyAddress()
	}
}

// tell asks the tray of this home for something; there may be none.
func (p *program) tell(word string) (answer string) {
	if p.o.Elsewhere {
		return ""
	}
	answer, err := session.Tell(p.ctx, p.o.DataDir, session.Tray, word)
	if err != nil {
		p.o.Log.DebugContext(p.ctx, "the tray does not answer", "error", err)
	}
	return answer
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

// show brings the window before the user's eyes.
func (p *program) show() {
	p.window.Show()
	p.ofWindow((*glfw.Window).Restore)
	p.window.RequestFocus()
	p.content.SetVisible(true)
}

// minimize leaves the window to the task bar.
func (p *program) minimize() { p.ofWindow((*glfw.Window).Iconify) }

// ofWindow calls a function of the window that Fyne does not have.
func (p *program) ofWindow(f func(*glfw.Window)) {
	if w, ok := p.window.(interface{ RunWithContext(func()) }); ok {
		w.RunWithContext(func() { f(glfw.GetCurrentContext()) })
	}
}

// closed is called when the user closes the window. What then becomes of Perch is
// for the tray to say.
func (p *program) closed() {
	p.background(func() {
		c, _, _ := p.o.Backend.Config()
		switch {
		case c.Window.OnClose == config.CloseQuits:
			p.do(p.quitAll)
		case p.tell(session.Closing) == session.Ask:
			p.do(p.askClose)
		default:
			p.do(p.quit)
		}
	})
}

// quitAll ends the tray, too, and the bot with it.
func (p *program) quitAll() {
	p.background(func() {
		p.tell(session.Quit)
		p.do(p.quit)
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
			p.do(func() { p.report(err) })
		}
	})
}

// memory is what is remembered of the window.
type memory struct {
	Width  float32 `json:"width"`
	Height float32 `json:"height"`

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
