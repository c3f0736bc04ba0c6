package practice

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// accounts plays what was done on the recorded server before an account polled
// it, and returns a server whose messages have the same ids and times.
func accounts(t *testing.T) (*Server, map[string]string) {
	t.Helper()
	ctx := t.Context()
	s := start(t, Options{BackendURL: "http://127.0.0.1:8780"})
	times := map[int]int64{}
	for _, m := range dataOf(t, read[recordedAnswer](t, "testdata/account/chat_poll_kinds.json").Response.Body) {
		id, at := stamp(t, m)
		times[id] = at
	}
	for _, m := range dataOf(t, read[recordedAnswer](t, "testdata/account/chat_poll_id_zero.json").Response.Body) {
		id, at := stamp(t, m)
		times[id] = at
	}
	times[1376] = 1795638897
	s.now = func() time.Time {
		if at := times[s.lastMessage]; at != 0 {
			return time.Unix(at, 0)
		}
		return time.Unix(1795638809, 0)
	}
	drawn := []string{"vm3nkays", "2yw95ecr"}
	s.random = func(n int, alphabet string) string {
		if n == 8 && len(drawn) > 0 {
			text := drawn[0]
			drawn = drawn[1:]
			return text
		}
		return randomText(n, alphabet)
	}
	for id, name := range map[string]string{"alice": "alice", "bob": "Bob", "owl": "Owl", "carol": "Carol", "mallory": "Mallory"} {
		s.AddUser(id, name)
	}
	for range 12 {
		s.rooms = append(s.rooms, &room{})
	}
	s.lastMessage, s.lastAttendee, s.lastPoll = 1266, 34, 1
	token := s.AddRoom("Kitchen", "alice", "bob", "owl")
	must := func(want int) func(Result, error) {
		return func(r Result, err error) {
			t.Helper()
			if err != nil || r.ID != want {
				t.Fatalf("stored as %d, %v; want %d", r.ID, err, want)
			}
		}
	}
	must(1270)(s.Post(ctx, token, "alice", "good morning"))
	must(1271)(s.Post(ctx, token, "alice", "is the ofen on?"))
	must(1272)(s.Post(ctx, token, "alice", `@owl and @"bob", who has the **keys**?`))
	must(1273)(s.PostDraft(ctx, token, "owl", Draft{
		Text: "I have them", ReplyTo: 1272, ReferenceID: "05aad0d1fb78e0efe93f95d93b42fb3bb00d8eb497cf682ca15cf71bd0fe8b6b",
	}))
	must(1274)(s.Post(ctx, token, "bob", "the shelf was a file"))
	must(1275)(s.Post(ctx, token, "bob", "this was a voice message"))
	must(1276)(s.SharePoll(ctx, token, "alice", "Pizza?"))
	must(1277)(s.Post(ctx, token, "bob", "a slip"))
	must(1278)(s.React(ctx, token, "bob", 1273, "👍"))
	must(1279)(s.Edit(ctx, token, "alice", 1271, "is the oven off?"))
	must(1280)(s.Delete(ctx, token, "bob", 1277))
	must(1281)(s.Rename(ctx, token, "alice", "Küche"))
	must(1282)(s.AddParticipant(ctx, token, "alice", "carol"))
	tokens := map[string]string{}
	for _, who := range []string{"alice", "owl", "carol", "mallory"} {
		tokens[who] = s.AppToken(who)
	}
	return s, tokens
}

func stamp(t *testing.T, message json.RawMessage) (id int, at int64) {
	t.Helper()
	var m struct {
		ID        int
		Timestamp int64
	}
	if err := json.Unmarshal(message, &m); err != nil {
		t.Fatal(err)
	}
	return m.ID, m.Timestamp
}

// same does what a recording did, and fails the test if the answer is another.
func same(t *testing.T, s *Server, tokens map[string]string, name string) {
	t.Helper()
	rec := read[recordedAnswer](t, "testdata/account/"+name+".json")
	status, header, body := replayRequest(t, s, rec, tokens)
	if status != rec.Response.Status {
		t.Errorf("%s: status %d, recorded %d", name, status, rec.Response.Status)
	}
	for _, header := range slices.Sorted(maps.Keys(header)) {
		if strings.HasPrefix(header, "X-Chat-") && rec.Response.Headers[header] == "" {
			t.Errorf("%s: %s is not recorded", name, header)
		}
	}
	for _, wanted := range []string{"Content-Type", "X-User-Id", "X-Chat-Last-Given", "X-Chat-Last-Common-Read"} {
		if want := rec.Response.Headers[wanted]; name != "chat_poll_removed_while_waiting" && header.Get(wanted) != want {
			t.Errorf("%s: %s is %q, recorded %q", name, wanted, header.Get(wanted), want)
		}
	}
	// What a picture and the clock decide.
	varying := regexp.MustCompile(`"(avatarVersion":"[^"]*|(id|attendeeId|lastActivity|lastReadMessage|lastCommonReadMessage|timestamp|firstLoginTimestamp|lastLoginTimestamp|lastLogin)":\d+|timezone":"[^"]*)|"(used|quota)":-?[\d{][^,]*`)
	want := rec.Response.Body
	if strings.HasPrefix(name, "room_one") || name == "user_after_login_v2" {
		body, want = varying.ReplaceAllString(body, "…"), varying.ReplaceAllString(want, "…")
	}
	if body != want {
		t.Errorf("%s (-recorded +answered):\n%s", name, cmp.Diff(want, body))
	}
}

func TestAccountAnswersAreThoseRecorded(t *testing.T) {
	s, tokens := accounts(t)
	same(t, s, tokens, "chat_poll_id_zero")
	same(t, s, tokens, "chat_poll_limit")
	same(t, s, tokens, "chat_poll_not_in_room")
	same(t, s, tokens, "chat_poll_bad_token")
	same(t, s, tokens, "rooms_bad_token")
	same(t, s, tokens, "rooms_modified_since_none")
	same(t, s, tokens, "room_one_to_one_unknown_user")
	same(t, s, tokens, "room_one_to_one_create")
	same(t, s, tokens, "room_one_to_one_again")
	same(t, s, tokens, "participants_not_in_room")
	same(t, s, tokens, "user_after_login_v2")

	want := map[int]string{}
	rec := read[recordedAnswer](t, "testdata/account/chat_poll_kinds.json")
	for _, m := range dataOf(t, rec.Response.Body) {
		id, _ := stamp(t, m)
		want[id] = string(m)
	}
	_, header, body := replayRequest(t, s, rec, tokens)
	if common := header.Get("X-Chat-Last-Common-Read"); common != "1273" {
		t.Errorf("all have read up to %s", common)
	}
	for _, m := range dataOf(t, body) {
		if id, _ := stamp(t, m); id != 1274 && id != 1275 && id <= 1282 {
			if diff := cmp.Diff(want[id], string(m)); diff != "" {
				t.Errorf("message %d (-recorded +answered):\n%s", id, diff)
			}
		}
	}
	// The third to be added had the number of somebody who was added in between.
	rec = read[recordedAnswer](t, "testdata/account/participants.json")
	number := regexp.MustCompile(`"attendeeId":\d+|"displayName":"[Aa]lice"`)
	if _, _, body = replayRequest(t, s, rec, tokens); number.ReplaceAllString(body, "") != number.ReplaceAllString(rec.Response.Body, "") {
		t.Errorf("participants (-recorded +answered):\n%s", cmp.Diff(rec.Response.Body, body))
	}
}

// Somebody who polls when they are removed is told so, and nothing after.
func TestPollEndsWithTheRemoval(t *testing.T) {
	s, tokens := accounts(t)
	s.mu.Lock()
	s.lastMessage = 1375
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		same(t, s, tokens, "chat_poll_removed_while_waiting")
	}()
	waits := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.polls > 0
	}
	for !waits() {
		<-s.Changed()
	}
	if _, err := s.RemoveParticipant(t.Context(), "vm3nkays", "alice", "carol"); err != nil {
		t.Fatal(err)
	}
	<-done
	same(t, s, tokens, "chat_poll_after_removal")
}

func TestReadMarkerIsSet(t *testing.T) {
	s, tokens := accounts(t)
	status, _, body := replayRequest(t, s, read[recordedAnswer](t, "testdata/account/chat_read_marker.json"), tokens)
	if status != http.StatusOK || s.LastRead("vm3nkays", "owl") != 1285 || !strings.Contains(body, `"lastReadMessage":1285`) {
		t.Errorf("status %d, read up to %d: %s", status, s.LastRead("vm3nkays", "owl"), body)
	}
}

func TestLoginInTheBrowser(t *testing.T) {
	s, tokens := accounts(t)
	rec := read[recordedAnswer](t, "testdata/account/login_v2_start_2.json")
	_, _, body := replayRequest(t, s, rec, tokens)
	var started struct {
		Poll  struct{ Token string }
		Login string
	}
	if err := json.Unmarshal([]byte(body), &started); err != nil {
		t.Fatal(err)
	}
	poll := func(name string) string {
		t.Helper()
		rec := read[recordedAnswer](t, "testdata/account/"+name+".json")
		form := url.Values{"token": {started.Poll.Token}}.Encode()
		rec.Request.Body, rec.Request.Path = &form, "/index.php/login/v2/poll"
		status, _, body := replayRequest(t, s, rec, tokens)
		if status != rec.Response.Status || status != http.StatusOK && body != rec.Response.Body {
			t.Errorf("%s: status %d with %s", name, status, body)
		}
		return body
	}
	poll("login_v2_poll_before_grant")
	link := s.URL() + strings.TrimPrefix(started.Login, s.backend)
	visit := func(method, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, link, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, _, page := do(t, req)
		return page
	}
	if page := visit(http.MethodGet, ""); !strings.Contains(page, `<option value="owl">Owl</option>`) || !strings.Contains(page, "grant Perch access") {
		t.Errorf("the page is %s", page)
	}
	poll("login_v2_poll_before_grant")
	if page := visit(http.MethodPost, "user=owl"); !strings.Contains(page, "Account connected") {
		t.Errorf("the page is %s", page)
	}
	var granted struct{ Server, LoginName, AppPassword string }
	if err := json.Unmarshal([]byte(poll("login_v2_poll_granted")), &granted); err != nil || granted.LoginName != "owl" || granted.Server != s.backend {
		t.Errorf("granted %+v, %v", granted, err)
	}
	poll("login_v2_poll_again")
	tokens["owl"] = granted.AppPassword
	same(t, s, tokens, "app_password_revoke")
	same(t, s, tokens, "app_password_revoke_again")
}

// A proxy ends a poll with a page of its own.
func TestPollThroughAProxy(t *testing.T) {
	s := start(t, Options{ProxyTimeout: time.Millisecond})
	room := s.AddRoom("Kitchen", "alice", "owl")
	status, body := ask(t, s, http.MethodGet, talk+"/v1/chat/"+room+"?lookIntoFuture=1&lastKnownMessageId="+strconv.Itoa(s.lastMessage), s.AppToken("owl"), "")
	if status != http.StatusGatewayTimeout || !strings.HasPrefix(body, "<html>") {
		t.Errorf("status %d with %s", status, body)
	}
}
