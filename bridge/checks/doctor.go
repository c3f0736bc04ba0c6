// Package checks has those checks of the doctor that need several parts: they
// follow a message from Talk to the bot and back.
package checks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
	"perch/bridge/secret"
	"perch/bridge/talk"
	"perch/bridge/webhook"
	"perch/tunnel"
)

// Options say what is checked. The first four are needed.
type Options struct {
	Home    config.Home
	Secrets *secret.Store
	Version string
	Private *doctor.Private // learns what is not to be shown
	Room    string          // token of the conversation to look at; empty: that of the last message
	Wait    time.Duration   // how long to wait for a webhook of Talk; 0: not at all
	Config  *config.Config  // what to look at in place of what Home has

	Getenv func(string) string // for another edge of the tunnel; nil: none

	Lookup   func(ctx context.Context, host string) ([]string, error) // nil: as the system does
	Now      func() time.Time                                         // nil: time.Now
	RootCAs  *x509.CertPool                                           // for the public address; nil: the system's
	Patience time.Duration                                            // with the public address; 0: as long as Talk's
}

// New returns the checks of everything between Talk and the bot, in the
// order in which a message meets them. They run beside a running Perch, or
// alone. end must be called after them.
func New(o Options) (checks []bridge.Check, end func()) {
	s := &session{Options: o, own: app.NewInstance(), clients: map[bool]*talk.Client{}, arrived: make(chan struct{}, 1), began: time.Now()}
	s.instance = s.own
	if s.Getenv == nil {
		s.Getenv = func(string) string { return "" }
	}
	s.dial = s.dialByLookup
	if s.Lookup == nil {
		s.Lookup, s.dial = net.DefaultResolver.LookupHost, (&net.Dialer{}).DialContext
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	check := func(id string, title bridge.Text, run func(ctx context.Context) bridge.Result, needs ...string) {
		checks = append(checks, bridge.Check{ID: id, Title: title, Needs: needs, Run: run})
	}
	check("config", bridge.Say("Configuration"), s.config)
	check("journal", bridge.Say("Journal"), s.journalFile)
	check("keychain", bridge.Say("Keychain"), s.keychain)
	cfg, _ := s.load()
	account := cfg.Talk.Receive == config.ByAccount
	voice := func() {
		if cfg.Voice.BaseURL != "" {
			check("voice", bridge.Say("Voice messages"), s.voice, "keychain")
		}
	}
	if account {
		check("webhook", bridge.Say("Webhook"), s.noWebhook)
	} else {
		check("secret", bridge.Say("Webhook secret"), s.secret, "keychain")
	}
	check("server-dns", bridge.Say("Server name"), s.serverDNS, "config")
	check("server-tcp", bridge.Say("Server port"), s.serverTCP, "server-dns")
	check("server-tls", bridge.Say("Certificate"), s.serverTLS, "server-tcp")
	check("server-status", bridge.Say("Server answers"), s.serverStatus, "server-tls")
	check("capabilities", bridge.Say("Talk"), s.capabilities, "server-status")
	check("clock", bridge.Say("Clock"), s.clock, "server-status")
	if account {
		check("login", bridge.Say("Log-in"), s.login, "keychain", "capabilities")
		check("rooms", bridge.Say("Conversations"), s.accountRooms, "login")
		check("poll", bridge.Say("News"), s.poll, "rooms")
		check("handler", bridge.Say("Handler"), s.handlers, "config")
		voice()
		check("allow-list", bridge.Say("Allow list"), s.allowList, "config")
		check("notify", bridge.Say("Other programs"), s.notify, "keychain", "config")
		check("traffic", bridge.Say("Traffic"), s.traffic)
		return checks, s.end
	}
	check("listener", bridge.Say("Listener"), s.listener, "config")
	check("self-post", bridge.Say("Signatures"), s.selfPost, "secret", "listener")
	check("tunnel-edge", bridge.Say("Cloudflare"), s.tunnelEdge, "config")
	check("tunnel-token", bridge.Say("Tunnel token"), s.tunnelToken, "keychain", "config")
	check("tunnel", bridge.Say("Tunnel"), s.tunnelOnline, "listener", "tunnel-token")
	check("public-url", bridge.Say("Public address"), s.publicURL, "self-post", "tunnel")
	check("bot-secret", bridge.Say("Bot secret"), s.botSecret, "secret", "capabilities")
	check("app-token", bridge.Say("App token"), s.appToken, "keychain", "capabilities")
	check("bot-entry", bridge.Say("Bot entry"), s.botEntry, "app-token")
	if o.Wait > 0 { // then it needs no word of the server
		check("delivery", bridge.Say("Webhook delivery"), s.await, "secret", "listener")
		checks[len(checks)-1].Takes = o.Wait + time.Second
	} else {
		check("delivery", bridge.Say("Webhook delivery"), s.delivery, "listener", "bot-entry")
	}
	check("room-bot", bridge.Say("Bot in the room"), s.roomBot, "bot-entry")
	check("handler", bridge.Say("Handler"), s.handlers, "config")
	voice()
	check("allow-list", bridge.Say("Allow list"), s.allowList, "config")
	check("notify", bridge.Say("Other programs"), s.notify, "keychain", "listener")
	check("backend", bridge.Say("Server's own name"), s.backend, "config")
	check("traffic", bridge.Say("Traffic"), s.traffic)
	return checks, s.end
}

// session is one run of the checks: what they find out for those that need them.
type session struct {
	Options

	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu     sync.Mutex // of what checks that do not need one another share
	loaded bool
	cfg    config.Config
	found  bridge.Result // about cfg
	store  *secret.Store
	guest  *journal.Journal

	listed   time.Duration         // the answer with all conversations took
	clients  map[bool]*talk.Client // by whether a stranger asks
	caps     talk.Capabilities
	who      bridge.Actor // whose app token it is
	bot      int          // its id on the server; 0: not known
	own      string       // instance of this session
	instance string       // of the process that listens
	addr     string       // where it listens
	stop     func()       // ends our own listener

	began   time.Time
	arrived chan struct{} // has one when our own listener got a signed webhook
}

// Examine runs the checks that r asks for and calls row with each as it is done:
// as it is but for secrets, and as it is to be shown to others. The report has
// the latter. The error is of CodeInvalid if r names a check that there is not.
func Examine(ctx context.Context, o Options, r doctor.Request, row func(whole, shown doctor.Row)) (doctor.Report, error) {
	private := &doctor.Private{}
	o.Private, o.Room = private, r.Room
	if r.Wait {
		o.Wait = WaitTime
	}
	all, end := New(o)
	defer end()
	return doctor.Run(ctx, all, doctor.Options{Only: r.Only, Again: o.again()}, func(found doctor.Row) doctor.Row {
		shown := private.Redact(found, false)
		row(private.Redact(found, true), shown)
		return shown
	})
}

// First returns the checks to run before all others: in a home without a
// configuration, those of the two things to do; else none.
func (o Options) First() []string {
	if _, err := os.Stat(o.Home.ConfigFile()); o.Config == nil && errors.Is(err, fs.ErrNotExist) {
		return []string{"config", "secret"}
	}
	return nil
}

// again returns what a command that runs a check again ends with.
func (o Options) again() string {
	if o.Room == "" {
		return ""
	}
	return " --room " + o.Room
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
	for _, c := range s.clients {
		c.Close()
	}
	if s.guest != nil {
		_ = s.guest.Close() // it was only read
	}
}

// load reads the configuration, once.
func (s *session) load() (config.Config, bridge.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		if s.Config != nil {
			s.cfg, s.found = *s.Config, bridge.Passed(bridge.Say("not saved yet"))
		} else {
			s.cfg, s.found = config.Diagnose(s.Home)
		}
		s.loaded = true
		for _, entry := range s.cfg.Talk.AllowedUsers {
			s.Private.Hide(bridge.ParseActor(entry).ID, doctor.Somebody)
		}
		s.Private.Hide(s.Room, doctor.SomeRoom)
	}
	return s.cfg, s.found
}

// secrets returns the store that the keychain check left usable.
func (s *session) secrets() *secret.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		s.store = s.Secrets
	}
	return s.store
}

// key returns a secret; empty if there is none.
func (s *session) key(ctx context.Context, name string) bridge.Secret {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	key, _ := s.secrets().Get(ctx, name) // the checks keychain and secret say why not
	s.Private.HideSecret(key)
	return key
}

// talk returns the server as it is configured; a stranger asks it without our
// secrets, for which the keychain may have to be waited for.
func (s *session) talk(ctx context.Context, stranger bool) (talk.Doctor, error) {
	cfg, _ := s.load()
	file := s.Home.ConfigFile()
	cfg.Webhook.PublicURL = s.public(ctx, cfg)
	d := talk.Doctor{
		ConfigFile: file, SaveCAAs: config.CAFilePath(file), Address: s.address(cfg), Again: s.again(), Lookup: s.Lookup, Now: s.Now,
	}
	options := talk.Options{
		BaseURL: cfg.Talk.BaseURL, ReplyAs: string(cfg.Talk.Voice()), UserAgent: "Perch/" + s.Version, Dial: s.dial,
	}
	if !stranger {
		options.Secret, options.AppToken = s.key(ctx, bridge.WebhookSecret), s.key(ctx, bridge.AppToken)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[stranger] == nil {
		var err error
		if options.RootCAs, err = cfg.Talk.CertPool(filepath.Dir(file)); err != nil {
			return d, err
		}
		if s.clients[stranger], err = talk.NewClient(options); err != nil {
			return d, err
		}
	}
	d.Client = s.clients[stranger]
	return d, nil
}

// onServer runs a check of the server without our secrets.
func (s *session) onServer(ctx context.Context, step func(talk.Doctor) bridge.Result) bridge.Result {
	return s.step(ctx, true, step)
}

// asBot runs a check of the server with our secrets.
func (s *session) asBot(ctx context.Context, step func(talk.Doctor) bridge.Result) bridge.Result {
	return s.step(ctx, false, step)
}

func (s *session) step(ctx context.Context, stranger bool, step func(talk.Doctor) bridge.Result) bridge.Result {
	d, err := s.talk(ctx, stranger)
	if err != nil {
		return bridge.FailedBy(err, bridge.Text{})
	}
	return step(d)
}

// journal opens the journal beside a Perch that may be running.
func (s *session) journal(ctx context.Context) (*journal.Journal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guest != nil {
		return s.guest, nil
	}
	j, err := journal.Open(context.WithoutCancel(ctx), s.Home.JournalFile(), journal.Options{Guest: true})
	if err != nil {
		return nil, err
	}
	s.guest = j
	return j, nil
}

// notes returns what a running Perch wrote down; empty if it did not.
func (s *session) notes(ctx context.Context) app.Notes {
	j, err := s.journal(ctx)
	if err != nil {
		return app.Notes{}
	}
	n, _ := app.ReadNotes(ctx, j) // the check traffic says what is wrong with the journal
	return n
}

// room returns the conversation to look at; its token is empty if none is known.
func (s *session) room(ctx context.Context) bridge.Room {
	room := bridge.Room{Token: s.Room}
	if j, err := s.journal(ctx); err == nil {
		if room.Token == "" {
			last, _ := j.Last(ctx) // the check traffic says what is wrong with the journal
			room = last.Message.Message.Room
		} else {
			room, _ = j.Room(ctx, room.Token)
		}
	}
	if strings.HasPrefix(room.Name, "[") { // of two people, by their ids
		room.Name = ""
	}
	s.Private.Hide(room.Token, doctor.SomeRoom)
	return room
}

// public returns the public address of the webhook, of the tunnel if there is
// to be one; empty if none is known.
func (s *session) public(ctx context.Context, cfg config.Config) string {
	switch cfg.Tunnel.Mode {
	case config.TunnelNamed:
		return "https://" + cfg.Tunnel.Hostname
	case config.TunnelQuick:
		return s.notes(ctx).Address
	default:
		return cfg.Webhook.PublicURL
	}
}

// address returns the URL at which Nextcloud is to reach the webhook.
func (s *session) address(cfg config.Config) string {
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

func (s *session) config(context.Context) bridge.Result {
	_, found := s.load()
	return found
}

func (s *session) journalFile(ctx context.Context) bridge.Result {
	j, err := s.journal(ctx)
	switch {
	case bridge.CodeOf(err) == bridge.CodeNotFound:
		return bridge.Skipped(bridge.Say("Perch has not run here yet"))
	case err != nil:
		return bridge.FailedBy(err, bridge.Text{})
	}
	return j.Diagnose(ctx)
}

func (s *session) keychain(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	var needed []string
	if needsSecret(cfg) {
		needed = append(needed, bridge.WebhookSecret)
	}
	if cfg.Talk.Voice() == config.User {
		needed = append(needed, bridge.AppToken)
	}
	r := s.Secrets.DiagnoseKeychain(ctx, needed)
	if r.Status == bridge.StatusWarn {
		s.mu.Lock()
		s.store = s.Secrets.WithoutKeychain()
		s.mu.Unlock()
	}
	return r
}

func needsSecret(cfg config.Config) bool {
	return cfg.Talk.Receive != config.ByAccount && (cfg.Webhook.RequireSignature || cfg.Talk.Voice() != config.User)
}

func (s *session) secret(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	return s.secrets().DiagnoseSecret(ctx, needsSecret(cfg))
}

func (s *session) serverDNS(ctx context.Context) bridge.Result {
	return s.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.DNS(ctx) })
}

func (s *session) serverTCP(ctx context.Context) bridge.Result {
	return s.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.TCP(ctx) })
}

func (s *session) serverTLS(ctx context.Context) bridge.Result {
	return s.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.TLS(ctx) })
}

func (s *session) serverStatus(ctx context.Context) bridge.Result {
	return s.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.Status(ctx) })
}

func (s *session) capabilities(ctx context.Context) bridge.Result {
	return s.onServer(ctx, func(d talk.Doctor) (r bridge.Result) {
		s.caps, r = d.Capabilities(ctx)
		return r
	})
}

func (s *session) clock(ctx context.Context) bridge.Result {
	r := s.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.Clock(ctx) })
	if zone := app.UnknownZone(s.Getenv); zone != "" && r.Status == bridge.StatusOK {
		return bridge.Warned(bridge.Say("there is no time zone %s, as the variable TZ says", zone),
			bridge.Say("Times in the log, and those that commands and programs tell, are in UTC."), app.WhichZone())
	}
	return r
}

func (s *session) probe(ctx context.Context) webhook.Probe {
	return webhook.Probe{
		Sign: talk.Sign, Secret: s.key(ctx, bridge.WebhookSecret),
		Client: &http.Transport{DisableKeepAlives: true, DialContext: s.dial, Proxy: http.ProxyFromEnvironment},
	}
}

// dialByLookup connects as net.Dialer does, with our own look-up of names.
func (s *session) dialByLookup(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		if addresses, err = s.Lookup(ctx, host); err != nil {
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
// listens in its place until the session ends.
func (s *session) listener(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	ln, err := webhook.Listen(ctx, cfg.Webhook.Listen, "webhook")
	if err == nil {
		s.addr = ln.Addr().String()
		s.serve(ctx, ln, cfg)
		return bridge.Passed(bridge.Say("%s is free; Perch is not running, so the doctor listens there for now", s.addr))
	}
	s.addr = cfg.Webhook.Listen
	if running := s.notes(ctx); running.Instance != "" {
		if webhook.Holds(running.PID, s.addr) || s.probe(ctx).IsInstance(ctx, s.selfURL(cfg), running.Instance) {
			s.instance = running.Instance
			return bridge.Passed(bridge.Say("%[1]s, held by the running Perch (process %[2]s)", s.addr, running.PID))
		}
	}
	return webhook.DiagnoseBusy(ctx, err, cfg.Webhook.Listen, s.Home.ConfigFile())
}

// selfURL returns the webhook's address on this machine.
func (s *session) selfURL(cfg config.Config) string {
	host, port, _ := net.SplitHostPort(s.addr)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + cfg.Webhook.Path
}

// serve answers self-checks. A webhook that comes meanwhile is refused, as it
// would be if nobody listened.
func (s *session) serve(ctx context.Context, ln net.Listener, cfg config.Config) {
	server := webhook.New(webhook.Options{
		Source: standIn{
			path: cfg.Webhook.Path, arrived: s.arrived,
			key: sync.OnceValue(func() bridge.Secret { return s.key(context.WithoutCancel(ctx), bridge.WebhookSecret) }),
		},
		Instance: s.instance,
		Sink:     &eventlog.Bus{}, // nobody listens
		Log:      slog.New(slog.DiscardHandler),
	})
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(serving, ln) // until cancel
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = func() { cancel(); <-served }
}

// standIn receives webhooks while Perch does not run: it answers self-checks
// and refuses all else. It implements webhook.Source and webhook.Receiver.
type standIn struct {
	path    string
	key     func() bridge.Secret
	arrived chan<- struct{}
}

func (s standIn) Current() webhook.Receiver { return s }

func (s standIn) Settings() webhook.Settings {
	return webhook.Settings{Path: s.path, HasSecret: !s.key().IsZero(), RequireSignature: true}
}

func (s standIn) Trouble() string { return "not-running" }

func (s standIn) Verify(random string, body []byte, signature string) bool {
	return talk.Verify(s.key(), random, body, signature)
}

func (s standIn) Sign(random, body string) string { return talk.Sign(s.key(), random, body) }

func (s standIn) Decode(webhook.Request) (bridge.Message, error) { return bridge.Message{}, nil }

func (s standIn) Accept(context.Context, bridge.Message) error {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("Perch is not running")}
}

func (s *session) selfPost(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	probe := s.probe(ctx)
	if probe.Secret.IsZero() {
		return bridge.Skipped(bridge.Say("needs a webhook secret"))
	}
	return probe.DiagnoseSelfPost(ctx, s.selfURL(cfg), cfg.Webhook.RequireSignature, s.Home.ConfigFile())
}

func (s *session) publicURL(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	probe := s.probe(ctx)
	if probe.Secret.IsZero() {
		return bridge.Skipped(bridge.Say("needs a webhook secret"))
	}
	file := s.Home.ConfigFile()
	if cfg.Tunnel.Mode != config.TunnelOff && s.instance == s.own {
		return bridge.Skipped(bridge.Say("Perch is not running, and opens the tunnel when it is"))
	}
	cfg.Webhook.PublicURL = s.public(ctx, cfg)
	if cfg.Webhook.PublicURL == "" {
		host, _, _ := net.SplitHostPort(s.addr)
		if ip := net.ParseIP(host); (host == "localhost" || ip != nil && ip.IsLoopback()) && !isHere(cfg.Talk.BaseURL) {
			return bridge.Failed(bridge.Say("none is set, and nobody but this machine reaches %s", s.addr),
				bridge.Say("Talk sends every message to this address, once; what does not arrive is lost."),
				bridge.Say("make a tunnel or a proxy that leads to http://%[1]s, then in %[2]s, in the table [webhook], write its address: public_url = \"https://…\"", s.addr, file))
		}
		cfg.Webhook.Listen = s.addr // also where the port is any
	}
	if edge, err := tunnel.EdgeFromEnvironment(s.Getenv); err == nil && edge.RootCAs != nil && cfg.Tunnel.Mode != config.TunnelOff {
		probe.Client.TLSClientConfig = &tls.Config{RootCAs: edge.RootCAs, MinVersion: tls.VersionTLS12}
	}
	if s.RootCAs != nil {
		probe.Client.TLSClientConfig = &tls.Config{RootCAs: s.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return probe.DiagnosePublicURL(ctx, webhook.PublicAddress{
		URL: s.address(cfg), Instance: s.instance, Listen: s.addr, ConfigFile: file, Local: config.IsLocal, Patience: s.Patience,
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

func (s *session) botSecret(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	if cfg.Talk.Voice() == config.User {
		return bridge.Skipped(bridge.Say("replies go out as the user of the app token"))
	}
	room := s.room(ctx)
	if room.Token == "" {
		return bridge.Skipped(bridge.Say("needs a conversation: perch doctor --room TOKEN"))
	}
	return s.asBot(ctx, func(d talk.Doctor) bridge.Result { return d.BotSecret(ctx, room, s.caps) })
}

func (s *session) appToken(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	room := s.room(ctx)
	return s.asBot(ctx, func(d talk.Doctor) (r bridge.Result) {
		s.who, r = d.AppToken(ctx, room, cfg.Talk.Voice() == config.User)
		s.Private.Hide(s.who.ID, doctor.Somebody)
		return r
	})
}

func (s *session) botEntry(ctx context.Context) bridge.Result {
	return s.asBot(ctx, func(d talk.Doctor) (r bridge.Result) {
		s.bot, r = d.BotEntry(ctx, s.who, s.notes(ctx).Installed)
		return r
	})
}

// delivery says whether it is known that Talk sends its webhooks here: from an
// administrator, from the last webhook, or from one that comes now.
func (s *session) delivery(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	if cfg.Talk.Receive == config.ByAccount {
		return bridge.Skipped(bridge.Say("Perch asks for messages; Talk sends none"))
	}
	cfg.Webhook.PublicURL = s.public(ctx, cfg)
	address, last := s.address(cfg), s.notes(ctx).Installed
	switch {
	case s.bot != 0:
		return bridge.Passed(bridge.Say("the server has the bot at %s", address))
	case last == address:
		return bridge.Passed(bridge.Say("the last webhook came to %s", address))
	case last != "":
		return bridge.Skipped(bridge.Say("the last webhook came to another address: see bot-entry"))
	}
	return bridge.Warned(bridge.Say("not verified: no webhook has come to %s yet", address),
		bridge.Say("Only an administrator's app token shows at which address the server has the bot; without one, a webhook does."),
		bridge.Say("perch doctor --wait%[1]s\nthen write anything in the room: the doctor waits %[2]s for its webhook", s.again(), WaitTime.String()))
}

// WaitTime is how long to wait for a webhook that a person is to cause.
const WaitTime = 60 * time.Second

// await waits for a signed webhook.
func (s *session) await(ctx context.Context) bridge.Result {
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	if !s.webhookCame(ctx) {
		return bridge.Failed(bridge.Say("no signed webhook came within %s", s.Wait.String()),
			bridge.Say("If something was written in a conversation of the bot, Talk sends its webhooks elsewhere, or the bot is not enabled there."),
			bridge.Say("on the server, see its BOT-ID: occ talk:bot:list\nenable it: occ talk:bot:setup BOT-ID TOKEN\nif it was installed with another address, what this prints: perch occ\nthen: perch doctor --wait%s", s.again()))
	}
	return bridge.Passed(bridge.Say("a signed webhook came after %s", time.Since(s.began).Round(time.Second).String()))
}

// webhookCame waits for a signed webhook, to the running Perch or, if there is
// none, to our own listener. It reports false if none came before ctx was done.
func (s *session) webhookCame(ctx context.Context) bool {
	if s.instance == s.own {
		select {
		case <-s.arrived:
			return true
		case <-ctx.Done():
			return false
		}
	}
	j, err := s.journal(ctx)
	if err != nil {
		return false
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		entries, _ := j.Entries(ctx, journal.Filter{Level: slog.LevelDebug, Limit: 100})
		for _, e := range entries {
			// Nothing gets so far without a signature.
			came := e.Message != nil && e.Message.State != bridge.MessageMissed || e.Event != nil && e.Event.Stage == bridge.StageIntake
			if came && e.Time().After(s.began) {
				return true
			}
		}
	}
}

func (s *session) roomBot(ctx context.Context) bridge.Result {
	room := s.room(ctx)
	if room.Token == "" {
		return bridge.Skipped(bridge.Say("needs a conversation: perch doctor --room TOKEN"))
	}
	return s.asBot(ctx, func(d talk.Doctor) bridge.Result { return d.RoomBot(ctx, room, s.bot, s.who) })
}

// handlers looks at what answers messages, in [handler] and [handlers.<name>];
// the result is that of the one that is worst off.
func (s *session) handlers(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	pool, err := cfg.Talk.CertPool(filepath.Dir(s.Home.ConfigFile()))
	if err != nil {
		return bridge.FailedBy(err, bridge.Text{})
	}
	parts := app.HandlerParts{
		Home: s.Home, RootCAs: pool, Sink: &eventlog.Bus{}, Version: s.Version, Confirms: true,
		Secret: func(name string) bridge.Secret { return s.key(ctx, name) },
	}
	worst := bridge.Result{}
	names, by := app.HandlersOf(cfg)
	for _, name := range names {
		found := bridge.Passed(bridge.Say("the built-in commands"))
		h, err := parts.Handler(name, by[name])
		if err != nil {
			return bridge.FailedBy(err, bridge.Text{})
		}
		if d, ok := h.(interface {
			Diagnose(ctx context.Context) bridge.Result
		}); ok {
			found = d.Diagnose(ctx)
		}
		if name != "" {
			found.Seen = bridge.Say("%[1]s: %[2]s", name).With(found.Seen)
		}
		if worst.Status == "" || gravity(found.Status) > gravity(worst.Status) {
			worst = found
		}
	}
	return worst
}

// voice has the server of [voice] hear a second of silence.
func (s *session) voice(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	why := bridge.Say("Voice messages are not heard until it works.")
	if token := s.key(ctx, bridge.AppToken); token.IsZero() {
		return bridge.Failed(bridge.Say("no app token is set, which recordings are fetched with"), why,
			bridge.Say("make an app password in Nextcloud (Settings, Security), then: %s").With(token.HowTo(bridge.AppToken)))
	}
	pool, err := cfg.Talk.CertPool(filepath.Dir(s.Home.ConfigFile()))
	if err != nil {
		return bridge.FailedBy(err, bridge.Text{})
	}
	parts := app.HandlerParts{RootCAs: pool, Version: s.Version, Secret: func(name string) bridge.Secret { return s.key(ctx, name) }}
	return parts.Ear(cfg.Voice).Diagnose(ctx)
}

func gravity(s bridge.Status) int {
	return map[bridge.Status]int{bridge.StatusSkip: 0, bridge.StatusOK: 1, bridge.StatusWarn: 2, bridge.StatusFail: 3}[s]
}

func (s *session) allowList(context.Context) bridge.Result {
	cfg, _ := s.load()
	return cfg.Talk.DiagnoseAllowList(s.Home.ConfigFile())
}

func (s *session) backend(ctx context.Context) bridge.Result {
	return s.onServer(ctx, func(d talk.Doctor) bridge.Result { return d.Backend(s.notes(ctx).Backend) })
}

// traffic says what came and went last, and whether replies are held back.
func (s *session) traffic(ctx context.Context) bridge.Result {
	j, err := s.journal(ctx)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return bridge.Skipped(bridge.Say("Perch has not run here yet"))
	}
	why := bridge.Say("It is what really happened, whatever the other checks say.")
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	last, err := j.Last(ctx)
	until, held, heldErr := j.HeldUntil(ctx)
	if err := errors.Join(err, heldErr); err != nil {
		return bridge.FailedBy(err, why)
	}
	in := last.Message.Message.ReceivedAt
	if last.Message.ID == 0 {
		in = time.Time{}
	}
	waiting := strconv.Itoa(last.Waiting)
	switch {
	case held && until.IsZero():
		return bridge.Failed(bridge.Say("%s replies are held back, because the server refused one (401)", waiting),
			bridge.Say("Nothing is sent until you say so, lest Nextcloud lock this address out."),
			bridge.Say("see that %[1]s is ok: perch doctor --only %[1]s%[2]s\nthen: perch retry", s.proof(), s.again()))
	case held:
		return bridge.Warned(bridge.Say("%[1]s replies are held back until %[2]s, because the server asked to slow down (429)", waiting, until.Format(time.TimeOnly)),
			bridge.Say("They are sent by themselves then."),
			bridge.Say("to send them now, on the server: occ security:bruteforce:reset IP, with the address of this machine for IP\nthen: perch retry"))
	}
	seen := bridge.Say("last message in %[1]s, last reply out %[2]s").With(s.ago(in), s.ago(last.Sent))
	if e := last.Trouble; e != nil {
		s.Private.Hide(e.Room.Token, doctor.SomeRoom)
		s.Private.Hide(e.Actor.ID, doctor.Somebody)
		seen = bridge.Say("%[2]s; last failure %[3]s (%[1]s: %[4]s)", string(e.Code)).With(seen, s.ago(e.Time), e.Title)
		if !e.Time.Before(in) && e.Time.After(last.Sent) {
			fix := e.Hint
			if fix.IsZero() {
				fix = bridge.Say("see it in full: perch log --level warn")
			}
			return bridge.Warned(seen, bridge.Say("Nothing came or went since, so its cause may still be there."), fix)
		}
	}
	return bridge.Passed(seen)
}

// proof returns the check that shows whether the server takes our replies.
func (s *session) proof() string {
	if cfg, _ := s.load(); cfg.Talk.Voice() == config.User {
		return "app-token"
	}
	return "bot-secret"
}

// ago returns how long a time is gone, for a person.
func (s *session) ago(t time.Time) bridge.Text {
	d := s.Now().Sub(t)
	switch {
	case t.IsZero():
		return bridge.Say("never")
	case d < time.Minute:
		return bridge.Say("just now")
	case d < time.Hour:
		return bridge.Say("%s min ago", strconv.Itoa(int(d.Minutes())))
	case d < 48*time.Hour:
		return bridge.Say("%s h ago", strconv.Itoa(int(d.Hours())))
	default:
		return bridge.Say("%s days ago", strconv.Itoa(int(d.Hours()/24)))
	}
}
