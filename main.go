// Perch runs a Nextcloud Talk bot from a home machine.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"perch/bridge/cli"
	"perch/bridge/control"
	"perch/bridge/local"
	"perch/ui/desktop"
)

func main() { os.Exit(cli.Process(window)) }

// backend is what the window asks: the bot, and what the desktop does for it.
type backend struct{ *control.Bot }

func (backend) StartsAtLogin() bool             { return desktop.StartsAtLogin() }
func (backend) SetStartsAtLogin(yes bool) error { return desktop.SetStartsAtLogin(yes) }

// window runs the bot with its window. If it has one already, that is shown.
func window(ctx context.Context, o control.Options, translate func(string) string, hidden bool) (err error) {
	first, raise, release, err := desktop.Claim(ctx, o.Home.DataDir)
	if err != nil || !first {
		return err
	}
	defer release()
	bot := control.New(o)
	server, serveErr := local.Serve(ctx, o.Home, local.Options{Engine: bot, Version: o.Version})
	if serveErr == nil {
		defer func() { err = errors.Join(err, server.Close()) }() //nolint:contextcheck // It ends after ctx.
	} // else another Perch answers there, which is the state of the bot
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- bot.Run(working) }()
	err = desktop.Run(ctx, desktop.Options{
		Backend: backend{bot}, Translate: translate, Log: slog.New(slog.DiscardHandler), Version: o.Version,
		DataDir: o.Home.DataDir, Hidden: hidden, Raise: raise,
	})
	stop()
	return errors.Join(err, <-stopped)
}
