package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
	"perch/bridge/talk"
)

// Names of what the journal remembers for the doctor and for occ.
const (
	noteInstance  = "instance"  // of the process that listened last, and its id
	noteBackend   = "backend"   // what the server called itself in the last webhook
	noteInstalled = "installed" // our address when the last webhook came: the one that Talk has
	noteJoined    = "joined "   // and a room's token: when the bot was enabled there
	noteLeft      = "left "     // and a room's token: when the bot was disabled there
	noteClosed    = "closed "   // and a room's token: whether it was said that the token's user cannot read it
	noteTokenless = "tokenless" // whether it was said what it means to have no app token
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

// first reports whether something was not said yet, in an earlier run either,
// and that it is now.
func (a *App) first(ctx context.Context, name string) bool {
	said, err := a.journal.Noted(ctx, name)
	return err == nil && said == "" && a.journal.Note(ctx, name, "said") == nil
}

// forget lets something be said again.
func (a *App) forget(ctx context.Context, name string) {
	if said, err := a.journal.Noted(ctx, name); err == nil && said != "" {
		_ = a.journal.Note(ctx, name, "") // at worst it is not said again
	}
}

// explainToken says once what it means that there is no app token.
func (a *App) explainToken(ctx context.Context) {
	s := a.current.Load()
	if !s.appToken.IsZero() {
		a.forget(ctx, noteTokenless)
		return
	}
	if s.secretErr != nil || s.config.Talk.Voice() == config.User {
		return // that is an error, which is told
	}
	if !a.first(ctx, noteTokenless) {
		return
	}
	a.Bus.Publish(bridge.Event{
		Stage: bridge.StageApp, Kind: bridge.EventNoAppToken, Level: slog.LevelInfo,
		Title: bridge.Say("No app token is set: replies go out as the bot, files come as links, and missed messages are not fetched"),
		Hint:  bridge.AppTokenUse(),
	})
}

// BotID returns the number of the bot at an address, if the app token is an
// administrator's; else 0.
func BotID(ctx context.Context, home config.Home, cfg config.Config, token bridge.Secret, address string) int {
	if token.IsZero() || cfg.Talk.BaseURL == "" {
		return 0
	}
	pool, err := cfg.Talk.CertPool(filepath.Dir(home.ConfigFile()))
	if err != nil {
		return 0
	}
	c, err := talk.NewClient(talk.Options{BaseURL: cfg.Talk.BaseURL, AppToken: token, RootCAs: pool})
	if err != nil {
		return 0
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	bots, err := c.Bots(ctx)
	if err != nil {
		return 0
	}
	i := slices.IndexFunc(bots, func(b talk.BotEntry) bool { return strings.TrimSuffix(b.URL, "/") == strings.TrimSuffix(address, "/") })
	if i < 0 {
		return 0
	}
	return bots[i].ID
}

// Seen returns the conversations of a server that messages came from lately, and
// that the bot was not taken out of since.
func Seen(ctx context.Context, home config.Home, server string) ([]bridge.Room, error) {
	const lately, most = 90 * 24 * time.Hour, 20
	j, err := journal.Open(ctx, home.JournalFile(), journal.Options{Guest: true})
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = j.Close() }() // it was only read
	all, err := j.Heard(ctx, server, time.Now().Add(-lately), most)
	var rooms []bridge.Room
	for _, heard := range all {
		left, _ := j.Noted(ctx, noteLeft+heard.Room.Token)
		if at, err := time.Parse(time.RFC3339Nano, left); err == nil && at.After(heard.Last) || heard.Last.IsZero() {
			continue
		}
		rooms = append(rooms, heard.Room)
	}
	return rooms, err
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
