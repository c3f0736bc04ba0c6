package ui

import (
	"context"
	"fmt"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/testenv"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

// atTime is the present of the tests: a bot that was written to 12 s ago.
func atTime() time.Time { return time.Date(2026, 11, 22, 14, 35, 20, 0, time.Local) }

// clockTime returns a time of the tests' afternoon, 14:minute:second.
func clockTime(minute, second int) time.Time {
	return time.Date(2026, 11, 22, 14, minute, second, 0, time.Local)
}

// The people and rooms of the tests.
func alice() bridge.Actor { return bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: "Alice"} }
func bob() bridge.Actor   { return bridge.Actor{Type: bridge.ActorUser, ID: "bob", Name: "Bob"} }
func mallory() bridge.Actor {
	return bridge.Actor{Type: bridge.ActorUser, ID: "mallory", Name: "Mallory"}
}
func kitchen() bridge.Room { return bridge.Room{Token: "knzaftd5", Name: "Kitchen"} }
func ops() bridge.Room     { return bridge.Room{Token: "opsroom1", Name: "Ops"} }

// fakeBackend is a bot that runs well, but for one refused reply. Its fields can
// be set before it is used, and later with change.
type fakeBackend struct {
	mu      sync.Mutex
	changed chan struct{}

	snapshot bridge.Snapshot
	log      *ledger
	config   config.Config
	problems []config.Problem
	exists   bool
	secrets  map[string]bridge.Secret
	report   doctor.Report
	login    bool
	errs     map[string]error // by the name of the method that returns it
	calls    []string         // what was asked that changes something: "Pause", "Save", "SetSecret app_token"
	saved    config.Config    // by Save
	watchers []chan []bridge.Entry
	live     bool // Watch goes on until it is told to stop, so that idle cannot be used
	practice *fakePractice
	fixed    map[string]bool // secrets that come from a variable, by their name
	local    []string        // addresses of this computer

	examine  func(ctx context.Context, row func(doctor.Row)) (doctor.Report, error) // in place of Doctor; nil: all rows of report at once
	rehearse func(ctx context.Context) (bridge.Practice, error)                     // in place of Practice; nil: practice
}

func newFake() *fakeBackend {
	c := config.Default()
	c.Talk.BaseURL, c.Talk.AllowedUsers = "https://cloud.example.com", []string{"alice", "bob"}
	c.Tunnel.Mode = config.TunnelQuick
	b := &fakeBackend{
		changed: make(chan struct{}),
		config:  c, exists: true,
		secrets:  map[string]bridge.Secret{bridge.WebhookSecret: bridge.NewSecret("a-secret-of-more-than-forty-characters-for-tests")},
		errs:     map[string]error{},
		practice: newFakePractice(),
		local:    []string{"192.168.1.20"},
	}
	b.snapshot = bridge.Snapshot{
		State: bridge.StateRunning, Title: bridge.Say("Running"),
		Detail:  bridge.Say("Last message %s s ago from %s in %s", "12", "Alice", "Kitchen"),
		Address: "https://bot.example.com/nextcloud-talk", Installed: "https://bot.example.com/nextcloud-talk",
		Local:  "http://127.0.0.1:8460/nextcloud-talk",
		Tunnel: bridge.TunnelState{Phase: "online", Address: "https://bot.example.com", Connections: 4, Location: "FRA", Protocol: "quic"},
		Server: "cloud.example.com", Nextcloud: "32.0.1", Talk: "21.1.7",
		Last: bridge.Message{
			Key:  bridge.Key{Server: "https://cloud.example.com", Room: "knzaftd5", ID: "1571"},
			Kind: bridge.KindChat, Room: kitchen(), Author: alice(), Text: "what is for dinner?", ReceivedAt: clockTime(35, 8),
		},
		Hour: bridge.Traffic{Received: 148, Answered: 141, Refused: 6, Failed: 1, Median: 800 * time.Millisecond, Bars: make([]bridge.Bar, hourBars)},
		Problem: bridge.Event{
			ID: 6, Time: clockTime(32, 40), Stage: bridge.StageSender, Level: slog.LevelError,
			Title:  bridge.Say("A reply to %s was refused (%s)", "Kitchen", "401"),
			Room:   kitchen(),
			Code:   bridge.CodeUnauthorized,
			Reason: bridge.Say("The bot is not enabled in this conversation, or its secret differs from the server's."),
			Hint:   bridge.Say("sudo -u www-data php occ talk:bot:setup 1 knzaftd5"),
		},
	}
	for i, n := range []int{2, 3, 1, 4, 6, 3, 2, 5, 9, 7, 4, 3, 2, 6, 8, 12, 9, 6, 4, 3, 5, 7, 6, 4, 2, 1, 3, 5, 8, 6} {
		b.snapshot.Hour.Bars[i].Messages = n
	}
	b.snapshot.Hour.Bars[15].Failures = 1
	b.log = &ledger{}
	b.log.all(fakeEvents()...)
	b.report = fakeReport()
	return b
}

// fakeEvents returns the events of a quarter of an hour, oldest first.
func fakeEvents() []bridge.Event {
	at := clockTime
	said := func(id int64, t time.Time, m string, room bridge.Room, who bridge.Actor, text string) bridge.Event {
		return bridge.Event{
			ID: id, Time: t, Stage: bridge.StageIntake, Kind: bridge.EventMessageReceived, Level: slog.LevelInfo, Title: bridge.Say("Message received"),
			Room: room, Actor: who, MessageID: m, Text: text,
		}
	}
	family := bridge.Room{Token: "famroom1", Name: "Family"}
	grandma := bridge.Actor{Type: bridge.ActorUser, ID: "grandma", Name: "Grandma"}
	return []bridge.Event{
		{
			ID: 1, Time: at(29, 12), Stage: bridge.StageWebhook, Level: slog.LevelWarn, Title: bridge.Say("wrong signature"),
			Actor: bridge.Actor{Type: "address", ID: "203.0.113.9", Name: "203.0.113.9"}, Code: bridge.CodeUnauthorized,
			Reason: bridge.Say("Somebody without the secret, or a server with another one, sent a webhook."),
			Hint:   bridge.Say("If it comes from your server, its secret for this bot differs from yours: perch secret set webhook_secret"),
		},
		said(2, at(30, 55), "1564", ops(), bob(), "Summarise the last backup log, please"),
		{ID: 3, Time: at(30, 58), Stage: bridge.StageSender, Kind: bridge.EventReplySent, Level: slog.LevelInfo, Title: bridge.Say("Reply sent"), Room: ops(), MessageID: "1565", Answers: "1564", Text: "The backup ran for 3 h without errors.", Duration: 210 * time.Millisecond, Waited: 3100 * time.Millisecond},
		{ID: 4, Time: at(31, 15), Stage: bridge.StageTunnel, Level: slog.LevelInfo, Title: bridge.Say("The tunnel is online at %[1]s (%[2]s, %[3]s)", "https://bot.example.com", "FRA", "quic")},
		said(5, at(32, 39), "1567", kitchen(), alice(), "!ping"),
		{
			ID: 6, Time: at(32, 40), Stage: bridge.StageSender, Kind: bridge.EventReplyHeld, Level: slog.LevelError, Title: bridge.Say("The server refused the signature"),
			Room: kitchen(), Answers: "1567", Code: bridge.CodeUnauthorized, Text: "pong",
			Reason: bridge.Say("Its secret is another one."),
			Cause:  "POST /ocs/v2.php/apps/spreed/api/v1/bot/knzaftd5/message: 401",
			Hint:   bridge.Say("Check the secret, then: perch retry"),
		},
		said(7, at(33, 2), "1568", family, grandma, "Are the lights off?"),
		{
			ID: 8, Time: at(34, 20), Stage: bridge.StageIntake, Kind: bridge.EventMessageTurnedAway, Level: slog.LevelWarn, Title: bridge.Say("not among the allowed users"),
			Room: ops(), Actor: mallory(), MessageID: "1569", Code: bridge.CodeDenied, Text: "hello?",
			Hint: bridge.Say("Add %s to the allowed users in the settings.", `"mallory"`),
		},
		said(9, at(34, 51), "1570", ops(), bob(), "!status"),
		{ID: 10, Time: at(34, 51), Stage: bridge.StageSender, Kind: bridge.EventReplySent, Level: slog.LevelInfo, Title: bridge.Say("Reply sent"), Room: ops(), MessageID: "1572", Answers: "1570", Text: "All is well.", Duration: 9 * time.Millisecond, Waited: 12 * time.Millisecond},
		said(11, at(35, 8), "1571", kitchen(), alice(), "what is for dinner?"),
		{ID: 12, Time: at(35, 9), Stage: bridge.StageSender, Kind: bridge.EventReplySent, Level: slog.LevelInfo, Title: bridge.Say("Reply sent"), Room: kitchen(), MessageID: "1573", Answers: "1571", Text: "Lentil soup.", Duration: 210 * time.Millisecond, Waited: 900 * time.Millisecond},
		{Time: at(33, 2), Stage: bridge.StageHandler, Kind: bridge.EventMessageSilent, Level: slog.LevelDebug, Title: bridge.Say("Handled, without a reply"), Room: family, Actor: grandma, MessageID: "1568"},
	}
}

// fakeReport returns a doctor's report with one failure.
func fakeReport() doctor.Report {
	row := func(id, title string, ms int, r bridge.Result) doctor.Row {
		return doctor.Row{ID: id, Title: bridge.Say("%s", title), Result: r, Duration: time.Duration(ms) * time.Millisecond}
	}
	seen := func(s string) bridge.Result { return bridge.Passed(bridge.Say("%s", s)) }
	return doctor.Report{Duration: 2300 * time.Millisecond, Rows: []doctor.Row{
		row("server-reachable", "Server answers", 41, seen("status.php: Nextcloud 32.0.1, not in maintenance")),
		row("server-tls", "Certificate", 38, seen("valid until 2027-02-11, Let's Encrypt")),
		row("talk", "Talk", 52, seen("21.1.7 with bots-v1, 32 000 characters a message")),
		row("keychain", "Keychain", 6, seen("GNOME Keyring, unlocked")),
		row("webhook-secret", "Webhook secret", 0, seen("64 characters")),
		row("listener", "Listener", 1, seen("127.0.0.1:8460")),
		row("tunnel", "Tunnel", 0, seen("online, 4 connections, FRA, QUIC")),
		row("public-address", "Public address", 84, seen("a signed request came back in 84 ms")),
		row("bot-secret", "Bot secret", 210, bridge.Failed(
			bridge.Say("The server refused our signature in %s (%s).", "Kitchen", "401"),
			bridge.Say("the bot is not enabled there"),
			bridge.Say("in Talk: Conversation settings, Bots, Enable\nor on the server: occ talk:bot:setup %[1]s %[2]s", "1", "knzaftd5"),
		)),
		row("bot-entry", "Bot entry", 0, bridge.Skipped(bridge.Say("needs an administrator's app token"))),
		row("allow-list", "Allow list", 0, bridge.Warned(
			bridge.Say("%s answers everybody, guests too", `"*"`),
			bridge.Say("anybody who can write in a conversation with the bot can use its handler"),
			bridge.Say("put the user ids of those it may answer in its place"),
		)),
	}}
}

// change changes what the bot is, as something from outside does.
func (b *fakeBackend) change(f func(b *fakeBackend)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
	close(b.changed)
	b.changed = make(chan struct{})
}

// called takes note of a call and returns its error.
func (b *fakeBackend) called(name string, args ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, strings.Join(append([]string{name}, args...), " "))
	return b.errs[name]
}

// asked returns what was called.
func (b *fakeBackend) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

func (b *fakeBackend) Snapshot() (s bridge.Snapshot, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshot, b.changed
}

func (b *fakeBackend) Resume(context.Context) error { return b.called("Resume") }
func (b *fakeBackend) Pause(context.Context) error  { return b.called("Pause") }
func (b *fakeBackend) Retry(context.Context) error  { return b.called("Retry") }

func (b *fakeBackend) ClearLog(context.Context) error {
	err := b.called("ClearLog")
	if err == nil {
		b.mu.Lock()
		b.log = &ledger{}
		b.mu.Unlock()
	}
	return err
}

// WatchLog shows what there is, then what publish is given, if the bot is live.
func (b *fakeBackend) WatchLog(ctx context.Context, f bridge.LogFilter, show func(entries []bridge.Entry)) error {
	c := make(chan []bridge.Entry)
	b.mu.Lock()
	entries := slices.Clone(b.log.entries)
	entries = entries[max(0, len(entries)-f.Limit):]
	err, live := b.errs["WatchLog"], b.live
	if live && err == nil {
		b.watchers = append(b.watchers, c)
	}
	b.mu.Unlock()
	show(entries)
	if err != nil || !live {
		return err
	}
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watchers = slices.DeleteFunc(b.watchers, func(w chan []bridge.Entry) bool { return w == c })
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case entries := <-c:
			if len(entries) > 0 {
				show(entries)
			}
		}
	}
}

// publish gives what events change to whom watches, who has had it when it
// returns. It returns how many watched.
func (b *fakeBackend) publish(events ...bridge.Event) int {
	b.mu.Lock()
	entries := b.log.all(events...)
	b.mu.Unlock()
	return b.hand(entries)
}

// hand gives entries to whom watches.
func (b *fakeBackend) hand(entries []bridge.Entry) int {
	b.mu.Lock()
	watchers := slices.Clone(b.watchers)
	b.mu.Unlock()
	for _, w := range watchers {
		w <- entries
		w <- nil // taken when they are done with
	}
	return len(watchers)
}

func (b *fakeBackend) Config() (c config.Config, problems []config.Problem, exists bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.config, b.problems, b.exists
}

func (b *fakeBackend) Save(_ context.Context, c config.Config) error {
	err := b.called("Save")
	if err == nil {
		b.mu.Lock()
		b.config, b.saved, b.exists = c, c, true
		b.mu.Unlock()
	}
	return err
}

func (b *fakeBackend) ConfigFile() string { return "/home/me/.config/perch/config.toml" }

func (b *fakeBackend) Secret(_ context.Context, name string) (bridge.Secret, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.errs["Secret"]; err != nil {
		return bridge.Secret{}, err
	}
	if s, ok := b.secrets[name]; ok {
		return s, nil
	}
	return bridge.Secret{}, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("%s is not set", name)}
}

func (b *fakeBackend) SecretPlace(_ context.Context, name string) (place bridge.Text, fixed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fixed[name] {
		return bridge.Say("the variable %s", "PERCH_"+strings.ToUpper(name)), true, nil
	}
	return bridge.Say("%s", "GNOME Keyring"), false, b.errs["SecretPlace"]
}

func (b *fakeBackend) SetSecret(_ context.Context, name string, s bridge.Secret) error {
	err := b.called("SetSecret", name)
	if err == nil {
		b.mu.Lock()
		b.secrets[name] = s
		if s.IsZero() {
			delete(b.secrets, name)
		}
		b.mu.Unlock()
	}
	return err
}

// CheckSecret refuses webhook secrets of fewer than 40 characters.
func (b *fakeBackend) CheckSecret(name string, s bridge.Secret) error {
	if name == bridge.WebhookSecret && len(s.Reveal()) < 40 {
		return &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("needs at least %s characters", "40")}
	}
	return nil
}

func (b *fakeBackend) NewSecret() bridge.Secret {
	return bridge.NewSecret("new-secret-new-secret-new-secret-new-secret-0123456789abcdef0123")
}

func (b *fakeBackend) TestServer(context.Context, config.Config, bridge.Secret) (doctor.Report, error) {
	if err := b.called("TestServer"); err != nil {
		return doctor.Report{}, err
	}
	return doctor.Report{Rows: b.report.Rows[:3], Duration: 131 * time.Millisecond}, nil
}

func (b *fakeBackend) Occ(_ context.Context, c config.Config, secret bridge.Secret) ([]bridge.Commands, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.errs["Occ"]; err != nil {
		return nil, err
	}
	var all []bridge.Commands
	for server, occ := range map[string]string{
		"Bare metal": "sudo -u www-data php occ", "Docker": "docker exec -u www-data nextcloud php occ",
		"AIO": "sudo docker exec --user www-data -it nextcloud-aio-nextcloud php occ", "Snap": "sudo nextcloud.occ",
	} {
		with := func(s string) string {
			return fmt.Sprintf("%[1]s talk:bot:install -f webhook -f response -- Perch '%[2]s' %[3]s\n%[1]s talk:bot:setup BOT-ID TOKEN", occ, s, c.Webhook.Address())
		}
		all = append(all, bridge.Commands{Server: server, Lines: with(secret.Reveal()), Shown: with("••••••")})
	}
	order := []string{"Bare metal", "Docker", "AIO", "Snap"}
	slices.SortFunc(all, func(x, y bridge.Commands) int { return slices.Index(order, x.Server) - slices.Index(order, y.Server) })
	return all, nil
}

func (b *fakeBackend) LocalAddresses() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.local)
}

func (b *fakeBackend) Models(context.Context, config.Handler, bridge.Secret) ([]string, error) {
	return []string{"llama3.2", "qwen3:8b"}, b.called("Models")
}

func (b *fakeBackend) StartsAtLogin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.login
}

func (b *fakeBackend) SetStartsAtLogin(yes bool) error {
	err := b.called("SetStartsAtLogin", strconv.FormatBool(yes))
	if err == nil {
		b.mu.Lock()
		b.login = yes
		b.mu.Unlock()
	}
	return err
}

func (b *fakeBackend) Doctor(ctx context.Context, row func(doctor.Row)) (doctor.Report, error) {
	if err := b.called("Doctor"); err != nil {
		return doctor.Report{}, err
	}
	if b.examine != nil {
		return b.examine(ctx, row)
	}
	b.mu.Lock()
	report := b.report
	b.mu.Unlock()
	for _, r := range report.Rows {
		row(r)
	}
	return report, nil
}

func (b *fakeBackend) Practice(ctx context.Context) (bridge.Practice, error) {
	if err := b.called("Practice"); err != nil {
		return nil, err
	}
	if b.rehearse != nil {
		return b.rehearse(ctx)
	}
	return b.practice, nil
}

// fakePractice is a practice server with a short talk in the kitchen.
type fakePractice struct {
	mu      sync.Mutex
	changed chan struct{}
	lines   map[string][]bridge.Line
	said    []string // "knzaftd5 alice !help"
	err     error    // of Say
	closed  bool
}

func newFakePractice() *fakePractice {
	bot := bridge.Actor{Type: bridge.ActorBot, ID: "bot-perch", Name: "Perch"}
	return &fakePractice{changed: make(chan struct{}), lines: map[string][]bridge.Line{"knzaftd5": {
		{Time: clockTime(35, 0), Author: alice(), Text: "!help"},
		{Time: clockTime(35, 0), Author: bot, Bot: true, Took: 38 * time.Millisecond, Text: "I know: **!help**, **!ping**, **!status**. Anything else goes to the model *llama3.2*."},
		{Time: clockTime(36, 0), Author: alice(), Text: "Write a shopping list for a lentil soup", Reaction: "👀"},
		{Time: clockTime(36, 2), Author: bot, Bot: true, Took: 2400 * time.Millisecond, Text: "- 300 g red lentils\n- 2 carrots, 1 onion\n- cumin, stock, a lemon"},
		{Time: clockTime(37, 0), Author: mallory(), Text: "hello?"},
		{Time: clockTime(37, 0), Note: bridge.Say("not answered: %s is not among the allowed users", "mallory")},
	}}}
}

func (p *fakePractice) People() []bridge.Actor { return []bridge.Actor{alice(), bob(), mallory()} }
func (p *fakePractice) Rooms() []bridge.Room   { return []bridge.Room{kitchen(), ops()} }

func (p *fakePractice) Say(_ context.Context, room, person, text string) error {
	if p.err != nil {
		return p.err
	}
	p.add(room, bridge.Line{Time: atTime(), Author: bridge.Actor{Type: bridge.ActorUser, ID: person, Name: person}, Text: text})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, room+" "+person+" "+text)
	return nil
}

// add puts a line into a room.
func (p *fakePractice) add(room string, l bridge.Line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines[room] = append(p.lines[room], l)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *fakePractice) Lines(room string) []bridge.Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines[room])
}

func (p *fakePractice) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *fakePractice) Clear(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = map[string][]bridge.Line{}
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

func (p *fakePractice) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// tested is a window on a fake backend. What runs on Fyne's goroutine in the
// program runs on the test's own here, in step and settle, so that a test sees
// no change that it did not wait for.
type tested struct {
	*UI
	t      *testing.T
	fake   *fakeBackend
	app    fyne.App
	window fyne.Window
	queue  chan func()
	timers []func() // what later was asked for
	ticks  ticking
}

// open opens a window of 1080 × 700 on b, in light.
func open(t *testing.T, b *fakeBackend) *tested {
	t.Helper()
	return openIn(t, b, theme.VariantLight)
}

func openIn(t *testing.T, b *fakeBackend, variant fyne.ThemeVariant) *tested {
	t.Helper()
	return openAs(t, b, variant, nil)
}

// openWith opens a window in another language.
func openWith(t *testing.T, b *fakeBackend, translate func(string) string) *tested {
	t.Helper()
	return openAs(t, b, theme.VariantLight, translate)
}

func openAs(t *testing.T, b *fakeBackend, variant fyne.ThemeVariant, translate func(string) string) *tested {
	t.Helper()
	app := test.NewTempApp(t)
	app.Settings().SetTheme(kittest.FixedTheme{Theme: kit.NewTheme(), Variant: variant})
	w := test.NewTempWindow(t, nil)
	w.SetPadded(false)
	w.Resize(fyne.NewSize(1080, 700))
	x := &tested{t: t, fake: b, app: app, window: w, queue: make(chan func(), 1000)}
	x.UI = newUI(b, Options{App: app, Window: w, Translate: translate, Now: atTime}, func(f func()) { x.queue <- f })
	x.kit.Later = func(_ time.Duration, f func()) { x.timers = append(x.timers, f) }
	w.SetContent(x.Content())
	w.Resize(fyne.NewSize(1080, 700))
	t.Cleanup(func() {
		x.SetVisible(false)
		x.stop()
	})
	return x
}

// settle does what is to be done on Fyne's goroutine until done is true.
func (x *tested) settle(done func() bool) {
	x.t.Helper()
	for !done() {
		x.step()
	}
}

// step waits for something to be done on Fyne's goroutine, and does it.
func (x *tested) step() {
	x.t.Helper()
	select {
	case f := <-x.queue:
		f()
	case <-time.After(testenv.Patience):
		x.t.Fatal("nothing happens")
	}
}

// idle waits for all that is under way in the background, and does what it
// left to do. Not to be used while something goes on for ever.
func (x *tested) idle() {
	x.t.Helper()
	for {
		x.tasks.Wait()
		select {
		case f := <-x.queue:
			f()
		default:
			return
		}
	}
}

// tickNow does what Run does twice a second.
func (x *tested) tickNow() {
	x.t.Helper()
	x.tick(&x.ticks)
	for {
		select {
		case f := <-x.queue:
			f()
		default:
			return
		}
	}
}

// press types a key into what has the focus, or into the window.
func (x *tested) press(keys ...fyne.KeyName) {
	for _, k := range keys {
		switch focused := x.window.Canvas().Focused(); {
		case k == fyne.KeyTab:
			x.window.Canvas().FocusNext()
		case focused != nil:
			focused.TypedKey(&fyne.KeyEvent{Name: k})
		default:
			x.window.Canvas().OnTypedKey()(&fyne.KeyEvent{Name: k})
		}
	}
}

// find returns the object in the window that match is true for; it fails if
// there is none that a person could see.
func find[T fyne.CanvasObject](x *tested, match func(T) bool) T {
	x.t.Helper()
	var found T
	ok := false
	for _, o := range kittest.VisibleObjects(x.window.Canvas().Content()) {
		if typed, is := o.(T); is && !ok && match(typed) {
			found, ok = typed, true
		}
	}
	if !ok {
		x.t.Fatalf("no %T is shown as wanted", found)
	}
	return found
}

// buttonOf returns the button with that text.
func (x *tested) buttonOf(text string) *kit.Button {
	x.t.Helper()
	return find(x, func(b *kit.Button) bool { return b.Text == text })
}

// texts returns all that a person can read in the window, in order.
func (x *tested) texts() []string {
	var all []string
	for _, o := range kittest.VisibleObjects(x.window.Canvas().Content()) {
		switch o := o.(type) {
		case *kit.Line:
			all = append(all, o.Text)
		case *kit.Prose:
			all = append(all, o.Text())
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// reads fails unless a person can read each of texts as a whole.
func (x *tested) reads(texts ...string) {
	x.t.Helper()
	shown := x.texts()
	for _, text := range texts {
		if !slices.Contains(shown, text) {
			x.t.Errorf("%q is not to be read among\n%s", text, strings.Join(shown, "\n"))
		}
	}
}

// shoot writes the window into $PERCH_SHOTS/<name>.png, if that is set.
func (x *tested) shoot(name string) {
	x.t.Helper()
	dir := os.Getenv("PERCH_SHOTS")
	if dir == "" {
		return
	}
	must(x.t, os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, name+".png"))
	must(x.t, err)
	defer f.Close()
	must(x.t, png.Encode(f, x.window.Canvas().Capture()))
}

// inBoth runs a test in light and in dark.
func inBoth(t *testing.T, f func(t *testing.T, name string, variant fyne.ThemeVariant)) {
	t.Helper()
	for name, v := range map[string]fyne.ThemeVariant{"light": theme.VariantLight, "dark": theme.VariantDark} {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			f(t, name, v)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
