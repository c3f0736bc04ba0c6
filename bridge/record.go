package bridge

import (
	"log/slog"
	"time"
)

// MessageState is what became of a message.
type MessageState string

// The states of a message. Only a waiting one is ever given to a handler; one
// that was turned away stays so.
const (
	MessageWaiting    MessageState = "waiting"     // for the handler
	MessageHandling   MessageState = "handling"    // the handler has it
	MessageHandled    MessageState = "handled"     // its replies, if it has any, tell the rest
	MessagePassed     MessageState = "passed"      // another bot has it
	MessageFailed     MessageState = "failed"      // the handler failed
	MessageNotForBot  MessageState = "not-for-bot" // no handler answers to it
	MessageNotAllowed MessageState = "not-allowed" // turned away: its author is not among the allowed users
	MessageRoomOff    MessageState = "room-off"    // turned away: the conversation is switched off
	MessageBusy       MessageState = "busy"        // turned away: too many waited before it
	MessageLimited    MessageState = "limited"     // turned away: its author or room has had as much as [limits] allows
	MessageOwn        MessageState = "own"         // a reply of ours that came back
	MessageMissed     MessageState = "missed"      // no webhook brought it, and it cannot be handled without one
	MessageUnreadable MessageState = "unreadable"  // what the journal has of it cannot be read
)

// TurnedAway reports whether the message was refused.
func (s MessageState) TurnedAway() bool {
	return s == MessageNotAllowed || s == MessageRoomOff || s == MessageBusy || s == MessageLimited
}

// ReplyState is what became of a reply.
type ReplyState string

// The states of a reply.
const (
	ReplyWaiting ReplyState = "waiting"  // for its turn, or for the next attempt
	ReplySending ReplyState = "sending"  // an attempt is under way
	ReplyHeld    ReplyState = "held"     // nothing is sent until a person or the server lets it
	ReplyUnclear ReplyState = "unclear"  // an attempt ended without an answer; it waits for another
	ReplySent    ReplyState = "sent"     // it stands in the conversation
	ReplyGivenUp ReplyState = "given-up" // it is not tried again
)

// Failure is why something did not work.
type Failure struct {
	Code   Code   `json:"code,omitempty"`
	Reason Text   `json:"reason,omitzero"` // for a person
	Cause  string `json:"cause,omitempty"` // for the log: technical, English
	Hint   Text   `json:"hint,omitzero"`   // what to do
}

// FailureOf returns err as a Failure, nil for nil.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	return &Failure{Code: CodeOf(err), Reason: TextOf(err), Cause: err.Error(), Hint: HintOf(err)}
}

// Record is what the journal knows of a message.
type Record struct {
	ID      int64         `json:"id"` // in the journal; higher ones came later
	Message Message       `json:"message"`
	State   MessageState  `json:"state"`
	EndedAt time.Time     `json:"ended_at,omitzero"` // when it was handled, failed or turned away; zero: not yet
	Failure *Failure      `json:"failure,omitempty"`
	Replies []ReplyRecord `json:"replies,omitempty"` // in order
}

// ReplyRecord is what the journal knows of a reply.
type ReplyRecord struct {
	ID        int64      `json:"id"` // in the journal; higher ones came later
	Reply     Reply      `json:"reply"`
	State     ReplyState `json:"state"`
	QueuedAt  time.Time  `json:"queued_at"`
	DueAt     time.Time  `json:"due_at,omitzero"`   // of a waiting one: not tried before
	TriedAt   time.Time  `json:"tried_at,omitzero"` // when the last attempt began; zero: there was none
	EndedAt   time.Time  `json:"ended_at,omitzero"` // when it was sent or given up; zero: not yet
	Attempts  int        `json:"attempts,omitempty"`
	MessageID string     `json:"message_id,omitempty"` // in the conversation, where Talk tells
	Failure   *Failure   `json:"failure,omitempty"`    // of the last attempt
}

// Answered returns when the first of the replies that say something was sent;
// zero if none was.
func (r Record) Answered() time.Time {
	for _, reply := range r.Replies {
		if reply.State == ReplySent && !reply.Reply.Remove && reply.Reply.Reaction == "" {
			return reply.EndedAt
		}
	}
	return time.Time{}
}

// LogFilter chooses entries of the log.
type LogFilter struct {
	Room  string     // only those of the conversation with this token or name; empty: all
	Level slog.Level // only those that are at least as grave now
	Limit int        // only the newest so many
}

// Entry is a line of the log: a message with what became of it, a reply that
// answers no message, or an event. Exactly one field is set.
type Entry struct {
	Message *Record      `json:"message,omitempty"`
	Reply   *ReplyRecord `json:"reply,omitempty"`
	Event   *Event       `json:"event,omitempty"`
}

// Time returns when the entry came to be.
func (e Entry) Time() time.Time {
	switch {
	case e.Message != nil:
		return e.Message.Message.ReceivedAt
	case e.Reply != nil:
		return e.Reply.QueuedAt
	case e.Event != nil:
		return e.Event.Time
	default:
		return time.Time{}
	}
}
