package app

import "perch/bridge"

// tunnelState says how the tunnel is; zero if none is configured.
func (a *App) tunnelState() bridge.TunnelState { return bridge.TunnelState{} }

// address returns the URL at which Nextcloud is to reach the webhook; empty if
// it is not known.
func (a *App) address() string {
	return Address(a.current.Load().config, a.Addr(), a.tunnelState().Address)
}
