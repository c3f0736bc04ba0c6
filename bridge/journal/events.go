package journal

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"perch/bridge"
)

const putEvent = "INSERT INTO event (time, level, room, body) VALUES (?, ?, ?, ?)"

// Record stores events and returns when they are on disk. Texts of messages
// are left out if they are not kept.
func (j *Journal) Record(ctx context.Context, events []bridge.Event) error {
	done, err := j.writer.soon(ctx, func(ctx context.Context, db *database) error {
		for _, e := range events {
			if !j.storeText.Load() {
				e.Text = ""
			}
			body, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if _, err := db.putEvent.ExecContext(ctx, millis(e.Time), int(e.Level), e.Room.Token, body); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = j.writer.wait(done)
	}
	return j.explain(err)
}

// Filter chooses events.
type Filter struct {
	After int64      // only those with a higher id
	Level slog.Level // only those of at least this level
	Room  string     // only those of the room with this token or name; empty: all
	Limit int        // only the newest so many; 0: 1000
}

// Events returns stored events, oldest first.
func (j *Journal) Events(ctx context.Context, f Filter) ([]bridge.Event, error) {
	if f.Limit == 0 {
		f.Limit = 1000
	}
	var events []bridge.Event
	err := j.writer.current().each(ctx, `SELECT id, body FROM event
		WHERE id > ? AND level >= ? AND (? = '' OR room = ? OR body ->> '$.room.name' = ?) ORDER BY id DESC LIMIT ?`,
		func(scan scanner) error {
			var id int64
			var body []byte
			if err := scan(&id, &body); err != nil {
				return err
			}
			var e bridge.Event
			if err := json.Unmarshal(body, &e); err != nil {
				return err
			}
			e.ID = id
			events = append(events, e)
			return nil
		}, f.After, int(f.Level), f.Room, f.Room, f.Room, f.Limit)
	slices.Reverse(events)
	return events, j.explain(err)
}

// ClearEvents removes all stored events; messages and replies stay. The ids of
// later events go on from the highest one.
func (j *Journal) ClearEvents(ctx context.Context) error {
	return j.explain(j.writer.do(ctx, func(ctx context.Context, db *database) error {
		// The newest stays, because its id tells where to go on.
		_, err := db.conn.ExecContext(ctx, "DELETE FROM event WHERE id < (SELECT max(id) FROM event)")
		return err
	}))
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
				r, err := db.conn.ExecContext(ctx, query, millis(before), pruneChunk)
				if err != nil {
					return err
				}
				n, err = r.RowsAffected()
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
	if _, err := db.conn.ExecContext(ctx, `INSERT INTO seen SELECT server, room, max(CAST(message AS INTEGER)) FROM inbox
		WHERE id IN (`+oldMessages+isNumber+` ORDER BY id LIMIT ?2) GROUP BY server, room
		ON CONFLICT DO UPDATE SET message = max(message, excluded.message)`, millis(before), pruneChunk); err != nil {
		return err
	}
	return j.loadSeen(ctx, db)
}

func (j *Journal) loadSeen(ctx context.Context, db *database) error {
	rows, err := db.conn.QueryContext(ctx, "SELECT server, room, message FROM seen")
	if err != nil {
		return err
	}
	defer rows.Close()
	seen := make(map[serverRoom]int64)
	for rows.Next() {
		var key serverRoom
		var id int64
		if err := rows.Scan(&key.server, &key.room, &id); err != nil {
			return err
		}
		seen[key] = id
	}
	j.mu.Lock()
	j.seen = seen
	j.mu.Unlock()
	return rows.Err()
}
