package webhook

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// An address may fail failureBurst times, then once each failureEvery.
	failureBurst = 10
	failureEvery = 6 * time.Second
	// maxAddresses bounds the addresses that are remembered.
	maxAddresses = 4096
)

// limiter counts wrong signatures per address.
type limiter struct {
	mu        sync.Mutex
	addresses map[netip.Addr]*rate.Limiter
	swept     time.Time // when those with all their failures left were last forgotten
}

func newLimiter() *limiter {
	return &limiter{addresses: make(map[netip.Addr]*rate.Limiter)}
}

// fail notes a failure. It returns 0, or, when the address has used up its
// failures, how long until it may fail again.
func (l *limiter) fail(from netip.Addr, now time.Time) (wait time.Duration) {
	from = network(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.addresses[from]
	if f == nil {
		l.forget(now)
		f = rate.NewLimiter(rate.Every(failureEvery), failureBurst)
		l.addresses[from] = f
	}
	if f.AllowN(now, 1) {
		return 0
	}
	return failureEvery
}

// forget makes room for one more address: by those that have all their failures
// left, or, if there are none, by any.
func (l *limiter) forget(now time.Time) {
	if len(l.addresses) < maxAddresses {
		return
	}
	if now.Sub(l.swept) > failureEvery {
		l.swept = now
		for a, f := range l.addresses {
			if f.TokensAt(now) >= failureBurst {
				delete(l.addresses, a)
			}
		}
	}
	for a := range l.addresses {
		if len(l.addresses) < maxAddresses {
			return
		}
		delete(l.addresses, a)
	}
}

// source returns the address that a request comes from. Our own tunnel, and the
// proxies that are trusted, are believed what they say of their client; nobody
// else is. A client can put invented addresses in front of its own, so the last
// one that is not a trusted proxy's counts.
func source(r *http.Request, tunnel bool, trusted []netip.Prefix) netip.Addr {
	peer := addrOf(r.RemoteAddr)
	trusts := func(addr netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	if !tunnel && !trusts(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	if cloudflare := r.Header.Get("CF-Connecting-IP"); cloudflare != "" && (tunnel || r.Header.Get("X-Forwarded-For") == "") {
		hops = []string{cloudflare}
	}
	from := peer
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if from = addr.Unmap().WithZone(""); !trusts(from) {
			break
		}
	}
	return from
}

// addrOf returns the address of host:port; the unspecified one if it is none.
func addrOf(hostPort string) netip.Addr {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = hostPort
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	return addr.Unmap().WithZone("")
}

// network returns what stands for everybody who can be at an address: whoever
// has one address of a /64 has them all.
func network(addr netip.Addr) netip.Addr {
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}
