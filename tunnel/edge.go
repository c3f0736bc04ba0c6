package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/tlsconfig"
	"github.com/quic-go/quic-go"
)

// Protocols of the connections to the edge.
const (
	Auto  = "auto" // QUIC if it gets through, else HTTP/2
	QUIC  = "quic"
	HTTP2 = "http2"
)

// Edge says where the other end of the tunnel is. Its zero value is Cloudflare;
// another one is for rehearsals and tests.
type Edge struct {
	Addrs    []string       // host:port, TCP and UDP
	RootCAs  *x509.CertPool // that sign the edge, its API and its public side
	QuickAPI string         // base URL: quick tunnels are requested with POST <QuickAPI>/tunnel
}

// EdgeFromEnvironment reads the Edge from PERCH_TUNNEL_EDGE (host:port, separated
// by commas), PERCH_TUNNEL_CA (a PEM file) and PERCH_TUNNEL_QUICK_API (a base URL).
// Where none is set it is Cloudflare. Its error is of the kind ErrBadOptions.
func EdgeFromEnvironment(getenv func(string) string) (Edge, error) {
	var e Edge
	bad := func(format string, args ...any) (Edge, error) { //nolint:unparam // It is for return.
		return Edge{}, &Error{Kind: ErrBadOptions, Reason: fmt.Sprintf(format, args...)}
	}
	for addr := range strings.SplitSeq(getenv("PERCH_TUNNEL_EDGE"), ",") {
		if addr = strings.TrimSpace(addr); addr == "" {
			continue
		}
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			return bad("PERCH_TUNNEL_EDGE: %q is not host:port", addr)
		}
		e.Addrs = append(e.Addrs, addr)
	}
	if file := getenv("PERCH_TUNNEL_CA"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return bad("PERCH_TUNNEL_CA: %s", err)
		}
		if e.RootCAs = x509.NewCertPool(); !e.RootCAs.AppendCertsFromPEM(pem) {
			return bad("PERCH_TUNNEL_CA: no certificate in %s", file)
		}
	}
	if base := strings.TrimRight(getenv("PERCH_TUNNEL_QUICK_API"), "/"); base != "" {
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return bad("PERCH_TUNNEL_QUICK_API: not an http:// or https:// URL")
		}
		e.QuickAPI = base
	}
	return e, nil
}

// Overridden reports whether anything but Cloudflare is used.
func (e Edge) Overridden() bool {
	return len(e.Addrs) > 0 || e.RootCAs != nil || e.QuickAPI != ""
}

// Reach shakes hands with the edge over QUIC (UDP) or HTTP2 (TCP) and returns the
// address that answered. Its error is of the kind ErrEdgeUnreachable.
func (e Edge) Reach(ctx context.Context, protocol string) (addr string, err error) {
	addrs := e.Addrs
	if len(addrs) == 0 {
		addrs = []string{"region1.v2.argotunnel.com:7844", "region2.v2.argotunnel.com:7844"}
	}
	var failures []error
	for i, addr := range addrs {
		// The last gets all the time that is left, those before it their share.
		err := func() error {
			ctx, cancel := share(ctx, len(addrs)-i)
			defer cancel()
			return e.handshake(ctx, protocol, addr)
		}()
		if err == nil {
			return addr, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", addr, err))
	}
	return "", &Error{Kind: ErrEdgeUnreachable, Reason: errors.Join(failures...).Error()}
}

func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	left := 10 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return context.WithTimeout(ctx, left/time.Duration(n))
}

func (e Edge) handshake(ctx context.Context, protocol, addr string) error {
	if protocol == QUIC {
		config, err := e.tlsConfig(connection.QUIC)
		if err != nil {
			return err
		}
		conn, err := quic.DialAddr(ctx, addr, config, &quic.Config{EnableDatagrams: true})
		if err != nil {
			return err
		}
		return conn.CloseWithError(0, "")
	}
	config, err := e.tlsConfig(connection.HTTP2)
	if err != nil {
		return err
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// tlsConfig verifies the edge.
func (e Edge) tlsConfig(p connection.Protocol) (*tls.Config, error) {
	roots := e.RootCAs
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			return nil, err
		}
		own, err := tlsconfig.GetCloudflareRootCA()
		if err != nil {
			return nil, err
		}
		for _, cert := range own {
			roots.AddCert(cert)
		}
	}
	settings := p.TLSSettings()
	return &tls.Config{
		RootCAs: roots, ServerName: settings.ServerName, NextProtos: settings.NextProtos, MinVersion: tls.VersionTLS12,
	}, nil
}

// client makes requests to the quick tunnels' API and to the public side. It keeps
// no connections: an old one would tell of the network as it was.
func (e Edge) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: e.RootCAs, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
