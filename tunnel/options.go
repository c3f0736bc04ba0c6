// Package tunnel gives a program on a home machine a public HTTPS address: it
// embeds cloudflared, so nothing is downloaded and no second program runs.
//
// Linking cloudflared puts /debug/pprof and its like on http.DefaultServeMux:
// never serve that one.
package tunnel

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Mode says which kind of tunnel is opened.
type Mode string

// The values of Mode.
const (
	Quick Mode = "quick" // without an account; another address now and then
	Named Mode = "named" // of an account, with a host name of its own
)

// Options say what a tunnel is.
type Options struct {
	Mode     Mode
	Token    Token       // Named: the permission to serve the tunnel
	Hostname string      // Named: its public host name
	Store    Store       // Quick: keeps the credentials; nil: each start has another address
	Protocol string      // Auto, QUIC or HTTP2; empty: Auto
	Origin   string      // where requests go: "http://127.0.0.1:8460"
	Paths    []string    // the only ones that are reachable, to the letter: "/healthz"
	Header   http.Header // what each request to the origin has besides its own
	Edge     Edge        // zero: Cloudflare
	Log      *slog.Logger

	// Changed, unless nil, is called with each new State, one after the other. It
	// holds up the tunnel, so it must not block.
	Changed func(State)
}

// Phase is how a tunnel is, in one word.
type Phase string

// The values of Phase.
const (
	Off          Phase = "off"
	Requesting   Phase = "requesting"   // a quick tunnel
	Connecting   Phase = "connecting"   // for the first time
	Online       Phase = "online"       // the address can be reached
	Reconnecting Phase = "reconnecting" // it was online
	Failed       Phase = "failed"       // Err says why; it tries on nevertheless
)

// State is how a tunnel is.
type State struct {
	Phase       Phase
	Address     string    // public URL without a path; empty: not known yet
	Connections int       // to the edge
	Location    string    // of the edge: "fra08"
	Protocol    string    // QUIC or HTTP2: in use, or tried now
	Err         error     // an *Error; nil unless the phase is Failed
	Reason      string    // the last thing that went wrong since it was online; technical, maybe empty
	RetryAt     time.Time // when it tries again; zero: it is not waiting
}

// Store keeps a quick tunnel's credentials from one start to the next, so that its
// address stays. What it keeps is a secret.
type Store interface {
	// Load returns what was saved last; empty: nothing was.
	Load(ctx context.Context) (string, error)
	// Save replaces it; empty: it is of no more use.
	Save(ctx context.Context, credentials string) error
}

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
