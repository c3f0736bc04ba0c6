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

// The states of a message.
const (
	messageWaiting = 0
	messageHandled = 1
	messageFailed  = 2
	messageOurs    = 3
)

// maxCached bounds the messages kept in memory between Put and Claim; beyond
// it they are read from the file again. maxCachedText bounds the text of each.
const (
	maxCached     = 256
	maxCachedText = 4096
)

const finishMessage = "UPDATE inbox SET state = ?, cause = ?, body = CASE WHEN ? THEN body END WHERE id = ?"

const putMessage = `INSERT INTO inbox (server, room, message, nonce, received, state, body)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

var _ bridge.Inbox = (*Journal)(nil)

// Put implements bridge.Inbox.
func (j *Journal) Put(ctx context.Context, m bridge.Message) (fresh bool, err error) {
	return j.put(ctx, &m, messageWaiting)
}

// Keep stores m as Put does, but as handled: no handler is asked, and it does
// not stand in the way of the next message of its room.
func (j *Journal) Keep(ctx context.Context, m bridge.Message) (fresh bool, err error) {
	return j.put(ctx, &m, messageHandled)
}

func (j *Journal) put(ctx context.Context, m *bridge.Message, state int) (fresh bool, err error) {
	var body []byte
	if state == messageWaiting || j.storeText.Load() {
		if body, err = json.Marshal(m); err != nil {
			return false, err
		}
	}
	server, err := j.server(ctx, m.Key.Server)
	if err != nil {
		return false, j.explain(err)
	}
	nonce := sql.NullInt64{Int64: hashNonce(m.Nonce), Valid: m.Nonce != ""}
	key := hashKey(m.Key)
	var id int64
	put := func(ctx context.Context, db *database) error {
		if fresh = false; j.isPruned(server, m.Key) || nonce.Valid && j.nonces.usedBy(nonce.Int64, key) {
			return nil
		}
		if j.echoes.Load() {
			ours, err := db.isOurs(ctx, m.Key)
			if err != nil {
				return err
			}
			if ours {
				state = messageOurs
			}
		}
		r, err := db.putMessage.ExecContext(ctx, server, m.Key.Room, m.Key.ID, nonce, millis(m.ReceivedAt), state, body)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		if err != nil || n == 0 {
			return err
		}
		if fresh = true; nonce.Valid {
			j.nonces.add(nonce.Int64, key)
		}
		id, err = r.LastInsertId()
		return err
	}
	o := &op{run: put, bare: !j.echoes.Load(), done: make(chan error, 1)}
	if err := j.writer.submit(ctx, o); err != nil {
		return false, j.explain(err)
	}
	switch {
	case fresh && state == messageWaiting:
		j.inbox.add(m.Key.Room, id, j.cache(m), time.Time{})
	case fresh && id%advanceEvery == 0:
		_, _ = j.writer.soon(ctx, func(ctx context.Context, db *database) error { return db.advance(ctx) }) // else a later one does
	}
	return fresh, nil
}

// isOurs reports whether a reply of ours was posted as this message.
func (db *database) isOurs(ctx context.Context, key bridge.Key) (bool, error) {
	var one int
	err := db.conn.QueryRowContext(ctx, "SELECT 1 FROM outbox WHERE room = ? AND message = ?", key.Room, key.ID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Waiting returns how many messages of a room are not done with, the one that
// is being handled included.
func (j *Journal) Waiting(room string) int { return j.inbox.length(room) }

// Claim implements bridge.Inbox.
func (j *Journal) Claim(ctx context.Context) (bridge.InboxItem, error) {
	for {
		_, id, cached, err := j.inbox.next(ctx)
		if err != nil {
			return bridge.InboxItem{}, err
		}
		if cached != nil && !j.echoes.Load() {
			return bridge.InboxItem{ID: id, Message: *cached}, nil
		}
		m, err := j.message(ctx, id)
		switch {
		case errors.Is(err, sql.ErrNoRows): // our own reply, as Sent found out
			j.inbox.done(id)
		case err != nil:
			j.inbox.giveBack(id, cached, time.Now().Add(time.Second))
			return bridge.InboxItem{}, j.explain(err)
		default:
			return bridge.InboxItem{ID: id, Message: m}, nil
		}
	}
}

// message reads a waiting message.
func (j *Journal) message(ctx context.Context, id int64) (m bridge.Message, err error) {
	var body []byte
	row := j.writer.current().readers.QueryRowContext(ctx, "SELECT body FROM inbox WHERE id = ? AND state = 0", id)
	if err := row.Scan(&body); err != nil {
		return m, err
	}
	return m, json.Unmarshal(body, &m)
}

// Finish implements bridge.Inbox.
func (j *Journal) Finish(ctx context.Context, id int64, replies []bridge.Reply, cause error) error {
	state, why := messageHandled, any(nil)
	if cause != nil {
		state, why = messageFailed, cause.Error()
	}
	finish := func(ctx context.Context, db *database) error {
		_, err := db.finish.ExecContext(ctx, state, why, j.storeText.Load(), id)
		if err == nil && id%advanceEvery == 0 {
			err = db.advance(ctx)
		}
		return err
	}
	var queued []int64
	var err error
	if len(replies) > 0 {
		err = j.writer.do(ctx, func(ctx context.Context, db *database) error {
			if err := finish(ctx, db); err != nil {
				return err
			}
			var err error
			queued, err = j.insertReplies(ctx, db, id, replies)
			return err
		})
	} else { // if this is lost in a crash, the message is handled again, and nothing is said twice
		_, err = j.writer.soon(ctx, finish)
	}
	if err != nil {
		return j.explain(err)
	}
	j.queueReplies(queued, replies)
	j.inbox.done(id)
	return nil
}

// advanceEvery is after how many messages it is noted where the waiting ones begin.
const advanceEvery = 512

// waitingFrom returns an id below which no message waits.
func (db *database) waitingFrom(ctx context.Context) (int64, error) {
	value, err := db.meta(ctx, "waiting")
	if err != nil || value == "" {
		return 0, err
	}
	return strconv.ParseInt(value, 10, 64)
}

// advance notes below which id no message waits.
func (db *database) advance(ctx context.Context) error {
	from, err := db.waitingFrom(ctx)
	if err != nil {
		return err
	}
	row := db.conn.QueryRowContext(ctx, `SELECT COALESCE(
		(SELECT id FROM inbox WHERE id >= ? AND state = 0 ORDER BY id LIMIT 1), (SELECT max(id) + 1 FROM inbox), 0)`, from)
	if err := row.Scan(&from); err != nil {
		return err
	}
	return db.setMeta(ctx, "waiting", strconv.FormatInt(from, 10))
}

// Release implements bridge.Inbox.
func (j *Journal) Release(id int64, notBefore time.Time) { j.inbox.giveBack(id, nil, notBefore) }

// cache returns m if it may be kept in memory until it is claimed, else nil.
func (j *Journal) cache(m *bridge.Message) *bridge.Message {
	if len(m.Text) > maxCachedText || m.InReplyTo != nil || m.Webhook != nil || j.inbox.count() > maxCached {
		return nil
	}
	return m
}

// server returns the number that stands for a server's URL in the file.
func (j *Journal) server(ctx context.Context, url string) (int64, error) {
	j.mu.Lock()
	id, ok := j.servers[url]
	j.mu.Unlock()
	if ok {
		return id, nil
	}
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		if _, err := db.conn.ExecContext(ctx, "INSERT INTO server (url) VALUES (?) ON CONFLICT DO NOTHING", url); err != nil {
			return err
		}
		return db.conn.QueryRowContext(ctx, "SELECT id FROM server WHERE url = ?", url).Scan(&id)
	})
	if err == nil {
		j.mu.Lock()
		j.servers[url] = id
		j.mu.Unlock()
	}
	return id, err
}

// isPruned reports whether retention removed a message with this key.
func (j *Journal) isPruned(server int64, key bridge.Key) bool {
	j.mu.Lock()
	floor, ok := j.seen[serverRoom{server, key.Room}]
	j.mu.Unlock()
	if !ok {
		return false
	}
	id, err := strconv.ParseInt(key.ID, 10, 64)
	return err == nil && id <= floor
}
