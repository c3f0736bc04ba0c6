package webhook

import (
	"net"
	"net/http"
	"net/netip"
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

// remoteAddr returns the address that a request comes from. A proxy on this
// machine is believed what it says of its client; anybody else is not.
func remoteAddr(r *http.Request) netip.Addr {
	addr := addrOf(r.RemoteAddr)
	if !addr.IsLoopback() {
		return addr
	}
	forwarded := r.Header.Get("CF-Connecting-IP")
	if forwarded == "" {
		// The last entry is the one that the proxy on this machine added.
		all := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
		forwarded = all[len(all)-1]
	}
	if client, err := netip.ParseAddr(strings.TrimSpace(forwarded)); err == nil {
		return client.Unmap().WithZone("")
	}
	return addr
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
