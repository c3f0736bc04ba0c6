// Package session is what Perch's programs of a desktop session share: that
// there is one tray and one window of each home, and how they speak to one
// another; the session's bus, and the start with it.
package session

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/godbus/dbus/v5"

	"perch/bridge"
)

// ID is what the desktop knows the application by.
const ID = "app.perch.Perch"

// HasDisplay says if there is a screen to open a window on.
func HasDisplay(getenv func(string) string) bool {
	switch runtime.GOOS {
	case "windows", "darwin":
		return true
	default:
		return getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != ""
	}
}

// NoBus is an address at which no bus answers.
const NoBus = "unix:path=/nonexistent"

// UseBus sees to it that libraries use the session bus of this session, and that
// they do not start one, which nobody else would use, where there is none. It
// returns the address; NoBus if there is none.
func UseBus() (address string, err error) {
	address = busAddress(os.Getenv)
	return address, os.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
}

func busAddress(getenv func(string) string) string {
	if address := getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && address != "autolaunch:" {
		return address
	}
	for _, dir := range []string{getenv("XDG_RUNTIME_DIR"), filepath.Join("/run/user", strconv.Itoa(os.Getuid()))} {
		socket := filepath.Join(dir, "bus")
		if info, err := os.Stat(socket); filepath.IsAbs(socket) && err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix:path=" + dbus.EscapeBusAddressValue(socket)
		}
	}
	return NoBus
}

// Headless is the error of a build without a window.
func Headless() error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable,
		Text: bridge.Say("this build of Perch has no window"),
		Hint: bridge.Say("run the bot without a window: %s", "perch run"),
	}
}
