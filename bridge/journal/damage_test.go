package journal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/testenv"
)

func TestAFileThatIsNoDatabaseIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	garbage := bytes.Repeat([]byte("this is no database\n"), 500)
	check(t, os.WriteFile(path, garbage, 0o600))
	var heard sink
	j := open(t, path, Options{Sink: &heard})
	defer shut(t, j)
	put(t, j, message("a", 1))

	kept, err := filepath.Glob(path + ".corrupt-*")
	check(t, err)
	if len(kept) != 1 {
		t.Fatalf("files set aside: %v, want one", kept)
	}
	if data, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(data, garbage) {
		t.Errorf("the file set aside was changed (%v)", err)
	}
	if len(heard.events) != 1 || !strings.Contains(heard.events[0].Hint.String(), kept[0]) {
		t.Errorf("events: %+v, want one that names %s", heard.events, kept[0])
	}
}

// spoil overwrites everything in the database's own pages that holds the index
// of the event log, and leaves the inbox alone.
func spoil(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	marker := []byte("event to be spoilt")
	at := bytes.Index(data, marker)
	if at < 0 {
		t.Fatal("the page to be spoilt is not there")
	}
	page := at / 4096 * 4096
	copy(data[page:page+4096], bytes.Repeat([]byte{0xa5}, 4096))
	check(t, os.WriteFile(path, data, 0o600))
}

func TestDamageWhileRunningSavesWhatWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	for i := range 20 {
		put(t, j, message("a", i))
	}
	_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("b", "waiting")})
	check(t, err)
	check(t, j.Record(t.Context(), []bridge.Event{{Title: bridge.Say("event to be spoilt")}}))
	shut(t, j)
	spoil(t, path)

	var heard sink
	j = open(t, path, Options{Sink: &heard})
	defer shut(t, j)
	if len(heard.events) != 0 {
		t.Fatalf("the damage was noticed at the start: %v", heard.events)
	}
	check(t, j.Record(t.Context(), []bridge.Event{{Title: bridge.Say("after the damage")}}))
	if len(heard.events) != 1 {
		t.Fatalf("events: %+v, want one that tells of the damage", heard.events)
	}
	messages, replies := j.Backlog()
	if messages != 20 || replies != 1 {
		t.Errorf("%d messages and %d replies are left, want 20 and 1", messages, replies)
	}
	if got := claim(t, j).Message.Text; got != "text of a/0" {
		t.Errorf("the first message is %q", got)
	}
	if put(t, j, message("a", 7)) {
		t.Error("a message that was saved is taken for new")
	}
	if !put(t, j, message("a", 30)) {
		t.Error("a new message is not fresh")
	}
}

func TestFullDisk(t *testing.T) {
	var heard sink
	j := open(t, filepath.Join(t.TempDir(), "journal.db"), Options{Sink: &heard})
	defer shut(t, j)
	put(t, j, message("a", 1))
	limit := func(pages string) {
		check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error {
			_, _, err := db.exec(ctx, "PRAGMA max_page_count = "+pages)
			return err
		}))
	}
	limit("1") // SQLite takes the present size, if that is more
	big := message("a", 2)
	big.Text = strings.Repeat("x", 100_000)
	for range 3 {
		_, err := j.Put(t.Context(), big, bridge.MessageWaiting, nil)
		if bridge.CodeOf(err) != bridge.CodeUnavailable || !strings.Contains(err.Error(), "disk is full") {
			t.Fatalf("Put on a full disk: %v", err)
		}
		if bridge.HintOf(err).IsZero() {
			t.Error("there is no hint")
		}
	}
	if err := j.Trouble(); err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("Trouble: %v", err)
	}
	nothingToClaim(t, j, "its outcome could not be stored")
	if got := heard.kinds(); !slices.Equal(got, []bridge.EventKind{bridge.EventJournalFailed}) {
		t.Errorf("events: %v, want one", got)
	}

	j.lookAgain(t.Context())
	if j.Trouble() == nil {
		t.Error("the disk is full, and the trouble is over")
	}
	limit("1000000")
	j.lookAgain(t.Context())
	if err := j.Trouble(); err != nil {
		t.Errorf("after space was made: %v", err)
	}
	if got := heard.kinds(); !slices.Equal(got, []bridge.EventKind{bridge.EventJournalFailed, bridge.EventJournalWorks}) {
		t.Errorf("events: %v, want that it works again", got)
	}
	if !put(t, j, big) {
		t.Error("after space was made, the message is not fresh: half of it was written")
	}
	if got := claim(t, j).Message.Key.ID; got != message("a", 1).Key.ID {
		t.Errorf("message %s was handed out first", got)
	}
}

func (s *sink) kinds() (kinds []bridge.EventKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func TestDiagnose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	defer shut(t, j)
	if found := j.Diagnose(t.Context()); found.Status == bridge.StatusFail {
		t.Errorf("%+v", found)
	}
	testenv.LockDatabase(t, path)
	if found := j.Diagnose(t.Context()); found.Status != bridge.StatusFail || found.Fix.IsZero() {
		t.Errorf("locked: %+v", found)
	}
}

func TestReadOnlyFile(t *testing.T) {
	j := opened(t)
	put(t, j, message("a", 1))
	_, _, err := j.writer.current().exec(t.Context(), "PRAGMA query_only = 1")
	check(t, err)
	_, err = j.Put(t.Context(), message("a", 2), bridge.MessageWaiting, nil)
	if bridge.CodeOf(err) != bridge.CodeUnavailable || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("Put: %v", err)
	}
}

func TestNewerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error {
		_, _, err := db.exec(ctx, "PRAGMA user_version = 99")
		return err
	}))
	shut(t, j)
	_, err := Open(t.Context(), path, Options{})
	e, ok := errors.AsType[*bridge.Error](err)
	if !ok || !strings.Contains(e.Text.String(), "newer version") {
		t.Errorf("Open: %v", err)
	}
}

func TestWatchNoticesThatTheFilesAreGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	heard := &announced{events: make(chan bridge.Event, 100)}
	j := open(t, path, Options{Sink: heard})
	defer shut(t, j)
	put(t, j, message("a", 1))
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- j.Watch(ctx) }()
	defer func() { stop(); <-watched }()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		check(t, os.Remove(path+suffix))
	}
	for e := range heard.events {
		if strings.Contains(e.Title.String(), "gone from the disk") {
			break
		}
	}
}

// announced hands events on.
type announced struct{ events chan bridge.Event }

func (a *announced) Publish(e bridge.Event) { a.events <- e }
