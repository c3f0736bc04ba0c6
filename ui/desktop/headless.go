//go:build headless

package desktop

import (
	"context"

	"perch/bridge"
)

// Backend is ui.Backend in a build with a window.
type Backend = any

// Run returns an error of CodeUnavailable: this build has no window.
func Run(context.Context, Options) error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable,
		Text: bridge.Say("this build of Perch has no window"),
		Hint: bridge.Say("run the bot without a window: %s", "perch run"),
	}
}
