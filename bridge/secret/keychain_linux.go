package secret

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// look finds out what go-keyring does not tell: why the Secret Service cannot
// be used, or, as locked, that it will ask for a password. Without this a
// missing session bus would have a stray one started by dbus-launch.
func look(ctx context.Context) (locked bool, err error) {
	address, err := sessionBus(os.Getenv, runtimeDir())
	if err != nil {
		return false, err
	}
	// go-keyring looks in fewer places.
	if err := os.Setenv("DBUS_SESSION_BUS_ADDRESS", address); err != nil {
		return false, err
	}
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		if _, ok := errors.AsType[net.Error](err); ok {
			err = fmt.Errorf("%w: %w", ErrNoSession, err)
		}
		return false, err
	}
	defer func() { _ = conn.Close() }()

	const service = "org.freedesktop.secrets"
	var collections []dbus.ObjectPath
	err = property(ctx, conn.Object(service, "/org/freedesktop/secrets"), "org.freedesktop.Secret.Service", "Collections", &collections)
	if failure, ok := errors.AsType[dbus.Error](err); ok &&
		(failure.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || failure.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return false, fmt.Errorf("%w: %w", ErrNoKeychain, err)
	}
	if err != nil {
		return false, err
	}
	collection := dbus.ObjectPath("/org/freedesktop/secrets/collection/login") // as go-keyring chooses
	if !slices.Contains(collections, collection) {
		collection = "/org/freedesktop/secrets/aliases/default"
	}
	err = property(ctx, conn.Object(service, collection), "org.freedesktop.Secret.Collection", "Locked", &locked)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrNoCollection, err)
	}
	return locked, err
}

func property(ctx context.Context, object dbus.BusObject, iface, name string, value any) error {
	var v dbus.Variant
	if err := object.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, iface, name).Store(&v); err != nil {
		return err
	}
	return v.Store(value)
}

// sessionBus returns the address of the user's session bus.
func sessionBus(getenv func(string) string, runtimeDir string) (string, error) {
	if address := getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && address != "autolaunch:" {
		return address, nil
	}
	for _, dir := range []string{getenv("XDG_RUNTIME_DIR"), runtimeDir} {
		socket := filepath.Join(dir, "bus")
		if info, err := os.Stat(socket); filepath.IsAbs(socket) && err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix:path=" + dbus.EscapeBusAddressValue(socket), nil
		}
	}
	return "", ErrNoSession
}

func runtimeDir() string { return filepath.Join("/run/user", strconv.Itoa(os.Getuid())) }
