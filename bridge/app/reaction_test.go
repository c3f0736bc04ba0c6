package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// sent waits until the account has written text, and knows that it has.
func (w *world) sent(text string) practice.Entry {
	w.t.Helper()
	e := w.shows(text)
	w.awaitSent(text)
	return e
}

// awaitSent waits until it is written down that a reply stands in the room.
func (w *world) awaitSent(part string) {
	w.t.Helper()
	for e := w.await("Reply sent"); !strings.Contains(e.Text, part); e = w.await("Reply sent") {
	}
}

func (w *world) react(who string, to practice.Entry, emoji string) {
	w.t.Helper()
	check(w.t, errOf(w.server.React(w.t.Context(), w.room, who, to.ID, emoji)))
}

func TestReactionsToAnAnswer(t *testing.T) {
	model := models(t, func(w http.ResponseWriter, body map[string]any, n int) {
		messages := body["messages"].([]any)
		last := messages[len(messages)-1].(map[string]any)["content"].(string)
		sends(w, fmt.Sprintf("%d: %s", n, last))
		ends(w, 10)
	})
	w, _ := newAccount(t, answeredBy(model, func(h *config.Handler) { h.Trigger = config.OnAll }))
	check(t, errOf(w.server.AddParticipant(t.Context(), w.room, "alice", "mallory")))
	asked, _ := w.post("alice", "hello")
	first := w.sent("1: alice: hello")
	w.react("mallory", first, "❌") // who is not answered
	w.react("alice", first, "👍")   // which means nothing here
	w.react("alice", first, "🔁")
	again := w.sent("2: alice: hello")
	if again.ReplyTo != asked {
		t.Errorf("the second answer is %+v, of the message %d", again, asked)
	}
	w.react("alice", again, "🔁")
	third := w.sent("3: alice: hello")
	w.react("alice", again, "❌️")
	_, err := w.server.Wait(t.Context(), w.room, 0, func(e practice.Entry) bool { return e.ID == again.ID && e.Deleted })
	check(t, err)
	w.react("alice", third, "❌")
	_, err = w.server.Wait(t.Context(), w.room, 0, func(e practice.Entry) bool { return e.ID == third.ID && e.Deleted })
	check(t, err)
	if n := len(model.requests()); n != 3 {
		t.Errorf("the model was asked %d times, want 3", n)
	}
	for _, e := range w.server.Transcript(w.room) {
		if e.Deleted && e.ID == first.ID {
			t.Errorf("the first answer is gone: %+v", e)
		}
	}
}

func TestProgramHearsOfReactions(t *testing.T) {
	w, _ := newAccount(t, with(config.Exec, func(h *config.Handler) {
		h.Trigger, h.OnReaction = config.OnAll, true
		h.Command = []string{script(t, `in=$(cat)
case "$in" in
*'"reaction":"'*) echo "$in" | sed 's/.*"id":"\([a-z]*\)","name".*"reaction":"\([^"]*\)".*"in_reply_to":{.*"text":"\([^"]*\)".*/\1 \2 on: \3/' ;;
*) echo "First answer." ;;
esac`)}
	}))
	w.post("alice", "hello")
	e := w.sent("First answer.")
	w.react("alice", e, "🎉")
	got := w.shows("alice 🎉 on: First answer.")
	if got.ReplyTo != e.ID {
		t.Errorf("the reaction is answered by %+v", got)
	}
}

// What a web hook asks is answered with one of its choices, and not with another.
func TestWebHookAsks(t *testing.T) {
	var bodies []string
	hook := webHook(t, func(body string) string {
		bodies = append(bodies, body)
		if strings.Contains(body, `"reaction":"👍"`) {
			return `{"reply": "It is done."}`
		}
		return `{"ask": "Shall I?", "choices": ["👍", "👎"]}`
	})
	w, _ := newAccount(t, with(config.HTTP, func(h *config.Handler) { h.Trigger, h.URL = config.OnAll, hook }))
	w.post("alice", "open the door")
	question := w.sent("Shall I?")
	w.react("alice", question, "🎉")
	w.react("alice", question, "👍")
	w.shows("It is done.")
	if len(bodies) != 2 {
		t.Errorf("the web hook got %q", bodies)
	}
}

// A reaction that was not handled when the process ended is handled after the next
// start, once.
func TestReactionOutlivesTheProcess(t *testing.T) {
	w, _ := newAccount(t)
	w.post("alice", "@owl echo hello")
	e := w.sent("hello")
	w.stop()
	check(t, errOf(w.server.React(t.Context(), w.room, "alice", e.ID, "🔁")))
	w.start()
	_, err := w.server.Wait(t.Context(), w.room, e.ID, func(again practice.Entry) bool { return again.Text == "hello" && again.Actor.ID == "owl" })
	check(t, err)
	if all := w.texts(bridge.ActorUser); len(all) != 3 {
		t.Errorf("the room has %q", all)
	}
}

// webHook starts a web hook that answers with JSON.
func webHook(t *testing.T, answer func(body string) string) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer(string(body)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What a tool changes is done when the person who asked agrees, once, with what
// they were shown.
func TestToolThatIsAgreedTo(t *testing.T) {
	dir := t.TempDir()
	model := models(t, func(w http.ResponseWriter, body map[string]any, _ int) {
		messages := body["messages"].([]any)
		last := messages[len(messages)-1].(map[string]any)
		if last["role"] == "tool" {
			sends(w, "I have asked you.")
			ends(w, 10)
			return
		}
		_, _ = fmt.Fprint(w, `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"door","arguments":"{\"door\":\"`+"```"+`front\"}"}}]},"finish_reason":"tool_calls"}]}`+"\n\ndata: [DONE]\n\n")
	})
	w, _ := newAccount(t, answeredBy(model, func(h *config.Handler) {
		h.Trigger = config.OnAll
		h.Tools = []config.Tool{{Name: "door", About: "Opens a door", Confirm: true, Command: []string{script(t, `cat >> "$1"; echo "It is open."`), dir + "/opened"}}}
	}), func(c *config.Config) { c.Talk.AllowedUsers = []string{"alice", "bob"} })
	check(t, errOf(w.server.AddParticipant(t.Context(), w.room, "alice", "bob")))
	opened := func() int {
		data, _ := os.ReadFile(dir + "/opened")
		return strings.Count(string(data), `"tool":"door"`)
	}
	ask := func() practice.Entry {
		t.Helper()
		id, _ := w.post("alice", "open the door")
		e, err := w.server.Wait(t.Context(), w.room, id, func(e practice.Entry) bool { return strings.Contains(e.Text, "May I use **door**") })
		check(t, err)
		w.awaitSent("May I use")
		return e
	}
	e := ask()
	if want := "```json\n{\"door\":\"\\u0060\\u0060\\u0060front\"}\n```"; !strings.HasSuffix(e.Text, want) || opened() != 0 {
		t.Errorf("asked %q, opened %d times", e.Text, opened())
	}
	w.react("bob", e, "👍") // who has not asked for it
	w.react("alice", e, "🎉")
	w.react("alice", e, "👍")
	w.shows("It is open.")
	check(t, errOf(w.server.Unreact(t.Context(), w.room, "alice", e.ID, "👍")))
	w.react("alice", e, "👍")
	second := ask()
	w.react("alice", second, "👎")
	w.shows("All right, I leave it.")
	if n := opened(); n != 1 {
		t.Errorf("opened %d times, want once", n)
	}

	w.cfg.Talk.Receive = config.ByWebhook
	w.cfg.Webhook.Listen = testenv.FreeAddr(t)
	w.cfg.Handler.Names = []string{"Perch"}
	_, problems, err := config.Parse("c.toml", must(w.cfg.Bytes()))
	if err != nil || !strings.Contains(fmt.Sprint(problems), "is not offered to the model") {
		t.Errorf("for a bot: %v %v", problems, err)
	}
}

func must(data []byte, _ error) []byte { return data }
