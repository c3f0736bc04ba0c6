package pipeline

import (
	"slices"
	"strings"
	"sync"
	"time"

	"perch/bridge"
)

const (
	// loopLimit is how many messages in a row may repeat our replies.
	loopLimit = 10
	// loopWindow is how long a reply is remembered for that.
	loopWindow = 2 * time.Minute
	// loopPause is how long a room that answers itself is left alone at first;
	// it doubles up to loopPauseMax for as long as it goes on.
	loopPause    = time.Minute
	loopPauseMax = time.Hour
	// loopRooms and loopReplies bound what is remembered.
	loopRooms   = 1024
	loopReplies = 16
	// A bridge may put a name before what it repeats; then the rest must be at
	// least this long to count.
	loopSuffix = 20
)

// loopBreaker notices a room in which our own replies come back as messages of
// somebody we answer. Replies that come back as our own are not its business:
// the inbox knows those by their message id.
type loopBreaker struct {
	mu    sync.Mutex
	rooms map[string]*loopRoom
}

type loopRoom struct {
	replies []loopReply
	repeats int           // messages in a row that repeat a reply
	pause   time.Duration // the next pause
	touched time.Time
}

type loopReply struct {
	text string
	at   time.Time
}

// check takes a message that is about to be handled and returns how long its
// room must be left alone, 0 for not at all.
func (b *loopBreaker) check(m bridge.Message, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := b.rooms[m.Room.Token]
	if room == nil {
		return 0
	}
	text := strings.TrimSpace(m.Text)
	i := slices.IndexFunc(room.replies, func(r loopReply) bool {
		if now.Sub(r.at) > loopWindow {
			return false
		}
		return text == r.text || len(r.text) >= loopSuffix && strings.HasSuffix(text, r.text)
	})
	if i < 0 {
		room.repeats, room.pause = 0, 0
		return 0
	}
	room.replies = slices.Delete(room.replies, i, i+1)
	room.repeats++
	if room.repeats < loopLimit {
		return 0
	}
	room.repeats = loopLimit / 2 // after the pause, it need not be proven from scratch
	room.pause = min(max(2*room.pause, loopPause), loopPauseMax)
	return room.pause
}

// replied takes the replies that were given in a room.
func (b *loopBreaker) replied(token string, replies []bridge.Reply, now time.Time) {
	if len(replies) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	room := b.rooms[token]
	if room == nil {
		b.makeSpace()
		room = &loopRoom{}
		b.rooms[token] = room
	}
	room.touched = now
	for _, r := range replies {
		if r.Text != "" {
			room.replies = append(room.replies, loopReply{strings.TrimSpace(r.Text), now})
		}
	}
	if extra := len(room.replies) - loopReplies; extra > 0 {
		room.replies = slices.Delete(room.replies, 0, extra)
	}
}

// makeSpace forgets the room that was quiet for longest, if there are too many.
func (b *loopBreaker) makeSpace() {
	if b.rooms == nil {
		b.rooms = make(map[string]*loopRoom)
	}
	if len(b.rooms) < loopRooms {
		return
	}
	var oldest string
	for token, room := range b.rooms {
		if oldest == "" || room.touched.Before(b.rooms[oldest].touched) {
			oldest = token
		}
	}
	delete(b.rooms, oldest)
}
