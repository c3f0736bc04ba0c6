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
	Limits  Limits
}

// Policy says what is to happen to messages, with the settings of one moment.
type Policy interface {
	// Access returns who is answered in a conversation.
	Access(room string) Access
	// Own reports whether a message is what we have just shared, as another than
	// the bot.
	Own(m bridge.Message) bool
	// Route reports whether a handler is to be asked about a message, and how
	// many can wait for that in its room. It returns at once.
	Route(m bridge.Message) (most int, asked bool)
}

// Journal is where an Intake stores messages.
type Journal interface {
	bridge.Inbox
	bridge.Outbox
	// Waiting returns how many messages of a room are not finished.
	Waiting(room string) int
}

const (
	// busyAgain is how long a room that was told that we are busy is not told so
	// again; busyRooms bounds how many are remembered.
	busyAgain = time.Minute
	busyRooms = 1024
)

// Intake decides which messages are to be answered and stores all of them, with
// what was decided.
type Intake struct {
	Journal Journal
	Sink    bridge.EventSink

	mu   sync.Mutex
	told map[string]time.Time // rooms, and when they were told that we are busy
	hour hour
}

// Accept stores a chat message with what p says of it, and returns when it is
// durable. Anything else is logged and needs no answer: then the state is empty.
func (in *Intake) Accept(ctx context.Context, p Policy, m bridge.Message) (bridge.MessageState, bridge.Novelty, error) {
	if m.Kind != bridge.KindChat {
		in.Sink.Publish(noteworthy(m))
		if m.Kind == bridge.KindReaction && m.Reaction != nil {
			return in.react(ctx, p, m)
		}
		return "", bridge.Known, nil
	}
	if p.Own(m) {
		novelty, err := in.Journal.Put(ctx, m, bridge.MessageOwn, nil)
		return bridge.MessageOwn, novelty, err
	}
	state, why := in.judge(p, m)
	var over *excess
	now := time.Now()
	if state == bridge.MessageWaiting {
		if over = in.hour.take(p.Access(m.Room.Token).Limits, m, now); over != nil {
			state, why = bridge.MessageLimited, over.failure(m)
		}
	}
	novelty, err := in.Journal.Put(ctx, m, state, why)
	if state == bridge.MessageWaiting && (err != nil || novelty == bridge.Known) {
		in.hour.giveBack(m, now)
	}
	if err != nil {
		return state, novelty, err
	}
	e := bridge.NewMessageEvent(m, state, why)
	switch novelty {
	case bridge.Known:
		e = bridge.NewMessageEvent(m, bridge.MessageWaiting, nil)
		e.Kind, e.Level, e.Title = bridge.EventMessageRepeated, slog.LevelDebug, bridge.Say("A message came again and was not handled again")
	case bridge.Reused:
		in.Sink.Publish(bridge.Event{
			Stage: bridge.StageIntake, Kind: bridge.EventServerRestored, Level: slog.LevelWarn, Room: m.Room, MessageID: m.Key.ID,
			Title: bridge.Say("The server uses the id of an earlier message again, as after it was restored from a backup"),
		})
	default:
	}
	e.Duration = time.Since(m.ReceivedAt)
	in.Sink.Publish(e)
	switch {
	case novelty == bridge.Known:
	case state == bridge.MessageBusy:
		in.tell(ctx, m)
	case over != nil && in.hour.tell(over.key, now):
		_ = in.say(ctx, m, over.line()) // the log tells of it all the same
	}
	return state, novelty, nil
}

// react stores a reaction to a reply of ours, if a handler is to hear of it from
// somebody who is answered. Of others nothing is kept.
func (in *Intake) react(ctx context.Context, p Policy, m bridge.Message) (bridge.MessageState, bridge.Novelty, error) {
	reply, ours, err := in.Journal.ReplyAt(ctx, m.Room.Token, m.Key.ID)
	if err != nil || !ours {
		return "", bridge.Known, err
	}
	emoji := m.Event
	about := *m.Reaction
	about.Answers, about.Choice = reply.Answers, slices.Contains(reply.Choices, emoji)
	if reply.Call != nil && about.Choice {
		if about.By.Ref() != reply.Call.Asker.Ref() {
			return "", bridge.Known, nil
		}
		about.Call = reply.Call
	}
	quoted := m
	quoted.Kind, quoted.Event, quoted.Reaction = bridge.KindChat, "", nil
	m.Key.ID, m.Author, m.Text, m.RawText, m.Reaction = about.ID, about.By, emoji, emoji, &about
	m.Parameters, m.Attachments, m.Markdown, m.InReplyTo, m.SentAt = nil, nil, false, &quoted, about.At
	now := time.Now()
	if state, _ := in.judge(p, m); state != bridge.MessageWaiting || in.hour.take(p.Access(m.Room.Token).Limits, m, now) != nil {
		return "", bridge.Known, nil
	}
	if about.Call != nil { // settled first: what was agreed to is done once at most
		if was, err := in.Journal.Settle(ctx, quoted.Room.Token, quoted.Key.ID); err != nil || !was {
			return "", bridge.Known, err
		}
	}
	novelty, err := in.Journal.Put(ctx, m, bridge.MessageWaiting, nil)
	if err != nil || novelty == bridge.Known {
		in.hour.giveBack(m, now)
	}
	return bridge.MessageWaiting, novelty, err
}

// noteworthy returns the event of what is no chat message.
func noteworthy(m bridge.Message) bridge.Event {
	e := bridge.Event{
		Time: m.ReceivedAt, Stage: bridge.StageIntake,
		Room: m.Room, Actor: m.Author, MessageID: m.Key.ID, Text: m.Text,
	}
	switch m.Kind {
	case bridge.KindJoined:
		e.Kind, e.Title = bridge.EventBotEnabled, bridge.Say("The bot was enabled in %s", m.Room.String())
	case bridge.KindLeft:
		e.Kind, e.Title = bridge.EventBotDisabled, bridge.Say("The bot was disabled in %s", m.Room.String())
	case bridge.KindReaction, bridge.KindReactionRemoved:
		e.Kind, e.Level, e.Text = bridge.EventReaction, slog.LevelDebug, m.Event
		e.Title = bridge.Say("A reaction was added or removed")
	default:
		if e.Kind = bridge.EventRoomChanged; m.Author.Type == bridge.ActorBot || m.Event == "message_edited" { // our own, most likely
			e.Level = slog.LevelDebug
		}
		e.Title = bridge.Say("Not answered, since Talk wrote it and no person: %s", m.Event)
	}
	return e
}

// judge decides what becomes of a message, and why it is turned away, if it is.
func (in *Intake) judge(p Policy, m bridge.Message) (bridge.MessageState, *bridge.Failure) {
	if m.Author.Type == bridge.ActorBot {
		return bridge.MessageNotForBot, nil
	}
	access := p.Access(m.Room.Token)
	if !access.Enabled {
		return bridge.MessageRoomOff, &bridge.Failure{
			Code:   bridge.CodeDenied,
			Reason: bridge.Say("A message was not answered: %s is switched off in config.toml", m.Room.String()),
		}
	}
	if !access.Allowed.Allows(m.Author) {
		why := &bridge.Failure{
			Code:   bridge.CodeDenied,
			Reason: bridge.Say("%s was not answered: %s is not among the allowed users", m.Author.String(), m.Author.Ref()),
			Hint:   bridge.Say("To answer them, write in config.toml: %s", access.Allowed.line(m.Author)),
		}
		if access.Own {
			why.Hint = bridge.Say("To answer them, write in config.toml under [rooms.%[1]s]: %[2]s", m.Room.Token, access.Allowed.line(m.Author))
		}
		return bridge.MessageNotAllowed, why
	}
	most, asked := p.Route(m)
	if !asked {
		return bridge.MessageNotForBot, nil
	}
	if n := in.Journal.Waiting(m.Room.Token); n > most { // one is being handled, the others wait
		return bridge.MessageBusy, &bridge.Failure{
			Code:   bridge.CodeUnavailable,
			Reason: bridge.Say("A message to %[1]s was not taken: %[2]s earlier ones wait there", m.Room.String(), strconv.Itoa(n)),
			Hint:   bridge.Say("The handler takes longer than people write. Let more messages wait, with queue in config.toml, or make it faster."),
		}
	}
	return bridge.MessageWaiting, nil
}

// tell says in a room that a message found no place there, unless that was said
// a moment ago.
func (in *Intake) tell(ctx context.Context, m bridge.Message) {
	room := m.Room.Token
	if !in.mayTell(room) {
		return
	}
	err := in.say(ctx, m, "I am still busy with "+strconv.Itoa(in.Journal.Waiting(room))+" earlier messages here. Please say it again later.")
	if err != nil { // the next message is told
		in.mu.Lock()
		delete(in.told, room)
		in.mu.Unlock()
	}
}

// say answers m without asking a handler.
func (in *Intake) say(ctx context.Context, m bridge.Message, text string) error {
	_, err := in.Journal.Enqueue(ctx, []bridge.Reply{{Ref: NewRef(), Room: m.Room, ReplyTo: m.Key.ID, Thread: m.Thread.ID, Text: text}})
	return err
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
