package checks

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/tunnel"
)

// edgePatience is how long a probe of the edge may take.
const edgePatience = 5 * time.Second

// tunnelEdge says whether the edge can be reached over UDP and TCP.
func (s *session) tunnelEdge(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	if cfg.Tunnel.Mode == config.TunnelOff {
		return bridge.Skipped(bridge.Say("no tunnel is configured"))
	}
	edge, err := tunnel.EdgeFromEnvironment(s.Getenv)
	if err != nil {
		what, hint := app.ExplainTunnel(err, bridge.Secret{})
		return bridge.Failed(what, bridge.Text{}, hint)
	}
	ctx, cancel := context.WithTimeout(ctx, edgePatience)
	defer cancel()
	reached := map[string]string{}
	type answer struct {
		protocol, addr string
		err            error
	}
	answers := make(chan answer, 2)
	for _, protocol := range []string{tunnel.QUIC, tunnel.HTTP2} {
		go func() {
			addr, err := edge.Reach(ctx, protocol)
			answers <- answer{protocol, addr, err}
		}()
	}
	for range 2 {
		a := <-answers
		if errors.Is(a.err, tunnel.ErrNotBuilt) {
			what, hint := app.ExplainTunnel(a.err, bridge.Secret{})
			return bridge.Failed(what, bridge.Say("Webhooks come in through a connection that this machine opens to Cloudflare, on port 7844."), hint)
		}
		if a.err == nil {
			reached[a.protocol] = a.addr
		}
	}
	udp, tcp := reached[tunnel.QUIC], reached[tunnel.HTTP2]
	why := bridge.Say("Webhooks come in through a connection that this machine opens to Cloudflare, on port 7844.")
	switch {
	case udp == "" && tcp == "", udp == "" && cfg.Tunnel.Protocol == tunnel.QUIC, tcp == "" && cfg.Tunnel.Protocol == tunnel.HTTP2:
		return bridge.Failed(bridge.Say("port 7844 cannot be reached (UDP: %[1]s, TCP: %[2]s)", yesNo(udp), yesNo(tcp)), why,
			bridge.Say("let the firewall or router let this machine out to port 7844, UDP and TCP; or set protocol = \"auto\" in the table [tunnel] of %s", s.Home.ConfigFile()))
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
func (s *session) tunnelToken(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	if cfg.Tunnel.Mode != config.TunnelNamed {
		return bridge.Skipped(bridge.Say("only a named tunnel has a token"))
	}
	key := s.key(ctx, bridge.TunnelToken)
	token, err := tunnel.ParseToken(key.Reveal())
	if err != nil {
		what, hint := app.ExplainTunnel(err, key)
		if key.IsZero() {
			what = bridge.Say("No tunnel token is set")
		}
		return bridge.Failed(what, bridge.Say("With the token Cloudflare lets this machine serve the tunnel."), hint)
	}
	return bridge.Passed(bridge.Say("of the tunnel %s", token.ID()))
}

// tunnelOnline says how the tunnel of the running Perch is.
func (s *session) tunnelOnline(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	if cfg.Tunnel.Mode == config.TunnelOff {
		return bridge.Skipped(bridge.Say("no tunnel is configured"))
	}
	state := s.notes(ctx).Tunnel
	if s.instance == s.own || state.Phase == "" {
		return bridge.Skipped(bridge.Say("Perch is not running, and opens the tunnel when it is"))
	}
	if state.Phase != string(tunnel.Online) {
		return bridge.Failed(bridge.Say("%[1]s: %[2]s", state.Phase).With(state.Reason),
			bridge.Say("Until it is online, nothing that people write arrives."), state.Hint)
	}
	seen := bridge.Say("online at %[1]s, %[2]s connections, %[3]s, %[4]s", state.Address, strconv.Itoa(max(1, state.Connections)), state.Location, state.Protocol)
	if cfg.Tunnel.Mode == config.TunnelQuick {
		return bridge.Warned(seen, bridge.Say("A quick tunnel is a trial: its address changes now and then, and Cloudflare promises nothing."),
			bridge.Say("make a named tunnel (free) in the Cloudflare dashboard and enter its token, or let Nextcloud reach this computer on the local network"))
	}
	return bridge.Passed(seen)
}
