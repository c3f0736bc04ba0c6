package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
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
