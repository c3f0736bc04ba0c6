// Package tunneltest plays the other end of a tunnel on the loopback interface: an
// edge of Cloudflare with HTTP/2 and QUIC, its public side, and the API that issues
// quick tunnels.
package tunneltest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
)

// Edge is a loopback edge. Its methods may be called at any time.
type Edge struct {
	Addr string // host:port of the edge, TCP and UDP
	URL  string // of the public side in plain HTTP; the Host header chooses the tunnel, else it is the one connected last

	tb     testing.TB
	ctx    context.Context //nolint:containedctx // Until the end of the test.
	cert   tls.Certificate
	caFile string
	api    *httptest.Server
	work   sync.WaitGroup

	mu            sync.Mutex
	tunnels       map[uuid.UUID]*issued
	hosts         map[string]uuid.UUID
	conns         []*conn // registered, the last one last
	open          map[*conn]bool
	changed       chan struct{} // is closed when conns changes
	refusal       error
	hanging       bool
	noUDP         bool
	registrations []Registration
	quickRequests int
	quickAnswer   func(http.ResponseWriter)
}

// Registration is what a client has shown the edge.
type Registration struct {
	Tunnel   uuid.UUID
	Index    int    // of the connection
	Protocol string // "http2" or "quic"
	Refused  error
}

// issued is a tunnel that exists.
type issued struct {
	id      uuid.UUID
	account string
	secret  []byte
	host    string
	revoked bool
}

// conn is a connection to the edge.
type conn struct {
	protocol  string
	tunnel    uuid.UUID
	roundTrip func(*http.Request) (*http.Response, error)
	push      func(ctx context.Context, version int32, config []byte) error
	cut       func()
	silence   func()
}

// New starts an edge, which ends with the test.
func New(tb testing.TB) *Edge {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e := &Edge{
		tb: tb, ctx: ctx,
		tunnels: map[uuid.UUID]*issued{},
		hosts:   map[string]uuid.UUID{},
		open:    map[*conn]bool{},
		changed: make(chan struct{}),
	}
	e.certify()
	tcp, udp := e.listen()
	e.Addr = tcp.Addr().String()
	e.work.Go(func() { e.serveHTTP2(tcp) })
	e.work.Go(func() { e.serveQUIC(udp) })
	public := httptest.NewServer(e)
	e.URL = public.URL
	e.api = httptest.NewServer(http.HandlerFunc(e.serveAPI))
	tb.Cleanup(func() {
		cancel()
		_ = tcp.Close()
		_ = udp.Close()
		e.Cut()
		public.CloseClientConnections()
		public.Close()
		e.api.Close()
		e.work.Wait()
	})
	return e
}

// Getenv is os.Getenv for a program that is to use this edge.
func (e *Edge) Getenv(name string) string {
	return map[string]string{
		"PERCH_TUNNEL_EDGE":      e.Addr,
		"PERCH_TUNNEL_CA":        e.caFile,
		"PERCH_TUNNEL_QUICK_API": e.api.URL,
	}[name]
}

// Named creates a named tunnel and returns its token and its public host name,
// which https:// reaches with the certificate in PERCH_TUNNEL_CA.
func (e *Edge) Named() (token, hostname string) {
	t := e.issue()
	data, _ := json.Marshal(map[string]any{"a": t.account, "t": t.id, "s": t.secret})
	return base64.StdEncoding.EncodeToString(data), t.host
}

// Revoke makes the edge refuse every tunnel that exists until now.
func (e *Edge) Revoke() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tunnels {
		t.revoked = true
	}
}

// Refuse makes the edge refuse every registration with err; nil ends it.
func (e *Edge) Refuse(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusal = err
}

// AnswerQuick makes answer respond to requests for a quick tunnel; nil ends it.
func (e *Edge) AnswerQuick(answer func(http.ResponseWriter)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.quickAnswer = answer
}

// QuickRequests returns how many quick tunnels were requested.
func (e *Edge) QuickRequests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.quickRequests
}

// Registrations returns all that were tried.
func (e *Edge) Registrations() []Registration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.registrations)
}

// Wait returns when n connections are registered; the test fails if that takes
// longer than 30 s.
func (e *Edge) Wait(n int) {
	e.tb.Helper()
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	for {
		e.mu.Lock()
		have, changed := len(e.conns), e.changed
		e.mu.Unlock()
		if have == n {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			e.tb.Fatalf("the edge has %d connections, not %d", have, n)
		}
	}
}

// Push sends all connected tunnels a configuration, as the dashboard does.
func (e *Edge) Push(version int32, config string) {
	e.tb.Helper()
	for _, c := range e.registered() {
		if err := c.push(e.ctx, version, []byte(config)); err != nil {
			e.tb.Errorf("push: %v", err)
		}
	}
}

// Cut kills all connections.
func (e *Edge) Cut() {
	for _, c := range e.opened() {
		c.cut()
	}
}

// CutOne kills one registered connection.
func (e *Edge) CutOne() {
	if conns := e.registered(); len(conns) > 0 {
		conns[0].cut()
	}
}

// Reachable reports whether url, of the public side, is answered by a tunnel.
func (e *Edge) Reachable(url string) bool {
	roots := x509.NewCertPool()
	roots.AddCert(e.cert.Leaf)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	request, err := http.NewRequestWithContext(e.ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode < 500
}

// Silence makes all present connections carry nothing any more, without an end;
// new ones work.
func (e *Edge) Silence() {
	for _, c := range e.opened() {
		c.silence()
	}
}

// Hang makes new connections hang before their handshake, until they are cut.
func (e *Edge) Hang(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hanging = on
}

// BlockUDP makes all packets get lost.
func (e *Edge) BlockUDP(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noUDP = on
}

// RoundTrip is a visitor's request, for the tunnel that its host belongs to.
func (e *Edge) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	c := e.route(host)
	if c == nil {
		// What Cloudflare answers then.
		return &http.Response{
			StatusCode: 530, Status: "530", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Cf-Ray": {"7d3f5e0c4b2a1f00-FRA"}, "Content-Type": {"text/plain"}},
			Body:   io.NopCloser(bytes.NewReader([]byte("error code: 1033"))), Request: r,
		}, nil
	}
	r = r.Clone(r.Context())
	r.Host, r.RequestURI = host, ""
	r.Close = false // It is about the visitor's own connection.
	r.Header.Del("Connection")
	r.URL.Scheme, r.URL.Host = "https", host
	return c.roundTrip(r)
}

// ServeHTTP is the public side.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Cf-Ray", "7d3f5e0c4b2a1f00-FRA")
	response, err := e.RoundTrip(r)
	if err != nil {
		http.Error(w, "error code: 502: "+err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	maps.Copy(w.Header(), response.Header)
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

func (e *Edge) route(host string) *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	id, known := e.hosts[host]
	for _, c := range slices.Backward(e.conns) {
		if !known || c.tunnel == id {
			return c
		}
	}
	return nil
}

func (e *Edge) registered() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.conns)
}

func (e *Edge) opened() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.open))
}

// opening notes a connection that has yet to register; false: it is to hang.
func (e *Edge) opening(c *conn) (serve bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open[c] = true
	return !e.hanging
}

func (e *Edge) closed(c *conn) {
	e.unregister(c)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, c)
}

func (e *Edge) unregister(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.Index(e.conns, c); i >= 0 {
		e.conns = slices.Delete(e.conns, i, i+1)
		close(e.changed)
		e.changed = make(chan struct{})
	}
}

// issue creates a tunnel and its public address.
func (e *Edge) issue() *issued {
	t := &issued{id: uuid.New(), account: "0123456789abcdef", secret: make([]byte, 32)}
	_, _ = rand.Read(t.secret)
	public := httptest.NewUnstartedServer(e)
	public.TLS = &tls.Config{Certificates: []tls.Certificate{e.cert}}
	public.Config.ErrorLog = nil
	public.StartTLS()
	e.tb.Cleanup(func() {
		public.CloseClientConnections()
		public.Close()
	})
	t.host = public.Listener.Addr().String()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tunnels[t.id], e.hosts[t.host] = t, t.id
	return t
}

func (e *Edge) serveAPI(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.quickRequests++
	answer := e.quickAnswer
	e.mu.Unlock()
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/tunnel" || r.Header.Get("Content-Type") != "application/json":
		http.Error(w, "not POST /tunnel with JSON", http.StatusBadRequest)
	case answer != nil:
		answer(w)
	default:
		t := e.issue()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"success": true, "errors": []any{},
			"result": map[string]any{"id": t.id, "name": "", "hostname": t.host, "account_tag": t.account, "secret": t.secret},
		})
	}
}

// control is the RPC service on a connection's control stream.
type control struct {
	edge *Edge
	conn *conn
}

// RegisterConnection implements pogs.RegistrationServer.
func (s control) RegisterConnection(_ context.Context, auth pogs.TunnelAuth, id uuid.UUID, index byte, _ *pogs.ConnectionOptions) (*pogs.ConnectionDetails, error) {
	e := s.edge
	e.mu.Lock()
	defer e.mu.Unlock()
	r := Registration{Tunnel: id, Index: int(index), Protocol: s.conn.protocol, Refused: e.refusal}
	t := e.tunnels[id]
	if t == nil || t.revoked || t.account != auth.AccountTag || !bytes.Equal(t.secret, auth.TunnelSecret) {
		r.Refused = errors.New("Unauthorized: Tunnel not found") //nolint:staticcheck // It is Cloudflare's.
	}
	e.registrations = append(e.registrations, r)
	if r.Refused != nil {
		return nil, r.Refused
	}
	s.conn.tunnel = id
	e.conns = append(e.conns, s.conn)
	close(e.changed)
	e.changed = make(chan struct{})
	return &pogs.ConnectionDetails{UUID: uuid.New(), Location: "fra08", TunnelIsRemotelyManaged: true}, nil
}

// UnregisterConnection implements pogs.RegistrationServer.
func (s control) UnregisterConnection(context.Context) {
	s.edge.unregister(s.conn)
}

// UpdateLocalConfiguration implements pogs.RegistrationServer.
func (s control) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

func (e *Edge) certify() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "tunneltest"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames:    []string{"h2.cftunnel.com", "quic.cftunnel.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		e.tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		e.tb.Fatal(err)
	}
	e.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	e.caFile = filepath.Join(e.tb.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(e.caFile, data, 0o600); err != nil {
		e.tb.Fatal(err)
	}
}

// listen opens the same port for TCP and UDP.
func (e *Edge) listen() (net.Listener, net.PacketConn) {
	var err error
	for range 20 {
		var tcp net.Listener
		if tcp, err = (&net.ListenConfig{}).Listen(e.ctx, "tcp", "127.0.0.1:0"); err != nil {
			continue
		}
		var udp net.PacketConn
		if udp, err = (&net.ListenConfig{}).ListenPacket(e.ctx, "udp", tcp.Addr().String()); err == nil {
			return tcp, udp
		}
		_ = tcp.Close()
	}
	e.tb.Fatal(fmt.Errorf("no port for TCP and UDP: %w", err))
	return nil, nil
}
