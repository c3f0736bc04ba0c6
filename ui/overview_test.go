package ui

import (
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

func TestOverview(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x := openIn(t, newFake(), v)
		x.looks("overview")
		x.isDrawnIn(v)
		x.shoot("overview-" + name)
	})
}

// heldBack is a bot whose server has refused a reply, and whose tunnel has
// another address than the one that Talk knows.
func heldBack() *fakeBackend {
	b := newFake()
	s := &b.snapshot
	s.State = bridge.StateDegraded
	s.Title, s.Detail = bridge.Say("Replies are held back"), bridge.Say("The server refused a reply, so nothing more is sent until the cause is fixed.")
	s.Fix = bridge.Say("Fix the cause, then: perch retry")
	s.Held, s.Waiting = true, 3
	s.Address = "https://soft-words-arrive-never.trycloudflare.com/nextcloud-talk"
	s.Tunnel = bridge.TunnelState{
		Phase: "reconnecting", Reason: bridge.Say("The connection to Cloudflare was lost."), RetryAt: atTime().Add(30 * time.Second),
		Hint: bridge.Say("Check whether the network is up."),
	}
	return b
}

// At twice the size a window of 1080 × 700 has half the space: nothing is lost,
// it scrolls.
func TestOverviewInLittleSpace(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x := openIn(t, heldBack(), v)
		x.idle()
		x.tickNow()
		x.shoot("overview-trouble-" + name)
		x.window.Resize(fyne.NewSize(540, 350))
		x.isDrawnIn(v)
		x.shoot("overview-narrow-" + name)
		x.fits()
	})
}

func TestHeldRepliesAreTriedAgain(t *testing.T) {
	x := open(t, heldBack())
	x.idle()
	x.tickNow()
	x.reads("Replies are held back", "Fix the cause, then:", "perch retry", "median 0.8 s · 3 waiting")
	test.Tap(x.buttonOf("Try again"))
	x.idle()
	if diff := cmp.Diff([]string{"Retry"}, x.fake.asked()); diff != "" {
		t.Error(diff)
	}
	x.fake.change(func(b *fakeBackend) { b.snapshot = newFake().snapshot })
	x.tickNow()
	for _, o := range kittest.VisibleObjects(x.Content()) {
		if b, ok := o.(*kit.Button); ok && b.Text == "Try again" {
			t.Error("there is nothing to try again")
		}
	}
}

// When the address has changed, the commands for it are there to copy.
func TestBotToBeInstalledAnew(t *testing.T) {
	x := open(t, heldBack())
	x.idle()
	x.tickNow()
	x.reads("The bot must be installed again",
		"Talk sends messages to https://bot.example.com/nextcloud-talk, but the bot is at https://soft-words-arrive-never.trycloudflare.com/nextcloud-talk now. Type this on the server:")
	commands, err := x.fake.Occ(t.Context(), x.fake.config, x.fake.secrets[bridge.WebhookSecret])
	must(t, err)
	x.reads(commands[0].Shown)
	test.Tap(find(x, func(o *kit.Option) bool { return o.Title.Text == "Docker" }))
	x.reads(commands[1].Shown)
	test.Tap(x.buttonOf("Copy with secret"))
	if got := x.app.Clipboard().Content(); got != commands[1].Lines {
		t.Errorf("copied: %q", got)
	}
	x.fake.change(func(b *fakeBackend) { b.snapshot.Installed = b.snapshot.Address })
	x.tickNow()
	for _, text := range x.texts() {
		if text == "The bot must be installed again" {
			t.Error("it is installed now")
		}
	}
}

// A problem that has a card of its own is not told twice.
func TestNothingIsToldTwice(t *testing.T) {
	b := newFake()
	b.snapshot.State, b.snapshot.Title = bridge.StateDegraded, bridge.Say("Something went wrong")
	b.snapshot.Detail, b.snapshot.Fix = b.snapshot.Problem.Title, b.snapshot.Problem.Hint
	x := open(t, b)
	if x.pages[PageOverview].(*overview).trouble.Visible() {
		t.Error("the last problem has two cards")
	}
	x.fake.change(func(b *fakeBackend) {
		b.snapshot.State, b.snapshot.Title, b.snapshot.Detail = bridge.StateFailed, bridge.Say("Stopped"), bridge.Say("Port 8460 is in use.")
		b.snapshot.Fix = bridge.Say("see what listens: sudo ss -ltnp")
	})
	x.tickNow()
	x.reads("Port 8460 is in use.", "sudo ss -ltnp")
}

func TestOverviewCopiesTheAddress(t *testing.T) {
	x := open(t, newFake())
	test.Tap(x.buttonOf("Copy"))
	if got := x.app.Clipboard().Content(); got != "https://bot.example.com/nextcloud-talk" {
		t.Errorf("copied: %q", got)
	}
	x.fake.change(func(b *fakeBackend) {
		b.snapshot.Address, b.snapshot.Installed, b.snapshot.Tunnel = "", "", bridge.TunnelState{}
	})
	x.tickNow()
	x.reads("No address is known yet. Perch listens at http://127.0.0.1:8460/nextcloud-talk.")
}

// A new Perch leads to the first steps, which can be left and found again.
func TestOverviewOfANewPerch(t *testing.T) {
	b := newFake()
	b.snapshot = bridge.Snapshot{
		State: bridge.StateNew, Title: bridge.Say("Not set up yet"), Detail: bridge.Say("Perch needs to know your Nextcloud and whom it may answer."),
	}
	x := open(t, b)
	if x.current != PageWelcome {
		t.Errorf("a new Perch begins with page %v", x.current)
	}
	x.press(fyne.KeyEscape)
	x.looks("overview-new")
	x.shoot("overview-new")
	test.Tap(find(x, func(b *kit.Button) bool { return b.Text == "Set up…" && b.Visible() }))
	if x.current != PageWelcome {
		t.Error("the first steps cannot be found again")
	}
}

func TestOverviewWithoutMessages(t *testing.T) {
	b := newFake()
	b.snapshot.Last, b.snapshot.Hour, b.snapshot.Problem = bridge.Message{}, bridge.Traffic{}, bridge.Event{}
	b.snapshot.Detail = bridge.Say("Waiting for the first message")
	x := open(t, b)
	x.reads("No messages yet")
	x.shoot("overview-quiet")
	test.Tap(find(x, func(b *kit.Button) bool { return b.Text == "Practice" }))
	if x.current != PagePractice {
		t.Error("Practice does not lead there")
	}
}

// What the tray's menu copies is on the overview, and it says so.
func TestCopyAddress(t *testing.T) {
	x := open(t, newFake())
	x.Show(PageSettings)
	x.CopyAddress()
	x.idle()
	if got := x.app.Clipboard().Content(); got != "https://bot.example.com/nextcloud-talk" {
		t.Errorf("copied %q", got)
	}
	if x.current != PageOverview || !x.shell.notice.Visible() {
		t.Errorf("page %v, notice %v", x.current, x.shell.notice.Visible())
	}
}
