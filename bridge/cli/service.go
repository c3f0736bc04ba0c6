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

// reporter tells the service manager how the bot is; if there is none, nobody.
type reporter struct {
	app  *app.App
	said string
}

// report says how the bot is, if it is not as it was. The service has started
// once the bot can work.
func (r *reporter) report() {
	state := "STATUS=Answering on " + r.app.Addr()
	if r.app.Addr() == "" {
		state = "STATUS=Asking the server for messages"
	}
	if err := r.app.Ready(); err != nil {
		state = "STATUS=" + strings.ReplaceAll(bridge.TextOf(err).String(), "\n", " ")
	} else {
		state = daemon.SdNotifyReady + "\n" + state
	}
	if state != r.said {
		r.said = state
		_, _ = daemon.SdNotify(false, state) // it cannot be told either
	}
}

// keepAlive tells the service manager that the bot is not stuck, as often as it
// wants to hear it, until ctx is done.
func keepAlive(ctx context.Context, a *app.App) {
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
		if a.Responds(ctx) == nil {
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}
