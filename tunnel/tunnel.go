//go:build !notunnel

package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/cloudflare/cloudflared/edgediscovery/allregions"
)

// timing has every duration that a test wants shorter.
type timing struct {
	Retry, LongestRetry time.Duration // between two tries: the first time, doubled up to
	Patience            time.Duration // with an edge that does not answer, before it is said to be unreachable
	Connect             time.Duration // with one try to connect
	QUIC                time.Duration // the same, of Auto before QUIC is known to get through
	Settle              time.Duration // the edge may refuse a new quick tunnel for so long
	QuickPause          time.Duration // see quickAPI
	Spacing             time.Duration // between two registrations
	Tick                time.Duration // between two looks at the clock and the addresses
	Probe, ProbeLimit   time.Duration // between two probes, and for each
}

const (
	believed = 3 // times the edge has to refuse, to be believed
	pardoned = 5 // times it may drop what it accepted, within a minute each
)

// Tunnel is a public address. Make it with New.
type Tunnel struct {
	opts   Options
	log    *slog.Logger
	timing timing
	api    quickAPI
	prober prober
	origin *forwarder
	wake   chan struct{} // has a value after Wake

	mu    sync.Mutex
	state State

	// Of Run alone.
	protocol   connection.Protocol // for the next try
	family     allregions.ConfigIPVersion
	proven     bool         // protocol was online once
	quick      *quickTunnel // nil: to be loaded or requested
	refusals   int          // of the edge, in a row
	offline    time.Time    // since when
	wasOnline  bool
	triedStore bool
}

// New checks the options. Its error is of the kind ErrBadOptions or ErrBadToken.
func New(o Options) (*Tunnel, error) {
	bad := func(reason string) (*Tunnel, error) {
		return nil, &Error{Kind: ErrBadOptions, Reason: reason}
	}
	origin, err := url.Parse(o.Origin)
	if err != nil || origin.Scheme != "http" || origin.Host == "" || strings.Trim(origin.Path, "/") != "" {
		return bad("the origin is not http://host:port")
	}
	for _, path := range o.Paths {
		if !strings.HasPrefix(path, "/") {
			return bad("a path does not begin with /")
		}
	}
	t := &Tunnel{opts: o, log: o.Log, wake: make(chan struct{}, 1), family: allregions.Auto, state: State{Phase: Off}}
	t.timing = timing{
		Retry: 250 * time.Millisecond, LongestRetry: 30 * time.Second,
		Patience: 20 * time.Second, Connect: 15 * time.Second, QUIC: 3 * time.Second,
		Settle: 10 * time.Second, QuickPause: 15 * time.Second,
		Spacing: time.Second, Tick: time.Second, Probe: 15 * time.Second, ProbeLimit: 5 * time.Second,
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.origin = forward(origin.Host, slices.Clone(o.Paths), o.Header.Clone(), t.log)
	switch o.Protocol {
	case Auto, QUIC, "":
		t.protocol = connection.QUIC
	case HTTP2:
		t.protocol = connection.HTTP2
	default:
		return bad("the protocol is not auto, quic or http2")
	}
	switch o.Mode {
	case Named:
		host := strings.TrimSuffix(strings.TrimPrefix(o.Hostname, "https://"), "/")
		if u, err := url.Parse("https://" + host); err != nil || u.Host == "" || u.Host != host {
			return bad("the host name of the tunnel is missing or not one")
		}
		if o.Token.IsZero() {
			return nil, &Error{Kind: ErrBadToken, Reason: "it is missing"}
		}
		t.state.Address = "https://" + host
	case Quick:
	default:
		return bad("the mode is not quick or named")
	}
	base := o.Edge.QuickAPI
	if base == "" {
		base = "https://api.trycloudflare.com"
	}
	t.api = quickAPI{base: base, client: o.Edge.client()}
	t.prober = prober{client: o.Edge.client()}
	return t, nil
}

// State returns how the tunnel is now.
func (t *Tunnel) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// Wake says that the computer woke up, or that the network may be another one: the
// tunnel makes sure that it is still online, or tries at once instead of waiting.
func (t *Tunnel) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run keeps the tunnel online until ctx is done; it returns nil, within 4 s. It
// gives up on nothing: State says what is wrong meanwhile. It is not to be called
// again before it has returned.
func (t *Tunnel) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { t.watch(ctx) })
	defer watching.Wait()
	defer t.origin.transport.CloseIdleConnections()
	defer t.publish(func(s *State) {
		*s = State{Phase: Off, Address: s.Address}
	})
	t.api.pause = t.timing.QuickPause
	t.refusals, t.wasOnline, t.offline = 0, false, time.Now()
	wait, hurries := t.timing.Retry, 0
	for {
		began := time.Now()
		online, err := t.try(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Minute {
			hurries = 0
		}
		// An edge that drops every connection is not one to hurry back to.
		if online && hurries < pardoned {
			wait = t.timing.Retry
			hurries++
		}
		pause := wait
		if failure, ok := errors.AsType[*Error](err); ok {
			pause = max(pause, failure.RetryAfter)
		}
		t.fail(ctx, err, pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
			wait = min(2*wait, t.timing.LongestRetry)
		case <-t.wake:
			wait = t.timing.Retry
		}
		timer.Stop()
	}
}

// try opens the tunnel and stays until it is lost, or could not be opened.
func (t *Tunnel) try(ctx context.Context) (online bool, err error) {
	credentials, err := t.credentials(ctx)
	if err != nil {
		return false, err
	}
	l, err := startLink(ctx, linkOptions{
		credentials: credentials,
		protocol:    t.protocol,
		connections: t.connections(),
		edge:        t.opts.Edge,
		spacing:     t.timing.Spacing,
		family:      t.family,
		origin:      t.origin,
		log:         t.log,
	})
	if err != nil {
		return false, &Error{Kind: ErrBadOptions, Reason: err.Error()}
	}
	defer l.cancel()
	t.publish(func(s *State) {
		s.Protocol, s.RetryAt = t.protocol.String(), time.Time{}
		s.Phase = phaseOf(s.Err, t.wasOnline)
	})
	return t.stay(ctx, l)
}

func (t *Tunnel) connections() int {
	if t.opts.Mode == Quick {
		return 1
	}
	return 4
}

// stay follows the link until it is of no more use.
func (t *Tunnel) stay(ctx context.Context, l *link) (online bool, err error) {
	limit := t.timing.Connect
	if t.mayFallBack() && !t.proven && t.protocol == connection.QUIC {
		limit = t.timing.QUIC
	}
	tooLong := time.NewTimer(limit)
	defer tooLong.Stop()
	patience := time.NewTimer(time.Until(t.offline.Add(t.timing.Patience)))
	defer patience.Stop()
	probing := time.NewTicker(t.timing.Probe)
	defer probing.Stop()
	probe := t.prober.start(ctx, t.State().Address, t.timing.ProbeLimit)
	defer probe.stop()

	for {
		select {
		case <-ctx.Done():
			l.close()
			return online, ctx.Err()

		case <-l.changed:
			status := l.snapshot()
			if status.connections > 0 {
				online = true
				tooLong.Stop()
				patience.Stop()
				t.online(status)
			}
			if status.lost {
				return online, t.lost(status, online)
			}

		case <-tooLong.C:
			return false, t.lost(linkStatus{reason: "no answer within " + limit.String()}, false)

		case <-patience.C:
			t.publish(func(s *State) { *s = t.unreachable(*s) })

		case <-t.wake:
			if !online {
				t.Wake() // Not to be waited for.
				return false, errors.New("it is tried anew")
			}
			probe.ask(suspicious)

		case <-probing.C:
			if online {
				probe.ask(routine)
			}

		case <-probe.dead:
			t.log.WarnContext(ctx, "The tunnel is silent, and is opened anew")
			return online, t.lost(linkStatus{reason: "the public address does not answer"}, online)
		}
	}
}

// mayFallBack reports whether another protocol is worth a try.
func (t *Tunnel) mayFallBack() bool { return t.opts.Protocol == Auto || t.opts.Protocol == "" }

// online notes that the link is up.
func (t *Tunnel) online(status linkStatus) {
	t.wasOnline, t.proven = true, true
	t.refusals, t.api.refusals = 0, 0
	if t.quick != nil {
		t.quick.issued = time.Time{}
	}
	t.publish(func(s *State) {
		*s = State{
			Phase: Online, Address: s.Address, Protocol: t.protocol.String(),
			Connections: status.connections, Location: status.location,
		}
	})
}

// lost notes why a link ended, chooses how to try next, and returns the error.
func (t *Tunnel) lost(status linkStatus, online bool) error {
	if online {
		t.offline = time.Now()
	}
	if status.reason == "" {
		status.reason = "the connection was lost"
	}
	switch {
	case status.refused:
		t.refusals++
		if t.refusals < believed || t.quick != nil && time.Since(t.quick.issued) < t.timing.Settle {
			return errors.New(status.reason)
		}
		switch {
		case t.quick != nil && (status.unauthorized() || !status.passing):
			if !t.quick.issued.IsZero() {
				// It was never of use: another one might not be, either.
				_ = t.api.refuse(ErrQuickTunnel, status.reason, "")
			}
			t.refusals, t.quick = 0, nil // It has expired.
		case status.unauthorized():
			return &Error{Kind: ErrUnauthorized, Reason: status.reason}
		default:
			return &Error{Kind: ErrRefused, Reason: status.reason}
		}
	case !online:
		t.detour()
	}
	return errors.New(status.reason)
}

// detour chooses another way to the edge after one has failed: the other protocol,
// and when both have failed, IPv4 alone, or no longer alone.
func (t *Tunnel) detour() {
	if t.mayFallBack() && t.protocol == connection.QUIC {
		t.protocol = connection.HTTP2
		return
	}
	if t.mayFallBack() {
		t.protocol = connection.QUIC
	}
	if t.family == allregions.Auto {
		t.family = allregions.IPv4Only
	} else {
		t.family = allregions.Auto
	}
}

// fail publishes why the tunnel is not online, and when it will be tried again.
func (t *Tunnel) fail(ctx context.Context, err error, pause time.Duration) {
	t.publish(func(s *State) {
		s.Connections, s.Location = 0, ""
		s.Reason, s.RetryAt = err.Error(), time.Now().Add(pause)
		if failure, ok := errors.AsType[*Error](err); ok {
			s.Err, s.Reason = failure, failure.Reason
		} else {
			*s = t.unreachable(*s)
		}
		if t.opts.Mode == Quick && t.quick == nil {
			s.Address = "" // There will be another one.
		}
		s.Phase = phaseOf(s.Err, t.wasOnline)
	})
	t.log.InfoContext(ctx, "The tunnel is offline", slog.Any("error", err), slog.Duration("retry_in", pause))
}

// unreachable adds to s that the edge is so, if it was for long enough. What the
// edge itself said is stronger.
func (t *Tunnel) unreachable(s State) State {
	edgeSpoke := errors.Is(s.Err, ErrUnauthorized) || errors.Is(s.Err, ErrRefused)
	if !edgeSpoke && time.Since(t.offline) >= t.timing.Patience {
		s.Err, s.Phase = &Error{Kind: ErrEdgeUnreachable, Reason: s.Reason}, Failed
	}
	return s
}

func phaseOf(err error, wasOnline bool) Phase {
	switch {
	case err != nil:
		return Failed
	case wasOnline:
		return Reconnecting
	}
	return Connecting
}

func (t *Tunnel) publish(change func(*State)) {
	t.mu.Lock()
	before := t.state
	change(&t.state)
	after := t.state
	t.mu.Unlock()
	if t.opts.Changed != nil && !reflect.DeepEqual(before, after) {
		t.opts.Changed(after)
	}
}

// credentials returns what the edge is to be shown: for a quick tunnel that of the
// last time, until the edge refuses it, then that of a new one.
func (t *Tunnel) credentials(ctx context.Context) (connection.Credentials, error) {
	if t.opts.Mode == Named {
		return t.opts.Token.reveal(), nil
	}
	if t.quick == nil && !t.triedStore {
		if err := t.loadQuick(ctx); err != nil {
			return connection.Credentials{}, err
		}
		t.triedStore = true
	}
	if t.quick == nil {
		t.publish(func(s *State) {
			s.Phase, s.Address, s.Protocol, s.RetryAt = Requesting, "", "", time.Time{}
			if s.Err != nil {
				s.Phase = Failed
			}
		})
		quick, err := t.api.request(ctx)
		if err != nil {
			return connection.Credentials{}, err
		}
		t.quick, t.offline = quick, time.Now()
		t.saveQuick(ctx)
	}
	t.publish(func(s *State) {
		s.Address = "https://" + t.quick.Hostname
		if errors.Is(s.Err, ErrQuickTunnel) || errors.Is(s.Err, ErrRateLimited) || errors.Is(s.Err, ErrStore) {
			s.Err, s.Reason = nil, ""
		}
		s.Phase = phaseOf(s.Err, t.wasOnline)
	})
	return t.quick.credentials(), nil
}

// loadQuick sets t.quick to what is stored, if that is of use.
func (t *Tunnel) loadQuick(ctx context.Context) error {
	if t.opts.Store == nil {
		return nil
	}
	saved, err := t.opts.Store.Load(ctx)
	if err != nil {
		// Not to ask for another tunnel: its address would be another, too.
		return &Error{Kind: ErrStore, Reason: err.Error()}
	}
	var quick quickTunnel
	if err := json.Unmarshal([]byte(saved), &quick); err == nil && quick.check() == nil && quick.API == t.api.base {
		t.quick = &quick
	}
	return nil
}

func (t *Tunnel) saveQuick(ctx context.Context) {
	if t.opts.Store == nil {
		return
	}
	credentials, err := json.Marshal(t.quick) //nolint:gosec // It is for a Store of secrets.
	if err == nil {
		err = t.opts.Store.Save(ctx, string(credentials))
	}
	if err != nil {
		t.log.WarnContext(ctx, "The tunnel's address will be another one after a restart: its credentials could not be stored",
			slog.Any("error", err))
	}
}
