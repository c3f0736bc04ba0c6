//go:build !headless

package tray

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"perch/ui/session"
)

// host is the desktop around the window, asked over a connection to the session
// bus of its own: the one that the tray icon and the keychain share loses the
// tray's signals once the keychain asked for a password.
type host struct {
	conn *dbus.Conn // nil: there is no session bus
	log  *slog.Logger

	mu       sync.Mutex
	replaces uint32 // the notification that the next one takes the place of
}

const (
	watcher     = "org.kde.StatusNotifierWatcher" // what tray icons announce themselves to
	watcherPath = "/StatusNotifierWatcher"
	busTimeout  = 5 * time.Second
)

// openHost connects to the desktop until close. It is to be called before
// anything else uses the session bus.
func openHost(ctx context.Context, log *slog.Logger) *host {
	h := &host{log: log}
	address, err := session.UseBus()
	if err != nil {
		log.WarnContext(ctx, "the session bus cannot be set", "error", err)
	}
	conn, err := dbus.Connect(address)
	if err != nil {
		log.InfoContext(ctx, "there is no session bus, so no tray icon and no notifications", "error", err)
		return h
	}
	h.conn = conn
	return h
}

func (h *host) close() {
	if h.conn != nil {
		_ = h.conn.Close()
	}
}

// gone returns what is closed when a session bus that was there is gone.
func (h *host) gone() <-chan struct{} {
	if h.conn == nil {
		return nil
	}
	return h.conn.Context().Done()
}

// hasTray says if somebody shows tray icons now.
func (h *host) hasTray(ctx context.Context) bool {
	_, there := h.look(ctx)
	return there
}

// look returns the connection name of the watcher, and if it has somebody who
// shows the icons.
func (h *host) look(ctx context.Context) (owner string, there bool) {
	if h.conn == nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	owner, err := h.ownerOf(ctx, watcher)
	if err != nil {
		return "", false
	}
	var registered dbus.Variant
	err = h.conn.Object(owner, watcherPath).
		CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, watcher, "IsStatusNotifierHostRegistered").
		Store(&registered)
	there, ok := registered.Value().(bool)
	return owner, err == nil && ok && there
}

func (h *host) ownerOf(ctx context.Context, name string) (owner string, err error) {
	err = h.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, name).Store(&owner)
	return owner, err
}

// watchTray calls changed with whether somebody shows tray icons, at first and
// whenever that changes, until ctx is done. Whoever comes is told of the icon.
func (h *host) watchTray(ctx context.Context, changed func(there bool)) {
	if h.conn == nil {
		changed(false)
		return
	}
	signals := make(chan *dbus.Signal, 16)
	h.conn.Signal(signals)
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, watcher)},
		{dbus.WithMatchSender(watcher), dbus.WithMatchMember("StatusNotifierHostRegistered")},
		{dbus.WithMatchSender(watcher), dbus.WithMatchMember("StatusNotifierHostUnregistered")},
	} {
		if err := h.conn.AddMatchSignalContext(ctx, match...); err != nil {
			h.log.WarnContext(ctx, "the tray cannot be watched", "error", err)
		}
	}
	owner, there := h.look(ctx)
	changed(there)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-signals:
			if !ok { // the bus is gone
				return
			}
		}
		// What is the case counts, not what the signal says: they can come late.
		ownerNow, thereNow := h.look(ctx)
		if ownerNow != owner && ownerNow != "" {
			if err := h.register(ctx, ownerNow); err != nil {
				h.log.InfoContext(ctx, "the tray icon was not taken", "error", err)
			}
		}
		if thereNow != there {
			changed(thereNow)
		}
		owner, there = ownerNow, thereNow
	}
}

// icon returns the connection that the driver has the icon on.
func (h *host) icon(ctx context.Context) (owner string, err error) {
	return h.ownerOf(ctx, fmt.Sprintf("org.kde.StatusNotifierItem-%d-1", os.Getpid()))
}

// awaitIcon waits until the driver, which runs, has made the icon and its menu.
// One that is ended before panics.
func (h *host) awaitIcon(ctx context.Context) {
	if h.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	if icon, err := h.icon(ctx); err == nil { // it answers when it is done
		_ = h.conn.Object(icon, "/StatusNotifierItem/menu").
			CallWithContext(ctx, "com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(0), []string{}).Err
	}
}

// register tells a new watcher of the icon. The driver does so, too, unless the
// keychain's prompt has made it deaf (github.com/fyne-io/systray/issues/131).
// The icon goes by the name of its connection, as the driver has it, so that
// nobody takes it for a second one.
func (h *host) register(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	icon, err := h.icon(ctx)
	if err != nil {
		return err
	}
	return h.conn.Object(to, watcherPath).CallWithContext(ctx, watcher+".RegisterStatusNotifierItem", 0, icon).Err
}

// notify shows a notification in place of the one before.
func (h *host) notify(ctx context.Context, title, body string) {
	if h.conn == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	hints := map[string]dbus.Variant{"desktop-entry": dbus.MakeVariant(session.ID)}
	err := h.conn.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications").
		CallWithContext(ctx, "org.freedesktop.Notifications.Notify", 0,
			"Perch", h.replaces, session.ID, title, body, []string{}, hints, int32(-1)).
		Store(&h.replaces)
	if err != nil {
		h.log.InfoContext(ctx, "the notification was not shown", "error", err)
	}
}
