//go:build !notunnel

package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudflare/cloudflared/client"
	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/edgediscovery"
	"github.com/cloudflare/cloudflared/edgediscovery/allregions"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/rs/zerolog"
)

// link is a set of connections to the edge, all of one protocol. It speaks through
// cloudflared's package connection, and dials and registers itself: cloudflared's
// supervisor tells only its log why it failed, restarts after seconds, waits for
// handshakes that hang, and can be started once per process.
//
// A link is of no more use as soon as its last connection is lost: it is then
// replaced by another one.
type link struct {
	changed chan struct{} // has a value after each change of the status
	ended   chan struct{} // is closed when nothing of the link is left

	linkOptions
	client   *client.Config
	zlog     *zerolog.Logger
	observer *connection.Observer
	drain    chan struct{} // is closed for an end in order
	cancel   context.CancelFunc
	running  atomic.Int64  // requests
	first    chan struct{} // is closed when a connection is registered

	mu     sync.Mutex
	online map[uint8]bool
	status linkStatus
}

// linkStatus is how a link is.
type linkStatus struct {
	connections int
	location    string // of the edge, at the connection made last
	lost        bool   // no connection is left, or the first one failed
	reason      string // why
	refused     bool   // by the edge, which gave the reason
	passing     bool   // it says that it may accept later
}

func (s linkStatus) unauthorized() bool {
	// The edge has no code for it; cloudflared compares the text, too.
	return s.refused && strings.Contains(s.reason, "Unauthorized")
}

type linkOptions struct {
	credentials connection.Credentials
	protocol    connection.Protocol
	connections int
	spacing     time.Duration // between two registrations
	family      allregions.ConfigIPVersion
	edge        Edge
	origin      http.Handler
	log         *slog.Logger
}

// startLink starts a link that lasts until close or cancel, not ctx: an end in
// order takes its time.
func startLink(ctx context.Context, o linkOptions) (*link, error) {
	config, err := client.NewConfig(cloudflaredVersion, runtime.GOOS+"_"+runtime.GOARCH, standard{})
	if err != nil {
		return nil, err
	}
	tlsConfig, err := o.edge.tlsConfig(o.protocol)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	zlog := zerolog.New(logger{o.log}).Level(zerolog.InfoLevel)
	l := &link{
		changed:     make(chan struct{}, 1),
		ended:       make(chan struct{}),
		linkOptions: o,
		client:      config,
		zlog:        &zlog,
		observer:    connection.NewObserver(&zlog, &zlog),
		drain:       make(chan struct{}),
		cancel:      cancel,
		first:       make(chan struct{}),
		online:      map[uint8]bool{},
	}
	go l.run(ctx, tlsConfig)
	return l, nil
}

func (l *link) run(ctx context.Context, tlsConfig *tls.Config) {
	defer close(l.ended)
	defer end(l.observer)
	defer l.cancel()
	addrs, err := l.lookup(ctx)
	if err != nil {
		l.disconnected(0, err)
		return
	}
	var connections sync.WaitGroup
	for i := range l.connections {
		connections.Go(func() { l.keep(ctx, uint8(i), addrs, tlsConfig) }) //nolint:gosec // Four at most.
	}
	connections.Wait()
}

// lookup finds the edge. cloudflared does that without a context, so what it does
// may outlive ctx for as long as DNS takes.
func (l *link) lookup(ctx context.Context) (*edgediscovery.Edge, error) {
	type result struct {
		*edgediscovery.Edge
		error
	}
	found := make(chan result, 1)
	go func() {
		var r result
		if len(l.edge.Addrs) > 0 {
			// Each connection takes an address of its own, and one to try next.
			addrs := slices.Repeat(l.edge.Addrs, 2*l.connections)
			r.Edge, r.error = edgediscovery.StaticEdge(l.zlog, addrs)
		} else {
			r.Edge, r.error = edgediscovery.ResolveEdge(l.zlog, l.credentials.Endpoint, l.family)
		}
		found <- r
	}()
	select {
	case r := <-found:
		return r.Edge, r.error
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep keeps one connection up until ctx is done. The first one is made at once,
// the others when a connection has shown that it works.
func (l *link) keep(ctx context.Context, index uint8, addrs *edgediscovery.Edge, tlsConfig *tls.Config) {
	pause := time.Duration(index) * l.spacing
	if index > 0 {
		select {
		case <-ctx.Done():
			return
		case <-l.drain:
			return
		case <-l.first:
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.drain:
			return
		case <-time.After(pause):
		}
		addr, err := addrs.GetAddr(int(index))
		began := time.Now()
		if err == nil {
			err = l.connect(ctx, index, addr, tlsConfig)
			_, _ = addrs.GetDifferentAddr(int(index), true)
		}
		l.disconnected(index, err)
		if pause = max(2*pause, l.spacing); time.Since(began) >= pause {
			pause = l.spacing
		}
		pause = min(pause, 30*time.Second)
	}
}

// connect makes a connection and returns why it was lost.
func (l *link) connect(ctx context.Context, index uint8, addr *allregions.EdgeAddr, tlsConfig *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &control{link: l, index: index, addr: addr.TCP.IP, cancel: cancel, ended: make(chan struct{})}
	var err error
	if l.protocol == connection.QUIC {
		err = l.serveQUIC(ctx, c, addr.UDP, tlsConfig)
	} else {
		err = l.serveHTTP2(ctx, c, addr.TCP, tlsConfig)
	}
	if failure := c.wait(); failure != nil {
		return failure
	}
	return err
}

// close ends the link in order: no new requests, time for those that run, then the
// end. It returns within three seconds, whatever hangs.
func (l *link) close() {
	if l.snapshot().connections > 0 {
		close(l.drain)
		l.wait(2 * grace)
	}
	l.cancel()
	l.wait(grace)
}

func (l *link) wait(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.ended:
	case <-timer.C:
	}
}

func (l *link) snapshot() linkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func (l *link) connected(index uint8, location string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.online) == 0 && !l.status.lost {
		close(l.first)
	}
	l.online[index] = true
	l.status.connections, l.status.location = len(l.online), location
	l.notify()
}

func (l *link) disconnected(index uint8, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.online, index)
	l.status.connections = len(l.online)
	if len(l.online) == 0 && !l.status.lost {
		l.status.lost = true
		if why != nil && !errors.Is(why, context.Canceled) {
			l.status.reason = why.Error()
		}
		_, l.status.refused = errors.AsType[refusal](why)
		_, l.status.passing = errors.AsType[*pogs.RetryableError](why)
	}
	l.notify()
}

// notify is called with the lock.
func (l *link) notify() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}
