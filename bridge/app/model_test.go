package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// modelServer is a model server as OpenAI's is. It says what a test gives.
type modelServer struct {
	*httptest.Server

	mu    sync.Mutex
	asked []map[string]any
}

// models starts a model server. answer gets the request and its number, from 1.
func models(t *testing.T, answer func(w http.ResponseWriter, body map[string]any, n int)) *modelServer {
	t.Helper()
	s := &modelServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		s.mu.Lock()
		s.asked = append(s.asked, body)
		n := len(s.asked)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		answer(w, body, n)
	}))
	t.Cleanup(s.Close)
	return s
}

// requests returns what the server was asked.
func (s *modelServer) requests() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// sends sends a piece of an answer, at once.
func sends(w http.ResponseWriter, text string) {
	piece, _ := json.Marshal(map[string]any{"choices": []any{map[string]any{"delta": map[string]any{"content": text}}}})
	_, _ = fmt.Fprintf(w, "data: %s\n\n", piece)
	w.(http.Flusher).Flush()
}

// ends sends the end of an answer that used so many tokens.
func ends(w http.ResponseWriter, tokens int) {
	_, _ = fmt.Fprintf(w, `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}`+"\n\n"+
		`data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`+"\n\ndata: [DONE]\n\n", tokens-1, 1, tokens)
}

// answeredBy returns a change of the configuration: a model answers.
func answeredBy(s *modelServer, change ...func(h *config.Handler)) func(*config.Config) {
	return with(config.LLM, func(h *config.Handler) {
		h.BaseURL, h.Model = s.URL+"/v1", "llama3.2"
		for _, f := range change {
			f(h)
		}
	})
}

func TestLimitsOfMessagesAndTokens(t *testing.T) {
	model := models(t, func(w http.ResponseWriter, body map[string]any, _ int) {
		if options, _ := body["stream_options"].(map[string]any); options["include_usage"] != true {
			t.Errorf("the model is not asked for its tokens: %v", body)
		}
		sends(w, "yes")
		ends(w, 600)
	})
	w := newWorld(t, practice.Options{}, answeredBy(model), func(c *config.Config) {
		c.Talk.AllowedUsers = []string{"*"}
		c.Limits.UserTokens, c.Limits.RoomMessages = 1000, 6
	})
	w.ask("one?")
	w.await("The model used 600 tokens; for alice that makes 600 today")
	w.ask("two?")
	if e := w.await("The model used 600 tokens; for alice that makes 1200 today"); e.Count != 600 || e.Kind != bridge.EventTokens {
		t.Errorf("the log says %+v", e)
	}
	w.stop()
	w.start()
	if got := w.ask("three?"); !strings.Contains(got, "as much to you today as I may") {
		t.Errorf("answered %q", got)
	}
	if e := w.await("was not answered: 1200 tokens"); e.Kind != bridge.EventMessageTurnedAway || !strings.Contains(e.Hint.String(), "user_tokens") {
		t.Errorf("the log says %+v", e)
	}
	w.post("alice", "four?")
	w.await("was not answered: 1200 tokens")
	id, _ := w.post("bob", "and me?")
	if got := w.reply(id); got != "yes" {
		t.Errorf("bob is answered %q", got)
	}
	id, _ = w.post("bob", "again?")
	w.reply(id)
	id, _ = w.post("bob", "and again?")
	if got := w.reply(id); !strings.Contains(got, "asked 6 times here within an hour") {
		t.Errorf("bob is answered %q", got)
	}
	if n := len(model.requests()); n != 4 {
		t.Errorf("the model was asked %d times, want 4", n)
	}
	if all := w.texts(bridge.ActorBot); len(all) != 6 {
		t.Errorf("the bot says %q", all)
	}
}

// What was said in a thread is another conversation.
func TestModelRemembersByThread(t *testing.T) {
	model := models(t, func(w http.ResponseWriter, _ map[string]any, n int) {
		sends(w, fmt.Sprint("answer ", n))
		ends(w, 10)
	})
	w := newWorld(t, practice.Options{Talk23: true}, answeredBy(model))
	w.ask("in the room")
	say := func(d practice.Draft) int {
		t.Helper()
		r, err := w.server.PostDraft(t.Context(), w.room, "alice", d)
		check(t, err)
		w.reply(r.ID)
		return r.ID
	}
	thread := say(practice.Draft{Text: "about dinner", ThreadTitle: "Dinner"})
	say(practice.Draft{Text: "more about dinner", Thread: thread})
	w.ask("in the room again")
	say(practice.Draft{Text: "!forget", Thread: thread})
	say(practice.Draft{Text: "dinner?", Thread: thread})
	w.ask("and the room?")
	for n, want := range []string{
		"in the room",
		"about dinner",
		"about dinner|answer 2|more about dinner",
		"in the room|answer 1|in the room again",
		"dinner?",
		"in the room|answer 1|in the room again|answer 4|and the room?",
	} {
		var heard []string
		for _, m := range model.requests()[n]["messages"].([]any)[1:] {
			heard = append(heard, strings.TrimPrefix(m.(map[string]any)["content"].(string), "alice: "))
		}
		if got := strings.Join(heard, "|"); got != want {
			t.Errorf("question %d shows the model %q, want %q", n+1, got, want)
		}
	}
}

// growing is a world in which a model answers with growing answers. After each
// sentence it waits until the test lets it go on.
func growing(t *testing.T) (w *world, token string, next chan string) {
	t.Helper()
	next = make(chan string)
	model := models(t, func(w http.ResponseWriter, _ map[string]any, _ int) {
		for text := range next {
			if text == "" {
				ends(w, 10)
				return
			}
			sends(w, text)
		}
	})
	w, token = newAccount(t, answeredBy(model, func(h *config.Handler) { h.Stream, h.Trigger = true, config.OnAll }))
	t.Cleanup(sync.OnceFunc(func() { defer func() { _ = recover() }(); close(next) }))
	return w, token, next
}

// shows waits until the account has written text, and returns the message.
func (w *world) shows(text string) practice.Entry {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), testenv.Patience)
	defer cancel()
	e, err := w.server.Wait(ctx, w.room, 0, func(e practice.Entry) bool { return e.Actor.ID == "owl" && e.Text == text })
	if err != nil {
		w.t.Fatalf("%q does not stand in the room, but %q: %v", text, w.texts(bridge.ActorUser), err)
	}
	return e
}

func TestAnswerGrows(t *testing.T) {
	w, _, next := growing(t)
	w.post("alice", "tell me")
	next <- "This is how it begins. "
	first := w.shows("This is how it begins. […]")
	next <- "It goes on. "
	if e := w.shows("This is how it begins. It goes on. […]"); e.ID != first.ID {
		t.Errorf("it goes on in message %d, and began in %d", e.ID, first.ID)
	}
	next <- "It ends."
	next <- ""
	if e := w.shows("This is how it begins. It goes on. It ends."); e.ID != first.ID || e.ReplyTo == 0 {
		t.Errorf("it ends in %+v, and began in %d", e, first.ID)
	}
	w.await("Reply sent")
	w.post("alice", "and again")
	next <- "This begins too. "
	again := w.shows("This begins too. […]")
	check(t, errOf(w.server.Delete(t.Context(), w.room, "owl", again.ID)))
	next <- "Now it is whole."
	next <- ""
	if e := w.shows("This begins too. Now it is whole."); e.ID == again.ID {
		t.Errorf("the deleted message is there again: %+v", e)
	}
	entries, err := w.server.Wait(t.Context(), w.room, 0, func(e practice.Entry) bool { return e.ID == first.ID && e.Edited })
	if err != nil || len(w.texts(bridge.ActorUser)) != 5 {
		t.Errorf("the room has %q (%+v, %v)", w.texts(bridge.ActorUser), entries, err)
	}
}

// A process that is killed in the middle of an answer leaves a beginning that
// says so, and the next one makes it whole.
func TestKilledWhileAnAnswerGrows(t *testing.T) {
	w, token, next := growing(t)
	w.stop()
	cmd := processUntil(t, w.home, token, "Logged in as")
	w.post("alice", "tell me")
	next <- "This is how it begins. "
	first := w.shows("This is how it begins. […]")
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	close(next) // for the request of the killed process
	model := models(t, func(w http.ResponseWriter, _ map[string]any, _ int) {
		sends(w, "It is short.")
		ends(w, 10)
	})
	w.cfg.Handler.BaseURL = model.URL + "/v1"
	w.app = nil
	w.save()
	w.start()
	if e := w.shows("It is short."); e.ID != first.ID {
		t.Errorf("it ends in %+v, and began in %d", e, first.ID)
	}
	if all := w.texts(bridge.ActorUser); len(all) != 2 {
		t.Errorf("the room has %q", all)
	}
}

// A process that is killed while a tool works answers after the next start, and
// the tool ends with it.
func TestKilledWhileAToolWorks(t *testing.T) {
	dir := t.TempDir()
	tool := script(t, `cd "$1"
if [ -e go ]; then echo done; exit; fi
echo $$ > started
while ! [ -e go ]; do sleep 0.05; done
touch finished`)
	model := models(t, func(w http.ResponseWriter, body map[string]any, _ int) {
		messages := body["messages"].([]any)
		if last := messages[len(messages)-1].(map[string]any); last["role"] == "tool" {
			sends(w, "The tool says: "+last["content"].(string))
			ends(w, 10)
			return
		}
		_, _ = fmt.Fprint(w, `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"work","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`+"\n\ndata: [DONE]\n\n")
	})
	w, token := newAccount(t, answeredBy(model, func(h *config.Handler) {
		h.Trigger = config.OnAll
		h.Tools = []config.Tool{{Name: "work", About: "Works", Command: []string{tool, dir}}}
	}))
	w.stop()
	cmd := processUntil(t, w.home, token, "Logged in as")
	w.post("alice", "work")
	for began := time.Now(); !exists(filepath.Join(dir, "started")); {
		if time.Since(began) > testenv.Patience {
			t.Fatal("the tool was not called")
		}
		time.Sleep(10 * time.Millisecond)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	w.app = nil
	w.start()
	check(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	w.shows("The tool says: done")
	if e := w.await("The model used the tool"); e.Kind != bridge.EventTool || e.Duration <= 0 {
		t.Errorf("the log says %+v", e)
	}
	if exists(filepath.Join(dir, "finished")) || len(w.texts(bridge.ActorUser)) != 2 {
		t.Errorf("the first call went on, or the room has %q", w.texts(bridge.ActorUser))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
