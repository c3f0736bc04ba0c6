package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
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

// Traffic is what came and went last.
type Traffic struct {
	In      time.Time    // when the last message came; zero: none
	Room    bridge.Room  // the conversation that it came from; its name can be empty
	Out     time.Time    // when the last reply was sent; zero: none
	Failure bridge.Event // the last warning or error of a webhook, handler or reply; its Time is zero if there is none
	Waiting int          // replies that are not sent yet
}

// Traffic returns what came and went last, as far as it is kept.
func (j *Journal) Traffic(ctx context.Context) (t Traffic, err error) {
	readers := j.writer.current().readers
	var in, out int64
	var failure []byte
	for _, read := range []func() error{
		func() error {
			return readers.QueryRowContext(ctx, "SELECT received, room FROM inbox ORDER BY id DESC LIMIT 1").Scan(&in, &t.Room.Token)
		},
		func() (err error) {
			t.Room, err = j.room(ctx, t.Room.Token)
			return err
		},
		func() error {
			return readers.QueryRowContext(ctx, `SELECT time FROM event WHERE level = 0 AND body ->> '$.stage' = 'sender'
				AND body ->> '$.title.format' = 'Reply sent' ORDER BY id DESC LIMIT 1`).Scan(&out)
		},
		func() error {
			return readers.QueryRowContext(ctx, `SELECT body FROM event WHERE level >= 4
				AND body ->> '$.stage' IN ('webhook', 'handler', 'sender') ORDER BY id DESC LIMIT 1`).Scan(&failure)
		},
		func() error {
			return readers.QueryRowContext(ctx, "SELECT count(*) FROM outbox WHERE state = 0").Scan(&t.Waiting)
		},
	} {
		if err := read(); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return t, j.explain(err)
		}
	}
	if in != 0 {
		t.In = fromMillis(in)
	}
	if out != 0 {
		t.Out = fromMillis(out)
	}
	if failure != nil {
		err = json.Unmarshal(failure, &t.Failure)
	}
	return t, err
}

// Room returns the conversation with this token, with its name if that is known.
func (j *Journal) Room(ctx context.Context, token string) (bridge.Room, error) {
	room, err := j.room(ctx, token)
	return room, j.explain(err)
}

func (j *Journal) room(ctx context.Context, token string) (bridge.Room, error) {
	var name sql.NullString
	err := j.writer.current().readers.QueryRowContext(ctx,
		"SELECT body ->> '$.room.name' FROM event WHERE room = ? ORDER BY id DESC LIMIT 1", token).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return bridge.Room{Token: token, Name: name.String}, err
}

// Rooms returns the conversations that messages came from, as far as they are
// kept, and their names as far as those are known.
func (j *Journal) Rooms(ctx context.Context) (rooms []bridge.Room, err error) {
	var tokens []string
	err = j.writer.current().each(ctx, "SELECT DISTINCT room FROM inbox ORDER BY room LIMIT 100", func(scan scanner) error {
		var token string
		err := scan(&token)
		tokens = append(tokens, token)
		return err
	})
	for _, token := range tokens {
		room, roomErr := j.room(ctx, token)
		rooms, err = append(rooms, room), errors.Join(err, roomErr)
	}
	return rooms, j.explain(err)
}

// Heard is a conversation that messages came from.
type Heard struct {
	Room  bridge.Room
	Last  time.Time // when the last of its messages came; zero: it is not kept
	After string    // id of a message; what was written since Since has a higher one
	Since time.Time // the time that was asked for, or when a damaged journal was replaced, if that was later
}

const heard = `SELECT room, max(received), COALESCE(max(CASE WHEN received < ?2 THEN message END), min(message)) FROM (
		SELECT room, received, CAST(message AS INTEGER) AS message FROM inbox JOIN server ON server.id = inbox.server WHERE url = ?1` + isNumber + `
		UNION ALL
		SELECT room, 0, message FROM seen JOIN server ON server.id = seen.server WHERE url = ?1)
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
		err := scan(&h.Room.Token, &last, &h.After)
		if last != 0 {
			h.Last = fromMillis(last)
		}
		all = append(all, h)
		return err
	}, server, millis(since), most)
	for i := range all {
		var roomErr error
		all[i].Room, roomErr = j.room(ctx, all[i].Room.Token)
		err = errors.Join(err, roomErr)
	}
	return all, j.explain(err)
}

const known = `SELECT value FROM json_each(?3) WHERE
	EXISTS (SELECT 1 FROM inbox WHERE server = ?1 AND room = ?2 AND message = value)
	OR EXISTS (SELECT 1 FROM outbox WHERE room = ?2 AND message = value)
	OR value IN (SELECT body ->> '$.message_id' FROM event WHERE room = ?2 AND body ->> '$.stage' = 'intake')`

// Unknown returns those of messages, which are of one room, that are news: they
// are not stored and were not removed by Prune, no reply was posted as one of
// them, and no event tells why one was turned away.
func (j *Journal) Unknown(ctx context.Context, messages []bridge.Message) ([]bridge.Message, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.Key.ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	here := messages[0].Key
	server, err := j.server(ctx, here.Server)
	if err != nil {
		return nil, j.explain(err)
	}
	old := map[string]bool{}
	err = j.writer.current().each(ctx, known, func(scan scanner) error {
		var id string
		err := scan(&id)
		old[id] = true
		return err
	}, server, here.Room, string(list))
	return slices.DeleteFunc(slices.Clone(messages), func(m bridge.Message) bool {
		return old[m.Key.ID] || j.isPruned(server, m.Key)
	}), j.explain(err)
}
