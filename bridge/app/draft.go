package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"perch/bridge"
	"perch/bridge/handler"
)

// showTimeout bounds one edit of a draft. It is awaited before the whole answer
// is given, so that no edit comes after that.
const showTimeout = 10 * time.Second

// draft is the beginning of an answer. It goes the way of every reply, by the
// journal; what it grows by is not kept, since the whole answer replaces it. Its
// Ref comes of the message that is answered, so that it is found again when the
// process ended in between. It implements handler.Draft.
type draft struct {
	app *App
	m   bridge.Message
	ref string

	known     bool   // it is in the journal
	messageID string // empty: it is not known to stand in the room
	refused   bool   // it is not to be edited again
}

func (a *App) draft(m bridge.Message) handler.Draft {
	sum := sha256.Sum256([]byte("draft " + m.Key.Server + " " + m.Key.Room + " " + m.Key.ID))
	return &draft{app: a, m: m, ref: hex.EncodeToString(sum[:])}
}

// Ref implements handler.Draft.
func (d *draft) Ref(ctx context.Context) (string, error) {
	if err := d.look(ctx); err != nil || !d.known {
		return "", err
	}
	return d.ref, nil
}

// look finds out what the journal knows of d.
func (d *draft) look(ctx context.Context) error {
	if d.messageID != "" {
		return nil
	}
	id, known, err := d.app.journal.Posted(ctx, d.m.Room.Token, d.ref)
	if err == nil {
		d.messageID, d.known = id, known
	}
	return err
}

// Show implements handler.Draft. What is longer than a message stays as it was.
func (d *draft) Show(ctx context.Context, r bridge.Reply) error {
	r.Text = bridge.CleanText(r.Text)
	if d.refused || utf8.RuneCountInString(r.Text) > int(d.app.maxLength.Load()) {
		return nil
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	switch {
	case !d.known:
		r.Ref, r.Room, r.Thread = d.ref, d.m.Room, d.m.Thread.ID
		r.Answers, r.AskedAt = d.m.Key.ID, d.m.ReceivedAt
		_, err := d.app.journal.Enqueue(ctx, []bridge.Reply{r})
		d.known = err == nil
		return err
	case d.messageID == "": // it waits to be sent
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, showTimeout)
	defer cancel()
	err := d.app.current.Load().talk.Edit(ctx, d.m.Room, d.messageID, r.Text)
	switch bridge.CodeOf(err) {
	case bridge.CodeRejected, bridge.CodeUnauthorized, bridge.CodeThrottled:
		d.refused = true
	default:
	}
	return err
}
