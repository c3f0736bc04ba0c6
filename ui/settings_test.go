package ui

import (
	"testing"

	"fyne.io/fyne/v2"

	"perch/bridge/config"
)

func TestSettingsLooks(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		x := openIn(t, newFake(), v)
		x.Show(PageSettings)
		x.idle()
		x.shoot("settings-" + name)
		p := x.pages[PageSettings].(*settingsPage)
		x.window.Resize(fyne.NewSize(540, 350))
		x.shoot("settings-narrow-" + name)
		x.window.Resize(fyne.NewSize(540, 2900))
		x.shoot("settings-narrow2-" + name)
		for _, kind := range handlerKinds() {
			p.takeKind(kind)
			p.values.Commands = nil
			if kind == config.Commands {
				p.values.Commands = []config.Command{{Name: "wifi", Help: "how to get online", Reply: "On the fridge, {author}."}, {Name: "a b"}}
			}
			p.takeReach(reach(len(kind)%4), []string{"192.168.1.20", "10.0.0.3"})
			p.values.Tunnel = config.TunnelNamed
			p.values.Command = "python3 'a b' c"
			p.edited()
			p.test()
			x.idle()
			x.window.Resize(fyne.NewSize(1080, 2500))
			x.shoot("settings-" + kind + "-" + name)
		}
	})
}
