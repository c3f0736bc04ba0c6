// Package tray is Perch in the tray: an icon that shows how the bot is, with a
// menu, notifications, and the window, which it opens as a process of its own. It
// needs no part of the window. With the build tag headless it is not there, and
// needs no C compiler.
package tray

import (
	"context"
	"log/slog"
	"os/exec"

	"perch/bridge"
	"perch/ui/session"
)

// Backend is what the tray asks: a part of ui.Backend.
type Backend interface {
	Snapshot() (s bridge.Snapshot, changed <-chan struct{})
	Resume(ctx context.Context) error
}

// Options are what Run needs.
type Options struct {
	Backend   Backend
	Attached  bool                // the bot runs in another process, and goes on when this one ends
	Translate func(string) string // from English; nil: English
	Log       *slog.Logger
	DataDir   string              // of the home
	Hidden    bool                // without the window, unless nobody shows the icon
	Calls     <-chan session.Call // of the claim to be the tray
	// Window returns what opens the window, and has it do what the word says.
	Window func(word string) *exec.Cmd
}
