package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"perch/bridge"
)

const (
	// A reply that cannot be sent is tried again after retryFirst, then after
	// twice as long each time, up to retryMax, for giveUpAfter in all.
	retryFirst  = time.Second
	retryMax    = 5 * time.Minute
	giveUpAfter = 24 * time.Hour
	// throttleFirst is how long nothing is sent after a 429 that does not say;
	// it doubles up to throttleMax.
	throttleFirst = time.Minute
	throttleMax   = time.Hour
)

// Talk is the server, as far as delivery needs it.
type Talk interface {
	bridge.Sender
	// FindByRef looks for a posted reply. An error of CodeUnauthorized means
	// that it cannot look, for want of an app token.
	FindByRef(ctx context.Context, room, ref string) (messageID string, found bool, err error)
}

// Delivery sends the replies of the outbox.
type Delivery struct {
	Outbox   bridge.Outbox
	Talk     func() Talk // in force now
	Parallel int         // how many are sent at once, each to another room
	Sink     bridge.EventSink

	throttled atomic.Int32 // 429s in a row
}

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
		if err != nil && ctx.Err() == nil {
			d.Sink.Publish(bridge.Event{Stage: bridge.StageSender, Title: bridge.Say("The outbox does not work")}.Failed(err))
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
	r := item.Reply
	e := bridge.Event{
		Stage: bridge.StageSender, Duration: time.Since(started),
		Room: r.Room, MessageID: messageID, Answers: r.Answers, Text: r.Text + r.Reaction,
	}
	if !r.AskedAt.IsZero() {
		e.Waited = time.Since(r.AskedAt)
	}
	finish := d.conclude(item, err, &e)
	err = finish(context.WithoutCancel(ctx))
	d.Sink.Publish(e)
	return err
}

// conclude says in e what became of a reply, and returns what writes it down.
func (d *Delivery) conclude(item bridge.OutboxItem, err error, e *bridge.Event) func(ctx context.Context) error {
	if err == nil {
		d.throttled.Store(0)
		e.Title = bridge.Say("Reply sent")
		return func(ctx context.Context) error { return d.Outbox.Sent(ctx, item.ID, e.MessageID) }
	}
	*e = e.Failed(err)
	room := item.Reply.Room.String()
	giveUp := func(ctx context.Context) error { return d.Outbox.GiveUp(ctx, item.ID, err) }
	hold := func(until time.Time) func(ctx context.Context) error {
		return func(ctx context.Context) error { return d.Outbox.Hold(ctx, item.ID, until, err) }
	}
	switch code := bridge.CodeOf(err); {
	case code == bridge.CodeRejected:
		e.Title = bridge.Say("A reply to %s was given up", room)
		return giveUp

	case code == bridge.CodeUnauthorized:
		e.Title = bridge.Say("A reply to %s was refused (401). Nothing more is sent until this is mended", room)
		return hold(time.Time{})

	case code == bridge.CodeThrottled:
		wait := d.throttle(err)
		e.Title = bridge.Say("The server asks us to slow down (429). Nothing is sent for %s", wait.Round(time.Second).String())
		return hold(time.Now().Add(wait))

	case time.Since(item.QueuedAt) > giveUpAfter:
		e.Title = bridge.Say("A reply to %s was given up after 24 hours", room)
		return giveUp

	case code == bridge.CodeUnclear && item.Unclear && item.Attempts > 0:
		e.Title = bridge.Say("A reply to %s was sent twice without an answer and is not sent again; it may stand there", room)
		return giveUp

	default:
		wait := backoff(item.Attempts)
		e.Level = slog.LevelWarn
		e.Title = bridge.Say("A reply to %s could not be sent; attempt %s follows in %s",
			room, strconv.Itoa(item.Attempts+2), wait.Round(time.Second).String())
		return func(ctx context.Context) error {
			return d.Outbox.Retry(ctx, item.ID, time.Now().Add(wait), code == bridge.CodeUnclear, err)
		}
	}
}

// send sends a reply, unless it stands in the room already.
func (d *Delivery) send(ctx context.Context, item bridge.OutboxItem) (messageID string, err error) {
	talk := d.Talk()
	if item.Unclear && item.Reply.Text != "" {
		id, found, err := talk.FindByRef(ctx, item.Reply.Room.Token, item.Reply.Ref)
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
	return talk.Send(ctx, item.Reply)
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
