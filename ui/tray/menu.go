//go:build !headless

package tray

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"runtime"
	"strings"

	"fyne.io/systray"
	"github.com/fyne-io/oksvg"
	"github.com/srwiley/rasterx"

	"perch/assets"
	"perch/bridge"
)

// face is what the tray shows; it changes with the state, not with messages.
type face struct {
	icon    string // as assets.Tray has it
	status  string
	reason  string // for what is not as it should be
	address bool   // there is one
	state   bridge.State
}

// maxReason is how long a line of the menu can be.
const maxReason = 80

func (t *tray) faceOf(s bridge.Snapshot) face {
	f := face{icon: trayIcon(s.State), status: t.say(s.Title), address: s.Address != "", state: s.State}
	switch {
	case t.crashed:
		f.reason = t.say(crashTitle())
	case s.State == bridge.StateFailed || s.State == bridge.StateDegraded:
		f.reason = shortened(t.say(s.Detail))
	}
	return f
}

func shortened(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxReason {
		return string(runes[:maxReason-1]) + "…"
	}
	return text
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

// showFace shows another face in the tray.
func (t *tray) showFace(f face) {
	if f != t.face {
		t.icon.show(f, t.face)
		t.face = f
	}
}

// action is what a line of the menu does.
type action int

const (
	actOpen action = iota
	actPause
	actResume
	actCopy
	actDoctor
	actSettings
	actQuit
)

// icon is the icon in the tray, and its menu.
type icon struct {
	translate             func(string) string
	status, reason        *systray.MenuItem
	pause, resume, copies *systray.MenuItem
}

func newIcon(translate func(string) string) *icon { return &icon{translate: translate} }

// prepare sets what the icon has from its start.
func prepare() {
	if runtime.GOOS == "linux" {
		systray.SetTitle("Perch") // elsewhere it would stand beside the icon
	}
}

// build makes the menu; act is called with what is chosen, until done.
func (i *icon) build(act func(action), done <-chan struct{}) {
	add := func(label bridge.Text, a action) *systray.MenuItem {
		item := systray.AddMenuItem(escaped(label.In(i.translate)), "")
		go func() { // until done
			for {
				select {
				case <-item.ClickedCh:
					act(a)
				case <-done:
					return
				}
			}
		}()
		return item
	}
	i.status = systray.AddMenuItem("Perch", "")
	i.status.Disable()
	i.reason = systray.AddMenuItem("", "")
	i.reason.Disable()
	i.reason.Hide()
	systray.AddSeparator()
	add(bridge.Say("Open Perch"), actOpen)
	i.pause = add(bridge.Say("Pause…"), actPause)
	i.resume = add(bridge.Say("Resume"), actResume)
	i.resume.Hide()
	i.copies = add(bridge.Say("Copy address"), actCopy)
	systray.AddSeparator()
	add(bridge.Say("Run doctor"), actDoctor)
	add(bridge.Say("Settings"), actSettings)
	systray.AddSeparator()
	add(bridge.Say("Quit"), actQuit)
}

// show changes what differs from the old face.
func (i *icon) show(f, old face) {
	if f.icon != old.icon {
		systray.SetIcon(picture(f.icon))
	}
	if f.status != old.status {
		i.status.SetTitle(escaped(f.status))
	}
	if f.reason != old.reason {
		i.reason.SetTitle(escaped(f.reason))
		visible(i.reason, f.reason != "")
	}
	if f.status != old.status || f.reason != old.reason {
		tip := "Perch: " + f.status
		if f.reason != "" {
			tip += "\n" + f.reason
		}
		systray.SetTooltip(tip)
	}
	visible(i.resume, f.state == bridge.StatePaused)
	visible(i.pause, f.state != bridge.StatePaused)
	enabled(i.pause, f.state != bridge.StateNew)
	enabled(i.copies, f.address)
}

func visible(item *systray.MenuItem, yes bool) {
	if yes {
		item.Show()
	} else {
		item.Hide()
	}
}

func enabled(item *systray.MenuItem, yes bool) {
	if yes {
		item.Enable()
	} else {
		item.Disable()
	}
}

// escaped returns a text for a menu in which one character marks the keys that
// choose a line.
func escaped(text string) string {
	switch runtime.GOOS {
	case "windows":
		return strings.ReplaceAll(text, "&", "&&")
	case "darwin":
		return text
	default:
		return strings.ReplaceAll(text, "_", "__")
	}
}

// pictureSize is that of the icon, in pixels.
const pictureSize = 64

// picture returns an icon in the format that the system wants.
func picture(icon string) []byte {
	drawing, err := oksvg.ReadIconStream(bytes.NewReader(assets.Tray(icon)))
	if err != nil {
		return assets.Logo()
	}
	pixels := image.NewRGBA(image.Rect(0, 0, pictureSize, pictureSize))
	drawing.SetTarget(0, 0, pictureSize, pictureSize)
	drawing.Draw(rasterx.NewDasher(pictureSize, pictureSize, rasterx.NewScannerGV(pictureSize, pictureSize, pixels, pixels.Bounds())), 1)
	var data bytes.Buffer
	if err := png.Encode(&data, pixels); err != nil {
		return assets.Logo()
	}
	if runtime.GOOS == "windows" {
		return ico(data.Bytes())
	}
	return data.Bytes()
}

// ico returns a PNG as a Windows icon.
func ico(data []byte) []byte {
	header := []byte{
		0, 0, 1, 0, 1, 0, // an icon, of one picture
		pictureSize, pictureSize, 0, 0, 1, 0, 32, 0,
	}
	header = binary.LittleEndian.AppendUint32(header, uint32(len(data))) //nolint:gosec // it is small
	header = binary.LittleEndian.AppendUint32(header, 22)                // where it begins: here
	return append(header, data...)
}
