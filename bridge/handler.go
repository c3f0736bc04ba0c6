package bridge

import (
	"context"
	"errors"
	"time"
)

// ErrAgain is wrapped by the error of a Handler that wants to be given the
// message again, because it was replaced by one with other settings.
var ErrAgain = errors.New("the settings have changed")

// ErrPassedOn is wrapped by the error of a Handler that handed the message to
// another bot, which answers by itself. It is no failure.
var ErrPassedOn = errors.New("another bot has the message")

// ErrLimited is wrapped by the error of a Handler that did not answer because a
// limit is reached; its replies say so. The message counts as turned away.
var ErrLimited = errors.New("a limit is reached")

// Handler answers messages. It returns replies and never sends them, so that
// the journal stores them first. It fills in Text (or Reaction) and leaves Ref
// empty; Room and ReplyTo default to those of m. It must return soon after ctx
// is done, and can be called again for the same message after a crash.
type Handler interface {
	Handle(ctx context.Context, m Message) ([]Reply, error)
}

// HandlerFunc is a function that is a Handler.
type HandlerFunc func(ctx context.Context, m Message) ([]Reply, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, m Message) ([]Reply, error) { return f(ctx, m) }

// Intake takes a verified message. When Accept returns nil, the message is
// durable or needs no answer; only then may the webhook answer 200.
type Intake interface {
	Accept(ctx context.Context, m Message) error
}

// Sender delivers one reply to Talk and returns the id of the posted message,
// empty where Talk does not tell (replies as a bot). Its errors wrap *Error;
// their Code says what to do: CodeRejected give up; CodeUnauthorized stop
// sending; CodeThrottled stop until RetryAfter; CodeUnclear the reply may have
// arrived; anything else try again later.
type Sender interface {
	Send(ctx context.Context, r Reply) (messageID string, err error)
}

// Turn is a message or an answer in a conversation with a language model.
type Turn struct {
	Own    bool   // the model's answer, not a person's message
	Author string // of a message: the person's name
	Text   string
	Time   time.Time
}

// Memory keeps what was said to and by a language model, per conversation: a
// room by its token, or a thread in one by "<token>/<id>".
type Memory interface {
	// Recall returns the last n turns of a conversation, oldest first.
	Recall(ctx context.Context, conversation string, n int) ([]Turn, error)
	// Remember keeps a message, with its conversation as the room of its key, and
	// its answer. A message that is remembered again replaces what was kept of it.
	Remember(ctx context.Context, message Key, asked, answered Turn) error
	// Forget removes all turns of a conversation.
	Forget(ctx context.Context, conversation string) error
}
