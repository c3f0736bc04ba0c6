package app

import (
	"context"
	"errors"
	"time"

	"perch/bridge"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
	"perch/bridge/talk"
)

// sendTimeout bounds how long Send waits for its text to be posted.
const sendTimeout = 30 * time.Second

// Send posts a text into the conversation with this token, through the outbox,
// and returns when it stands there. A running Perch with the same home sends
// it; else this process does. The error says why it was not posted in time.
func Send(ctx context.Context, o Options, room, text string) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	a, err := open(ctx, o)
	if bridge.CodeOf(err) == bridge.CodeConflict { // somebody else is at work there
		j, err := journal.Open(ctx, o.Home.JournalFile(), journal.Options{Guest: true})
		if err != nil {
			return err
		}
		return errors.Join(post(ctx, j, room, text, talk.DefaultMaxLength), j.Close())
	}
	if err != nil {
		return err
	}
	stopRecording := a.record(ctx)
	sending, stop := context.WithCancel(ctx)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = a.delivery().Run(sending) // until stop
	}()
	err = post(ctx, a.journal, room, text, a.maxLength.Load())
	stop()
	<-sent
	stopRecording()
	return errors.Join(err, a.Close())
}

// post puts a text into the outbox and waits until somebody has posted it.
func post(ctx context.Context, j *journal.Journal, token, text string, maxLength int64) error {
	var replies []bridge.Reply
	for _, part := range talk.Split(bridge.CleanText(text), int(maxLength)) {
		replies = append(replies, bridge.Reply{Ref: pipeline.NewRef(), Room: bridge.Room{Token: token}, Text: part})
	}
	if len(replies) == 0 {
		return &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("There is nothing to send: the text is empty")}
	}
	ids, err := j.Enqueue(ctx, replies)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := await(ctx, j, id); err != nil {
			return err
		}
	}
	return nil
}

// await waits until a reply was sent or given up, or everything is held.
func await(ctx context.Context, j *journal.Journal, id int64) error {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		reply, err := j.Reply(ctx, id)
		if err != nil && ctx.Err() == nil {
			return err
		}
		switch reply.State {
		case bridge.ReplySent:
			return nil
		case bridge.ReplyGivenUp:
			return &bridge.Error{
				Code:  bridge.CodeRejected,
				Text:  bridge.Say("It was not posted"),
				Hint:  bridge.Say("More on it: perch log --level error"),
				Cause: causeOf(reply),
			}
		case bridge.ReplyHeld:
			return &bridge.Error{
				Code:  bridge.CodeUnauthorized,
				Text:  bridge.Say("It waits: replies are held back"),
				Hint:  bridge.Say("See why: perch log --level error. When that is fixed: perch retry"),
				Cause: causeOf(reply),
			}
		default:
		}
		select {
		case <-ctx.Done():
			return &bridge.Error{
				Code:  bridge.CodeUnavailable,
				Text:  bridge.Say("It is not posted yet; Perch goes on trying while it runs"),
				Hint:  bridge.Say("See how it goes: perch log --follow"),
				Cause: causeOf(reply),
			}
		case <-look.C:
		}
	}
}

// causeOf returns why the last attempt to send a reply failed, nil if none did.
func causeOf(r bridge.ReplyRecord) error {
	if r.Failure == nil {
		return nil
	}
	return errors.New(r.Failure.Cause)
}
