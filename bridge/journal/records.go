package journal

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

// Filter chooses entries of the log.
type Filter struct {
	Keys  []bridge.Key // only these messages; a Key's Server does not count
	Room  string       // only those of the room with this token or name; empty: all
	Level slog.Level   // only those that are at least as grave now
	Since time.Time    // only those that came since; zero: all
	After int64        // only events with a higher id
	Limit int          // only the newest so many; 0: 1000
}

func (f Filter) limit() int {
	if f.Limit == 0 {
		return 1000
	}
	return f.Limit
}

// where is a condition in SQL, with its arguments.
type where struct {
	terms []string
	args  []any
}

func (w *where) and(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

func (w *where) String() string { return strings.Join(w.terms, " AND ") }

// inRoom chooses a room by its token or name.
func (w *where) inRoom(room string) {
	if room != "" {
		w.and("room IN (SELECT ? UNION SELECT token FROM room WHERE name = ?)", room, room)
	}
}

// newerThan chooses the rows since a time: those above the newest older one, so
// that no older one is looked at.
func (w *where) newerThan(table, column string, since time.Time) {
	if !since.IsZero() {
		w.and("id > COALESCE((SELECT id FROM "+table+" WHERE "+column+" < ? ORDER BY id DESC LIMIT 1), -1 << 62)", millis(since))
	}
}

// troubled are the replies that are not sent, and why is known.
const troubled = "(o.state = 2 OR o.state = 0 AND o.failure IS NOT NULL)"

// Messages returns what became of messages, oldest first, with their replies;
// our own that came back are left out. Cleared ones are left out, unless they
// still wait.
func (j *Journal) Messages(ctx context.Context, f Filter) ([]bridge.Record, error) {
	db := j.writer.current()
	cleared, _, err := db.cleared(ctx)
	if err != nil {
		return nil, j.explain(err)
	}
	var w where
	w.and("state <> ?", messageOwn)
	w.and("(id > ? OR state = 0 OR EXISTS (SELECT 1 FROM outbox o WHERE o.answers = inbox.id AND o.state = 0))", cleared)
	w.inRoom(f.Room)
	w.newerThan("inbox", "received", f.Since)
	if f.Level > slog.LevelInfo {
		states := "2, 5, 7, 8, 9, 11"
		if f.Level > slog.LevelWarn {
			states = "2, 8"
		}
		w.and("(state IN (" + states + ") OR EXISTS (SELECT 1 FROM outbox o WHERE o.answers = inbox.id AND " + troubled + "))")
	}
	if f.Keys != nil {
		list, err := keysJSON(f.Keys)
		if err != nil {
			return nil, err
		}
		w.and("id IN (SELECT i.id FROM json_each(?) AS k, server JOIN inbox i ON i.server = server.id AND i.room = k.value ->> 0 AND i.message = k.value ->> 1)", list)
	}
	var all []bridge.Record
	err = db.each(ctx, "SELECT id, room, message, received, state, ended, failure, body FROM inbox WHERE "+w.String()+" ORDER BY id DESC LIMIT ?",
		func(scan scanner) error {
			r, err := j.scanMessage(scan)
			all = append(all, r)
			return err
		}, append(w.args, f.limit())...)
	if err != nil {
		return nil, j.explain(err)
	}
	slices.Reverse(all)
	return all, j.explain(j.addReplies(ctx, db, all))
}

func keysJSON(keys []bridge.Key) (string, error) {
	pairs := make([][2]string, len(keys))
	for i, k := range keys {
		pairs[i] = [2]string{k.Room, k.ID}
	}
	list, err := json.Marshal(pairs)
	return string(list), err
}

func (j *Journal) scanMessage(scan scanner) (r bridge.Record, err error) {
	var room, message string
	var received, state int64
	var ended *int64
	var failure, body []byte
	if err := scan(&r.ID, &room, &message, &received, &state, &ended, &failure, &body); err != nil {
		return r, err
	}
	if json.Unmarshal(body, &r.Message) != nil { // it was set aside, or will be
		r.Message = bridge.Message{Key: bridge.Key{Room: room, ID: message}, Room: bridge.Room{Token: room}}
	}
	r.Message.ReceivedAt, r.Failure = fromMillis(received), parseFailure(failure)
	if ended != nil {
		r.EndedAt = fromMillis(*ended)
	}
	r.State = stateOf(int(state))
	switch {
	case r.State != bridge.MessageWaiting:
	case j.finishingState(r.ID) != messageWaiting:
		r.State, r.EndedAt = stateOf(j.finishingState(r.ID)), j.now()
	case j.inbox.isClaimed(r.ID):
		r.State = bridge.MessageHandling
	}
	return r, nil
}

// addReplies adds their replies to messages, which are in the order of their ids.
func (j *Journal) addReplies(ctx context.Context, db *database, all []bridge.Record) error {
	if len(all) == 0 {
		return nil
	}
	replies, err := j.replies(ctx, db, "answers BETWEEN ? AND ? ORDER BY id", all[0].ID, all[len(all)-1].ID)
	for _, r := range replies {
		if i, found := slices.BinarySearchFunc(all, r.answers, func(m bridge.Record, id int64) int { return int(m.ID - id) }); found {
			all[i].Replies = append(all[i].Replies, r.ReplyRecord)
		}
	}
	return err
}

// replyRow is a reply and the message of the inbox that it answers.
type replyRow struct {
	bridge.ReplyRecord

	answers int64
}

func (j *Journal) replies(ctx context.Context, db *database, condition string, args ...any) (all []replyRow, err error) {
	hold, err := db.meta(ctx, "hold")
	if err != nil {
		return nil, err
	}
	held, heldUntil := hold != "", parseHold(hold)
	if held && !heldUntil.IsZero() && !j.now().Before(heldUntil) {
		held = false
	}
	err = db.each(ctx, `SELECT id, COALESCE(answers, 0), room, queued, due, attempts, unclear, sending, state, ended, tried, failure, message, reply
		FROM outbox WHERE `+condition, func(scan scanner) error {
		var r replyRow
		var room string
		var queued, due, unclear, sending, state int64
		var ended, tried *int64
		var message *string
		var failure, body []byte
		err := scan(&r.ID, &r.answers, &room, &queued, &due, &r.Attempts, &unclear, &sending, &state, &ended, &tried, &failure, &message, &body)
		if err != nil {
			return err
		}
		if json.Unmarshal(body, &r.Reply) != nil {
			r.Reply = bridge.Reply{Room: bridge.Room{Token: room}}
		}
		r.QueuedAt, r.Failure = fromMillis(queued), parseFailure(failure)
		if message != nil {
			r.MessageID = *message
		}
		if ended != nil {
			r.EndedAt = fromMillis(*ended)
		}
		if tried != nil {
			r.TriedAt = fromMillis(*tried)
		}
		switch {
		case state == replySent:
			r.State = bridge.ReplySent
		case state == replyGivenUp:
			r.State = bridge.ReplyGivenUp
		case sending != 0:
			r.State = bridge.ReplySending
		case held:
			r.State, r.DueAt = bridge.ReplyHeld, heldUntil
		case unclear > 0:
			r.State, r.DueAt = bridge.ReplyUnclear, j.dueAt(due)
		default:
			r.State, r.DueAt = bridge.ReplyWaiting, j.dueAt(due)
		}
		all = append(all, r)
		return nil
	}, args...)
	return all, err
}

// Replies returns what became of replies that answer no message, oldest first.
func (j *Journal) Replies(ctx context.Context, f Filter) ([]bridge.ReplyRecord, error) {
	db := j.writer.current()
	_, cleared, err := db.cleared(ctx)
	if err != nil {
		return nil, j.explain(err)
	}
	var w where
	w.and("answers IS NULL AND form = ?", formText) // a reaction is no line of its own
	w.and("(id > ? OR state = 0)", cleared)
	w.inRoom(f.Room)
	w.newerThan("outbox", "queued", f.Since)
	if f.Level > slog.LevelInfo {
		w.and("(state = 2 OR state = 0 AND failure IS NOT NULL)")
	}
	rows, err := j.replies(ctx, db, w.String()+" ORDER BY id DESC LIMIT ?", append(w.args, f.limit())...)
	all := make([]bridge.ReplyRecord, 0, len(rows))
	for _, r := range slices.Backward(rows) {
		all = append(all, r.ReplyRecord)
	}
	return all, j.explain(err)
}

// Reply returns what became of the reply with this id.
func (j *Journal) Reply(ctx context.Context, id int64) (bridge.ReplyRecord, error) {
	rows, err := j.replies(ctx, j.writer.current(), "id = ?", id)
	if err != nil {
		return bridge.ReplyRecord{}, j.explain(err)
	}
	if len(rows) == 0 {
		return bridge.ReplyRecord{}, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("The journal has no reply with the number %s", strconv.FormatInt(id, 10))}
	}
	return rows[0].ReplyRecord, nil
}

// Events returns stored events, oldest first.
func (j *Journal) Events(ctx context.Context, f Filter) ([]bridge.Event, error) {
	var w where
	w.and("level >= ?", int(f.Level))
	w.inRoom(f.Room)
	w.newerThan("event", "time", f.Since)
	w.and("id > ?", f.After)
	db := j.writer.current()
	clearedAt, err := db.meta(ctx, "cleared events")
	if err != nil {
		return nil, j.explain(err)
	}
	if id, err := strconv.ParseInt(clearedAt, 10, 64); err == nil {
		w.and("id > ?", id)
	}
	var events []bridge.Event
	err = db.each(ctx, "SELECT id, body FROM event WHERE "+w.String()+" ORDER BY id DESC LIMIT ?", func(scan scanner) error {
		var e bridge.Event
		var id int64
		var body []byte
		if err := scan(&id, &body); err != nil {
			return err
		}
		if err := json.Unmarshal(body, &e); err != nil {
			return err
		}
		e.ID = id
		events = append(events, e)
		return nil
	}, append(w.args, f.limit())...)
	slices.Reverse(events)
	return events, j.explain(err)
}

// Entries returns the log: messages with what became of them, replies that
// answer no message, and events, oldest first.
func (j *Journal) Entries(ctx context.Context, f Filter) ([]bridge.Entry, error) {
	messages, err := j.Messages(ctx, f)
	if err != nil {
		return nil, err
	}
	replies, err := j.Replies(ctx, f)
	if err != nil {
		return nil, err
	}
	events, err := j.Events(ctx, f)
	if err != nil {
		return nil, err
	}
	all := make([]bridge.Entry, 0, len(messages)+len(replies)+len(events))
	for i := range messages {
		all = append(all, bridge.Entry{Message: &messages[i]})
	}
	for i := range replies {
		all = append(all, bridge.Entry{Reply: &replies[i]})
	}
	for i := range events {
		all = append(all, bridge.Entry{Event: &events[i]})
	}
	slices.SortStableFunc(all, func(a, b bridge.Entry) int { return a.Time().Compare(b.Time()) })
	return all[max(0, len(all)-f.limit()):], nil
}

// cleared returns up to which messages and replies the log was cleared.
func (db *database) cleared(ctx context.Context) (message, reply int64, err error) {
	value, err := db.meta(ctx, "cleared")
	if err != nil || value == "" {
		return -1 << 62, 0, err
	}
	messageText, replyText, _ := strings.Cut(value, " ")
	message, err = strconv.ParseInt(messageText, 10, 64)
	if err == nil {
		reply, err = strconv.ParseInt(replyText, 10, 64)
	}
	return message, reply, err
}

// Clear empties the log: events are removed, and of messages and replies that
// are done with, what was written. What waits stays, and so does the knowledge
// of what was seen, so that nothing is answered twice.
func (j *Journal) Clear(ctx context.Context) error {
	var message, reply int64
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		err := db.row(ctx, "SELECT COALESCE((SELECT max(id) FROM inbox), 0), COALESCE((SELECT max(id) FROM outbox), 0)", nil, &message, &reply)
		if err != nil {
			return err
		}
		var event int64 // the newest stays, because its id tells where to go on
		if err := db.row(ctx, "SELECT COALESCE(max(id), 0) FROM event", nil, &event); err != nil {
			return err
		}
		if _, _, err := db.exec(ctx, "DELETE FROM event WHERE id < ?", event); err != nil {
			return err
		}
		if err := db.setMeta(ctx, "cleared events", strconv.FormatInt(event, 10)); err != nil {
			return err
		}
		return db.setMeta(ctx, "cleared", strconv.FormatInt(message, 10)+" "+strconv.FormatInt(reply, 10))
	})
	if err != nil {
		return j.explain(err)
	}
	for _, query := range []string{
		"UPDATE inbox SET failure = NULL, body = " + textless + ` WHERE id IN
			(SELECT id FROM inbox WHERE id <= ?1 AND state <> 0 AND body ->> '$.text' IS NOT NULL LIMIT ?2)`,
		"UPDATE outbox SET failure = NULL, reply = " + textlessReply + ` WHERE id IN
			(SELECT id FROM outbox WHERE id <= ?1 AND state <> 0 AND reply ->> '$.text' IS NOT NULL LIMIT ?2)`,
	} {
		upTo := message
		if strings.HasPrefix(query, "UPDATE outbox") {
			upTo = reply
		}
		for n := int64(pruneChunk); n == pruneChunk; {
			err := j.writer.do(ctx, func(ctx context.Context, db *database) (err error) {
				n, _, err = db.exec(ctx, query, upTo, pruneChunk)
				return err
			})
			if err != nil {
				return j.explain(err)
			}
		}
	}
	return nil
}

// Traffic counts the messages that came since a time, and what became of them.
// There is a bar for each part of that time; for the part 0 there is one in all.
func (j *Journal) Traffic(ctx context.Context, since time.Time, part time.Duration) (bridge.Traffic, error) {
	if part <= 0 {
		part = 1 << 62
	}
	parts := int(j.now().Sub(since)/part) + 1
	t := bridge.Traffic{Bars: make([]bridge.Bar, parts)}
	db := j.writer.current()
	length := part.Milliseconds()
	var w where
	w.newerThan("inbox", "received", since)
	w.and("received >= ? AND state <> ?", millis(since), messageOwn)
	err := db.each(ctx, `SELECT (received - ?) / ? AS part, state, answered, lost, count(*) FROM (
		SELECT received, state,
			EXISTS (SELECT 1 FROM outbox o WHERE o.answers = inbox.id AND o.state = 1 AND o.form = 0) AS answered,
			EXISTS (SELECT 1 FROM outbox o WHERE o.answers = inbox.id AND o.state = 2 AND o.form = 0) AS lost
		FROM inbox WHERE `+w.String()+`) GROUP BY part, state, answered, lost`, func(scan scanner) error {
		var at, n, state int
		var answered, lost bool
		if err := scan(&at, &state, &answered, &lost, &n); err != nil {
			return err
		}
		bar := &bridge.Bar{}
		if at = min(at, parts-1); at >= 0 {
			bar = &t.Bars[at]
		}
		switch {
		case state == messageMissed:
			return nil
		case stateOf(state).TurnedAway():
			t.Refused += n
			return nil
		case state == messageFailed, state == messageUnreadable, lost:
			t.Failed += n
			bar.Failures += n
		}
		if answered {
			t.Answered += n
		}
		t.Received += n
		bar.Messages += n
		return nil
	}, append([]any{millis(since), length}, w.args...)...)
	if err != nil {
		return t, j.explain(err)
	}
	var e where
	e.newerThan("event", "time", since)
	e.and("kind = ?", string(bridge.EventWebhookRefused))
	err = db.each(ctx, "SELECT COALESCE(sum(max(1, COALESCE(body ->> '$.count', 1))), 0) FROM event WHERE "+e.String(), func(scan scanner) error {
		var n int
		err := scan(&n)
		t.Refused += n
		return err
	}, e.args...)
	if err != nil {
		return t, j.explain(err)
	}
	t.Median, err = j.median(ctx, db, since)
	return t, j.explain(err)
}

// median returns how long the newest answers took, from the message to the sent
// reply.
func (j *Journal) median(ctx context.Context, db *database, since time.Time) (time.Duration, error) {
	var took []time.Duration
	err := db.each(ctx, `SELECT o.ended - i.received FROM outbox o JOIN inbox i ON i.id = o.answers
		WHERE o.state = 1 AND o.form = 0 AND o.queued >= ? ORDER BY o.id DESC LIMIT 256`, func(scan scanner) error {
		var ms int64
		err := scan(&ms)
		took = append(took, time.Duration(ms)*time.Millisecond)
		return err
	}, millis(since))
	if err != nil || len(took) == 0 {
		return 0, err
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// Last is what came and went last, as far as it is kept.
type Last struct {
	Message bridge.Record // that was taken; its ID is 0 if there is none
	Sent    time.Time     // when a reply was sent; zero: none
	Trouble *bridge.Event // what went wrong last with a message or a webhook; nil: nothing
	Waiting int           // replies that are not sent yet
}

// Last returns what came and went last.
func (j *Journal) Last(ctx context.Context) (l Last, err error) {
	db := j.writer.current()
	err = db.each(ctx, `SELECT id, room, message, received, state, ended, failure, body FROM inbox
		WHERE state NOT IN (3, 5, 6, 7, 9, 11) ORDER BY id DESC LIMIT 1`, func(scan scanner) (err error) {
		l.Message, err = j.scanMessage(scan)
		return err
	})
	if err != nil {
		return l, j.explain(err)
	}
	replies, err := j.replies(ctx, db, "state = 1 ORDER BY id DESC LIMIT 1")
	if err != nil {
		return l, j.explain(err)
	}
	for _, r := range replies {
		l.Sent = r.EndedAt
	}
	troubles, err := j.Entries(ctx, Filter{Level: slog.LevelWarn, Limit: 20})
	for _, entry := range troubles {
		for _, e := range entry.Events(j.now()) {
			ofMessage := e.Kind.OfMessage() && e.Kind != bridge.EventMessageTurnedAway
			if e.Level >= slog.LevelWarn && (ofMessage || e.Stage == bridge.StageWebhook) {
				l.Trouble = &e
			}
		}
	}
	if err != nil {
		return l, err
	}
	err = db.each(ctx, "SELECT count(*) FROM outbox WHERE state = 0", func(scan scanner) error { return scan(&l.Waiting) })
	return l, j.explain(err)
}

// Room returns the conversation with this token, with its name if that is known.
func (j *Journal) Room(ctx context.Context, token string) (bridge.Room, error) {
	room := bridge.Room{Token: token}
	err := j.writer.current().each(ctx, "SELECT name FROM room WHERE token = ?", func(scan scanner) error { return scan(&room.Name) }, token)
	return room, j.explain(err)
}

// Rooms returns the conversations that messages came from, as far as they are
// kept, and their names as far as those are known.
func (j *Journal) Rooms(ctx context.Context) (rooms []bridge.Room, err error) {
	err = j.writer.current().each(ctx, `SELECT room, COALESCE((SELECT name FROM room AS r WHERE token = inbox.room), '')
		FROM inbox GROUP BY room ORDER BY room LIMIT 100`, func(scan scanner) error {
		var room bridge.Room
		err := scan(&room.Token, &room.Name)
		rooms = append(rooms, room)
		return err
	})
	return rooms, j.explain(err)
}
