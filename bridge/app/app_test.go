package app_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/bridge/testenv"
	hook "perch/bridge/webhook"
)

const key = "0123456789abcdef0123456789abcdef0123456789abcdef"

// world is a practice server, a bot with a home of its own, and what it says.
type world struct {
	t       *testing.T
	server  *practice.Server
	room    string
	bot     int
	cfg     config.Config
	home    config.Home
	secrets bridge.SecretStore
	getenv  func(string) string

	app    *app.App
	events *eventlog.Subscription
	left   []bridge.Event
	stop   func()
}

// newWorld starts a server with one room, in which a bot is enabled and runs.
func newWorld(t *testing.T, o practice.Options, change ...func(*config.Config)) *world {
	t.Helper()
	return newWorldWith(t, o, secret.Memory(), nil, change...)
}

func newWorldWith(t *testing.T, o practice.Options, secrets bridge.SecretStore, getenv func(string) string, change ...func(*config.Config)) *world {
	t.Helper()
	server, err := practice.Start(t.Context(), o)
	check(t, err)
	t.Cleanup(server.Close)
	w := &world{t: t, server: server, cfg: config.Default(), secrets: secrets, getenv: getenv}
	w.room = server.AddRoom("Kitchen", "alice", "bob")
	w.cfg.Talk.BaseURL = server.URL()
	w.cfg.Talk.AllowedUsers = []string{"alice"}
	w.cfg.Webhook.Listen = testenv.FreeAddr(t)
	for _, f := range change {
		f(&w.cfg)
	}
	dir := t.TempDir()
	w.home = config.Home{ConfigDir: dir, DataDir: filepath.Join(dir, "data")}
	w.save()
	check(t, w.secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(key)))
	w.bot, err = server.InstallBot(practice.Bot{Name: "Perch", URL: w.url(), Secret: key})
	check(t, err)
	w.start()
	_, err = server.EnableBot(t.Context(), w.room, w.bot)
	check(t, err)
	return w
}

func (w *world) url() string { return "http://" + w.cfg.Webhook.Listen + w.cfg.Webhook.Path }

// save saves the settings. A running bot is told, as the process's watcher does.
func (w *world) save() {
	w.t.Helper()
	_, err := config.Save(w.home.ConfigFile(), w.cfg)
	check(w.t, err)
	if w.app != nil {
		w.app.Reload()
	}
}

func (w *world) options(bus *eventlog.Bus) app.Options {
	return app.Options{Home: w.home, Secrets: w.secrets, Bus: bus, Version: "test", Getenv: w.getenv}
}

// start runs the bot until stop is called or the test ends.
func (w *world) start() {
	w.t.Helper()
	bus := &eventlog.Bus{}
	w.events, w.left = bus.Subscribe(10_000), nil
	a, err := app.Open(w.t.Context(), w.options(bus))
	check(w.t, err)
	w.app = a
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if err := a.Close(); err != nil {
			w.t.Errorf("Close: %v", err)
		}
	})
	w.t.Cleanup(w.stop)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// post posts a text and returns the id of the message, and whether the bot has
// acknowledged it.
func (w *world) post(who, text string) (id int, acknowledged bool) {
	w.t.Helper()
	r, err := w.server.Post(w.t.Context(), w.room, who, text)
	check(w.t, err)
	return r.ID, len(r.Deliveries) == 1 && r.Deliveries[0].OK()
}

// ask posts a text as alice and returns the reply to it.
func (w *world) ask(text string) string {
	w.t.Helper()
	id, ok := w.post("alice", text)
	if !ok {
		w.t.Fatalf("%q was not acknowledged", text)
	}
	return w.reply(id)
}

func (w *world) reply(id int) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), testenv.Patience)
	defer cancel()
	e, err := w.server.WaitReply(ctx, w.room, id)
	check(w.t, err)
	return e.Text
}

// await returns the first event whose title has part in it.
func (w *world) await(part string) bridge.Event {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), testenv.Patience)
	defer cancel()
	var seen []string
	for {
		for len(w.left) > 0 {
			e := w.left[0]
			w.left = w.left[1:]
			if strings.Contains(e.Title.String(), part) {
				return e
			}
			seen = append(seen, fmt.Sprint(e.Level, " ", e.Title, " | ", e.Cause))
		}
		var err error
		if w.left, _, err = w.events.Next(ctx); err != nil {
			w.t.Fatalf("there was no event %q, but:\n%s", part, strings.Join(seen, "\n"))
		}
	}
}

// asked counts the requests to a part of the server's API.
func (w *world) asked(part string) (n int) {
	for _, r := range w.server.Requests() {
		if strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// texts returns what stands in the room, by who wrote it.
func (w *world) texts(actorType string) (texts []string) {
	for _, e := range w.server.Transcript(w.room) {
		if e.Actor.Type == actorType && e.System == "" {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// webhook posts a body, signed with secret, and returns the status.
func webhook(t *testing.T, url, secret, random string, body []byte) int {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(random))
	mac.Write(body)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	check(t, err)
	r.Header.Set("X-Nextcloud-Talk-Random", random)
	r.Header.Set("X-Nextcloud-Talk-Signature", hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Nextcloud-Talk-Backend", "https://cloud.example.com/")
	resp, err := http.DefaultClient.Do(r)
	check(t, err)
	check(t, resp.Body.Close())
	return resp.StatusCode
}

func TestConversation(t *testing.T) {
	w := newWorld(t, practice.Options{})
	for _, tt := range []struct{ say, want string }{
		{"!ping", "pong"},
		{"  !PING  ", "pong"},
		{"!echo hello **world** 👋", "hello **world** 👋"},
		{"!echo", "Nothing to echo"},
		{"!whoami", "users/alice"},
		{"!status", "received"},
		{"!help", "!echo TEXT"},
		{"!nonsense", "I do not know `!nonsense`"},
	} {
		if got := w.ask(tt.say); !strings.Contains(got, tt.want) {
			t.Errorf("%s was answered with %q, want %q", tt.say, got, tt.want)
		}
	}
}

func TestWhoIsNotAnswered(t *testing.T) {
	w := newWorld(t, practice.Options{})
	if _, ok := w.post("bob", "!ping"); !ok {
		t.Error("a message of a stranger was not acknowledged")
	}
	e := w.await("bob was not answered")
	if want := `allowed_users = ["alice", "bob"]`; !strings.Contains(e.Hint.String(), want) {
		t.Errorf("hint %q, want %s in it", e.Hint, want)
	}
	w.post("alice", "no command")
	w.post("alice", "!!! really?")
	if got := w.ask("!ping"); got != "pong" {
		t.Errorf("!ping: %q", got)
	}
	if got := w.texts("bots"); len(got) != 1 {
		t.Errorf("the bot said %q, want only one answer", got)
	}
}

// Every webhook of a real server is acknowledged, and only the messages of
// people are handled.
func TestRecordedWebhooks(t *testing.T) {
	w := newWorld(t, practice.Options{}, func(c *config.Config) { c.Talk.AllowedUsers = []string{"*"} })
	recordedSecret, err := os.ReadFile("../talk/testdata/webhook_secret.txt")
	check(t, err)
	real := strings.TrimSpace(string(recordedSecret))
	check(t, w.secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(real)))
	w.app.Reload()
	w.await("settings were read again")

	files, err := filepath.Glob("../talk/testdata/webhooks/*.json")
	check(t, err)
	if len(files) != 42 {
		t.Fatalf("%d recordings, want 42", len(files))
	}
	byTalk := regexp.MustCompile(`joined|left|reaction|renamed|edited|deleted|guests_allowed|user_added|read_only`)
	messages := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		check(t, err)
		var rec struct {
			Headers map[string]string
			Body    string
		}
		check(t, json.Unmarshal(data, &rec))
		name := filepath.Base(file)
		random := rec.Headers["X-Nextcloud-Talk-Random"]
		if code := webhook(t, w.url(), "x"+real, random, []byte(rec.Body)); code != http.StatusUnauthorized && code != http.StatusTooManyRequests {
			t.Errorf("%s with a wrong signature: %d", name, code)
		}
		if code := webhook(t, w.url(), real, random, []byte(rec.Body)); code != http.StatusOK {
			t.Errorf("%s: %d", name, code)
		}
		if !byTalk.MatchString(name) {
			messages++
		}
	}
	traffic, err := w.app.Traffic(t.Context(), time.Time{})
	check(t, err)
	if traffic.Received != messages {
		t.Errorf("%d messages were taken for the handler, want %d", traffic.Received, messages)
	}
}

func TestComesTwice(t *testing.T) {
	w := newWorld(t, practice.Options{})
	body := func(id int) []byte {
		return fmt.Appendf(nil, `{"type":"Create","actor":{"type":"Person","id":"users\/alice","name":"alice"},`+
			`"object":{"type":"Note","id":"%d","name":"message","content":"{\"message\":\"hello\",\"parameters\":[]}","mediaType":"text\/markdown"},`+
			`"target":{"type":"Collection","id":"%s","name":"Kitchen"}}`, id, w.room)
	}
	for _, tt := range []struct {
		name    string
		random  string
		id      int
		restart bool
		want    int // messages taken for the handler, in all
	}{
		{"new", "one", 1001, false, 1},
		{"the same request", "one", 1001, false, 1},
		{"the same message, signed again", "two", 1001, false, 1},
		{"another message with a random that was seen", "one", 1002, false, 1},
		{"the same request after a restart", "one", 1001, true, 1},
		{"the same message, signed again after a restart", "three", 1001, false, 1},
		{"another message with a random that was seen before a restart", "one", 1003, false, 1},
		{"another message", "four", 1004, false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.restart {
				w.stop()
				w.start()
			}
			if code := webhook(t, w.url(), key, tt.random, body(tt.id)); code != http.StatusOK {
				t.Errorf("answered %d", code)
			}
			traffic, err := w.app.Traffic(t.Context(), time.Time{})
			check(t, err)
			if traffic.Received != tt.want {
				t.Errorf("%d messages were taken for the handler, want %d", traffic.Received, tt.want)
			}
		})
	}
}

func TestAsUser(t *testing.T) {
	asUser := func(c *config.Config) { c.Talk.ReplyAs = config.User }
	withToken := func(t *testing.T) *world {
		t.Helper()
		w := newWorld(t, practice.Options{}, asUser)
		check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("alice"))))
		w.app.Reload()
		w.await("settings were read again")
		return w
	}
	t.Run("own replies are not answered", func(t *testing.T) {
		w := withToken(t)
		// The reply is a command itself, and comes back as a message of alice.
		id, _ := w.post("alice", "!echo !echo !ping")
		if got := w.reply(id); got != "!echo !ping" {
			t.Fatalf("answered %q", got)
		}
		if got := w.ask("!ping"); got != "pong" {
			t.Errorf("alice herself is answered with %q", got)
		}
		if got := strings.Join(w.texts("users"), " | "); got != "!echo !echo !ping | !echo !ping | !ping | pong" {
			t.Errorf("in the room stands: %s", got)
		}
	})
	t.Run("the answer is lost", func(t *testing.T) {
		w := withToken(t)
		w.server.SetFaults(practice.Fault{Kind: practice.FaultDropAnswer, On: practice.EndpointChat, Times: 1})
		id, _ := w.post("alice", "!echo !ping")
		w.reply(id)
		w.await("Reply sent")
		if got := w.ask("!echo done"); got != "done" {
			t.Fatalf("then: %q", got)
		}
		if got := strings.Join(w.texts("users"), " | "); got != "!echo !ping | !ping | !echo done | done" {
			t.Errorf("in the room stands: %s", got)
		}
	})
	t.Run("a wrong token stops everything", func(t *testing.T) {
		w := withToken(t)
		check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret("wrong")))
		w.app.Reload()
		w.await("settings were read again")
		first, _ := w.post("alice", "!ping")
		w.await("was refused (401)")
		asked := w.asked("/chat/")
		second, _ := w.post("alice", "!echo two")
		check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("alice"))))
		if now := w.asked("/chat/"); now != asked {
			t.Errorf("%d more requests were made after the refusal", now-asked)
		}
		w.app.Reload()
		if got := w.reply(first) + w.reply(second); got != "pongtwo" {
			t.Errorf("after the token was mended: %q", got)
		}
	})
}

// An answer goes into the thread in which it was asked for, as the bot and as
// a user, and what is lost on the way is found there.
func TestThreads(t *testing.T) {
	for _, as := range []config.ReplyAs{config.Bot, config.User} {
		t.Run(string(as), func(t *testing.T) {
			w := newWorld(t, practice.Options{Talk23: true}, func(c *config.Config) { c.Talk.ReplyAs = as })
			if as == config.User {
				check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("alice"))))
				w.app.Reload()
				w.await("settings were read again")
			}
			post := func(d practice.Draft) practice.Entry {
				t.Helper()
				asked, err := w.server.PostDraft(t.Context(), w.room, "alice", d)
				check(t, err)
				reply, err := w.server.Wait(t.Context(), w.room, asked.ID, func(e practice.Entry) bool { return e.Text == "pong" })
				check(t, err)
				return reply
			}
			first := post(practice.Draft{Text: "!ping", ThreadTitle: "Lunch"})
			if first.Thread == 0 {
				t.Errorf("the first answer is outside of the thread: %+v", first)
			}
			if second := post(practice.Draft{Text: "!ping", Thread: first.Thread}); second.Thread != first.Thread {
				t.Errorf("the second answer is outside of the thread: %+v", second)
			}
			if outside := post(practice.Draft{Text: "!ping"}); outside.Thread != 0 {
				t.Errorf("an answer to nothing in a thread is in one: %+v", outside)
			}
		})
	}
}

func TestRefusedSignature(t *testing.T) {
	w := newWorld(t, practice.Options{})
	w.server.SetFaults(practice.Fault{Kind: practice.FaultRefuse, On: practice.EndpointBot})
	first, ok := w.post("alice", "!ping")
	e := w.await("was refused (401)")
	if !ok || e.Level != slog.LevelError || !strings.Contains(e.Hint.String(), "perch retry") {
		t.Errorf("acknowledged %v; event %v, hint %q", ok, e.Level, e.Hint)
	}
	second, _ := w.post("alice", "!echo two")

	// Neither time nor a restart makes it try again.
	w.stop()
	w.start()
	w.await("Replies are held back")
	third, _ := w.post("alice", "!echo three")
	w.await("Message received")
	if n := w.asked("/bot/" + w.room + "/message"); n != 1 {
		t.Errorf("%d replies were shown to the server, want one", n)
	}

	// A changed setting does, also if it changed while nothing ran.
	w.stop()
	w.server.SetFaults()
	check(t, w.server.UninstallBot(w.url()))
	bot, err := w.server.InstallBot(practice.Bot{Name: "Perch", URL: w.url(), Secret: "new" + key})
	check(t, err)
	check(t, w.secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret("new"+key)))
	w.start()
	_, err = w.server.EnableBot(t.Context(), w.room, bot)
	check(t, err)
	if got := w.reply(first) + w.reply(second) + w.reply(third); got != "pongtwothree" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestServerTroubles(t *testing.T) {
	for _, kind := range []practice.FaultKind{
		practice.FaultDropBefore, practice.FaultStatus, practice.FaultMaintenance, practice.FaultProxyPage, practice.FaultRedirect,
		practice.FaultPortal, practice.FaultChallenge,
	} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t, practice.Options{})
			w.server.SetFaults(practice.Fault{Kind: kind, On: practice.EndpointBot, Times: 1})
			id, _ := w.post("alice", "!ping")
			e := w.await("could not be sent")
			if e.Reason.IsZero() || e.Level != slog.LevelWarn {
				t.Errorf("event: %v %q because %q", e.Level, e.Title, e.Reason)
			}
			if got := w.reply(id); got != "pong" {
				t.Errorf("answered %q", got)
			}
		})
	}
	for _, fault := range []practice.Fault{
		{Kind: practice.FaultDropAnswer},
		{Kind: practice.FaultTimeout},
		{Kind: practice.FaultTimeout, Status: 502},
		{Kind: practice.FaultTimeout, Status: 524},
		{Kind: practice.FaultTimeout, Status: 500},
		{Kind: practice.FaultWarning},
	} {
		t.Run("posted under "+string(fault.Kind)+strconv.Itoa(fault.Status), func(t *testing.T) {
			w := newWorld(t, practice.Options{})
			check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("bob"))))
			w.app.Reload()
			w.await("settings were read again")
			fault.On, fault.Times = practice.EndpointBot, 1
			w.server.SetFaults(fault)
			w.ask("!ping")
			w.await("Reply sent")
			if got := w.texts("bots"); len(got) != 1 {
				t.Errorf("the bot said %q: the reply was there already", got)
			}
		})
	}
	t.Run("refused under status 200", func(t *testing.T) {
		w := newWorld(t, practice.Options{})
		w.server.SetFaults(practice.Fault{Kind: practice.FaultOCS, On: practice.EndpointBot, Times: 1})
		w.post("alice", "!ping")
		if e := w.await("was given up"); !strings.Contains(e.Hint.String(), "talk:bot:setup") {
			t.Errorf("hint %q", e.Hint)
		}
	})
	t.Run("throttled", func(t *testing.T) {
		w := newWorld(t, practice.Options{})
		w.server.SetFaults(practice.Fault{Kind: practice.FaultThrottle, On: practice.EndpointBot, Times: 1, RetryAfter: time.Second})
		id, _ := w.post("alice", "!ping")
		w.await("Nothing is sent for 1s")
		if got := w.reply(id); got != "pong" {
			t.Errorf("answered %q", got)
		}
	})
}

func TestLongReplyIsSplit(t *testing.T) {
	w := newWorld(t, practice.Options{MaxLength: 100})
	w.awaitMaxLength()
	text := strings.Repeat("A sentence of words. ", 20)
	id, _ := w.post("alice", "!echo "+text[:90])
	w.reply(id)
	body := fmt.Appendf(nil, `{"type":"message","object":{"token":%q},"message":{"id":%d,"actorType":"users","actorId":"alice","message":%q,"messageType":"comment","systemMessage":""}}`,
		w.room, id+100, "!echo "+text)
	if code := webhook(t, w.url(), key, "long", body); code != http.StatusOK {
		t.Fatalf("answered %d", code)
	}
	// It quotes a message that the server does not have.
	w.await("was given up")
	for range 4 {
		w.await("Reply sent")
	}
	for _, part := range w.texts("bots") {
		if len([]rune(part)) > 100 {
			t.Errorf("a part has %d characters", len([]rune(part)))
		}
	}
}

// awaitMaxLength waits until the bot has asked what the server takes.
func (w *world) awaitMaxLength() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), testenv.Patience)
	defer cancel()
	_, err := w.server.WaitRequest(ctx, 0, func(r practice.Request) bool { return strings.Contains(r.Path, "capabilities") })
	check(w.t, err)
	// The answer is on its way; a round trip later it has arrived.
	w.ask("!ping")
	w.await("Reply sent")
}

func TestSettingsChangeWhileItRuns(t *testing.T) {
	w := newWorld(t, practice.Options{})
	w.cfg.Talk.AllowedUsers = []string{"bob"}
	w.save()
	w.await("settings were read again")
	w.post("alice", "!ping")
	w.await("alice was not answered")

	check(t, os.WriteFile(w.home.ConfigFile(), []byte("[webhook]\nlisten = 8460\n"), 0o600))
	w.app.Reload()
	e := w.await("not taken over")
	if !strings.Contains(e.Cause, "webhook.listen") || e.Level != slog.LevelError {
		t.Errorf("event: %v %q", e.Level, e.Cause)
	}
	id, ok := w.post("bob", "!echo still")
	if !ok || w.reply(id) != "still" {
		t.Error("the old settings are not in force")
	}

	old := w.cfg.Webhook.Listen
	w.cfg.Webhook.Listen, w.cfg.Webhook.Path = testenv.FreeAddr(t), "/elsewhere"
	check(t, os.Remove(w.home.ConfigFile()))
	w.save()
	w.await("settings were read again")
	if code := webhook(t, w.url(), key, "x", []byte("{}")); code != http.StatusBadRequest {
		t.Errorf("at the new address: %d, want 400", code)
	}
	if _, err := net.Dial("tcp", old); err == nil {
		t.Error("the old port is still open")
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	was := w.cfg.Webhook.Listen
	w.cfg.Webhook.Listen = taken.Addr().String()
	w.save()
	if e := w.await("not taken over"); !strings.Contains(e.Reason.String(), "another program uses this port") {
		t.Errorf("reason: %q", e.Reason)
	}
	w.cfg.Webhook.Listen = was
	if code := webhook(t, w.url(), key, "y", []byte("{}")); code != http.StatusBadRequest {
		t.Errorf("at the address that is in force: %d, want 400", code)
	}
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	w := newWorld(t, practice.Options{})
	w.server.SetFaults(practice.Fault{Kind: practice.FaultDelay, On: practice.EndpointBot, Delay: 300 * time.Millisecond})
	var ids []int
	for i := range 3 {
		id, _ := w.post("alice", fmt.Sprintf("!echo %d", i))
		ids = append(ids, id)
	}
	w.stop()
	for i, id := range ids {
		if got := w.reply(id); got != strconv.Itoa(i) {
			t.Errorf("reply %d: %q", i, got)
		}
	}
	if _, err := net.Dial("tcp", w.cfg.Webhook.Listen); err == nil {
		t.Error("the port is still open")
	}
}

func TestAnsweredAfterTheNextStart(t *testing.T) {
	w := newWorld(t, practice.Options{})
	w.server.SetFaults(practice.Fault{Kind: practice.FaultMaintenance})
	id, _ := w.post("alice", "!ping")
	w.await("could not be sent")
	w.stop()
	w.server.SetFaults()
	w.start()
	if got := w.reply(id); got != "pong" {
		t.Errorf("answered %q", got)
	}
}

func TestSecondInstance(t *testing.T) {
	w := newWorld(t, practice.Options{})
	_, err := app.Open(t.Context(), w.options(&eventlog.Bus{}))
	if bridge.CodeOf(err) != bridge.CodeConflict || !strings.Contains(err.Error(), "already running") {
		t.Errorf("Open: %v", err)
	}
}

func TestWithoutASecretNobodyGetsIn(t *testing.T) {
	w := newWorld(t, practice.Options{})
	check(t, w.secrets.Delete(t.Context(), bridge.WebhookSecret))
	w.app.Reload()
	w.await("No webhook secret is set")
	if code := webhook(t, w.url(), "", "x", []byte("{}")); code != http.StatusServiceUnavailable {
		t.Errorf("answered %d, want 503", code)
	}
}

// Behind a proxy that is trusted, a stranger's wrong signatures are held against
// that stranger.
func TestTrustedProxy(t *testing.T) {
	w := newWorld(t, practice.Options{}, func(c *config.Config) { c.Webhook.TrustedProxies = []string{"127.0.0.0/8"} })
	forge := func(hops string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url(), strings.NewReader("{}"))
		check(t, err)
		r.Header.Set("X-Nextcloud-Talk-Random", strings.Repeat("r", 64))
		r.Header.Set("X-Nextcloud-Talk-Signature", strings.Repeat("0", 64))
		r.Header.Set("X-Forwarded-For", hops)
		resp, err := http.DefaultClient.Do(r)
		check(t, err)
		check(t, resp.Body.Close())
		return resp.StatusCode
	}
	for i := range 12 { // the first hops are invented
		forge(fmt.Sprintf("203.0.113.%d, 198.51.100.1", i))
	}
	if got := forge("203.0.113.99, 198.51.100.1"); got != http.StatusTooManyRequests {
		t.Errorf("who goes on with wrong signatures is answered %d", got)
	}
	if got := forge("198.51.100.2"); got != http.StatusUnauthorized {
		t.Errorf("another is answered %d", got)
	}
}

func TestSend(t *testing.T) {
	w := newWorld(t, practice.Options{})
	t.Run("beside a running one", func(t *testing.T) {
		err := app.Send(t.Context(), w.options(&eventlog.Bus{}), w.room, "x")
		if bridge.CodeOf(err) != bridge.CodeConflict {
			t.Errorf("Send: %v", err)
		}
	})
	w.stop()
	t.Run("without one", func(t *testing.T) {
		text := "sent by itself"
		check(t, app.Send(t.Context(), w.options(&eventlog.Bus{}), w.room, "\x1b]0;title\a\x1b[31m"+text+"\x1b[0m"))
		if got := w.texts("bots"); got[len(got)-1] != text {
			t.Errorf("in the room stands %q", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		w.server.SetFaults(practice.Fault{Kind: practice.FaultRefuse, On: practice.EndpointBot})
		err := app.Send(t.Context(), w.options(&eventlog.Bus{}), w.room, "x")
		if bridge.CodeOf(err) != bridge.CodeUnauthorized || !strings.Contains(bridge.HintOf(err).String(), "perch retry") {
			t.Errorf("Send: %v, hint %q", err, bridge.HintOf(err))
		}
	})
	t.Run("empty", func(t *testing.T) {
		if err := app.Send(t.Context(), w.options(&eventlog.Bus{}), w.room, " \n"); bridge.CodeOf(err) != bridge.CodeInvalid {
			t.Errorf("Send: %v", err)
		}
	})
}

// No secret is in any file of the home, whatever was said there.
func TestNoSecretInAnyFile(t *testing.T) {
	w := newWorld(t, practice.Options{})
	check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret("the-app-token-of-alice")))
	w.app.Reload()
	w.await("settings were read again")
	w.ask("!status")
	w.server.SetFaults(practice.Fault{Kind: practice.FaultRefuse, On: practice.EndpointBot})
	w.post("alice", "!ping")
	w.await("was refused (401)")
	w.stop()
	check(t, filepath.WalkDir(w.home.ConfigDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(key)) || bytes.Contains(data, []byte("the-app-token-of-alice")) {
			t.Errorf("%s holds a secret", path)
		}
		return err
	}))
}

// A bot that cannot be opened leaves nothing behind on its bus: it is tried
// again every few seconds, for days.
func TestOpenThatFailsLeavesNoSubscription(t *testing.T) {
	w := newWorld(t, practice.Options{})
	held := w.home
	elsewhere := config.Home{ConfigDir: held.ConfigDir, DataDir: t.TempDir()} // its port is taken
	for name, home := range map[string]config.Home{"a home that is taken": held, "a port that is taken": elsewhere} {
		bus := &eventlog.Bus{}
		o := w.options(bus)
		o.Home = home
		if _, err := app.Open(t.Context(), o); bridge.CodeOf(err) != bridge.CodeConflict {
			t.Fatalf("%s: %v", name, err)
		}
		if n := reflect.ValueOf(bus).Elem().FieldByName("subs").Len(); n != 0 {
			t.Errorf("%s: %d subscriptions are left", name, n)
		}
	}
}

// A message goes by the settings that were in force when its webhook came, in all
// that is decided about it, whatever changes meanwhile.
func TestOneSettingsValuePerMessage(t *testing.T) {
	w := newWorld(t, practice.Options{}, func(c *config.Config) { c.Webhook.PublicURL = "https://old.example.com" })
	accept := func(r hook.Receiver, id int) bridge.MessageState {
		t.Helper()
		body := fmt.Appendf(nil, `{"type":"Create","actor":{"type":"Person","id":"users\/alice","name":"alice"},`+
			`"object":{"type":"Note","id":"%d","name":"message","content":"{\"message\":\"hello\",\"parameters\":[]}","mediaType":"text\/markdown"},`+
			`"target":{"type":"Collection","id":"%s","name":"Kitchen"}}`, id, w.room)
		m, err := r.Decode(hook.Request{Random: "nonce" + strconv.Itoa(id), Backend: w.server.URL(), ReceivedAt: time.Now(), Body: body})
		check(t, err)
		check(t, r.Accept(t.Context(), m))
		records, err := w.app.Journal().Messages(t.Context(), journal.Filter{Limit: 1})
		check(t, err)
		if len(records) != 1 || records[0].Message.Key.ID != strconv.Itoa(id) {
			t.Fatalf("the journal has %v", records)
		}
		return records[0].State
	}
	installed := func() string {
		t.Helper()
		n, err := app.ReadNotes(t.Context(), w.app.Journal())
		check(t, err)
		return n.Installed
	}
	before := w.app.Receiver()
	w.cfg.Talk.AllowedUsers, w.cfg.Webhook.PublicURL = []string{"bob"}, "https://new.example.com"
	w.save()
	w.await("settings were read again")

	if state := accept(before, 1001); state == bridge.MessageNotAllowed || installed() != "https://old.example.com/nextcloud-talk" {
		t.Errorf("by the settings before: %s, at %s", state, installed())
	}
	if state := accept(w.app.Receiver(), 1002); state != bridge.MessageNotAllowed || installed() != "https://new.example.com/nextcloud-talk" {
		t.Errorf("by the settings now: %s, at %s", state, installed())
	}
}
