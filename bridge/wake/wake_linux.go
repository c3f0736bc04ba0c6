package wake

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// wakeups returns a channel that says when logind announces that the computer
// woke up. It never does where there is no system bus.
func wakeups(ctx context.Context) <-chan struct{} {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx)) // closed when ctx is done
	if err != nil {
		return nil
	}
	err = conn.AddMatchSignalContext(ctx,
		dbus.WithMatchSender("org.freedesktop.login1"),
		dbus.WithMatchObjectPath("/org/freedesktop/login1"),
		dbus.WithMatchInterface("org.freedesktop.login1.Manager"),
		dbus.WithMatchMember("PrepareForSleep"),
	)
	if err != nil {
		_ = conn.Close()
		return nil
	}
	signals := make(chan *dbus.Signal, 8)
	conn.Signal(signals)
	awake := make(chan struct{}, 1)
	go func() { // until the connection is closed
		for s := range signals {
			if asleep, ok := first(s.Body).(bool); ok && !asleep && s.Name == "org.freedesktop.login1.Manager.PrepareForSleep" {
				select {
				case awake <- struct{}{}:
				default:
				}
			}
		}
	}()
	return awake
}

func first(body []any) any {
	if len(body) == 0 {
		return nil
	}
	return body[0]
}
