package talk_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"perch/bridge"
	"perch/bridge/practice"
	"perch/bridge/talk"
)

// recordedDay is before every recording.
func recordedDay() time.Time { return time.Unix(1795354000, 0) }

func TestMissedAsRecorded(t *testing.T) {
	var asked url.Values
	s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/api/v1/chat/knzaftd5": func(w http.ResponseWriter, r *http.Request) {
		if asked = r.URL.Query(); r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer "+appToken {
			t.Errorf("asked by %s with %q", r.Method, r.Header.Get("Authorization"))
		}
		recorded(t, "chat_history").answer(w)
	}})
	before := time.Now()
	got, err := newClient(t, options(t, s.URL, "")).Missed(t.Context(), kitchen(), "22", recordedDay(), 10)
	if err != nil {
		t.Fatal(err)
	}
	message := func(id, text string, author bridge.Actor, sent int64) bridge.Message {
		return bridge.Message{
			Key: bridge.Key{Server: s.URL, Room: "knzaftd5", ID: id}, Kind: bridge.KindChat, Room: kitchen(),
			Author: author, Text: text, RawText: text, Markdown: true, SentAt: time.Unix(sent, 0).UTC(),
		}
	}
	alice := bridge.Actor{Type: "users", ID: "alice", Name: "alice"}
	want := []bridge.Message{ // 24 says that guests are allowed
		message("23", "line1\nline2 \"quoted\" \\back\\slash {not-a-param}\n```\ncode\n```", alice, 1795354587),
		message("25", "hi, I am a guest", bridge.Actor{Type: "guests", ID: "3fb1942f3653642cdebbc39dde4faceacb6099b9"}, 1795354589),
		message("31", "posted as the user", alice, 1795354783),
	}
	want[2].Ref = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(bridge.Message{}, "ReceivedAt")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, m := range got {
		if m.ReceivedAt.Before(before) {
			t.Errorf("message %s came at %s", m.Key.ID, m.ReceivedAt)
		}
	}
	if diff := cmp.Diff(url.Values{ // nobody is to notice
		"format": {"json"}, "lookIntoFuture": {"0"}, "limit": {"100"},
		"setReadMarker": {"0"}, "noStatusUpdate": {"1"}, "markNotificationsAsRead": {"0"},
	}, asked); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// What is fetched is what the webhooks said.
func TestMissedIsWhatWebhooksSaid(t *testing.T) {
	ctx := t.Context()
	s, err := practice.Start(ctx, practice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	var mu sync.Mutex
	var told []bridge.Message
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, err := talk.Decode(body, talk.Origin{Server: s.URL(), Nonce: "nonce", Backend: "backend", ReceivedAt: time.Now()})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Errorf("%v in %s", err, body)
		} else if m.Kind == bridge.KindChat {
			told = append(told, m)
		}
	}))
	t.Cleanup(hook.Close)
	room := s.AddRoom("Kitchen", "alice", "bob")
	secret := recordedSecret(t)
	bot, err := s.InstallBot(practice.Bot{Name: "Perch", URL: hook.URL, Secret: secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.EnableBot(ctx, room, bot); err != nil {
		t.Fatal(err)
	}
	asBot, err := talk.NewClient(talk.Options{BaseURL: s.URL(), Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(asBot.Close)

	must := func(r practice.Result, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	must(s.AllowGuests(ctx, room, "alice"))
	first := must(s.Post(ctx, room, "alice", "hello **bot** 👋 ünïcode @bob please look"))
	must(s.PostDraft(ctx, room, "bob", practice.Draft{Text: "quoting you", ReplyTo: first}))
	must(s.Post(ctx, room, "alice", `@all dinner at 7 @"bob"`))
	must(s.PostDraft(ctx, room, "alice", practice.Draft{Text: "psst", Silent: true}))
	must(s.Post(ctx, room, "guests/3fb1942f", "hi, I am a guest {not-a-param}"))
	if _, err = asBot.Send(ctx, bridge.Reply{Room: bridge.Room{Token: room}, Text: "I am the bot", ReplyTo: strconv.Itoa(first)}); err != nil {
		t.Fatal(err)
	}
	entry, err := s.WaitReply(ctx, room, first)
	if err != nil {
		t.Fatal(err)
	}
	must(s.React(ctx, room, "bob", first, "👍"))
	must(s.PostDraft(ctx, room, "alice", practice.Draft{Text: "and you, bot", ReplyTo: entry.ID}))
	file := must(s.ShareFile(ctx, room, "alice", practice.File{Name: "list.txt", MIMEType: "text/plain", Content: []byte("eggs"), Caption: "the list for @bob"}))
	must(s.ShareFile(ctx, room, "bob", practice.File{Name: "a.png", MIMEType: "image/png", Content: []byte("png")}))
	must(s.SharePoll(ctx, room, "alice", "Pizza?"))
	must(s.ShareLocation(ctx, room, "alice", "Berlin", 52.52, 13.405))
	must(s.PostDraft(ctx, room, "bob", practice.Draft{Text: "about the list", ReplyTo: file}))
	must(s.Rename(ctx, room, "alice", "Kitchen"))
	gone := must(s.Post(ctx, room, "bob", "a slip"))
	must(s.Delete(ctx, room, "bob", gone))

	c, err := talk.NewClient(talk.Options{BaseURL: s.URL(), AppToken: bridge.NewSecret(s.AppToken("bob"))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	got, err := c.Missed(ctx, bridge.Room{Token: room, Name: "Kitchen"}, "0", time.Now().Add(-time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	told = slices.DeleteFunc(told, func(m bridge.Message) bool { return m.Key.ID == strconv.Itoa(gone) })
	diff := cmp.Diff(told, got,
		cmpopts.IgnoreFields(bridge.Message{}, "Nonce", "Backend", "SentAt", "ReceivedAt"),
		// A file's path, link and rights are those of who asks.
		cmpopts.IgnoreFields(bridge.Attachment{}, "Path", "Link"),
		cmpopts.IgnoreMapEntries(func(field, _ string) bool { return field == "path" || field == "link" || field == "permissions" }),
	)
	if diff != "" || len(got) != 11 {
		t.Errorf("%d messages (-told by webhooks +fetched):\n%s", len(got), diff)
	}
	for _, m := range got {
		if m.Nonce != "" || m.Backend != "" || m.Webhook != nil || m.SentAt.IsZero() || m.ReceivedAt.IsZero() {
			t.Errorf("message %s: %+v", m.Key.ID, m)
		}
		for _, a := range m.Attachments {
			if a.Path != "" {
				t.Errorf("%s is at %s, which is not where its sender has it", a.Name, a.Path)
			}
		}
	}
	check := func(what string, want []string, after, room string, since time.Time, limit int) {
		t.Helper()
		got, err := c.Missed(ctx, bridge.Room{Token: room}, after, since, limit)
		var ids []string
		for _, m := range got {
			ids = append(ids, m.Key.ID)
		}
		if err != nil || !slices.Equal(ids, want) {
			t.Errorf("%s: %v, %v; want %v", what, ids, err, want)
		}
	}
	var all []string
	for _, m := range told {
		all = append(all, m.Key.ID)
	}
	hour := time.Now().Add(-time.Hour)
	check("the newest three", all[8:], "0", room, hour, 3)
	check("after the fourth", all[4:], all[3], room, hour, 100)
	check("after the last", nil, all[10], room, hour, 100)
	check("too old", nil, "0", room, time.Now().Add(time.Hour), 100)
}

// pages serves the messages 1 to last, as Talk does, and counts the requests.
func pages(t *testing.T, last int, message func(id int) string) (s *httptest.Server, requests *int) {
	t.Helper()
	requests = new(int)
	s = serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		*requests++
		from := last
		if known, err := strconv.Atoi(r.URL.Query().Get("lastKnownMessageId")); err == nil {
			from = known - 1
		}
		var page []string
		for id := from; id > 0 && id > from-100; id-- {
			page = append(page, message(id))
		}
		if len(page) == 0 {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("X-Chat-Last-Given", strconv.Itoa(max(1, from-99)))
		_, _ = fmt.Fprintf(w, `{"ocs":{"meta":{},"data":[%s]}}`, strings.Join(page, ","))
	}})
	return s, requests
}

func said(id int) string {
	return fmt.Sprintf(`{"id":%d,"actorType":"users","actorId":"alice","timestamp":%d,"message":"m%d","messageParameters":[],"systemMessage":"","messageType":"comment"}`,
		id, recordedDay().Unix()+int64(id), id)
}

func TestMissedPages(t *testing.T) {
	for _, tt := range []struct {
		name         string
		after        string
		since        time.Duration // after recordedDay
		limit        int
		first, count int
		requests     int
	}{
		{"one page", "950", 0, 200, 951, 50, 1},
		{"a whole page", "900", 0, 200, 901, 100, 1},
		{"two pages", "850", 0, 200, 851, 150, 2},
		{"no more than the limit", "0", 0, 120, 881, 120, 2},
		{"no more than three pages", "0", 0, 1000, 701, 300, 3},
		{"no older than asked for", "0", 980 * time.Second, 1000, 980, 21, 1},
		{"the second in which they were asked for counts", "0", 980*time.Second + 900*time.Millisecond, 1000, 980, 21, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, requests := pages(t, 1000, said)
			got, err := newClient(t, options(t, s.URL, "")).Missed(t.Context(), kitchen(), tt.after, recordedDay().Add(tt.since), tt.limit)
			if err != nil || len(got) != tt.count || *requests != tt.requests {
				t.Fatalf("%d messages in %d requests, %v", len(got), *requests, err)
			}
			for i, m := range got {
				if m.Key.ID != strconv.Itoa(tt.first+i) {
					t.Fatalf("message %d is %s, want %d", i, m.Key.ID, tt.first+i)
				}
			}
		})
	}
	t.Run("a server that goes round in circles", func(t *testing.T) {
		requests := 0
		s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("X-Chat-Last-Given", "50")
			_, _ = io.WriteString(w, `{"ocs":{"data":[`+said(51)+`]}}`)
		}})
		got, err := newClient(t, options(t, s.URL, "")).Missed(t.Context(), kitchen(), "1", recordedDay(), 1000)
		if err != nil || requests > 2 {
			t.Errorf("%d messages in %d requests, %v", len(got), requests, err)
		}
	})
}

func TestMissedIsWhatPeopleWrote(t *testing.T) {
	with := func(change string) string { return strings.TrimSuffix(said(7), "}") + "," + change + "}" }
	for _, tt := range []struct {
		name, message string
		taken         bool
	}{
		{"a comment", said(7), true},
		{"a voice message", with(`"messageType":"voice-message"`), true},
		{"a number as text", with(`"id":"7"`), true},
		{"of a guest", with(`"actorType":"guests"`), true},
		{"quoting what is gone", with(`"parent":{"id":3,"deleted":true}`), true},
		{"of a bot", with(`"actorType":"bots"`), false},
		{"of nobody", with(`"actorId":""`), false},
		{"of the system", with(`"messageType":"system","systemMessage":"user_added"`), false},
		{"a reaction", with(`"messageType":"system","systemMessage":"reaction"`), false},
		{"deleted", with(`"messageType":"comment_deleted","deleted":true`), false},
		{"deleted, by its mark alone", with(`"deleted":true`), false},
		{"a command", with(`"messageType":"command"`), false},
		{"of a type that is not known", with(`"messageType":"poem"`), false},
		{"without a number", with(`"id":"seven"`), false},
		{"no message", `"seven"`, false},
		{"odd parameters", with(`"messageParameters":"x"`), false},
		{"an odd time", with(`"timestamp":"yesterday"`), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{"/": always(200, "application/json", `{"ocs":{"data":[`+said(9)+`,`+tt.message+`,`+said(5)+`]}}`)})
			got, err := newClient(t, options(t, s.URL, "")).Missed(t.Context(), kitchen(), "1", recordedDay(), 10)
			var ids []string
			for _, m := range got {
				ids = append(ids, m.Key.ID)
			}
			want := []string{"5", "9"}
			if tt.taken {
				want = []string{"5", "7", "9"}
			}
			if err != nil || !slices.Equal(ids, want) {
				t.Errorf("%v, %v; want %v", ids, err, want)
			}
		})
	}
}

func TestMissedErrors(t *testing.T) {
	knows := func(status int) http.HandlerFunc {
		return always(status, "application/json", `{"ocs":{"meta":{},"data":{"id":"alice","displayname":"alice"}}}`)
	}
	refuses := func(status int) http.HandlerFunc {
		return always(status, "application/json", `{"ocs":{"meta":{"status":"failure"},"data":[]}}`)
	}
	for _, tt := range []struct {
		name       string
		chat, user http.HandlerFunc
		code       bridge.Code
		text, hint string
	}{
		{"a wrong token", refuses(404), refuses(401), bridge.CodeUnauthorized, "refused the app token", "perch secret set app_token"},
		{"not in the room", refuses(404), knows(200), bridge.CodeNotFound, "cannot read the conversation", "Add the user"},
		{"forbidden", refuses(403), knows(200), bridge.CodeNotFound, "cannot read the conversation", "Add the user"},
		{"in the lobby", refuses(412), knows(200), bridge.CodeNotFound, "cannot read the conversation", "Add the user"},
		{"throttled", refuses(429), knows(200), bridge.CodeThrottled, "no more requests", "bruteforce"},
		{"down", refuses(500), knows(200), bridge.CodeUnavailable, "failed with status 500", "log"},
		{"a web page", always(200, "text/html", page), knows(200), bridge.CodeUnavailable, "is not Nextcloud", "base_url"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/": tt.chat, "/ocs/v2.php/cloud/user": tt.user})
			_, err := newClient(t, options(t, s.URL, "")).Missed(t.Context(), kitchen(), "1", recordedDay(), 10)
			wantError(t, err, tt.code, tt.text, tt.hint)
		})
	}
	t.Run("before anything is asked", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/": func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }})
		c := newClient(t, options(t, s.URL, ""))
		for _, after := range []string{"", "-1", "derived-12", "99999999999999999999"} {
			_, err := c.Missed(t.Context(), kitchen(), after, recordedDay(), 10)
			wantError(t, err, bridge.CodeInvalid, "is not the number of a message", "")
		}
		_, err := c.Missed(t.Context(), bridge.Room{Token: "../x"}, "1", recordedDay(), 10)
		wantError(t, err, bridge.CodeNotFound, "cannot read the conversation", "Add the user")
	})
}

// Whatever a server answers, there are only typed errors and whole messages.
func FuzzMissed(f *testing.F) {
	f.Add([]byte(said(7)))
	f.Add([]byte(`{"id":7,"parent":{"id":1,"deleted":true}}`))
	var e exchange
	readJSON(f, "testdata/ocs/chat_context_file.json", &e)
	var envelope struct {
		OCS struct{ Data []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(e.Response.Body), &envelope); err != nil {
		f.Fatal(err)
	}
	for _, data := range envelope.OCS.Data {
		f.Add([]byte(data))
	}
	var answer []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(answer)
	}))
	f.Cleanup(s.Close)
	c, err := talk.NewClient(talk.Options{BaseURL: s.URL, AppToken: bridge.NewSecret("x")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		answer = slices.Concat([]byte(`{"ocs":{"data":[`), message, []byte(`]}}`))
		got, err := c.Missed(t.Context(), kitchen(), "1", time.Time{}, 10)
		if code := bridge.CodeOf(err); code == bridge.CodeInternal {
			t.Errorf("%v", err)
		}
		for _, m := range got {
			if id, err := strconv.Atoi(m.Key.ID); err != nil || id < 2 || m.Author.ID == "" || m.Author.Type == "" || m.Kind != bridge.KindChat {
				t.Errorf("%+v", m)
			}
			if _, err := json.Marshal(m); err != nil {
				t.Error(err)
			}
		}
	})
}
