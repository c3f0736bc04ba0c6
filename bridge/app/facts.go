package app

import (
	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
)

// Facts are what a running bot knows of itself, all at one moment.
type Facts struct {
	Config    config.Config // in force
	Secret    bridge.Secret // the webhook secret; empty: there is none
	AppToken  bridge.Secret // empty: there is none
	SecretErr error         // why a secret could not be read, if it is not just missing

	Local   string             // URL of the webhook on this machine
	Address string             // URL at which Nextcloud reaches it; empty if it is not known
	Tunnel  bridge.TunnelState // zero if there is to be none

	Nextcloud, Talk string // versions, as the server said last; empty if it has not been asked yet
	ServerErr       error  // why the server did not answer when it was last asked
	AccountErr      error  // why the account is not followed now; nil where none is to be
	JournalErr      error  // why nothing can be written to the journal; nil: it can
}

// Facts returns what the bot knows of itself now.
func (a *App) Facts() Facts {
	current := a.current.Load()
	local := ""
	if addr := a.Addr(); addr != "" {
		local = "http://" + addr + current.config.Webhook.Path
	}
	f := Facts{
		Config: current.config, Secret: current.secret, AppToken: current.appToken, SecretErr: current.secretErr,
		Local: local, Address: a.addressWith(current), Tunnel: a.tunnelStateWith(current),
		JournalErr: a.journal.Trouble(),
	}
	if state, ok := a.Account(); ok {
		f.AccountErr = state.Err
	}
	if server := a.server.Load(); server != nil {
		f.Nextcloud, f.Talk, f.ServerErr = server.caps.ServerVersion, server.caps.TalkVersion, server.err
	}
	return f
}

// Journal returns the journal, to read.
func (a *App) Journal() *journal.Journal { return a.journal }
