package pipeline

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"perch/bridge"
)

const (
	// drainGrace is how long a handler or a request to Talk may go on after a
	// stop was asked for.
	drainGrace = 2 * time.Second
	// reclaimAfter is the pause after the inbox or outbox could not be read.
	reclaimAfter = time.Second
)

// Worker gives the messages of the inbox to the handler and stores its replies.
// How long a handler may take is its own affair, until a stop.
type Worker struct {
	Inbox bridge.Inbox
	Bots  BotSource
	Rooms int // how many rooms are served at once
	Sink  bridge.EventSink
	loops loopBreaker

	failing atomic.Bool // the inbox did not work the last time
}

// Bot answers messages, with the settings of one moment.
type Bot interface {
	bridge.Handler
	// Split cuts a reply into texts that Talk takes.
	Split(text string) []string
}

// BotSource gives the bot that is in force now.
type BotSource interface{ Bot() Bot }

// Run works until ctx is done, then lets handlers under way end, within 2 s.
// What they did not finish is handled at the next start.
func (w *Worker) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range w.Rooms {
		wg.Go(func() { w.run(ctx) })
	}
	wg.Wait()
	return ctx.Err()
}

func (w *Worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		item, err := w.Inbox.Claim(ctx)
		if err == nil {
			err = w.handle(ctx, item)
		}
		switch {
		case err == nil:
			w.failing.Store(false)
		case ctx.Err() == nil:
			if !w.failing.Swap(true) { // said once
				w.Sink.Publish(bridge.Event{Stage: bridge.StageHandler, Kind: bridge.EventJournalFailed, Title: bridge.Say("The inbox does not work")}.Failed(err))
			}
			pause(ctx, reclaimAfter)
		}
	}
}

// handle handles one message. Its error is of the inbox, not of the handler.
func (w *Worker) handle(ctx context.Context, item bridge.InboxItem) error {
	m := item.Message
	if wait := w.loops.check(m, time.Now()); wait > 0 {
		w.Sink.Publish(bridge.Event{
			Stage: bridge.StageHandler, Kind: bridge.EventLoop, Level: slog.LevelError, Room: m.Room, Actor: m.Author, MessageID: m.Key.ID,
			Title: bridge.Say("%s answers itself: our own replies come back as messages. It is paused for %s", m.Room.String(), wait.String()),
			Hint:  bridge.Say("Another bot or a bridge repeats what Perch posts there. Take one of them out of the conversation."),
		})
		w.Inbox.Release(item.ID, time.Now().Add(wait))
		return nil
	}

	bot := w.Bots.Bot()
	started := time.Now()
	replies, err := w.call(ctx, bot, m)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		w.Inbox.Release(item.ID, time.Time{}) // stopped: it is the next start's
		return nil
	}
	if errors.Is(err, bridge.ErrAgain) {
		w.Inbox.Release(item.ID, time.Time{})
		return nil
	}
	took := time.Since(started)
	replies = complete(bot, m, replies)
	if err := w.Inbox.Finish(context.WithoutCancel(ctx), item.ID, replies, err); err != nil {
		w.Inbox.Release(item.ID, time.Now().Add(reclaimAfter))
		return err
	}
	w.loops.replied(m.Room.Token, replies, time.Now())
	if errors.Is(err, bridge.ErrPassedOn) {
		return nil // the handler has told of it
	}
	if errors.Is(err, bridge.ErrLimited) {
		w.Sink.Publish(bridge.NewMessageEvent(m, bridge.MessageLimited, bridge.FailureOf(err)))
		return nil
	}
	e := bridge.NewHandledEvent(m, len(replies), bridge.FailureOf(err))
	e.Duration = took
	w.Sink.Publish(e)
	return nil
}

// call runs the handler, until shortly after ctx is done.
func (w *Worker) call(ctx context.Context, bot bridge.Handler, m bridge.Message) ([]bridge.Reply, error) {
	hctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(drainGrace, cancel)
		context.AfterFunc(hctx, func() { timer.Stop() })
	})
	defer stop()

	replies, err := bridge.Call(hctx, bot, m)
	if err != nil && hctx.Err() != nil {
		return nil, hctx.Err() // it was stopped, and whatever it says comes of that
	}
	return replies, err
}

// complete fills in the rooms, threads and references of replies, and what they
// answer, and cuts long texts.
func complete(bot Bot, m bridge.Message, replies []bridge.Reply) []bridge.Reply {
	var all []bridge.Reply
	for _, r := range replies {
		r.Text, r.Reaction = bridge.CleanText(r.Text), bridge.CleanText(r.Reaction)
		if r.Room.Token == "" {
			r.Room = m.Room
		}
		r.Answers = m.Key.ID
		if !r.Remove { // that is no answer to wait for
			r.AskedAt = m.ReceivedAt
		}
		if r.Reaction != "" || r.Remove {
			r.Ref = NewRef()
			all = append(all, r)
			continue
		}
		if r.Thread == "" && r.Room.Token == m.Room.Token {
			r.Thread = m.Thread.ID
		}
		file := r.File
		r.File = nil
		texts := bot.Split(r.Text)
		if file != nil && len(texts) > 1 { // a caption is no longer than a message
			texts = append(texts, "")
		} else if file != nil && len(texts) == 0 {
			texts = []string{""}
		}
		for i, text := range texts {
			if i == len(texts)-1 {
				r.File = file
			}
			r.Ref, r.Text = NewRef(), text
			all = append(all, r)
			r.ReplyTo, r.Edits = "", "" // only the first part quotes
			r.Choices, r.Call = nil, nil
		}
	}
	return all
}

// NewRef returns a new referenceId for a Reply.
func NewRef() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
