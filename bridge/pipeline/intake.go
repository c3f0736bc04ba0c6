// Package pipeline moves messages: from the webhook into the inbox, from there
// through the handler into the outbox, and from there to Talk.
package pipeline

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/bridge"
)

// AllowList names who is answered: the ids of users, "guests/<id>" and the like
// for others, "*" for everybody. The empty list denies all.
type AllowList []string

// Allows reports whether a is on the list. A bot never is.
func (l AllowList) Allows(a bridge.Actor) bool {
	if a.Type == bridge.ActorBot || a.ID == "" {
		return false
	}
	return slices.ContainsFunc(l, func(entry string) bool {
		if entry == "*" {
			return true
		}
		who := bridge.ParseActor(entry)
		return who.Type == a.Type && who.ID == a.ID
	})
}

// line returns the configuration line that allows a too.
func (l AllowList) line(a bridge.Actor) string {
	entry := a.Ref()
	if a.Type == bridge.ActorUser {
		entry = a.ID
	}
	quoted := make([]string, 0, len(l)+1)
	for _, e := range append(slices.Clone(l), entry) {
		quoted = append(quoted, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(e)+`"`)
	}
	return "allowed_users = [" + strings.Join(quoted, ", ") + "]"
}

// Access is who is answered in a conversation.
type Access struct {
	Enabled bool // false: nobody
	Allowed AllowList
	Own     bool // Allowed is the list of this conversation, not that of all
}

// Journal is where an Intake stores messages.
type Journal interface {
	bridge.Inbox
	bridge.Outbox
	// Keep stores a message as Put does, but as one that is never claimed.
	Keep(ctx context.Context, m bridge.Message) (fresh bool, err error)
	// Waiting returns how many messages of a room are not finished.
	Waiting(room string) int
}

const (
	// busyAgain is how long a room that was told that we are busy is not told so
	// again; busyRooms bounds how many are remembered.
	busyAgain = time.Minute
	busyRooms = 1024
)

// Intake decides which messages are to be answered and stores those. It
// implements bridge.Intake.
type Intake struct {
	Journal Journal
	Access  func(room string) Access // in force now
	// Queue reports whether a handler is to be asked about a message, and how
	// many can wait for that in its room. It returns at once.
	Queue func(m bridge.Message) (most int, asked bool)
	Sink  bridge.EventSink

	mu   sync.Mutex
	told map[string]time.Time // rooms, and when they were told that we are busy
}

// Accept stores a chat message of an allowed user and returns when it is
// durable. It logs everything else and returns nil: Talk need not know.
func (in *Intake) Accept(ctx context.Context, m bridge.Message) error {
	e := bridge.Event{
		Time: m.ReceivedAt, Stage: bridge.StageIntake,
		Room: m.Room, Actor: m.Author, MessageID: m.Key.ID, Text: m.Text,
	}
	switch m.Kind {
	case bridge.KindChat:
	case bridge.KindJoined:
		e.Title = bridge.Say("The bot was enabled in %s", m.Room.String())
	case bridge.KindLeft:
		e.Title = bridge.Say("The bot was disabled in %s", m.Room.String())
	case bridge.KindReaction, bridge.KindReactionRemoved:
		e.Level, e.Text = slog.LevelDebug, m.Event
		e.Title = bridge.Say("A reaction was added or removed")
	case bridge.KindSystem:
		if m.Author.Type == bridge.ActorBot { // our own, most likely
			e.Level = slog.LevelDebug
		}
		e.Title = bridge.Say("Not answered, since Talk wrote it and no person: %s", m.Event)
	}
	if !e.Title.IsZero() {
		in.Sink.Publish(e)
		return nil
	}

	if m.Author.Type == bridge.ActorBot {
		e.Title = bridge.Say("A message of a bot was not answered")
		in.Sink.Publish(e)
		return nil
	}
	access := in.Access(m.Room.Token)
	if !access.Enabled {
		e.Level, e.Title = slog.LevelDebug, bridge.Say("A message was not answered: %s is switched off in config.toml", m.Room.String())
		in.Sink.Publish(e)
		return nil
	}
	if !access.Allowed.Allows(m.Author) {
		e.Level, e.Code = slog.LevelWarn, bridge.CodeDenied
		e.Title = bridge.Say("%s was not answered: %s is not among the allowed users", m.Author.String(), m.Author.Ref())
		e.Hint = bridge.Say("To answer them, write in config.toml: %s", access.Allowed.line(m.Author))
		if access.Own {
			e.Hint = bridge.Say("To answer them, write in config.toml under [rooms.%[1]s]: %[2]s", m.Room.Token, access.Allowed.line(m.Author))
		}
		in.Sink.Publish(e)
		return nil
	}

	most, asked := in.Queue(m)
	store := in.Journal.Keep
	if asked {
		if n := in.Journal.Waiting(m.Room.Token); n > most { // one is being handled, the others wait
			return in.refuse(ctx, m, n, e)
		}
		store = in.Journal.Put
	}
	fresh, err := store(ctx, m)
	if err != nil {
		return err
	}
	e.Title, e.Duration = bridge.Say("Message received"), time.Since(m.ReceivedAt)
	if !fresh {
		e.Level, e.Title = slog.LevelDebug, bridge.Say("A message came again and was not handled again")
	}
	in.Sink.Publish(e)
	if fresh && !asked {
		in.Sink.Publish(bridge.Event{
			Stage: bridge.StageHandler, Level: slog.LevelDebug, Title: bridge.Say("Handled, without a reply"),
			Room: m.Room, Actor: m.Author, MessageID: m.Key.ID,
		})
	}
	return nil
}

// refuse answers a message for which there is no place, unless its room was
// answered so a moment ago.
func (in *Intake) refuse(ctx context.Context, m bridge.Message, waiting int, e bridge.Event) error {
	if room := m.Room.Token; in.mayTell(room) {
		_, err := in.Journal.Enqueue(ctx, []bridge.Reply{{
			Ref: NewRef(), Room: m.Room, ReplyTo: m.Key.ID, Thread: m.Thread.ID,
			Text: "I am still busy with " + strconv.Itoa(waiting) + " earlier messages here. Please say it again later.",
		}})
		if err != nil {
			in.mu.Lock()
			delete(in.told, room)
			in.mu.Unlock()
			return err
		}
	}
	e.Level, e.Code = slog.LevelWarn, bridge.CodeUnavailable
	e.Title = bridge.Say("A message to %[1]s was not taken: %[2]s earlier ones wait there", m.Room.String(), strconv.Itoa(waiting))
	e.Hint = bridge.Say("The handler takes longer than people write. Let more messages wait, with queue in config.toml, or make it faster.")
	in.Sink.Publish(e)
	return nil
}

// mayTell reports whether a room may be told that we are busy, and that it is
// told now.
func (in *Intake) mayTell(room string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(in.told, func(_ string, at time.Time) bool { return now.Sub(at) >= busyAgain })
	if _, ok := in.told[room]; ok || len(in.told) >= busyRooms {
		return false
	}
	if in.told == nil {
		in.told = make(map[string]time.Time)
	}
	in.told[room] = now
	return true
}
