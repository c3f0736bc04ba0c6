package talk_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"perch/bridge"
	"perch/bridge/practice"
	"perch/bridge/talk"
)

const limit = 1 << 20

// list is the recorded file, as the webhook tells of it.
func list() (bridge.Message, bridge.Attachment) {
	m := bridge.Message{Key: bridge.Key{Room: "knzaftd5", ID: "16"}, Room: kitchen()}
	return m, bridge.Attachment{Type: "file", ID: "208", Name: "list.txt", MIMEType: "text/plain", Size: 14, Path: "list.txt"}
}

// bob answers whose app token it is.
func bob(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"ocs":{"meta":{"status":"ok","statuscode":200,"message":"OK"},"data":{"id":"bob","displayname":"bob"}}}`)
}

// replayed answers as recorded, and checks that it is asked as recorded.
func replayed(t *testing.T, name string) http.HandlerFunc {
	t.Helper()
	e := recorded(t, name)
	return func(w http.ResponseWriter, r *http.Request) {
		e.check(t, r, nil)
		e.answer(w)
	}
}

func TestFetchFileAsRecorded(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"/ocs/v2.php/apps/spreed/":  replayed(t, "chat_context_file"),
		"/ocs/v2.php/cloud/user":    bob,
		"/remote.php/dav/files/bob": replayed(t, "dav_file"),
	})
	m, a := list()
	got, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).FetchFile(t.Context(), m, a, limit)
	if err != nil || string(got) != "shopping: eggs" {
		t.Errorf("got %q, %v", got, err)
	}
}

// shared shares a file in a conversation of alice and bob, and returns what the
// webhook says of it, and a client with the app token of whose.
func shared(t *testing.T, whose string, f practice.File) (*practice.Server, *talk.Client, bridge.Message, bridge.Attachment) {
	t.Helper()
	s, err := practice.Start(t.Context(), practice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	room := s.AddRoom("Kitchen", "alice", "bob")
	s.AddUser("carol", "")

	bodies := make(chan []byte, 2)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- body
	}))
	t.Cleanup(hook.Close)
	bot, err := s.InstallBot(practice.Bot{
		Name: "Perch", URL: hook.URL, Secret: recordedSecret(t).Reveal(), Features: practice.FeatureWebhook,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.EnableBot(t.Context(), room, bot); err != nil {
		t.Fatal(err)
	}
	<-bodies // that it is enabled
	if _, err := s.ShareFile(t.Context(), room, "alice", f); err != nil {
		t.Fatal(err)
	}
	m, err := talk.Decode(<-bodies, talk.Origin{Server: s.URL()})
	if err != nil || len(m.Attachments) != 1 {
		t.Fatalf("the webhook says %+v, %v", m, err)
	}
	o := options(t, s.URL(), talk.ReplyAsBot)
	o.AppToken = bridge.NewSecret(s.AppToken(whose))
	return s, newClient(t, o), m, m.Attachments[0]
}

func TestFetchFile(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), limit/16)
	tests := []struct {
		name, whose string
		file        practice.File
	}{
		{"another's", "bob", practice.File{Name: "list.txt", MIMEType: "text/plain", Content: []byte("shopping: eggs")}},
		{"one's own", "alice", practice.File{Name: "list.txt", MIMEType: "text/plain", Content: []byte("shopping: eggs")}},
		{"empty", "bob", practice.File{Name: "empty", MIMEType: "text/plain", Content: []byte{}}},
		{"a web page", "bob", practice.File{Name: "a.html", MIMEType: "text/html", Content: []byte(page)}},
		{"JSON", "bob", practice.File{Name: "a.json", MIMEType: "application/json", Content: []byte(refusedJSON)}},
		{"binary, as large as can be", "bob", practice.File{Name: "a.bin", MIMEType: "application/octet-stream", Content: big}},
		{"space", "bob", practice.File{Name: "a long  name .txt", Content: []byte("x")}},
		{"umlaut and emoji", "bob", practice.File{Name: "Küche 🥚.txt", Content: []byte("x")}},
		{"what ends a path", "bob", practice.File{Name: "a#b?c=d&e.txt", Content: []byte("x")}},
		{"percent", "bob", practice.File{Name: "100%25 %2e%2e %.txt", Content: []byte("x")}},
		{"plus, semicolon, quotes", "bob", practice.File{Name: `a+b;c,d'e"f<g>.txt`, Content: []byte("x")}},
		{"backslash", "bob", practice.File{Name: `..\..\a.txt`, Content: []byte("x")}},
		{"a folder's name", "bob", practice.File{Name: `Talk`, Content: []byte("x")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c, m, a := shared(t, tt.whose, tt.file)
			got, err := c.FetchFile(t.Context(), m, a, limit)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, tt.file.Content) {
				t.Errorf("got %d bytes %.100q", len(got), got)
			}
		})
	}
}

func TestFetchFileFails(t *testing.T) {
	file := practice.File{Name: "list.txt", MIMEType: "text/plain", Content: []byte("shopping: eggs")}
	tests := []struct {
		name, whose string
		faults      []practice.Fault
		change      func(*bridge.Message, *bridge.Attachment)
		code        bridge.Code
		text, hint  string
	}{
		{
			"not in the conversation", "carol", nil, nil,
			bridge.CodeNotFound, "cannot read the conversation", "participants",
		},
		{
			"another conversation", "bob", nil, func(m *bridge.Message, _ *bridge.Attachment) { m.Room.Token = "nowhere1" },
			bridge.CodeNotFound, "cannot read the conversation", "participants",
		},
		{
			"no token of a conversation", "bob", nil, func(m *bridge.Message, _ *bridge.Attachment) { m.Room.Token = "../../x" },
			bridge.CodeNotFound, `"list.txt" is gone`, "shared again",
		},
		{
			"another message", "bob", nil, func(m *bridge.Message, _ *bridge.Attachment) { m.Key.ID = "1" },
			bridge.CodeNotFound, `"list.txt" is gone`, "shared again",
		},
		{
			"no number of a message", "bob", nil, func(m *bridge.Message, _ *bridge.Attachment) { m.Key.ID = "derived-12" },
			bridge.CodeNotFound, `"list.txt" is gone`, "shared again",
		},
		{
			"another file", "bob", nil, func(_ *bridge.Message, a *bridge.Attachment) { a.ID = "9999" },
			bridge.CodeNotFound, `"list.txt" is gone`, "shared again",
		},
		{
			"deleted", "bob",
			[]practice.Fault{{Kind: practice.FaultStatus, On: practice.EndpointFiles, Status: 404}},
			nil,
			bridge.CodeNotFound, `"list.txt" is gone`, "shared again",
		},
		{
			"download forbidden", "bob",
			[]practice.Fault{{Kind: practice.FaultStatus, On: practice.EndpointFiles, Status: 403}},
			nil,
			bridge.CodeDenied, `may not download the file "list.txt"`, "can allow it",
		},
		{
			"a refusal unknown to us", "bob",
			[]practice.Fault{{Kind: practice.FaultStatus, On: practice.EndpointFiles, Status: 423}},
			nil,
			bridge.CodeDenied, "refused with status 423", "",
		},
		{
			"a refusal of the chat", "bob",
			[]practice.Fault{{Kind: practice.FaultStatus, On: practice.EndpointChat, Status: 412}},
			nil,
			bridge.CodeDenied, "refused with status 412", "",
		},
		{
			"maintenance", "bob",
			[]practice.Fault{{Kind: practice.FaultMaintenance}},
			nil,
			bridge.CodeUnavailable, "maintenance", "occ",
		},
		{
			"throttled", "bob",
			[]practice.Fault{{Kind: practice.FaultThrottle, On: practice.EndpointFiles}},
			nil,
			bridge.CodeThrottled, "no more requests", "occ",
		},
		{
			"hung up", "bob",
			[]practice.Fault{{Kind: practice.FaultDropAnswer, On: practice.EndpointFiles}},
			nil,
			bridge.CodeUnavailable, "broke the connection off", "base_url",
		},
		{
			"wrong app token", "bob",
			[]practice.Fault{{Kind: practice.FaultRefuse}},
			nil,
			bridge.CodeUnauthorized, "refused the app token", "perch secret set app_token",
		},
		{
			"larger than said", "bob", nil, func(_ *bridge.Message, a *bridge.Attachment) { a.Size = 3 },
			bridge.CodeRejected, `"list.txt" has more than 13 bytes`, "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c, m, a := shared(t, tt.whose, file)
			if tt.change != nil {
				tt.change(&m, &a)
			}
			most := int64(len(file.Content))
			if tt.code == bridge.CodeRejected {
				most--
			}
			s.SetFaults(tt.faults...)
			got, err := c.FetchFile(t.Context(), m, a, most)
			wantError(t, err, tt.code, tt.text, tt.hint)
			if got != nil {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestFetchFileAsksNothingInVain(t *testing.T) {
	s := serve(t, nil) // fails the test for every request
	m, a := list()
	o := options(t, s.URL, talk.ReplyAsUser)
	_, err := newClient(t, o).FetchFile(t.Context(), m, a, a.Size-1)
	wantError(t, err, bridge.CodeRejected, `"list.txt" has more than 13 bytes`, "")

	o.AppToken = bridge.Secret{}
	_, err = newClient(t, o).FetchFile(t.Context(), m, a, limit)
	wantError(t, err, bridge.CodeNotFound, `no app token to get the file "list.txt"`, "perch secret set app_token")
}

func TestFetchFileOfEmptyConversation(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"/ocs/v2.php/apps/spreed/": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
	})
	m, a := list()
	_, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).FetchFile(t.Context(), m, a, limit)
	wantError(t, err, bridge.CodeNotFound, `"list.txt" is gone`, "shared again")
}

// An endless file is not read to its end.
func TestFetchFileEndless(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"/ocs/v2.php/apps/spreed/": replay("chat_context_file")(t),
		"/ocs/v2.php/cloud/user":   bob,
		"/remote.php/": func(w http.ResponseWriter, _ *http.Request) {
			for piece := bytes.Repeat([]byte("x"), 64<<10); ; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		},
	})
	m, a := list()
	_, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).FetchFile(t.Context(), m, a, 3<<20)
	wantError(t, err, bridge.CodeRejected, `"list.txt" has more than 3145728 bytes`, "")
}

// The app token goes to the server alone.
func TestFetchFileFollowsNoRedirection(t *testing.T) {
	var followed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	t.Cleanup(elsewhere.Close)
	away := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", elsewhere.URL+"/list.txt")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
	chat, file := replay("chat_context_file")(t), replay("dav_file")(t)
	for name, answers := range map[string][3]http.HandlerFunc{
		"chat": {away, bob, file},
		"user": {chat, away, file},
		"file": {chat, bob, away},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{
				"/ocs/v2.php/apps/spreed/": answers[0], "/ocs/v2.php/cloud/user": answers[1], "/remote.php/": answers[2],
			})
			m, a := list()
			_, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).FetchFile(t.Context(), m, a, limit)
			wantError(t, err, bridge.CodeUnavailable, "sends us elsewhere", "base_url")
		})
	}
	if followed.Load() {
		t.Error("a request with the app token went to another server")
	}
}
