//go:build !notunnel

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDisturbed(t *testing.T) {
	t.Parallel()
	const tick = time.Second
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	addrs := func(addrs ...string) map[string]bool {
		set := map[string]bool{}
		for _, addr := range addrs {
			set[addr] = true
		}
		return set
	}
	last := surroundings{noon, addrs("a", "b")}
	for name, c := range map[string]struct {
		now             surroundings
		online, offline bool
	}{
		"as before":        {surroundings{noon.Add(tick), addrs("b", "a")}, false, false},
		"busy":             {surroundings{noon.Add(3 * time.Second), addrs("a", "b")}, false, false},
		"slept":            {surroundings{noon.Add(time.Minute), addrs("a", "b")}, true, true},
		"clock put back":   {surroundings{noon.Add(-time.Hour), addrs("a", "b")}, false, false},
		"network gone":     {surroundings{noon.Add(tick), addrs()}, true, true},
		"another network":  {surroundings{noon.Add(tick), addrs("a", "c")}, true, true},
		"one network more": {surroundings{noon.Add(tick), addrs("a", "b", "c")}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.now.disturbed(last, tick, true); got != c.online {
				t.Errorf("online: %v", got)
			}
			if got := c.now.disturbed(last, tick, false); got != c.offline {
				t.Errorf("offline: %v", got)
			}
		})
	}
}

func TestLinkStatus(t *testing.T) {
	t.Parallel()
	lost := errors.New("EOF")
	type steps = []func(*link)
	connected := func(i uint8) func(*link) { return func(l *link) { l.connected(i, "fra08") } }
	disconnected := func(i uint8, why error) func(*link) { return func(l *link) { l.disconnected(i, why) } }
	for name, c := range map[string]struct {
		steps steps
		want  linkStatus
	}{
		"connected":       {steps{connected(0)}, linkStatus{connections: 1, location: "fra08"}},
		"connected twice": {steps{connected(0), connected(0)}, linkStatus{connections: 1, location: "fra08"}},
		"one of two lost": {
			steps{connected(0), connected(1), disconnected(0, lost)},
			linkStatus{connections: 1, location: "fra08"},
		},
		"one of two refused": {
			steps{connected(0), disconnected(1, refusal{lost})},
			linkStatus{connections: 1, location: "fra08"},
		},
		"all lost": {
			steps{connected(0), connected(1), disconnected(0, errors.New("first")), disconnected(1, lost)},
			linkStatus{location: "fra08", lost: true, reason: "EOF"},
		},
		"refused": {
			steps{disconnected(0, refusal{lost})},
			linkStatus{lost: true, refused: true, reason: "EOF"},
		},
		"ended on purpose": {
			steps{disconnected(0, context.Canceled)},
			linkStatus{lost: true},
		},
		"lost is lost": {
			steps{disconnected(0, lost), connected(1), disconnected(1, refusal{lost})},
			linkStatus{location: "fra08", lost: true, reason: "EOF"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &link{changed: make(chan struct{}, 1), first: make(chan struct{}), online: map[uint8]bool{}}
			for _, step := range c.steps {
				step(l)
			}
			if got := l.snapshot(); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestDetour(t *testing.T) {
	t.Parallel()
	for protocol, want := range map[string]string{
		Auto:  "quic auto, http2 auto, quic 4, http2 4, quic auto, ",
		QUIC:  "quic auto, quic 4, quic auto, quic 4, quic auto, ",
		HTTP2: "http2 auto, http2 4, http2 auto, http2 4, http2 auto, ",
	} {
		tunnel, err := New(Options{Mode: Quick, Protocol: protocol, Origin: "http://127.0.0.1:8460"})
		if err != nil {
			t.Fatal(err)
		}
		var way strings.Builder
		for range 5 {
			fmt.Fprintf(&way, "%s %s, ", tunnel.protocol, tunnel.family)
			tunnel.detour()
		}
		if way.String() != want {
			t.Errorf("%s: %s", protocol, way.String())
		}
	}
}
