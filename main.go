// Perch runs a Nextcloud Talk bot from a home machine.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"perch/bridge/app"
	"perch/bridge/cli"
	"perch/ui/desktop"
)

func main() { os.Exit(cli.Process(window)) }

// backend is what the window asks: the bot, and what the desktop does for it.
type backend struct{ *app.Desk }

func (backend) StartsAtLogin() bool             { return desktop.StartsAtLogin() }
func (backend) SetStartsAtLogin(yes bool) error { return desktop.SetStartsAtLogin(yes) }

// window runs the bot with its window. If it has one already, that is shown.
func window(ctx context.Context, o app.DeskOptions, translate func(string) string, hidden bool) error {
	first, raise, release, err := desktop.Claim(ctx, o.Home.DataDir)
	if err != nil || !first {
		return err
	}
	defer release()
	desk := app.NewDesk(o)
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- desk.Run(working) }()
	err = desktop.Run(ctx, desktop.Options{
		Backend: backend{desk}, Translate: translate, Log: slog.New(slog.DiscardHandler), Version: o.Version,
		DataDir: o.Home.DataDir, Hidden: hidden, Raise: raise,
	})
	stop()
	return errors.Join(err, <-stopped)
}
