package journal

import (
	"context"
	"slices"
	"sync"

	"perch/bridge"
)

const (
	// maxExchanges bounds the messages and their answers that are kept of a
	// room on disk, maxVolatile those of all rooms in memory.
	maxExchanges = 200
	maxVolatile  = 400
)

var _ bridge.Memory = (*Journal)(nil)

// exchange is a message and its answer.
type exchange struct {
	room, message   string
	asked, answered bridge.Turn
}

// volatile keeps exchanges in memory, the newest last, where texts are not to
// be stored.
type volatile struct {
	mu  sync.Mutex
	all []exchange
}

// put adds e. If its message is there already, e takes its place.
func (v *volatile) put(e exchange) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := slices.IndexFunc(v.all, func(o exchange) bool { return o.room == e.room && o.message == e.message }); i >= 0 {
		v.all[i] = e
		return
	}
	v.all = append(v.all, e)
	v.all = slices.Delete(v.all, 0, max(0, len(v.all)-maxVolatile))
}

// of returns the exchanges of a room.
func (v *volatile) of(room string) []exchange {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.all), func(e exchange) bool { return e.room != room })
}

// drop removes the exchanges for which gone returns true.
func (v *volatile) drop(gone func(exchange) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = slices.DeleteFunc(v.all, gone)
}

// Recall implements bridge.Memory.
func (j *Journal) Recall(ctx context.Context, room string, n int) ([]bridge.Turn, error) {
	if n <= 0 {
		return nil, nil
	}
	var kept []exchange
	err := j.writer.current().each(ctx, `SELECT author, asked, received, answer, given FROM exchange
		WHERE room = ? ORDER BY id DESC LIMIT ?`, func(scan scanner) error {
		e := exchange{room: room, answered: bridge.Turn{Own: true}}
		var received, given int64
		if err := scan(&e.asked.Author, &e.asked.Text, &received, &e.answered.Text, &given); err != nil {
			return err
		}
		e.asked.Time, e.answered.Time = fromMillis(received), fromMillis(given)
		kept = append(kept, e)
		return nil
	}, room, (n+1)/2)
	if err != nil {
		return nil, j.explain(err)
	}
	slices.Reverse(kept)
	var turns []bridge.Turn
	for _, e := range append(kept, j.volatile.of(room)...) {
		turns = append(turns, e.asked, e.answered)
	}
	return turns[max(0, len(turns)-n):], nil
}

// Remember implements bridge.Memory. A room's oldest turns make place for new
// ones. Where texts are not stored they are kept until the process ends.
func (j *Journal) Remember(ctx context.Context, message bridge.Key, asked, answered bridge.Turn) error {
	asked.Own, answered.Own = false, true
	if !j.storeText.Load() {
		j.volatile.put(exchange{message.Room, message.ID, asked, answered})
		return nil
	}
	return j.explain(j.writer.do(ctx, func(ctx context.Context, db *database) error {
		if _, _, err := db.exec(ctx, `INSERT INTO exchange (room, message, author, asked, received, answer, given)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET author = excluded.author, asked = excluded.asked,
			received = excluded.received, answer = excluded.answer, given = excluded.given`,
			message.Room, message.ID, asked.Author, asked.Text, millis(asked.Time), answered.Text, millis(answered.Time)); err != nil {
			return err
		}
		_, _, err := db.exec(ctx, `DELETE FROM exchange WHERE room = ?1 AND id <=
			(SELECT id FROM exchange WHERE room = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`, message.Room, maxExchanges)
		return err
	}))
}

// Forget implements bridge.Memory.
func (j *Journal) Forget(ctx context.Context, room string) error {
	j.volatile.drop(func(e exchange) bool { return e.room == room })
	return j.explain(j.writer.do(ctx, func(ctx context.Context, db *database) error {
		_, _, err := db.exec(ctx, "DELETE FROM exchange WHERE room = ?", room)
		return err
	}))
}
