// Package ui has the pages and forms of the window: Fyne widgets on top of a
// Backend, without a driver, so that they are tested without a display.
package ui

import (
	"context"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
)

// Backend is all that the window may ask. Its methods are safe for concurrent
// use; those with a context may take long and are never called on Fyne's own
// goroutine, the others return at once.
type Backend interface {
	// Snapshot returns the bot at a glance. Changed is closed at the next change
	// of what it would return, but for the passing of time.
	Snapshot() (s bridge.Snapshot, changed <-chan struct{})

	// Resume takes the bot into service, Pause out of it: webhooks are refused,
	// and Talk does not send them again. Both last over restarts.
	Resume(ctx context.Context) error
	Pause(ctx context.Context) error
	// Retry sends what is held back.
	Retry(ctx context.Context) error

	Log
	Settings

	// Doctor runs every check and calls row with each as it is done, without
	// secrets. In the report, which is to be shown to others, what is private is
	// hidden too.
	Doctor(ctx context.Context, row func(doctor.Row)) (doctor.Report, error)

	// Practice starts a Talk server of its own with a copy of the bot, with the
	// handler as it is configured. It never touches the real bot.
	Practice(ctx context.Context) (bridge.Practice, error)
}

// Log is the journal as a person reads it.
type Log interface {
	// WatchLog calls show with the entries of the filter, oldest first, then with
	// those that are new or have changed, until ctx is done; at most ten times a
	// second, from one goroutine. The error says why the journal cannot be read.
	WatchLog(ctx context.Context, f bridge.LogFilter, show func(entries []bridge.Entry)) error
	// ClearLog empties the log. Messages that wait and their replies stay.
	ClearLog(ctx context.Context) error
}

// Settings are what the form shows and changes.
type Settings interface {
	// Config returns config.toml, or what a new one would say if there is none,
	// with all that is wrong or unwise in it. exists says if there is one.
	Config() (c config.Config, problems []config.Problem, exists bool)
	// Save writes config.toml, if nothing is wrong with c; what changed takes
	// effect at once. The error is a *config.InvalidError or says why it cannot
	// be written.
	Save(ctx context.Context, c config.Config) error
	// ConfigFile returns the path of config.toml.
	ConfigFile() string

	// Secret returns a stored secret; CodeNotFound if there is none.
	Secret(ctx context.Context, name string) (bridge.Secret, error)
	// SecretPlace says where a secret is or would be kept, for a person: "GNOME
	// Keyring", "the variable PERCH_WEBHOOK_SECRET", and what is wrong with it.
	SecretPlace(ctx context.Context, name string) (place bridge.Text, fixed bool, err error)
	// SetSecret checks and stores a secret; the empty one removes it.
	SetSecret(ctx context.Context, name string, s bridge.Secret) error
	// CheckSecret returns what is wrong with a secret as it is typed, or nil.
	CheckSecret(name string, s bridge.Secret) error
	// NewSecret returns a new random secret that Talk takes.
	NewSecret() bridge.Secret

	// TestServer looks at the server of c, which need not be saved, with the app
	// token if there is one.
	TestServer(ctx context.Context, c config.Config, appToken bridge.Secret) (doctor.Report, error)
	// Occ returns the commands that install the bot of c, one for each kind of
	// server, and those that replace an earlier installation.
	Occ(ctx context.Context, c config.Config, secret bridge.Secret) ([]bridge.Commands, error)
	// LocalAddresses returns this machine's addresses in its networks.
	LocalAddresses() []string
	// Models asks a language model's server for the models that it has.
	Models(ctx context.Context, h config.Handler, key bridge.Secret) ([]string, error)

	// StartsAtLogin says if Perch starts with the session; SetStartsAtLogin
	// changes that.
	StartsAtLogin() bool
	SetStartsAtLogin(yes bool) error
}
