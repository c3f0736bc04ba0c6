package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/talk"
	"perch/bridge/testenv"
)

// with returns a change of the configuration to a handler.
func with(kind string, change func(h *config.Handler)) func(*config.Config) {
	return func(c *config.Config) {
		c.Handler = config.DefaultHandler(kind)
		change(&c.Handler)
	}
}

// script writes a shell program and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bot.sh")
	check(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	return path
}

func TestProgramAnswers(t *testing.T) {
	path := script(t, `text=$(sed 's/.*"text":"\([^"]*\)".*/\1/')
case "$text" in
*secret*) env | grep -v "^PERCH_OUT=" | grep -c PERCH_ || true ;;
*) echo "you said: $text; $1" ;;
esac`)
	t.Setenv("PERCH_WEBHOOK_SECRET", key)
	w := newWorld(t, practice.Options{}, with(config.Exec, func(h *config.Handler) {
		h.Command = []string{path, "an argument with $(spaces)"}
	}))
	if got := w.ask("hello"); got != "you said: hello; an argument with $(spaces)" {
		t.Errorf("answered %q", got)
	}
	if got := w.ask("any secret?"); got != "0" {
		t.Errorf("the program sees %q variables of ours", got)
	}
}

func TestSlowProgramIsSeenToWork(t *testing.T) {
	w := newWorld(t, practice.Options{}, with(config.Exec, func(h *config.Handler) {
		h.Command = []string{script(t, `while ! [ -e "$1" ]; do sleep 0.01; done; echo done`), filepath.Join(t.TempDir(), "go")}
		h.Ack = "👀"
	}))
	id, _ := w.post("alice", "work")
	entry, err := w.server.WaitReaction(t.Context(), w.room, id)
	check(t, err)
	if entry.Text != "👀" {
		t.Errorf("the reaction is %q", entry.Text)
	}
	check(t, os.WriteFile(w.cfg.Handler.Command[1], nil, 0o600))
	if got := w.reply(id); got != "done" {
		t.Errorf("answered %q", got)
	}
	_, err = w.server.Wait(t.Context(), w.room, 0, func(e practice.Entry) bool { return e.ID == id && len(e.Reactions) == 0 })
	check(t, err)
}

func TestFailedProgramSaysSo(t *testing.T) {
	w := newWorld(t, practice.Options{}, with(config.Exec, func(h *config.Handler) {
		h.Command = []string{script(t, "echo 'no such light' >&2; exit 3")}
		h.OnError = "That did not work."
	}))
	if got := w.ask("lights on"); got != "That did not work." {
		t.Errorf("answered %q", got)
	}
	if e := w.await("The handler failed"); !strings.Contains(e.Cause, "no such light") {
		t.Errorf("the log says %q", e.Cause)
	}
}

// After a restart in the middle the program is asked again: at least once.
func TestProgramIsAskedAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, practice.Options{}, with(config.Exec, func(h *config.Handler) {
		h.Command = []string{script(t, `echo x >> "$1/asked"; if [ -e "$1/go" ]; then echo done; else sleep 60; fi`), dir}
	}))
	id, _ := w.post("alice", "work")
	w.await("Message received")
	for { // the program runs
		if _, err := os.Stat(filepath.Join(dir, "asked")); err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.FailNow()
		}
	}
	w.stop()
	check(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	w.start()
	if got := w.reply(id); got != "done" {
		t.Errorf("answered %q", got)
	}
	if asked, err := os.ReadFile(filepath.Join(dir, "asked")); err != nil || strings.Count(string(asked), "x") != 2 {
		t.Errorf("asked %q, %v", asked, err)
	}
}

func TestWebHookAnswers(t *testing.T) {
	const token, signing = "a-token-of-the-web-hook", "a-secret-of-the-web-hook"
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var doc struct {
			Version int    `json:"version"`
			Text    string `json:"text"`
			Author  struct{ ID string }
		}
		_ = json.Unmarshal(body, &doc)
		signed := talk.Verify(bridge.NewSecret(signing), r.Header.Get("X-Nextcloud-Talk-Random"), body, r.Header.Get("X-Nextcloud-Talk-Signature"))
		if r.Header.Get("Authorization") != "Bearer "+token || !signed || doc.Version != 1 {
			http.Error(rw, "who are you?", http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]string{"reply": doc.Author.ID + " said " + doc.Text})
	}))
	t.Cleanup(hook.Close)
	w := newWorld(t, practice.Options{}, with(config.HTTP, func(h *config.Handler) { h.URL = hook.URL + "/talk" }))
	check(t, w.secrets.Set(t.Context(), bridge.HandlerToken, bridge.NewSecret(token)))
	check(t, w.secrets.Set(t.Context(), bridge.HandlerSecret, bridge.NewSecret(signing)))
	w.app.Reload()
	w.await("The settings were read again")
	if got := w.ask("hello"); got != "alice said hello" {
		t.Errorf("answered %q", got)
	}
}

func TestModelAnswersAndRemembers(t *testing.T) {
	var heard []string
	model := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var ask struct {
			Messages []struct{ Role, Content string }
		}
		_ = json.NewDecoder(r.Body).Decode(&ask)
		var all []string
		for _, m := range ask.Messages {
			all = append(all, m.Role+": "+m.Content)
		}
		heard = append(heard, strings.Join(all, "\n"))
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, `data: {"choices":[{"delta":{"content":"!ping "}}]}`+"\n\n"+
			`data: {"choices":[{"delta":{"content":"is not a command"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(model.Close)
	w := newWorld(t, practice.Options{}, with(config.LLM, func(h *config.Handler) {
		h.BaseURL, h.Model, h.SystemPrompt = model.URL+"/v1", "llama3.2", "You are a parrot."
	}))
	if got := w.ask("my cat is called Mimi"); got != "!ping is not a command" {
		t.Errorf("answered %q", got)
	}
	w.stop()
	w.start()
	if got := w.ask("what is my cat called?"); got != "!ping is not a command" {
		t.Errorf("answered %q", got)
	}
	if len(heard) != 2 || !strings.Contains(heard[1], "You are a parrot.") || !strings.Contains(heard[1], "Mimi") || !strings.Contains(heard[1], "assistant: !ping is not a command") {
		t.Errorf("the model heard %q", heard)
	}
	if got := w.ask("!forget"); !strings.Contains(got, "forgotten") {
		t.Errorf("answered %q", got)
	}
	_ = w.ask("what is my cat called?")
	if last := heard[len(heard)-1]; strings.Contains(last, "Mimi") {
		t.Errorf("after !forget the model heard %q", last)
	}
}

// A message that another bot has not taken yet goes to where the settings say
// now, and is kept over a restart.
func TestRelayToAnotherBot(t *testing.T) {
	type call struct {
		body   string
		header http.Header
	}
	calls := make(chan call, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- call{string(body), r.Header}
	}))
	t.Cleanup(other.Close)
	w := newWorld(t, practice.Options{}, with(config.Relay, func(h *config.Handler) { h.URL = "http://" + testenv.FreeAddr(t) + "/talk" }))
	_, ok := w.post("alice", "is anybody there?")
	if !ok {
		t.Fatal("not acknowledged")
	}
	w.await("takes no messages")
	w.stop()
	w.start()
	w.await("takes no messages")
	w.cfg.Handler.URL = other.URL + "/talk"
	w.save()
	got := <-calls
	if !strings.Contains(got.body, "is anybody there?") || got.header.Get("X-Nextcloud-Talk-Backend") == "" ||
		!talk.Verify(bridge.NewSecret(key), got.header.Get("X-Nextcloud-Talk-Random"), []byte(got.body), got.header.Get("X-Nextcloud-Talk-Signature")) {
		t.Errorf("the other bot got %+v", got)
	}
}

func TestRoomsHaveTheirOwnHandlers(t *testing.T) {
	w := newWorld(t, practice.Options{}, func(c *config.Config) {
		parrot := config.DefaultHandler(config.Exec)
		parrot.Command = []string{script(t, "echo parrot")}
		parrot.Trigger, parrot.Names = config.OnMention, []string{"Polly"}
		c.Handlers = map[string]config.Handler{"parrot": parrot}
	})
	other := w.server.AddRoom("Zoo", "alice", "bob")
	closed := w.server.AddRoom("Office", "alice")
	for _, room := range []string{other, closed} {
		_, err := w.server.EnableBot(t.Context(), room, w.bot)
		check(t, err)
	}
	w.cfg.Rooms = map[string]config.Room{
		other:  {Enabled: true, Handler: "parrot", AllowedUsers: []string{"bob"}},
		closed: {},
	}
	w.save()
	w.await("The settings were read again")
	in := func(room, who, text string) string {
		t.Helper()
		posted, err := w.server.Post(t.Context(), room, who, text)
		check(t, err)
		reply, err := w.server.WaitReply(t.Context(), room, posted.ID)
		check(t, err)
		return reply.Text
	}
	if got := in(other, "bob", "Polly, hello"); got != "parrot" {
		t.Errorf("in the zoo: %q", got)
	}
	if got := in(w.room, "alice", "!ping"); got != "pong" {
		t.Errorf("in the kitchen: %q", got)
	}
	_, err := w.server.Post(t.Context(), other, "alice", "Polly, hello")
	check(t, err)
	w.await("is not among the allowed users")
	_, err = w.server.Post(t.Context(), closed, "alice", "!ping")
	check(t, err)
	if got := in(w.room, "alice", "!ping"); got != "pong" {
		t.Errorf("in the kitchen: %q", got)
	}
	for _, e := range w.server.Transcript(closed) {
		if e.Actor.Type == "bots" {
			t.Errorf("in the office it says %q", e.Text)
		}
	}
}
