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

// The states of a reply.
const (
	replyWaiting = 0
	replySent    = 1
	replyGivenUp = 2
)

var _ bridge.Outbox = (*Journal)(nil)

// Enqueue implements bridge.Outbox.
func (j *Journal) Enqueue(ctx context.Context, replies []bridge.Reply) ([]int64, error) {
	var ids []int64
	err := j.writer.do(ctx, func(ctx context.Context, db *database) (err error) {
		ids, err = j.insertReplies(ctx, db, 0, replies)
		return err
	})
	if err != nil {
		return nil, j.explain(err)
	}
	j.queueReplies(ids, replies)
	return ids, nil
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
		res, err := db.conn.ExecContext(ctx,
			"INSERT INTO outbox (answers, room, queued, due, reply) VALUES (NULLIF(?, 0), ?, ?, ?, ?)",
			answers, r.Room.Token, now, now, body)
		if err != nil {
			return nil, err
		}
		id, err := res.LastInsertId()
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// queueReplies makes stored replies due.
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
		item, err := j.reply(ctx, id)
		switch {
		case errors.Is(err, sql.ErrNoRows): // another process has dealt with it
			j.doneOutbox(id)
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
	row := j.writer.current().readers.QueryRowContext(ctx, "SELECT queued, attempts, unclear, reply FROM outbox WHERE id = ? AND state = 0", id)
	if err := row.Scan(&queued, &item.Attempts, &item.Unclear, &body); err != nil {
		return item, err
	}
	item.ID, item.QueuedAt = id, fromMillis(queued)
	return item, json.Unmarshal(body, &item.Reply)
}

// Sent implements bridge.Outbox.
func (j *Journal) Sent(ctx context.Context, id int64, messageID string) error {
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		query := "UPDATE outbox SET state = ?, message = NULLIF(?, ''), unclear = 0, cause = NULL WHERE id = ? RETURNING room"
		if !j.storeText.Load() {
			query = "UPDATE outbox SET state = ?, message = NULLIF(?, ''), unclear = 0, cause = NULL, reply = NULL WHERE id = ? RETURNING room"
		}
		var room string
		if err := db.conn.QueryRowContext(ctx, query, replySent, messageID, id).Scan(&room); err != nil {
			return err
		}
		if messageID == "" {
			return nil
		}
		_, err := db.conn.ExecContext(ctx, "UPDATE inbox SET state = ? WHERE room = ? AND message = ? AND state IN (0, 1)", messageOurs, room, messageID)
		return err
	})
	if err == nil {
		j.outbox.restrict(0)
	}
	return j.settle(id, err)
}

// GiveUp implements bridge.Outbox.
func (j *Journal) GiveUp(ctx context.Context, id int64, cause error) error {
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		query := "UPDATE outbox SET state = ?, unclear = 0, cause = ? WHERE id = ?"
		if !j.storeText.Load() {
			query = "UPDATE outbox SET state = ?, unclear = 0, cause = ?, reply = NULL WHERE id = ?"
		}
		_, err := db.conn.ExecContext(ctx, query, replyGivenUp, cause.Error(), id)
		return err
	})
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
	j.outbox.restrict(1)
	err := j.postpone(ctx, id, j.now(), false, cause, func(ctx context.Context, db *database) error {
		return db.setMeta(ctx, "hold", strconv.FormatInt(holdMillis(until), 10))
	})
	j.outbox.giveBack(id, struct{}{}, time.Time{})
	j.resumeAt(until)
	return err
}

// postpone writes down a failed attempt.
func (j *Journal) postpone(ctx context.Context, id int64, at time.Time, unclear bool, cause error, also func(ctx context.Context, db *database) error) error {
	var room string
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		row := db.conn.QueryRowContext(ctx, `UPDATE outbox SET due = ?, attempts = attempts + 1, unclear = unclear OR ?, cause = ?
			WHERE id = ? RETURNING room, unclear`, millis(at), unclear, cause.Error(), id)
		if err := row.Scan(&room, &unclear); err != nil || also == nil {
			return err
		}
		return also(ctx, db)
	})
	if err == nil && !unclear {
		j.inbox.unblock(room)
	}
	return j.explain(err)
}

// Resume implements bridge.Outbox.
func (j *Journal) Resume(ctx context.Context) error {
	resumed := j.now().Format(time.RFC3339Nano)
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		j.resumed = resumed
		if err := db.setMeta(ctx, "resumed", resumed); err != nil {
			return err
		}
		return db.setMeta(ctx, "hold", "")
	})
	if err != nil {
		return j.explain(err)
	}
	j.outbox.restrict(1)
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

// Outcome is what became of a reply so far.
type Outcome struct {
	Sent    bool
	GivenUp bool
	Held    bool   // it waits for Resume, with all others
	Cause   string // of the last failure, if there was one
}

// Outcome tells what became of the reply with this id.
func (j *Journal) Outcome(ctx context.Context, id int64) (o Outcome, err error) {
	_, held, err := j.HeldUntil(ctx) // before the reply, so that the cause of a hold is not missed
	if err != nil {
		return o, err
	}
	var state int
	var cause sql.NullString
	row := j.writer.current().readers.QueryRowContext(ctx, "SELECT state, cause FROM outbox WHERE id = ?", id)
	if err := row.Scan(&state, &cause); err != nil {
		return o, j.explain(err)
	}
	return Outcome{
		Sent: state == replySent, GivenUp: state == replyGivenUp,
		Held: held && state == replyWaiting, Cause: cause.String,
	}, nil
}

// loadOutbox queues every waiting reply that is not queued yet.
func (j *Journal) loadOutbox(ctx context.Context, db *database) error {
	return db.each(ctx, "SELECT id, room, due FROM outbox WHERE state = 0 ORDER BY id", func(scan scanner) error {
		var id, due int64
		var room string
		if err := scan(&id, &room, &due); err != nil {
			return err
		}
		j.queueReply(room, id, fromMillis(due))
		return nil
	})
}

func (j *Journal) loadHold(ctx context.Context, db *database) (err error) {
	if j.resumed, err = db.meta(ctx, "resumed"); err != nil {
		return err
	}
	value, err := db.meta(ctx, "hold")
	if err != nil || value == "" {
		return err
	}
	j.outbox.pause()
	j.resumeAt(parseHold(value))
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
