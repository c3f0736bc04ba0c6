// Perch runs a Nextcloud Talk bot from a home machine.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"

	"perch/bridge"
	"perch/bridge/cli"
	"perch/bridge/control"
	"perch/bridge/local"
	"perch/bridge/secret"
	"perch/ui/desktop"
	"perch/ui/session"
	"perch/ui/tray"
)

func main() { os.Exit(cli.Process(cli.Faces{Tray: inTray, Window: inWindow})) }

// inTray has the bot of a home in the tray: the one that runs, else one that it
// runs itself. If there is a tray already, that opens its window.
func inTray(ctx context.Context, o control.Options, f cli.Face) error {
	claim, err := session.Take(ctx, o.Home.DataDir, session.Tray)
	switch {
	case err != nil:
		return err
	case claim == nil:
		return session.Reach(ctx, o.Home.DataDir, session.Tray, session.Raise)
	}
	defer claim.Release()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	shown := tray.Options{
		Translate: f.Translate, Log: log, DataDir: o.Home.DataDir, Hidden: f.Hidden, Calls: claim.Calls,
		Window: func(word string) *exec.Cmd {
			cmd := exec.Command(self, "window", "--show", word) //nolint:noctx // It may outlive this process.
			cmd.Env = secret.Without(os.Environ())
			cmd.Stderr = os.Stderr
			return cmd
		},
	}
	engine, err := local.Dial(ctx, o.Home.SocketFile(), o.Version)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		bot := control.New(o)
		server, err := local.Serve(ctx, o.Home, local.Options{Engine: bot, Version: o.Version})
		if err == nil {
			return errors.Join(runIn(ctx, bot, shown), server.Close()) //nolint:contextcheck // It ends after ctx.
		}
		if bridge.CodeOf(err) != bridge.CodeConflict { // else another was quicker
			return err
		}
	}
	if err != nil { // it runs, and the tray says why it cannot be asked
		engine = local.Await(ctx, o.Home.SocketFile(), o.Version)
	}
	shown.Backend, shown.Attached = engine, true
	return errors.Join(tray.Run(ctx, shown), engine.Close())
}

// runIn runs the bot, and has it in the tray as long.
func runIn(ctx context.Context, bot *control.Bot, shown tray.Options) error {
	working, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- bot.Run(working) }()
	shown.Backend = bot
	err := tray.Run(ctx, shown)
	stop()
	return errors.Join(err, <-stopped)
}

// backend is what the window asks: the bot, and what the desktop does for it.
type backend struct{ *local.Client }

func (backend) StartsAtLogin() bool             { return session.StartsAtLogin() }
func (backend) SetStartsAtLogin(yes bool) error { return session.SetStartsAtLogin(yes) }

// inWindow shows the bot behind a socket in a window: that of the home, of which
// there is one window, or another.
func inWindow(ctx context.Context, o cli.WindowOptions, f cli.Face) (err error) {
	shown := desktop.Options{
		Translate: f.Translate, Log: slog.New(slog.DiscardHandler), Version: o.Version, DataDir: o.Home.DataDir,
		Show: o.Show, Elsewhere: o.Socket != "", Socket: o.Socket,
	}
	var engine *local.Client
	if shown.Elsewhere {
		if engine, err = local.Dial(ctx, o.Socket, o.Version); err != nil {
			return err
		}
	} else {
		claim, err := session.Take(ctx, o.Home.DataDir, session.Window)
		switch {
		case err != nil:
			return err
		case claim == nil:
			return session.Reach(ctx, o.Home.DataDir, session.Window, o.Show)
		}
		defer claim.Release()
		shown.Calls = claim.Calls
		engine = local.Await(ctx, o.Home.SocketFile(), o.Version)
	}
	shown.Backend = backend{engine}
	return errors.Join(desktop.Run(ctx, shown), engine.Close())
}
