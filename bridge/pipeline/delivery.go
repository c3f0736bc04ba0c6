package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"perch/bridge"
)

const (
	// A reply that cannot be sent is tried again after retryFirst, then after
	// twice as long each time, up to retryMax. That goes on for a day: so many
	// attempts are counted, not hours, because the clock may be set.
	retryFirst  = time.Second
	retryMax    = 5 * time.Minute
	maxAttempts = 296
	// One that fails while others can be sent is given up after this many
	// attempts, which take less than ten minutes.
	maxAttemptsAlone = 10
	aloneWithin      = 8 * time.Minute
	// maxUnclear is how many attempts may end without an answer: one that did
	// may have arrived.
	maxUnclear = 2
	// throttleFirst is how long nothing is sent after a 429 that does not say;
	// it doubles up to throttleMax.
	throttleFirst = time.Minute
	throttleMax   = time.Hour
)

// Talk is the server, as far as delivery needs it.
type Talk interface {
	bridge.Sender
	// Edit gives a posted message another text, however often it is called. An
	// error of CodeRejected means that the message cannot be edited.
	Edit(ctx context.Context, room bridge.Room, messageID, text string) error
	// FindByRef looks for a posted reply. An error of CodeUnauthorized means
	// that it cannot look, for want of an app token.
	FindByRef(ctx context.Context, room, ref string) (messageID string, found bool, err error)
	// Answers returns nil if the server works, as far as can be seen without
	// posting anything.
	Answers(ctx context.Context) error
}

// Delivery sends the replies of the outbox.
type Delivery struct {
	Outbox   bridge.Outbox
	Servers  TalkSource
	Parallel int // how many are sent at once, each to another room
	Sink     bridge.EventSink
	// Drop forgets the content of a file that was shared, or never will be; may be
	// nil.
	Drop func(f bridge.File)

	throttled atomic.Int32              // 429s in a row
	succeeded atomic.Pointer[time.Time] // when a reply was sent last; nil: never
	failing   atomic.Bool               // the outbox did not work the last time
}

// TalkSource gives the server that is in force now.
type TalkSource interface{ Talk() Talk }

// Run sends until ctx is done, then lets requests under way end, within 2 s.
func (d *Delivery) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range d.Parallel {
		wg.Go(func() { d.run(ctx) })
	}
	wg.Wait()
	return ctx.Err()
}

func (d *Delivery) run(ctx context.Context) {
	for ctx.Err() == nil {
		item, err := d.Outbox.Due(ctx)
		if err == nil {
			err = d.deliver(ctx, item)
		}
		switch {
		case err == nil:
			d.failing.Store(false)
		case ctx.Err() == nil:
			if !d.failing.Swap(true) { // said once
				d.Sink.Publish(bridge.Event{Stage: bridge.StageSender, Kind: bridge.EventJournalFailed, Title: bridge.Say("The outbox does not work")}.Failed(err))
			}
			pause(ctx, reclaimAfter)
		}
	}
}

// deliver sends one reply and writes down what came of it. Its error is of the
// outbox, not of Talk.
func (d *Delivery) deliver(ctx context.Context, item bridge.OutboxItem) error {
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(drainGrace, cancel)
		context.AfterFunc(sctx, func() { timer.Stop() })
	})
	defer stop()

	started := time.Now()
	messageID, err := d.send(sctx, item)
	if errors.Is(err, bridge.ErrNotNow) {
		return nil
	}
	if failed, ok := errors.AsType[*outboxError](err); ok {
		return failed.error
	}
	now := time.Now()
	r := bridge.ReplyRecord{
		ID: item.ID, Reply: item.Reply, QueuedAt: item.QueuedAt, Attempts: item.Attempts + 1, TriedAt: started, MessageID: messageID,
	}
	err = d.conclude(context.WithoutCancel(ctx), item, err, &r, now)
	if f := item.Reply.File; f != nil && err == nil && !r.EndedAt.IsZero() {
		if d.Drop != nil {
			d.Drop(*f)
		}
		if r.State == bridge.ReplyGivenUp {
			d.excuse(context.WithoutCancel(ctx), item.Reply, r.Failure)
		}
	}
	e := bridge.NewReplyEvent(r, now)
	d.Sink.Publish(e)
	return err
}

// excuse says in the conversation that a file could not be shared there, and why.
func (d *Delivery) excuse(ctx context.Context, r bridge.Reply, why *bridge.Failure) {
	r.Text = "I could not share the file " + r.File.Name + " here: " + why.Reason.String() + "."
	r.Ref, r.File = NewRef(), nil
	_, _ = d.Outbox.Enqueue(ctx, []bridge.Reply{r}) // the log tells of the file all the same
}

// outboxError is a failure of the outbox, not of the server.
type outboxError struct{ error }

// conclude decides what becomes of a reply after an attempt, writes it down and
// says it in r.
func (d *Delivery) conclude(ctx context.Context, item bridge.OutboxItem, err error, r *bridge.ReplyRecord, now time.Time) error {
	if err == nil {
		d.throttled.Store(0)
		d.succeeded.Store(&now)
		r.State, r.EndedAt = bridge.ReplySent, now
		return d.Outbox.Sent(ctx, item.ID, r.MessageID)
	}
	code := bridge.CodeOf(err)
	if reason := d.hopeless(item, code, now); reason != nil && code != bridge.CodeUnauthorized && code != bridge.CodeThrottled {
		reason.Cause = err
		err, code = reason, bridge.CodeRejected
	}
	r.Failure = bridge.FailureOf(err)
	switch code {
	case bridge.CodeRejected:
		r.State, r.EndedAt = bridge.ReplyGivenUp, now
		return d.Outbox.GiveUp(ctx, item.ID, err)
	case bridge.CodeUnauthorized:
		r.State = bridge.ReplyHeld
		return d.Outbox.Hold(ctx, item.ID, time.Time{}, err)
	case bridge.CodeThrottled:
		r.State, r.DueAt = bridge.ReplyHeld, now.Add(d.throttle(err))
		return d.Outbox.Hold(ctx, item.ID, r.DueAt, err)
	case bridge.CodeUnclear:
		r.State = bridge.ReplyUnclear
	default:
		r.State = bridge.ReplyWaiting
	}
	r.DueAt = now.Add(backoff(item.Attempts))
	return d.Outbox.Retry(ctx, item.ID, r.DueAt, code == bridge.CodeUnclear, err)
}

// hopeless returns why a reply that failed is not tried again, or nil.
func (d *Delivery) hopeless(item bridge.OutboxItem, code bridge.Code, now time.Time) *bridge.Error {
	attempts := item.Attempts + 1
	switch last := d.succeeded.Load(); {
	case attempts >= maxAttempts:
		return &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("The reply could not be sent in %s attempts", strconv.Itoa(attempts)),
			Hint: bridge.Say("See why with: perch doctor"),
		}
	case code == bridge.CodeUnavailable && attempts >= maxAttemptsAlone && last != nil && now.Sub(*last) < aloneWithin:
		return &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("The server takes other replies, but not this one, in %s attempts", strconv.Itoa(attempts)),
			Hint: bridge.Say("The server's log says why: data/nextcloud.log"),
		}
	default:
		return nil
	}
}

// send sends a reply, unless it stands in the room already.
func (d *Delivery) send(ctx context.Context, item bridge.OutboxItem) (messageID string, err error) {
	if item.Reply.Edits != "" {
		messageID, err := d.edit(ctx, item)
		if err != nil || messageID != "" {
			return messageID, err
		}
	}
	if item.Unclear > 0 && item.Reply.Reaction == "" && !item.Reply.Remove {
		id, found, err := d.Servers.Talk().FindByRef(ctx, item.Reply.Room.Token, item.Reply.Ref)
		if bridge.CodeOf(err) == bridge.CodeUnauthorized && item.Unclear < maxUnclear {
			err = d.Servers.Talk().Answers(ctx) // the last attempt is not for a server that is down
		}
		switch {
		case err == nil && found:
			return id, nil
		case err != nil && bridge.CodeOf(err) != bridge.CodeUnauthorized:
			return "", &bridge.Error{
				Code:  bridge.CodeUnavailable, // it must be known before anything is sent
				Text:  bridge.Say("It is not known whether the last attempt arrived, and the server cannot be asked"),
				Hint:  bridge.HintOf(err),
				Cause: err,
			}
		}
	}
	if item.Unclear >= maxUnclear {
		return "", &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("It was sent twice without an answer and is not sent again; it may stand in the conversation"),
		}
	}
	if err := d.Outbox.Begin(context.WithoutCancel(ctx), item.ID); err != nil {
		return "", &outboxError{err}
	}
	return d.Servers.Talk().Send(ctx, item.Reply) // with the secret that is in force since Begin
}

// edit gives the message that a reply edits its text, and returns the message's
// id; empty if it is not there, or cannot be edited: then the reply is a message
// of its own.
func (d *Delivery) edit(ctx context.Context, item bridge.OutboxItem) (messageID string, err error) {
	r := item.Reply
	messageID, _, err = d.Outbox.Posted(ctx, r.Room.Token, r.Edits)
	if err != nil {
		return "", &outboxError{err}
	}
	if messageID == "" {
		return "", nil
	}
	if err := d.Outbox.Begin(context.WithoutCancel(ctx), item.ID); err != nil {
		return "", &outboxError{err}
	}
	switch err := d.Servers.Talk().Edit(ctx, r.Room, messageID, r.Text); {
	case err == nil:
		return messageID, nil
	case bridge.CodeOf(err) == bridge.CodeRejected:
		return "", nil
	default:
		return "", err
	}
}

// throttle returns how long to send nothing after a 429.
func (d *Delivery) throttle(err error) time.Duration {
	n := d.throttled.Add(1)
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.RetryAfter > 0 {
		return min(e.RetryAfter, 24*time.Hour)
	}
	return min(throttleFirst<<min(n-1, 16), throttleMax)
}

// backoff returns how long to wait after so many failures before this one,
// with a fifth of jitter either way.
func backoff(failures int) time.Duration {
	d := min(retryFirst<<min(failures, 16), retryMax)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // jitter
}
