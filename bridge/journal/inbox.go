package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"perch/bridge"
)

// The states of a message, as in schema_3.sql. Only the first is not final.
const (
	messageWaiting = iota
	messageHandled
	messageFailed
	messageOwn
	messageNotForBot
	messageNotAllowed
	messageRoomOff
	messageBusy
	messageUnreadable
	messageMissed
	messagePassed
	messageLimited
)

// messageStates are the states in the order of their numbers.
func messageStates() []bridge.MessageState {
	return []bridge.MessageState{
		bridge.MessageWaiting, bridge.MessageHandled, bridge.MessageFailed, bridge.MessageOwn, bridge.MessageNotForBot,
		bridge.MessageNotAllowed, bridge.MessageRoomOff, bridge.MessageBusy, bridge.MessageUnreadable, bridge.MessageMissed, bridge.MessagePassed,
		bridge.MessageLimited,
	}
}

// stateOf returns the state with this number.
func stateOf(number int) bridge.MessageState {
	if all := messageStates(); number < len(all) {
		return all[number]
	}
	return bridge.MessageUnreadable
}

func messageState(s bridge.MessageState) int {
	for i, known := range messageStates() {
		if known == s {
			return i
		}
	}
	return messageUnreadable
}

// maxCached bounds the messages kept in memory between Put and Claim; beyond
// it they are read from the file again. maxCachedText bounds the text of each.
const (
	maxCached     = 256
	maxCachedText = 4096
)

const putMessage = `INSERT INTO inbox (server, room, message, nonce, received, state, digest, ended, failure, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

// textless is what is left of a body without what was written.
const textless = `CAST(json_remove(body, '$.text', '$.raw_text', '$.parameters', '$.attachments', '$.in_reply_to', '$.webhook') AS BLOB)`

const (
	finishMessage         = "UPDATE inbox SET state = ?, ended = ?, failure = ? WHERE id = ?"
	finishMessageTextless = "UPDATE inbox SET state = ?, ended = ?, failure = ?, body = " + textless + " WHERE id = ?"
)

var _ bridge.Inbox = (*Journal)(nil)

// Put implements bridge.Inbox.
func (j *Journal) Put(ctx context.Context, m bridge.Message, state bridge.MessageState, why *bridge.Failure) (bridge.Novelty, error) {
	p := &putting{j: j, m: &m, state: messageState(state), digest: digest(&m), nonce: sql.NullInt64{Int64: hashNonce(m.Nonce), Valid: m.Nonce != ""}}
	var err error
	if p.body, err = j.body(m, p.state); err != nil {
		return bridge.Known, err
	}
	if p.failure, err = failureJSON(why); err != nil {
		return bridge.Known, err
	}
	// What comes again, and our own replies, take more than one statement.
	o := &op{run: p.run, after: p.after, bare: !j.echoes.Load(), done: make(chan error, 1)}
	if err = j.writer.submit(ctx, o); err != nil {
		return bridge.Known, j.explain(err)
	}
	return p.novelty, nil
}

// body returns what is kept of a message in a state.
func (j *Journal) body(m bridge.Message, state int) ([]byte, error) {
	if state != messageWaiting && !j.storeText.Load() {
		m.Text, m.RawText, m.Parameters, m.Attachments, m.InReplyTo, m.Webhook = "", "", nil, nil, nil, nil
	}
	return json.Marshal(m)
}

// putting is a message on its way into the inbox.
type putting struct {
	j       *Journal
	m       *bridge.Message
	state   int
	digest  int64
	nonce   sql.NullInt64
	body    []byte
	failure []byte

	id      int64
	server  int64
	novelty bridge.Novelty
}

func (p *putting) run(ctx context.Context, db *database) error {
	j, m := p.j, p.m
	p.novelty = bridge.Known
	var known bool
	if p.server, known = j.servers[m.Key.Server]; !known {
		if !db.inTransaction {
			return errNeedsTransaction
		}
		var err error
		if p.server, err = db.server(ctx, m.Key.Server); err != nil {
			return err
		}
	}
	if m.Room.Name != "" && j.rooms[m.Room.Token] != m.Room.Name {
		if !db.inTransaction {
			return errNeedsTransaction
		}
		if _, _, err := db.exec(ctx, "INSERT OR REPLACE INTO room VALUES (?, ?)", m.Room.Token, m.Room.Name); err != nil {
			return err
		}
	}
	if j.isPruned(p.server, m.Key) || p.nonce.Valid && j.nonces.usedBy(p.nonce.Int64, hashKey(m.Key)) {
		return nil
	}
	if j.echoes.Load() {
		ours, err := db.isOurs(ctx, m.Key)
		if err != nil {
			return err
		}
		if ours {
			p.state = messageOwn
		}
	}
	var ended sql.NullInt64
	if p.state != messageWaiting {
		ended = sql.NullInt64{Int64: millis(m.ReceivedAt), Valid: true}
	}
	insert := func() (n int64, err error) {
		n, p.id, err = db.exec(ctx, putMessage, p.server, m.Key.Room, m.Key.ID, p.nonce, millis(m.ReceivedAt),
			p.state, p.digest, ended, p.failure, p.body)
		return n, err
	}
	n, err := insert()
	if err != nil {
		return err
	}
	if p.novelty = bridge.Fresh; n == 1 {
		return nil
	}
	p.novelty = bridge.Known
	if !p.nonce.Valid {
		return nil
	}
	if !db.inTransaction {
		return errNeedsTransaction
	}
	// The webhook of a message that was missed may come all the same.
	n, _, err = db.exec(ctx, `UPDATE inbox SET nonce = ?, received = ?, state = ?, digest = ?, ended = ?, failure = ?, body = ?
		WHERE server = ? AND room = ? AND message = ? AND state = ?`, p.nonce, millis(m.ReceivedAt), p.state, p.digest, ended, p.failure, p.body,
		p.server, m.Key.Room, m.Key.ID, messageMissed)
	if err != nil {
		return err
	}
	if n == 1 {
		p.novelty = bridge.Fresh
		return db.row(ctx, "SELECT id FROM inbox WHERE server = ? AND room = ? AND message = ?", []any{p.server, m.Key.Room, m.Key.ID}, &p.id)
	}
	// A server that was restored from a backup gives ids a second time. A request
	// that only comes again has the same text, or was not signed anew.
	var old struct {
		id            int64
		nonce, digest sql.NullInt64
	}
	err = db.row(ctx, "SELECT id, nonce, digest FROM inbox WHERE server = ? AND room = ? AND message = ?",
		[]any{p.server, m.Key.Room, m.Key.ID}, &old.id, &old.nonce, &old.digest)
	if err != nil {
		return err
	}
	if !old.nonce.Valid || old.nonce == p.nonce || !old.digest.Valid || old.digest.Int64 == p.digest {
		return nil
	}
	if _, _, err := db.exec(ctx, "UPDATE inbox SET message = message || '~' || id WHERE id = ?", old.id); err != nil {
		return err
	}
	if _, err := insert(); err != nil {
		return err
	}
	p.novelty = bridge.Reused
	return nil
}

// after runs on the writer when the message is on disk, so that the messages of
// a room are queued in the order in which they are stored.
func (p *putting) after() {
	j := p.j
	if p.novelty == bridge.Known {
		return
	}
	j.servers[p.m.Key.Server] = p.server
	if p.m.Room.Name != "" {
		j.rooms[p.m.Room.Token] = p.m.Room.Name
	}
	if p.nonce.Valid {
		j.nonces.add(p.nonce.Int64, hashKey(p.m.Key))
	}
	switch {
	case p.state == messageWaiting:
		j.inbox.add(p.m.Key.Room, p.id, j.cache(p.m), time.Time{})
	case p.id%advanceEvery == 0:
		j.advanceSoon()
	}
}

// digest returns a hash of who wrote what.
func digest(m *bridge.Message) int64 {
	h := sha256.New()
	for _, s := range []string{m.Author.Type, m.Author.ID, m.RawText, m.Text} {
		_, _ = h.Write(append([]byte(s), 0)) // never fails
	}
	for _, a := range m.Attachments {
		_, _ = h.Write(append([]byte(a.Type+" "+a.ID), 0)) // never fails
	}
	return int64(binary.LittleEndian.Uint64(h.Sum(nil))) //nolint:gosec // 64 bits, whatever their sign
}

// isOurs reports whether a reply of ours was posted as this message.
func (db *database) isOurs(ctx context.Context, key bridge.Key) (bool, error) {
	var one int64
	err := db.row(ctx, "SELECT 1 FROM outbox WHERE room = ? AND message = ?", []any{key.Room, key.ID}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Waiting returns how many messages of a room are not done with, the one that
// is being handled included.
func (j *Journal) Waiting(room string) int { return j.inbox.length(room) }

// Claim implements bridge.Inbox. A message that cannot be read is set aside, so
// that its room goes on.
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
		var unreadable *unreadableError
		switch {
		case errors.Is(err, sql.ErrNoRows): // our own reply, as Sent found out
			j.inbox.done(id)
		case errors.As(err, &unreadable):
			err = j.setAside(ctx, "inbox", id, messageUnreadable, unreadable)
			if j.inbox.done(id); err != nil {
				return bridge.InboxItem{}, j.explain(err)
			}
		case err != nil:
			j.inbox.giveBack(id, cached, time.Now().Add(time.Second))
			return bridge.InboxItem{}, j.explain(err)
		default:
			return bridge.InboxItem{ID: id, Message: m}, nil
		}
	}
}

// unreadableError says that what a row holds is no message or reply.
type unreadableError struct{ cause error }

func (e *unreadableError) Error() string { return "what is stored cannot be read: " + e.cause.Error() }
func (e *unreadableError) Unwrap() error { return e.cause }

// setAside gives a row up that cannot be read.
func (j *Journal) setAside(ctx context.Context, table string, id int64, state int, cause error) error {
	err := &bridge.Error{
		Code:  bridge.CodeInternal,
		Text:  bridge.Say("An entry of the journal cannot be read"),
		Hint:  bridge.Say("It is set aside and the conversation goes on. Check the disk."),
		Cause: cause,
	}
	failure, jsonErr := failureJSON(bridge.FailureOf(err))
	if jsonErr != nil {
		return jsonErr
	}
	if writeErr := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		_, _, err := db.exec(ctx, "UPDATE "+table+" SET state = ?, ended = ?, failure = ? WHERE id = ?", state, millis(j.now()), failure, id)
		return err
	}); writeErr != nil {
		return writeErr
	}
	j.sink.Publish(bridge.Event{
		Time: j.now(), Stage: bridge.StageJournal, Kind: bridge.EventJournalDamaged,
		Title: bridge.Say("A waiting message or reply was set aside, because it cannot be read"),
	}.Failed(err))
	return nil
}

// message reads a waiting message.
func (j *Journal) message(ctx context.Context, id int64) (m bridge.Message, err error) {
	var body []byte
	row := j.writer.current().readers.QueryRowContext(ctx, "SELECT body FROM inbox WHERE id = ? AND state = 0", id)
	if err := row.Scan(&body); err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, &unreadableError{err}
	}
	return m, nil
}

// Finish implements bridge.Inbox.
func (j *Journal) Finish(ctx context.Context, id int64, replies []bridge.Reply, cause error) error {
	state := messageHandled
	switch {
	case errors.Is(cause, bridge.ErrPassedOn):
		state, cause = messagePassed, nil
	case errors.Is(cause, bridge.ErrLimited):
		state = messageLimited
	case cause != nil:
		state = messageFailed
	}
	failure, err := failureJSON(bridge.FailureOf(cause))
	if err != nil {
		return err
	}
	ended := millis(j.now())
	finish := func(ctx context.Context, db *database) error {
		query := finishMessage
		if !j.storeText.Load() {
			query = finishMessageTextless
		}
		_, _, err := db.exec(ctx, query, state, ended, failure, id)
		if err == nil && id%advanceEvery == 0 {
			err = db.advance(ctx)
		}
		return err
	}
	switch {
	case len(replies) > 0:
		var queued []int64
		err = j.writer.submit(ctx, &op{
			done: make(chan error, 1),
			run: func(ctx context.Context, db *database) error {
				if err := finish(ctx, db); err != nil {
					return err
				}
				var err error
				queued, err = j.insertReplies(ctx, db, id, replies)
				return err
			},
			after: func() { j.queueReplies(queued, replies) },
		})
	case cause != nil:
		err = j.writer.do(ctx, finish)
	default: // if this is lost in a crash, the message is handled again, and nothing is said twice
		j.setFinishing(id, state)
		unset := func() { j.setFinishing(id, messageWaiting) }
		if err = j.writer.soon(ctx, &op{done: make(chan error, 1), run: finish, ended: unset}); err != nil {
			unset()
		}
	}
	if err != nil {
		return j.explain(err)
	}
	j.inbox.done(id)
	return nil
}

// setFinishing notes the state of a message until that is on disk or has failed;
// messageWaiting ends the note.
func (j *Journal) setFinishing(id int64, state int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if state == messageWaiting {
		delete(j.finishing, id)
	} else {
		j.finishing[id] = state
	}
}

func (j *Journal) finishingState(id int64) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.finishing[id]
}

// failureJSON returns a failure as it is stored, nil for none.
func failureJSON(f *bridge.Failure) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	return json.Marshal(f)
}

func parseFailure(data []byte) *bridge.Failure {
	if len(data) == 0 {
		return nil
	}
	var f bridge.Failure
	if json.Unmarshal(data, &f) != nil {
		return &bridge.Failure{Code: bridge.CodeInternal, Cause: string(bytes.ToValidUTF8(data, nil))}
	}
	return &f
}

// advanceEvery is after how many messages it is noted where the waiting ones begin.
const advanceEvery = 512

func (j *Journal) advanceSoon() {
	// It is called on the writer, which must not wait for itself.
	j.writer.offer(&op{run: func(ctx context.Context, db *database) error { return db.advance(ctx) }, done: make(chan error, 1)})
}

// waitingFrom returns an id below which no message waits.
func (db *database) waitingFrom(ctx context.Context) (int64, error) {
	value, err := db.getMeta(ctx, "waiting")
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
	err = db.row(ctx, `SELECT COALESCE(
		(SELECT id FROM inbox WHERE id >= ? AND state = 0 ORDER BY id LIMIT 1), (SELECT max(id) + 1 FROM inbox), 0)`, []any{from}, &from)
	if err != nil {
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
func (db *database) server(ctx context.Context, url string) (id int64, err error) {
	if _, _, err := db.exec(ctx, "INSERT INTO server (url) VALUES (?) ON CONFLICT DO NOTHING", url); err != nil {
		return 0, err
	}
	err = db.row(ctx, "SELECT id FROM server WHERE url = ?", []any{url}, &id)
	return id, err
}

// isPruned reports whether retention removed a message with this key.
func (j *Journal) isPruned(server int64, key bridge.Key) bool {
	floor, ok := j.seen[serverRoom{server, key.Room}]
	if !ok {
		return false
	}
	id, err := strconv.ParseInt(key.ID, 10, 64)
	return err == nil && id <= floor
}
