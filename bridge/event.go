package bridge

import (
	"log/slog"
	"time"
)

// Stage is the part of Perch that an event comes from.
type Stage string

// The stages, in the order in which a message passes them.
const (
	StageApp     Stage = "app"     // start, stop, settings, secrets
	StageWebhook Stage = "webhook" // the listener: connections, signatures, payloads
	StageIntake  Stage = "intake"  // received, refused, seen before
	StageHandler Stage = "handler" // handled, failed
	StageSender  Stage = "sender"  // sent, retried, given up, held
	StageJournal Stage = "journal" // the database: set aside, full, pruned
	StageTunnel  Stage = "tunnel"  // the way from the Internet to the webhook
)

// Event is one step that a person may want to see. It never carries a secret.
type Event struct {
	ID        int64         `json:"id,omitempty"` // in the journal; 0 before it is stored
	Time      time.Time     `json:"time"`
	Kind      EventKind     `json:"kind,omitempty"`
	Count     int           `json:"count,omitempty"` // how often it happened, where that is summed up; of a reply: attempts so far; of tokens: how many; 0: once
	Stage     Stage         `json:"stage"`
	Level     slog.Level    `json:"level"`
	Title     Text          `json:"title"` // what happened
	Room      Room          `json:"room,omitzero"`
	Actor     Actor         `json:"actor,omitzero"`
	MessageID string        `json:"message_id,omitempty"`
	Ref       string        `json:"ref,omitempty"`     // of a reply: tells it from others
	Answers   string        `json:"answers,omitempty"` // of a reply: id of the message that it answers
	Text      string        `json:"text,omitempty"`    // of the message or reply
	Code      Code          `json:"code,omitempty"`
	Reason    Text          `json:"reason,omitzero"` // why, for a person
	Cause     string        `json:"cause,omitempty"` // why, for the log: technical, English
	Hint      Text          `json:"hint,omitzero"`   // what to do
	Duration  time.Duration `json:"duration,omitempty"`
	Waited    time.Duration `json:"waited,omitempty"` // of a sent reply: since the message that it answers came
}

// Failed returns e as the event of err: its code, reason, cause and hint, and
// at least level Error.
func (e Event) Failed(err error) Event {
	e.Level = max(e.Level, slog.LevelError)
	e.Code = CodeOf(err)
	e.Reason = TextOf(err)
	e.Cause = err.Error()
	e.Hint = HintOf(err)
	return e
}

// EventSink receives events. Publish never blocks and may drop.
type EventSink interface {
	Publish(e Event)
}
