package ui

import (
	"context"
	"fmt"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"

	"perch/bridge"
	"perch/bridge/config"
	botcontrol "perch/bridge/control"
	"perch/bridge/journal"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/bridge/testenv"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

// realBackend is the program's own, without a desktop around it.
type realBackend struct{ *botcontrol.Bot }

func (realBackend) StartsAtLogin() bool         { return false }
func (realBackend) SetStartsAtLogin(bool) error { return nil }

// scene is a bot that answers on a practice server.
type scene struct {
	server *practice.Server
	desk   *botcontrol.Bot
	room   string
	local  string // address of the bot
}

const sceneSecret = "0123456789abcdef0123456789abcdef0123456789abcdef"

// newScene lets people talk to a bot for an hour, as far as its journal knows.
func newScene(t *testing.T) *scene {
	t.Helper()
	server, err := practice.Start(t.Context(), practice.Options{})
	must(t, err)
	t.Cleanup(server.Close)
	s := &scene{server: server}
	server.AddUser("alice", "Alice")
	server.AddUser("bob", "Bob")
	server.AddUser("mallory", "Mallory")
	s.room = server.AddRoom("Kitchen", "alice", "bob", "mallory")
	other := server.AddRoom("Family", "bob", "alice")

	dir := t.TempDir()
	home := config.Home{ConfigDir: dir, DataDir: filepath.Join(dir, "data")}
	cfg := config.Default()
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers = server.URL(), []string{"alice", "bob"}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	cfg.Webhook.Listen = free.Addr().String()
	must(t, free.Close())
	_, err = config.Save(home.ConfigFile(), cfg)
	must(t, err)
	secrets := secret.Chain(func(string) string { return "" }, secret.Memory())
	must(t, secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(sceneSecret)))

	stop := s.open(t, botcontrol.Options{Home: home, Secrets: secrets, Version: "test"})
	s.local = s.until(t, func(b bridge.Snapshot) bool { return b.Local != "" && b.Nextcloud != "" }).Local
	bot, err := server.InstallBot(practice.Bot{Name: "Perch", URL: s.local, Secret: sceneSecret})
	must(t, err)
	for _, room := range []string{s.room, other} {
		_, err = server.EnableBot(t.Context(), room, bot)
		must(t, err)
	}
	const told = 9
	for i, line := range [told]struct{ room, who, text string }{
		{s.room, "alice", "!ping"},
		{s.room, "bob", "!echo Dinner at seven, @alice 🍲"},
		{other, "bob", "Are the lights off?"},
		{s.room, "mallory", "!status"},
		{other, "alice", "!whoami"},
		{s.room, "alice", "!status"},
		{other, "bob", "!echo The lights are off."},
		{s.room, "bob", "!nonsense"},
		{s.room, "alice", "!help"},
	} {
		_, err = server.Post(t.Context(), line.room, line.who, line.text)
		must(t, err)
		s.until(t, func(b bridge.Snapshot) bool { return b.Hour.Received+b.Hour.Refused == i+1 && b.Waiting == 0 })
	}
	s.until(t, func(b bridge.Snapshot) bool { return b.Hour.Answered >= 7 })
	stop()
	spread(t, home.JournalFile())
	s.open(t, botcontrol.Options{Home: home, Secrets: secrets, Version: "test"})
	s.until(t, func(b bridge.Snapshot) bool { return b.State == bridge.StateRunning && b.Nextcloud != "" })
	return s
}

// spread repeats what the journal has over the last hour.
func spread(t *testing.T, file string) {
	t.Helper()
	var now time.Time
	j, err := journal.Open(t.Context(), file, journal.Options{Now: func() time.Time { return now }})
	must(t, err)
	records, err := j.Messages(t.Context(), journal.Filter{})
	must(t, err)
	must(t, j.Clear(t.Context()))
	for i, often := range []int{1, 2, 1, 3, 4, 2, 1, 2, 3, 1, 1, 2} { // each five minutes
		began := time.Now().Add(-time.Hour + time.Duration(i)*5*time.Minute)
		for n := range often {
			for k, r := range records {
				m := r.Message
				m.ReceivedAt = began.Add(time.Duration(n)*70*time.Second + time.Duration(k)*2*time.Second)
				m.Key.ID, m.Nonce = fmt.Sprintf("%s%02d%02d", m.Key.ID, i, n), ""
				now = m.ReceivedAt.Add(300 * time.Millisecond)
				repeat(t, j, m, r)
			}
		}
	}
	must(t, j.Close())
}

// repeat makes of m what became of the message of r.
func repeat(t *testing.T, j *journal.Journal, m bridge.Message, r bridge.Record) {
	t.Helper()
	state := r.State
	if state == bridge.MessageHandled || state == bridge.MessageFailed {
		state = bridge.MessageWaiting
	}
	_, err := j.Put(t.Context(), m, state, r.Failure)
	must(t, err)
	if state != bridge.MessageWaiting {
		return
	}
	item, err := j.Claim(t.Context())
	must(t, err)
	var replies []bridge.Reply
	for _, reply := range r.Replies {
		reply.Reply.Answers, reply.Reply.AskedAt = m.Key.ID, m.ReceivedAt
		replies = append(replies, reply.Reply)
	}
	must(t, j.Finish(t.Context(), item.ID, replies, nil))
	for range replies {
		due, err := j.Due(t.Context())
		must(t, err)
		must(t, j.Begin(t.Context(), due.ID))
		must(t, j.Sent(t.Context(), due.ID, ""))
	}
}

func (s *scene) open(t *testing.T, o botcontrol.Options) (stop func()) {
	t.Helper()
	s.desk = botcontrol.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func(d *botcontrol.Bot) { done <- d.Run(ctx) }(s.desk)
	var ended bool
	stop = func() {
		if !ended {
			ended = true
			cancel()
			must(t, <-done)
		}
	}
	t.Cleanup(stop)
	return stop
}

func (s *scene) until(t *testing.T, is func(bridge.Snapshot) bool) bridge.Snapshot {
	t.Helper()
	late := time.NewTimer(testenv.Patience)
	defer late.Stop()
	for {
		b, changed := s.desk.Snapshot()
		if is(b) {
			return b
		}
		select {
		case <-changed:
		case <-late.C:
			t.Fatalf("never; at last %+v", b)
		}
	}
}

// Every page shows what a real bot on a practice server did, in light and dark,
// and says nothing of its secret. With PERCH_SCREENSHOTS the pages are written
// to that folder.
func TestScreenshots(t *testing.T) {
	s := newScene(t)
	inBoth(t, func(t *testing.T, name string, variant fyne.ThemeVariant) {
		t.Helper()
		x := openReal(t, realBackend{s.desk}, variant)
		for page, want := range map[Page]string{
			PageOverview: s.local, PageLog: "!help", PageDoctor: "Certificate",
			PageSettings: s.server.URL(), PagePractice: "Say something to your bot", PageWelcome: "Your Nextcloud",
		} {
			x.Show(page)
			if page == PagePractice {
				x.rehearse()
			}
			x.wait(want)
			x.save(map[Page]string{
				PageOverview: "overview", PageLog: "log", PageDoctor: "doctor", PageSettings: "settings", PagePractice: "practice", PageWelcome: "welcome",
			}[page] + "-" + name)
			for _, text := range x.texts() {
				if text == sceneSecret {
					t.Errorf("the secret stands on page %v", page)
				}
			}
		}
	})
}

// real is a window on a real backend.
type real struct{ *tested }

func openReal(t *testing.T, b Backend, variant fyne.ThemeVariant) real {
	t.Helper()
	a := test.NewTempApp(t)
	a.Settings().SetTheme(kittest.FixedTheme{Theme: kit.NewTheme(), Variant: variant})
	w := test.NewTempWindow(t, nil)
	w.SetPadded(false)
	x := real{&tested{t: t, app: a, window: w, queue: make(chan func(), 1000)}}
	x.UI = newUI(b, Options{App: a, Window: w}, func(f func()) { x.queue <- f })
	w.SetContent(x.Content())
	w.Resize(fyne.NewSize(1080, 700))
	t.Cleanup(func() {
		x.SetVisible(false)
		x.stop()
	})
	return x
}

// wait lets the page work until it reads a text and nothing happens for a while.
func (x real) wait(want string) {
	x.t.Helper()
	late := time.NewTimer(testenv.Patience)
	defer late.Stop()
	for quiet := 0; quiet < 3; {
		select {
		case f := <-x.queue:
			f()
			quiet = 0
		case <-time.After(100 * time.Millisecond):
			x.tickNow()
			if x.has(want) {
				quiet++
			}
		case <-late.C:
			x.t.Fatalf("never reads %q, but %q", want, x.texts())
		}
	}
}

func (x real) has(want string) bool {
	if slices.Contains(x.texts(), want) {
		return true
	}
	for _, o := range kittest.VisibleObjects(x.window.Canvas().Content()) {
		if e, ok := o.(*kit.Entry); ok && (e.Text == want || e.PlaceHolder == want) {
			return true
		}
		if e, ok := o.(*messageEntry); ok && e.PlaceHolder == want {
			return true
		}
	}
	return false
}

// rehearse talks to the practice bot.
func (x real) rehearse() {
	x.t.Helper()
	x.wait("Say something to your bot")
	field := find(x.tested, func(*messageEntry) bool { return true })
	for _, text := range []string{"!help", "!echo **Lentil soup** for *four*"} {
		field.SetText(text)
		field.OnSubmitted(text)
		x.wait("Say something to your bot")
	}
}

func (x real) save(name string) {
	x.t.Helper()
	dir := os.Getenv("PERCH_SCREENSHOTS")
	if dir == "" {
		return
	}
	must(x.t, os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, name+".png"))
	must(x.t, err)
	defer f.Close()
	must(x.t, png.Encode(f, x.window.Canvas().Capture()))
}
