package pipeline_test

import (
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"perch/bridge"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
)

// limited is a policy that answers everybody, but not without end.
type limited struct{ pipeline.Limits }

func (l limited) Access(string) pipeline.Access {
	return pipeline.Access{Enabled: true, Allowed: pipeline.AllowList{"*"}, Limits: l.Limits}
}

func (limited) Own(bridge.Message) bool { return false }

func (limited) Route(bridge.Message) (int, bool) { return 100, true }

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		in := f.intake()
		p := limited{pipeline.Limits{User: 2, Room: 3}}
		say := func(in *pipeline.Intake, who, room string, want bridge.MessageState) bridge.Message {
			t.Helper()
			m := f.message(room, "hello")
			m.Author = bridge.Actor{Type: bridge.ActorUser, ID: who}
			if state, _, err := in.Accept(t.Context(), p, m); err != nil || state != want {
				t.Errorf("what %s says in %s is %s %v, want %s", who, room, state, err, want)
			}
			return m
		}
		again := say(in, "alice", "kitchen", bridge.MessageWaiting)
		for range 5 { // a webhook that comes again counts once
			if _, novelty, err := in.Accept(t.Context(), p, again); err != nil || novelty != bridge.Known {
				t.Fatalf("%v %v", novelty, err)
			}
		}
		say(in, "alice", "garden", bridge.MessageWaiting)
		say(in, "alice", "garden", bridge.MessageLimited)
		say(in, "alice", "kitchen", bridge.MessageLimited)
		say(in, "bob", "kitchen", bridge.MessageWaiting)
		time.Sleep(10 * time.Minute)
		say(in, "carol", "kitchen", bridge.MessageWaiting)
		say(in, "dave", "kitchen", bridge.MessageLimited)
		say(in, "dave", "garden", bridge.MessageWaiting)
		if got, want := f.said(t), []string{
			"You have asked me 2 times within an hour, and I may not answer more often. Please ask me again in 60 minutes.",
			"I have been asked 3 times here within an hour, and may not answer more often. Please ask me again in 50 minutes.",
		}; !slices.Equal(got, want) {
			t.Errorf("the rooms are told %q, want %q", got, want)
		}

		records, err := f.Messages(t.Context(), journal.Filter{Since: time.Now().Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		restarted := f.intake()
		restarted.Recount(p.Limits, records)
		for _, in := range []*pipeline.Intake{in, restarted} {
			say(in, "alice", "hall", bridge.MessageLimited)
			say(in, "erin", "kitchen", bridge.MessageLimited)
			say(in, "erin", "hall"+strconv.Itoa(len(f.said(t))), bridge.MessageWaiting)
		}
		time.Sleep(50 * time.Minute)
		say(restarted, "alice", "hall", bridge.MessageWaiting)
		say(in, "alice", "hall", bridge.MessageWaiting)
	})
}

// said returns the texts that wait to be sent, in order.
func (f *fixture) said(t *testing.T) (texts []string) {
	t.Helper()
	replies, err := f.Replies(t.Context(), journal.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range replies {
		texts = append(texts, r.Reply.Text)
	}
	return texts
}

// A handler that keeps within a limit has not failed.
func TestAHandlerThatReachedALimit(t *testing.T) {
	f := newFixture(t)
	m := f.message("room", "hello")
	if _, err := f.Put(t.Context(), m, bridge.MessageWaiting, nil); err != nil {
		t.Fatal(err)
	}
	why := &bridge.Error{Code: bridge.CodeThrottled, Text: bridge.Say("that was enough"), Cause: bridge.ErrLimited}
	item, err := f.Claim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(t.Context(), item.ID, []bridge.Reply{{Ref: pipeline.NewRef(), Room: m.Room, Text: "tomorrow", Answers: m.Key.ID}}, why); err != nil {
		t.Fatal(err)
	}
	records, err := f.Messages(t.Context(), journal.Filter{Level: slog.LevelWarn})
	if err != nil || len(records) != 1 || records[0].State != bridge.MessageLimited || records[0].Failure.Reason.String() != "that was enough" || len(records[0].Replies) != 1 {
		t.Errorf("the journal has %+v %v", records, err)
	}
}
