package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/journal"
	"perch/bridge/secret"
	"perch/bridge/talk"
	"perch/bridge/webhook"
	"perch/tunnel"
)

// CheckOptions say what is examined. The first four are needed.
type CheckOptions struct {
	Home    config.Home
	Secrets *secret.Store
	Version string
	Private *doctor.Private // learns what is not to be shown
	Room    string          // token of the conversation to look at; empty: that of the last message
	Config  *config.Config  // what to look at in place of what Home has

	Getenv func(string) string // for another edge of the tunnel; nil: none

	Lookup   func(ctx context.Context, host string) ([]string, error) // nil: as the system does
	Now      func() time.Time                                         // nil: time.Now
	RootCAs  *x509.CertPool                                           // for the public address; nil: the system's
	Patience time.Duration                                            // with the public address; 0: as long as Talk's
}

// Checks returns the checks of everything between Talk and the bot, in the
// order in which a message meets them. They run beside a running Perch, or
// alone. end must be called after them.
func Checks(o CheckOptions) (checks []bridge.Check, end func()) {
	e := &exam{CheckOptions: o, own: newInstance(), clients: map[bool]*talk.Client{}}
	e.instance = e.own
	if e.Getenv == nil {
		e.Getenv = func(string) string { return "" }
	}
	e.dial = e.dialByLookup
	if e.Lookup == nil {
		e.Lookup, e.dial = net.DefaultResolver.LookupHost, (&net.Dialer{}).DialContext
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	check := func(id string, title bridge.Text, run func(ctx context.Context) bridge.Result, needs ...string) {
		checks = append(checks, bridge.Check{ID: id, Title: title, Needs: needs, Run: run})
	}
	check("config", bridge.Say("Configuration"), e.config)
	check("keychain", bridge.Say("Keychain"), e.keychain)
	check("secret", bridge.Say("Webhook secret"), e.secret, "keychain")
	check("server-dns", bridge.Say("Server name"), e.serverDNS, "config")
	check("server-tcp", bridge.Say("Server port"), e.serverTCP, "server-dns")
	check("server-tls", bridge.Say("Certificate"), e.serverTLS, "server-tcp")
	check("server-status", bridge.Say("Server answers"), e.serverStatus, "server-tls")
	check("capabilities", bridge.Say("Talk"), e.capabilities, "server-status")
	check("clock", bridge.Say("Clock"), e.clock, "server-status")
	check("listener", bridge.Say("Listener"), e.listener, "config")
	check("self-post", bridge.Say("Signatures"), e.selfPost, "secret", "listener")
	check("tunnel-edge", bridge.Say("Cloudflare"), e.tunnelEdge, "config")
	check("tunnel-token", bridge.Say("Tunnel token"), e.tunnelToken, "keychain", "config")
	check("tunnel", bridge.Say("Tunnel"), e.tunnelOnline, "listener", "tunnel-token")
	check("public-url", bridge.Say("Public address"), e.publicURL, "self-post", "tunnel")
	check("bot-secret", bridge.Say("Bot secret"), e.botSecret, "secret", "capabilities")
	check("app-token", bridge.Say("App token"), e.appToken, "keychain", "capabilities")
	check("bot-entry", bridge.Say("Bot entry"), e.botEntry, "app-token")
	check("room-bot", bridge.Say("Bot in the room"), e.roomBot, "bot-entry")
	check("handler", bridge.Say("Handler"), e.handlers, "config")
	check("allow-list", bridge.Say("Allow list"), e.allowList, "config")
	check("backend", bridge.Say("Server's own name"), e.backend, "config")
	check("traffic", bridge.Say("Traffic"), e.traffic)
	return checks, e.end
}

// exam is an examination: what the checks find out for those that need them.
type exam struct {
	CheckOptions

	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu     sync.Mutex // of what checks that do not need one another share
	loaded bool
	cfg    config.Config
	found  bridge.Result // about cfg
	store  *secret.Store
	guest  *journal.Journal

	clients  map[bool]*talk.Client // by whether a stranger asks
	caps     talk.Capabilities
	who      bridge.Actor // whose app token it is
	bot      int          // its id on the server; 0: not known
	own      string       // instance of the examination itself
	instance string       // of the process that listens
	addr     string       // where it listens
	stop     func()       // ends our own listener
}

func (e *exam) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stop != nil {
		e.stop()
	}
	for _, c := range e.clients {
		c.Close()
	}
	if e.guest != nil {
		_ = e.guest.Close() // it was only read
	}
}

// load reads the configuration, once.
func (e *exam) load() (config.Config, bridge.Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.loaded {
		if e.Config != nil {
			e.cfg, e.found = *e.Config, bridge.Passed(bridge.Say("not saved yet"))
		} else {
			e.cfg, e.found = config.Diagnose(e.Home.ConfigFile())
		}
		e.loaded = true
		for _, entry := range e.cfg.Talk.AllowedUsers {
			e.Private.Hide(bridge.ParseActor(entry).ID, doctor.Somebody)
		}
		e.Private.Hide(e.Room, doctor.SomeRoom)
	}
	return e.cfg, e.found
}

// secrets returns the store that the keychain check left usable.
func (e *exam) secrets() *secret.Store {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.store == nil {
		e.store = e.Secrets
	}
	return e.store
}

// key returns a secret; empty if there is none.
func (e *exam) key(ctx context.Context, name string) bridge.Secret {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s, _ := e.secrets().Get(ctx, name) // the checks keychain and secret say why not
	e.Private.HideSecret(s)
	return s
}

// talk returns the server as it is configured; a stranger asks it without our
// secrets, for which the keychain may have to be waited for.
func (e *exam) talk(ctx context.Context, stranger bool) (talk.Doctor, error) {
	cfg, _ := e.load()
	file := e.Home.ConfigFile()
	cfg.Webhook.PublicURL = e.public(ctx, cfg)
	d := talk.Doctor{
		ConfigFile: file, SaveCAAs: config.CAFilePath(file), Address: e.address(cfg), Lookup: e.Lookup, Now: e.Now,
	}
	options := talk.Options{
		BaseURL: cfg.Talk.BaseURL, ReplyAs: string(cfg.Talk.ReplyAs), UserAgent: "Perch/" + e.Version, Dial: e.dial,
	}
	if !stranger {
		options.Secret, options.AppToken = e.key(ctx, bridge.WebhookSecret), e.key(ctx, bridge.AppToken)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.clients[stranger] == nil {
		var err error
		if options.RootCAs, err = cfg.Talk.CertPool(filepath.Dir(file)); err != nil {
			return d, err
		}
		if e.clients[stranger], err = talk.NewClient(options); err != nil {
			return d, err
		}
	}
	d.Client = e.clients[stranger]
	return d, nil
}

// onServer runs a step of the server's examination as a stranger.
func (e *exam) onServer(ctx context.Context, step func(talk.Doctor) bridge.Result) bridge.Result {
	return e.step(ctx, true, step)
}

// asBot runs a step of the server's examination with our secrets.
func (e *exam) asBot(ctx context.Context, step func(talk.Doctor) bridge.Result) bridge.Result {
	return e.step(ctx, false, step)
}

func (e *exam) step(ctx context.Context, stranger bool, step func(talk.Doctor) bridge.Result) bridge.Result {
	d, err := e.talk(ctx, stranger)
	if err != nil {
		return bridge.FailedBy(err, bridge.Text{})
	}
	return step(d)
}

// journal opens the journal beside a Perch that may be running.
func (e *exam) journal(ctx context.Context) (*journal.Journal, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.guest != nil {
		return e.guest, nil
	}
	j, err := journal.Open(context.WithoutCancel(ctx), e.Home.JournalFile(), journal.Options{Guest: true})
	if err != nil {
		return nil, err
	}
	e.guest = j
	return j, nil
}

// noted returns what a running Perch wrote down; empty if it did not.
func (e *exam) noted(ctx context.Context, name string) string {
	j, err := e.journal(ctx)
	if err != nil {
		return ""
	}
	value, _ := j.Noted(ctx, name)
	return value
}

// room returns the conversation to look at; its token is empty if none is known.
func (e *exam) room(ctx context.Context) bridge.Room {
	room := bridge.Room{Token: e.Room}
	if j, err := e.journal(ctx); err == nil {
		if room.Token == "" {
			t, _ := j.Traffic(ctx)
			room = t.Room
		} else {
			room, _ = j.Room(ctx, room.Token)
		}
	}
	if strings.HasPrefix(room.Name, "[") { // of two people, by their ids
		room.Name = ""
	}
	e.Private.Hide(room.Token, doctor.SomeRoom)
	return room
}

// public returns the public address of the webhook, of the tunnel if there is
// to be one; empty if none is known.
func (e *exam) public(ctx context.Context, cfg config.Config) string {
	switch cfg.Tunnel.Mode {
	case config.TunnelNamed:
		return "https://" + cfg.Tunnel.Hostname
	case config.TunnelQuick:
		return e.noted(ctx, noteAddress)
	default:
		return cfg.Webhook.PublicURL
	}
}

// address returns the URL at which Nextcloud is to reach the webhook.
func (e *exam) address(cfg config.Config) string {
	if cfg.Webhook.PublicURL == "" {
		if host, port, _ := net.SplitHostPort(cfg.Webhook.Listen); host == "" || net.ParseIP(host).IsUnspecified() {
			cfg.Webhook.Listen = net.JoinHostPort(outbound(cfg.Talk.BaseURL), port)
		}
	}
	return cfg.Webhook.Address()
}

// outbound returns the address of this machine on the way to a server, without
// sending anything.
func outbound(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "127.0.0.1"
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "443")) //nolint:noctx // a datagram socket connects at once
	if err != nil {
		return "127.0.0.1"
	}
	defer func() { _ = conn.Close() }()
	host, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	return host
}

func (e *exam) config(context.Context) bridge.Result {
	_, found := e.load()
	return found
}

func (e *exam) keychain(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	var needed []string
	if needsSecret(cfg) {
		needed = append(needed, bridge.WebhookSecret)
	}
	if cfg.Talk.ReplyAs == config.User {
		needed = append(needed, bridge.AppToken)
	}
	r := e.Secrets.DiagnoseKeychain(ctx, needed)
	if r.Status == bridge.StatusWarn {
		e.mu.Lock()
		e.store = e.Secrets.WithoutKeychain()
		e.mu.Unlock()
	}
	return r
}

func needsSecret(cfg config.Config) bool {
	return cfg.Webhook.RequireSignature || cfg.Talk.ReplyAs != config.User
}

func (e *exam) secret(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	return e.secrets().DiagnoseSecret(ctx, needsSecret(cfg))
}

func (e *exam) serverDNS(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.DNS(ctx) })
}

func (e *exam) serverTCP(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.TCP(ctx) })
}

func (e *exam) serverTLS(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.TLS(ctx) })
}

func (e *exam) serverStatus(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.Status(ctx) })
}

func (e *exam) capabilities(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) (r bridge.Result) {
		e.caps, r = d.Capabilities(ctx)
		return r
	})
}

func (e *exam) clock(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.Clock(ctx) })
}

func (e *exam) probe(ctx context.Context) webhook.Probe {
	return webhook.Probe{
		Sign: talk.Sign, Secret: e.key(ctx, bridge.WebhookSecret),
		Client: &http.Transport{DisableKeepAlives: true, DialContext: e.dial, Proxy: http.ProxyFromEnvironment},
	}
}

// dialByLookup connects as net.Dialer does, with our own look-up of names.
func (e *exam) dialByLookup(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		if addresses, err = e.Lookup(ctx, host); err != nil {
			return nil, err
		}
	}
	err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	for _, address := range addresses {
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(address, port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// listener finds the listener of the running Perch, or, if there is none,
// listens in its place until the end of the examination.
func (e *exam) listener(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	ln, err := webhook.Listen(ctx, cfg.Webhook.Listen)
	if err == nil {
		e.addr = ln.Addr().String()
		e.serve(ctx, ln, cfg)
		return bridge.Passed(bridge.Say("%s is free; Perch is not running, so the doctor listens there for now", e.addr))
	}
	e.addr = cfg.Webhook.Listen
	if running, pid, _ := strings.Cut(e.noted(ctx, noteInstance), " "); running != "" {
		if webhook.Holds(pid, e.addr) || e.probe(ctx).IsInstance(ctx, e.selfURL(cfg), running) {
			e.instance = running
			return bridge.Passed(bridge.Say("%[1]s, held by the running Perch (process %[2]s)", e.addr, pid))
		}
	}
	return webhook.DiagnoseBusy(ctx, err, cfg.Webhook.Listen, e.Home.ConfigFile())
}

// selfURL returns the webhook's address on this machine.
func (e *exam) selfURL(cfg config.Config) string {
	host, port, _ := net.SplitHostPort(e.addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + cfg.Webhook.Path
}

// serve answers self-checks. A webhook that comes meanwhile is refused, as it
// would be if nobody listened.
func (e *exam) serve(ctx context.Context, ln net.Listener, cfg config.Config) {
	quiet := slog.New(slog.DiscardHandler)
	key := sync.OnceValue(func() bridge.Secret { return e.key(context.WithoutCancel(ctx), bridge.WebhookSecret) })
	handler := webhook.NewHandler(webhook.Options{
		Settings: func() webhook.Settings {
			return webhook.Settings{Path: cfg.Webhook.Path, Secret: key(), RequireSignature: true}
		},
		Verify:   talk.Verify,
		Sign:     talk.Sign,
		Instance: e.instance,
		Decode: func(webhook.Request) (bridge.Message, error) {
			return bridge.Message{}, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("Perch is not running")}
		},
		Sink: deaf{},
	})
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = webhook.Serve(serving, ln, handler, quiet) // until cancel
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop = func() { cancel(); <-served }
}

type deaf struct{}

func (deaf) Publish(bridge.Event) {}

func (e *exam) selfPost(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	probe := e.probe(ctx)
	if probe.Secret.IsZero() {
		return bridge.Skipped(bridge.Say("needs a webhook secret"))
	}
	return probe.DiagnoseSelfPost(ctx, e.selfURL(cfg), cfg.Webhook.RequireSignature, e.Home.ConfigFile())
}

func (e *exam) publicURL(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	probe := e.probe(ctx)
	if probe.Secret.IsZero() {
		return bridge.Skipped(bridge.Say("needs a webhook secret"))
	}
	file := e.Home.ConfigFile()
	if cfg.Tunnel.Mode != config.TunnelOff && e.instance == e.own {
		return bridge.Skipped(bridge.Say("Perch is not running, and opens the tunnel when it is"))
	}
	cfg.Webhook.PublicURL = e.public(ctx, cfg)
	if cfg.Webhook.PublicURL == "" {
		host, _, _ := net.SplitHostPort(e.addr)
		if ip := net.ParseIP(host); (host == "localhost" || ip != nil && ip.IsLoopback()) && !isHere(cfg.Talk.BaseURL) {
			return bridge.Failed(bridge.Say("none is set, and nobody but this machine reaches %s", e.addr),
				bridge.Say("Talk sends every message to this address, once; what does not arrive is lost."),
				bridge.Say("make a tunnel or a proxy that leads to http://%[1]s, then in %[2]s, in the table [webhook], write its address: public_url = \"https://…\"", e.addr, file))
		}
		cfg.Webhook.Listen = e.addr // also where the port is any
	}
	if edge, err := tunnel.EdgeFromEnvironment(e.Getenv); err == nil && edge.RootCAs != nil && cfg.Tunnel.Mode != config.TunnelOff {
		probe.Client.TLSClientConfig = &tls.Config{RootCAs: edge.RootCAs, MinVersion: tls.VersionTLS12}
	}
	if e.RootCAs != nil {
		probe.Client.TLSClientConfig = &tls.Config{RootCAs: e.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return probe.DiagnosePublicURL(ctx, webhook.PublicAddress{
		URL: e.address(cfg), Instance: e.instance, Listen: e.addr, ConfigFile: file, Local: config.IsLocal, Patience: e.Patience,
	})
}

// isHere reports whether a server is on this machine, as its address says.
func isHere(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	if u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback() {
		return true
	}
	own, _ := net.InterfaceAddrs()
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(net.ParseIP(u.Hostname())) {
			return true
		}
	}
	return false
}

func (e *exam) botSecret(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	if cfg.Talk.ReplyAs == config.User {
		return bridge.Skipped(bridge.Say("replies go out as the user of the app token"))
	}
	room := e.room(ctx)
	if room.Token == "" {
		return bridge.Skipped(bridge.Say("needs a conversation: perch doctor --room TOKEN"))
	}
	return e.asBot(ctx, func(d talk.Doctor) bridge.Result { return d.BotSecret(ctx, room, e.caps) })
}

func (e *exam) appToken(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	room := e.room(ctx)
	return e.asBot(ctx, func(d talk.Doctor) (r bridge.Result) {
		e.who, r = d.AppToken(ctx, room, cfg.Talk.ReplyAs == config.User)
		e.Private.Hide(e.who.ID, doctor.Somebody)
		return r
	})
}

func (e *exam) botEntry(ctx context.Context) bridge.Result {
	return e.asBot(ctx, func(d talk.Doctor) (r bridge.Result) {
		e.bot, r = d.BotEntry(ctx, e.who, e.noted(ctx, noteInstalled))
		return r
	})
}

func (e *exam) roomBot(ctx context.Context) bridge.Result {
	room := e.room(ctx)
	if room.Token == "" {
		return bridge.Skipped(bridge.Say("needs a conversation: perch doctor --room TOKEN"))
	}
	return e.asBot(ctx, func(d talk.Doctor) bridge.Result { return d.RoomBot(ctx, room, e.bot, e.who) })
}

// handlers looks at what answers messages, in [handler] and [handlers.<name>];
// the result is that of the one that is worst off.
func (e *exam) handlers(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	pool, err := cfg.Talk.CertPool(filepath.Dir(e.Home.ConfigFile()))
	if err != nil {
		return bridge.FailedBy(err, bridge.Text{})
	}
	made := workshop{
		home: e.Home, rootCAs: pool, sink: deaf{}, version: e.Version,
		secret: func(name string) bridge.Secret { return e.key(ctx, name) },
	}
	worst := bridge.Result{}
	names, by := handlersOf(cfg)
	for _, name := range names {
		found := bridge.Passed(bridge.Say("the built-in commands"))
		h, err := made.make(name, by[name])
		if err != nil {
			return bridge.FailedBy(err, bridge.Text{})
		}
		if d, ok := h.(interface {
			Diagnose(ctx context.Context) bridge.Result
		}); ok {
			found = d.Diagnose(ctx)
		}
		if name != "" {
			found.Seen = bridge.Say("%[1]s: %[2]s", name, found.Seen.String())
		}
		if worst.Status == "" || gravity(found.Status) > gravity(worst.Status) {
			worst = found
		}
	}
	return worst
}

func gravity(s bridge.Status) int {
	return map[bridge.Status]int{bridge.StatusSkip: 0, bridge.StatusOK: 1, bridge.StatusWarn: 2, bridge.StatusFail: 3}[s]
}

func (e *exam) allowList(context.Context) bridge.Result {
	cfg, _ := e.load()
	return cfg.Talk.DiagnoseAllowList(e.Home.ConfigFile())
}

func (e *exam) backend(ctx context.Context) bridge.Result {
	return e.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.Backend(e.noted(ctx, noteBackend)) })
}

// traffic says what came and went last, and whether replies are held back.
func (e *exam) traffic(ctx context.Context) bridge.Result {
	j, err := e.journal(ctx)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return bridge.Skipped(bridge.Say("Perch has not run here yet"))
	}
	why := bridge.Say("It is what really happened, whatever the other checks say.")
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	t, err := j.Traffic(ctx)
	until, held, heldErr := j.HeldUntil(ctx)
	if err := errors.Join(err, heldErr); err != nil {
		return bridge.FailedBy(err, why)
	}
	e.Private.Hide(t.Failure.Room.Token, doctor.SomeRoom)
	e.Private.Hide(t.Failure.Actor.ID, doctor.Somebody)
	waiting := strconv.Itoa(t.Waiting)
	switch {
	case held && until.IsZero():
		return bridge.Failed(bridge.Say("%s replies are held back, because the server refused one (401)", waiting),
			bridge.Say("Nothing is sent until you say so, lest Nextcloud lock this address out."),
			bridge.Say("see that bot-secret is ok: perch doctor --only bot-secret\nthen: perch retry"))
	case held:
		return bridge.Warned(bridge.Say("%[1]s replies are held back until %[2]s, because the server asked to slow down (429)", waiting, until.Format(time.TimeOnly)),
			bridge.Say("They are sent by themselves then."),
			bridge.Say("to send them now, on the server: occ security:bruteforce:reset IP, with the address of this machine for IP\nthen: perch retry"))
	}
	seen := bridge.Say("last message in %[1]s, last reply out %[2]s", e.ago(t.In), e.ago(t.Out))
	if !t.Failure.Time.IsZero() {
		seen = bridge.Say("%[1]s; last failure %[2]s (%[3]s: %[4]s)", seen.String(), e.ago(t.Failure.Time), string(t.Failure.Code), t.Failure.Title.String())
		if t.Failure.Time.After(t.In) && t.Failure.Time.After(t.Out) {
			fix := t.Failure.Hint
			if fix.IsZero() {
				fix = bridge.Say("see it in full: perch log --level warn")
			}
			return bridge.Warned(seen, bridge.Say("Nothing came or went since, so its cause may still be there."), fix)
		}
	}
	return bridge.Passed(seen)
}

// ago returns how long a time is gone, for a person.
func (e *exam) ago(t time.Time) string {
	d := e.Now().Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h ago"
	default:
		return strconv.Itoa(int(d.Hours()/24)) + " days ago"
	}
}
