//go:build !notunnel

package tunnel_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/tunnel"
	"perch/tunnel/tunneltest"
)

func TestEdgeFromEnvironment(t *testing.T) {
	t.Parallel()
	edge := tunneltest.New(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	type environment = map[string]string
	for name, c := range map[string]struct {
		environment environment
		addrs       []string
		quickAPI    string
		overridden  bool
		problem     string
	}{
		"none":         {},
		"one":          {environment{"PERCH_TUNNEL_EDGE": "127.0.0.1:7844"}, []string{"127.0.0.1:7844"}, "", true, ""},
		"two":          {environment{"PERCH_TUNNEL_EDGE": "127.0.0.1:1, [::1]:2,"}, []string{"127.0.0.1:1", "[::1]:2"}, "", true, ""},
		"an API":       {environment{"PERCH_TUNNEL_QUICK_API": "http://127.0.0.1:3/"}, nil, "http://127.0.0.1:3", true, ""},
		"a CA":         {environment{"PERCH_TUNNEL_CA": edge.Getenv("PERCH_TUNNEL_CA")}, nil, "", true, ""},
		"no port":      {environment{"PERCH_TUNNEL_EDGE": "127.0.0.1"}, nil, "", false, `PERCH_TUNNEL_EDGE: "127.0.0.1" is not host:port`},
		"no file":      {environment{"PERCH_TUNNEL_CA": empty + ".no"}, nil, "", false, "PERCH_TUNNEL_CA: open"},
		"no PEM":       {environment{"PERCH_TUNNEL_CA": empty}, nil, "", false, "PERCH_TUNNEL_CA: no certificate in"},
		"no URL":       {environment{"PERCH_TUNNEL_QUICK_API": "localhost"}, nil, "", false, "PERCH_TUNNEL_QUICK_API: not an http:// or https:// URL"},
		"another URL":  {environment{"PERCH_TUNNEL_QUICK_API": "ftp://localhost"}, nil, "", false, "PERCH_TUNNEL_QUICK_API: not"},
		"a broken URL": {environment{"PERCH_TUNNEL_QUICK_API": "http://[::1"}, nil, "", false, "PERCH_TUNNEL_QUICK_API: not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tunnel.EdgeFromEnvironment(func(name string) string { return c.environment[name] })
			if c.problem != "" {
				if !errors.Is(err, tunnel.ErrBadOptions) || !strings.Contains(err.Error(), c.problem) {
					t.Errorf("%v, want %s", err, c.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.addrs, got.Addrs); diff != "" || got.QuickAPI != c.quickAPI || got.Overridden() != c.overridden {
				t.Errorf("%+v, %v", got, got.Overridden())
			}
			if (got.RootCAs != nil) != (c.environment["PERCH_TUNNEL_CA"] != "") {
				t.Errorf("root CAs: %v", got.RootCAs)
			}
		})
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	edge := tunneltest.New(t)
	good, err := tunnel.EdgeFromEnvironment(edge.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	stranger, err := tunnel.EdgeFromEnvironment(tunneltest.New(t).Getenv)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Addrs = good.Addrs
	hung := tunneltest.New(t)
	hung.Hang(true)
	hanging, err := tunnel.EdgeFromEnvironment(hung.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{tunnel.QUIC, tunnel.HTTP2} {
		for name, c := range map[string]struct {
			edge tunnel.Edge
			want bool
		}{
			"reachable":   {good, true},
			"the second":  {tunnel.Edge{Addrs: []string{nobody, edge.Addr}, RootCAs: good.RootCAs}, true},
			"nobody":      {tunnel.Edge{Addrs: []string{nobody}, RootCAs: good.RootCAs}, false},
			"a stranger":  {stranger, false},
			"one hanging": {hanging, false},
		} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				addr, err := c.edge.Reach(ctx, protocol)
				if c.want && (err != nil || addr != edge.Addr) {
					t.Errorf("%s, %v", addr, err)
				}
				if !c.want && !errors.Is(err, tunnel.ErrEdgeUnreachable) {
					t.Errorf("%s, %v", addr, err)
				}
			})
		}
	}
}
