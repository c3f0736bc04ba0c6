package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/secret"
)

const (
	// A lost engine is looked for so often, with twice the time after each try.
	firstTry = 100 * time.Millisecond
	lastTry  = 2 * time.Second
	// soon bounds what has to return at once.
	soon = 2 * time.Second
)

// Client asks the engine behind a socket. It is ui.Backend, but for what the
// desktop does. If the engine ends, it waits for the next one there.
type Client struct {
	path, version string
	http          *http.Client
	end           context.CancelFunc // nil: it does not follow an engine yet
	ended         sync.WaitGroup

	mu         sync.Mutex
	configFile string // empty: not heard yet
	snapshot   bridge.Snapshot
	lost       bool
	changed    chan struct{} // closed and replaced at every change
	config     configDoc     // as it was last heard
	addresses  []string      // as they were last heard
}

// Dial asks the engine behind the socket at path, which must be of the same
// version. The error is a *bridge.Error: of CodeNotFound if none runs, of
// CodeConflict if it is of another version, of CodeDenied if it is another
// user's, else of CodeUnavailable. Close must be called.
func Dial(ctx context.Context, path, version string) (*Client, error) {
	c := newClient(path, version)
	if err := c.greet(ctx); err != nil {
		return nil, err
	}
	c.start(ctx)
	return c, nil
}

// Await is Dial for those who wait: while there is no engine that can be asked,
// the client's snapshot says why.
func Await(ctx context.Context, path, version string) *Client {
	c := newClient(path, version)
	if err := c.greet(ctx); err != nil {
		c.become(lostSnapshot(err), true)
	}
	c.start(ctx)
	return c
}

func newClient(path, version string) *Client {
	c := &Client{path: path, version: version, changed: make(chan struct{})}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
		DisableKeepAlives: true, // a connection costs nothing, and none outlives its engine
	}}
	return c
}

// greet asks the engine how it is, and where its settings are.
func (c *Client) greet(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	hello, err := call[helloDoc](asked, c, http.MethodGet, "", nil)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = silent(err)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.configFile = hello.ConfigFile
	c.mu.Unlock()
	c.become(hello.Snapshot, false)
	return nil
}

// start follows the engine until Close.
func (c *Client) start(ctx context.Context) {
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	c.end = end
	c.ended.Go(func() { c.follow(following) })
}

// Close ends the client. The engine goes on.
func (c *Client) Close() error {
	c.end()
	c.ended.Wait()
	return nil
}

// follow keeps the snapshot fresh until ctx is done.
func (c *Client) follow(ctx context.Context) {
	wait := firstTry
	for ctx.Err() == nil {
		var err error
		if c.ConfigFile() == "" {
			err = c.greet(ctx)
		}
		if err == nil {
			err = each(ctx, c, http.MethodGet, "/snapshot?follow", nil, func(s bridge.Snapshot) {
				wait = firstTry
				c.become(s, false)
			})
		}
		if ctx.Err() != nil {
			return
		}
		c.become(lostSnapshot(err), true)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, lastTry)
	}
}

// become takes over how the bot is.
func (c *Client) become(s bridge.Snapshot, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if lost && c.lost && s.Detail.Format == c.snapshot.Detail.Format {
		return
	}
	c.snapshot, c.lost = s, lost
	close(c.changed)
	c.changed = make(chan struct{})
}

// stopped is the error of an engine that was there and is not any more.
func stopped(cause error) *bridge.Error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable, Text: bridge.Say("Perch has stopped; waiting for it to come back"),
		Hint: bridge.Say("Start it: perch run"), Cause: cause,
	}
}

// lostSnapshot is how a bot is that cannot be asked.
func lostSnapshot(err error) bridge.Snapshot {
	if code := bridge.CodeOf(err); code != bridge.CodeConflict && code != bridge.CodeDenied {
		err = stopped(err)
	}
	return bridge.Snapshot{State: bridge.StateFailed, Title: bridge.Say("Stopped"), Detail: bridge.TextOf(err), Fix: bridge.HintOf(err)}
}

// open makes a request, and returns the response if it is none of an error.
func (c *Client) open(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://perch/v1"+path, bytes.NewReader(data)) //nolint:gosec // It goes to our own socket.
	if err != nil {
		return nil, err
	}
	r.Header.Set(versionHeader, c.version)
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(r) //nolint:gosec // It goes to our own socket.
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if engine := resp.Header.Get(versionHeader); engine != c.version {
		err := otherVersion(engine, c.version)
		if engine == "" {
			err = silent(errors.New("something else than Perch answers"))
		}
		return nil, errors.Join(err, resp.Body.Close())
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	var d failureDoc
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&d); err != nil || d.Error == nil {
		return nil, c.explain(ctx, errors.Join(errors.New(resp.Status), err))
	}
	return nil, d.Error.unpacked()
}

// explain returns why an engine could not be asked.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	told, ok := errors.AsType[*bridge.Error](err)
	if !ok || told.Code == bridge.CodeNotFound && c.end != nil { // it was there
		return stopped(err)
	}
	return told
}

// call makes a request and returns what is answered.
func call[Out any](ctx context.Context, c *Client, method, path string, body any) (out Out, err error) {
	resp, err := c.open(ctx, method, path, body)
	if err != nil {
		return out, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, c.explain(ctx, err)
	}
	return out, nil
}

// do makes a request that is answered with nothing.
func (c *Client) do(ctx context.Context, method, path string, body any) error {
	_, err := call[none](ctx, c, method, path, body)
	return err
}

// each makes a request that is answered with a stream, and calls line with each
// of its lines. The error says why the stream has ended; nil if it is complete.
func each[Line any](ctx context.Context, c *Client, method, path string, body any, line func(Line)) error {
	resp, err := c.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := json.NewDecoder(resp.Body)
	for {
		var l Line
		if err := lines.Decode(&l); errors.Is(err, io.EOF) && ctx.Err() == nil {
			return nil
		} else if err != nil {
			return c.explain(ctx, err)
		}
		line(l)
	}
}

// Snapshot implements ui.Backend.
func (c *Client) Snapshot() (s bridge.Snapshot, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.snapshot
	if s.State == bridge.StateRunning && !s.Last.ReceivedAt.IsZero() {
		s.Detail = bridge.Heard(s.Last, time.Now())
	}
	return s, c.changed
}

// Resume implements ui.Backend.
func (c *Client) Resume(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/resume", nil)
}

// Pause implements ui.Backend.
func (c *Client) Pause(ctx context.Context) error { return c.do(ctx, http.MethodPost, "/pause", nil) }

// Retry implements ui.Backend.
func (c *Client) Retry(ctx context.Context) error {
	_, err := c.Release(ctx)
	return err
}

// Release sends what is held back, and says if anything was.
func (c *Client) Release(ctx context.Context) (held bool, err error) {
	d, err := call[retryDoc](ctx, c, http.MethodPost, "/retry", nil)
	return d.Held, err
}

// Send posts a text into a conversation and returns when it stands there, or
// says why it does not yet.
func (c *Client) Send(ctx context.Context, room, text string) error {
	_, err := call[postedDoc](ctx, c, http.MethodPost, "/rooms/"+url.PathEscape(room)+"/messages?wait", messageDoc{Text: text})
	return err
}

// logPath returns where the entries of a filter are asked for.
func logPath(f bridge.LogFilter) string {
	return "/log?" + url.Values{"room": {f.Room}, "level": {f.Level.String()}, "limit": {strconv.Itoa(f.Limit)}}.Encode()
}

// logLine is a line of the log's stream.
type logLine struct {
	logDoc
	failureDoc
}

// Log returns the entries of a filter, oldest first.
func (c *Client) Log(ctx context.Context, f bridge.LogFilter) ([]bridge.Entry, error) {
	l, err := call[logLine](ctx, c, http.MethodGet, logPath(f), nil)
	return l.Entries, errors.Join(err, l.Error.unpacked())
}

// WatchLog implements ui.Backend. When the engine was lost and is back, the
// newest entries are shown again.
func (c *Client) WatchLog(ctx context.Context, f bridge.LogFilter, show func(entries []bridge.Entry)) error {
	for {
		var failure error
		err := each(ctx, c, http.MethodGet, logPath(f)+"&follow", nil, func(l logLine) {
			if failure = l.Error.unpacked(); failure == nil {
				show(l.Entries)
			}
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case failure != nil:
			return failure
		case err != nil && bridge.CodeOf(err) != bridge.CodeUnavailable:
			return err
		}
		if err := c.back(ctx); err != nil {
			return err
		}
	}
}

// back waits until there is an engine again.
func (c *Client) back(ctx context.Context) error {
	wait := firstTry
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		if conn, err := dial(ctx, c.path); err == nil {
			return conn.Close()
		}
		wait = min(2*wait, lastTry)
	}
}

// ClearLog implements ui.Backend.
func (c *Client) ClearLog(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/log", nil)
}

// Config implements ui.Backend. Without an engine it is as it was last.
func (c *Client) Config() (_ config.Config, problems []config.Problem, exists bool) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	d, err := call[configDoc](ctx, c, http.MethodGet, "/config", nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.config = d
	}
	return c.config.Config, c.config.Problems, c.config.Exists
}

// Save implements ui.Backend.
func (c *Client) Save(ctx context.Context, settings config.Config) error {
	return c.do(ctx, http.MethodPut, "/config", settings)
}

// ConfigFile implements ui.Backend. It is empty before there is an engine.
func (c *Client) ConfigFile() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.configFile
}

func secretPath(name string) string { return "/secrets/" + url.PathEscape(name) }

// Secret implements ui.Backend.
func (c *Client) Secret(ctx context.Context, name string) (bridge.Secret, error) {
	d, err := call[secretDoc](ctx, c, http.MethodGet, secretPath(name), nil)
	if err != nil {
		return bridge.Secret{}, err
	}
	return bridge.NewSecret(d.Value), nil
}

// SecretPlace implements ui.Backend.
func (c *Client) SecretPlace(ctx context.Context, name string) (place bridge.Text, fixed bool, err error) {
	d, err := call[placeDoc](ctx, c, http.MethodGet, secretPath(name)+"/place", nil)
	if err != nil {
		return bridge.Text{}, false, err
	}
	return d.Place, d.Fixed, d.Error.unpacked()
}

// SetSecret implements ui.Backend.
func (c *Client) SetSecret(ctx context.Context, name string, s bridge.Secret) error {
	return c.do(ctx, http.MethodPut, secretPath(name), secretDoc{s.Reveal()})
}

// CheckSecret implements ui.Backend.
func (c *Client) CheckSecret(name string, s bridge.Secret) error {
	return secret.Check(name, secret.Normalize(name, s))
}

// NewSecret implements ui.Backend.
func (c *Client) NewSecret() bridge.Secret { return secret.Generate() }

// TestServer implements ui.Backend.
func (c *Client) TestServer(ctx context.Context, settings config.Config, appToken bridge.Secret) (doctor.Report, error) {
	return call[doctor.Report](ctx, c, http.MethodPost, "/test-server", serverDoc{settings, appToken.Reveal()})
}

// Occ implements ui.Backend.
func (c *Client) Occ(ctx context.Context, settings config.Config, key bridge.Secret) ([]bridge.Commands, error) {
	return call[[]bridge.Commands](ctx, c, http.MethodPost, "/occ", occDoc{settings, key.Reveal()})
}

// LocalAddresses implements ui.Backend: those of the machine that the engine runs
// on. Without an engine they are as they were last.
func (c *Client) LocalAddresses() []string {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	addresses, err := call[[]string](ctx, c, http.MethodGet, "/addresses", nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.addresses = addresses
	}
	return c.addresses
}

// Models implements ui.Backend.
func (c *Client) Models(ctx context.Context, h config.Handler, key bridge.Secret) ([]string, error) {
	return call[[]string](ctx, c, http.MethodPost, "/models", modelsDoc{h, key.Reveal()})
}

// Doctor implements ui.Backend.
func (c *Client) Doctor(ctx context.Context, row func(doctor.Row)) (doctor.Report, error) {
	return c.Examine(ctx, doctor.Request{}, func(whole, _ doctor.Row) { row(whole) })
}

// Examine runs the checks that are asked for, as control.Bot does.
func (c *Client) Examine(ctx context.Context, r doctor.Request, row func(whole, shown doctor.Row)) (report doctor.Report, err error) {
	var failure error
	ended := false
	err = each(ctx, c, http.MethodPost, "/doctor", r, func(l doctorLine) {
		switch {
		case l.Error != nil:
			failure = l.Error.unpacked()
		case l.Report != nil:
			report, ended = *l.Report, true
		case l.Row != nil && l.Shown != nil:
			row(*l.Row, *l.Shown)
		}
	})
	switch {
	case err != nil:
		return doctor.Report{}, err
	case failure != nil:
		return doctor.Report{}, failure
	case !ended:
		return doctor.Report{}, stopped(nil)
	}
	return report, nil
}

// Practice implements ui.Backend.
func (c *Client) Practice(ctx context.Context) (bridge.Practice, error) {
	living, end := context.WithCancel(context.WithoutCancel(ctx))
	p := &practiceClient{client: c, end: end, changed: make(chan struct{})}
	started := make(chan error, 1)
	p.ended.Go(func() {
		first := true
		err := each(living, c, http.MethodPost, "/practice", nil, func(d practiceDoc) {
			p.become(d)
			if first {
				first = false
				started <- nil
			}
		})
		if first {
			started <- errors.Join(err)
		}
	})
	select {
	case err := <-started:
		if err == nil && p.id() != "" {
			return p, nil
		}
		p.Close()
		if err == nil {
			err = stopped(nil)
		}
		return nil, err
	case <-ctx.Done():
		p.Close()
		return nil, ctx.Err()
	}
}

// practiceClient is a practice server of the engine.
type practiceClient struct {
	client *Client
	end    context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	state   practiceDoc
	changed chan struct{}
}

// become takes over how the practice server is.
func (p *practiceClient) become(d practiceDoc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.Number <= p.state.Number {
		return
	}
	if d.ID == "" {
		d.ID = p.state.ID
	}
	p.state = d
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *practiceClient) now() practiceDoc {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *practiceClient) id() string { return p.now().ID }

// People implements bridge.Practice.
func (p *practiceClient) People() []bridge.Actor { return p.now().People }

// Rooms implements bridge.Practice.
func (p *practiceClient) Rooms() []bridge.Room { return p.now().Rooms }

// Lines implements bridge.Practice.
func (p *practiceClient) Lines(room string) []bridge.Line { return p.now().Lines[room] }

// Changed implements bridge.Practice.
func (p *practiceClient) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Say implements bridge.Practice.
func (p *practiceClient) Say(ctx context.Context, room, person, text string) error {
	return p.ask(ctx, "/messages", sayDoc{room, person, text})
}

// Clear implements bridge.Practice.
func (p *practiceClient) Clear(ctx context.Context) error { return p.ask(ctx, "/clear", nil) }

func (p *practiceClient) ask(ctx context.Context, what string, body any) error {
	d, err := call[practiceDoc](ctx, p.client, http.MethodPost, "/practice/"+p.id()+what, body)
	if err == nil {
		p.become(d)
	}
	return err
}

// Close implements bridge.Practice.
func (p *practiceClient) Close() {
	p.end()
	p.ended.Wait()
}
