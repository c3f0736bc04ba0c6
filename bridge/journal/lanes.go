package journal

import (
	"context"
	"sync"
	"time"
)

// lanes hands out queued items: one at a time per room, in order, and rooms in
// the order in which they became ready. It lives in memory; the database holds
// the truth, from which it is filled at start.
type lanes[T any] struct {
	mu     sync.Mutex
	rooms  map[string]*lane[T]
	owner  map[int64]*lane[T] // of each claimed item
	ready  []*lane[T]
	wake   chan struct{} // one token: somebody waiting should look
	paused bool
	halted bool // by stop
	size   int  // items queued, claimed ones included

	trustFor time.Duration // how long trust lasts; 0: it is not needed
	trusted  time.Time     // when it was last earned; zero: not since distrust
	round    int           // how often distrust was called
}

type lane[T any] struct {
	room      string
	queue     []item[T]
	claimed   bool // the head is somebody's
	blocked   bool
	listed    bool // stands in ready
	begun     bool // the head is used
	round     int  // when that began
	notBefore time.Time
	timer     *time.Timer
}

type item[T any] struct {
	id    int64
	value T
}

func newLanes[T any]() *lanes[T] {
	return &lanes[T]{
		rooms: make(map[string]*lane[T]),
		owner: make(map[int64]*lane[T]),
		wake:  make(chan struct{}, 1),
	}
}

// add queues an item behind those of its room. notBefore counts only if the
// room has no other.
func (l *lanes[T]) add(room string, id int64, value T, notBefore time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.lane(room)
	if len(ln.queue) == 0 {
		ln.notBefore = notBefore
	}
	ln.queue = append(ln.queue, item[T]{id, value})
	l.size++
	l.settle(ln)
}

// next waits for a ready room and claims its first item.
func (l *lanes[T]) next(ctx context.Context) (room string, id int64, value T, err error) {
	for {
		if room, id, value, ok := l.claim(); ok {
			return room, id, value, nil
		}
		select {
		case <-ctx.Done():
			return "", 0, value, ctx.Err()
		case <-l.wake:
		}
	}
}

func (l *lanes[T]) claim() (room string, id int64, value T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) > 0 && !l.paused && !l.halted && (len(l.owner) == 0 || l.trusting()) {
		ln := l.ready[0]
		l.ready = l.ready[1:]
		ln.listed = false
		if !ln.eligible() {
			continue
		}
		ln.claimed = true
		head := ln.queue[0]
		l.owner[head.id] = ln
		if len(l.ready) > 0 {
			l.signal()
		}
		return ln.room, head.id, head.value, true
	}
	return "", 0, value, false
}

// begin notes that a claimed item is used. It reports false if it may not be:
// in a pause, or where there is no trust and another one is.
func (l *lanes[T]) begin(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.owner[id]
	if ln == nil || l.paused {
		return false
	}
	if !l.trusting() {
		for _, other := range l.owner {
			if other.begun && other != ln {
				return false
			}
		}
	}
	ln.begun, ln.round = true, l.round
	return true
}

// trust says that the use of a claimed item shows that others can be used. It
// does not if distrust was called since that began.
func (l *lanes[T]) trust(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln := l.owner[id]; ln != nil && ln.begun && ln.round == l.round {
		l.trusted = time.Now()
		l.signal()
	}
}

// distrust lets one item at a time be claimed, until trust.
func (l *lanes[T]) distrust() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round++
	l.trusted = time.Time{}
}

func (l *lanes[T]) trusting() bool {
	return l.trustFor == 0 || !l.trusted.IsZero() && time.Since(l.trusted) < l.trustFor
}

// done removes a claimed item and returns its room.
func (l *lanes[T]) done(id int64) (room string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.owner[id]
	if ln == nil {
		return "", false
	}
	l.size--
	delete(l.owner, id)
	ln.claimed, ln.begun = false, false
	ln.queue[0] = item[T]{}
	ln.queue = ln.queue[1:]
	ln.notBefore = time.Time{}
	l.settle(ln)
	l.signal()
	return ln.room, true
}

// giveBack makes a claimed item the next of its room again, not before the
// given time, with a new value.
func (l *lanes[T]) giveBack(id int64, value T, notBefore time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.owner[id]
	if ln == nil {
		return
	}
	delete(l.owner, id)
	ln.claimed, ln.begun = false, false
	ln.queue[0].value = value
	ln.notBefore = notBefore
	l.settle(ln)
	l.signal()
}

// block stops a room until unblock.
func (l *lanes[T]) block(room string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lane(room).blocked = true
}

func (l *lanes[T]) unblock(room string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.lane(room)
	ln.blocked = false
	l.settle(ln)
}

func (l *lanes[T]) unblockAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ln := range l.rooms {
		ln.blocked = false
		l.settle(ln)
	}
}

// pause stops every room until resume.
func (l *lanes[T]) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
}

// resume ends a pause. With hurry, every item is due at once.
func (l *lanes[T]) resume(hurry bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	for _, ln := range l.rooms {
		if hurry {
			ln.notBefore = time.Time{}
		}
		l.settle(ln)
	}
	l.signal()
}

// stop hands nothing out until start, whether there is a pause or not.
func (l *lanes[T]) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halted = true
}

func (l *lanes[T]) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halted = false
	l.signal()
}

// names returns the rooms that have queued items.
func (l *lanes[T]) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name, ln := range l.rooms {
		if len(ln.queue) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// count returns the number of queued items, claimed ones included.
func (l *lanes[T]) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// length returns the number of items of a room, the claimed one included.
func (l *lanes[T]) length(room string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln := l.rooms[room]; ln != nil {
		return len(ln.queue)
	}
	return 0
}

// isClaimed reports whether an item is somebody's.
func (l *lanes[T]) isClaimed(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owner[id] != nil
}

// idle reports whether no item is claimed or could be.
func (l *lanes[T]) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.owner) == 0 && (l.paused || l.halted || len(l.ready) == 0)
}

// values returns what is queued with the items.
func (l *lanes[T]) values() (all []T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ln := range l.rooms {
		for _, item := range ln.queue {
			all = append(all, item.value)
		}
	}
	return all
}

// clear forgets every item.
func (l *lanes[T]) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ln := range l.rooms {
		if ln.timer != nil {
			ln.timer.Stop()
		}
	}
	clear(l.rooms)
	clear(l.owner)
	l.ready, l.size = nil, 0
}

func (l *lanes[T]) lane(room string) *lane[T] {
	ln := l.rooms[room]
	if ln == nil {
		ln = &lane[T]{room: room}
		l.rooms[room] = ln
	}
	return ln
}

// eligible reports whether the head of a room that nobody has may be handed out.
func (ln *lane[T]) eligible() bool {
	return len(ln.queue) > 0 && !ln.blocked && !time.Now().Before(ln.notBefore)
}

// settle lists a room that is ready, sets a timer for one whose time has not
// come, and forgets an empty one. l.mu is held.
func (l *lanes[T]) settle(ln *lane[T]) {
	if ln.timer != nil {
		ln.timer.Stop()
		ln.timer = nil
	}
	switch {
	case ln.claimed || ln.blocked:
	case len(ln.queue) == 0:
		delete(l.rooms, ln.room)
	case ln.eligible():
		if !ln.listed {
			ln.listed = true
			l.ready = append(l.ready, ln)
		}
		l.signal()
	default:
		ln.timer = time.AfterFunc(time.Until(ln.notBefore), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.rooms[ln.room] == ln {
				l.settle(ln)
			}
		})
	}
}

func (l *lanes[T]) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
