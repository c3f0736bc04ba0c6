//go:build !linux

package wake

import "context"

// wakeups returns nil: the clock alone tells.
func wakeups(context.Context) <-chan struct{} { return nil }
