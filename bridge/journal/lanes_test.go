package journal

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"perch/bridge"
)

// Until one is used well, items are claimed one at a time: after distrust,
// whatever began before it, and when the last good use was a while ago.
func TestTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes[int]()
		l.trustFor = 10 * time.Second
		for id, room := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			l.add(room, int64(id), 0, time.Time{})
		}
		claimed := func(want ...int64) {
			t.Helper()
			for _, id := range want {
				if _, got, _, ok := l.claim(); !ok || got != id {
					t.Fatalf("claimed %d %v, want %d", got, ok, id)
				}
			}
			if len(want) > 1 {
				return
			}
			if _, got, _, ok := l.claim(); ok {
				t.Fatalf("claimed %d beside %d", got, want[0])
			}
		}
		begun := func(id int64, want bool) {
			t.Helper()
			if got := l.begin(id); got != want {
				t.Fatalf("begin %d: %v", id, got)
			}
		}
		claimed(0)
		l.trust(0) // it was not used
		l.done(0)
		claimed(1)
		begun(1, true)
		l.trust(1)
		l.done(1)
		claimed(2, 3)
		begun(2, true)
		l.distrust() // the secret changed
		begun(3, false)
		l.giveBack(3, 0, time.Time{})
		l.trust(2) // that was the old one
		l.done(2)
		claimed(4)
		begun(4, true)
		l.trust(4)
		time.Sleep(9 * time.Second)
		claimed(5, 6)
		begun(5, true)
		begun(6, true)
		time.Sleep(2 * time.Second)
		if _, id, _, ok := l.claim(); ok {
			t.Fatalf("claimed %d beside others, after a long time", id)
		}
		l.trust(6)
		claimed(7, 3)
		l.pause()
		begun(7, false)
	})
}

// A reply whose end cannot be written down is not sent again.
func TestSentThoughItCannotBeWritten(t *testing.T) {
	j := opened(t)
	ids, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one"), reply("a", "two")})
	check(t, err)
	item := due(t, j)
	check(t, j.Begin(t.Context(), item.ID))
	_, _, err = j.writer.current().exec(t.Context(), "PRAGMA query_only = 1")
	check(t, err)
	if err := j.Sent(t.Context(), item.ID, "7"); bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Fatalf("Sent: %v", err)
	}
	_, _, err = j.writer.current().exec(t.Context(), "PRAGMA query_only = 0")
	check(t, err)
	j.lookAgain(t.Context())
	if next := due(t, j); next.Reply.Text != "two" {
		t.Errorf("due again: %+v", next)
	}
	if r, err := j.Reply(t.Context(), ids[0]); err != nil || r.State != bridge.ReplySent || r.MessageID != "7" {
		t.Errorf("the first: %+v, %v", r, err)
	}
}

// An attempt that could not be written down is not made, and made later.
func TestBegunThoughItCannotBeWritten(t *testing.T) {
	j := opened(t)
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "one")})
	check(t, err)
	item := due(t, j)
	_, _, err = j.writer.current().exec(t.Context(), "PRAGMA query_only = 1")
	check(t, err)
	if err := j.Begin(t.Context(), item.ID); err == nil || errors.Is(err, bridge.ErrNotNow) {
		t.Fatalf("Begin: %v", err)
	}
	_, _, err = j.writer.current().exec(t.Context(), "PRAGMA query_only = 0")
	check(t, err)
	j.lookAgain(t.Context())
	if again := due(t, j); again.Attempts != 0 || again.Unclear != 0 {
		t.Errorf("due again: %+v", again)
	}
}
