//go:build headless

package desktop

import (
	"context"

	"perch/ui/session"
)

// Backend is ui.Backend in a build with a window.
type Backend = any

// Run returns an error of CodeUnavailable: this build has no window.
func Run(context.Context, Options) error { return session.Headless() }
