package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"

	"perch/bridge"
)

// Names of what the journal remembers for the doctor and for occ.
const (
	noteInstance  = "instance"  // of the process that listened last
	noteBackend   = "backend"   // what the server called itself in the last webhook
	noteInstalled = "installed" // our address when the last webhook came: the one that Talk has
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

// noting is an Intake that notes where accepted webhooks come from and at
// which address.
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
	n.note(ctx, noteInstalled, n.current.Load().config.Webhook.Address())
	if m.Backend != "" {
		n.note(ctx, noteBackend, m.Backend)
	}
	return nil
}

// note writes a value down if it is not the last one.
func (a *App) note(ctx context.Context, name, value string) {
	a.notes.mu.Lock()
	defer a.notes.mu.Unlock()
	if a.notes.last[name] == value {
		return
	}
	if a.journal.Note(ctx, name, value) != nil {
		return // it is tried again with the next webhook
	}
	if a.notes.last == nil {
		a.notes.last = map[string]string{}
	}
	a.notes.last[name] = value
}
