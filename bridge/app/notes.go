package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
)

// Names of what the journal remembers for the doctor and for occ.
const (
	noteInstance  = "instance"  // of the process that listened last, and its id
	noteBackend   = "backend"   // what the server called itself in the last webhook
	noteInstalled = "installed" // our address when the last webhook came: the one that Talk has
	noteJoined    = "joined "   // and a room's token: when the bot was enabled there
	noteLeft      = "left "     // and a room's token: when the bot was disabled there
)

// NewInstance returns a name for this process that no other has.
func NewInstance() string {
	name := make([]byte, 16)
	_, _ = rand.Read(name) // never fails
	return hex.EncodeToString(name)
}

// notes are what was last written down.
type notes struct {
	mu   sync.Mutex
	last map[string]string
}

// noter accepts webhooks, and notes where they come from, at which address, and
// when the bot was enabled and disabled.
type noter struct {
	app    *App
	intake *pipeline.Intake
}

// Accept is pipeline.Intake.Accept with those notes. All of it goes by the same
// settings.
func (n noter) Accept(ctx context.Context, s *settings, m bridge.Message) error {
	if _, _, err := n.intake.Accept(ctx, s, m); err != nil {
		return err
	}
	if m.Nonce == "" { // it was not signed, and can come from anybody
		return nil
	}
	if address := n.app.addressWith(s); address != "" {
		n.app.note(ctx, noteInstalled, address)
	}
	if m.Backend != "" {
		n.app.note(ctx, noteBackend, m.Backend)
	}
	switch when := m.ReceivedAt.Format(time.RFC3339Nano); m.Kind {
	case bridge.KindJoined:
		n.app.note(ctx, noteJoined+m.Room.Token, when)
	case bridge.KindLeft:
		n.app.note(ctx, noteLeft+m.Room.Token, when)
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

// Notes are what the bot that runs, or ran last, wrote down for others. What is
// not known is empty.
type Notes struct {
	Instance  string             // of its process
	PID       string             // of its process
	Backend   string             // what the server called itself in the last webhook
	Installed string             // address that the last webhook came to: the one that Talk has
	Address   string             // at which Nextcloud is to reach the webhook
	Tunnel    bridge.TunnelState // how it was last
}

// ReadNotes returns what the bot wrote down in its journal.
func ReadNotes(ctx context.Context, j *journal.Journal) (Notes, error) {
	var errs []error
	read := func(name string) string {
		value, err := j.Noted(ctx, name)
		errs = append(errs, err)
		return value
	}
	n := Notes{Backend: read(noteBackend), Installed: read(noteInstalled), Address: read(noteAddress)}
	n.Instance, n.PID, _ = strings.Cut(read(noteInstance), " ")
	if state := read(noteTunnel); state != "" {
		errs = append(errs, json.Unmarshal([]byte(state), &n.Tunnel))
	}
	return n, errors.Join(errs...)
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
	n, err := ReadNotes(ctx, j)
	return n.Installed, n.Address, errors.Join(err, j.Close())
}

// warnOfMove says so if Talk has the bot at another address than the present
// one.
func (a *App) warnOfMove(ctx context.Context) {
	now := a.address()
	if old, err := a.journal.Noted(ctx, noteInstalled); err == nil && old != "" && old != now {
		a.Bus.Publish(bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventAddressMoved, Level: slog.LevelWarn,
			Title: bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", old, now),
			Hint:  bridge.Say("On your server, install it anew: occ talk:bot:uninstall --url='%s', then what this prints: perch occ", old),
		})
	}
}
