package local_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/control"
	"perch/bridge/doctor"
	"perch/bridge/local"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/bridge/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// face is what a window, a tray and the commands ask: the engine in the process,
// or a client of it.
type face interface {
	Snapshot() (bridge.Snapshot, <-chan struct{})
	Resume(ctx context.Context) error
	Pause(ctx context.Context) error
	Retry(ctx context.Context) error
	Release(ctx context.Context) (held bool, err error)
	WatchLog(ctx context.Context, f bridge.LogFilter, show func([]bridge.Entry)) error
	ClearLog(ctx context.Context) error
	Config() (config.Config, []config.Problem, bool)
	Save(ctx context.Context, c config.Config) error
	ConfigFile() string
	Secret(ctx context.Context, name string) (bridge.Secret, error)
	SecretPlace(ctx context.Context, name string) (bridge.Text, bool, error)
	SetSecret(ctx context.Context, name string, s bridge.Secret) error
	CheckSecret(name string, s bridge.Secret) error
	NewSecret() bridge.Secret
	TestServer(ctx context.Context, c config.Config, appToken bridge.Secret) (doctor.Report, error)
	Occ(ctx context.Context, c config.Config, key bridge.Secret) ([]bridge.Commands, error)
	LocalAddresses() []string
	Models(ctx context.Context, h config.Handler, key bridge.Secret) ([]string, error)
	Doctor(ctx context.Context, row func(doctor.Row)) (doctor.Report, error)
	Examine(ctx context.Context, r doctor.Request, row func(whole, shown doctor.Row)) (doctor.Report, error)
	Practice(ctx context.Context) (bridge.Practice, error)
}

const (
	key     = "0123456789abcdef0123456789abcdef0123456789abcdef"
	version = "1.2.3"
)

// world is a bot in a home of its own, a practice server, and a face to try.
type world struct {
	face

	t      *testing.T
	server *practice.Server
	room   string
	cfg    config.Config
	home   config.Home
	bot    *control.Bot
}

// newWorld makes a bot whose home has no configuration yet. The face is the bot.
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
	w.bot = control.New(control.Options{
		Home: w.home, Version: version, Secrets: secret.Chain(func(string) string { return "" }, secret.Memory()),
	})
	check(t, w.bot.SetSecret(t.Context(), bridge.WebhookSecret, bridge.NewSecret(key)))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.bot.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		check(t, <-done)
	})
	w.face = w.bot
	return w
}

// served serves the bot; the face is a client.
func (w *world) served() {
	w.t.Helper()
	w.serve()
	client, err := local.Dial(w.t.Context(), w.home.SocketFile(), version)
	check(w.t, err)
	w.t.Cleanup(func() { check(w.t, client.Close()) })
	w.face = client
}

// serve answers on the socket until stop is called or the test ends.
func (w *world) serve() (stop func()) {
	w.t.Helper()
	server, err := local.Serve(w.t.Context(), w.home, local.Options{Engine: w.bot, Version: version})
	check(w.t, err)
	var ended bool
	stop = func() {
		if !ended {
			ended = true
			check(w.t, server.Close())
		}
	}
	w.t.Cleanup(stop)
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

// ask posts a message and waits for the reply.
func (w *world) ask(text string) practice.Entry {
	w.t.Helper()
	posted, err := w.server.Post(w.t.Context(), w.room, "alice", text)
	check(w.t, err)
	reply, err := w.server.WaitReply(w.t.Context(), w.room, posted.ID)
	check(w.t, err)
	return reply
}

// until waits for a snapshot, as the window does: at each change.
func (w *world) until(what string, is func(bridge.Snapshot) bool) bridge.Snapshot {
	w.t.Helper()
	return await(w.t, what, w.Snapshot, is)
}

// await waits until something is as it is to be, and returns it.
func await[T any](t *testing.T, what string, look func() (T, <-chan struct{}), is func(T) bool) T {
	t.Helper()
	late := time.NewTimer(testenv.Patience)
	defer late.Stop()
	for {
		seen, changed := look()
		if is(seen) {
			return seen
		}
		select {
		case <-changed:
		case <-late.C:
			t.Fatalf("never: %s; at last %+v", what, seen)
		}
	}
}

func in(state bridge.State) func(bridge.Snapshot) bool {
	return func(s bridge.Snapshot) bool { return s.State == state }
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestContract holds the engine in the process and the client over the socket to
// the same promises.
func TestContract(t *testing.T) {
	for name, promise := range map[string]func(t *testing.T, w *world){
		"settings":   settings,
		"secrets":    secrets,
		"service":    service,
		"held back":  heldBack,
		"log":        log,
		"server":     server,
		"occ":        occ,
		"doctor":     examination,
		"practice":   rehearsal,
		"cancelling": cancelling,
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("in the process", func(t *testing.T) { promise(t, newWorld(t)) })
			t.Run("over the socket", func(t *testing.T) {
				w := newWorld(t)
				w.served()
				promise(t, w)
			})
		})
	}
}

func settings(t *testing.T, w *world) {
	t.Helper()
	s := w.until("it is new", in(bridge.StateNew))
	if s.Address != "" || s.Title.String() != "Not set up yet" {
		t.Errorf("an empty home: %+v", s)
	}
	if w.ConfigFile() != w.home.ConfigFile() {
		t.Errorf("the file is %s", w.ConfigFile())
	}
	if c, problems, exists := w.Config(); exists || len(problems) > 0 || c.Webhook.Path != config.Default().Webhook.Path {
		t.Errorf("an empty home has %+v, %v, %v", c, problems, exists)
	}
	bad := w.cfg
	bad.Talk.BaseURL = "nonsense"
	err := w.Save(t.Context(), bad)
	if invalid, ok := errors.AsType[*config.InvalidError](err); !ok || invalid.Problems[0].Key != config.KeyServer {
		t.Errorf("nonsense is %v", err)
	}

	// Every kind of value crosses unharmed, and nil is not empty.
	whole := w.cfg
	whole.Talk.AllowedUsers = []string{"alice", "guests/ü\"\\"}
	whole.Handler.Commands = []config.Command{{Name: "wifi", Help: "how", Reply: "{author}\n**x**"}}
	whole.Handlers = map[string]config.Handler{"house": config.DefaultHandler(config.Commands)}
	whole.Rooms = map[string]config.Room{
		"abcd1234": {Enabled: true, AllowedUsers: []string{}, Handler: "house"},
		"efgh5678": {Enabled: false},
	}
	check(t, w.Save(t.Context(), whole))
	want, _, err := config.Load(w.home.ConfigFile())
	check(t, err)
	got, _, exists := w.Config()
	if !exists || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v\nwant %#v", got, want)
	}
	if got.Rooms["abcd1234"].AllowedUsers == nil || got.Rooms["efgh5678"].AllowedUsers != nil {
		t.Errorf("nobody and everybody are mixed up: %#v", got.Rooms)
	}
	if len(w.LocalAddresses()) != len(w.bot.LocalAddresses()) {
		t.Errorf("addresses %v", w.LocalAddresses())
	}
	_, err = w.Models(t.Context(), config.Handler{BaseURL: "http://" + testenv.FreeAddr(t) + "/v1"}, bridge.Secret{})
	if err == nil || bridge.TextOf(err).IsZero() {
		t.Errorf("models of nobody: %v", err)
	}
}

func secrets(t *testing.T, w *world) {
	t.Helper()
	ctx := t.Context()
	s, err := w.Secret(ctx, bridge.WebhookSecret)
	if err != nil || s.Reveal() != key {
		t.Errorf("%q, %v", s.Reveal(), err)
	}
	if _, err := w.Secret(ctx, bridge.AppToken); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("no token: %v", err)
	}
	place, fixed, err := w.SecretPlace(ctx, bridge.AppToken)
	if place.IsZero() || fixed || err != nil {
		t.Errorf("place %v, %v, %v", place, fixed, err)
	}
	short := bridge.NewSecret("short")
	wrong := w.CheckSecret(bridge.WebhookSecret, short)
	if err := w.SetSecret(ctx, bridge.WebhookSecret, short); err == nil || wrong == nil || err.Error() != wrong.Error() || bridge.CodeOf(err) != bridge.CodeOf(wrong) {
		t.Errorf("a short secret: %v, while typed %v", err, wrong)
	}
	fresh := w.NewSecret()
	check(t, w.CheckSecret(bridge.WebhookSecret, fresh))
	check(t, w.SetSecret(ctx, bridge.WebhookSecret, fresh))
	if s, err = w.Secret(ctx, bridge.WebhookSecret); err != nil || s.Reveal() != fresh.Reveal() {
		t.Errorf("%q, %v", s.Reveal(), err)
	}
	check(t, w.SetSecret(ctx, bridge.WebhookSecret, bridge.Secret{}))
	if _, err := w.Secret(ctx, bridge.WebhookSecret); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("a removed secret: %v", err)
	}
}

func service(t *testing.T, w *world) {
	t.Helper()
	w.setUp()
	if reply := w.ask("!ping"); reply.Text != "pong" {
		t.Errorf("answered %q", reply.Text)
	}
	s := w.until("it is counted", func(s bridge.Snapshot) bool { return s.Hour.Received == 1 && s.Hour.Answered == 1 })
	if s.State != bridge.StateRunning || s.Last.Author.Name != "alice" || s.Last.Room.Name != "Kitchen" || s.Hour.Median == 0 || len(s.Hour.Bars) == 0 {
		t.Errorf("after the first answer: %+v", s)
	}
	if want := bridge.Heard(s.Last, s.Last.ReceivedAt.Add(time.Hour)); s.Detail.Args[len(s.Detail.Args)-1] != want.Args[2] {
		t.Errorf("it says %v", s.Detail)
	}
	w.until("the server is known", func(s bridge.Snapshot) bool { return s.Nextcloud == "32.0.1" && s.Talk == "21.1.7" })
	check(t, w.Pause(t.Context()))
	w.until("it is paused", func(s bridge.Snapshot) bool { return s.State == bridge.StatePaused && s.Local == "" })
	check(t, w.Resume(t.Context()))
	w.until("it runs again", func(s bridge.Snapshot) bool { return s.State == bridge.StateRunning && s.Local != "" })
}

func heldBack(t *testing.T, w *world) {
	t.Helper()
	w.setUp()
	w.server.SetFaults(practice.Fault{Kind: practice.FaultRefuse, On: practice.EndpointBot})
	posted, err := w.server.Post(t.Context(), w.room, "alice", "!ping")
	check(t, err)
	s := w.until("replies are held", func(s bridge.Snapshot) bool { return s.Held && s.Problem.Code == bridge.CodeUnauthorized })
	if s.State != bridge.StateDegraded || s.Waiting != 1 || s.Problem.Kind != bridge.EventReplyHeld || s.Fix.IsZero() {
		t.Errorf("after a refusal: %+v", s)
	}
	w.server.SetFaults()
	if held, err := w.Release(t.Context()); err != nil || !held {
		t.Errorf("it was held: %v, %v", held, err)
	}
	_, err = w.server.WaitReply(t.Context(), w.room, posted.ID)
	check(t, err)
	check(t, w.Retry(t.Context()))
	if held, err := w.Release(t.Context()); err != nil || held {
		t.Errorf("it is still held: %v, %v", held, err)
	}
	w.until("it is well again", func(s bridge.Snapshot) bool { return s.State == bridge.StateRunning && s.Waiting == 0 })
}

// entries returns the newest entries of the log.
func (w *world) entries(limit int) ([]bridge.Entry, error) {
	return w.chosen(bridge.LogFilter{Level: slog.LevelDebug, Limit: limit})
}

// chosen returns the entries of the log that f chooses.
func (w *world) chosen(f bridge.LogFilter) (entries []bridge.Entry, err error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	err = w.WatchLog(ctx, f, func(e []bridge.Entry) {
		entries = e
		cancel()
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return entries, err
}

func log(t *testing.T, w *world) {
	t.Helper()
	if entries, err := w.entries(100); err != nil || len(entries) > 0 {
		t.Errorf("the log of an empty home: %v, %v", entries, err)
	}
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
		w.ask("!ping")
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
				if events[e.Event.ID] = true; e.Event.Kind == bridge.EventListening && e.Event.Title.Format != "Listening for webhooks on %s" {
					t.Errorf("it is translated already: %+v", e.Event.Title)
				}
			case e.Message != nil && !e.Message.Answered().IsZero():
				answered[e.Message.ID] = true
			}
		case <-late.C:
			t.Fatalf("saw %d answered messages and %d events", len(answered), len(events))
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	entries, err := w.entries(1000)
	check(t, err)
	if len(entries) < messages+len(events) {
		t.Errorf("%d entries at once, %d were seen", len(entries), messages+len(events))
	}
	if last, err := w.entries(2); err != nil || len(last) != 2 || !reflect.DeepEqual(last, entries[len(entries)-2:]) {
		t.Errorf("the last two are %v, %v", last, err)
	}
	if some, err := w.chosen(bridge.LogFilter{Room: "nowhere", Limit: 10}); err != nil || len(some) > 0 {
		t.Errorf("of a conversation that there is not: %v, %v", some, err)
	}
	check(t, w.ClearLog(t.Context()))
	if entries, err = w.entries(1000); err != nil || len(entries) > 0 {
		t.Errorf("after clearing: %d entries, %v", len(entries), err)
	}
}

func server(t *testing.T, w *world) {
	t.Helper()
	report, err := w.TestServer(t.Context(), w.cfg, bridge.NewSecret(w.server.AppToken("alice")))
	check(t, err)
	i := slices.IndexFunc(report.Rows, func(r doctor.Row) bool { return r.ID == "app-token" })
	if report.Verdict() == bridge.StatusFail || i < 0 || report.Rows[i].Status != bridge.StatusOK {
		t.Errorf("a good server and token: %+v", report.Rows)
	}
	report, err = w.TestServer(t.Context(), w.cfg, bridge.NewSecret("wrong-wrong-wrong"))
	check(t, err)
	if report.Verdict() != bridge.StatusFail {
		t.Errorf("a wrong token: %+v", report.Rows)
	}
}

func occ(t *testing.T, w *world) {
	t.Helper()
	if _, err := w.Occ(t.Context(), config.Config{}, bridge.NewSecret(key)); bridge.CodeOf(err) != bridge.CodeNotFound || bridge.HintOf(err).IsZero() {
		t.Errorf("without an address: %v", err)
	}
	w.cfg.Webhook.PublicURL = "https://bot.example.com"
	commands, err := w.Occ(t.Context(), w.cfg, bridge.NewSecret(key))
	check(t, err)
	if len(commands) != 4 || !strings.Contains(commands[0].Lines, key) || strings.Contains(commands[0].Shown, key) {
		t.Errorf("commands: %+v", commands)
	}
}

func examination(t *testing.T, w *world) {
	t.Helper()
	w.setUp()
	w.ask("!ping")
	var rows []doctor.Row
	report, err := w.Doctor(t.Context(), func(r doctor.Row) { rows = append(rows, r) })
	check(t, err)
	if len(rows) != len(report.Rows) || len(rows) < 10 || report.Duration == 0 {
		t.Fatalf("%d rows, %d in the report", len(rows), len(report.Rows))
	}
	named := func(rows []doctor.Row, id string) doctor.Row {
		i := slices.IndexFunc(rows, func(r doctor.Row) bool { return r.ID == id })
		if i < 0 {
			t.Fatalf("there is no row %s", id)
		}
		return rows[i]
	}
	whole, shown := named(rows, "allow-list"), named(report.Rows, "allow-list")
	if whole.Status != bridge.StatusOK || whole.Title.IsZero() || !strings.Contains(whole.Seen.String(), "alice") || strings.Contains(shown.Seen.String(), "alice") {
		t.Errorf("whole %+v\nshown %+v", whole, shown)
	}
	for _, r := range rows {
		if strings.Contains(r.Seen.String()+r.Why.String()+r.Fix.String(), key) {
			t.Errorf("a secret in %+v", r)
		}
	}
	report, err = w.Examine(t.Context(), doctor.Request{Only: []string{"allow-list"}, Room: w.room}, func(_, _ doctor.Row) {})
	if err != nil || len(report.Rows) != 1 || report.Rows[0].Needs[0] != "config" {
		t.Errorf("one check: %+v, %v", report, err)
	}
	if _, err := w.Examine(t.Context(), doctor.Request{Only: []string{"nope"}}, func(_, _ doctor.Row) {}); bridge.CodeOf(err) != bridge.CodeInvalid {
		t.Errorf("no check: %v", err)
	}
}

func rehearsal(t *testing.T, w *world) {
	t.Helper()
	w.setUp()
	p, err := w.Practice(t.Context())
	check(t, err)
	defer p.Close()
	room := p.Rooms()[0].Token
	until := func(what string, is func([]bridge.Line) bool) {
		t.Helper()
		await(t, what, func() ([]bridge.Line, <-chan struct{}) {
			changed := p.Changed()
			return p.Lines(room), changed
		}, is)
	}
	if people := p.People(); len(people) != 3 || people[0].Name != "Alice" {
		t.Errorf("people: %+v", people)
	}
	check(t, p.Say(t.Context(), room, "alice", "!ping"))
	if lines := p.Lines(room); len(lines) == 0 || lines[0].Text != "!ping" {
		t.Errorf("what was said does not stand there: %+v", lines)
	}
	until("the answer", func(l []bridge.Line) bool { return len(l) == 2 && l[1].Bot && l[1].Text == "pong" && l[1].Took > 0 })
	check(t, p.Say(t.Context(), room, "mallory", "hello?"))
	until("that a stranger is not answered", func(l []bridge.Line) bool {
		return len(l) == 4 && l[3].Note.String() == "not answered: mallory is not among the allowed users"
	})
	if s, _ := w.Snapshot(); s.Hour.Received != 0 {
		t.Errorf("the real bot received %d messages", s.Hour.Received)
	}
	if err := p.Say(t.Context(), room, "nobody", "hello?"); err == nil {
		t.Error("nobody can speak")
	}
	check(t, p.Clear(t.Context()))
	room = p.Rooms()[0].Token
	if lines := p.Lines(room); len(lines) != 0 {
		t.Errorf("after clearing: %+v", lines)
	}
	check(t, p.Say(t.Context(), room, "alice", "!ping"))
	until("the answer in the new room", func(l []bridge.Line) bool { return len(l) == 2 && l[1].Text == "pong" })
}

func cancelling(t *testing.T, w *world) {
	t.Helper()
	w.until("it is new", in(bridge.StateNew))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.Examine(ctx, doctor.Request{Only: []string{"delivery"}, Wait: true}, func(doctor.Row, doctor.Row) { cancel() })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a doctor that was stopped: %v", err)
	}
	cancel()
	if err := w.WatchLog(ctx, bridge.LogFilter{Level: slog.LevelDebug, Limit: 10}, func([]bridge.Entry) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("a log that nobody watches: %v", err)
	}
}
