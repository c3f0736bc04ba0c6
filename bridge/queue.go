package bridge

import (
	"context"
	"errors"
	"time"
)

// InboxItem is a message waiting to be handled.
type InboxItem struct {
	ID      int64
	Message Message
}

// Novelty says whether a message was seen before.
type Novelty int

// The values of Novelty.
const (
	Known Novelty = iota // it was stored before
	Fresh                // it was not
	// Reused: it was not, but another message had its id, as happens when the
	// server was restored from a backup.
	Reused
)

// Inbox is the durable queue between the webhook and the handlers. Messages of
// one room are handed out one at a time, in the order in which they came.
type Inbox interface {
	// Put stores m in a state and returns once it is on disk, with why it was
	// turned away, if it was. Only a waiting message is ever claimed. A message
	// with the Key or Nonce of one that was stored before, however long ago, is
	// Known and changes nothing.
	Put(ctx context.Context, m Message, state MessageState, why *Failure) (Novelty, error)
	// Claim waits for a message whose room has none claimed. It is the
	// caller's until Finish, Release or the end of the process.
	Claim(ctx context.Context) (InboxItem, error)
	// Finish marks a message as handled, or as failed because of cause, and stores
	// its replies in the outbox, in one transaction. With an ErrPassedOn as its
	// cause it was passed on, with an ErrLimited turned away.
	Finish(ctx context.Context, id int64, replies []Reply, cause error) error
	// Release gives a claimed message back unhandled: it is the next of its
	// room, not before notBefore.
	Release(id int64, notBefore time.Time)
}

// OutboxItem is a reply waiting to be sent.
type OutboxItem struct {
	ID       int64
	Reply    Reply
	QueuedAt time.Time
	Attempts int // that began before
	Unclear  int // of those, how many ended without an answer, or with the process: it may stand in the room
}

// ErrNotNow says that nothing may be sent at the moment.
var ErrNotNow = errors.New("nothing may be sent now")

// Outbox is the durable queue between the handlers and Talk. Replies to one
// room are handed out one at a time, in order.
type Outbox interface {
	// Enqueue stores replies that answer no message, and returns their ids.
	Enqueue(ctx context.Context, replies []Reply) ([]int64, error)
	// Due waits for a reply whose time has come. It is the caller's until Sent,
	// Retry, GiveUp or Hold, or the end of the process. There is one at a time
	// until one is Sent that began after the last start, Hold or Resume, and
	// again when that was a while ago, so that a wrong secret is shown to the
	// server once and not many times.
	Due(ctx context.Context) (OutboxItem, error)
	// Begin records, before the request is made, that an attempt begins. If the
	// process ends before one of the calls below, the attempt was unclear. After
	// an error nothing is to be sent, and the reply is not the caller's any more;
	// the error is ErrNotNow if that became so since Due.
	Begin(ctx context.Context, id int64) error
	// Posted returns the id of the message as which a reply to the room stands
	// there, empty if it does not, or if Talk did not tell. known is false if there
	// is no such reply.
	Posted(ctx context.Context, room, ref string) (messageID string, known bool, err error)
	// ReplyAt returns the reply that stands in the room as a message, as far as it
	// is kept. found is false if there is none.
	ReplyAt(ctx context.Context, room, messageID string) (r Reply, found bool, err error)
	// Settle takes the Call and the Choices out of the reply that stands in the room
	// as a message, and reports whether there was a Call: it is asked about once.
	Settle(ctx context.Context, room, messageID string) (was bool, err error)
	// Sent records that the reply stands in the room as messageID (which can be
	// empty). A message in the inbox with that id is our own and not handled. A
	// reply that this one Edits, if it has the same id, is forgotten.
	Sent(ctx context.Context, id int64, messageID string) error
	// Retry gives the reply back, to be handed out again at the given time.
	// unclear says that the attempt ended without an answer.
	Retry(ctx context.Context, id int64, at time.Time, unclear bool, cause error) error
	// GiveUp drops the reply.
	GiveUp(ctx context.Context, id int64, cause error) error
	// Hold gives the reply back and stops the outbox until the given time, or,
	// if it is zero, until Resume. It survives a restart.
	Hold(ctx context.Context, id int64, until time.Time, cause error) error
	// Resume ends a Hold; every reply is due at once.
	Resume(ctx context.Context) error
}
