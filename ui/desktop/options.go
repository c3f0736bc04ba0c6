// Package desktop is the window of Perch, a program of its own: a Fyne application
// that shows one bot. With the build tag headless it is not there, and needs no
// C compiler.
package desktop

import (
	"log/slog"

	"perch/ui/session"
)

// Options are what Run needs.
type Options struct {
	Backend   Backend
	Translate func(string) string // from English; nil: English
	Log       *slog.Logger
	Version   string
	DataDir   string              // of the home; where the window's size is remembered
	Elsewhere bool                // the bot is not that of the home
	Socket    string              // of that bot, for the title
	Show      string              // what to show first, as a word of package session
	Calls     <-chan session.Call // of the claim to be the window; may be nil
}

// title returns what stands at the top of the window.
func (o Options) title() string {
	if o.Elsewhere {
		return "Perch — " + o.Socket
	}
	return "Perch"
}
