//go:build !notunnel

package tunnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/go-cmp/cmp"

	"perch/tunnel"
	"perch/tunnel/tunneltest"
)

// rig is a tunnel between a loopback edge and an origin.
type rig struct {
	*tunnel.Tunnel
	tb     testing.TB
	edge   *tunneltest.Edge
	origin *origin
	cancel context.CancelFunc
	done   chan struct{} // is closed when Run has returned

	mu      sync.Mutex
	states  []tunnel.State
	changed chan struct{} // is closed with each new state
}

// origin echoes what it is sent.
type origin struct {
	*httptest.Server
	mu    sync.Mutex
	paths []string
}

func newOrigin(tb testing.TB, name string) *origin {
	tb.Helper()
	o := &origin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.paths = append(o.paths, r.URL.Path)
		o.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Name", name)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Sign"), body)
	}))
	tb.Cleanup(o.Close)
	return o
}

func (o *origin) served(path string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.paths {
		if p == path {
			n++
		}
	}
	return n
}

// prepare makes a tunnel, quick and over HTTP/2 unless options say otherwise.
func prepare(tb testing.TB, edge *tunneltest.Edge, options ...func(*tunnel.Options)) *rig {
	tb.Helper()
	r := &rig{tb: tb, edge: edge, origin: newOrigin(tb, "origin"), changed: make(chan struct{}), done: make(chan struct{})}
	where, err := tunnel.EdgeFromEnvironment(edge.Getenv)
	if err != nil {
		tb.Fatal(err)
	}
	o := tunnel.Options{
		Mode: tunnel.Quick, Protocol: tunnel.HTTP2, Origin: r.origin.URL,
		Paths: []string{"/webhook", "/healthz"}, Edge: where,
		Changed: func(s tunnel.State) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.states = append(r.states, s)
			close(r.changed)
			r.changed = make(chan struct{})
		},
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, option := range options {
		option(&o)
	}
	if r.Tunnel, err = tunnel.New(o); err != nil {
		tb.Fatal(err)
	}
	r.Timing().Spacing = 10 * time.Millisecond
	return r
}

// run starts the tunnel; it is stopped at the latest with the test.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		if err := r.Run(ctx); err != nil {
			r.tb.Errorf("Run: %v", err)
		}
	}()
	r.tb.Cleanup(r.stop)
	return r
}

func (r *rig) stop() {
	r.tb.Helper()
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(2 * time.Minute):
		r.tb.Fatal("Run does not return")
	}
}

// await returns the first of the states, from now on or reached, that is wanted.
func (r *rig) await(what string, wanted func(tunnel.State) bool) tunnel.State {
	r.tb.Helper()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if s := r.State(); wanted(s) {
			return s
		}
		select {
		case <-changed:
		case <-limit.C:
			r.tb.Fatalf("never %s; the state is %+v", what, r.State())
		}
	}
}

// reached waits until one of all states since the start is the wanted one.
func (r *rig) reached(what string, wanted func(tunnel.State) bool) tunnel.State {
	r.tb.Helper()
	var found tunnel.State
	r.await(what, func(tunnel.State) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		i := slices.IndexFunc(r.states, wanted)
		if i >= 0 {
			found = r.states[i]
		}
		return i >= 0
	})
	return found
}

func (r *rig) online() tunnel.State {
	r.tb.Helper()
	return r.await("online", func(s tunnel.State) bool { return s.Phase == tunnel.Online })
}

// forget makes reached look only at what comes from now on.
func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = nil
}

func (r *rig) phases() (phases []tunnel.Phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.states {
		phases = append(phases, s.Phase)
	}
	return slices.Compact(phases)
}

// visit makes a visitor's request to the public side.
func (r *rig) visit(method, path, body string) (status int, answer string, header http.Header) {
	r.tb.Helper()
	request, err := http.NewRequestWithContext(r.tb.Context(), method, r.edge.URL+path, strings.NewReader(body))
	if err != nil {
		r.tb.Fatal(err)
	}
	request.Header.Set("X-Sign", "signed")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.tb.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		r.tb.Fatal(err)
	}
	return response.StatusCode, string(data), response.Header
}

// eventually waits for what no state tells.
func (r *rig) eventually(what string, is func() bool) {
	r.tb.Helper()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			r.tb.Fatalf("never: %s", what)
		}
	}
}

func over(protocol string) func(*tunnel.Options) {
	return func(o *tunnel.Options) { o.Protocol = protocol }
}

func named(tb testing.TB, edge *tunneltest.Edge) func(*tunnel.Options) {
	tb.Helper()
	text, hostname := edge.Named()
	token, err := tunnel.ParseToken(text)
	if err != nil {
		tb.Fatal(err)
	}
	return func(o *tunnel.Options) { o.Mode, o.Token, o.Hostname = tunnel.Named, token, hostname }
}

func kept(store tunnel.Store) func(*tunnel.Options) {
	return func(o *tunnel.Options) { o.Store = store }
}

// store is a tunnel.Store in memory.
type store struct {
	mu    sync.Mutex
	value string
	err   error
}

func (s *store) Load(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.err
}

func (s *store) Save(_ context.Context, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = value
	return nil
}

func TestOnline(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		for mode, connections := range map[tunnel.Mode]int{tunnel.Quick: 1, tunnel.Named: 4} {
			t.Run(protocol+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				edge := tunneltest.New(t)
				options := []func(*tunnel.Options){over(protocol)}
				if mode == tunnel.Named {
					options = append(options, named(t, edge))
				}
				r := prepare(t, edge, options...).run()
				s := r.await("online with all connections", func(s tunnel.State) bool { return s.Connections == connections })
				want := tunnel.State{
					Phase: tunnel.Online, Address: s.Address, Connections: connections,
					Location: "fra08", Protocol: protocol,
				}
				if diff := cmp.Diff(want, s); diff != "" {
					t.Error(diff)
				}
				status, answer, header := r.visit(http.MethodPost, "/webhook", `{"type":"Create"}`)
				if want := `POST /webhook signed {"type":"Create"}`; status != http.StatusCreated || answer != want || header.Get("X-Name") != "origin" {
					t.Errorf("the visitor gets %d %q %v", status, answer, header)
				}
				if !edge.Reachable(s.Address + "/healthz") {
					t.Errorf("%s does not lead to the origin", s.Address)
				}
				r.stop()
				edge.Wait(0)
				if s := r.State(); s.Phase != tunnel.Off || s.Connections != 0 {
					t.Errorf("after the stop: %+v", s)
				}
			})
		}
	}
}

func TestOnlyPathsAreReachable(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t)).run()
	r.online()
	for path, want := range map[string]int{
		"/webhook":               http.StatusCreated,
		"/webhook?room=1":        http.StatusCreated,
		"/healthz":               http.StatusCreated,
		"/":                      http.StatusNotFound,
		"/webhook/":              http.StatusNotFound,
		"/webhook/more":          http.StatusNotFound,
		"/a/webhook":             http.StatusNotFound,
		"/webhook%2f..%2fsecret": http.StatusNotFound,
		"/webhook%0a":            http.StatusNotFound,
		"/debug/pprof/":          http.StatusNotFound,
		"/debug/vars":            http.StatusNotFound,
		"/metrics":               http.StatusNotFound,
	} {
		if status, _, _ := r.visit(http.MethodGet, path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	for _, path := range r.origin.paths {
		if path != "/webhook" && path != "/healthz" {
			t.Errorf("the origin was asked for %s", path)
		}
	}
}

// Linking cloudflared registers its debug pages there; the tunnel does not lead to
// them even if the origin serves that mux.
func TestDefaultServeMuxStaysInside(t *testing.T) {
	t.Parallel()
	inside := httptest.NewServer(http.DefaultServeMux)
	defer inside.Close()
	response, err := http.Get(inside.URL + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Log("cloudflared registers nothing any more")
	}
	r := prepare(t, tunneltest.New(t), func(o *tunnel.Options) { o.Origin = inside.URL }).run()
	r.online()
	for _, path := range []string{"/debug/pprof/cmdline", "/debug/vars", "/debug/requests"} {
		if status, _, _ := r.visit(http.MethodGet, path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestPushedConfigurationCannotRedirect(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			thief := newOrigin(t, "thief")
			r := prepare(t, tunneltest.New(t), over(protocol)).run()
			r.online()
			r.edge.Push(1, fmt.Sprintf(`{"ingress":[{"service":%q}]}`, thief.URL))
			for _, path := range []string{"/webhook", "/other"} {
				_, answer, header := r.visit(http.MethodPost, path, "")
				if header.Get("X-Name") == "thief" {
					t.Errorf("%s goes to another origin: %s", path, answer)
				}
			}
			if n := r.origin.served("/webhook"); n != 1 {
				t.Errorf("the origin has served %d requests, not 1", n)
			}
		})
	}
}

func TestNoWayIntoThePrivateNetwork(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	reached := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reached <- struct{}{}
			conn.Close()
		}
	}()
	r := prepare(t, tunneltest.New(t)).run()
	r.online()
	attempt := func() {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listener.Addr().String(), http.NoBody)
		request.Header.Set("Cf-Cloudflared-Proxy-Src", "192.0.2.1")
		response, err := r.edge.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadGateway {
			t.Errorf("a flow into the network is answered with %d", response.StatusCode)
		}
	}
	attempt()
	r.edge.Push(1, `{"warp-routing":{"enabled":true,"maxActiveFlows":1000}}`)
	attempt()
	if len(reached) > 0 {
		t.Error("the network behind the machine was reached")
	}
}

func TestBackAfterACut(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			r := prepare(t, tunneltest.New(t), over(protocol)).run()
			address := r.online().Address
			for range 3 {
				r.forget()
				r.edge.Cut()
				// The tunnel waits for its own time, not for cloudflared's.
				s := r.reached("reconnecting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting && !s.RetryAt.IsZero() })
				if s.Reason == "" || s.Connections != 0 || s.Address != address || s.Err != nil {
					t.Errorf("while reconnecting: %+v", s)
				}
				r.online()
				if want := []tunnel.Phase{tunnel.Reconnecting, tunnel.Online}; !slices.Equal(r.phases(), want) {
					t.Errorf("the phases were %v", r.phases())
				}
				if status, _, _ := r.visit(http.MethodPost, "/webhook", ""); status != http.StatusCreated {
					t.Errorf("after the cut: %d", status)
				}
			}
			if n := r.edge.QuickRequests(); n != 1 {
				t.Errorf("%d quick tunnels were requested for one address", n)
			}
		})
	}
}

// An edge that drops every connection at once is not to be hammered.
func TestFlappingEdge(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t))
	r.Timing().Retry, r.Timing().LongestRetry = time.Millisecond, 500*time.Millisecond
	r.run().online()
	for range 15 {
		r.forget()
		r.edge.Cut()
		r.reached("reconnecting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting })
		r.online()
	}
	r.forget()
	before := time.Now()
	r.edge.Cut()
	s := r.reached("waiting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting && !s.RetryAt.IsZero() })
	if wait := s.RetryAt.Sub(before); wait < r.Timing().LongestRetry {
		t.Errorf("after 16 cuts it waits for less than %s", wait)
	}
}

func TestOneOfFourConnections(t *testing.T) {
	t.Parallel()
	edge := tunneltest.New(t)
	r := prepare(t, edge, named(t, edge)).run()
	r.await("fully online", func(s tunnel.State) bool { return s.Connections == 4 })
	r.forget()
	edge.CutOne()
	r.reached("one fewer", func(s tunnel.State) bool { return s.Connections == 3 })
	if status, _, _ := r.visit(http.MethodPost, "/webhook", ""); status != http.StatusCreated {
		t.Errorf("with three connections: %d", status)
	}
	r.await("fully online again", func(s tunnel.State) bool { return s.Connections == 4 })
	if want := []tunnel.Phase{tunnel.Online}; !slices.Equal(r.phases(), want) {
		t.Errorf("the phases were %v", r.phases())
	}
}

// Anything can fail once.
func TestOneFailedProbe(t *testing.T) {
	t.Parallel()
	var probes atomic.Int32
	end := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if probes.Add(1) == 3 {
			<-end
		}
	}))
	defer slow.Close()
	defer close(end)
	r := prepare(t, tunneltest.New(t), func(o *tunnel.Options) { o.Origin = slow.URL })
	r.Timing().Probe, r.Timing().ProbeLimit = 50*time.Millisecond, time.Second
	r.run().online()
	r.eventually("more probes", func() bool { return probes.Load() > 5 })
	if n := len(r.edge.Registrations()); n != 1 {
		t.Errorf("%d registrations, not 1", n)
	}
}

// A connection over HTTP/2 says nothing when the network is gone.
func TestBackAfterSilence(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t))
	r.Timing().Probe, r.Timing().ProbeLimit = 50*time.Millisecond, time.Second
	r.run().online()
	r.eventually("a probe", func() bool { return r.origin.served("/healthz") > 1 })
	r.forget()
	r.edge.Silence()
	r.reached("reconnecting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting })
	r.online()
	if status, _, _ := r.visit(http.MethodPost, "/webhook", ""); status != http.StatusCreated {
		t.Errorf("after the silence: %d", status)
	}
}

// QUIC notices within five seconds.
func TestBackAfterSilenceOfQUIC(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t), over(tunnel.QUIC)).run()
	r.online()
	r.edge.Silence()
	r.await("reconnecting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting })
	r.online()
}

// unprobeable is a public address that does not lead to the tunnel.
func unprobeable(tb testing.TB) (host string, probed <-chan struct{}) {
	tb.Helper()
	seen := make(chan struct{}, 1000)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			seen <- struct{}{}
		}
	}
	server.StartTLS()
	tb.Cleanup(server.Close)
	return server.Listener.Addr().String(), seen
}

// A name that nobody here resolves, or an address that the router does not lead
// back, must not make the tunnel restart for ever.
func TestProbesThatNeverSucceedMeanNothing(t *testing.T) {
	t.Parallel()
	edge := tunneltest.New(t)
	host, probed := unprobeable(t)
	r := prepare(t, edge, named(t, edge), func(o *tunnel.Options) { o.Hostname = host })
	r.Timing().Probe = 10 * time.Millisecond
	r.run().await("fully online", func(s tunnel.State) bool { return s.Connections == 4 })
	for range 20 {
		<-probed
	}
	if n := len(edge.Registrations()); n != 4 {
		t.Errorf("%d registrations, not 4", n)
	}
}

func TestWake(t *testing.T) {
	t.Parallel()
	t.Run("a tunnel that is well stays", func(t *testing.T) {
		t.Parallel()
		r := prepare(t, tunneltest.New(t)).run()
		r.online()
		r.Wake()
		r.eventually("a probe", func() bool { return r.origin.served("/healthz") > 0 })
		r.Wake()
		r.eventually("another probe", func() bool { return r.origin.served("/healthz") > 1 })
		if n := len(r.edge.Registrations()); n != 1 {
			t.Errorf("%d registrations, not 1", n)
		}
	})
	t.Run("a silent one is opened anew", func(t *testing.T) {
		t.Parallel()
		r := prepare(t, tunneltest.New(t)).run()
		r.online()
		r.edge.Silence()
		r.Wake()
		r.await("reconnecting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting })
		r.online()
	})
	t.Run("one that waits tries at once", func(t *testing.T) {
		t.Parallel()
		r := prepare(t, tunneltest.New(t))
		r.Timing().Retry, r.Timing().LongestRetry = time.Hour, time.Hour
		r.run().online()
		r.edge.Cut()
		r.await("waiting", func(s tunnel.State) bool { return !s.RetryAt.IsZero() })
		r.Wake()
		r.online()
	})
	t.Run("one that is stuck tries at once", func(t *testing.T) {
		t.Parallel()
		r := prepare(t, tunneltest.New(t))
		r.Timing().Retry = time.Hour
		r.edge.Hang(true)
		r.run().await("connecting", func(s tunnel.State) bool { return s.Protocol != "" })
		r.edge.Hang(false)
		r.Wake()
		r.online()
	})
}

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	edge := tunneltest.New(t)
	r := prepare(t, edge, named(t, edge))
	r.Timing().Retry = time.Millisecond
	edge.Refuse(errors.New("Unauthorized: Invalid tunnel secret"))
	s := r.run().await("failed", func(s tunnel.State) bool { return s.Phase == tunnel.Failed })
	failure, ok := errors.AsType[*tunnel.Error](s.Err)
	if !ok || !errors.Is(s.Err, tunnel.ErrUnauthorized) || failure.Reason != "Unauthorized: Invalid tunnel secret" || s.RetryAt.IsZero() {
		t.Errorf("%+v", s)
	}
	if n := len(edge.Registrations()); n != 3 {
		t.Errorf("it is reported after %d refusals, not 3", n)
	}
	edge.Refuse(nil)
	if s := r.online(); s.Err != nil || s.Reason != "" {
		t.Errorf("accepted at last: %+v", s)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	edge := tunneltest.New(t)
	r := prepare(t, edge, named(t, edge))
	r.Timing().Retry = time.Millisecond
	edge.Refuse(errors.New("there are too many connections"))
	s := r.run().await("failed", func(s tunnel.State) bool { return s.Phase == tunnel.Failed })
	if !errors.Is(s.Err, tunnel.ErrRefused) || s.Reason != "there are too many connections" {
		t.Errorf("%+v", s)
	}
	edge.Refuse(nil)
	r.online()
}

func TestEdgeUnreachable(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for name, c := range map[string]struct {
		option func(*tunnel.Options)
		reason string
	}{
		"nobody listens": {func(o *tunnel.Options) { o.Edge.Addrs = []string{nobody} }, "refused"},
		"one with another certificate": {func(o *tunnel.Options) {
			another, err := tunnel.EdgeFromEnvironment(tunneltest.New(t).Getenv)
			if err != nil {
				t.Fatal(err)
			}
			o.Edge.RootCAs = another.RootCAs
		}, "certificate"},
		"one whose name is unknown": {func(o *tunnel.Options) { o.Edge.Addrs = []string{"127.0.0.1:no-such-port"} }, "failed to resolve any edge address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edge := tunneltest.New(t)
			r := prepare(t, edge, named(t, edge), c.option)
			r.Timing().Patience = 100 * time.Millisecond
			s := r.run().await("failed with a reason", func(s tunnel.State) bool { return s.Err != nil && strings.Contains(s.Err.Error(), c.reason) })
			if !errors.Is(s.Err, tunnel.ErrEdgeUnreachable) || s.Phase != tunnel.Failed {
				t.Errorf("%+v", s)
			}
			r.forget()
			r.reached("trying again", func(s tunnel.State) bool { return s.RetryAt.IsZero() && s.Phase == tunnel.Failed })
		})
	}
}

// cloudflared waits 15 s for a handshake, whatever its context says.
func TestHungHandshake(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t))
	r.Timing().Patience, r.Timing().Connect = 100*time.Millisecond, 500*time.Millisecond
	r.edge.Hang(true)
	s := r.run().await("failed", func(s tunnel.State) bool { return s.Phase == tunnel.Failed })
	if !errors.Is(s.Err, tunnel.ErrEdgeUnreachable) || !s.RetryAt.IsZero() {
		t.Errorf("while it tries: %+v", s)
	}
	s = r.await("waiting", func(s tunnel.State) bool { return !s.RetryAt.IsZero() })
	if s.Reason != "no answer within 500ms" {
		t.Errorf("after the first try: %+v", s)
	}
	r.edge.Hang(false)
	r.online()
	r.edge.Hang(true)
	r.edge.Cut()
	r.await("hanging again", func(s tunnel.State) bool { return s.Phase != tunnel.Online && s.RetryAt.IsZero() })
	r.stop() // In less than 10 s.
}

func TestFallBackToHTTP2(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t), over(tunnel.Auto))
	r.Timing().QUIC = 200 * time.Millisecond
	r.edge.BlockUDP(true)
	if s := r.run().online(); s.Protocol != tunnel.HTTP2 {
		t.Errorf("online with %s", s.Protocol)
	}
	r.reached("giving up QUIC", func(s tunnel.State) bool { return s.Reason == "no answer within 200ms" })
	r.reached("trying QUIC first", func(s tunnel.State) bool { return s.Phase == tunnel.Connecting && s.Protocol == tunnel.QUIC })
	r.forget()
	r.edge.Cut()
	r.reached("reconnecting", func(s tunnel.State) bool { return s.Phase == tunnel.Reconnecting })
	r.online()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.states {
		if s.Protocol != tunnel.HTTP2 {
			t.Errorf("what worked is forgotten: %+v", s)
		}
	}
}

func TestAutoPrefersQUIC(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t), over(tunnel.Auto)).run()
	if s := r.online(); s.Protocol != tunnel.QUIC {
		t.Errorf("online with %s", s.Protocol)
	}
}

func TestQuickTunnelIsKept(t *testing.T) {
	t.Parallel()
	edge, keeper := tunneltest.New(t), &store{}
	first := prepare(t, edge, kept(keeper)).run()
	address := first.online().Address
	first.stop()
	second := prepare(t, edge, kept(keeper)).run()
	if got := second.online().Address; got != address || edge.QuickRequests() != 1 {
		t.Errorf("the address was %s and is %s after %d requests", address, got, edge.QuickRequests())
	}
	second.stop()

	edge.Revoke()
	third := prepare(t, edge, kept(keeper)).run()
	if got := third.online().Address; got == address || edge.QuickRequests() != 2 {
		t.Errorf("the refused address was %s and is %s after %d requests", address, got, edge.QuickRequests())
	}
	refused := 0
	for _, registration := range edge.Registrations() {
		if registration.Refused != nil {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("it was given up after %d refusals, not 3", refused)
	}
	third.stop()
	fourth := prepare(t, edge, kept(keeper)).run()
	if got := fourth.online().Address; got != third.State().Address {
		t.Errorf("the new address was %s and is %s", third.State().Address, got)
	}
}

// The address is not to change for an error of the edge that passes.
func TestPassingRefusalKeepsTheQuickTunnel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refusal  error
		requests int
	}{
		"passing":  {pogs.RetryErrorAfter(errors.New("internal error"), time.Second), 1},
		"for good": {errors.New("there is no such tunnel"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edge, keeper := tunneltest.New(t), &store{}
			first := prepare(t, edge, kept(keeper)).run()
			first.online()
			first.stop()
			edge.Refuse(c.refusal)
			r := prepare(t, edge, kept(keeper))
			r.Timing().Retry = time.Millisecond
			r.run()
			r.eventually("five tries", func() bool { return len(edge.Registrations()) >= 6 })
			edge.Refuse(nil)
			r.online()
			if n := edge.QuickRequests(); n != c.requests {
				t.Errorf("%d quick tunnels were requested, not %d", n, c.requests)
			}
		})
	}
}

func TestQuickTunnelOfAnotherService(t *testing.T) {
	t.Parallel()
	keeper := &store{}
	rehearsal := prepare(t, tunneltest.New(t), kept(keeper)).run()
	rehearsal.online()
	r := prepare(t, tunneltest.New(t), kept(keeper)).run()
	r.online()
	for _, registration := range r.edge.Registrations() {
		if registration.Refused != nil {
			t.Errorf("it was shown what another service issued: %v", registration.Refused)
		}
	}
}

func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	keeper := &store{err: errors.New("the keychain is locked")}
	r := prepare(t, tunneltest.New(t), kept(keeper)).run()
	s := r.await("failed", func(s tunnel.State) bool { return s.Phase == tunnel.Failed })
	if !errors.Is(s.Err, tunnel.ErrStore) || s.Reason != "the keychain is locked" {
		t.Errorf("%+v", s)
	}
	if n := r.edge.QuickRequests(); n != 0 {
		t.Errorf("%d new tunnels were requested", n)
	}
	keeper.mu.Lock()
	keeper.err = nil
	keeper.mu.Unlock()
	if s := r.online(); s.Err != nil {
		t.Errorf("%+v", s)
	}
}

// The edge may refuse a new tunnel for good: the API is not to pay for that.
func TestNewQuickTunnelsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t))
	r.Timing().Retry, r.Timing().Settle = time.Millisecond, 0
	r.Timing().QuickPause = time.Hour
	r.edge.Refuse(errors.New("Unauthorized: Tunnel not found"))
	s := r.run().await("failed", func(s tunnel.State) bool { return s.Phase == tunnel.Failed })
	failure, ok := errors.AsType[*tunnel.Error](s.Err)
	if !ok || !errors.Is(s.Err, tunnel.ErrQuickTunnel) || failure.RetryAfter < 59*time.Minute/2 || s.Address != "" {
		t.Errorf("%+v", s)
	}
	if n := r.edge.QuickRequests(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestQuickAPIRefuses(t *testing.T) {
	t.Parallel()
	const pause = 15 * time.Second
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		body       string
		kind       error
		reason     string
		wait       time.Duration
	}{
		"rate":              {429, "", "error code: 1015", tunnel.ErrRateLimited, "429 Too Many Requests", 4 * pause},
		"rate for 2 h":      {429, "7200", "error code: 1015", tunnel.ErrRateLimited, "429 Too Many Requests", 2 * time.Hour},
		"rate until a date": {429, time.Now().Add(2 * time.Hour).UTC().Format(http.TimeFormat), "{}", tunnel.ErrRateLimited, "429 Too Many Requests", time.Hour},
		"server error":      {500, "", "error code: 1101", tunnel.ErrQuickTunnel, "500 Internal Server Error", pause},
		"JSON error":        {403, "", `{"success":false,"errors":[{"code":1003,"message":"not here"}]}`, tunnel.ErrQuickTunnel, "not here (1003)", pause},
		"text":              {200, "", "hello", tunnel.ErrQuickTunnel, "the answer cannot be read: invalid character 'h' looking for beginning of value", pause},
		"empty id":          {200, "", `{"success":true,"result":{"id":"","hostname":"a.b","account_tag":"a","secret":"c2VjcmV0"}}`, tunnel.ErrQuickTunnel, "the answer cannot be read: invalid UUID length: 0", pause},
		"no id":             {200, "", `{"success":true,"result":{"hostname":"a.b","account_tag":"a","secret":"c2VjcmV0"}}`, tunnel.ErrQuickTunnel, "it has no id", pause},
		"no secret":         {200, "", `{"result":{"id":"7d3f5e0c-4b2a-4f00-8000-000000000001","hostname":"a.b","account_tag":"a"}}`, tunnel.ErrQuickTunnel, "it has no secret", pause},
		"no host":           {200, "", `{"result":{"id":"7d3f5e0c-4b2a-4f00-8000-000000000001","hostname":"a/b","account_tag":"a","secret":"c2VjcmV0"}}`, tunnel.ErrQuickTunnel, "it has no host name", pause},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := prepare(t, tunneltest.New(t))
			r.edge.AnswerQuick(func(w http.ResponseWriter) {
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			r.Timing().QuickPause = pause
			s := r.run().await("failed", func(s tunnel.State) bool { return s.Phase == tunnel.Failed })
			failure, ok := errors.AsType[*tunnel.Error](s.Err)
			if !ok || !errors.Is(s.Err, c.kind) || failure.Reason != c.reason || failure.RetryAfter < c.wait || s.RetryAt.IsZero() {
				t.Errorf("%+v", s)
			}
			// Whoever is impatient does not hammer.
			for range 3 {
				r.forget()
				r.Wake()
				r.reached("refused again", func(s tunnel.State) bool { return errors.Is(s.Err, c.kind) && !s.RetryAt.IsZero() })
			}
			if n := r.edge.QuickRequests(); n != 1 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

func TestQuickAPIRecovers(t *testing.T) {
	t.Parallel()
	r := prepare(t, tunneltest.New(t))
	r.Timing().Retry, r.Timing().QuickPause = time.Millisecond, time.Millisecond
	r.edge.AnswerQuick(func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) })
	r.run().await("failed", func(s tunnel.State) bool { return errors.Is(s.Err, tunnel.ErrRateLimited) })
	r.edge.AnswerQuick(nil)
	if s := r.online(); s.Err != nil || s.Reason != "" {
		t.Errorf("%+v", s)
	}
}

func TestStopLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			running, end := make(chan struct{}), make(chan struct{})
			slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				close(running)
				<-end
				fmt.Fprint(w, "done")
			}))
			defer slow.Close()
			r := prepare(t, tunneltest.New(t), over(protocol), func(o *tunnel.Options) { o.Origin = slow.URL }).run()
			r.online()
			answered := make(chan string, 1)
			go func() {
				_, answer, _ := r.visit(http.MethodPost, "/webhook", "")
				answered <- answer
			}()
			<-running
			r.cancel()
			r.edge.Wait(0) // It has unregistered: with a grace of 0 it would not.
			select {
			case answer := <-answered:
				t.Errorf("the visitor gets %q too early", answer)
				answered <- answer
			case <-time.After(300 * time.Millisecond):
			}
			close(end)
			if answer := <-answered; answer != "done" {
				t.Errorf("the visitor gets %q", answer)
			}
			r.stop()
		})
	}
}

// goroutines counts those that are not about to end anyway.
func goroutines(r *rig) int {
	http.DefaultClient.CloseIdleConnections()
	r.origin.CloseClientConnections()
	runtime.GC() // What cloudflared's RPC leaves open is closed by finalizers.
	return runtime.NumGoroutine()
}

// cloudflared's supervisor panics at the second start in one process, and each of
// its observers leaves a goroutine. Not parallel: it counts those of the process.
func TestFiftyStartsAndTwoTunnels(t *testing.T) {
	edge := tunneltest.New(t)
	r := prepare(t, edge)
	cycle := func(r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		r.online()
		if status, _, _ := r.visit(http.MethodPost, "/webhook", ""); status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		edge.Wait(0)
	}
	cycle(r)
	cycle(r)
	before := goroutines(r)
	for range 50 {
		cycle(r)
	}
	r.eventually(fmt.Sprintf("no more than %d goroutines", before), func() bool { return goroutines(r) <= before })

	other := prepare(t, edge).run()
	r.run()
	one, two := r.online().Address, other.online().Address
	if one == two || !edge.Reachable(one+"/healthz") || !edge.Reachable(two+"/healthz") {
		t.Errorf("two tunnels at %s and %s", one, two)
	}
	if r.origin.served("/healthz") != 1 || other.origin.served("/healthz") != 1 {
		t.Error("one tunnel got the other's visitor")
	}
	other.stop()
	if !edge.Reachable(one + "/healthz") {
		t.Error("the end of one tunnel is felt by the other")
	}
}

func TestRestartsLeaveNothingBehind(t *testing.T) {
	for name, harm := range map[string]func(*rig){
		"cut": func(r *rig) { r.edge.Cut() },
		"silence": func(r *rig) {
			r.edge.Silence()
			r.Wake()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := prepare(t, tunneltest.New(t))
			r.Timing().Retry, r.Timing().LongestRetry = time.Millisecond, time.Millisecond
			r.Timing().ProbeLimit = 300 * time.Millisecond
			r.run().online()
			again := func() {
				n := len(r.edge.Registrations())
				harm(r)
				r.eventually("another registration", func() bool { return len(r.edge.Registrations()) > n })
				r.online()
			}
			again()
			before := goroutines(r)
			for range 15 {
				again()
			}
			r.eventually(fmt.Sprintf("no more than %d goroutines", before), func() bool { return goroutines(r) <= before })
		})
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	token, err := tunnel.ParseToken(validToken)
	if err != nil {
		t.Fatal(err)
	}
	good := tunnel.Options{Mode: tunnel.Named, Token: token, Hostname: "bot.example.org", Origin: "http://127.0.0.1:8460", Paths: []string{"/healthz"}}
	for name, c := range map[string]struct {
		change func(*tunnel.Options)
		want   error
	}{
		"good":              {func(*tunnel.Options) {}, nil},
		"host name as URL":  {func(o *tunnel.Options) { o.Hostname = "https://bot.example.org/" }, nil},
		"quick":             {func(o *tunnel.Options) { *o = tunnel.Options{Mode: tunnel.Quick, Origin: o.Origin} }, nil},
		"no mode":           {func(o *tunnel.Options) { o.Mode = "" }, tunnel.ErrBadOptions},
		"no token":          {func(o *tunnel.Options) { o.Token = tunnel.Token{} }, tunnel.ErrBadToken},
		"no host name":      {func(o *tunnel.Options) { o.Hostname = "" }, tunnel.ErrBadOptions},
		"host name, path":   {func(o *tunnel.Options) { o.Hostname = "bot.example.org/path" }, tunnel.ErrBadOptions},
		"unknown protocol":  {func(o *tunnel.Options) { o.Protocol = "h2mux" }, tunnel.ErrBadOptions},
		"origin with path":  {func(o *tunnel.Options) { o.Origin = "http://127.0.0.1:8460/x" }, tunnel.ErrBadOptions},
		"origin with slash": {func(o *tunnel.Options) { o.Origin = "http://127.0.0.1:8460/" }, nil},
		"origin elsewhere":  {func(o *tunnel.Options) { o.Origin = "ftp://127.0.0.1" }, tunnel.ErrBadOptions},
		"relative path":     {func(o *tunnel.Options) { o.Paths = []string{"healthz"} }, tunnel.ErrBadOptions},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			c.change(&o)
			made, err := tunnel.New(o)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && made.State().Phase != tunnel.Off {
				t.Errorf("%+v", made.State())
			}
			if err == nil && o.Mode == tunnel.Named && made.State().Address != "https://bot.example.org" {
				t.Errorf("%+v", made.State())
			}
		})
	}
}
