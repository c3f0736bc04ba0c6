package pipeline

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"perch/bridge"
)

// Limits bound how many messages are answered within an hour. 0 is no bound.
type Limits struct {
	User int // of one person, in all conversations
	Room int // in one conversation, of all people
}

// perHour is the time that Limits are for. Whom a limit stops is told so once
// within it.
const perHour = time.Hour

// hour counts the messages of the last hour that were taken. What it holds is
// bounded by the limits, and by how many messages an hour can bring.
type hour struct {
	mu    sync.Mutex
	taken map[string][]time.Time // by userKey and roomKey, oldest first
	told  map[string]time.Time   // when it was last said that a limit is reached
	swept time.Time
}

func userKey(m bridge.Message) string { return "user " + m.Author.Ref() }
func roomKey(m bridge.Message) string { return "room " + m.Room.Token }

// excess says that a limit is reached.
type excess struct {
	key   string
	limit int
	room  bool          // it is that of the conversation, else that of the author
	again time.Duration // when the next message can be taken
}

// take counts m, unless a limit is reached.
func (h *hour) take(l Limits, m bridge.Message, now time.Time) *excess {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep(now)
	for _, e := range []excess{{key: userKey(m), limit: l.User}, {key: roomKey(m), limit: l.Room, room: true}} {
		if taken := h.recent(e.key, now); e.limit > 0 && len(taken) >= e.limit {
			e.again = taken[len(taken)-e.limit].Add(perHour).Sub(now)
			return &e
		}
	}
	h.add(l, m, now)
	return nil
}

func (h *hour) add(l Limits, m bridge.Message, at time.Time) {
	if h.taken == nil {
		h.taken = map[string][]time.Time{}
	}
	if l.User > 0 {
		h.taken[userKey(m)] = append(h.taken[userKey(m)], at)
	}
	if l.Room > 0 {
		h.taken[roomKey(m)] = append(h.taken[roomKey(m)], at)
	}
}

// giveBack undoes a take.
func (h *hour) giveBack(m bridge.Message, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range []string{userKey(m), roomKey(m)} {
		if i := slices.IndexFunc(h.taken[key], now.Equal); i >= 0 {
			h.taken[key] = slices.Delete(h.taken[key], i, i+1)
		}
	}
}

// recent returns what was taken within the last hour.
func (h *hour) recent(key string, now time.Time) []time.Time {
	old := 0
	for old < len(h.taken[key]) && now.Sub(h.taken[key][old]) >= perHour {
		old++
	}
	if old > 0 {
		h.taken[key] = slices.Delete(h.taken[key], 0, old)
	}
	return h.taken[key]
}

// sweep forgets those of whom nothing was taken for an hour.
func (h *hour) sweep(now time.Time) {
	if now.Sub(h.swept) < perHour {
		return
	}
	h.swept = now
	maps.DeleteFunc(h.taken, func(key string, _ []time.Time) bool { return len(h.recent(key, now)) == 0 })
	maps.DeleteFunc(h.told, func(_ string, at time.Time) bool { return now.Sub(at) >= perHour })
}

// tell reports whether those whom a limit stops are to be told so now.
func (h *hour) tell(key string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at, ok := h.told[key]; ok && now.Sub(at) < perHour {
		return false
	}
	if h.told == nil {
		h.told = map[string]time.Time{}
	}
	h.told[key] = now
	return true
}

// Recount counts messages that were taken before this process, oldest first.
func (in *Intake) Recount(l Limits, records []bridge.Record) {
	in.hour.mu.Lock()
	defer in.hour.mu.Unlock()
	for _, r := range records {
		switch r.State {
		case bridge.MessageWaiting, bridge.MessageHandling, bridge.MessageHandled, bridge.MessageFailed, bridge.MessagePassed:
			in.hour.add(l, r.Message, r.Message.ReceivedAt)
		default:
		}
	}
}

// failure is why a message is turned away.
func (e excess) failure(m bridge.Message) *bridge.Failure {
	f := &bridge.Failure{
		Code: bridge.CodeThrottled,
		Reason: bridge.Say("%[1]s was not answered: %[2]s messages within an hour is the limit for one person",
			m.Author.String(), strconv.Itoa(e.limit)),
		Hint: bridge.Say("To answer more, set %s in config.toml under [limits].", "user_messages"),
	}
	if e.room {
		f.Reason = bridge.Say("A message to %[1]s was not answered: %[2]s within an hour is the limit for a conversation", m.Room.String(), strconv.Itoa(e.limit))
		f.Hint = bridge.Say("To answer more, set %s in config.toml under [limits].", "room_messages")
	}
	return f
}

// line is what the room is told.
func (e excess) line() string {
	in := "in a minute"
	if n := int((e.again + time.Minute - 1) / time.Minute); n > 1 {
		in = "in " + strconv.Itoa(n) + " minutes"
	}
	times := strconv.Itoa(e.limit) + " times"
	if e.limit == 1 {
		times = "once"
	}
	if e.room {
		return "I have been asked " + times + " here within an hour, and may not answer more often. Please ask me again " + in + "."
	}
	return "You have asked me " + times + " within an hour, and I may not answer more often. Please ask me again " + in + "."
}
