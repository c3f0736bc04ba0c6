//go:build headless

package tray

import (
	"context"

	"perch/ui/session"
)

// Run returns an error of CodeUnavailable: this build has no window.
func Run(context.Context, Options) error { return session.Headless() }
