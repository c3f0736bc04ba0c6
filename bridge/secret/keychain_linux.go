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
	"strings"

	"github.com/godbus/dbus/v5"
)

// secretService is the name of the Secret Service on the session bus.
const secretService = "org.freedesktop.secrets"

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

	var collections []dbus.ObjectPath
	err = property(ctx, conn.Object(secretService, "/org/freedesktop/secrets"), "org.freedesktop.Secret.Service", "Collections", &collections)
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
	err = property(ctx, conn.Object(secretService, collection), "org.freedesktop.Secret.Collection", "Locked", &locked)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrNoCollection, err)
	}
	return locked, err
}

// program returns the name of the program behind the Secret Service, empty if
// it is not known. It is started if it has yet to be.
func program(ctx context.Context) string {
	address, err := sessionBus(os.Getenv, runtimeDir())
	if err != nil {
		return ""
	}
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	bus := conn.BusObject()
	_ = bus.CallWithContext(ctx, "org.freedesktop.DBus.StartServiceByName", 0, secretService, uint32(0)).Err // It may run already.
	var pid uint32
	if err := bus.CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, secretService).Store(&pid); err != nil {
		return ""
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.FormatUint(uint64(pid), 10), "comm"))
	if err != nil {
		return ""
	}
	return programNamed(strings.TrimSpace(string(name)))
}

// programNamed returns the name that people know a keychain by, of that of its
// process, which Linux cuts off after 15 letters.
func programNamed(process string) string {
	switch process {
	case "gnome-keyring-d":
		return "GNOME Keyring"
	case "kwalletd5", "kwalletd6", "kwalletd", "ksecretd":
		return "KWallet"
	case "keepassxc":
		return "KeePassXC"
	default:
		return ""
	}
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
