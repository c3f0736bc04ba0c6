package practice

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Edits are answered as recorded: chat_edit.json, chat_edit_too_old.json and others.
func TestEditsAreAnsweredAsRecorded(t *testing.T) {
	var late atomic.Int64
	s, err := Start(t.Context(), Options{Now: func() time.Time { return time.Now().Add(time.Duration(late.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	room := s.AddRoom("Kitchen", "alice", "owl")
	post := func(who, text string) int {
		t.Helper()
		r, err := s.Post(t.Context(), room, who, text)
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	own, others, deleted := post("owl", "firrst"), post("alice", "hers"), post("owl", "gone")
	if _, err := s.Delete(t.Context(), room, "owl", deleted); err != nil {
		t.Fatal(err)
	}
	edit := func(id int, text, token string) (int, string) {
		t.Helper()
		body, _ := json.Marshal(map[string]string{"message": text})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
			s.URL()+"/ocs/v2.php/apps/spreed/api/v1/chat/"+room+"/"+strconv.Itoa(id)+"?format=json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("OCS-APIRequest", "true")
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		status, _, answer := do(t, req)
		return status, answer
	}
	token := s.AppToken("owl")
	for _, tt := range []struct {
		name   string
		id     int
		text   string
		token  string
		status int
		part   string
	}{
		{"own", own, "first", token, 200, `"message":"You edited a message"`},
		{"empty", own, " ", token, 400, `{"error":"message"}`},
		{"too long", own, strings.Repeat("x", 32001), token, 413, `{"error":"message"}`},
		{"others'", others, "not mine", token, 403, `{"error":"permission"}`},
		{"deleted", deleted, "x", token, 405, `{"error":"message"}`},
		{"unknown", 999999999, "x", token, 404, `{"error":"message"}`},
		{"a wrong token", own, "x", "nope", 404, `"data":[]`},
	} {
		if status, answer := edit(tt.id, tt.text, tt.token); status != tt.status || !strings.Contains(answer, tt.part) {
			t.Errorf("%s: %d %s, want %d with %s", tt.name, status, answer, tt.status, tt.part)
		}
	}
	for id, want := range map[int]int{others: 403, deleted: 405, 999999999: 404} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.URL()+"/ocs/v2.php/apps/spreed/api/v1/chat/"+room+"/"+strconv.Itoa(id)+"?format=json", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("OCS-APIRequest", "true")
		req.Header.Set("Authorization", "Bearer "+token)
		if status, _, answer := do(t, req); status != want {
			t.Errorf("delete of %d: %d %s, want %d", id, status, answer, want)
		}
	}
	late.Store(int64(25 * time.Hour))
	if status, answer := edit(own, "x", token); status != 400 || !strings.Contains(answer, `{"error":"age"}`) {
		t.Errorf("too old: %d %s", status, answer)
	}
	bot, err := s.InstallBot(Bot{Name: "Perch", URL: "http://127.0.0.1:9/", Secret: strings.Repeat("0", 64)})
	if err != nil {
		t.Fatal(err)
	}
	late.Store(0)
	if _, err := s.EnableBot(t.Context(), room, bot); err != nil {
		t.Fatal(err)
	}
	if status, _ := edit(own, "second", token); status != 202 {
		t.Errorf("where a bot is: %d, want 202", status)
	}
	for _, e := range s.Transcript(room) {
		if e.ID == own && (e.Text != "second" || !e.Edited) {
			t.Errorf("the room has %+v", e)
		}
	}
}

func TestBruteForceProtection(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	for i := range wrongSignatures {
		if status := say(t, s, "wrong", room, "hi"); status != http.StatusUnauthorized {
			t.Fatalf("wrong signature %d: status %d", i+1, status)
		}
	}
	if status := say(t, s, secret, room, "hi"); status != http.StatusTooManyRequests {
		t.Errorf("a right signature after ten wrong ones: status %d", status)
	}
	if status, _ := askAsBot(t, s, secret, http.MethodPost, room+"/reaction/1", "👍", `{"reaction":"👍"}`); status != http.StatusTooManyRequests {
		t.Errorf("a reaction: status %d", status)
	}
	if status := say(t, s, secret, room, ""); status != http.StatusTooManyRequests {
		t.Errorf("an empty message: status %d", status)
	}
	if status, _ := ask(t, s, http.MethodPost, talk+"/v1/chat/"+room, s.AppToken("alice"), `{"message":"hi"}`); status != http.StatusCreated {
		t.Errorf("a user from the same address: status %d", status)
	}
	if _, body := ask(t, s, http.MethodGet, "/ocs/v2.php/cloud/capabilities", "", ""); !strings.Contains(body, `"bruteforce":{"delay":25000`) {
		t.Error("the capabilities do not tell of the delay")
	}
	s.ResetBruteforce()
	if status := say(t, s, secret, room, "hi"); status != http.StatusCreated {
		t.Errorf("after the reset: status %d", status)
	}
}

func TestBotAPIRefusals(t *testing.T) {
	s, room, _ := kitchen(t, Options{MaxLength: 5}, silent)
	elsewhere := s.AddRoom("Elsewhere", "alice")
	mute, err := s.InstallBot(Bot{Name: "Mute", URL: "http://127.0.0.1:1/", Secret: secret + "mute", Features: FeatureWebhook})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.EnableBot(t.Context(), room, mute); err != nil {
		t.Fatal(err)
	}
	post := func(change func(*http.Request)) *http.Request {
		req := botRequest(t, s, secret, http.MethodPost, room+"/message", "hi", `{"message":"hi"}`)
		change(req)
		return req
	}
	for _, c := range []struct {
		name string
		req  *http.Request
		want int
	}{
		{"right", post(func(*http.Request) {}), http.StatusCreated},
		{"upper-case signature", post(func(r *http.Request) {
			const name = "X-Nextcloud-Talk-Bot-Signature"
			r.Header.Set(name, strings.ToUpper(r.Header.Get(name)))
		}), http.StatusCreated},
		{"as a form", botRequestForm(t, s, room), http.StatusCreated},
		{"short random", post(func(r *http.Request) { r.Header.Set("X-Nextcloud-Talk-Bot-Random", "short") }), http.StatusBadRequest},
		{"no signature", post(func(r *http.Request) { r.Header.Del("X-Nextcloud-Talk-Bot-Signature") }), http.StatusBadRequest},
		{"not enabled there", botRequest(t, s, secret, http.MethodPost, elsewhere+"/message", "hi", `{"message":"hi"}`), http.StatusUnauthorized},
		{"without the response feature", botRequest(t, s, secret+"mute", http.MethodPost, room+"/message", "hi", `{"message":"hi"}`), http.StatusUnauthorized},
		{"unknown room, wrong secret", botRequest(t, s, "wrong", http.MethodPost, "nosuch/message", "hi", `{"message":"hi"}`), http.StatusUnauthorized},
		{"unknown message, wrong secret", botRequest(t, s, "wrong", http.MethodPost, room+"/reaction/999", "👍", `{"reaction":"👍"}`), http.StatusUnauthorized},
		{"too long", botRequest(t, s, secret, http.MethodPost, room+"/message", "123456", `{"message":"123456"}`), http.StatusRequestEntityTooLarge},
		{"five emoji", botRequest(t, s, secret, http.MethodPost, room+"/message", "😀😀😀😀😀", `{"message":"😀😀😀😀😀"}`), http.StatusCreated},
		{"a huge body", botRequest(t, s, secret, http.MethodPost, room+"/message", "x", `{"message":"`+strings.Repeat("x", maxBody)+`"}`), http.StatusRequestEntityTooLarge},
		{"no JSON", botRequest(t, s, secret, http.MethodPost, room+"/message", "", `{`), http.StatusBadRequest},
		{"a number as message", botRequest(t, s, secret, http.MethodPost, room+"/message", "", `{"message":1}`), http.StatusBadRequest},
		{"reaction to a system message", botRequest(t, s, secret, http.MethodPost, room+"/reaction/1", "👍", `{"reaction":"👍"}`), http.StatusBadRequest},
		{"removal of no reaction", botRequest(t, s, secret, http.MethodDelete, room+"/reaction/3", "👍", `{"reaction":"👍"}`), http.StatusNotFound},
		{"no message id", botRequest(t, s, secret, http.MethodPost, room+"/reaction/99999999999999999999", "👍", `{"reaction":"👍"}`), http.StatusNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, _, body := do(t, c.req); status != c.want {
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			}
		})
	}
}

func botRequestForm(t *testing.T, s *Server, room string) *http.Request {
	t.Helper()
	req := botRequest(t, s, secret, http.MethodPost, room+"/message", "hi", url.Values{"message": {"hi"}}.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func TestFaults(t *testing.T) {
	const capabilities = "/ocs/v2.php/cloud/capabilities"
	for _, c := range []struct {
		name   string
		fault  Fault
		want   int // for a bot's message; 0: the connection is closed
		stored bool
		header map[string]string
		body   string // part of it
	}{
		{name: "none", want: 201, stored: true},
		{name: "refuse", fault: Fault{Kind: FaultRefuse}, want: 401},
		{name: "throttle", fault: Fault{Kind: FaultThrottle}, want: 429, header: map[string]string{"Retry-After": ""}, body: "Reached maximum delay"},
		{name: "throttle with a time", fault: Fault{Kind: FaultThrottle, RetryAfter: 1500 * time.Millisecond}, want: 429, header: map[string]string{"Retry-After": "2"}},
		{name: "delay", fault: Fault{Kind: FaultDelay, Delay: time.Millisecond}, want: 201, stored: true},
		{name: "drop before", fault: Fault{Kind: FaultDropBefore}, want: 0},
		{name: "drop answer", fault: Fault{Kind: FaultDropAnswer}, want: 0, stored: true},
		{name: "500", fault: Fault{Kind: FaultStatus}, want: 500, body: `"statuscode":996`},
		{name: "502", fault: Fault{Kind: FaultStatus, Status: 502}, want: 502, body: `"statuscode":502`},
		{name: "maintenance", fault: Fault{Kind: FaultMaintenance}, want: 503, header: map[string]string{"X-Nextcloud-Maintenance-Mode": "1"}},
		{name: "proxy page", fault: Fault{Kind: FaultProxyPage}, want: 502, header: map[string]string{"Content-Type": "text/html"}, body: "<center>nginx</center>"},
		{name: "proxy page as 200", fault: Fault{Kind: FaultProxyPage, Status: 200}, want: 200, body: "<center>nginx</center>"},
		{name: "redirect", fault: Fault{Kind: FaultRedirect}, want: 302},
		{name: "gateway time-out", fault: Fault{Kind: FaultTimeout}, want: 504, stored: true, body: "<title>504 Gateway Timeout</title>"},
		{name: "time-out at Cloudflare", fault: Fault{Kind: FaultTimeout, Status: 524}, want: 524, stored: true, body: "<title>524</title>"},
		{name: "warning", fault: Fault{Kind: FaultWarning}, want: 201, stored: true, body: `<br />` + "\n" + `{"ocs":{"meta":{"status":"ok"`},
		{name: "failure as 200", fault: Fault{Kind: FaultOCS}, want: 200, body: `"status":"failure","statuscode":404`},
		{name: "portal", fault: Fault{Kind: FaultPortal}, want: 302, body: "302 Found"},
		{name: "challenge", fault: Fault{Kind: FaultChallenge}, want: 200, body: "<title>Making sure you&#39;re not a bot!</title>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, room, _ := kitchen(t, Options{}, silent)
			c.fault.On, c.fault.Times = EndpointBot, 1
			if c.fault.Kind != "" {
				s.SetFaults(c.fault)
			}
			before := len(s.Transcript(room))
			if status, _ := ask(t, s, http.MethodGet, capabilities, "", ""); status != http.StatusOK {
				t.Errorf("another endpoint: status %d", status)
			}
			status, header, body := do(t, botRequest(t, s, secret, http.MethodPost, room+"/message", "hi", `{"message":"hi"}`))
			if status != c.want || status != 0 && !strings.Contains(body, c.body) {
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			}
			for name, value := range c.header {
				if header.Get(name) != value {
					t.Errorf("%s is %q, want %q", name, header.Get(name), value)
				}
			}
			if stored := len(s.Transcript(room)) > before; stored != c.stored {
				t.Errorf("stored: %v", stored)
			}
			r, err := s.WaitRequest(t.Context(), 0, func(r Request) bool { return strings.HasSuffix(r.Path, "/message") })
			if err != nil || r.Status != c.want || r.Fault != c.fault.Kind || r.Method != http.MethodPost {
				t.Errorf("logged %+v, %v", r, err)
			}
			if status := say(t, s, secret, room, "again"); status != http.StatusCreated {
				t.Errorf("after the fault: status %d", status)
			}
		})
	}
}

func TestDroppedAnswerOfAUserIsToldToBots(t *testing.T) {
	told := make(chan string, 10)
	s, room, _ := kitchen(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("X-Nextcloud-Talk-Backend") })
	<-told // Join
	s.SetFaults(Fault{Kind: FaultDropAnswer, On: EndpointChat})
	if status, _ := ask(t, s, http.MethodPost, talk+"/v1/chat/"+room, s.AppToken("alice"), `{"message":"hi"}`); status != 0 {
		t.Errorf("status %d, want none", status)
	}
	if backend := <-told; backend != s.URL()+"/" {
		t.Errorf("backend %q", backend)
	}
	s.SetFaults()
	if status, _ := ask(t, s, http.MethodPost, talk+"/v1/chat/"+room, s.AppToken("alice"), `{"message":"hi"}`); status != http.StatusCreated {
		t.Errorf("after the fault: status %d", status)
	}
}

func TestRefusedUser(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	token := s.AppToken("alice")
	check := func(what string, chat, user int) {
		t.Helper()
		if status, _ := ask(t, s, http.MethodPost, talk+"/v1/chat/"+room, token, `{"message":"hi"}`); status != chat {
			t.Errorf("%s: chat status %d, want %d", what, status, chat)
		}
		if status, _ := ask(t, s, http.MethodGet, "/ocs/v2.php/cloud/user", token, ""); status != user {
			t.Errorf("%s: user status %d, want %d", what, status, user)
		}
	}
	check("right", 201, 200)
	s.SetFaults(Fault{Kind: FaultRefuse})
	check("fault", 404, 401)
	s.SetFaults()
	s.RevokeAppToken(token)
	check("revoked", 404, 401)
}

func TestUsersAreKeptToTheirRooms(t *testing.T) {
	s, room, id := kitchen(t, Options{}, silent)
	s.AddUser("carol", "Carol")
	file, err := s.ShareFile(t.Context(), room, "alice", File{Name: "a.txt", MIMEType: "text/plain", Content: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	alice, bob, carol := s.AppToken("alice"), s.AppToken("bob"), s.AppToken("carol")
	chat, bots := talk+"/v1/chat/"+room, talk+"/v1/bot/"+room
	for _, c := range []struct {
		name, method, path, token string
		want                      int
	}{
		{"history of a stranger", http.MethodGet, chat + "?lookIntoFuture=0", carol, 404},
		{"history of nobody", http.MethodGet, chat + "?lookIntoFuture=0", "", 404},
		{"context of a stranger", http.MethodGet, chat + "/" + strconv.Itoa(file.ID) + "/context", carol, 404},
		{"reaction of a stranger", http.MethodGet, talk + "/v1/reaction/" + room + "/" + strconv.Itoa(file.ID), carol, 404},
		{"rooms of nobody", http.MethodGet, talk + "/v4/room", "", 401},
		{"bots for a member", http.MethodGet, bots, bob, 403},
		{"bots for a stranger", http.MethodGet, bots, carol, 404},
		{"bots for nobody", http.MethodGet, bots, "", 401},
		{"all bots for nobody", http.MethodGet, talk + "/v1/bot/admin", "", 401},
		{"disabling", http.MethodDelete, bots + "/" + strconv.Itoa(id), alice, 200},
		{"enabling", http.MethodPost, bots + "/" + strconv.Itoa(id), alice, 201},
		{"enabling by a member", http.MethodPost, bots + "/" + strconv.Itoa(id), bob, 403},
		{"own file", http.MethodGet, "/remote.php/dav/files/alice/a.txt", alice, 200},
		{"file of a member", http.MethodGet, "/remote.php/dav/files/bob/Talk/a.txt", bob, 200},
		{"file of a stranger", http.MethodGet, "/remote.php/dav/files/carol/Talk/a.txt", carol, 404},
		{"another's files", http.MethodGet, "/remote.php/dav/files/alice/a.txt", bob, 404},
		{"files of nobody", http.MethodGet, "/remote.php/dav/files/alice/a.txt", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, body := ask(t, s, c.method, c.path, c.token, ""); status != c.want {
				t.Errorf("status %d, want %d: %s", status, c.want, body)
			}
		})
	}
}

func TestUserReactions(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	posted, err := s.Post(t.Context(), room, "bob", "hi")
	if err != nil {
		t.Fatal(err)
	}
	token, path := s.AppToken("alice"), talk+"/v1/reaction/"+room+"/"+strconv.Itoa(posted.ID)
	for _, c := range []struct {
		method, path, body string
		want               int
		data               string
	}{
		{http.MethodPost, path, `{"reaction":"👍"}`, 201, `{"\ud83d\udc4d":[{"actorType":"users","actorId":"alice","actorDisplayName":"alice","timestamp":`},
		{http.MethodPost, path, `{"reaction":"👍"}`, 200, `{"\ud83d\udc4d":[`},
		{http.MethodPost, path, `{"reaction":"abc"}`, 400, `null`},
		{http.MethodPost, talk + "/v1/reaction/" + room + "/999", `{"reaction":"👍"}`, 404, `null`},
		{http.MethodGet, path, "", 200, `{"\ud83d\udc4d":[`},
		{http.MethodDelete, path + "?reaction=%F0%9F%91%8D", "", 200, `{}`},
		{http.MethodDelete, path, `{"reaction":"👍"}`, 404, `null`},
	} {
		status, body := ask(t, s, c.method, c.path, token, c.body)
		if status != c.want || !strings.Contains(body, `"data":`+c.data) {
			t.Errorf("%s %s: status %d, want %d: %s", c.method, c.body, status, c.want, body)
		}
	}
}

func TestChatHistoryPages(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	for i := 3; i <= 8; i++ { // 1 and 2 tell of the room
		if _, err := s.Post(t.Context(), room, "alice", "m"+strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	here := s.room(room)
	for _, c := range []struct {
		known, limit int
		future       bool
		want         []int
	}{
		{0, 3, false, []int{8, 7, 6}},
		{6, 2, false, []int{5, 4}},
		{1, 2, false, nil},
		{0, 2, true, []int{1, 2}},
		{6, 9, true, []int{7, 8}},
		{8, 9, true, nil},
		{maxNumber, 9, true, nil},
	} {
		var got []int
		for _, m := range here.around(c.known, c.limit, c.future) {
			got = append(got, m.id)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v:\n%s", c, diff)
		}
	}
	path := talk + "/v1/chat/" + room + "?lookIntoFuture=1&timeout=0&lastKnownMessageId="
	if status, _ := ask(t, s, http.MethodGet, path+"8", s.AppToken("alice"), ""); status != http.StatusNotModified {
		t.Errorf("nothing new: status %d", status)
	}
	if _, body := ask(t, s, http.MethodGet, path+"8&includeLastKnown=1", s.AppToken("alice"), ""); len(dataOf(t, body)) != 1 {
		t.Errorf("with the last known: %s", body)
	}
}

// As in Talk, who asks for what comes has read what came before, unless that is
// asked for otherwise; who asks for what was has not.
func TestReadMarker(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	for range 3 {
		if _, err := s.Post(t.Context(), room, "alice", "hello"); err != nil {
			t.Fatal(err)
		}
	}
	bob := s.AppToken("bob")
	for _, c := range []struct {
		query string
		want  int
	}{
		{"lookIntoFuture=0", 2},
		{"lookIntoFuture=0&lastKnownMessageId=5", 2},
		{"lookIntoFuture=1&timeout=0&lastKnownMessageId=4&setReadMarker=0", 2},
		{"lookIntoFuture=1&timeout=0&lastKnownMessageId=4", 4},
		{"lookIntoFuture=1&timeout=0&lastKnownMessageId=3&setReadMarker=1", 4},
	} {
		ask(t, s, http.MethodGet, talk+"/v1/chat/"+room+"?"+c.query, bob, "")
		s.mu.Lock()
		if got := s.room(room).participant(actorUser, "bob").lastRead; got != c.want {
			t.Errorf("after %s bob has read up to %d, want %d", c.query, got, c.want)
		}
		s.mu.Unlock()
	}
}

func TestLongPollAnswersWhenAMessageComes(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	type polled struct {
		status int
		body   string
	}
	done, token := make(chan polled, 1), s.AppToken("bob")
	go func() {
		status, body := ask(t, s, http.MethodGet, talk+"/v1/chat/"+room+"?lastKnownMessageId=2", token, "")
		done <- polled{status, body}
	}()
	if _, err := s.Post(t.Context(), room, "alice", "at last"); err != nil {
		t.Fatal(err)
	}
	if p := <-done; p.status != http.StatusOK || !strings.Contains(p.body, "at last") {
		t.Errorf("status %d: %s", p.status, p.body)
	}
}

func TestCloseEndsALongPoll(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	done, token := make(chan int, 1), s.AppToken("bob")
	go func() {
		status, _ := ask(t, s, http.MethodGet, talk+"/v1/chat/"+room+"?lastKnownMessageId=2", token, "")
		done <- status
	}()
	s.Close()
	if status := <-done; status != http.StatusNotModified && status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestXMLWithoutAskingForJSON(t *testing.T) {
	s := start(t, Options{})
	req := newRequest(t, s, http.MethodGet, "/ocs/v2.php/cloud/capabilities", "")
	req.Header.Del("Accept")
	_, header, body := do(t, req)
	if header.Get("Content-Type") != "application/xml; charset=utf-8" || !strings.Contains(body, "<statuscode>200</statuscode>") {
		t.Errorf("%v: %s", header, body)
	}
}

func TestOptionsShow(t *testing.T) {
	s := start(t, Options{MaxLength: 123, BackendURL: "https://cloud.example.com/", TrustedDomains: []string{"cloud.example.com"}, Admin: true})
	_, body := ask(t, s, http.MethodGet, "/ocs/v2.php/cloud/capabilities", "", "")
	for _, want := range []string{`"max-length":123,`, `https:\/\/cloud.example.com\/core`, `"version":"21.1.7"`, `"bruteforce":{"delay":0,`} {
		if !strings.Contains(body, want) {
			t.Errorf("the capabilities lack %s", want)
		}
	}
	for host, want := range map[string]int{"cloud.example.com": 200, "localhost:1": 200, "[::1]:1": 200, "[::1]": 200, "evil.example": 400} {
		req := newRequest(t, s, http.MethodGet, "/status.php", "")
		req.Host = host
		if status, _, _ := do(t, req); status != want {
			t.Errorf("%s: status %d, want %d", host, status, want)
		}
	}
	req := newRequest(t, s, http.MethodGet, talk+"/v1/bot/admin", "")
	req.SetBasicAuth("admin", s.AppToken("admin"))
	if status, _, _ := do(t, req); status != http.StatusOK {
		t.Errorf("administrator: status %d", status)
	}
	req.SetBasicAuth("admin", s.AppToken("alice"))
	if status, _, _ := do(t, req); status != http.StatusUnauthorized {
		t.Errorf("the app password of another: status %d", status)
	}
}

func TestLoginFlow(t *testing.T) {
	s := start(t, Options{})
	_, body := ask(t, s, http.MethodPost, "/index.php/login/v2", "", "")
	token := body[strings.Index(body, `"token":"`)+len(`"token":"`):][:128]
	poll := func() (int, string) {
		return ask(t, s, http.MethodPost, "/index.php/login/v2/poll", "", `{"token":"`+token+`"}`)
	}
	if status, _ := poll(); status != http.StatusNotFound {
		t.Errorf("before the grant: status %d", status)
	}
	if n := s.GrantLogin("alice"); n != 1 {
		t.Errorf("%d logins granted", n)
	}
	status, body := poll()
	if status != http.StatusOK || !strings.Contains(body, `"loginName":"alice","appPassword":"`) {
		t.Fatalf("status %d: %s", status, body)
	}
	password := strings.TrimSuffix(body[strings.Index(body, `"appPassword":"`)+len(`"appPassword":"`):], `"}`)
	if status, _ := ask(t, s, http.MethodGet, "/ocs/v2.php/cloud/user", password, ""); status != http.StatusOK {
		t.Errorf("with the new app password: status %d", status)
	}
	if status, _ := poll(); status != http.StatusNotFound {
		t.Errorf("a second time: status %d", status)
	}
}

func TestFilesOfOneNameStandBesideEachOther(t *testing.T) {
	s, room, _ := kitchen(t, Options{}, silent)
	for _, content := range []string{"one", "two"} {
		_, err := s.ShareFile(t.Context(), room, "alice", File{Name: "a.txt", MIMEType: "text/plain", Content: []byte(content)})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, body := ask(t, s, http.MethodGet, "/remote.php/dav/files/bob/Talk/a%20(2).txt", s.AppToken("bob"), ""); body != "two" {
		t.Errorf("%q, want the second file", body)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("GET", "/status.php", "", "")
	f.Add("POST", talk+"/v1/bot/aaaaaaaa/message", "application/json", `{"message":"x","replyTo":3,"silent":true}`)
	f.Add("POST", talk+"/v1/chat/aaaaaaaa?format=json", "application/x-www-form-urlencoded", "message=hi&replyTo=-1")
	f.Add("GET", talk+"/v1/chat/aaaaaaaa?lookIntoFuture=1&timeout=0&limit=99999999999&lastKnownMessageId=1e99&includeLastKnown=1", "", "")
	f.Add("GET", talk+"/v1/chat/aaaaaaaa/-1/context?limit=-3", "", "")
	f.Add("DELETE", talk+"/v1/reaction/aaaaaaaa/3", "application/json", `{"reaction":null}`)
	f.Add("POST", "/index.php/login/v2/poll", "application/json", `[]`)
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || strings.Contains(target, "lookIntoFuture") != strings.Contains(target, "timeout=0") {
			t.Skip()
		}
		s := &Server{
			backend: "http://127.0.0.1", opts: Options{MaxLength: 100}, ctx: t.Context(), now: time.Now, random: randomText,
			changed: make(chan struct{}), tokens: map[string]*user{}, attempts: map[string]int{},
		}
		s.addRoom("aaaaaaaa", "Kitchen", groupRoom, []string{"alice"})
		s.bots = []*bot{{Bot: Bot{Name: "Perch", URL: "http://127.0.0.1:1", Secret: "s", Features: FeatureResponse}, id: 1}}
		s.rooms[0].bots = []int{1}
		for _, credentials := range []string{"Bearer " + s.appToken(s.users[0]), ""} {
			req := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", strings.NewReader(body)).WithContext(t.Context())
			req.Method, req.URL, req.Header = method, u, http.Header{"Content-Type": {contentType}, "Accept": {"application/json"}}
			if credentials != "" {
				req.Header.Set("Authorization", credentials)
				req.Header.Set("X-Nextcloud-Talk-Bot-Random", strings.Repeat("r", 32))
				req.Header.Set("X-Nextcloud-Talk-Bot-Signature", sign("s", strings.Repeat("r", 32), "x"))
			}
			if strings.Contains(u.Path, "/chat/") && method == http.MethodGet && u.Query().Get("timeout") != "0" && !strings.Contains(u.Path, "/context") {
				t.Skip("a long poll")
			}
			w := httptest.NewRecorder()
			s.handler().ServeHTTP(w, req)
			if w.Code < 200 || w.Code > 599 {
				t.Fatalf("status %d", w.Code)
			}
		}
	})
}

// Uploads and shares are answered as recorded: dav_put.json, share_file.json and
// others.
func TestFilesAreAnsweredAsRecorded(t *testing.T) {
	s, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	room, other := s.AddRoom("Kitchen", "alice", "owl"), s.AddRoom("Office", "alice")
	token := s.AppToken("owl")
	send := func(method, path, body, token string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("OCS-APIRequest", "true")
		req.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		status, _, answer := do(t, req)
		return status, answer
	}
	const dav = "/remote.php/dav/files/owl/"
	share := func(path, room string) (int, string) {
		t.Helper()
		body, _ := json.Marshal(map[string]any{
			"shareType": 10, "shareWith": room, "path": path, "referenceId": "ref-" + path, "talkMetaData": `{"caption":"look","silent":true}`,
		})
		return send("POST", "/ocs/v2.php/apps/files_sharing/api/v1/shares?format=json", string(body), token, "Content-Type", "application/json")
	}
	for _, tt := range []struct {
		name   string
		do     func() (int, string)
		status int
		part   string
	}{
		{"no folder", func() (int, string) { return send("PUT", dav+"Talk/x.png", "x", token) }, 404, "could not be located"},
		{"a folder", func() (int, string) { return send("MKCOL", dav+"Talk", "", token) }, 201, ""},
		{"the folder again", func() (int, string) { return send("MKCOL", dav+"Talk", "", token) }, 405, "already exists"},
		{"a file", func() (int, string) { return send("PUT", dav+"Talk/x.png", "x", token, "Content-Type", "image/png") }, 201, ""},
		{"over it", func() (int, string) { return send("PUT", dav+"Talk/x.png", "xy", token, "Content-Type", "image/png") }, 204, ""},
		{"not over it", func() (int, string) { return send("PUT", dav+"Talk/x.png", "z", token, "If-None-Match", "*") }, 412, ""},
		{"a forbidden name", func() (int, string) { return send("PUT", dav+"Talk/.htaccess", "z", token) }, 400, "reserved word"},
		{"a wrong token", func() (int, string) { return send("PUT", dav+"Talk/y.png", "z", "nope") }, 401, ""},
		{"a share", func() (int, string) { return share("/Talk/x.png", room) }, 200, `"share_type":10`},
		{"the share again", func() (int, string) { return share("/Talk/x.png", room) }, 403, "Path is already shared with this conversation"},
		{"of nothing", func() (int, string) { return share("/Talk/y.png", room) }, 404, `Wrong path, file\/folder does not exist`},
		{"where the user is not", func() (int, string) { return share("/Talk/x.png", other) }, 404, "Conversation not found"},
		{"over the quota", func() (int, string) { s.SetQuota("owl", 3); return send("PUT", dav+"Talk/z.png", "zz", token) }, 507, "Insufficient space in /Talk/z.png, 2 required, 1 available"},
	} {
		if status, answer := tt.do(); status != tt.status || !strings.Contains(answer, tt.part) {
			t.Errorf("%s: %d %s, want %d with %q", tt.name, status, answer, tt.status, tt.part)
		}
	}
	n := 0
	for _, e := range s.Transcript(room) {
		if e.File == "x.png" && e.Text == "look" && e.Silent && e.ReferenceID == "ref-/Talk/x.png" {
			n++
		}
	}
	if n != 2 { // the second share was refused and posted
		t.Errorf("the file stands there %d times", n)
	}
}
