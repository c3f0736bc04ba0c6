package bridge

import (
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// The sentences that tell what became of a message are made here, both as it
// happens and when the journal is read.

// NewMessageEvent returns the event of a message that came and was stored in a
// state, with why it was turned away, if it was.
func NewMessageEvent(m Message, state MessageState, why *Failure) Event {
	e := Event{
		Time: m.ReceivedAt, Stage: StageIntake, Kind: EventMessageReceived, Title: Say("Message received"),
		Room: m.Room, Actor: m.Author, MessageID: m.Key.ID, Text: m.Text,
	}
	if state == MessageNotForBot {
		e.Kind = EventMessageNotForBot
	}
	if !state.TurnedAway() && state != MessageMissed {
		return e
	}
	e.Kind, e.Level = EventMessageTurnedAway, slog.LevelWarn
	if state == MessageMissed {
		e.Kind = EventMessageMissed
	}
	if state == MessageRoomOff {
		e.Level = slog.LevelDebug
	}
	if why != nil {
		e.Title, e.Code, e.Hint = why.Reason, why.Code, why.Hint
	}
	return e
}

// NewHandledEvent returns the event of a message that a handler was asked about:
// it gave so many replies, or failed.
func NewHandledEvent(m Message, replies int, failure *Failure) Event {
	e := Event{
		Stage: StageHandler, Kind: EventMessageHandled, Level: slog.LevelDebug, Title: Say("Handled"),
		Room: m.Room, Actor: m.Author, MessageID: m.Key.ID,
	}
	switch {
	case failure != nil:
		e.Kind, e.Level, e.Title = EventMessageFailed, slog.LevelError, Say("The handler failed")
		e.because(failure)
	case replies == 0:
		e.Kind, e.Title = EventMessageSilent, Say("Handled, without a reply")
	}
	return e
}

// said returns what a reply puts into the conversation, for the log.
func (r Reply) said() string {
	if r.File == nil {
		return r.Text + r.Reaction
	}
	return strings.TrimSpace("[" + r.File.Name + "] " + r.Text)
}

// NewReplyEvent returns the event of a reply as it stands now. Zero is returned
// for one that nothing can be told of yet.
func NewReplyEvent(r ReplyRecord, now time.Time) Event {
	e := Event{
		Time: r.EndedAt, Stage: StageSender, Room: r.Reply.Room,
		Ref: r.Reply.Ref, MessageID: r.MessageID, Answers: r.Reply.Answers, Text: r.Reply.said(),
	}
	if e.Time.IsZero() {
		e.Time = r.TriedAt
	}
	room := r.Reply.Room.String()
	switch {
	case r.State == ReplySent:
		e.Kind, e.Title = EventReplySent, Say("Reply sent")
		if r.Reply.Remove { // of a reaction that was told of when it was set
			e.Level = slog.LevelDebug
		}
		if !r.TriedAt.IsZero() {
			e.Duration = e.Time.Sub(r.TriedAt)
		}
		if !r.Reply.AskedAt.IsZero() {
			e.Waited = e.Time.Sub(r.Reply.AskedAt)
		}
		return e
	case r.State == ReplyGivenUp:
		e.Kind, e.Level, e.Title = EventReplyGivenUp, slog.LevelError, Say("A reply to %s was given up", room)
	case r.Failure == nil:
		return Event{}
	case r.State == ReplyHeld && r.Failure.Code == CodeUnauthorized:
		e.Kind, e.Level = EventReplyHeld, slog.LevelError
		e.Title = Say("A reply to %s was refused (401). Nothing more is sent until the cause is fixed", room)
	case r.State == ReplyHeld:
		e.Kind, e.Level = EventReplyHeld, slog.LevelError
		e.Title = Say("The server asks us to slow down (429). Nothing is sent for %s", max(0, r.DueAt.Sub(now)).Round(time.Second).String())
	default:
		e.Kind, e.Level = EventReplyDelayed, slog.LevelWarn
		e.Title = Say("A reply to %s could not be sent; attempt %s follows in %s",
			room, strconv.Itoa(r.Attempts+1), max(0, r.DueAt.Sub(now)).Round(time.Second).String())
	}
	e.Count = r.Attempts
	e.because(r.Failure)
	return e
}

func (e *Event) because(f *Failure) {
	if f != nil {
		e.Code, e.Reason, e.Cause, e.Hint = f.Code, f.Reason, f.Cause, f.Hint
	}
}

// Events tells an entry as the events that made it, oldest first.
func (e Entry) Events(now time.Time) []Event {
	switch {
	case e.Event != nil:
		return []Event{*e.Event}
	case e.Reply != nil:
		return replyEvents([]ReplyRecord{*e.Reply}, now)
	case e.Message == nil:
		return nil
	}
	r := e.Message
	all := []Event{NewMessageEvent(r.Message, r.State, r.Failure)}
	if r.State == MessageHandled || r.State == MessageFailed {
		handled := NewHandledEvent(r.Message, len(r.Replies), r.Failure)
		handled.Time, handled.Duration = r.EndedAt, r.EndedAt.Sub(r.Message.ReceivedAt)
		all = append(all, handled)
	}
	return append(all, replyEvents(r.Replies, now)...)
}

func replyEvents(replies []ReplyRecord, now time.Time) (all []Event) {
	for _, r := range replies {
		if e := NewReplyEvent(r, now); e.Kind != "" {
			all = append(all, e)
		}
	}
	return all
}

// Level returns how grave an entry is as it stands now.
func (e Entry) Level() slog.Level {
	level := slog.LevelInfo
	reply := func(r ReplyRecord) {
		switch {
		case r.State == ReplyGivenUp, r.State == ReplyHeld && r.Failure != nil:
			level = max(level, slog.LevelError)
		case r.State != ReplySent && r.Failure != nil:
			level = max(level, slog.LevelWarn)
		}
	}
	switch {
	case e.Event != nil:
		return e.Event.Level
	case e.Reply != nil:
		reply(*e.Reply)
	case e.Message != nil:
		switch e.Message.State {
		case MessageFailed, MessageUnreadable:
			level = slog.LevelError
		case MessageNotAllowed, MessageBusy, MessageLimited, MessageMissed:
			level = slog.LevelWarn
		default:
		}
		for _, r := range e.Message.Replies {
			reply(r)
		}
	}
	return level
}
