package app

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/tunnel"
)

// Names of what the journal remembers of the tunnel.
const (
	noteTunnel  = "tunnel"       // how it is, for the doctor
	noteAddress = "address"      // of the webhook, for the doctor and for occ
	noteQuick   = "quick tunnel" // sealed credentials
	noteTrial   = "trial tunnel" // the same of another edge than Cloudflare's
)

// tunnelPlan is what decides which tunnel is open.
type tunnelPlan struct {
	config.Tunnel

	token  string
	origin string
	path   string
}

func (a *App) tunnelPlan() tunnelPlan {
	current := a.current.Load()
	p := tunnelPlan{Tunnel: current.config.Tunnel, origin: a.origin(), path: current.config.Webhook.Path}
	if p.Mode == config.TunnelNamed {
		p.token = current.tunnelToken.Reveal()
	}
	return p
}

// origin returns the address at which this machine reaches the listener.
func (a *App) origin() string {
	host, port, _ := net.SplitHostPort(a.Addr())
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// keepTunnel keeps the tunnel open that the settings ask for, until ctx is done.
func (a *App) keepTunnel(ctx context.Context) error {
	for ctx.Err() == nil {
		plan := a.tunnelPlan()
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.runTunnel(running, plan)
		}()
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				changed = true
			case <-a.retunnel:
				changed = a.tunnelPlan() != plan
			case <-a.moved:
				a.noteMove(ctx)
			}
		}
		stop()
		<-ended
	}
	return ctx.Err()
}

// runTunnel opens a tunnel and keeps it until ctx is done. If none can be
// opened, it says why.
func (a *App) runTunnel(ctx context.Context, plan tunnelPlan) {
	t, err := a.newTunnel(plan)
	if err != nil || t == nil {
		a.seeTunnel(tunnel.State{Phase: tunnel.Off})
		if err != nil {
			a.seeTunnel(tunnel.State{Phase: tunnel.Failed, Err: err})
		}
		<-ctx.Done()
		return
	}
	a.tunnel.Store(t)
	_ = t.Run(ctx) // nil
	a.tunnel.Store(nil)
}

// newTunnel returns nil without an error if none is wanted.
func (a *App) newTunnel(plan tunnelPlan) (*tunnel.Tunnel, error) {
	o := tunnel.Options{
		Hostname: plan.Hostname, Protocol: plan.Protocol, Origin: plan.origin, Paths: []string{plan.path, "/healthz"},
		Changed: a.seeTunnel,
		Log:     slog.New(eventlog.NewHandler(a.Bus, bridge.StageTunnel, slog.LevelWarn)),
	}
	var err error
	if o.Edge, err = tunnel.EdgeFromEnvironment(a.Getenv); err != nil {
		return nil, err
	}
	switch plan.Mode {
	case config.TunnelQuick:
		o.Mode, o.Store = tunnel.Quick, quickStore{a, noteQuick}
		if o.Edge.Overridden() {
			o.Store = quickStore{a, noteTrial}
		}
	case config.TunnelNamed:
		o.Mode = tunnel.Named
		if plan.token == "" {
			return nil, &bridge.Error{
				Code: bridge.CodeNotFound, Text: bridge.Say("No tunnel token is set"),
				Hint: bridge.Say("Copy it from the Cloudflare dashboard (Zero Trust, Networks, Tunnels), then: perch secret set tunnel_token"),
			}
		}
		if o.Token, err = tunnel.ParseToken(plan.token); err != nil {
			return nil, err
		}
	default:
		return nil, nil
	}
	return tunnel.New(o)
}

// quickStore keeps a quick tunnel's credentials in the journal, sealed with the
// webhook secret, which is in no file. Another secret opens nothing, and then
// the bot is to be installed anew in any case.
type quickStore struct {
	app  *App
	note string
}

// Load implements tunnel.Store.
func (s quickStore) Load(ctx context.Context) (string, error) {
	seal, err := s.seal()
	if err != nil {
		return "", nil //nolint:nilerr // There is no webhook secret yet.
	}
	noted, err := s.app.journal.Noted(ctx, s.note)
	if err != nil {
		return "", err
	}
	sealed, err := base64.StdEncoding.DecodeString(noted)
	if err != nil {
		return "", nil //nolint:nilerr // It is not ours.
	}
	credentials, _ := seal.Open(nil, nil, sealed, nil) // nil if it was sealed with another secret
	return string(credentials), nil
}

// Save implements tunnel.Store.
func (s quickStore) Save(ctx context.Context, credentials string) error {
	seal, err := s.seal()
	if err != nil {
		return err
	}
	noted := ""
	if credentials != "" {
		noted = base64.StdEncoding.EncodeToString(seal.Seal(nil, nil, []byte(credentials), nil)) //nolint:gosec // The nonce is drawn by Seal.
	}
	return s.app.journal.Note(ctx, s.note, noted)
}

func (s quickStore) seal() (cipher.AEAD, error) {
	secret := s.app.current.Load().secret
	if secret.IsZero() {
		return nil, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("There is no webhook secret to seal them with")}
	}
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte("the credentials of a quick tunnel"))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seeTunnel hears of every change of the tunnel. It does not block.
func (a *App) seeTunnel(s tunnel.State) {
	now := stateOf(s)
	before := a.tunnelSeen.Swap(&now)
	if before != nil && before.Phase == now.Phase && before.Address == now.Address && before.Reason.String() == now.Reason.String() {
		return // the number of connections alone
	}
	e := bridge.Event{Stage: bridge.StageTunnel, Level: slog.LevelDebug, Cause: s.Reason}
	switch s.Phase {
	case tunnel.Off:
		if before == nil || before.Phase == string(tunnel.Off) {
			return
		}
		e.Level, e.Title = slog.LevelInfo, bridge.Say("The tunnel is closed")
	case tunnel.Requesting:
		e.Title = bridge.Say("A quick tunnel is being requested")
	case tunnel.Connecting:
		e.Title = bridge.Say("The tunnel connects to Cloudflare")
	case tunnel.Online:
		e.Level, e.Title = slog.LevelInfo, bridge.Say("The tunnel is online at %[1]s (%[2]s, %[3]s)", now.Address, now.Location, now.Protocol)
	case tunnel.Reconnecting:
		e.Level, e.Title = slog.LevelWarn, bridge.Say("The tunnel lost its connection and connects again")
	case tunnel.Failed:
		e.Title, e.Reason = bridge.Say("The tunnel cannot be opened"), now.Reason
		e.Level, e.Code, e.Hint = slog.LevelError, bridge.CodeUnavailable, now.Hint
	}
	a.Bus.Publish(e)
	request(a.moved)
	if s.Phase == tunnel.Online && (before == nil || before.Phase != string(tunnel.Online)) {
		a.away.Store(true) // nothing could come in before
		request(a.refresh)
	}
}

// stateOf returns how a tunnel is, for a person.
func stateOf(s tunnel.State) bridge.TunnelState {
	t := bridge.TunnelState{
		Phase: string(s.Phase), Address: s.Address, Connections: s.Connections, Location: s.Location, Protocol: s.Protocol, RetryAt: s.RetryAt,
	}
	switch {
	case s.Err != nil:
		t.Reason, t.Hint = tunnelTrouble(s.Err)
	case s.Phase == tunnel.Reconnecting:
		t.Reason = bridge.Say("The connection to Cloudflare was lost.")
	case s.Phase == tunnel.Requesting || s.Phase == tunnel.Connecting:
		t.Reason = bridge.Say("It is being opened.")
	}
	return t
}

// tunnelTrouble says what is wrong with a tunnel, and what to do.
func tunnelTrouble(err error) (what, hint bridge.Text) {
	again := bridge.Say("Copy the token again from the Cloudflare dashboard (Zero Trust, Networks, Tunnels), then: perch secret set tunnel_token")
	online := bridge.Say("Is this machine online? A firewall must let it out to port 7844 (UDP and TCP). See: perch doctor --only tunnel-edge")
	local := bridge.Say("Wait a while, or use a named tunnel, or let Nextcloud reach this computer on the local network.")
	switch {
	case errors.Is(err, tunnel.ErrBadToken):
		return bridge.Say("This is not a token of a Cloudflare tunnel."), again
	case errors.Is(err, tunnel.ErrUnauthorized):
		return bridge.Say("Cloudflare refuses the tunnel's token: the tunnel was deleted, or its token replaced."), again
	case errors.Is(err, tunnel.ErrRefused):
		return bridge.Say("Cloudflare refuses the tunnel."), bridge.Say("It is tried again. What Cloudflare says: https://www.cloudflarestatus.com")
	case errors.Is(err, tunnel.ErrRateLimited):
		return bridge.Say("Too many quick tunnels were requested from this network."), local
	case errors.Is(err, tunnel.ErrQuickTunnel):
		return bridge.Say("Cloudflare issued no quick tunnel."), local
	case errors.Is(err, tunnel.ErrEdgeUnreachable):
		return bridge.Say("Cloudflare cannot be reached."), online
	case errors.Is(err, tunnel.ErrStore):
		return bridge.Say("The quick tunnel's credentials cannot be read."), bridge.Say("See: perch doctor --only keychain")
	case errors.Is(err, tunnel.ErrBadOptions):
		return bridge.Say("The tunnel is not set up correctly: %s", err.Error()), bridge.Say("Look at the table [tunnel] of config.toml.")
	default:
		return bridge.TextOf(err), bridge.HintOf(err)
	}
}

// noteMove writes down how the tunnel is and where the webhook is, and says so
// if Talk has it elsewhere.
func (a *App) noteMove(ctx context.Context) {
	if state, err := json.Marshal(a.tunnelState()); err == nil {
		a.note(ctx, noteTunnel, string(state))
	}
	if address := a.address(); address != "" && a.note(ctx, noteAddress, address) {
		a.warnOfMove(ctx)
	}
}

// tunnelState says how the tunnel is; zero if there is to be none.
func (a *App) tunnelState() bridge.TunnelState {
	seen := a.tunnelSeen.Load()
	if seen == nil || a.current.Load().config.Tunnel.Mode == config.TunnelOff {
		return bridge.TunnelState{}
	}
	s := *seen
	if t := a.tunnel.Load(); t != nil {
		s.Connections, s.RetryAt = t.State().Connections, t.State().RetryAt
	}
	return s
}

// address returns the URL at which Nextcloud is to reach the webhook; empty if
// it is not known.
func (a *App) address() string {
	return Address(a.current.Load().config, a.Addr(), a.tunnelState().Address)
}

// woke makes sure of every connection, after the computer slept or its network
// changed, and has what was missed fetched when the server answers.
func (a *App) woke(why string) {
	a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Level: slog.LevelDebug, Title: bridge.Say("The connections are looked at again"), Cause: why})
	if t := a.tunnel.Load(); t != nil {
		t.Wake()
	}
	a.away.Store(true)
	request(a.refresh)
}

// edge says for how long a probe of the edge may take.
const edgePatience = 5 * time.Second

// tunnelEdge says whether the edge can be reached over UDP and TCP.
func (e *exam) tunnelEdge(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	if cfg.Tunnel.Mode == config.TunnelOff {
		return bridge.Skipped(bridge.Say("no tunnel is configured"))
	}
	edge, err := tunnel.EdgeFromEnvironment(e.Getenv)
	if err != nil {
		what, hint := tunnelTrouble(err)
		return bridge.Failed(what, bridge.Text{}, hint)
	}
	ctx, cancel := context.WithTimeout(ctx, edgePatience)
	defer cancel()
	reached := map[string]string{}
	type answer struct{ protocol, addr string }
	answers := make(chan answer, 2)
	for _, protocol := range []string{tunnel.QUIC, tunnel.HTTP2} {
		go func() {
			addr, err := edge.Reach(ctx, protocol)
			if err != nil {
				addr = ""
			}
			answers <- answer{protocol, addr}
		}()
	}
	for range 2 {
		a := <-answers
		reached[a.protocol] = a.addr
	}
	udp, tcp := reached[tunnel.QUIC], reached[tunnel.HTTP2]
	why := bridge.Say("Webhooks come in through a connection that this machine opens to Cloudflare, on port 7844.")
	switch {
	case udp == "" && tcp == "", udp == "" && cfg.Tunnel.Protocol == tunnel.QUIC, tcp == "" && cfg.Tunnel.Protocol == tunnel.HTTP2:
		return bridge.Failed(bridge.Say("port 7844 cannot be reached (UDP: %[1]s, TCP: %[2]s)", yesNo(udp), yesNo(tcp)), why,
			bridge.Say("let the firewall or router let this machine out to port 7844, UDP and TCP; or set protocol = \"auto\" in the table [tunnel] of %s", e.Home.ConfigFile()))
	case edge.Overridden():
		return bridge.Warned(bridge.Say("another edge than Cloudflare's is used: %s", cmp.Or(udp, tcp)),
			bridge.Say("It is for rehearsals: nobody outside can reach the address."),
			bridge.Say("start Perch without PERCH_TUNNEL_EDGE, PERCH_TUNNEL_CA and PERCH_TUNNEL_QUICK_API"))
	case udp == "":
		return bridge.Warned(bridge.Say("TCP 7844 can be reached, UDP 7844 cannot"), bridge.Say("The tunnel works over HTTP/2, and notices a lost connection later."),
			bridge.Say("let the firewall let this machine out to UDP port 7844"))
	case tcp == "":
		return bridge.Warned(bridge.Say("UDP 7844 can be reached, TCP 7844 cannot"), bridge.Say("The tunnel works over QUIC, and has nothing to fall back on."),
			bridge.Say("let the firewall let this machine out to TCP port 7844"))
	default:
		return bridge.Passed(bridge.Say("reached over UDP and TCP 7844"))
	}
}

func yesNo(addr string) string {
	if addr == "" {
		return "✕"
	}
	return "✓"
}

// tunnelToken says whether there is a token, and whether it is one.
func (e *exam) tunnelToken(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	if cfg.Tunnel.Mode != config.TunnelNamed {
		return bridge.Skipped(bridge.Say("only a named tunnel has a token"))
	}
	token, err := tunnel.ParseToken(e.key(ctx, bridge.TunnelToken).Reveal())
	if err != nil {
		what, hint := tunnelTrouble(err)
		if e.key(ctx, bridge.TunnelToken).IsZero() {
			what = bridge.Say("No tunnel token is set")
		}
		return bridge.Failed(what, bridge.Say("With the token Cloudflare lets this machine serve the tunnel."), hint)
	}
	return bridge.Passed(bridge.Say("of the tunnel %s", token.ID()))
}

// tunnelOnline says how the tunnel of the running Perch is.
func (e *exam) tunnelOnline(ctx context.Context) bridge.Result {
	cfg, _ := e.load()
	if cfg.Tunnel.Mode == config.TunnelOff {
		return bridge.Skipped(bridge.Say("no tunnel is configured"))
	}
	var state bridge.TunnelState
	if e.instance == e.own || json.Unmarshal([]byte(e.noted(ctx, noteTunnel)), &state) != nil {
		return bridge.Skipped(bridge.Say("Perch is not running, and opens the tunnel when it is"))
	}
	if state.Phase != string(tunnel.Online) {
		return bridge.Failed(bridge.Say("%[1]s: %[2]s", state.Phase, state.Reason.String()),
			bridge.Say("Until it is online, nothing that people write arrives."), state.Hint)
	}
	seen := bridge.Say("online at %[1]s, %[2]s connections, %[3]s, %[4]s", state.Address, strconv.Itoa(max(1, state.Connections)), state.Location, state.Protocol)
	if cfg.Tunnel.Mode == config.TunnelQuick {
		return bridge.Warned(seen, bridge.Say("A quick tunnel is a trial: its address changes now and then, and Cloudflare promises nothing."),
			bridge.Say("make a named tunnel (free) in the Cloudflare dashboard and enter its token, or let Nextcloud reach this computer on the local network"))
	}
	return bridge.Passed(seen)
}
