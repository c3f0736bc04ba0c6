// Package pipeline moves messages: from the webhook into the inbox, from there
// through the handler into the outbox, and from there to Talk.
package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"strings"
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

// Intake decides which messages are to be answered and stores those. It
// implements bridge.Intake.
type Intake struct {
	Inbox   bridge.Inbox
	Allowed func() AllowList // in force now
	Sink    bridge.EventSink
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
		e.Level = slog.LevelDebug
		e.Title = bridge.Say("Something happened in the conversation: %s", m.Event)
	}
	if !e.Title.IsZero() {
		in.Sink.Publish(e)
		return nil
	}

	if m.Author.Type == bridge.ActorBot {
		e.Level, e.Title = slog.LevelDebug, bridge.Say("A message of a bot was not answered")
		in.Sink.Publish(e)
		return nil
	}
	if allowed := in.Allowed(); !allowed.Allows(m.Author) {
		e.Level, e.Code = slog.LevelWarn, bridge.CodeDenied
		e.Title = bridge.Say("%s was not answered: %s is not among the allowed users", m.Author.String(), m.Author.Ref())
		e.Hint = bridge.Say("To answer them, write in config.toml: %s", allowed.line(m.Author))
		in.Sink.Publish(e)
		return nil
	}

	fresh, err := in.Inbox.Put(ctx, m)
	if err != nil {
		return err
	}
	e.Title, e.Duration = bridge.Say("Message received"), time.Since(m.ReceivedAt)
	if !fresh {
		e.Level, e.Title = slog.LevelDebug, bridge.Say("A message came again and was not handled again")
	}
	in.Sink.Publish(e)
	return nil
}
