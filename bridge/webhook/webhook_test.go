package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"perch/bridge"
	"perch/bridge/talk"
	"perch/bridge/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key    = "0123456789abcdef0123456789abcdef0123456789abcdef"
	random = "a random string of the server"
	body   = `{"type":"Create","actor":{"type":"Person","id":"users/alice","name":"alice"},` +
		`"object":{"type":"Note","id":"3","name":"message","content":"{\"message\":\"hi\",\"parameters\":[]}","mediaType":"text/markdown"},` +
		`"target":{"type":"Collection","id":"knzaftd5","name":"Kitchen"}}`
)

// sign is not talk.Sign: the two sides are not to agree on an error.
func sign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(random))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// fixture is a handler with a real decoder, and what came out of it.
type fixture struct {
	mu       sync.Mutex
	settings webhook.Settings
	key      string // the secret
	trouble  string
	accepted []bridge.Message
	err      error // what Accept returns
	decoded  int
	events   []bridge.Event
	handler  *webhook.Server
}

func newFixture() *fixture {
	f := &fixture{settings: webhook.Settings{Path: "/nextcloud-talk", HasSecret: true, RequireSignature: true}, key: key}
	f.handler = webhook.New(webhook.Options{Source: f, Instance: "this-process", Tunnel: "our-mark", Sink: f, Log: slog.New(slog.DiscardHandler)})
	return f
}

func (f *fixture) Current() webhook.Receiver  { return f }
func (f *fixture) Settings() webhook.Settings { return f.settings }

func (f *fixture) Trouble() string { return f.trouble }

func (f *fixture) Verify(random string, body []byte, signature string) bool {
	return talk.Verify(bridge.NewSecret(f.key), random, body, signature)
}

func (f *fixture) Sign(random, body string) string {
	return talk.Sign(bridge.NewSecret(f.key), random, body)
}

func (f *fixture) Decode(r webhook.Request) (bridge.Message, error) {
	f.mu.Lock()
	f.decoded++
	f.mu.Unlock()
	return talk.Decode(r.Body, talk.Origin{Server: "https://cloud.example.com", Nonce: r.Random, Backend: r.Backend, ReceivedAt: r.ReceivedAt})
}

func (f *fixture) Accept(_ context.Context, m bridge.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accepted = append(f.accepted, m)
	return f.err
}

func (f *fixture) Publish(e bridge.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

// request returns a signed webhook.
func request(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/nextcloud-talk", strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1234"
	r.Header.Set(webhook.HeaderRandom, random)
	r.Header.Set(webhook.HeaderSignature, sign(key, []byte(body)))
	r.Header.Set(webhook.HeaderBackend, "https://cloud.example.com/")
	return r
}

func (f *fixture) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func TestAnswers(t *testing.T) {
	without := func(header string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Del(header) }
	}
	tests := []struct {
		name    string
		body    string
		change  func(r *http.Request)
		prepare func(f *fixture)
		want    int
	}{
		{"a right signature", body, nil, nil, 200},
		{"with a prefix and in upper case", body, func(r *http.Request) {
			r.Header.Set(webhook.HeaderSignature, "SHA256="+strings.ToUpper(sign(key, []byte(body))))
		}, nil, 200},
		{"without a length", body, func(r *http.Request) { r.ContentLength = -1 }, nil, 200},
		{"no signature", body, without(webhook.HeaderSignature), nil, 400},
		{"no random", body, without(webhook.HeaderRandom), nil, 400},
		{"another secret", body, func(r *http.Request) {
			r.Header.Set(webhook.HeaderSignature, sign(key+"x", []byte(body)))
		}, nil, 401},
		{"another body", body, func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(body, "alice", "mallo", 1)))
		}, nil, 401},
		{"half a signature", body, func(r *http.Request) {
			r.Header.Set(webhook.HeaderSignature, sign(key, []byte(body))[:32])
		}, nil, 401},
		{"a body cut short", body, func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(body[:20]))
		}, nil, 400},
		{"signed, but no JSON", "nonsense", nil, nil, 400},
		{"no secret set", body, nil, func(f *fixture) { f.settings.HasSecret, f.key = false, "" }, 503},
		{"signatures off", body, without(webhook.HeaderSignature), func(f *fixture) { f.settings.RequireSignature = false }, 200},
		{"the inbox cannot be written", body, nil, func(f *fixture) { f.err = errors.New("disk full") }, 503},
		{"2 MiB", strings.Repeat(" ", 2<<20-len(body)) + body, nil, nil, 200},
		{"more than 2 MiB", strings.Repeat(" ", 2<<20-len(body)+1) + body, nil, nil, 413},
		{"more than 2 MiB without a length", strings.Repeat(" ", 2<<20) + body, func(r *http.Request) { r.ContentLength = -1 }, nil, 413},
		{"GET", body, func(r *http.Request) { r.Method = http.MethodGet }, nil, 405},
		{"PUT", body, func(r *http.Request) { r.Method = http.MethodPut }, nil, 405},
		{"another path", body, func(r *http.Request) { r.URL.Path = "/nextcloud-talk/x" }, nil, 404},
		{"the root", body, func(r *http.Request) { r.URL.Path = "/" }, nil, 404},
		{"POST to the health check", body, func(r *http.Request) { r.URL.Path = "/healthz" }, nil, 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			if tt.prepare != nil {
				tt.prepare(f)
			}
			r := request(tt.body)
			if tt.change != nil {
				tt.change(r)
			}
			w := f.do(r)
			if w.Code != tt.want {
				t.Fatalf("answered %d %s, want %d", w.Code, w.Body, tt.want)
			}
			if reached := len(f.accepted) == 1; reached != (tt.want == 200 || f.err != nil) {
				t.Errorf("%d messages were accepted", len(f.accepted))
			}
			if tt.want == 401 && f.decoded > 0 {
				t.Error("the body was parsed before its signature was found wrong")
			}
			if (tt.want == 400 || tt.want == 401 || tt.want == 404 || tt.want == 413 || tt.want == 503) && (len(f.events) != 1 || f.events[0].Title.IsZero()) {
				t.Errorf("events: %+v, want one that says why", f.events)
			}
			if strings.Contains(w.Body.String(), key) || strings.Contains(fmt.Sprint(f.events), key) {
				t.Error("the secret is told")
			}
		})
	}
}

func TestMessageCarriesWhereItCameFrom(t *testing.T) {
	f := newFixture()
	f.do(request(body))
	m := f.accepted[0]
	if m.Nonce != random || m.Backend != "https://cloud.example.com/" || m.ReceivedAt.IsZero() || m.Key.Server != "https://cloud.example.com" {
		t.Errorf("accepted %+v", m)
	}
}

func TestHealth(t *testing.T) {
	f := newFixture()
	w := f.do(httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != 200 || w.Body.String() != "ok\n" || len(w.Header()) > 1 {
		t.Errorf("answered %d %q %v", w.Code, w.Body, w.Header())
	}
}

func TestHealthInTrouble(t *testing.T) {
	f := newFixture()
	f.trouble = "not-stored"
	w := f.do(httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != 503 || w.Body.String() != "not-stored\n" {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
	r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
	r.Header.Set(webhook.HeaderTunnel, "our-mark")
	if w := f.do(r); w.Code != 404 {
		t.Errorf("through the tunnel it answers %d", w.Code)
	}
}

// fail sends a wrong signature and returns the answer.
func (f *fixture) fail(remote string, header ...string) int {
	r := request(body)
	r.RemoteAddr = remote
	r.Header.Set(webhook.HeaderSignature, sign("wrong", []byte(body)))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return f.do(r).Code
}

func TestTooManyWrongSignatures(t *testing.T) {
	f := newFixture()
	for i := range 10 {
		if code := f.fail("192.0.2.1:" + strconv.Itoa(1000+i)); code != 401 {
			t.Fatalf("failure %d answered %d, want 401", i, code)
		}
	}
	if code := f.fail("192.0.2.1:1"); code != 429 {
		t.Errorf("then answered %d, want 429", code)
	}
	if code := f.fail("192.0.2.2:1"); code != 401 {
		t.Errorf("another address answered %d, want 401", code)
	}
	if w := f.do(request(body)); w.Code != 200 {
		t.Errorf("a right signature from that address answered %d, want 200: a corrected secret is heard at once", w.Code)
	}
}

func TestWhoIsCalling(t *testing.T) {
	tests := []struct {
		name, remote string
		header       []string
		other        []string // the same, from another client
		shared       bool     // the two count as one address
	}{
		{"through our tunnel", "127.0.0.1:1", []string{webhook.HeaderTunnel, "our-mark", "CF-Connecting-IP", "198.51.100.1"}, []string{webhook.HeaderTunnel, "our-mark", "CF-Connecting-IP", "198.51.100.2"}, false},
		{"somebody on this machine claims to be our tunnel", "127.0.0.1:1", []string{webhook.HeaderTunnel, "x", "CF-Connecting-IP", "198.51.100.1"}, []string{webhook.HeaderTunnel, "", "CF-Connecting-IP", "198.51.100.2"}, true},
		{"behind a trusted proxy", "[2001:db8:9::1]:1", []string{"X-Forwarded-For", "203.0.113.9, 198.51.100.1, 10.1.1.1"}, []string{"X-Forwarded-For", "203.0.113.9, 198.51.100.2, 10.1.1.1"}, false},
		{"a client of that proxy invents addresses", "10.1.1.1:1", []string{"X-Forwarded-For", "203.0.113.1, 198.51.100.1"}, []string{"X-Forwarded-For", "203.0.113.2, 198.51.100.1"}, true},
		{"it invents Cloudflare", "10.1.1.1:1", []string{"CF-Connecting-IP", "203.0.113.1", "X-Forwarded-For", "198.51.100.1"}, []string{"CF-Connecting-IP", "203.0.113.2", "X-Forwarded-For", "198.51.100.1"}, true},
		{"somebody on this machine", "[::1]:1", []string{"X-Forwarded-For", "198.51.100.1"}, []string{"X-Forwarded-For", "198.51.100.2"}, true},
		{"somebody else claims to be a proxy", "192.0.2.1:1", []string{"X-Forwarded-For", "198.51.100.1"}, []string{"X-Forwarded-For", "198.51.100.2"}, true},
		{"somebody else claims to be Cloudflare", "192.0.2.1:1", []string{"CF-Connecting-IP", "198.51.100.1"}, []string{"CF-Connecting-IP", "198.51.100.2"}, true},
		{"nonsense from the proxy", "10.1.1.1:1", []string{"X-Forwarded-For", "nonsense"}, []string{"X-Forwarded-For", "other"}, true},
		{"one network of IPv6", "10.1.1.1:1", []string{"X-Forwarded-For", "2001:db8::1"}, []string{"X-Forwarded-For", "2001:db8::ffff:2"}, true},
		{"two networks of IPv6", "10.1.1.1:1", []string{"X-Forwarded-For", "2001:db8::1"}, []string{"X-Forwarded-For", "2001:db8:0:1::1"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			f.settings.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:9::/48")}
			for range 11 {
				f.fail(tt.remote, tt.header...)
			}
			if code := f.fail(tt.remote, tt.header...); code != 429 {
				t.Fatalf("answered %d, want 429", code)
			}
			want := 401
			if tt.shared {
				want = 429
			}
			if code := f.fail(tt.remote, tt.other...); code != want {
				t.Errorf("the other client is answered %d, want %d", code, want)
			}
		})
	}
}

func TestManyAddressesAreForgotten(t *testing.T) {
	f := newFixture()
	for i := range 10_000 {
		f.fail("127.0.0.1:1", webhook.HeaderTunnel, "our-mark", "CF-Connecting-IP", fmt.Sprintf("10.%d.%d.1", i/256, i%256))
	}
	if code := f.fail("127.0.0.1:1", webhook.HeaderTunnel, "our-mark", "CF-Connecting-IP", "198.51.100.1"); code != 401 {
		t.Errorf("a new address is answered %d, want 401", code)
	}
}

func serve(t *testing.T, server *webhook.Server) (addr string, stop func() error) {
	t.Helper()
	ln, err := webhook.Listen(t.Context(), "127.0.0.1:0", "webhook")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	stop = func() error { cancel(); return <-done }
	t.Cleanup(cancel)
	return ln.Addr().String(), stop
}

// slow is a source that takes its time to accept a message.
type slow struct {
	*fixture
	entered, leave chan struct{}
}

func (s slow) Current() webhook.Receiver { return s }

func (s slow) Accept(context.Context, bridge.Message) error {
	close(s.entered)
	<-s.leave
	return nil
}

func TestServeLetsRequestsEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := newFixture()
	addr, stop := serve(t, webhook.New(webhook.Options{Source: slow{f, entered, leave}, Sink: f, Log: slog.New(slog.DiscardHandler)}))
	answer := make(chan string, 1)
	go func() {
		defer http.DefaultClient.CloseIdleConnections()
		r := request(body)
		r.URL.Scheme, r.URL.Host, r.RequestURI = "http", addr, ""
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- resp.Status
		_ = resp.Body.Close()
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // the port closes before the request ends
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(leave)
	if got := <-answer; got != "200 OK" {
		t.Errorf("the request under way ended with %s", got)
	}
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestBusyPort(t *testing.T) {
	addr, stop := serve(t, newFixture().handler)
	defer stop()
	_, err := webhook.Listen(t.Context(), addr, "webhook")
	_, port, _ := net.SplitHostPort(addr)
	if bridge.CodeOf(err) != bridge.CodeConflict || !strings.Contains(err.Error(), "another program uses this port") ||
		!strings.Contains(bridge.HintOf(err).String(), port) {
		t.Errorf("Listen: %v, hint %q", err, bridge.HintOf(err))
	}
}

func TestForeignAddress(t *testing.T) {
	_, err := webhook.Listen(t.Context(), "192.0.2.1:0", "webhook")
	if bridge.CodeOf(err) != bridge.CodeConflict || !strings.Contains(err.Error(), "does not have that address") {
		t.Errorf("Listen: %v", err)
	}
}

// changing is a source whose settings change with each look at them.
type changing struct {
	*fixture
	looks int
}

func (c *changing) Current() webhook.Receiver {
	c.looks++
	c.key = fmt.Sprint("secret ", c.looks)
	return c.fixture
}

func TestOneStateOfTheSettingsDecidesAboutARequest(t *testing.T) {
	source := &changing{fixture: newFixture()}
	h := webhook.New(webhook.Options{Source: source, Sink: source})
	r := request(body)
	r.Header.Set(webhook.HeaderSignature, sign("secret 1", []byte(body)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK || source.looks != 1 {
		t.Errorf("answered %d after %d looks", w.Code, source.looks)
	}
}
