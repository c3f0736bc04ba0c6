package tunneltest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"
	"github.com/quic-go/quic-go"
)

func (e *Edge) serveQUIC(udp net.PacketConn) {
	ether := &ether{PacketConn: udp, edge: e, silent: map[string]bool{}}
	transport := &quic.Transport{Conn: ether}
	defer transport.Close()
	listener, err := transport.Listen(
		&tls.Config{Certificates: []tls.Certificate{e.cert}, NextProtos: []string{"argotunnel"}, MinVersion: tls.VersionTLS13},
		&quic.Config{EnableDatagrams: true, MaxIncomingStreams: 1 << 20})
	if err != nil {
		return
	}
	for {
		q, err := listener.Accept(e.ctx)
		if err != nil {
			return
		}
		e.work.Go(func() { e.serveQUICConn(q, ether) })
	}
}

func (e *Edge) serveQUICConn(q quic.Connection, ether *ether) {
	defer func() { _ = q.CloseWithError(0, "") }()
	c := &conn{
		protocol: "quic",
		cut:      func() { _ = q.CloseWithError(1, "cut") },
		silence:  func() { ether.silence(q.RemoteAddr()) },
	}
	e.opening(c)
	defer e.closed(c)
	c.roundTrip = func(r *http.Request) (*http.Response, error) { return quicRoundTrip(q, r) }
	c.push = func(ctx context.Context, version int32, config []byte) error {
		stream, err := q.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		client, err := rpcquic.NewCloudflaredClient(ctx, stream, 5*time.Second)
		if err != nil {
			return err
		}
		defer client.Close()
		response, err := client.UpdateConfiguration(ctx, version, config)
		if err != nil {
			return err
		}
		return response.Err
	}
	// The first stream is that of control.
	stream, err := q.AcceptStream(e.ctx)
	if err != nil {
		return
	}
	_ = tunnelrpc.NewRegistrationServer(control{e, c}).Serve(q.Context(), stream)
	// The client ends the connection after its period of grace.
	select {
	case <-q.Context().Done():
	case <-e.ctx.Done():
	}
}

func quicRoundTrip(q quic.Connection, r *http.Request) (*http.Response, error) {
	stream, err := q.OpenStreamSync(r.Context())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(r.Context(), func() { stream.CancelRead(0); stream.CancelWrite(0) })
	fail := func(err error) (*http.Response, error) {
		stop()
		stream.CancelRead(0)
		stream.CancelWrite(0)
		return nil, err
	}
	metadata := []pogs.Metadata{
		{Key: connection.HTTPMethodKey, Val: r.Method},
		{Key: connection.HTTPHostKey, Val: r.Host},
	}
	if r.ContentLength > 0 {
		metadata = append(metadata, pogs.Metadata{Key: connection.HTTPHeaderKey + ":Content-Length", Val: strconv.FormatInt(r.ContentLength, 10)})
	}
	for name, values := range r.Header {
		for _, value := range values {
			metadata = append(metadata, pogs.Metadata{Key: connection.HTTPHeaderKey + ":" + name, Val: value})
		}
	}
	request := rpcquic.RequestClientStream{ReadWriteCloser: stream}
	if err := request.WriteConnectRequestData(r.URL.String(), pogs.ConnectionTypeHTTP, metadata...); err != nil {
		return fail(err)
	}
	if r.Body != nil {
		if _, err := io.Copy(stream, r.Body); err != nil {
			return fail(err)
		}
	}
	_ = stream.Close()
	answer, err := request.ReadConnectResponseData()
	if err != nil {
		return fail(err)
	}
	if answer.Error != "" {
		return fail(errors.New(answer.Error))
	}
	response := &http.Response{
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{}, ContentLength: -1, Request: r,
		Body: &quicBody{stream, stop},
	}
	for _, m := range answer.Metadata {
		if m.Key == connection.HTTPStatus {
			response.StatusCode, _ = strconv.Atoi(m.Val)
			response.Status = m.Val + " " + http.StatusText(response.StatusCode)
		} else if name, ok := strings.CutPrefix(m.Key, connection.HTTPHeaderKey+":"); ok {
			response.Header.Add(name, m.Val)
		}
	}
	return response, nil
}

type quicBody struct {
	quic.Stream
	stop func() bool
}

func (b *quicBody) Close() error {
	b.stop()
	b.CancelRead(0)
	return nil
}

// ether carries the packets, but for addresses that have fallen silent.
type ether struct {
	net.PacketConn
	edge   *Edge
	mu     sync.Mutex
	silent map[string]bool
}

func (t *ether) silence(addr net.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.silent[addr.String()] = true
}

// drop reports whether a packet gets lost. The first of a new connection ends the
// silence: cloudflared uses a port again.
func (t *ether) drop(addr net.Addr, isFirst bool) bool {
	t.edge.mu.Lock()
	hanging, noUDP := t.edge.hanging, t.edge.noUDP
	t.edge.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if isFirst && !hanging {
		delete(t.silent, addr.String())
	}
	return noUDP || t.silent[addr.String()] || isFirst && hanging
}

// SetReadBuffer spares the tests a warning of quic-go.
func (t *ether) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does the same.
func (t *ether) SetWriteBuffer(int) error { return nil }

func (t *ether) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, addr, err := t.PacketConn.ReadFrom(p)
		if err != nil {
			return n, addr, err
		}
		// The two highest bits and a zero type: a long header with an Initial.
		if !t.drop(addr, n > 0 && p[0]&0xf0 == 0xc0) {
			return n, addr, nil
		}
	}
}

func (t *ether) WriteTo(p []byte, addr net.Addr) (int, error) {
	if t.drop(addr, false) {
		return len(p), nil
	}
	return t.PacketConn.WriteTo(p, addr)
}
