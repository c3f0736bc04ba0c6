package tunneltest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/tunnelrpc"
	"golang.org/x/net/http2"
)

func (e *Edge) serveHTTP2(l net.Listener) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		e.work.Go(func() { e.serveHTTP2Conn(&gate{Conn: raw, end: make(chan struct{})}) })
	}
}

// serveHTTP2Conn is the HTTP/2 client on a connection that cloudflared has opened.
func (e *Edge) serveHTTP2Conn(g *gate) {
	defer g.Close()
	c := &conn{protocol: "http2", cut: func() { _ = g.Close() }, silence: func() { g.silent.Store(true) }}
	serve := e.opening(c)
	defer e.closed(c)
	if !serve {
		<-g.end
		return
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	secured := tls.Server(g, &tls.Config{Certificates: []tls.Certificate{e.cert}, MinVersion: tls.VersionTLS12})
	if secured.HandshakeContext(ctx) != nil {
		return
	}
	client, err := (&http2.Transport{}).NewClientConn(secured) //nolint:staticcheck // That of net/http dials itself.
	if err != nil {
		return
	}
	c.roundTrip = func(r *http.Request) (*http.Response, error) {
		response, err := client.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		return response, unwrap(response)
	}
	c.push = func(ctx context.Context, version int32, config []byte) error {
		body, _ := json.Marshal(map[string]any{"version": version, "config": json.RawMessage(config)})
		request := internal(ctx, connection.ConfigurationUpdate, bytes.NewReader(body))
		response, err := client.RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if answer, _ := io.ReadAll(response.Body); !bytes.Contains(answer, fmt.Appendf(nil, `"lastAppliedVersion":%d`, version)) {
			return errors.New(string(answer))
		}
		return nil
	}
	// The control stream is a request that lasts as long as the connection; the
	// client makes its calls in the response.
	toClient, body := io.Pipe()
	response, err := client.RoundTrip(internal(ctx, connection.ControlStreamUpgrade, toClient))
	if err != nil {
		return
	}
	defer response.Body.Close()
	stream := struct {
		io.Reader
		io.WriteCloser
	}{response.Body, body}
	_ = tunnelrpc.NewRegistrationServer(control{e, c}).Serve(ctx, stream)
	// The requests that run may end in the client's period of grace.
	_ = client.Shutdown(ctx)
}

func internal(ctx context.Context, kind string, body io.Reader) *http.Request {
	r, _ := http.NewRequestWithContext(ctx, http.MethodPut, "https://edge.invalid/", body)
	r.Header.Set(connection.InternalUpgradeHeader, kind)
	return r
}

// unwrap replaces the headers by those of the origin, which travel in one.
func unwrap(response *http.Response) error {
	headers, err := connection.DeserializeHeaders(response.Header.Get(connection.CanonicalResponseUserHeaders))
	if err != nil {
		return err
	}
	response.Header = http.Header{}
	for _, h := range headers {
		response.Header.Add(h.Name, h.Value)
	}
	return nil
}

// gate is a connection that can fall silent.
type gate struct {
	net.Conn
	silent atomic.Bool
	once   sync.Once
	end    chan struct{}
}

func (g *gate) Read(p []byte) (int, error) {
	for {
		n, err := g.Conn.Read(p)
		if err != nil || !g.silent.Load() {
			return n, err
		}
	}
}

func (g *gate) Write(p []byte) (int, error) {
	if g.silent.Load() {
		return len(p), nil
	}
	return g.Conn.Write(p)
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.end) })
	return g.Conn.Close()
}
