package app

import (
	"context"
	"errors"
	"time"

	"perch/bridge"
	"perch/bridge/pipeline"
	"perch/bridge/talk"
)

// sendTimeout bounds how long Send waits for its text to be posted.
const sendTimeout = 30 * time.Second

// Send posts a text into the conversation with this token, through the outbox,
// and returns when it stands there. The error says why it was not posted in time;
// it is of CodeConflict if a Perch with the same home runs, which can be asked to.
func Send(ctx context.Context, o Options, room, text string) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	a, err := open(ctx, o)
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
	ids, err := a.Post(ctx, room, text, false)
	if err == nil {
		err = a.Posted(ctx, ids)
	}
	stop()
	<-sent
	stopRecording()
	return errors.Join(err, a.Close())
}

// Post puts a text into the outbox of a running bot, in as many parts as it
// needs, and returns their ids when they are on disk.
func (a *App) Post(ctx context.Context, token, text string, silent bool) ([]int64, error) {
	var replies []bridge.Reply
	for _, part := range talk.Split(bridge.CleanText(text), int(a.maxLength.Load())) {
		replies = append(replies, bridge.Reply{Ref: pipeline.NewRef(), Room: bridge.Room{Token: token}, Text: part, Silent: silent})
	}
	if len(replies) == 0 {
		return nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("There is nothing to send: the text is empty")}
	}
	return a.journal.Enqueue(ctx, replies)
}

// Posted waits until replies with these ids stand in their conversation. The
// error says why one does not, or does not yet, when ctx is done.
func (a *App) Posted(ctx context.Context, ids []int64) error {
	events := a.Bus.Subscribe(eventBuffer)
	defer events.Close()
	for _, id := range ids {
		for {
			reply, err := a.journal.Reply(context.WithoutCancel(ctx), id)
			if err != nil {
				return err
			}
			if done, err := concluded(reply); done {
				if err != nil {
					return err
				}
				break
			}
			if _, _, err := events.Next(ctx); err != nil {
				return &bridge.Error{
					Code:  bridge.CodeUnavailable,
					Text:  bridge.Say("It is not posted yet; Perch goes on trying while it runs"),
					Hint:  bridge.Say("See how it goes: perch log --follow"),
					Cause: causeOf(reply),
				}
			}
		}
	}
	return nil
}

// concluded reports whether a reply was sent or given up, or everything is held.
func concluded(reply bridge.ReplyRecord) (done bool, err error) {
	switch reply.State {
	case bridge.ReplySent:
		return true, nil
	case bridge.ReplyGivenUp:
		return true, &bridge.Error{
			Code:  bridge.CodeRejected,
			Text:  bridge.Say("It was not posted"),
			Hint:  bridge.Say("More on it: perch log --level error"),
			Cause: causeOf(reply),
		}
	case bridge.ReplyHeld:
		return true, &bridge.Error{
			Code:  bridge.CodeUnauthorized,
			Text:  bridge.Say("It waits: replies are held back"),
			Hint:  bridge.Say("See why: perch log --level error. When that is fixed: perch retry"),
			Cause: causeOf(reply),
		}
	default:
		return false, nil
	}
}

// causeOf returns why the last attempt to send a reply failed, nil if none did.
func causeOf(r bridge.ReplyRecord) error {
	if r.Failure == nil {
		return nil
	}
	return errors.New(r.Failure.Cause)
}
