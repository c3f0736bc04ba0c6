//go:build !notunnel

package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/tlsconfig"
	"github.com/quic-go/quic-go"
)

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
