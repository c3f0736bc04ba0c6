package journal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/bridge"
)

// came returns a message that came some time ago.
func came(room string, id int, ago time.Duration) bridge.Message {
	m := message(room, id)
	m.ReceivedAt = time.Now().Add(-ago)
	return m
}

// places returns rooms and after which of their messages to look.
func places(t *testing.T, j *Journal, server string, most int) (all []string) {
	t.Helper()
	since := time.Now().Add(-time.Hour)
	heard, err := j.Heard(t.Context(), server, since, most)
	check(t, err)
	for _, h := range heard {
		all = append(all, h.Room.Token+">"+h.After)
		if !h.Since.Equal(since) {
			t.Errorf("%s is to be looked at since %s, want %s", h.Room, h.Since, since)
		}
	}
	return all
}

func TestHeard(t *testing.T) {
	j := opened(t)
	if got := places(t, j, server, 9); got != nil {
		t.Errorf("in a new journal: %v", got)
	}
	for _, m := range []bridge.Message{
		came("quiet", 9, 3*time.Hour), came("quiet", 10, 2*time.Hour),
		// 30 came before the hour, 29 came late; what is after 30 can have been missed.
		came("busy", 29, 30*time.Minute), came("busy", 30, 61*time.Minute), came("busy", 100, 20*time.Minute), came("busy", 101, 10*time.Minute),
		came("new", 51, 5*time.Minute), came("new", 50, 4*time.Minute), // before 50 it was not heard from
	} {
		keep(t, j, m)
	}
	odd := message("custom", 1)
	odd.Key.ID = "derived-12"
	put(t, j, odd)
	elsewhere := message("elsewhere", 1)
	elsewhere.Key.Server = "https://other.example.com"
	put(t, j, elsewhere)

	if got, want := places(t, j, server, 9), []string{"new>50", "busy>30", "quiet>10"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := places(t, j, server, 1), []string{"new>50"}; !slices.Equal(got, want) {
		t.Errorf("one of them: %v, want %v", got, want)
	}
	if got, want := places(t, j, elsewhere.Key.Server, 9), []string{"elsewhere>1"}; !slices.Equal(got, want) {
		t.Errorf("of another server: %v, want %v", got, want)
	}
	if got := places(t, j, "https://none.example.com", 9); got != nil {
		t.Errorf("of a server that is not known: %v", got)
	}

	// What retention removed is not forgotten.
	check(t, j.Prune(t.Context(), time.Now().Add(-90*time.Minute)))
	heard, err := j.Heard(t.Context(), server, time.Now().Add(-time.Hour), 9)
	check(t, err)
	if len(heard) != 3 || heard[2].Room.Token != "quiet" || heard[2].After != "10" || !heard[2].Last.IsZero() || heard[0].Last.IsZero() {
		t.Errorf("after Prune: %+v", heard)
	}
}

// Of a journal that was damaged it is not known what was handled.
func TestHeardSinceTheDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	put(t, j, came("a", 1, 10*time.Minute))
	check(t, j.Record(t.Context(), []bridge.Event{{Title: bridge.Say("event to be spoilt")}}))
	shut(t, j)
	spoil(t, path)
	damaged := time.Now()
	j = open(t, path, Options{})
	check(t, j.Record(t.Context(), []bridge.Event{{Title: bridge.Say("after the damage")}}))
	for _, again := range []bool{false, true} {
		if again {
			shut(t, j)
			j = open(t, path, Options{})
			t.Cleanup(func() { shut(t, j) })
		}
		heard, err := j.Heard(t.Context(), server, damaged.Add(-time.Hour), 9)
		check(t, err)
		if len(heard) != 1 || heard[0].Since.Before(damaged.Truncate(time.Millisecond)) {
			t.Errorf("%+v, want a since not before %s", heard, damaged)
		}
		later := time.Now().Add(time.Minute)
		if heard, err = j.Heard(t.Context(), server, later, 9); err != nil || !heard[0].Since.Equal(later) {
			t.Errorf("asked for later: %+v, %v", heard, err)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) < 2 {
		t.Errorf("nothing was set aside: %v, %v", files, err)
	}
}

func TestUnknown(t *testing.T) {
	j := opened(t)
	ids := func(messages ...bridge.Message) string {
		t.Helper()
		unknown, err := j.Unknown(t.Context(), messages)
		check(t, err)
		var ids []string
		for _, m := range unknown {
			ids = append(ids, m.Key.ID)
		}
		return strings.Join(ids, " ")
	}
	keep(t, j, came("a", 1, 3*time.Hour))
	check(t, j.Prune(t.Context(), time.Now().Add(-2*time.Hour)))
	put(t, j, message("a", 2))
	keep(t, j, message("a", 3))
	sent, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "as the user")})
	check(t, err)
	_, err = j.Due(t.Context())
	check(t, err)
	check(t, j.Sent(t.Context(), sent[0], "4"))
	for id, state := range map[int]bridge.MessageState{5: bridge.MessageNotAllowed, 6: bridge.MessageRoomOff, 7: bridge.MessageBusy} {
		_, err := j.Put(t.Context(), message("a", id), state, &bridge.Failure{Code: bridge.CodeDenied})
		check(t, err)
	}
	check(t, j.Clear(t.Context())) // the log is for people: what is answered does not depend on it
	put(t, j, message("b", 8))

	var all []bridge.Message
	for id := 1; id <= 9; id++ {
		all = append(all, message("a", id))
	}
	if got := ids(all...); got != "8 9" {
		t.Errorf("of 1 to 9 these are unknown: %s", got)
	}
	if len(all) != 9 || all[0].Key.ID != "1" || all[8].Key.ID != "9" {
		t.Error("the messages that were given are changed")
	}
	elsewhere := message("a", 2)
	elsewhere.Key.Server = "https://other.example.com"
	if got := ids(elsewhere); got != "2" {
		t.Errorf("of another server: %q", got)
	}
	if got := ids(); got != "" {
		t.Errorf("of none: %q", got)
	}

	// A reply can be fetched before its sender has written down its id.
	_, err = j.Enqueue(t.Context(), []bridge.Reply{reply("a", "being sent")})
	check(t, err)
	due(t, j)
	posted, stranger := message("a", 10), message("a", 11)
	posted.Ref, stranger.Ref = "ref of being sent", "ref of somebody"
	if got := ids(posted, stranger); got != "11" {
		t.Errorf("of a reply and a message these are unknown: %s", got)
	}
}
