package practice

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEncodeWritesAsPHP(t *testing.T) {
	for _, c := range []struct {
		name    string
		value   any
		hexTags bool
		want    string
	}{
		{"empty array", object{}.array(), false, `[]`},
		{"empty object", object{}, false, `{}`},
		{"order of fields", object{{"b", 1}, {"a", nil}, {"c", list{true, -2}}}, false, `{"b":1,"a":null,"c":[true,-2]}`},
		{"slash and quotes", `a/b "c" \d`, false, `"a\/b \"c\" \\d"`},
		{"controls", "\b\f\n\r\t\x00\x1f\x7f", false, `"\b\f\n\r\t\u0000\u001f` + "\x7f" + `"`},
		{"beyond ASCII", "ü€👋\u2028", false, `"\u00fc\u20ac\ud83d\udc4b\u2028"`},
		{"tags in webhooks", "<b>&'", false, `"<b>&'"`},
		{"tags in answers", "<b>&'", true, `"\u003Cb\u003E&'"`},
		{"broken UTF-8", "a\xffb", false, `"a\ufffdb"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, string(encode(c.value, c.hexTags))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzEncodeRoundTrips(f *testing.F) {
	for _, seed := range []string{"", "hello **bot** 👋", `K\u00fcche "<b>"`, "\x00/\x7f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(encode(s, true), &got); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); strings.ReplaceAll(got, "\uFFFD", "") != strings.ReplaceAll(want, "\uFFFD", "") {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestMentions(t *testing.T) {
	s := start(t, Options{})
	s.AddUser("bob", "Bob")
	s.AddUser("bobby", "Bobby")
	s.AddUser("ann lee", "Ann")
	r := s.room(s.AddRoom("Kitchen", "alice", "bob"))
	for text, want := range map[string]string{
		"@bob hi":          "{mention-user1} hi",
		`hi @"bob"`:        "hi {mention-user1}",
		"@bob @bobby @bob": "{mention-user2} {mention-user1} {mention-user2}",
		`@"ann lee" @all`:  "{mention-user1} {mention-call1}",
		"@nobody":          "@nobody",
		"mail@bob":         "mail@bob",
		"@":                "@",
		"{mention-user1}":  "{mention-user1}",
	} {
		if got, _ := s.mentions(r, text, nil); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestReactionIsOneEmoji(t *testing.T) {
	for _, yes := range []string{"👍", "👍🏽", "❤️", "❤", "👀", "🇩🇪", "1️⃣", "👨‍👩‍👧", "🏳️‍🌈", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "✅", "⏳"} {
		if !emojiPattern.MatchString(yes) {
			t.Errorf("%q is refused", yes)
		}
	}
	for _, no := range []string{"", "a", "abc", "1", "👍👍", "👍 ", "\u200d", "🇩", "é"} {
		if emojiPattern.MatchString(no) {
			t.Errorf("%q is taken", no)
		}
	}
}

func TestInstallRefusesAsOcc(t *testing.T) {
	s := start(t, Options{})
	first := Bot{Name: "Perch", URL: "http://127.0.0.1:1/a", Secret: secret}
	if _, err := s.InstallBot(first); err != nil {
		t.Fatal(err)
	}
	other := func(change func(*Bot)) Bot {
		b := Bot{Name: "Other", URL: "http://127.0.0.1:1/b", Secret: secret + "b"}
		change(&b)
		return b
	}
	const length = "The provided secret is too short (min. 40 chars, max. 128 chars)"
	for _, c := range []struct {
		name string
		bot  Bot
		want OccError
	}{
		{"same URL", other(func(b *Bot) { b.URL = first.URL }), OccError{2, "Bot with the same URL is already registered"}},
		{"same secret", other(func(b *Bot) { b.Secret = first.Secret }), OccError{3, "Bot with the same secret is already registered"}},
		{"39 characters", other(func(b *Bot) { b.Secret = strings.Repeat("x", 39) }), OccError{1, length}},
		{"129 characters", other(func(b *Bot) { b.Secret = strings.Repeat("x", 129) }), OccError{1, length}},
		{"no http", other(func(b *Bot) { b.URL = "ftp://x" }), OccError{1, "The provided URL is not a valid URL"}},
		{"no name", other(func(b *Bot) { b.Name = "" }), OccError{1, "The provided name is too short or too long (min. 1 char, max. 64 chars)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.InstallBot(c.bot)
			got, ok := errors.AsType[*OccError](err)
			if !ok || *got != c.want {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	if err := s.UninstallBot(first.URL); err != nil {
		t.Fatal(err)
	}
	if id, err := s.InstallBot(first); err != nil || id != 2 {
		t.Errorf("installed again as %d, %v; want a new id", id, err)
	}
}

func TestPostWaitsForTheBotAndTellsItsAnswer(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusAccepted, http.StatusUnauthorized, http.StatusServiceUnavailable} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			s, room, id := kitchen(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			r, err := s.Post(t.Context(), room, "alice", "!ping")
			if err != nil {
				t.Fatal(err)
			}
			want := []Delivery{{Bot: id, Type: "Create", Status: status}}
			if diff := cmp.Diff(want, r.Deliveries); diff != "" {
				t.Error(diff)
			}
			if ok := status == http.StatusOK || status == http.StatusAccepted; r.Deliveries[0].OK() != ok {
				t.Errorf("OK is %v", !ok)
			}
		})
	}
}

func TestPostGivesUpOnABotThatHangs(t *testing.T) {
	var hang atomic.Bool
	s, room, _ := kitchen(t, Options{WebhookTimeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
			<-r.Context().Done()
		}
	})
	hang.Store(true)
	r, err := s.Post(t.Context(), room, "alice", "!ping")
	if err != nil {
		t.Fatal(err)
	}
	if d := r.Deliveries[0]; d.Status != 0 || !errors.Is(d.Err, context.DeadlineExceeded) {
		t.Errorf("status %d, %v; want a timeout", d.Status, d.Err)
	}
	if got := s.Transcript(room); got[len(got)-1].Text != "!ping" {
		t.Errorf("the message is lost: %v", got)
	}
}

func TestABotMayAnswerWithinItsWebhook(t *testing.T) {
	var s *Server
	var room string
	answer := func() int { return say(t, s, secret, room, "pong") }
	s, room, _ = kitchen(t, Options{}, func(_ http.ResponseWriter, r *http.Request) {
		var w struct{ Type string }
		if _ = json.NewDecoder(r.Body).Decode(&w); w.Type == "Create" {
			answer()
		}
	})
	posted, err := s.Post(t.Context(), room, "alice", "!ping")
	if err != nil || !posted.Deliveries[0].OK() {
		t.Fatalf("%v, %v", posted, err)
	}
	if got := s.Transcript(room); got[len(got)-1].Text != "pong" {
		t.Errorf("the last entry is %+v", got[len(got)-1])
	}
}

func TestPostToABotThatIsDown(t *testing.T) {
	s := start(t, Options{})
	room := s.AddRoom("Kitchen", "alice")
	gone := httptest.NewServer(http.HandlerFunc(silent))
	gone.Close()
	id, err := s.InstallBot(Bot{Name: "Down", URL: gone.URL, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := s.EnableBot(t.Context(), room, id)
	if err != nil || len(deliveries) != 1 || deliveries[0].Err == nil || deliveries[0].Status != 0 {
		t.Errorf("%v, %v; want one with an error", deliveries, err)
	}
}

func TestWhoIsToldWhat(t *testing.T) {
	var mu sync.Mutex
	var told []string
	s, room, id := kitchen(t, Options{}, func(_ http.ResponseWriter, r *http.Request) {
		var w struct {
			Type   string
			Object struct{ Name string }
		}
		_ = json.NewDecoder(r.Body).Decode(&w)
		mu.Lock()
		defer mu.Unlock()
		told = append(told, strings.TrimSpace(w.Type+" "+w.Object.Name))
	})
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a bot without the webhook feature is told")
	}))
	t.Cleanup(plain.Close)
	other, err := s.InstallBot(Bot{Name: "Mute", URL: plain.URL, Secret: secret + "2", Features: FeatureResponse})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.EnableBot(t.Context(), room, other); err != nil {
		t.Fatal(err)
	}
	posted, err := s.Post(t.Context(), room, "bob", "hi")
	if err != nil {
		t.Fatal(err)
	}
	if status := say(t, s, secret, room, "I am a bot"); status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	if _, err := s.React(t.Context(), room, "alice", posted.ID, "👍"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.React(t.Context(), room, "alice", posted.ID, "👍"); err != nil || r.Deliveries != nil {
		t.Errorf("reacting again: %v, %v", r, err)
	}
	if _, err := s.Unreact(t.Context(), room, "alice", posted.ID, "👍"); err != nil {
		t.Fatal(err)
	}
	if d, err := s.EnableBot(t.Context(), room, id); err != nil || d != nil {
		t.Errorf("enabling again: %v, %v", d, err)
	}
	if _, err := s.DisableBot(t.Context(), room, id); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Post(t.Context(), room, "bob", "anybody?"); err != nil || r.Deliveries != nil {
		t.Errorf("posting without bots: %v, %v", r, err)
	}
	want := []string{
		"Join Kitchen", "Create message", "Like", "Activity reaction_revoked", "Undo", "Leave Kitchen",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}

// The order that a client which posts as a user must survive.
func TestWebhookOfAUsersPostComesBeforeItsAnswer(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	s, room, _ := kitchen(t, Options{}, func(_ http.ResponseWriter, r *http.Request) {
		var w struct{ Type, Object any }
		_ = json.NewDecoder(r.Body).Decode(&w)
		if w.Type == "Create" {
			note("webhook")
		}
	})
	status, body := ask(t, s, http.MethodPost, talk+"/v1/chat/"+room, s.AppToken("alice"), `{"message":" pong ","referenceId":"r1"}`)
	note("answer")
	if status != http.StatusCreated || !strings.Contains(body, `"message":"pong"`) {
		t.Errorf("status %d, %s", status, body)
	}
	if diff := cmp.Diff([]string{"webhook", "answer"}, order); diff != "" {
		t.Error(diff)
	}
	e, err := s.Wait(t.Context(), room, 0, func(e Entry) bool { return e.ReferenceID == "r1" })
	if err != nil || e.Text != "pong" || e.Actor.ID != "alice" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestTalk23TellsOfFilesAsMessages(t *testing.T) {
	var body struct {
		Type   string
		Actor  map[string]string
		Object map[string]string
	}
	s, room, _ := kitchen(t, Options{Talk23: true}, func(_ http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&body)
	})
	_, err := s.ShareFile(t.Context(), room, "alice", File{Name: "a.txt", MIMEType: "text/plain", Content: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	if body.Type != "Create" || body.Object["name"] != "message" || body.Actor["talkParticipantType"] != "1" {
		t.Errorf("told %+v", body)
	}
}

func TestActionsThatAreRefused(t *testing.T) {
	s, room, _ := kitchen(t, Options{MaxLength: 10}, silent)
	posted, err := s.Post(t.Context(), room, "alice", "1234567890")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, c := range []struct {
		name string
		do   func() (Result, error)
		want error
	}{
		{"empty", func() (Result, error) { return s.Post(ctx, room, "alice", " \n") }, errEmpty},
		{"too long", func() (Result, error) { return s.Post(ctx, room, "alice", "ü2345678901") }, errTooLong},
		{"stranger", func() (Result, error) { return s.Post(ctx, room, "carol", "hi") }, errNotInRoom},
		{"guest of a closed room", func() (Result, error) { return s.Post(ctx, room, "guests/1", "hi") }, errNotInRoom},
		{"no room", func() (Result, error) { return s.Post(ctx, "nosuch", "alice", "hi") }, errNoRoom},
		{"no parent", func() (Result, error) { return s.PostDraft(ctx, room, "bob", Draft{Text: "hi", ReplyTo: 999}) }, errNoParent},
		{"not an emoji", func() (Result, error) { return s.React(ctx, room, "bob", posted.ID, "abc") }, errReaction},
		{"a reaction that is not there", func() (Result, error) { return s.Unreact(ctx, room, "bob", posted.ID, "👍") }, errNoMessage},
		{"edit of another's", func() (Result, error) { return s.Edit(ctx, room, "bob", posted.ID, "x") }, errNotAllowed},
		{"delete of another's", func() (Result, error) { return s.Delete(ctx, room, "bob", posted.ID) }, errNotAllowed},
		{"rename by a member", func() (Result, error) { return s.Rename(ctx, room, "bob", "x") }, errNotAllowed},
		{"a huge file", func() (Result, error) {
			return s.ShareFile(ctx, room, "bob", File{Content: make([]byte, maxFile+1)})
		}, errTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.do(); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestTranscript(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	ctx := t.Context()
	posted, err := s.PostDraft(ctx, room, "alice", Draft{Text: "hi @bob", Silent: true})
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := askAsBot(t, s, secret, http.MethodPost, room+"/message", "pong",
		`{"message":"pong","replyTo":`+strconv.Itoa(posted.ID)+`,"referenceId":"abc"}`); status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	if _, err := s.React(ctx, room, "bob", posted.ID, "👍"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Edit(ctx, room, "alice", posted.ID, "hello"); err != nil {
		t.Fatal(err)
	}
	alice, bob := Actor{"users", "alice", "alice"}, Actor{"users", "bob", "bob"}
	perch := Actor{"bots", "bot-" + s.bots[0].hash(), "Perch (Bot)"}
	want := []Entry{
		{ID: 1, Actor: alice, System: "conversation_created", Text: "alice created the conversation"},
		{ID: 2, Actor: alice, System: "user_added", Text: "alice added bob"},
		{ID: 3, Actor: alice, Text: "hello", Silent: true, Edited: true, Reactions: []Reaction{{"👍", bob}}},
		{ID: 4, Actor: perch, Text: "pong", ReplyTo: 3, ReferenceID: "abc"},
		{ID: 5, Actor: bob, System: "reaction", Text: "👍", ReplyTo: 3},
		{ID: 6, Actor: alice, System: "message_edited", Text: "alice edited a message", ReplyTo: 3},
	}
	got := s.Transcript(room)
	for i := range got {
		if got[i].Time.IsZero() {
			t.Errorf("entry %d has no time", got[i].ID)
		}
		got[i].Time = time.Time{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.Transcript("nosuch"); got != nil {
		t.Errorf("no room has %v", got)
	}
}

func TestWaitReplyFindsWhatStandsThereAndWhatComes(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	posted, err := s.Post(t.Context(), room, "alice", "!ping")
	if err != nil {
		t.Fatal(err)
	}
	type waited struct {
		entry Entry
		err   error
	}
	done := make(chan waited, 1)
	go func() {
		e, err := s.WaitReply(t.Context(), room, posted.ID)
		done <- waited{e, err}
	}()
	for _, d := range []Draft{{Text: "no reply"}, {Text: "pong", ReplyTo: posted.ID}, {Text: "late", ReplyTo: posted.ID}} {
		if _, err := s.PostDraft(t.Context(), room, "bob", d); err != nil {
			t.Fatal(err)
		}
	}
	if w := <-done; w.err != nil || w.entry.Text != "pong" && w.entry.Text != "late" {
		t.Errorf("%+v, %v", w.entry, w.err)
	}
	if e, err := s.WaitReply(t.Context(), room, posted.ID); err != nil || e.Text != "pong" {
		t.Errorf("%+v, %v; want the first", e, err)
	}
	first := s.Transcript(room)[4]
	e, err := s.Wait(t.Context(), room, first.ID, func(e Entry) bool { return e.ReplyTo == posted.ID })
	if err != nil || first.Text != "pong" || e.Text != "late" {
		t.Errorf("after %q came %q, %v; want the second reply", first.Text, e.Text, err)
	}
	if _, err := s.React(t.Context(), room, "bob", posted.ID, "👍"); err != nil {
		t.Fatal(err)
	}
	if e, err := s.WaitReaction(t.Context(), room, posted.ID); err != nil || e.Text != "👍" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestWaitEndsWithItsContextAndWithTheServer(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(Entry) bool { return false }
	if _, err := s.Wait(ctx, room, 0, never); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	if _, err := s.WaitRequest(ctx, 0, func(Request) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Wait(t.Context(), room, 0, never)
		done <- err
	}()
	s.Close()
	if err := <-done; !errors.Is(err, errClosed) {
		t.Errorf("%v, want closed", err)
	}
	if _, err := s.Post(t.Context(), room, "alice", "hi"); !errors.Is(err, errClosed) {
		t.Errorf("%v, want closed", err)
	}
}

func TestEndOfTheContextClosesTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-s.done
	if status, _ := ask(t, s, http.MethodGet, "/status.php", "", ""); status != 0 {
		t.Errorf("status %d after the end", status)
	}
}

func TestStartListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		if s, err := Start(t.Context(), Options{Addr: addr}); err == nil {
			s.Close()
			t.Errorf("listens on %q", addr)
		}
	}
	s := start(t, Options{Addr: "localhost:0"})
	if status, _ := ask(t, s, http.MethodGet, "/status.php", "", ""); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if busy, err := Start(t.Context(), Options{Addr: strings.TrimPrefix(s.URL(), "http://")}); err == nil {
		busy.Close()
		t.Error("two servers listen on one port")
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	s := start(t, Options{})
	room := s.AddRoom("Kitchen", "alice")
	last := 0
	for range keepMessages + 10 {
		r, err := s.PostDraft(t.Context(), room, "alice", Draft{Text: "hi", ReplyTo: last})
		if err != nil {
			t.Fatal(err)
		}
		last = r.ID
	}
	got := s.Transcript(room)
	if len(got) != keepMessages || got[len(got)-1].ID != last {
		t.Errorf("%d messages up to %d, want %d up to %d", len(got), got[len(got)-1].ID, keepMessages, last)
	}
	chain := 0
	for m := s.room(room).messages[0]; m.parent != nil; m = m.parent {
		chain++
	}
	if chain > 1 {
		t.Errorf("%d messages are kept by replies", chain)
	}
	for range keepRequests + 10 {
		s.log(&request{Request: httptest.NewRequest(http.MethodGet, "/", nil)}, http.StatusOK, "")
	}
	if got := s.Requests(); len(got) != keepRequests || got[0].Number != 11 {
		t.Errorf("%d requests from %d", len(got), got[0].Number)
	}
}

func TestManyAtOnce(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				r, err := s.Post(t.Context(), room, "alice", "hi @bob")
				if err != nil || !r.Deliveries[0].OK() {
					t.Errorf("%v, %v", r, err)
					return
				}
				_, _ = s.React(t.Context(), room, "bob", r.ID, "👍")
				_ = s.Transcript(room)
			}
		})
	}
	all.Wait()
	if n := len(s.Transcript(room)); n != 2+8*5*2 {
		t.Errorf("%d entries", n)
	}
}
