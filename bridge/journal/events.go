package journal

import (
	"context"
	"encoding/json"
	"time"

	"perch/bridge"
)

// Record stores events and returns when they are on disk. Texts of messages
// are left out if they are not kept.
func (j *Journal) Record(ctx context.Context, events []bridge.Event) error {
	o := &op{done: make(chan error, 1), run: func(ctx context.Context, db *database) error {
		for _, e := range events {
			if !j.storeText.Load() {
				e.Text = ""
			}
			body, err := json.Marshal(e)
			if err != nil {
				return err
			}
			_, _, err = db.exec(ctx, "INSERT INTO event (time, level, room, kind, body) VALUES (?, ?, ?, ?, ?)",
				millis(e.Time), int64(e.Level), e.Room.Token, string(e.Kind), body)
			if err != nil {
				return err
			}
		}
		return nil
	}}
	err := j.writer.soon(ctx, o)
	if err == nil {
		err = j.writer.wait(o.done)
	}
	return j.explain(err)
}

// pruneChunk bounds what one transaction of Prune removes, so that webhooks
// do not wait for it.
const pruneChunk = 500

// The rows from before ?1, found by going up the ids to the first newer one.
const (
	oldEvents   = "SELECT id FROM event WHERE id < COALESCE((SELECT id FROM event WHERE time >= ?1 ORDER BY id LIMIT 1), 1 << 62)"
	oldReplies  = "SELECT id FROM outbox WHERE state <> 0 AND id < COALESCE((SELECT id FROM outbox WHERE queued >= ?1 ORDER BY id LIMIT 1), 1 << 62)"
	oldMessages = "SELECT id FROM inbox WHERE state <> 0 AND id < COALESCE((SELECT id FROM inbox WHERE received >= ?1 ORDER BY id LIMIT 1), 1 << 62)"
	isNumber    = " AND message NOT GLOB '*[^0-9]*'"
)

// Prune removes events, handled messages, replies that are done with and what a
// language model remembers, all from before the given time. That a removed
// message was seen stays known.
func (j *Journal) Prune(ctx context.Context, before time.Time) error {
	j.volatile.drop(func(e exchange) bool { return e.asked.Time.Before(before) })
	for _, query := range []string{
		"DELETE FROM event WHERE id IN (" + oldEvents + " LIMIT ?2)",
		"DELETE FROM exchange WHERE id IN (SELECT id FROM exchange WHERE received < ?1 LIMIT ?2)",
		"DELETE FROM outbox WHERE id IN (" + oldReplies + " LIMIT ?2)",
		// A message without a number cannot be remembered by the highest one: its row stays, empty.
		"UPDATE inbox SET body = NULL WHERE id IN (" + oldMessages + " AND body IS NOT NULL AND message GLOB '*[^0-9]*' LIMIT ?2)",
		"DELETE FROM inbox WHERE id IN (" + oldMessages + isNumber + " ORDER BY id LIMIT ?2)",
	} {
		for n := int64(pruneChunk); n == pruneChunk; {
			err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
				if err := j.markSeen(ctx, db, before); err != nil {
					return err
				}
				var err error
				n, _, err = db.exec(ctx, query, millis(before), pruneChunk)
				return err
			})
			if err != nil {
				return j.explain(err)
			}
		}
	}
	return nil
}

// markSeen keeps the highest id of the messages that Prune removes next.
func (j *Journal) markSeen(ctx context.Context, db *database, before time.Time) error {
	if _, _, err := db.exec(ctx, `INSERT INTO seen SELECT server, room, max(CAST(message AS INTEGER)) FROM inbox
		WHERE id IN (`+oldMessages+isNumber+` ORDER BY id LIMIT ?2) GROUP BY server, room
		ON CONFLICT DO UPDATE SET message = max(message, excluded.message)`, millis(before), pruneChunk); err != nil {
		return err
	}
	return j.loadSeen(ctx, db)
}

func (j *Journal) loadSeen(ctx context.Context, db *database) error {
	j.seen = make(map[serverRoom]int64)
	return db.all(ctx, "SELECT server, room, message FROM seen", nil, func(scan scanner) error {
		var key serverRoom
		var id int64
		err := scan(&key.server, &key.room, &id)
		j.seen[key] = id
		return err
	})
}
