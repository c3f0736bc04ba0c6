package control

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

func TestTally(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 35, 8, 0, time.UTC)
	ago := func(d time.Duration, e bridge.Event) bridge.Event {
		e.Time = now.Add(-d)
		return e
	}
	alice := bridge.Actor{Type: bridge.ActorUser, ID: "alice"}
	received := bridge.Event{Stage: bridge.StageIntake, Title: bridge.Say("Message received"), Actor: alice}
	again := bridge.Event{Stage: bridge.StageIntake, Level: slog.LevelDebug, Title: bridge.Say("A message came again and was not handled again")}
	sent := func(waited time.Duration) bridge.Event {
		return bridge.Event{Stage: bridge.StageSender, Title: bridge.Say("Reply sent"), Waited: waited}
	}
	retried := bridge.Event{Stage: bridge.StageSender, Level: slog.LevelWarn, Code: bridge.CodeUnavailable}
	refused := bridge.Event{Stage: bridge.StageSender, Level: slog.LevelError, Code: bridge.CodeUnauthorized}
	stranger := bridge.Event{Stage: bridge.StageWebhook, Level: slog.LevelWarn, Code: bridge.CodeUnauthorized}
	mallory := bridge.Event{Stage: bridge.StageIntake, Level: slog.LevelWarn, Code: bridge.CodeDenied}
	broken := bridge.Event{Stage: bridge.StageHandler, Level: slog.LevelError, Code: bridge.CodeInternal}
	handled := bridge.Event{Stage: bridge.StageHandler, Level: slog.LevelDebug, Title: bridge.Say("Handled")}
	elsewhere := bridge.Event{Stage: bridge.StageApp, Level: slog.LevelError, Code: bridge.CodeInvalid}

	tests := []struct {
		name    string
		events  []bridge.Event // oldest first
		want    bridge.Hour    // without Bars
		median  time.Duration
		last    time.Time
		problem bridge.Event
	}{
		{name: "nothing"},
		{
			name:   "a conversation",
			events: []bridge.Event{ago(9*time.Second, received), ago(8*time.Second, handled), ago(7*time.Second, sent(2*time.Second))},
			want:   bridge.Hour{Received: 1, Answered: 1}, median: 2 * time.Second, last: now.Add(-9 * time.Second),
		},
		{
			name:   "a message that comes again",
			events: []bridge.Event{ago(2*time.Minute, received), ago(0, again)},
			want:   bridge.Hour{Received: 1}, last: now.Add(-2 * time.Minute),
		},
		{
			name:   "longer ago than an hour",
			events: []bridge.Event{ago(61*time.Minute, received), ago(61*time.Minute, sent(time.Second)), ago(59*time.Minute, received)},
			want:   bridge.Hour{Received: 1}, last: now.Add(-59 * time.Minute),
		},
		{
			name:   "the median, not the mean",
			events: []bridge.Event{ago(4, sent(time.Second)), ago(3, sent(2*time.Second)), ago(2, sent(time.Hour))},
			want:   bridge.Hour{Answered: 3}, median: 2 * time.Second,
		},
		{
			name:   "turned away",
			events: []bridge.Event{ago(2, stranger), ago(1, mallory)},
			want:   bridge.Hour{Refused: 2}, problem: ago(1, mallory),
		},
		{
			name:   "a refused reply",
			events: []bridge.Event{ago(1, refused)},
			want:   bridge.Hour{Failed: 1}, problem: ago(1, refused),
		},
		{
			name:   "a reply that is sent in the end",
			events: []bridge.Event{ago(2, retried), ago(1, sent(0))},
			want:   bridge.Hour{Answered: 1},
		},
		{
			name:   "a handler that works again",
			events: []bridge.Event{ago(2, broken), ago(1, handled)},
			want:   bridge.Hour{Failed: 1},
		},
		{
			name:   "a sent reply does not mend the handler",
			events: []bridge.Event{ago(2, broken), ago(1, sent(0))},
			want:   bridge.Hour{Failed: 1, Answered: 1}, problem: ago(2, broken),
		},
		{
			name:   "what the present state tells is no problem of its own",
			events: []bridge.Event{ago(1, elsewhere)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tally tally
			for _, e := range tt.events {
				tally.add(e)
			}
			got, median := tally.hour(now)
			got.Bars = bridge.Hour{}.Bars
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the hour (-want +got):\n%s", diff)
			}
			if median != tt.median {
				t.Errorf("median %v, want %v", median, tt.median)
			}
			if !tally.last.ReceivedAt.Equal(tt.last) {
				t.Errorf("last message at %v, want %v", tally.last.ReceivedAt, tt.last)
			}
			if diff := cmp.Diff(tt.problem, tally.problem); diff != "" {
				t.Errorf("the problem (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTallyBars(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 35, 8, 0, time.UTC)
	var tally tally
	for i := range 180 { // one a minute, for three hours
		tally.add(bridge.Event{
			Time: now.Add(-time.Duration(179-i) * time.Minute), Stage: bridge.StageIntake, Title: bridge.Say("Message received"),
		})
	}
	tally.add(bridge.Event{Time: now, Stage: bridge.StageHandler, Level: slog.LevelError, Code: bridge.CodeInternal})
	h, _ := tally.hour(now)
	var want [30]bridge.Bar
	for i := range want {
		want[i].Messages = 2
	}
	// 14:34 and 14:35 are the present bar.
	want[29].Failures = 1
	if diff := cmp.Diff(want, h.Bars); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if h, _ := tally.hour(now.Add(2 * time.Hour)); h.Received != 0 {
		t.Errorf("two hours later %d messages count", h.Received)
	}
}
