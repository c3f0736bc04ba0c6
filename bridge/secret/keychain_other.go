//go:build !linux

package secret

import "context"

// look returns what is known of the keychain before it is called: nothing.
func look(context.Context) (locked bool, err error) { return false, nil }
