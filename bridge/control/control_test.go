package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/control"
	"perch/bridge/doctor"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/bridge/testenv"
)

// world is a bot in a home of its own, and a practice server.
type world struct {
	*control.Bot

	t      *testing.T
	server *practice.Server
	room   string
	cfg    config.Config
	home   config.Home
	stop   func() // the Bot
}

// newWorld makes a bot whose home has no configuration yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	server, err := practice.Start(t.Context(), practice.Options{})
	check(t, err)
	t.Cleanup(server.Close)
	w := &world{t: t, server: server, room: server.AddRoom("Kitchen", "alice", "mallory"), cfg: config.Default()}
	w.cfg.Talk.BaseURL = server.URL()
	w.cfg.Talk.AllowedUsers = []string{"alice"}
	w.cfg.Webhook.Listen = testenv.FreeAddr(t)
	dir := t.TempDir()
	w.home = config.Home{ConfigDir: dir, DataDir: filepath.Join(dir, "data")}
	w.open()
	return w
}

// open starts another Bot.
func (w *world) open() (stop func()) {
	w.t.Helper()
	w.Bot = control.New(control.Options{
		Home: w.home, Version: "test", Secrets: secret.Chain(func(string) string { return "" }, secret.Memory()),
	})
	check(w.t, w.SetSecret(w.t.Context(), bridge.WebhookSecret, bridge.NewSecret(key)))
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var ended bool
	stop = func() {
		if !ended {
			ended = true
			cancel()
			check(w.t, <-done)
		}
	}
	w.t.Cleanup(stop)
	w.stop = stop
	return stop
}

// setUp saves the settings and installs the bot.
func (w *world) setUp() {
	w.t.Helper()
	check(w.t, w.Save(w.t.Context(), w.cfg))
	w.until("it runs", func(s bridge.Snapshot) bool { return s.Local != "" })
	bot, err := w.server.InstallBot(practice.Bot{Name: "Perch", URL: "http://" + w.cfg.Webhook.Listen + w.cfg.Webhook.Path, Secret: key})
	check(w.t, err)
	_, err = w.server.EnableBot(w.t.Context(), w.room, bot)
	check(w.t, err)
}

// until waits for a snapshot, as the window does: at each change.
func (w *world) until(what string, is func(bridge.Snapshot) bool) bridge.Snapshot {
	w.t.Helper()
	late := time.NewTimer(testenv.Patience)
	defer late.Stop()
	for {
		s, changed := w.Snapshot()
		if is(s) {
			return s
		}
		select {
		case <-changed:
		case <-late.C:
			w.t.Fatalf("never: %s; at last %+v", what, s)
		}
	}
}

func in(state bridge.State) func(bridge.Snapshot) bool {
	return func(s bridge.Snapshot) bool { return s.State == state }
}

func TestFromTheEmptyHomeToTheFirstAnswer(t *testing.T) {
	w := newWorld(t)
	s := w.until("it is new", in(bridge.StateNew))
	if s.Address != "" || s.Title.IsZero() {
		t.Errorf("an empty home: %+v", s)
	}
	if _, _, exists := w.Config(); exists {
		t.Error("an empty home has a configuration")
	}
	if entries, err := w.log(); err != nil || len(entries) > 0 {
		t.Errorf("the log of an empty home: %v, %v", entries, err)
	}

	w.setUp()
	posted, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
	check(t, err)
	reply, err := w.server.WaitReply(t.Context(), w.room, posted.ID)
	check(t, err)
	if reply.Text != "pong" {
		t.Errorf("answered %q", reply.Text)
	}
	s = w.until("it is counted", func(s bridge.Snapshot) bool { return s.Hour.Received == 1 && s.Hour.Answered == 1 })
	if s.State != bridge.StateRunning || s.Last.Author.Name != "alice" || s.Last.Room.Name != "Kitchen" || s.Hour.Median == 0 {
		t.Errorf("after the first answer: %+v", s)
	}
	s = w.until("the server is known", func(s bridge.Snapshot) bool { return s.Nextcloud != "" })
	if s.Nextcloud != "32.0.1" || s.Talk != "21.1.7" || "http://"+s.Server != w.server.URL() {
		t.Errorf("the server is %q, Nextcloud %q, Talk %q", s.Server, s.Nextcloud, s.Talk)
	}

	_, err = w.server.Post(t.Context(), w.room, "mallory", "!ping")
	check(t, err)
	s = w.until("a stranger is counted", func(s bridge.Snapshot) bool { return s.Hour.Refused == 1 })
	if s.Problem.Code != bridge.CodeDenied || s.State != bridge.StateRunning {
		t.Errorf("after a stranger: %v, %+v", s.State, s.Problem)
	}
}

func TestPausesOverARestart(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	w.until("it runs", in(bridge.StateRunning))
	check(t, w.Pause(t.Context()))
	w.until("it is paused", func(s bridge.Snapshot) bool { return s.State == bridge.StatePaused && s.Local == "" })
	stopFirst := w.stop
	w.open() // beside the first, which has given the home back
	w.until("it is still paused", in(bridge.StatePaused))
	stopFirst()
	check(t, w.Resume(t.Context()))
	w.until("it runs again", in(bridge.StateRunning))
	if got := w.health(); got != "200 ok" {
		t.Errorf("it answers %q", got)
	}
}

func TestSaysThatItIsPaused(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	w.until("it runs", in(bridge.StateRunning))
	check(t, w.Pause(t.Context()))
	w.until("it is paused", func(s bridge.Snapshot) bool { return s.State == bridge.StatePaused && s.Local == "" })
	if got := w.health(); got != "503 paused" {
		t.Errorf("it answers %q", got)
	}
	r, err := http.Post("http://"+w.cfg.Webhook.Listen+w.cfg.Webhook.Path, "application/json", strings.NewReader("{}"))
	check(t, err)
	check(t, r.Body.Close())
	if r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a webhook is answered with %s", r.Status)
	}
	check(t, w.Resume(t.Context()))
	w.until("it runs again", in(bridge.StateRunning))
	if got := w.health(); got != "200 ok" {
		t.Errorf("it answers %q", got)
	}
}

func TestTellsWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	w.until("it runs", in(bridge.StateRunning))

	bad := w.cfg
	bad.Talk.BaseURL = "nonsense"
	if err := w.Save(t.Context(), bad); err == nil {
		t.Error("nonsense was saved")
	}
	if c, _, _ := w.Config(); c.Talk.BaseURL != w.cfg.Talk.BaseURL {
		t.Errorf("the address is now %q", c.Talk.BaseURL)
	}

	check(t, w.SetSecret(t.Context(), bridge.WebhookSecret, bridge.Secret{}))
	s := w.until("the secret is missed", in(bridge.StateDegraded))
	if s.Title.String() != "No webhook secret" || s.Fix.IsZero() {
		t.Errorf("without a secret: %+v", s)
	}
	if err := w.SetSecret(t.Context(), bridge.WebhookSecret, bridge.NewSecret("short")); err == nil {
		t.Error("a short secret was taken")
	}
	check(t, w.SetSecret(t.Context(), bridge.WebhookSecret, bridge.NewSecret(key)))
	w.until("there is a secret", in(bridge.StateRunning))

	w.server.SetFaults(practice.Fault{Kind: practice.FaultRefuse, On: practice.EndpointBot})
	_, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
	check(t, err)
	s = w.until("replies are held", func(s bridge.Snapshot) bool { return s.Held && s.Problem.Code == bridge.CodeUnauthorized })
	if s.State != bridge.StateDegraded || s.Waiting != 1 {
		t.Errorf("after a refusal: %+v", s)
	}
	w.server.SetFaults()
	check(t, w.Retry(t.Context()))
	w.until("it is well again", func(s bridge.Snapshot) bool { return s.State == bridge.StateRunning && s.Waiting == 0 })
}

// It is seen as a full disk is.
func TestTellsOfAJournalThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	w.until("it runs", in(bridge.StateRunning))
	unlock := testenv.LockDatabase(t, w.home.JournalFile())
	s := w.until("it is seen", in(bridge.StateDegraded))
	if s.Title.String() != "Messages are refused" || !strings.Contains(s.Detail.String(), "journal cannot be written") || s.Fix.IsZero() {
		t.Errorf("with a locked journal: %+v", s)
	}
	if got := w.health(); got != "503 not-stored" {
		t.Errorf("/healthz: %s", got)
	}
	unlock()
	w.until("it is well again", in(bridge.StateRunning))
	if got := w.health(); got != "200 ok" {
		t.Errorf("/healthz: %s", got)
	}
	posted, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
	check(t, err)
	_, err = w.server.WaitReply(t.Context(), w.room, posted.ID)
	check(t, err)
}

// health returns what /healthz says.
func (w *world) health() string {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.cfg.Webhook.Listen+"/healthz", nil)
	check(w.t, err)
	resp, err := http.DefaultClient.Do(r)
	check(w.t, err)
	body, err := io.ReadAll(resp.Body)
	check(w.t, errors.Join(err, resp.Body.Close()))
	return strconv.Itoa(resp.StatusCode) + " " + strings.TrimSpace(string(body))
}

func TestWaitsForItsHome(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	first := w.Bot
	stop := w.open()
	s := w.until("the second waits", in(bridge.StateFailed))
	if s.Detail.IsZero() || s.Fix.IsZero() {
		t.Errorf("it does not say why: %+v", s)
	}
	stop()
	if s, _ := first.Snapshot(); s.State != bridge.StateRunning {
		t.Errorf("the first is %v", s.State)
	}
}

// log returns the newest entries of the log.
func (w *world) log() (entries []bridge.Entry, err error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	err = w.WatchLog(ctx, bridge.LogFilter{Level: slog.LevelDebug, Limit: 1000}, func(e []bridge.Entry) {
		entries = e
		cancel()
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return entries, err
}

func TestWatchesTheLog(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	got := make(chan bridge.Entry, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.WatchLog(ctx, bridge.LogFilter{Level: slog.LevelDebug, Limit: 1000}, func(entries []bridge.Entry) {
			for _, e := range entries {
				got <- e
			}
		})
	}()
	const messages = 3
	for range messages {
		posted, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
		check(t, err)
		_, err = w.server.WaitReply(t.Context(), w.room, posted.ID)
		check(t, err)
	}
	answered, events := map[int64]bool{}, map[int64]bool{}
	late := time.NewTimer(testenv.Patience)
	defer late.Stop()
	for len(answered) < messages || len(events) == 0 {
		select {
		case e := <-got:
			switch {
			case e.Event != nil && events[e.Event.ID]:
				t.Fatalf("event %d comes twice", e.Event.ID)
			case e.Event != nil:
				events[e.Event.ID] = true
			case e.Message != nil && !e.Message.Answered().IsZero():
				answered[e.Message.ID] = true
			}
		case <-late.C:
			t.Fatalf("saw %d answered messages and %d events", len(answered), len(events))
		}
	}
	cancel()
	<-done

	entries, err := w.log()
	check(t, err)
	if len(entries) < messages+len(events) {
		t.Errorf("%d entries at once, %d were seen", len(entries), messages+len(events))
	}
	check(t, w.ClearLog(t.Context()))
	if entries, err = w.log(); err != nil || len(entries) > 0 {
		t.Errorf("after clearing: %d entries, %v", len(entries), err)
	}
}

func TestNamesTheCommandsThatInstall(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	posted, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
	check(t, err)
	_, err = w.server.WaitReply(t.Context(), w.room, posted.ID)
	check(t, err)
	w.until("the address is known", func(s bridge.Snapshot) bool { return s.Installed != "" })

	commands, err := w.Occ(t.Context(), w.cfg, bridge.NewSecret(key))
	check(t, err)
	if len(commands) != 4 || strings.Contains(commands[0].Lines, "uninstall") {
		t.Errorf("commands for the same address: %+v", commands)
	}
	moved := w.cfg
	moved.Webhook.PublicURL = "https://bot.example.com"
	commands, err = w.Occ(t.Context(), moved, bridge.NewSecret(key))
	check(t, err)
	docker := commands[slices.IndexFunc(commands, func(c bridge.Commands) bool { return c.Server == "Docker" })]
	want := "docker exec -u www-data nextcloud php occ talk:bot:uninstall --url='http://" + w.cfg.Webhook.Listen + "/nextcloud-talk'\n" +
		"docker exec -u www-data nextcloud php occ talk:bot:install -f webhook -f response -- 'Perch' '" + key + "' 'https://bot.example.com/nextcloud-talk'\n" +
		"docker exec -u www-data nextcloud php occ talk:bot:list\n" +
		"docker exec -u www-data nextcloud php occ talk:bot:setup BOT-ID " + w.room
	if docker.Lines != want {
		t.Errorf("got\n%s\nwant\n%s", docker.Lines, want)
	}
	if strings.Contains(docker.Shown, key) || !strings.Contains(docker.Shown, "bot.example.com") {
		t.Errorf("shown: %s", docker.Shown)
	}
}

func TestTestsAServerThatIsNotSaved(t *testing.T) {
	w := newWorld(t)
	w.until("it is new", in(bridge.StateNew))
	report, err := w.TestServer(t.Context(), w.cfg, bridge.NewSecret(w.server.AppToken("alice")))
	check(t, err)
	if report.Verdict() == bridge.StatusFail {
		t.Errorf("a good server: %+v", report.Rows)
	}
	if i := slices.IndexFunc(report.Rows, func(r doctor.Row) bool { return r.ID == "app-token" }); i < 0 || report.Rows[i].Status != bridge.StatusOK {
		t.Errorf("a good token: %+v", report.Rows)
	}
	report, err = w.TestServer(t.Context(), w.cfg, bridge.NewSecret("wrong-wrong-wrong"))
	check(t, err)
	if report.Verdict() != bridge.StatusFail {
		t.Errorf("a wrong token: %+v", report.Rows)
	}
	if _, err := os.Stat(w.home.ConfigFile()); err == nil {
		t.Error("testing saved the settings")
	}
}

func TestPractice(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	p, err := w.Practice(t.Context())
	check(t, err)
	defer p.Close()
	room := p.Rooms()[0].Token
	until := func(what string, is func([]bridge.Line) bool) {
		t.Helper()
		late := time.NewTimer(testenv.Patience)
		defer late.Stop()
		for {
			changed := p.Changed()
			lines := p.Lines(room)
			if is(lines) {
				return
			}
			select {
			case <-changed:
			case <-late.C:
				t.Fatalf("never: %s; at last %+v", what, lines)
			}
		}
	}
	check(t, p.Say(t.Context(), room, "alice", "!ping"))
	until("the answer", func(l []bridge.Line) bool { return len(l) == 2 && l[1].Bot && l[1].Text == "pong" && l[1].Took > 0 })
	check(t, p.Say(t.Context(), room, "mallory", "hello?"))
	until("that a stranger is not answered", func(l []bridge.Line) bool {
		return len(l) == 4 && l[3].Note.String() == "not answered: mallory is not among the allowed users"
	})
	if s, _ := w.Snapshot(); s.Hour.Received != 0 {
		t.Errorf("the real bot received %d messages", s.Hour.Received)
	}
	if n := len(w.server.Requests()); n > 0 && slices.ContainsFunc(w.server.Requests(), func(r practice.Request) bool { return strings.Contains(r.Path, "/bot/") }) {
		t.Error("the practice bot wrote to the real server")
	}
	check(t, p.Clear(t.Context()))
	room = p.Rooms()[0].Token
	if lines := p.Lines(room); len(lines) != 0 {
		t.Errorf("after clearing: %+v", lines)
	}
	check(t, p.Say(t.Context(), room, "alice", "!ping"))
	until("the answer in the new room", func(l []bridge.Line) bool { return len(l) == 2 && l[1].Text == "pong" })
}

const key = "0123456789abcdef0123456789abcdef0123456789abcdef"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Resume on a running bot, and Pause on a paused one, change nothing: the bot
// goes on answering, or goes on being silent.
func TestPauseAndResumeAreWishes(t *testing.T) {
	w := newWorld(t)
	w.setUp()
	w.until("it runs", in(bridge.StateRunning))
	for range 3 {
		check(t, w.Resume(t.Context()))
		posted, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
		check(t, err)
		if !posted.Deliveries[0].OK() {
			t.Errorf("a webhook was refused after Resume on a running bot: %+v", posted.Deliveries[0])
		}
		if s, _ := w.Snapshot(); s.State != bridge.StateRunning {
			t.Errorf("Resume on a running bot leaves it %v", s.State)
		}
	}
	for range 3 {
		check(t, w.Pause(t.Context()))
		w.until("it is paused", func(s bridge.Snapshot) bool { return s.State == bridge.StatePaused && s.Local == "" })
	}
	entries, err := w.log()
	check(t, err)
	stops := 0
	for _, e := range entries {
		if e.Event != nil && e.Event.Kind == bridge.EventStopped {
			stops++
		}
	}
	if stops != 1 {
		t.Errorf("the bot stopped %d times, want once", stops)
	}
	check(t, w.Resume(t.Context()))
	w.until("it runs again", in(bridge.StateRunning))
}

// One watcher of config.toml and one of the journal are enough for a process, and
// each costs one of the user's few inotify instances.
func TestFewWatchers(t *testing.T) {
	before := watchers(t)
	w := newWorld(t)
	w.setUp()
	w.until("it runs", in(bridge.StateRunning))
	if n := watchers(t) - before; n != 2 {
		t.Errorf("%d watchers, want 2", n)
	}
	changed := w.cfg
	changed.Talk.AllowedUsers = nil
	check(t, w.Save(t.Context(), changed))
	w.until("nobody is answered", in(bridge.StateDegraded))
}

// watchers counts this process's inotify instances.
func watchers(t *testing.T) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("there is no /proc here")
	}
	for _, f := range files {
		if target, _ := os.Readlink(filepath.Join("/proc/self/fd", f.Name())); target == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

// Settings that cannot be watched are no reason to stop, nor to say nothing.
func TestSettingsThatCannotBeWatched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	b := control.New(control.Options{
		Home: config.Home{ConfigDir: filepath.Join(file, "perch"), DataDir: t.TempDir()}, Version: "test",
		Secrets: secret.Chain(func(string) string { return "" }, secret.Memory()),
	})
	w := &world{t: t, Bot: b}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	w.until("it has failed", func(s bridge.Snapshot) bool { return s.State == bridge.StateFailed && !s.Detail.IsZero() })
	cancel()
	check(t, <-done)
}
