package ui

import (
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"

	"perch/bridge"
	"perch/bridge/config"
)

// newComer returns a bot that is not set up.
func newComer() *fakeBackend {
	b := newFake()
	b.config, b.exists = config.Default(), false
	b.secrets = map[string]bridge.Secret{}
	b.snapshot = bridge.Snapshot{State: bridge.StateNew, Title: bridge.Say("Not set up yet"), Detail: bridge.Say("Perch needs to know your Nextcloud and whom it may answer.")}
	return b
}

func TestWelcomeLooks(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		x := openIn(t, newComer(), v)
		x.idle()
		x.shoot("welcome-1-" + name)
		w := x.pages[PageWelcome].(*welcomePage)
		w.values.Server = "https://cloud.example.com"
		w.edited()
		test.Tap(x.buttonOf("Test connection"))
		x.idle()
		x.shoot("welcome-1b-" + name)
		test.Tap(x.buttonOf("Next"))
		w.values.Users = "alice"
		w.edited()
		test.Tap(x.buttonOf("Next"))
		x.shoot("welcome-3-" + name)
		w.ways().take(int(reachLocal))
		test.Tap(x.buttonOf("Next"))
		x.shoot("welcome-4-" + name)
		test.Tap(x.buttonOf("Make the secret and start"))
		x.idle()
		x.fake.change(func(b *fakeBackend) {
			b.snapshot.State = bridge.StateRunning
			b.snapshot.Address = "http://192.168.1.20:8460/nextcloud-talk"
		})
		x.tickNow()
		x.idle()
		x.shoot("welcome-5-" + name)
		test.Tap(x.buttonOf("I have typed it"))
		x.shoot("welcome-6-" + name)
		test.Tap(x.buttonOf("It is enabled"))
		x.shoot("welcome-7-" + name)
		x.fake.change(func(b *fakeBackend) { b.snapshot.Last = newFake().snapshot.Last })
		x.tickNow()
		x.shoot("welcome-8-" + name)
	})
}

func (w *welcomePage) ways() *chooser { return w.reaching.ways }
