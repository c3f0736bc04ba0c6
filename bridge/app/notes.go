package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
)

// Names of what the journal remembers for the doctor and for occ.
const (
	noteInstance  = "instance"  // of the process that listened last, and its id
	noteBackend   = "backend"   // what the server called itself in the last webhook
	noteInstalled = "installed" // our address when the last webhook came: the one that Talk has
	noteJoined    = "joined "   // and a room's token: when the bot was enabled there
	noteLeft      = "left "     // and a room's token: when the bot was disabled there
)

// newInstance returns a name for this process that no other has.
func newInstance() string {
	name := make([]byte, 16)
	_, _ = rand.Read(name) // never fails
	return hex.EncodeToString(name)
}

// notes are what was last written down.
type notes struct {
	mu   sync.Mutex
	last map[string]string
}

// noting is an Intake that notes where accepted webhooks come from, at which
// address, and when the bot was enabled and disabled.
type noting struct {
	*App
	bridge.Intake
}

// Accept implements bridge.Intake.
func (n noting) Accept(ctx context.Context, m bridge.Message) error {
	if err := n.Intake.Accept(ctx, m); err != nil {
		return err
	}
	if m.Nonce == "" { // it was not signed, and can come from anybody
		return nil
	}
	if address := n.address(); address != "" {
		n.note(ctx, noteInstalled, address)
	}
	if m.Backend != "" {
		n.note(ctx, noteBackend, m.Backend)
	}
	switch when := m.ReceivedAt.Format(time.RFC3339Nano); m.Kind {
	case bridge.KindJoined:
		n.note(ctx, noteJoined+m.Room.Token, when)
	case bridge.KindLeft:
		n.note(ctx, noteLeft+m.Room.Token, when)
	default:
	}
	return nil
}

// note writes a value down if it is not the last one, and reports whether it
// was not.
func (a *App) note(ctx context.Context, name, value string) bool {
	a.notes.mu.Lock()
	defer a.notes.mu.Unlock()
	if a.notes.last[name] == value {
		return false
	}
	if a.journal.Note(ctx, name, value) != nil {
		return false // it is tried again with the next webhook
	}
	if a.notes.last == nil {
		a.notes.last = map[string]string{}
	}
	a.notes.last[name] = value
	return true
}

// Addresses returns the address of the webhook that Talk last used, so the one
// that the bot is installed with, and the one that a running Perch has, or the
// last one had; empty if they are not known.
func Addresses(ctx context.Context, home config.Home) (installed, present string, err error) {
	j, err := journal.Open(ctx, home.JournalFile(), journal.Options{Guest: true})
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	installed, err = j.Noted(ctx, noteInstalled)
	present, presentErr := j.Noted(ctx, noteAddress)
	return installed, present, errors.Join(err, presentErr, j.Close())
}

// warnOfMove says so if Talk has the bot at another address than the present
// one.
func (a *App) warnOfMove(ctx context.Context) {
	now := a.address()
	if old, err := a.journal.Noted(ctx, noteInstalled); err == nil && old != "" && old != now {
		a.Bus.Publish(bridge.Event{
			Stage: bridge.StageApp, Level: slog.LevelWarn,
			Title: bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", old, now),
			Hint:  bridge.Say("On your server, install it anew: occ talk:bot:uninstall --url='%s', then what this prints: perch occ", old),
		})
	}
}
