//go:build !headless

package desktop

import (
	"bytes"
	"image/png"
	"runtime"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/driver/software"
	"fyne.io/systray"

	"perch/assets"
	"perch/bridge"
	"perch/ui"
)

// face is what the tray shows; it changes with the state, not with messages.
type face struct {
	icon    string // as assets.Tray has it
	status  string
	address string
	state   bridge.State
}

func (p *program) faceOf(s bridge.Snapshot) face {
	return face{icon: trayIcon(s.State), status: p.say(s.Title), address: s.Address, state: s.State}
}

// trayIcon returns which of the icons of assets.Tray stands for a state.
func trayIcon(s bridge.State) string {
	switch s {
	case bridge.StateRunning, bridge.StateStarting:
		return "running"
	case bridge.StateDegraded:
		return "degraded"
	case bridge.StateFailed:
		return "error"
	default:
		return "paused"
	}
}

// showFace shows another face in the tray. The driver wants to be told of the
// first one before it runs.
func (p *program) showFace(f face) {
	tray, ok := p.app.(desktop.App)
	if !ok {
		return
	}
	old := p.face
	p.face = f
	tray.SetSystemTrayMenu(p.menu(f))
	if f.icon != old.icon {
		tray.SetSystemTrayIcon(picture(f.icon))
	}
}

// picture returns an icon as pixels. The driver would draw them itself at its
// start, on a goroutine where Fyne must not be used.
func picture(icon string) fyne.Resource {
	svg := fyne.NewStaticResource("tray-"+icon+".svg", assets.Tray(icon))
	c := software.NewTransparentCanvas()
	c.SetPadded(false)
	c.SetContent(canvas.NewImageFromResource(svg))
	c.Resize(fyne.NewSquareSize(64))
	var data bytes.Buffer
	if err := png.Encode(&data, c.Capture()); err != nil {
		return svg
	}
	return fyne.NewStaticResource("tray-"+icon+".png", data.Bytes())
}

func (p *program) menu(f face) *fyne.Menu {
	item := func(label bridge.Text, action func()) *fyne.MenuItem { return fyne.NewMenuItem(p.say(label), action) }
	shows := func(what func()) func() {
		return func() {
			p.show()
			what()
		}
	}
	status := fyne.NewMenuItem(f.status, nil)
	status.Disabled = true
	address := item(bridge.Say("Copy address"), func() { p.app.Clipboard().SetContent(f.address) })
	address.Disabled = f.address == ""
	turn := item(bridge.Say("Pause…"), p.askPause)
	if f.state == bridge.StatePaused {
		turn = item(bridge.Say("Resume"), func() { p.try(p.o.Backend.Resume) })
	}
	turn.Disabled = f.state == bridge.StateNew
	quit := item(bridge.Say("Quit"), p.quit)
	quit.IsQuit = true // else the driver adds one
	return fyne.NewMenu(
		"Perch",
		status,
		fyne.NewMenuItemSeparator(),
		item(bridge.Say("Open Perch"), p.show), turn, address,
		fyne.NewMenuItemSeparator(),
		item(bridge.Say("Run doctor"), shows(p.content.RunDoctor)),
		item(bridge.Say("Settings"), shows(func() { p.content.Show(ui.PageSettings) })),
		fyne.NewMenuItemSeparator(),
		quit,
	)
}

// prepareTray sets what the driver does not, or too late. It is to be called
// before the driver runs.
func (p *program) prepareTray() {
	systray.SetOnTapped(func() { p.do(p.show) }) // where a click does not open the menu
	if runtime.GOOS == "linux" {
		systray.SetTitle("Perch") // elsewhere it would stand beside the icon
	}
}
