package talk_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"perch/bridge"
	"perch/bridge/talk"
)

// playing answers with a recording what was asked as recorded, whatever else
// was asked for.
func playing(t *testing.T, name string) http.HandlerFunc {
	t.Helper()
	e := recorded(t, name)
	want, err := url.Parse(e.Request.Path)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != e.Request.Method || r.URL.Path != want.Path {
			t.Errorf("asked %s %s, recorded %s %s", r.Method, r.URL.Path, e.Request.Method, want.Path)
		}
		for key, value := range want.Query() {
			if got := r.URL.Query().Get(key); got != value[0] {
				t.Errorf("%s: asked for %s=%q, recorded %q", name, key, got, value[0])
			}
		}
		e.answer(w)
	}
}

func kueche() bridge.Room { return bridge.Room{Token: "vm3nkays", Name: "Küche"} }

func TestPollAsRecorded(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/api/v1/chat/vm3nkays": playing(t, "chat_poll_kinds")})
	chat, err := newClient(t, options(t, s.URL, "")).Poll(t.Context(), kueche(), 1270, 30*time.Second)
	if err != nil || chat.Last != 1284 {
		t.Fatalf("up to %d, %v", chat.Last, err)
	}
	type told struct{ ID, Kind, Event, Author, Text, Attachment, Answers string }
	var got []told
	for _, m := range chat.Messages {
		was := told{m.Key.ID, string(m.Kind), m.Event, m.Author.ID, m.Text, "", ""}
		if len(m.Attachments) > 0 {
			was.Attachment = m.Attachments[0].Type + " " + m.Attachments[0].Name
		}
		if m.InReplyTo != nil {
			was.Answers = m.InReplyTo.Key.ID + " of " + m.InReplyTo.Author.ID
		}
		got = append(got, was)
	}
	want := []told{
		{"1271", "chat", "", "alice", "is the oven off?", "", ""},
		{"1272", "chat", "", "alice", "@Owl and @Bob, who has the **keys**?", "", ""},
		{"1273", "chat", "", "owl", "I have them", "", "1272 of alice"},
		{"1274", "chat", "", "bob", "the shelf, @Owl", "file shelf-3eff2c.png", ""},
		{"1275", "chat", "", "bob", "voice-3eff2c.mp3", "file voice-3eff2c.mp3", ""},
		{"1276", "chat", "", "alice", "Pizza?", "talk-poll Pizza?", ""},
		{"1277", "system", "comment_deleted", "bob", "Message deleted by author", "", ""},
		{"1273", "reaction", "👍", "owl", "I have them", "", ""},
		{"1279", "system", "message_edited", "alice", "alice edited a message", "", ""},
		{"1280", "system", "message_deleted", "bob", "Bob deleted a message", "", ""},
		{"1281", "system", "conversation_renamed", "alice", `alice renamed the conversation from "Kitchen" to "Küche"`, "", ""},
		{"1282", "system", "user_added", "alice", "alice added Carol", "", ""},
		{"1283", "system", "user_removed", "carol", "Carol left the conversation", "", ""},
		{"1284", "system", "user_added", "alice", "alice added Carol", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	mention := chat.Messages[1]
	if p := mention.Parameters["mention-user2"]; p["id"] != "owl" || p["type"] != "user" || mention.RawText != "{mention-user2} and {mention-user1}, who has the **keys**?" {
		t.Errorf("the mention is %v in %q", p, mention.RawText)
	}
	if own := chat.Messages[2]; own.Ref != "05aad0d1fb78e0efe93f95d93b42fb3bb00d8eb497cf682ca15cf71bd0fe8b6b" || !own.SentAt.Equal(time.Unix(1795638793, 0)) {
		t.Errorf("the own message has the reference %q and is of %s", own.Ref, own.SentAt)
	}
}

func TestPollAnswers(t *testing.T) {
	for _, tt := range []struct {
		recording string
		after     int64
		wait      time.Duration
		want      []string
		last      int64
		code      bridge.Code
		user      string // what the server says of the token
	}{
		{"chat_poll_new_message", 1284, 30 * time.Second, []string{"1285"}, 1285, "", ""},
		{"chat_poll_timeout", 1285, 2 * time.Second, nil, 0, "", ""},
		{"chat_poll_id_zero", 0, time.Second, []string{"1267", "1268", "1269"}, 1269, "", ""},
		{"chat_poll_removed_while_waiting", 1375, 6 * time.Second, []string{"1376"}, 1376, "", ""},
		{"chat_poll_after_removal", 1375, time.Second, nil, 0, bridge.CodeNotFound, "user_after_login_v2"},
		{"chat_poll_not_in_room", 1285, time.Second, nil, 0, bridge.CodeNotFound, "user_after_login_v2"},
		{"chat_poll_bad_token", 1375, time.Second, nil, 0, bridge.CodeUnauthorized, "user_bad_token"},
	} {
		t.Run(tt.recording, func(t *testing.T) {
			e := recorded(t, tt.recording)
			asked, err := url.Parse(e.Request.Path)
			if err != nil {
				t.Fatal(err)
			}
			handlers := map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/api/v1/chat/": func(w http.ResponseWriter, r *http.Request) {
				for _, key := range []string{"lookIntoFuture", "timeout", "lastKnownMessageId", "setReadMarker", "noStatusUpdate", "format"} {
					if got, want := r.URL.Query().Get(key), asked.Query().Get(key); got != want {
						t.Errorf("asked for %s=%q, recorded %q", key, got, want)
					}
				}
				e.answer(w)
			}}
			if tt.user != "" {
				handlers["/ocs/v2.php/cloud/user"] = playing(t, tt.user)
			}
			s := serve(t, handlers)
			chat, err := newClient(t, options(t, s.URL, "")).Poll(t.Context(), kueche(), tt.after, tt.wait)
			var ids []string
			for _, m := range chat.Messages {
				ids = append(ids, m.Key.ID)
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" || chat.Last != tt.last || bridge.CodeOf(err) != tt.code {
				t.Errorf("up to %d, %v, messages (-want +got):\n%s", chat.Last, err, diff)
			}
		})
	}
}

// A server that tells what is known already does not make a loop.
func TestPollNeverGoesBack(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Chat-Last-Given", "5")
		_, _ = io.WriteString(w, `{"ocs":{"data":[`+said(4)+`,`+said(5)+`]}}`)
	}})
	chat, err := newClient(t, options(t, s.URL, "")).Poll(t.Context(), kueche(), 9, 0)
	if err != nil || chat.Last != 0 || len(chat.Messages) != 0 {
		t.Errorf("%+v, %v", chat, err)
	}
}

func TestLatest(t *testing.T) {
	s, _ := pages(t, 30, said)
	chat, err := newClient(t, options(t, s.URL, "")).Latest(t.Context(), kueche())
	if err != nil || chat.Last != 30 || len(chat.Messages) != 30 || chat.Messages[0].Key.ID != "1" {
		t.Errorf("%d messages up to %d, %v", len(chat.Messages), chat.Last, err)
	}
}

func TestConversationsAsRecorded(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/api/v4/room": func(w http.ResponseWriter, r *http.Request) {
		name := map[string]string{"": "rooms_full", "1795638807": "rooms_modified_since", "1795638814": "rooms_modified_since_none"}[r.URL.Query().Get("modifiedSince")]
		playing(t, name)(w, r)
	}})
	c := newClient(t, options(t, s.URL, ""))
	all, err := c.Conversations(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bridge.ConversationKind{}
	for _, c := range all.All {
		kinds[c.Room.Name] = c.Kind
	}
	want := map[string]bridge.ConversationKind{
		"Küche": bridge.KindGroup, "Note to self": bridge.KindNotes, "Let's get started!": bridge.KindGenerated, "Talk updates ✅": bridge.KindGenerated,
	}
	if diff := cmp.Diff(want, kinds, cmpopts.IgnoreMapEntries(func(name string, _ bridge.ConversationKind) bool { return want[name] == "" })); diff != "" {
		t.Errorf("(-want +got):\n%s\nof %v", diff, kinds)
	}
	changed, err := c.Conversations(t.Context(), 1795638807)
	if err != nil || changed.Before != 1795638809 || !changed.Now.Equal(time.Unix(1795638809, 0)) || len(changed.All) == 0 {
		t.Fatalf("%+v, %v", changed, err)
	}
	if first := changed.All[0]; first.Room.Token != "wpg8mdd6" || first.Last != 1343 || !first.Active.Equal(time.Unix(1795638807, 0)) || !first.Kind.Direct() {
		t.Errorf("%+v", first)
	}
	none, err := c.Conversations(t.Context(), 1795638814)
	if err != nil || none.Before != 1795638809 || len(none.All) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestConversationsErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		code   bridge.Code
		retry  time.Duration
	}{
		{"a wrong token", playing(t, "rooms_bad_token"), bridge.CodeUnauthorized, 0},
		{"throttled", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, bridge.CodeThrottled, 7 * time.Second},
		{"maintenance", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.Header().Set("X-Nextcloud-Maintenance-Mode", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, bridge.CodeUnavailable, 2 * time.Minute},
		{"not a list", always(200, "application/json", `{"ocs":{"data":{"token":"x"}}}`), bridge.CodeUnavailable, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{"/": tt.answer})
			_, err := newClient(t, options(t, s.URL, "")).Conversations(t.Context(), 0)
			e, ok := err.(*bridge.Error) //nolint:errorlint // it is not wrapped
			if !ok || e.Code != tt.code || e.RetryAfter != tt.retry {
				t.Errorf("%#v", err)
			}
		})
	}
}

func TestLoginAsRecorded(t *testing.T) {
	polls := []string{"login_v2_poll_before_grant", "login_v2_poll_granted", "login_v2_poll_again"}
	var asked atomic.Int32
	s := serve(t, map[string]http.HandlerFunc{
		"/index.php/login/v2": playing(t, "login_v2_start_2"), // which answers with addresses without index.php
		"/login/v2/poll": func(w http.ResponseWriter, r *http.Request) {
			e := recorded(t, polls[min(int(asked.Add(1)), len(polls))-1])
			body, _ := io.ReadAll(r.Body)
			if string(body) != *e.Request.Body || r.Header.Get("Content-Type") != e.Request.Headers["Content-Type"] || r.Header.Get("Authorization") != "" {
				t.Errorf("asked %q with %v", body, r.Header)
			}
			e.answer(w)
		},
	})
	c, err := talk.NewClient(talk.Options{BaseURL: s.URL, UserAgent: "Perch"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	login, err := c.StartLogin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "http://127.0.0.1:8780/login/v2/flow/"; len(login.Link) < len(want)+64 || login.Link[:len(want)] != want {
		t.Errorf("the link is %s", login.Link)
	}
	password, err := login.Wait(t.Context())
	if err != nil || len(password.Reveal()) != 72 || asked.Load() != 2 {
		t.Errorf("%d characters after %d polls, %v", len(password.Reveal()), asked.Load(), err)
	}
}

func TestLoginErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		text   string
	}{
		{"a web page", always(200, "text/html", page), "offers no log-in"},
		{"not Nextcloud", always(404, "text/html", page), "offers no log-in"},
		{"a link to somewhere odd", always(200, "application/json", `{"poll":{"token":"x","endpoint":"http://x/login/v2/poll"},"login":"javascript:alert(1)"}`), "offers no log-in"},
		{"down", always(500, "text/plain", ""), "failed with status 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{"/": tt.answer})
			_, err := newClient(t, options(t, s.URL, "")).StartLogin(t.Context())
			wantError(t, err, bridge.CodeUnavailable, tt.text, "extclo")
		})
	}
	t.Run("given up", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/index.php/login/v2" {
				recorded(t, "login_v2_start_2").answer(w)
				return
			}
			recorded(t, "login_v2_poll_before_grant").answer(w)
		}))
		t.Cleanup(s.Close)
		ctx, cancel := context.WithCancel(t.Context())
		login, err := newClient(t, options(t, s.URL, "")).StartLogin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := login.Wait(ctx); err == nil {
			t.Error("it was granted")
		}
	})
}

func TestRevoke(t *testing.T) {
	for _, name := range []string{"app_password_revoke", "app_password_revoke_again"} {
		s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/core/apppassword": playing(t, name)})
		if err := newClient(t, options(t, s.URL, "")).Revoke(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := serve(t, map[string]http.HandlerFunc{"/": always(500, "text/plain", "")})
	if err := newClient(t, options(t, s.URL, "")).Revoke(t.Context()); bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("a server that is down: %v", err)
	}
}

// Whatever a server answers, there are only typed errors and whole messages.
func FuzzPoll(f *testing.F) {
	for _, name := range []string{"chat_poll_kinds", "chat_poll_own_file", "chat_poll_removed_while_waiting"} {
		var e exchange
		readJSON(f, "testdata/ocs/"+name+".json", &e)
		f.Add([]byte(e.Response.Body), int64(1270))
	}
	var answer []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Chat-Last-Given", strconv.FormatInt(1<<40, 10))
		_, _ = w.Write(answer)
	}))
	f.Cleanup(s.Close)
	c, err := talk.NewClient(talk.Options{BaseURL: s.URL, AppToken: bridge.NewSecret("x")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, after int64) {
		answer = body
		chat, err := c.Poll(t.Context(), kueche(), after, 0)
		if bridge.CodeOf(err) == bridge.CodeInternal {
			t.Errorf("%v", err)
		}
		for _, m := range chat.Messages {
			if m.Kind == "" || m.Author.ID == "" || m.Author.Type == "" {
				t.Errorf("%+v", m)
			}
			if _, err := json.Marshal(m); err != nil {
				t.Error(err)
			}
		}
		if _, err = c.Conversations(t.Context(), after); bridge.CodeOf(err) == bridge.CodeInternal {
			t.Errorf("%v", err)
		}
	})
}
