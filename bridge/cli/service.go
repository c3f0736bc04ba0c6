package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/control"
)

// exitConfig is EX_CONFIG: a service manager need not start it again before a
// person has set it up.
const exitConfig = 78

// setUpError is why perch run cannot work until a person has done something.
type setUpError struct{ error }

func (e setUpError) Unwrap() error { return e.error }

// asService returns err, as a setUpError if a service manager runs this process
// and err does not pass by itself.
func (env Env) asService(err error) error {
	_, invalid := errors.AsType[*config.InvalidError](err)
	if env.service() && (invalid || bridge.CodeOf(err) == bridge.CodeNotFound) {
		return setUpError{err}
	}
	return err
}

// service reports whether a service manager runs this process: systemd sets
// INVOCATION_ID, and others that speak its protocol set NOTIFY_SOCKET.
func (env Env) service() bool {
	return env.Getenv("NOTIFY_SOCKET") != "" || env.Getenv("INVOCATION_ID") != ""
}

// tellManager tells the service manager how the bot is, at every change, until
// ctx is done; if there is none, nobody. The service has started once the bot can
// work, or is paused.
func tellManager(ctx context.Context, bot *control.Bot) {
	said := ""
	for {
		snapshot, changed := bot.Snapshot()
		if state := managed(snapshot, bot.App()); state != said {
			said = state
			_, _ = daemon.SdNotify(false, state) // it cannot be told either
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// managed says how the bot is, as a service manager wants to hear it.
func managed(s bridge.Snapshot, a *app.App) string {
	status := func(t bridge.Text) string { return "STATUS=" + strings.ReplaceAll(t.String(), "\n", " ") }
	switch {
	case a == nil && s.State == bridge.StatePaused:
		return daemon.SdNotifyReady + "\n" + status(s.Title)
	case a == nil:
		return status(s.Title)
	case a.Ready() != nil:
		return status(bridge.TextOf(a.Ready()))
	case a.Addr() == "":
		return daemon.SdNotifyReady + "\nSTATUS=Asking the server for messages"
	default:
		return daemon.SdNotifyReady + "\nSTATUS=Answering on " + a.Addr()
	}
}

// keepAlive tells the service manager that the bot is not stuck, as often as it
// wants to hear it, until ctx is done.
func keepAlive(ctx context.Context, bot *control.Bot) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if a := bot.App(); a == nil || a.Responds(ctx) == nil {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}
