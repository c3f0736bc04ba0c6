//go:build !notunnel

package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/connection/dialopts"
	"github.com/cloudflare/cloudflared/features"
	cfdquic "github.com/cloudflare/cloudflared/quic"
	"github.com/cloudflare/cloudflared/tracing"
	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"
	"github.com/quic-go/quic-go"
)

const (
	cloudflaredVersion = "2026.7.1" // what the edge is told; that of the module in go.mod

	rpcLimit  = 5 * time.Second  // for a call to the edge
	dialLimit = 10 * time.Second // for a connection to the edge, until it is secured
	grace     = time.Second      // to unregister, and for the requests that run at the end
)

func (l *link) serveHTTP2(ctx context.Context, c *control, addr net.Addr, tlsConfig *tls.Config) error {
	dialing, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	dialer := tls.Dialer{Config: tlsConfig, NetDialer: &net.Dialer{
		// Nobody may talk for hours: the system is to find out if the other end is gone.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
	}}
	conn, err := dialer.DialContext(dialing, "tcp", addr.String())
	if err != nil {
		return err
	}
	// To end, cloudflared waits for all requests, which may never end while the
	// network is silent. So the connection is closed here, and it only then told.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	serving, served := context.WithCancel(context.WithoutCancel(ctx))
	defer served()
	options := l.client.ConnectionOptionsSnapshot(localIP(conn.LocalAddr()), 0)
	err = connection.NewHTTP2Connection(conn, l, options, l.observer, c.index, c, l.zlog).Serve(serving)
	_ = conn.Close()
	_ = c.wait()
	return err
}

func (l *link) serveQUIC(ctx context.Context, c *control, addr *net.UDPAddr, tlsConfig *tls.Config) error {
	dialing, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := connection.DialQuic(dialing, &quic.Config{
		HandshakeIdleTimeout:  cfdquic.HandshakeIdleTimeout,
		MaxIdleTimeout:        cfdquic.MaxIdleTimeout,
		KeepAlivePeriod:       cfdquic.MaxIdlePingPeriod,
		MaxIncomingStreams:    cfdquic.MaxIncomingStreams,
		MaxIncomingUniStreams: cfdquic.MaxIncomingStreams,
		EnableDatagrams:       true,
		InitialPacketSize:     1232, // fits through a VPN
	}, tlsConfig, addr.AddrPort(), nil, c.index, l.zlog, dialopts.DialOpts{SkipPortReuse: true})
	if err != nil {
		return err
	}
	options := l.client.ConnectionOptionsSnapshot(localIP(conn.LocalAddr()), 0)
	_ = connection.NewTunnelConnection(ctx, conn, c.index, l, noDatagrams{}, c, options, rpcLimit, 0, 0, l.zlog).Serve(ctx)
	return context.Cause(conn.Context()) //nolint:contextcheck // It knows why the connection ended.
}

func localIP(addr net.Addr) net.IP {
	host, _, _ := net.SplitHostPort(addr.String())
	return net.ParseIP(host)
}

// refusal is what the edge said instead of accepting a connection.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// control is the control stream of a connection. It implements
// connection.ControlStreamHandler.
type control struct {
	link   *link
	index  uint8
	addr   net.IP
	cancel context.CancelFunc // ends the connection

	started atomic.Bool
	ended   chan struct{} // is closed at the end of ServeControlStream
	failure error         // for wait
}

// wait waits for the end of ServeControlStream, if it ever began, and returns why
// the connection was not registered.
func (c *control) wait() error {
	if !c.started.Load() {
		return nil
	}
	<-c.ended
	return c.failure
}

// ServeControlStream registers the connection and waits for its end. It always
// returns nil: cloudflared's own bookkeeping of errors is not safe.
func (c *control) ServeControlStream(ctx context.Context, rw io.ReadWriteCloser, options *pogs.ConnectionOptions, _ connection.TunnelConfigJSONGetter) error {
	c.started.Store(true)
	defer close(c.ended)
	defer c.cancel()
	stream := &stream{ReadWriteCloser: rw}
	defer stream.shut()
	edge := tunnelrpc.NewRegistrationClient(ctx, stream, rpcLimit)
	defer edge.Close()
	credentials := c.link.credentials
	details, err := edge.RegisterConnection(ctx, credentials.Auth(), credentials.TunnelID, options, c.index, c.addr)
	if err != nil {
		c.failure = err
		if _, ok := errors.AsType[*pogs.RPCError](err); !ok && err.Error() != connection.DuplicateConnectionError {
			c.failure = refusal{err}
		}
		return nil
	}
	c.link.connected(c.index, details.Location)
	select {
	case <-ctx.Done():
	case <-c.link.drain:
		_ = edge.GracefulShutdown(ctx, grace)
		c.link.finish(ctx)
	}
	return nil
}

// IsStopped keeps cloudflared from looking for an error.
func (c *control) IsStopped() bool { return true }

// finish waits until no request runs, for the time of grace.
func (l *link) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for l.running.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// stream is a control stream that takes no more after its handler has returned; the
// RPC package tries.
type stream struct {
	io.ReadWriteCloser
	mu   sync.Mutex
	done bool
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return 0, io.ErrClosedPipe
	}
	return s.ReadWriteCloser.Write(p)
}

func (s *stream) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
}

// The link implements connection.Orchestrator and connection.OriginProxy: it
// decides where requests go.

// UpdateConfig acknowledges a configuration that Cloudflare pushes, and ignores it:
// it may name another origin.
func (l *link) UpdateConfig(version int32, _ []byte) *pogs.UpdateConfigurationResponse {
	return &pogs.UpdateConfigurationResponse{LastAppliedVersion: version}
}

// GetConfigJSON is never called.
func (l *link) GetConfigJSON() ([]byte, error) { return []byte("{}"), nil }

// GetOriginProxy returns the link.
func (l *link) GetOriginProxy() (connection.OriginProxy, error) { return l, nil }

// ProxyHTTP answers a visitor's request.
func (l *link) ProxyHTTP(w connection.ResponseWriter, r *tracing.TracedHTTPRequest, _ bool) error {
	l.running.Add(1)
	defer l.running.Add(-1)
	l.origin.ServeHTTP(w, r.Request)
	return nil
}

// ProxyTCP refuses: a named tunnel could also be a way into the network that this
// machine is in.
func (l *link) ProxyTCP(context.Context, connection.ReadWriteAcker, *connection.TCPRequest) error {
	return errors.ErrUnsupported
}

// forward returns a handler that forwards requests for exactly the paths to the
// origin host:port, with these headers instead of the visitor's of those names.
func forward(origin string, paths []string, header http.Header, log *slog.Logger) *forwarder {
	transport := &http.Transport{IdleConnTimeout: 10 * time.Second, MaxIdleConnsPerHost: 16}
	return &forwarder{paths, transport, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.RawPath = "http", origin, ""
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.Out.Header.Del("Expect")
			r.Out.Header.Del("Upgrade")
			maps.Copy(r.Out.Header, header)
		},
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

type forwarder struct {
	paths     []string
	transport *http.Transport
	proxy     *httputil.ReverseProxy
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(f.paths, r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// noDatagrams refuses UDP into the network that this machine is in. It implements
// connection.DatagramSessionHandler.
type noDatagrams struct{}

func (noDatagrams) Serve(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (noDatagrams) RegisterUdpSession(context.Context, uuid.UUID, net.IP, uint16, time.Duration, string) (*pogs.RegisterUdpSessionResponse, error) {
	return nil, errors.ErrUnsupported
}

func (noDatagrams) UnregisterUdpSession(context.Context, uuid.UUID, string) error {
	return nil
}

// standard selects what every cloudflared can do; cloudflared's own selector asks a
// DNS server what else to try.
type standard struct{}

func (standard) Snapshot() features.FeatureSnapshot {
	return features.FeatureSnapshot{
		PostQuantum:     features.PostQuantumPrefer,
		DatagramVersion: features.DatagramV2,
		FeaturesList: []string{
			features.FeatureAllowRemoteConfig, features.FeatureSerializedHeaders,
			features.FeatureDatagramV2, features.FeatureQUICSupportEOF,
		},
	}
}

// end ends the goroutine of an observer, which would wait for events for ever.
func end(o *connection.Observer) {
	ended := make(chan struct{})
	o.RegisterSink(connection.EventSinkFunc(func(connection.Event) {
		close(ended)
		runtime.Goexit()
	}))
	for {
		o.SendDisconnect(0) // It may overtake the sink.
		select {
		case <-ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// logger takes lines of cloudflared's log.
type logger struct{ *slog.Logger }

func (l logger) Write(line []byte) (int, error) {
	var entry struct{ Message, Error string }
	if err := json.Unmarshal(line, &entry); err != nil {
		entry.Message = "a line that is not JSON"
	}
	l.LogAttrs(context.Background(), slog.LevelDebug, "cloudflared",
		slog.String("says", entry.Message), slog.String("error", entry.Error))
	return len(line), nil
}
