package journal

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"perch/bridge"
)

// Note remembers a value by its name, also for other processes.
func (j *Journal) Note(ctx context.Context, name, value string) error {
	return j.explain(j.writer.do(ctx, func(ctx context.Context, db *database) error {
		return db.setMeta(ctx, "note "+name, value)
	}))
}

// Noted returns what was remembered by that name; empty if nothing was.
func (j *Journal) Noted(ctx context.Context, name string) (string, error) {
	value, err := j.writer.current().meta(ctx, "note "+name)
	return value, j.explain(err)
}

// Heard is a conversation that messages came from.
type Heard struct {
	Room  bridge.Room
	Last  time.Time // when the last of its messages came; zero: it is not kept
	After string    // id of a message; what was written since Since has a higher one
	Since time.Time // the time that was asked for, or when a damaged journal was replaced, if that was later
}

const heard = `SELECT room, COALESCE((SELECT name FROM room AS r WHERE token = all_of.room), ''), max(received), COALESCE(max(CASE WHEN received < ?2 THEN message END), min(message)) FROM (
		SELECT room, received, CAST(message AS INTEGER) AS message FROM inbox JOIN server ON server.id = inbox.server WHERE url = ?1` + isNumber + `
		UNION ALL
		SELECT room, 0, message FROM seen JOIN server ON server.id = seen.server WHERE url = ?1) AS all_of
	GROUP BY room ORDER BY max(received) DESC, room LIMIT ?3`

// Heard returns the conversations of a server that messages came from, at most
// so many, those with the latest messages first, and where in them to look for
// what was written since the given time.
func (j *Journal) Heard(ctx context.Context, server string, since time.Time, most int) (all []Heard, err error) {
	db := j.writer.current()
	begun, err := db.meta(ctx, metaBegun)
	if err != nil {
		return nil, j.explain(err)
	}
	from := since
	if ms, err := strconv.ParseInt(begun, 10, 64); err == nil && fromMillis(ms).After(since) {
		from = fromMillis(ms)
	}
	err = db.each(ctx, heard, func(scan scanner) error {
		h := Heard{Since: from}
		var last int64
		err := scan(&h.Room.Token, &h.Room.Name, &last, &h.After)
		if last != 0 {
			h.Last = fromMillis(last)
		}
		all = append(all, h)
		return err
	}, server, millis(since), most)
	return all, j.explain(err)
}

// Of a reply that is just being sent only the reference is known.
const known = `WITH fetched AS (SELECT value ->> 0 AS id, value ->> 1 AS ref FROM json_each(?3))
	SELECT id FROM fetched WHERE
	EXISTS (SELECT 1 FROM inbox JOIN server ON server.id = inbox.server WHERE url = ?1 AND room = ?2 AND message = fetched.id)
	OR EXISTS (SELECT 1 FROM seen JOIN server ON server.id = seen.server WHERE url = ?1 AND room = ?2 AND message >= CAST(fetched.id AS INTEGER))
	OR EXISTS (SELECT 1 FROM outbox WHERE room = ?2 AND message = fetched.id)
	OR ref <> '' AND ref IN (SELECT reply ->> '$.ref' FROM outbox WHERE room = ?2 AND state <> 1 AND reply IS NOT NULL)`

// Unknown returns those of messages, which are of one room, that are news: they
// are not stored, whatever became of them, were not removed by Prune, and are
// not replies of ours.
func (j *Journal) Unknown(ctx context.Context, messages []bridge.Message) ([]bridge.Message, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	fetched := make([][2]string, len(messages))
	for i, m := range messages {
		fetched[i] = [2]string{m.Key.ID, m.Ref}
	}
	list, err := json.Marshal(fetched)
	if err != nil {
		return nil, err
	}
	here := messages[0].Key
	old := map[string]bool{}
	err = j.writer.current().each(ctx, known, func(scan scanner) error {
		var id string
		err := scan(&id)
		old[id] = true
		return err
	}, here.Server, here.Room, string(list))
	return slices.DeleteFunc(slices.Clone(messages), func(m bridge.Message) bool { return old[m.Key.ID] }), j.explain(err)
}
