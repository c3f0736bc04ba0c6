package secret

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zalando/go-keyring"

	"perch/bridge"
)

// What the errors of a Keychain wrap, beside a *bridge.Error.
var (
	ErrNoSession    = errors.New("no session bus")
	ErrNoKeychain   = errors.New("no keychain program")
	ErrNoCollection = errors.New("no default keyring")
	ErrLocked       = errors.New("keychain is locked")
	ErrTimeout      = errors.New("no answer from the keychain")
	ErrTooLarge     = errors.New("too large for the keychain")
)

// Keychain returns the operating system's store of the user's secrets, in
// which those of Perch are found under the name of service. Its calls end after
// 30 s, even while it asks the user for a password. Its errors are
// *bridge.Error: CodeNotFound if nothing is stored by that name, else wrapping
// one of the errors of this package where it is known what is wrong.
func Keychain(service string) bridge.SecretStore {
	return &keychain{service: service, turn: make(chan struct{}, 1)}
}

type keychain struct {
	service string
	turn    chan struct{} // held while a call is under way; one that waits for a password cannot be stopped
	locked  atomic.Bool   // when the call under way began
}

const keychainTimeout = 30 * time.Second

// Get returns what is stored as name.
func (k *keychain) Get(ctx context.Context, name string) (bridge.Secret, error) {
	value, err := k.call(ctx, name, func() (string, error) { return keyring.Get(k.service, name) })
	return bridge.NewSecret(value), err
}

// Set stores secret as name.
func (k *keychain) Set(ctx context.Context, name string, secret bridge.Secret) error {
	_, err := k.call(ctx, name, func() (string, error) { return "", keyring.Set(k.service, name, secret.Reveal()) })
	return err
}

// Delete removes what is stored as name.
func (k *keychain) Delete(ctx context.Context, name string) error {
	_, err := k.call(ctx, name, func() (string, error) { return "", keyring.Delete(k.service, name) })
	return err
}

// call runs do until ctx is done. There is one at a time: if a call is left
// behind with its prompt open, the next ones wait for that.
func (k *keychain) call(ctx context.Context, name string, do func() (string, error)) (string, error) {
	if err := known(name); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, keychainTimeout)
	defer cancel()
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return "", explain(name, k.unanswered(ctx))
	}

	type result struct {
		value string
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-k.turn }()
		locked, err := look(ctx)
		k.locked.Store(locked)
		if err != nil {
			done <- result{err: err}
			return
		}
		value, err := do()
		if err != nil && locked && !errors.Is(err, keyring.ErrNotFound) {
			err = fmt.Errorf("%w: %w", ErrLocked, err)
		}
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, explain(name, r.err)
	case <-ctx.Done():
		return "", explain(name, k.unanswered(ctx))
	}
}

// unanswered returns why a call was left.
func (k *keychain) unanswered(ctx context.Context) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case k.locked.Load():
		return fmt.Errorf("%w: %w", ErrTimeout, ErrLocked)
	default:
		return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
}

// explain returns what the keychain's error means and what to do about it.
func explain(name string, err error) error {
	var text, hint bridge.Text
	code := bridge.CodeUnavailable
	instead := variables(name)[0] + "=…"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && slices.Contains([]int{36, 51, 128}, exit.ExitCode()) {
		err = fmt.Errorf("%w: %w", ErrLocked, err) // macOS: no window to ask in, wrong password, cancelled
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return notStored(name, err)
	case errors.Is(err, keyring.ErrSetDataTooBig):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
		code = bridge.CodeInvalid
		text = bridge.Say("the %s is too large for the keychain", name)
		hint = bridge.Say("Windows stores up to 2560 bytes, macOS about 3000; check that it is the %s and not a whole file", name)
	case errors.Is(err, context.Canceled):
		text = bridge.Say("the keychain was not waited for")
	case errors.Is(err, ErrTimeout) && errors.Is(err, ErrLocked):
		text = bridge.Say("the keychain is locked, and waits for its password")
		hint = bridge.Say("answer the window that asks for it, and try again")
	case errors.Is(err, ErrTimeout):
		text = bridge.Say("the keychain does not answer")
		hint = bridge.Say("try again; if it stays so, log out and in, or set the environment variable %s where Perch is started", instead)
	case errors.Is(err, ErrNoSession):
		text = bridge.Say("there is no keychain here: this is not a desktop session (no D-Bus session bus)")
		hint = withoutKeychain(name)
	case errors.Is(err, ErrNoKeychain):
		text = bridge.Say("no program on this machine keeps secrets (no Secret Service)")
		hint = bridge.Say("install one: sudo apt install gnome-keyring, then log in again\nor set the environment variable %s where Perch is started", instead)
	case errors.Is(err, ErrNoCollection):
		text = bridge.Say("the keychain has no default keyring yet")
		hint = bridge.Say("make one with the program Passwords and Keys (sudo apt install seahorse): a new password keyring, set as default\nor set the environment variable %s where Perch is started", instead)
	case errors.Is(err, ErrLocked):
		text = bridge.Say("the keychain is locked, and was not unlocked")
		hint = bridge.Say("unlock it: log in at the desktop (macOS: security unlock-keychain)\nor set the environment variable %s where Perch is started", instead)
	default:
		text = bridge.Say("the keychain failed")
		hint = bridge.Say("if it stays so, set the environment variable %s where Perch is started", instead)
	}
	return &bridge.Error{Code: code, Text: text, Hint: hint, Cause: err}
}
