//go:build !linux

package secret

import (
	"context"
	"runtime"
)

// look returns what is known of the keychain before it is called: nothing.
func look(context.Context) (locked bool, err error) { return false, nil }

// program returns the name of the keychain, empty if it is not known.
func program(context.Context) string {
	switch runtime.GOOS {
	case "windows":
		return "Windows Credential Manager"
	case "darwin":
		return "macOS Keychain"
	default:
		return ""
	}
}
