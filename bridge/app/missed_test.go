package app_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/tunnel/tunneltest"
)

// newToken starts a world whose bot has the app token of bob, and has heard from
// its room.
func newToken(t *testing.T, o practice.Options) *world {
	t.Helper()
	w := newWorld(t, o)
	w.restartWith(w.server.AppToken("bob"))
	w.heard()
	return w
}

// restartWith has the bot look for what it missed, with an app token.
func (w *world) restartWith(token string) {
	w.t.Helper()
	w.stop()
	w.setToken(token)
	w.start()
	w.lookedFor()
}

func (w *world) setToken(token string) {
	w.t.Helper()
	check(w.t, w.secrets.Set(w.t.Context(), bridge.AppToken, bridge.NewSecret(token)))
}

// reload has the bot read its settings again.
func (w *world) reload() {
	w.t.Helper()
	w.app.Reload()
	w.await("settings were read again")
}

// heard has the bot hear from the room.
func (w *world) heard() {
	w.t.Helper()
	if got := w.ask("!echo heard"); got != "heard" {
		w.t.Fatalf("answered %q", got)
	}
}

// missed posts a text that the bot is not told of.
func (w *world) missed(who, text string) (id int) {
	w.t.Helper()
	id, ok := w.post(who, text)
	if ok {
		w.t.Fatalf("the bot was told of %q", text)
	}
	return id
}

// lookedFor waits until the bot has looked for what it missed, and returns the
// titles of the events until then.
func (w *world) lookedFor() (titles []string) {
	w.t.Helper()
	for {
		e := w.await("")
		titles = append(titles, e.Title.String())
		if strings.Contains(e.Title.String(), "may have been missed were asked for") {
			return titles
		}
	}
}

func has(titles []string, part string) (n int) {
	for _, title := range titles {
		if strings.Contains(title, part) {
			n++
		}
	}
	return n
}

// line is the way to the bot, which can be cut.
type line struct{ cut atomic.Bool }

// throughALine has Talk reach the bot by a line.
func (w *world) throughALine() *line {
	w.t.Helper()
	target, err := url.Parse("http://" + w.cfg.Webhook.Listen)
	check(w.t, err)
	l := &line{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) }
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if l.cut.Load() {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(s.Close)
	check(w.t, w.server.UninstallBot(w.url()))
	w.bot, err = w.server.InstallBot(practice.Bot{Name: "Perch", URL: s.URL + w.cfg.Webhook.Path, Secret: key})
	check(w.t, err)
	_, err = w.server.EnableBot(w.t.Context(), w.room, w.bot)
	check(w.t, err)
	return l
}

// unread returns how many messages bob has not read.
func (w *world) unread() int {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.server.URL()+"/ocs/v2.php/apps/spreed/api/v4/room?format=json", nil)
	check(w.t, err)
	r.Header.Set("Authorization", "Bearer "+w.server.AppToken("bob"))
	resp, err := http.DefaultClient.Do(r)
	check(w.t, err)
	defer resp.Body.Close()
	var answer struct {
		OCS struct {
			Data []struct {
				Token          string
				UnreadMessages int
			}
		}
	}
	check(w.t, json.NewDecoder(resp.Body).Decode(&answer))
	for _, room := range answer.OCS.Data {
		if room.Token == w.room {
			return room.UnreadMessages
		}
	}
	w.t.Fatal("bob is not in the room")
	return 0
}

// answers counts the answers to a message.
func (w *world) answers(id int) (n int) {
	for _, e := range w.server.Transcript(w.room) {
		if e.ReplyTo == id && e.System == "" {
			n++
		}
	}
	return n
}

func TestMissedWhileStopped(t *testing.T) {
	w := newToken(t, practice.Options{})
	w.stop()
	first := w.missed("alice", "!echo one")
	w.missed("bob", "!echo stranger")
	w.missed("alice", "no command")
	second := w.missed("alice", "!echo two")

	w.start()
	if got := w.reply(first) + w.reply(second); got != "onetwo" {
		t.Errorf("answered %q", got)
	}
	titles := w.lookedFor()
	if has(titles, "2 messages in Kitchen were missed while away and are handled now") != 1 || has(titles, "bob was not answered") != 1 {
		t.Errorf("the events are %q", titles)
	}
	if got := w.texts("bots"); !slices.Equal(got, []string{"heard", "one", "two"}) {
		t.Errorf("the bot said %q", got)
	}

	// All that is known now, and nothing of it happens twice.
	for range 2 {
		w.stop()
		w.start()
		titles = w.lookedFor()
		if has(titles, "missed while away") != 0 || has(titles, "not answered") != 0 || has(titles, "came again") != 0 {
			t.Errorf("after another start the events are %q", titles)
		}
	}
	if got := w.ask("!ping"); got != "pong" {
		t.Errorf("answered %q", got)
	}
	if got := w.texts("bots"); len(got) != 4 {
		t.Errorf("the bot said %q", got)
	}
}

func TestMissedWhileAsleep(t *testing.T) {
	w := newToken(t, practice.Options{})
	l := w.throughALine()
	w.heard()
	l.cut.Store(true)
	id := w.missed("alice", "!ping")
	// Somebody writes again before what was missed is fetched.
	l.cut.Store(false)
	if got := w.ask("!echo hello?"); got != "hello?" {
		t.Errorf("answered %q", got)
	}
	if w.answers(id) != 0 {
		t.Fatal("what was missed was handled before the computer woke up")
	}
	w.app.Woke()
	if got := w.reply(id); got != "pong" {
		t.Errorf("answered %q", got)
	}
	w.await("A message in Kitchen was missed while away and is handled now")
	w.lookedFor()
	w.app.Woke()
	if titles := w.lookedFor(); has(titles, "missed while away") != 0 {
		t.Errorf("the events are %q", titles)
	}
	if n := w.answers(id); n != 1 {
		t.Errorf("it was answered %d times", n)
	}
}

func TestMissedWhileTheServerCouldNotBeReached(t *testing.T) {
	w := newToken(t, practice.Options{})
	w.stop()
	id := w.missed("alice", "!ping")
	w.server.SetFaults(practice.Fault{Kind: practice.FaultMaintenance})
	before := w.asked("/chat/")
	w.start()
	w.await("The server was asked what it can do")
	if n := w.asked("/chat/") - before; n != 0 {
		t.Errorf("%d times missed messages were asked for, of a server that does not answer", n)
	}
	w.server.SetFaults()
	w.app.Reload()
	if got := w.reply(id); got != "pong" {
		t.Errorf("answered %q", got)
	}

	// What fails is not tried again by itself, but at the next occasion.
	w.stop()
	id = w.missed("alice", "!echo again")
	w.server.SetFaults(practice.Fault{Kind: practice.FaultThrottle, On: practice.EndpointChat})
	before = w.asked("/chat/")
	w.start()
	e := w.await("could not be fetched")
	w.lookedFor()
	if n := w.asked("/chat/") - before; n != 1 || e.Level != slog.LevelDebug || e.Code != bridge.CodeThrottled {
		t.Errorf("asked %d times, event %v %s", n, e.Level, e.Code)
	}
	w.server.SetFaults()
	w.app.Reload()
	if got := w.reply(id); got != "again" {
		t.Errorf("answered %q", got)
	}
	w.lookedFor()

	// It also goes away while the bot runs.
	l := w.throughALine()
	w.heard()
	l.cut.Store(true)
	id = w.missed("alice", "!echo at last")
	w.app.Reload()
	w.await("The server was asked what it can do")
	if w.answers(id) != 0 {
		t.Error("missed messages were asked for without a reason")
	}
	w.server.SetFaults(practice.Fault{Kind: practice.FaultDropBefore, On: practice.EndpointCapabilities})
	w.app.Reload()
	w.await("The server was asked what it can do")
	w.server.SetFaults()
	w.app.Reload()
	if got := w.reply(id); got != "at last" {
		t.Errorf("answered %q", got)
	}
}

func TestMissedWhileTheTunnelWasDown(t *testing.T) {
	edge := tunneltest.New(t)
	token, hostname := edge.Named()
	w := throughTunnel(t, edge, func(c *config.Config, secrets bridge.SecretStore) {
		c.Tunnel.Mode, c.Tunnel.Hostname = config.TunnelNamed, hostname
		check(t, secrets.Set(t.Context(), bridge.TunnelToken, bridge.NewSecret(token)))
	})
	w.await("The tunnel is online")
	w.setToken(w.server.AppToken("bob"))
	w.reload()
	w.heard()
	edge.Hang(true)
	edge.Cut()
	w.await("The tunnel lost its connection")
	id := w.missed("alice", "!ping")
	edge.Hang(false)
	edge.Cut()
	w.await("The tunnel is online")
	if got := w.reply(id); got != "pong" {
		t.Errorf("answered %q", got)
	}
}

func TestMissedIsNotFetched(t *testing.T) {
	chat := func(w *world) int { return w.asked("/chat/") }
	t.Run("without an app token", func(t *testing.T) {
		w := newWorld(t, practice.Options{})
		w.heard()
		w.stop()
		id := w.missed("alice", "!ping")
		w.start()
		w.await("The server was asked what it can do")
		w.app.Woke()
		w.await("The server was asked what it can do")
		if chat(w) != 0 {
			t.Error("messages were asked for")
		}
		// It is as soon as there is one.
		w.setToken(w.server.AppToken("bob"))
		w.reload()
		if got := w.reply(id); got != "pong" {
			t.Errorf("with a token it was answered %q", got)
		}
	})
	t.Run("from a room that was never heard from", func(t *testing.T) {
		w := newWorld(t, practice.Options{})
		w.stop()
		w.missed("alice", "!ping")
		w.restartWith(w.server.AppToken("bob"))
		if chat(w) != 0 {
			t.Error("messages were asked for")
		}
	})
	t.Run("where the token's user is not", func(t *testing.T) {
		w := newToken(t, practice.Options{})
		w.server.AddUser("carol", "carol")
		w.setToken(w.server.AppToken("carol"))
		w.reload()
		before := chat(w)
		w.app.Woke()
		e := w.await("could not be fetched")
		if e.Level != slog.LevelInfo || e.Room.Token != w.room || !strings.Contains(e.Hint.String(), "Add the user") {
			t.Errorf("the event is %+v", e)
		}
		w.lookedFor()
		for range 2 {
			w.app.Woke()
			w.lookedFor()
		}
		if n := chat(w) - before; n != 1 {
			t.Errorf("it was asked %d times", n)
		}
		w.reload()
		w.app.Woke()
		told := w.lookedFor()
		for chat(w)-before < 2 { // what it looked for before the settings were read may end only now
			told = append(told, w.lookedFor()...)
		}
		w.app.Woke()
		if told = append(told, w.lookedFor()...); has(told, "could not be fetched") > 0 {
			t.Error("it was told of again")
		}
		if n := chat(w) - before; n != 2 {
			t.Errorf("after the settings were read again it was asked %d times in all, want 2", n)
		}
	})
	t.Run("with a token that is refused", func(t *testing.T) {
		w := newToken(t, practice.Options{})
		kitchen := w.room
		w.room = w.server.AddRoom("Cellar", "alice", "bob")
		_, err := w.server.EnableBot(t.Context(), w.room, w.bot)
		check(t, err)
		w.heard()
		w.setToken("wrong")
		w.reload()
		before := chat(w)
		w.app.Woke()
		if e := w.await("could not be fetched"); e.Level != slog.LevelWarn || e.Code != bridge.CodeUnauthorized {
			t.Errorf("the event is %+v", e)
		}
		w.lookedFor()
		for range 2 {
			w.app.Woke()
			w.await("The server was asked what it can do")
		}
		if n := chat(w) - before; n != 1 {
			t.Errorf("it was asked %d times, in two rooms", n)
		}
		w.room = kitchen
		w.stop()
		id := w.missed("alice", "!ping")
		w.setToken(w.server.AppToken("bob"))
		w.start()
		if got := w.reply(id); got != "pong" {
			t.Errorf("with a right one it was answered %q", got)
		}
	})
	t.Run("from a room that is switched off", func(t *testing.T) {
		w := newToken(t, practice.Options{})
		w.stop()
		w.missed("alice", "!ping")
		w.cfg.Rooms = map[string]config.Room{w.room: {Enabled: false}}
		w.save()
		before := chat(w)
		w.start()
		w.lookedFor()
		if n := chat(w) - before; n != 0 {
			t.Errorf("it was asked %d times", n)
		}
	})
	t.Run("from when the bot was not enabled", func(t *testing.T) {
		var ahead atomic.Int64 // of the server's clock, so that what follows is another second
		w := newToken(t, practice.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
		_, err := w.server.DisableBot(t.Context(), w.room, w.bot)
		check(t, err)
		ahead.Store(int64(-10 * time.Minute))
		w.missed("alice", "!ping")
		ahead.Store(0)
		before := chat(w)
		w.app.Woke()
		w.lookedFor()
		if n := chat(w) - before; n != 0 {
			t.Errorf("while it is disabled it was asked %d times", n)
		}
		_, err = w.server.EnableBot(t.Context(), w.room, w.bot)
		check(t, err)
		w.app.Woke()
		if titles := w.lookedFor(); has(titles, "missed while away") != 0 || chat(w)-before != 1 {
			t.Errorf("after it was enabled again the events are %q", titles)
		}
	})
	t.Run("when it is old", func(t *testing.T) {
		var ago atomic.Int64
		w := newToken(t, practice.Options{Now: func() time.Time { return time.Now().Add(-time.Duration(ago.Load())) }})
		w.stop()
		ago.Store(int64(61 * time.Minute))
		old := w.missed("alice", "!ping")
		ago.Store(int64(59 * time.Minute))
		recent := w.missed("alice", "!echo recent")
		w.start()
		// The bot was enabled a moment ago, so it is as if both were from before that.
		if titles := w.lookedFor(); has(titles, "missed while away") != 0 {
			t.Errorf("the events are %q", titles)
		}
		w.stop()
		j, err := journal.Open(t.Context(), w.home.JournalFile(), journal.Options{})
		check(t, err)
		check(t, j.Note(t.Context(), "joined "+w.room, "")) // as if that had been long ago
		check(t, j.Close())
		w.start()
		if got := w.reply(recent); got != "recent" || w.answers(old) != 0 {
			t.Errorf("the recent one was answered %q, the old one %d times", got, w.answers(old))
		}
	})
	t.Run("beyond the newest fifty", func(t *testing.T) {
		w := newToken(t, practice.Options{})
		w.stop()
		var ids []int
		for i := range 55 {
			ids = append(ids, w.missed("alice", "!echo "+strconv.Itoa(i)))
		}
		w.start()
		w.await("50 messages in Kitchen were missed")
		for i, id := range ids {
			if i >= 5 && w.reply(id) != strconv.Itoa(i) {
				t.Errorf("message %d was answered with something else", i)
			}
		}
		for i, id := range ids[:5] {
			if w.answers(id) != 0 {
				t.Errorf("message %d was answered", i)
			}
		}
	})
}

// A webhook may come while what was missed is fetched: whatever comes first, it
// is handled once.
func TestMissedAndToldAtOnce(t *testing.T) {
	w := newToken(t, practice.Options{})
	w.stop()
	const n = 20
	var ids []int
	for i := range n {
		ids = append(ids, w.missed("alice", "!echo "+strconv.Itoa(i)))
	}
	w.start()
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			body := fmt.Appendf(nil, `{"type":"Create","actor":{"type":"Person","id":"users\/alice","name":"alice"},`+
				`"object":{"type":"Note","id":"%d","name":"message","content":"{\"message\":\"!echo %d\",\"parameters\":[]}","mediaType":"text\/markdown"},`+
				`"target":{"type":"Collection","id":"%s","name":"Kitchen"}}`, id, i, w.room)
			if code := webhook(t, w.url(), key, "random "+strconv.Itoa(i), body); code != http.StatusOK {
				t.Errorf("webhook %d: %d", i, code)
			}
		})
	}
	wg.Wait()
	w.lookedFor()
	for i, id := range ids {
		if got := w.reply(id); got != strconv.Itoa(i) {
			t.Errorf("message %d was answered %q", i, got)
		}
	}
	w.stop()
	for i, id := range ids {
		if got := w.answers(id); got != 1 {
			t.Errorf("message %d was answered %d times", i, got)
		}
	}
}

// What was posted as the user is no message of that user.
func TestMissedAsUser(t *testing.T) {
	secrets := secret.Memory()
	w := newWorldWith(t, practice.Options{}, secrets, nil, func(c *config.Config) { c.Talk.ReplyAs = config.User })
	w.restartWith(w.server.AppToken("alice"))
	l := w.throughALine()
	w.heard()
	l.cut.Store(true)
	own := w.missed("alice", "!echo !echo !ping")
	w.app.Woke()
	if got := w.reply(own); got != "!echo !ping" { // of which the bot is not told either
		t.Fatalf("answered %q", got)
	}
	var titles []string // the reply is sent while the others are looked for
	for has(titles, "was missed while away") == 0 || has(titles, "Reply sent") == 0 || has(titles, "were asked for") == 0 {
		titles = append(titles, w.await("").Title.String())
	}
	for range 2 {
		w.app.Woke()
		if titles := w.lookedFor(); has(titles, "missed while away") != 0 {
			t.Errorf("the events are %q", titles)
		}
	}
	w.stop()
	l.cut.Store(false)
	w.start()
	w.lookedFor()
	if got := w.ask("!echo done"); got != "done" {
		t.Errorf("answered %q", got)
	}
	if got := strings.Join(w.texts("users"), " | "); got != "!echo heard | heard | !echo !echo !ping | !echo !ping | !echo done | done" {
		t.Errorf("in the room stands: %s", got)
	}
}

// Another bot takes only what Talk signed.
func TestMissedIsNotHandedOn(t *testing.T) {
	var taken atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken.Add(1) }))
	t.Cleanup(other.Close)
	w := newWorld(t, practice.Options{}, with(config.Relay, func(h *config.Handler) {
		h.URL, h.OnError = other.URL, "That did not work."
		h.Trigger, h.Prefix = config.OnPrefix, "!"
	}))
	w.restartWith(w.server.AppToken("bob"))
	w.post("alice", "!hello")
	w.await("took the message")
	w.stop()
	w.missed("alice", "not for the bot")
	id := w.missed("alice", "!are you there?")
	w.missed("bob", "!and me?")
	w.start()
	e := w.await("A message in Kitchen was missed and cannot be handed on")
	if e.Level != slog.LevelWarn || e.MessageID != strconv.Itoa(id) || e.Actor.ID != "alice" || e.Hint.IsZero() {
		t.Errorf("the event is %+v", e)
	}
	if titles := w.lookedFor(); has(titles, "cannot be handed on") != 0 || has(titles, "handler failed") != 0 {
		t.Errorf("then the events are %q", titles)
	}
	w.stop()
	w.start()
	if titles := w.lookedFor(); has(titles, "cannot be handed on") != 0 {
		t.Errorf("after another start the events are %q", titles)
	}
	if n := taken.Load(); n != 1 || len(w.texts("bots")) != 0 {
		t.Errorf("the other bot got %d messages; the room got %q", n, w.texts("bots"))
	}
	// It does not stand in the way of a webhook that comes late.
	body := fmt.Appendf(nil, `{"type":"Create","actor":{"type":"Person","id":"users\/alice","name":"alice"},`+
		`"object":{"type":"Note","id":"%d","name":"message","content":"{\"message\":\"!are you there?\",\"parameters\":[]}","mediaType":"text\/markdown"},`+
		`"target":{"type":"Collection","id":"%s","name":"Kitchen"}}`, id, w.room)
	if code := webhook(t, w.url(), key, "late", body); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	w.await("took the message")
}

// The token's user does not notice that the messages were read.
func TestMissedStaysUnread(t *testing.T) {
	w := newToken(t, practice.Options{})
	w.stop()
	id := w.missed("alice", "!ping")
	before := w.unread()
	w.start()
	w.reply(id)
	w.lookedFor()
	if now := w.unread(); now != before+1 { // the answer
		t.Errorf("bob had %d unread messages and has %d", before, now)
	}
}
