package app

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"perch/bridge"
)

const (
	// noteTokens is the name of what the journal remembers of a day's tokens.
	noteTokens = "tokens"
	// maxMetered bounds the people and conversations whose tokens are told
	// apart within a day.
	maxMetered = 10_000
	// sayAgain is how long those whom a limit stops are not told so again.
	sayAgain = time.Hour
)

// meter counts the tokens of language models since midnight, for each person
// and each conversation. It implements handler.Meter.
type meter struct {
	app *App

	mu     sync.Mutex
	loaded bool
	today  tokensOfDay
	told   map[string]time.Time // by key: when it was said that the limit is reached
}

// tokensOfDay is what is written down, as JSON.
type tokensOfDay struct {
	Day  string         `json:"day"`  // where this machine is
	Used map[string]int `json:"used"` // by meteredUser and meteredRoom
}

func meteredUser(m bridge.Message) string { return "user " + m.Author.Ref() }
func meteredRoom(m bridge.Message) string { return "room " + m.Room.Token }

// turn makes today today. It needs t.mu.
func (t *meter) turn(ctx context.Context, now time.Time) error {
	if !t.loaded {
		text, err := t.app.journal.Noted(ctx, noteTokens)
		if err != nil {
			return err
		}
		_ = json.Unmarshal([]byte(text), &t.today) // there may be none
		t.loaded = true
	}
	if day := now.Format(time.DateOnly); t.today.Day != day || t.today.Used == nil {
		t.today, t.told = tokensOfDay{day, map[string]int{}}, nil
	}
	return nil
}

// Refuse implements handler.Meter.
func (t *meter) Refuse(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	limits := t.app.current.Load().config.Limits
	if limits.UserTokens == 0 && limits.RoomTokens == 0 {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if err := t.turn(ctx, now); err != nil {
		return nil, err
	}
	var key, line string
	why := &bridge.Error{Code: bridge.CodeThrottled, Cause: bridge.ErrLimited}
	switch user, room := meteredUser(m), meteredRoom(m); {
	case limits.UserTokens > 0 && t.today.Used[user] >= limits.UserTokens:
		key, line = user, "I have said as much to you today as I may. Please ask me again tomorrow."
		why.Text = bridge.Say("%[1]s was not answered: %[2]s tokens of the model are used, and %[3]s a day is the limit for one person",
			m.Author.String(), strconv.Itoa(t.today.Used[user]), strconv.Itoa(limits.UserTokens))
		why.Hint = bridge.Say("To answer more, set %s in config.toml under [limits].", "user_tokens")
	case limits.RoomTokens > 0 && t.today.Used[room] >= limits.RoomTokens:
		key, line = room, "I have said as much here today as I may. Please ask me again tomorrow."
		why.Text = bridge.Say("A message to %[1]s was not answered: %[2]s tokens of the model are used, and %[3]s a day is the limit for a conversation",
			m.Room.String(), strconv.Itoa(t.today.Used[room]), strconv.Itoa(limits.RoomTokens))
		why.Hint = bridge.Say("To answer more, set %s in config.toml under [limits].", "room_tokens")
	default:
		return nil, nil
	}
	if at, ok := t.told[key]; ok && now.Sub(at) < sayAgain {
		return nil, why
	}
	if t.told == nil {
		t.told = map[string]time.Time{}
	}
	t.told[key] = now
	return []bridge.Reply{{Text: line}}, why
}

// Count implements handler.Meter.
func (t *meter) Count(ctx context.Context, m bridge.Message, tokens int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turn(ctx, time.Now()) != nil {
		return // the journal tells of its trouble
	}
	for _, key := range []string{meteredUser(m), meteredRoom(m)} {
		if _, known := t.today.Used[key]; known || len(t.today.Used) < maxMetered {
			t.today.Used[key] += tokens
		}
	}
	if text, err := json.Marshal(t.today); err == nil {
		_ = t.app.journal.Note(ctx, noteTokens, string(text)) // else it counts until the end of the process
	}
	t.app.Bus.Publish(bridge.Event{
		Stage: bridge.StageHandler, Kind: bridge.EventTokens, Count: tokens, Room: m.Room, Actor: m.Author, MessageID: m.Key.ID,
		Title: bridge.Say("The model used %[1]s tokens; for %[2]s that makes %[3]s today",
			strconv.Itoa(tokens), m.Author.String(), strconv.Itoa(t.today.Used[meteredUser(m)])),
	})
}
