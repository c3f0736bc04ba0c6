package journal

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

// ask remembers the n-th exchange of a room.
func ask(t *testing.T, j *Journal, room string, n int, at time.Time) {
	t.Helper()
	key := bridge.Key{Server: server, Room: room, ID: strconv.Itoa(n)}
	asked := bridge.Turn{Author: "Alice", Text: fmt.Sprintf("q%d", n), Time: at}
	answered := bridge.Turn{Own: true, Text: fmt.Sprintf("a%d", n), Time: at.Add(time.Second)}
	check(t, j.Remember(t.Context(), key, asked, answered))
}

// recalled returns what is remembered of a room: "Alice: q1", "a1".
func recalled(t *testing.T, j *Journal, room string, n int) []string {
	t.Helper()
	turns, err := j.Recall(t.Context(), room, n)
	check(t, err)
	var lines []string
	for _, turn := range turns {
		if turn.Own {
			lines = append(lines, turn.Text)
		} else {
			lines = append(lines, turn.Author+": "+turn.Text)
		}
	}
	return lines
}

func wantTurns(t *testing.T, j *Journal, room string, n int, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, recalled(t, j, room, n)); diff != "" {
		t.Errorf("recalled of %s (-want +got):\n%s", room, diff)
	}
}

// eitherWay returns a journal that stores texts and one that does not.
func eitherWay(t *testing.T) map[string]*Journal {
	t.Helper()
	stores, stays := opened(t), opened(t)
	stays.StoreText(false)
	return map[string]*Journal{"on disk": stores, "in memory": stays}
}

func TestRecall(t *testing.T) {
	for name, j := range eitherWay(t) {
		t.Run(name, func(t *testing.T) {
			at := time.UnixMilli(1_750_000_000_000)
			ask(t, j, "a", 1, at)
			ask(t, j, "b", 1, at)
			ask(t, j, "a", 2, at)
			wantTurns(t, j, "a", 10, "Alice: q1", "a1", "Alice: q2", "a2")
			wantTurns(t, j, "a", 3, "a1", "Alice: q2", "a2")
			wantTurns(t, j, "a", 2, "Alice: q2", "a2")
			wantTurns(t, j, "a", 0)
			wantTurns(t, j, "nowhere", 10)

			turns, err := j.Recall(t.Context(), "b", 2)
			check(t, err)
			want := []bridge.Turn{{Author: "Alice", Text: "q1", Time: at}, {Own: true, Text: "a1", Time: at.Add(time.Second)}}
			if diff := cmp.Diff(want, turns); diff != "" {
				t.Errorf("turns (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRememberedAgainReplaces(t *testing.T) {
	for name, j := range eitherWay(t) {
		t.Run(name, func(t *testing.T) {
			ask(t, j, "a", 1, time.Now())
			ask(t, j, "a", 2, time.Now())
			again := bridge.Key{Server: server, Room: "a", ID: "1"}
			check(t, j.Remember(t.Context(), again, bridge.Turn{Author: "Alice", Text: "q1 again"}, bridge.Turn{Text: "a1 again"}))
			wantTurns(t, j, "a", 10, "Alice: q1 again", "a1 again", "Alice: q2", "a2")
		})
	}
}

func TestForget(t *testing.T) {
	for name, j := range eitherWay(t) {
		t.Run(name, func(t *testing.T) {
			ask(t, j, "a", 1, time.Now())
			ask(t, j, "b", 1, time.Now())
			check(t, j.Forget(t.Context(), "a"))
			wantTurns(t, j, "a", 10)
			wantTurns(t, j, "b", 10, "Alice: q1", "a1")
		})
	}
}

func TestTurnsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	ask(t, j, "a", 1, time.Now())
	shut(t, j)
	j = open(t, path, Options{})
	defer shut(t, j)
	ask(t, j, "a", 2, time.Now())
	wantTurns(t, j, "a", 10, "Alice: q1", "a1", "Alice: q2", "a2")
}

func TestTurnsThatAreNotStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	ask(t, j, "a", 1, time.Now())
	j.StoreText(false)
	ask(t, j, "a", 2, time.Now())
	wantTurns(t, j, "a", 10, "Alice: q1", "a1", "Alice: q2", "a2")
	wantTurns(t, j, "a", 3, "a1", "Alice: q2", "a2")
	for _, name := range []string{path, path + "-wal"} {
		data, err := os.ReadFile(name)
		check(t, err)
		if strings.Contains(string(data), "q2") || strings.Contains(string(data), "a2") {
			t.Errorf("%s has what was not to be stored", filepath.Base(name))
		}
	}
	shut(t, j)
	j = open(t, path, Options{})
	defer shut(t, j)
	wantTurns(t, j, "a", 10, "Alice: q1", "a1")
}

func TestTurnsInMemoryEndWhenTextsAreStored(t *testing.T) {
	j := opened(t)
	j.StoreText(false)
	ask(t, j, "a", 1, time.Now())
	j.StoreText(true)
	ask(t, j, "a", 2, time.Now())
	wantTurns(t, j, "a", 10, "Alice: q2", "a2")
}

func TestARoomRemembersOnlySoMuch(t *testing.T) {
	j := opened(t)
	ask(t, j, "b", 1, time.Now())
	for n := range maxExchanges + 3 {
		ask(t, j, "a", n, time.Now())
	}
	got := recalled(t, j, "a", 10*maxExchanges)
	if len(got) != 2*maxExchanges || got[0] != "Alice: q3" {
		t.Errorf("%d turns from %q, want %d from the fourth question", len(got), got[0], 2*maxExchanges)
	}
	wantTurns(t, j, "b", 10, "Alice: q1", "a1")
}

func TestMemoryHoldsOnlySoMuch(t *testing.T) {
	j := opened(t)
	j.StoreText(false)
	for n := range maxVolatile + 3 {
		ask(t, j, "a", n, time.Now())
	}
	if got := recalled(t, j, "a", 10*maxVolatile); len(got) != 2*maxVolatile || got[0] != "Alice: q3" {
		t.Errorf("%d turns from %q, want %d from the fourth question", len(got), got[0], 2*maxVolatile)
	}
}

func TestPruneTurns(t *testing.T) {
	for name, j := range eitherWay(t) {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			ask(t, j, "a", 1, now.Add(-48*time.Hour))
			ask(t, j, "a", 2, now)
			check(t, j.Prune(t.Context(), now.Add(-24*time.Hour)))
			wantTurns(t, j, "a", 10, "Alice: q2", "a2")
		})
	}
}

func TestDamageSavesTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path, Options{})
	defer shut(t, j)
	ask(t, j, "a", 1, time.Now())
	db, err := j.replace(t.Context(), sql.ErrConnDone)
	check(t, err)
	defer func() { check(t, db.close()) }()
	var n int
	check(t, db.readers.QueryRowContext(t.Context(), "SELECT count(*) FROM exchange").Scan(&n))
	if n != 1 {
		t.Errorf("%d exchanges were carried over, want 1", n)
	}
}

// A file of version 1 has no memory. It keeps what it has.
func TestFileOfVersion1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	old, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path))
	check(t, err)
	for _, stmt := range []string{
		schema1,
		"PRAGMA user_version = 1",
		"INSERT INTO server VALUES (1, '" + server + "')",
		`INSERT INTO inbox VALUES (1, 1, 'a', '7', NULL, 1750000000000, 0, CAST('{"text":"it waits"}' AS BLOB), NULL)`,
	} {
		_, err := old.ExecContext(t.Context(), stmt)
		check(t, err)
	}
	check(t, old.Close())

	for range 2 { // the second time there is nothing to bring up to date
		j := open(t, path, Options{})
		if text := claim(t, j).Message.Text; text != "it waits" {
			t.Errorf("claimed %q", text)
		}
		ask(t, j, "a", 1, time.Now())
		wantTurns(t, j, "a", 10, "Alice: q1", "a1")
		check(t, j.writer.do(t.Context(), func(ctx context.Context, db *database) error {
			var version int64
			if err := db.row(ctx, "PRAGMA user_version", nil, &version); err != nil || int(version) != len(schemas()) {
				t.Errorf("the file says version %d, %v", version, err)
			}
			return nil
		}))
		shut(t, j)
	}
}
