package webhook

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// What all requests together may hold whose signature was not verified yet, and
// those of one address. Over that, the slowest are cut off, and never who is new:
// a webhook arrives in a moment.
const (
	maxConns       = 512
	maxConnsOfOne  = 256
	maxUnverified  = 32 << 20 // bytes of bodies in memory
	maxBytesOfOne  = 16 << 20
	headStart      = 4 << 10 // bytes that whoever is new is taken to have sent
	rateWindow     = 500 * time.Millisecond
	slowRate       = 64 << 10 // bytes a second; whoever is faster is waited for
	patience       = 3 * time.Second
	lookAgain      = 20 * time.Millisecond
	minRate        = 32 << 10 // bytes a second that a body must come with,
	minRateGrace   = 2 * time.Second
	maxRequestTime = 20 * time.Second
)

// gate knows the connections and what they hold.
type gate struct {
	mu      sync.Mutex
	clients map[*client]struct{}
	bytes   int64
	sources map[netip.Addr]*usage
}

type usage struct {
	conns int
	bytes int64
}

// client is a connection, with what is known of who is at its other end.
type client struct {
	net.Conn // nil in a request that came over none of ours

	// Guarded by the gate's mutex.
	source  netip.Addr
	held    int64 // bytes of its body in memory
	proven  bool  // its latest request was signed
	waiting bool  // for room; that it sends nothing is not its fault
	gone    bool

	mu    sync.Mutex
	began time.Time // the present request
	level float64   // bytes that came lately: after rateWindow a third of them is left
	last  time.Time // when level was true
}

// Read notes how much comes.
func (c *client) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.mu.Lock()
		c.decay(time.Now())
		c.level += float64(n)
		c.mu.Unlock()
	}
	return n, err
}

func (c *client) decay(now time.Time) {
	c.level *= math.Exp(-float64(now.Sub(c.last)) / float64(rateWindow))
	c.last = now
}

// rate returns how many bytes a second it sends.
func (c *client) rate(now time.Time) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decay(now)
	age := max(now.Sub(c.began), time.Millisecond)
	return c.level/rateWindow.Seconds() + headStart/age.Seconds()
}

func (c *client) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
}

func newClient(conn net.Conn, source netip.Addr) *client {
	now := time.Now()
	return &client{Conn: conn, source: source, began: now, last: now}
}

// admit takes a new connection in, if need be in the place of a slow one. It
// returns nil if there is no place.
func (g *gate) admit(conn net.Conn) *client {
	c := newClient(conn, network(addrOf(conn.RemoteAddr().String())))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(c)
	if g.sources[c.source].conns > maxConnsOfOne && !g.cut(c, func(o *client) bool { return o.source == c.source }) ||
		len(g.clients) > maxConns && !g.cut(c, func(*client) bool { return true }) {
		g.remove(c)
		return nil
	}
	return c
}

// cut cuts off the slowest other client that is not known to be Talk, of those
// that may be. It reports whether there was one; g.mu is held.
func (g *gate) cut(c *client, may func(*client) bool) bool {
	victim, least, now := (*client)(nil), math.Inf(1), time.Now()
	for o := range g.clients {
		if o == c || o.proven || o.waiting || !may(o) {
			continue
		}
		if rate := o.rate(now); rate < least {
			victim, least = o, rate
		}
	}
	if victim == nil {
		return false
	}
	g.remove(victim)
	if victim.Conn != nil {
		_ = victim.Close()
	}
	return true
}

// add and remove keep the books; g.mu is held.
func (g *gate) add(c *client) {
	if g.clients == nil {
		g.clients, g.sources = map[*client]struct{}{}, map[netip.Addr]*usage{}
	}
	g.clients[c] = struct{}{}
	u := g.of(c.source)
	u.conns++
}

func (g *gate) remove(c *client) {
	if c.gone {
		return
	}
	c.gone = true
	delete(g.clients, c)
	g.take(c, -c.held)
	g.sources[c.source].conns--
	g.tidy(c.source)
}

func (g *gate) of(source netip.Addr) *usage {
	if g.sources[source] == nil {
		g.sources[source] = &usage{}
	}
	return g.sources[source]
}

func (g *gate) take(c *client, n int64) {
	c.held += n
	g.bytes += n
	g.sources[c.source].bytes += n
}

func (g *gate) tidy(source netip.Addr) {
	if g.sources[source].conns == 0 {
		delete(g.sources, source)
	}
}

// clientKey is the context key of a request's client.
type clientKey struct{}

// enter notes that a request of source begins, and returns its client. leave
// gives back what it holds.
func (g *gate) enter(r *http.Request, source netip.Addr) (c *client, leave func()) {
	source = network(source)
	g.mu.Lock()
	defer g.mu.Unlock()
	if c, ok := r.Context().Value(clientKey{}).(*client); ok && !c.gone {
		g.sources[c.source].conns--
		g.tidy(c.source)
		c.source, c.proven = source, false
		g.of(source).conns++
		return c, func() { g.free(c) }
	}
	c = newClient(nil, source)
	g.add(c)
	return c, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.remove(c)
	}
}

// prove notes that the request of c is signed: it counts no more.
func (g *gate) prove(c *client) {
	g.free(c)
	g.mu.Lock()
	defer g.mu.Unlock()
	c.proven = true
}

// cutOff reports whether c had to make room.
func (g *gate) cutOff(c *client) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return c.gone
}

func (g *gate) free(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !c.gone {
		g.take(c, -c.held)
	}
}

// hold makes room for n more bytes of the body of c: by cutting off who is slow,
// or else by waiting for who is not.
func (g *gate) hold(ctx context.Context, c *client, n int64) error {
	rate := min(c.rate(time.Now()), slowRate)
	if done, err := g.try(c, n, rate); done {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			g.mu.Lock()
			c.waiting = false
			g.mu.Unlock()
			return errCrowd(ctx.Err())
		case <-tick.C:
		}
		if done, err := g.try(c, n, rate); done {
			return err
		}
	}
}

// try is hold without waiting: it is not done if there is nobody slower than rate.
func (g *gate) try(c *client, n int64, rate float64) (done bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.waiting = false
	for !c.gone {
		u := g.sources[c.source]
		full, ofOne := g.bytes+n > maxUnverified, u.bytes+n > maxBytesOfOne
		if !full && !ofOne {
			g.take(c, n)
			return true, nil
		}
		now := time.Now()
		if !g.cut(c, func(o *client) bool {
			return o.held > 0 && (!ofOne || o.source == c.source) && o.rate(now) < rate
		}) {
			c.waiting = true
			return false, nil
		}
	}
	return true, errCrowd(net.ErrClosed)
}

// follow is told by net/http what becomes of a connection.
func (g *gate) follow(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*client)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		g.mu.Lock()
		c.proven = false
		g.mu.Unlock()
		c.begin()
	case http.StateClosed, http.StateHijacked:
		g.mu.Lock()
		g.remove(c)
		g.mu.Unlock()
	case http.StateNew, http.StateIdle:
	}
}

// gated is a listener whose connections a gate knows.
type gated struct {
	net.Listener
	gate *gate
}

// Accept implements net.Listener.
func (l gated) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.gate.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.Close()
	}
}
