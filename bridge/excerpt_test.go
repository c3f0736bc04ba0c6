package bridge_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"perch/bridge"
)

func TestExcerpt(t *testing.T) {
	exact := strings.Repeat("ü", 500)
	for text, want := range map[string]string{"": "", "hi": "hi", exact: exact, exact + "x": exact + "…"} {
		if got := bridge.Excerpt(text); got != want {
			t.Errorf("of %d bytes: %d, want %d", len(text), len(got), len(want))
		}
	}
	var b bytes.Buffer
	if err := bridge.NewJSONLines(&b, slog.LevelInfo).Event(bridge.Event{Text: strings.Repeat("a", 501)}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "a"); n > 520 || !strings.Contains(b.String(), "a…") {
		t.Errorf("a line of JSON has %d of it", n)
	}
}

// A reaction that is taken away is no second line about it.
func TestAReactionIsToldOfOnce(t *testing.T) {
	reply := bridge.ReplyRecord{State: bridge.ReplySent, Reply: bridge.Reply{Reaction: "👀"}}
	if e := bridge.NewReplyEvent(reply, reply.EndedAt); e.Level != slog.LevelInfo {
		t.Errorf("set: %v", e.Level)
	}
	reply.Reply.Remove = true
	if e := bridge.NewReplyEvent(reply, reply.EndedAt); e.Level != slog.LevelDebug {
		t.Errorf("taken away: %v", e.Level)
	}
}
