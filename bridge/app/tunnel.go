package app

import (
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
	"net/http"
	"net/netip"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/webhook"
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
	if ListenAt(current.config) == "" {
		p.Mode = config.TunnelOff
	}
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
		Hostname: plan.Hostname, Protocol: plan.Protocol, Origin: plan.origin, Paths: []string{plan.path},
		Header:  http.Header{webhook.HeaderTunnel: {a.mark}},
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
				Hint: bridge.Say("Copy it from the Cloudflare dashboard (Zero Trust, Networks, Tunnels), then: %s").With(a.current.Load().tunnelToken.HowTo(bridge.TunnelToken)),
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
	now := stateOf(s, a.current.Load().tunnelToken)
	before := a.tunnelSeen.Swap(&now)
	if before != nil && before.Phase == now.Phase && before.Address == now.Address && before.Reason.String() == now.Reason.String() {
		return // the number of connections alone
	}
	e := bridge.Event{Stage: bridge.StageTunnel, Kind: bridge.EventTunnel, Level: slog.LevelDebug, Cause: s.Reason}
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
func stateOf(s tunnel.State, token bridge.Secret) bridge.TunnelState {
	t := bridge.TunnelState{
		Phase: string(s.Phase), Address: s.Address, Connections: s.Connections, Location: s.Location, Protocol: s.Protocol, RetryAt: s.RetryAt,
	}
	switch {
	case s.Err != nil:
		t.Reason, t.Hint = ExplainTunnel(s.Err, token)
	case s.Phase == tunnel.Reconnecting:
		t.Reason = bridge.Say("The connection to Cloudflare was lost.")
	case s.Phase == tunnel.Requesting || s.Phase == tunnel.Connecting:
		t.Reason = bridge.Say("It is being opened.")
	}
	return t
}

// ExplainTunnel returns what is wrong with a tunnel, and what to do, for a
// person.
func ExplainTunnel(err error, token bridge.Secret) (what, hint bridge.Text) {
	again := bridge.Say("Copy the token again from the Cloudflare dashboard (Zero Trust, Networks, Tunnels), then: %s").With(token.HowTo(bridge.TunnelToken))
	online := bridge.Say("Is this machine online? A firewall must let it out to port 7844 (UDP and TCP). See: perch doctor --only tunnel-edge")
	local := bridge.Say("Wait a while, or use a named tunnel, or let Nextcloud reach this computer on the local network.")
	switch {
	case errors.Is(err, tunnel.ErrNotBuilt):
		return bridge.Say("This build of Perch has no tunnel in it."), bridge.Say("Take the other build, or set mode = \"off\" in the table [tunnel] of config.toml and let your own proxy or tunnel reach Perch.")
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
func (a *App) tunnelState() bridge.TunnelState { return a.tunnelStateWith(a.current.Load()) }

func (a *App) tunnelStateWith(s *settings) bridge.TunnelState {
	seen := a.tunnelSeen.Load()
	if seen == nil || s.config.Tunnel.Mode == config.TunnelOff {
		return bridge.TunnelState{}
	}
	now := *seen
	if t := a.tunnel.Load(); t != nil {
		now.Connections, now.RetryAt = t.State().Connections, t.State().RetryAt
	}
	return now
}

// address returns the URL at which Nextcloud is to reach the webhook; empty if
// it is not known.
func (a *App) address() string { return a.addressWith(a.current.Load()) }

func (a *App) addressWith(s *settings) string {
	return Address(s.config, a.Addr(), a.tunnelStateWith(s).Address)
}

// woke makes sure of every connection, after the computer slept or its network
// changed, and has what was missed fetched when the server answers.
func (a *App) woke(why string) {
	a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventWoke, Level: slog.LevelDebug, Title: bridge.Say("The connections are looked at again"), Cause: why})
	if t := a.tunnel.Load(); t != nil {
		t.Wake()
	}
	if f := a.follower.Load(); f != nil {
		f.Wake()
	}
	a.away.Store(true)
	request(a.refresh)
}
