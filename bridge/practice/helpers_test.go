package practice

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	talk   = "/ocs/v2.php/apps/spreed/api"
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef"
)

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// kitchen returns a server with one room and an enabled bot that bot answers for.
func kitchen(t *testing.T, opts Options, bot http.HandlerFunc) (s *Server, room string, id int) {
	t.Helper()
	s = start(t, opts)
	listening := httptest.NewServer(bot)
	t.Cleanup(listening.Close)
	room = s.AddRoom("Kitchen", "alice", "bob")
	id, err := s.InstallBot(Bot{
		Name: "Perch", URL: listening.URL, Secret: secret, Features: FeatureWebhook | FeatureResponse | FeatureReaction,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.EnableBot(t.Context(), room, id); err != nil {
		t.Fatal(err)
	}
	return s, room, id
}

func silent(http.ResponseWriter, *http.Request) {}

// do sends req on a connection of its own and returns status 0 if there was no answer.
func do(t *testing.T, req *http.Request) (status int, header http.Header, body string) {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

func newRequest(t *testing.T, s *Server, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("OCS-APIRequest", "true")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	return req
}

// ask asks with an app password, or without credentials if token is empty.
func ask(t *testing.T, s *Server, method, path, token, body string) (status int, answer string) {
	t.Helper()
	req := newRequest(t, s, method, path, body)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	status, _, answer = do(t, req)
	return status, answer
}

// askAsBot asks the bot API with a signature over the text signed.
func askAsBot(t *testing.T, s *Server, secret, method, path, signed, body string) (status int, answer string) {
	t.Helper()
	status, _, answer = do(t, botRequest(t, s, secret, method, path, signed, body))
	return status, answer
}

func botRequest(t *testing.T, s *Server, secret, method, path, signed, body string) *http.Request {
	t.Helper()
	req := newRequest(t, s, method, talk+"/v1/bot/"+path, body)
	random := strings.Repeat("r", 64)
	req.Header.Set("X-Nextcloud-Talk-Bot-Random", random)
	req.Header.Set("X-Nextcloud-Talk-Bot-Signature", sign(strings.TrimSpace(secret), random, signed))
	return req
}

// say posts as the bot, rightly signed unless secret is another.
func say(t *testing.T, s *Server, secret, room, text string) int {
	t.Helper()
	status, _ := askAsBot(t, s, secret, http.MethodPost, room+"/message", text, string(encode(object{{"message", text}}, false)))
	return status
}
