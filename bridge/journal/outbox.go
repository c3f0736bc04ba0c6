package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"perch/bridge"
)

// The states of a reply, as in schema.sql.
const (
	replyWaiting = iota
	replySent
	replyGivenUp
)

// maxWait and maxHold bound how long a reply waits for its next attempt, and
// all of them for the end of a hold that has one, after a start: the clock may
// have been set back since they were written down.
const (
	maxWait = 5 * time.Minute
	maxHold = time.Hour
)

// trustFor is how long the server is taken to have our secret after it took a
// reply. It is short, so that one request alone finds out that it has another.
const trustFor = 10 * time.Second

var _ bridge.Outbox = (*Journal)(nil)

// Enqueue implements bridge.Outbox.
func (j *Journal) Enqueue(ctx context.Context, replies []bridge.Reply) ([]int64, error) {
	var ids []int64
	err := j.writer.submit(ctx, &op{
		done: make(chan error, 1),
		run: func(ctx context.Context, db *database) (err error) {
			ids, err = j.insertReplies(ctx, db, 0, replies)
			return err
		},
		after: func() { j.queueReplies(ids, replies) },
	})
	if err != nil {
		return nil, j.explain(err)
	}
	return ids, nil
}

// The forms of a reply, as in schema_3.sql.
const (
	formText = iota
	formReaction
	formReactionRemoved
)

func formOf(r bridge.Reply) int {
	switch {
	case r.Remove:
		return formReactionRemoved
	case r.Reaction != "":
		return formReaction
	default:
		return formText
	}
}

// insertReplies stores replies to a message of the inbox, or, with answers 0,
// to none.
func (j *Journal) insertReplies(ctx context.Context, db *database, answers int64, replies []bridge.Reply) ([]int64, error) {
	ids := make([]int64, 0, len(replies))
	now := millis(j.now())
	for _, r := range replies {
		body, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		_, id, err := db.exec(ctx, "INSERT INTO outbox (answers, room, queued, due, form, reply) VALUES (NULLIF(?, 0), ?, ?, ?, ?, ?)",
			answers, r.Room.Token, now, now, formOf(r), body)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// queueReplies makes stored replies due. It runs on the writer, so that the
// replies to a room are queued in the order in which they are stored.
func (j *Journal) queueReplies(ids []int64, replies []bridge.Reply) {
	for i, id := range ids {
		j.queueReply(replies[i].Room.Token, id, time.Time{})
	}
}

// queueReply adds a reply to the lanes, unless it is there already.
func (j *Journal) queueReply(room string, id int64, due time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.queued[id] {
		return
	}
	j.queued[id] = true
	j.outbox.add(room, id, struct{}{}, due)
}

// Due implements bridge.Outbox.
func (j *Journal) Due(ctx context.Context) (bridge.OutboxItem, error) {
	for {
		room, id, _, err := j.outbox.next(ctx)
		if err != nil {
			return bridge.OutboxItem{}, err
		}
		if messageID, ok := j.isPosted(id); ok {
			if err := j.Sent(ctx, id, messageID); err != nil {
				return bridge.OutboxItem{}, err
			}
			continue
		}
		item, err := j.reply(ctx, id)
		var unreadable *unreadableError
		switch {
		case errors.Is(err, sql.ErrNoRows): // another process has dealt with it
			j.doneOutbox(id)
		case errors.As(err, &unreadable):
			err = j.setAside(ctx, "outbox", id, replyGivenUp, unreadable)
			if j.doneOutbox(id); err != nil {
				return bridge.OutboxItem{}, j.explain(err)
			}
		case err != nil:
			j.outbox.giveBack(id, struct{}{}, time.Now().Add(time.Second))
			return bridge.OutboxItem{}, j.explain(err)
		default:
			if j.echoes.Load() {
				j.inbox.block(room)
			}
			return item, nil
		}
	}
}

// reply reads a waiting reply.
func (j *Journal) reply(ctx context.Context, id int64) (item bridge.OutboxItem, err error) {
	var body []byte
	var queued int64
	row := j.writer.current().readers.QueryRowContext(ctx, "SELECT queued, attempts, unclear + sending, reply FROM outbox WHERE id = ? AND state = 0", id)
	if err := row.Scan(&queued, &item.Attempts, &item.Unclear, &body); err != nil {
		return item, err
	}
	item.ID, item.QueuedAt = id, fromMillis(queued)
	if err := json.Unmarshal(body, &item.Reply); err != nil {
		return item, &unreadableError{err}
	}
	if room := &item.Reply.Room; room.Name == "" {
		if known, err := j.Room(ctx, room.Token); err == nil {
			*room = known
		}
	}
	return item, nil
}

// Begin implements bridge.Outbox.
func (j *Journal) Begin(ctx context.Context, id int64) error {
	if !j.outbox.begin(id) {
		j.outbox.giveBack(id, struct{}{}, time.Time{})
		return bridge.ErrNotNow
	}
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		// What began before and has no end is not known to have failed.
		_, _, err := db.exec(ctx, "UPDATE outbox SET unclear = unclear + sending, sending = 1, attempts = attempts + 1, tried = ? WHERE id = ?", millis(j.now()), id)
		return err
	})
	if err != nil {
		j.outbox.giveBack(id, struct{}{}, time.Now().Add(time.Second))
	}
	return j.explain(err)
}

// textlessReply is what is left of a reply without what was written.
const textlessReply = `CAST(json_remove(reply, '$.text') AS BLOB)`

// Sent implements bridge.Outbox.
func (j *Journal) Sent(ctx context.Context, id int64, messageID string) error {
	j.outbox.trust(id)
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		query := "UPDATE outbox SET state = ?, ended = ?, message = NULLIF(?, ''), sending = 0, failure = NULL"
		if !j.storeText.Load() {
			query += ", reply = " + textlessReply
		}
		var room, edits string
		if err := db.row(ctx, query+" WHERE id = ? RETURNING room, reply ->> '$.edits'", []any{replySent, millis(j.now()), messageID, id}, &room, &edits); err != nil {
			return err
		}
		if edits != "" && messageID != "" { // else it is a message of its own
			if _, _, err := db.exec(ctx, "DELETE FROM outbox WHERE room = ? AND message = ? AND reply ->> '$.ref' = ?", room, messageID, edits); err != nil {
				return err
			}
		}
		if messageID == "" {
			return nil
		}
		_, _, err := db.exec(ctx, "UPDATE inbox SET state = ? WHERE room = ? AND message = ? AND state IN (0, 1, 4)", messageOwn, room, messageID)
		return err
	})
	j.mu.Lock()
	if delete(j.posted, id); err != nil {
		j.posted[id] = messageID // it is written down later, and not sent again
	}
	j.mu.Unlock()
	return j.settle(id, err)
}

// Posted implements bridge.Outbox.
func (j *Journal) Posted(ctx context.Context, room, ref string) (messageID string, known bool, err error) {
	var id int64
	row := j.writer.current().readers.QueryRowContext(ctx,
		"SELECT id, COALESCE(message, '') FROM outbox WHERE room = ? AND reply ->> '$.ref' = ? ORDER BY id DESC LIMIT 1", room, ref)
	switch err := row.Scan(&id, &messageID); {
	case errors.Is(err, sql.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, j.explain(err)
	}
	if unwritten, ok := j.isPosted(id); ok {
		messageID = unwritten
	}
	return messageID, true, nil
}

// ReplyAt implements bridge.Outbox.
func (j *Journal) ReplyAt(ctx context.Context, room, messageID string) (r bridge.Reply, found bool, err error) {
	var body []byte
	row := j.writer.current().readers.QueryRowContext(ctx,
		"SELECT reply FROM outbox WHERE room = ? AND message = ? AND reply IS NOT NULL ORDER BY id DESC LIMIT 1", room, messageID)
	switch err := row.Scan(&body); {
	case errors.Is(err, sql.ErrNoRows):
		return r, false, nil
	case err != nil:
		return r, false, j.explain(err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, false, j.explain(&unreadableError{err})
	}
	return r, true, nil
}

// Settle implements bridge.Outbox.
func (j *Journal) Settle(ctx context.Context, room, messageID string) (was bool, err error) {
	err = j.writer.do(ctx, func(ctx context.Context, db *database) error {
		n, _, err := db.exec(ctx, `UPDATE outbox SET reply = CAST(json_remove(reply, '$.call', '$.choices') AS BLOB)
			WHERE room = ? AND message = ? AND reply ->> '$.call' IS NOT NULL`, room, messageID)
		was = n > 0
		return err
	})
	return was, j.explain(err)
}

// Waits returns the replies that are not sent and not given up.
func (j *Journal) Waits(ctx context.Context) (all []bridge.Reply, err error) {
	err = j.writer.current().each(ctx, "SELECT reply FROM outbox WHERE state = 0", func(scan scanner) error {
		var body []byte
		if err := scan(&body); err != nil {
			return err
		}
		var r bridge.Reply
		_ = json.Unmarshal(body, &r) // it will be set aside
		all = append(all, r)
		return nil
	})
	return all, j.explain(err)
}

// isPosted reports whether a reply was sent, as messageID, which could not be
// written down.
func (j *Journal) isPosted(id int64) (messageID string, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	messageID, ok = j.posted[id]
	return messageID, ok
}

// GiveUp implements bridge.Outbox.
func (j *Journal) GiveUp(ctx context.Context, id int64, cause error) error {
	failure, err := failureJSON(bridge.FailureOf(cause))
	if err == nil {
		err = j.writer.do(ctx, func(ctx context.Context, db *database) error {
			query := "UPDATE outbox SET state = ?, ended = ?, sending = 0, failure = ?"
			if !j.storeText.Load() {
				query += ", reply = " + textlessReply
			}
			_, _, err := db.exec(ctx, query+" WHERE id = ?", replyGivenUp, millis(j.now()), failure, id)
			return err
		})
	}
	return j.settle(id, err)
}

// settle ends a reply after its fate was written.
func (j *Journal) settle(id int64, err error) error {
	if err != nil {
		j.outbox.giveBack(id, struct{}{}, time.Now().Add(time.Second))
		return j.explain(err)
	}
	j.doneOutbox(id)
	return nil
}

// Retry implements bridge.Outbox.
func (j *Journal) Retry(ctx context.Context, id int64, at time.Time, unclear bool, cause error) error {
	err := j.postpone(ctx, id, at, unclear, cause, nil)
	j.outbox.giveBack(id, struct{}{}, at)
	return err
}

// Hold implements bridge.Outbox.
func (j *Journal) Hold(ctx context.Context, id int64, until time.Time, cause error) error {
	j.outbox.pause()
	j.outbox.distrust()
	err := j.postpone(ctx, id, j.now(), false, cause, func(ctx context.Context, db *database) error {
		return db.setMeta(ctx, "hold", strconv.FormatInt(holdMillis(until), 10))
	})
	j.outbox.giveBack(id, struct{}{}, time.Time{})
	j.resumeAt(until)
	return err
}

// postpone writes down a failed attempt.
func (j *Journal) postpone(ctx context.Context, id int64, at time.Time, unclear bool, cause error, also change) error {
	failure, err := failureJSON(bridge.FailureOf(cause))
	if err != nil {
		return err
	}
	var room string
	var unclears int64
	err = j.writer.do(ctx, func(ctx context.Context, db *database) error {
		err := db.row(ctx, `UPDATE outbox SET due = ?, tried = CASE WHEN sending THEN tried ELSE ? END, attempts = attempts + 1 - sending, sending = 0,
			unclear = unclear + ?, failure = ? WHERE id = ? RETURNING room, unclear`,
			[]any{millis(at), millis(j.now()), unclear, failure, id}, &room, &unclears)
		if err != nil || also == nil {
			return err
		}
		return also(ctx, db)
	})
	if err == nil && unclears == 0 {
		j.inbox.unblock(room)
	}
	return j.explain(err)
}

// Resume implements bridge.Outbox.
func (j *Journal) Resume(ctx context.Context) error {
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		if _, _, err := db.exec(ctx, "UPDATE outbox SET failure = NULL WHERE state = 0 AND failure IS NOT NULL"); err != nil {
			return err // the next attempt says whether it still holds
		}
		return db.setMeta(ctx, "hold", "")
	})
	if err != nil {
		return j.explain(err)
	}
	j.outbox.distrust()
	j.outbox.resume(true)
	return nil
}

// HeldUntil reports whether the outbox is held, and until when; the zero time
// means until Resume.
func (j *Journal) HeldUntil(ctx context.Context) (until time.Time, held bool, err error) {
	value, err := j.writer.current().meta(ctx, "hold")
	if err != nil || value == "" {
		return time.Time{}, false, j.explain(err)
	}
	until = parseHold(value)
	return until, until.IsZero() || j.now().Before(until), nil
}

// loadOutbox queues every waiting reply that is not queued yet.
func (j *Journal) loadOutbox(ctx context.Context, db *database) error {
	return db.all(ctx, "SELECT id, room, due FROM outbox WHERE state = 0 ORDER BY id", nil, func(scan scanner) error {
		var id, due int64
		var room string
		if err := scan(&id, &room, &due); err != nil {
			return err
		}
		j.queueReply(room, id, j.dueAt(due))
		return nil
	})
}

// dueAt returns when a stored reply is due: not later than it can have been
// meant, since the clock may have been set back.
func (j *Journal) dueAt(due int64) time.Time {
	at, latest := fromMillis(due), j.now().Add(maxWait)
	if at.After(latest) {
		return latest
	}
	return at
}

func (j *Journal) loadHold(ctx context.Context, db *database) (err error) {
	value, err := db.getMeta(ctx, "hold")
	if err != nil || value == "" {
		return err
	}
	j.outbox.pause()
	until := parseHold(value)
	if latest := j.now().Add(maxHold); until.After(latest) {
		until = latest
	}
	j.resumeAt(until)
	return nil
}

// resumeAt ends a hold at the given time; the zero time never comes.
func (j *Journal) resumeAt(until time.Time) {
	if until.IsZero() {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.holdTimer != nil {
		j.holdTimer.Stop()
	}
	j.holdTimer = time.AfterFunc(until.Sub(j.now()), func() { j.outbox.resume(false) })
}

func (j *Journal) doneOutbox(id int64) {
	j.mu.Lock()
	delete(j.queued, id)
	j.mu.Unlock()
	if room, ok := j.outbox.done(id); ok {
		j.inbox.unblock(room)
	}
}

func holdMillis(until time.Time) int64 {
	if until.IsZero() {
		return 0
	}
	return millis(until)
}

func parseHold(value string) time.Time {
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms == 0 {
		return time.Time{}
	}
	return fromMillis(ms)
}
