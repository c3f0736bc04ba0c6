//go:build !notunnel

package tunnel

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// watch calls Wake when the machine has slept or its addresses are others than
// before. It returns when ctx is done.
func (t *Tunnel) watch(ctx context.Context) {
	ticker := time.NewTicker(t.timing.Tick)
	defer ticker.Stop()
	last := look()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := look()
		if now.disturbed(last, t.timing.Tick, t.State().Phase == Online) {
			t.Wake()
		}
		last = now
	}
}

// surroundings are what a connection depends on.
type surroundings struct {
	clock time.Time // without the monotonic one, which stops in sleep
	addrs map[string]bool
}

func look() surroundings { return surroundings{time.Now().Round(0), localAddrs()} }

// disturbed reports whether what was true at last, a tick ago, may be so no more.
func (s surroundings) disturbed(last surroundings, tick time.Duration, online bool) bool {
	slept := s.clock.Sub(last.clock) > tick+5*time.Second
	gone, came := !contains(s.addrs, last.addrs), !contains(last.addrs, s.addrs)
	return slept || gone || came && !online // One more is no news to who is online.
}

// localAddrs returns the addresses of the machine, but those that lead nowhere.
func localAddrs() map[string]bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	set := map[string]bool{}
	for _, addr := range addrs {
		if network, ok := addr.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			set[network.IP.String()] = true
		}
	}
	return set
}

func contains(set, subset map[string]bool) bool {
	for element := range subset {
		if !set[element] {
			return false
		}
	}
	return true
}

// prober finds out through the public address whether a tunnel is alive: a TCP
// connection to the edge says nothing for minutes when the network is gone.
type prober struct{ client *http.Client }

// urgency is why a probe is made.
type urgency int

const (
	routine    urgency = iota // a tunnel that cannot be probed is taken to be alive
	suspicious                // it is not, and has less time to answer
)

// probes are those of one link.
type probes struct {
	dead chan struct{} // has a value when the link is to be given up
	asks chan urgency
	stop func()
}

// start makes probes of address when asked, each for no longer than limit, until
// stop is called.
func (p prober) start(ctx context.Context, address string, limit time.Duration) probes {
	ctx, cancel := context.WithCancel(ctx)
	s := probes{dead: make(chan struct{}, 1), asks: make(chan urgency, 1), stop: cancel}
	go func() {
		// A probe that fails means nothing unless one has succeeded before: the
		// name may not be known yet, or not be reachable from here at all.
		answered := false
		for {
			var why urgency
			select {
			case <-ctx.Done():
				return
			case why = <-s.asks:
			}
			var alive bool
			if why == suspicious {
				alive = p.probe(ctx, address, limit/3)
			} else {
				// Anything can fail once.
				alive = p.probe(ctx, address, limit) || answered && p.probe(ctx, address, limit)
			}
			answered = answered || alive
			if ctx.Err() == nil && !alive && (answered || why == suspicious) {
				s.dead <- struct{}{}
				return
			}
		}
	}()
	return s
}

// ask has a probe made, unless one is waiting.
func (s probes) ask(why urgency) {
	select {
	case s.asks <- why:
	default:
	}
}

// probe reports whether address answers through the tunnel.
func (p prober) probe(ctx context.Context, address string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/healthz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := p.client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	// Cloudflare's own answer where no tunnel is connected.
	return response.StatusCode != 530
}
