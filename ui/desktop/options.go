// Package desktop is Perch as a program of the desktop: the application, its
// window and tray icon, notifications, the start with the session, and that
// there is one window only. With the build tag headless it has none of the
// window, and needs no C compiler.
package desktop

import (
	"log/slog"
	"runtime"
)

// ID is what the desktop knows the application by.
const ID = "app.perch.Perch"

// Options are what Run needs.
type Options struct {
	Backend   Backend
	Translate func(string) string // from English; nil: English
	Log       *slog.Logger
	Version   string
	DataDir   string          // where the window's size is remembered
	Hidden    bool            // start in the tray; without one the window opens
	Raise     <-chan struct{} // of Claim: shows the window
}

// HasDisplay says if there is a screen to open a window on.
func HasDisplay(getenv func(string) string) bool {
	switch runtime.GOOS {
	case "windows", "darwin":
		return true
	default:
		return getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != ""
	}
}
