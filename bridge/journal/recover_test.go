package journal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/bridge"
)

// Whatever happens to the files under a running Perch, what it says is stored is
// there after the next start.
func TestFilesThatVanish(t *testing.T) {
	remove := func(suffixes ...string) func(path string) error {
		return func(path string) error {
			for _, suffix := range suffixes {
				if err := os.Remove(path + suffix); err != nil {
					return err
				}
			}
			return nil
		}
	}
	truncate := func(suffix string) func(path string) error {
		return func(path string) error { return os.Truncate(path+suffix, 0) }
	}
	for _, tt := range []struct {
		name  string
		spoil func(path string) error
		lost  bool // what came before, where it is not in memory either
	}{
		{"all deleted", remove("", "-wal", "-shm"), false},
		{"the file deleted", remove(""), false},
		{"the log deleted", remove("-wal"), false},
		{"the index of the log deleted", remove("-shm"), false},
		{"the file truncated", truncate(""), true},
		{"the log truncated", truncate("-wal"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			heard := &sink{}
			j := open(t, path, Options{Sink: heard})
			put(t, j, message("a", 1))
			_, err := j.Enqueue(t.Context(), []bridge.Reply{reply("a", "before")})
			check(t, err)
			check(t, tt.spoil(path))
			put(t, j, message("a", 2))
			put(t, j, message("b", 3))
			heard.mu.Lock()
			alarms := len(heard.events)
			heard.mu.Unlock()
			if alarms == 0 {
				t.Error("nobody is told")
			}
			if n := j.Waiting("a"); n != 2 {
				t.Errorf("%d messages wait in a, want 2", n)
			}
			shut(t, j)
			j = open(t, path, Options{})
			defer shut(t, j)
			messages, replies := j.Backlog()
			if messages != 3 {
				t.Errorf("%d messages are there after a restart, want 3", messages)
			}
			if replies != 1 && !tt.lost {
				t.Errorf("%d replies are there after a restart, want 1", replies)
			}
		})
	}
}

// A page that is damaged takes what is on it, and nothing else.
func TestDamagedPages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	j := open(t, path, Options{})
	const n = 150
	for i := range n {
		room := fmt.Sprint("room", i%5)
		put(t, j, message(room, i))
		item := claim(t, j)
		finish(t, j, item.ID, bridge.Reply{Ref: strings.Repeat("f", 64), Room: bridge.Room{Token: room}, Text: fmt.Sprint("reply ", i)})
	}
	put(t, j, message("big", n))
	big := message("big", n+1)
	big.Text = strings.Repeat("long ", 5000) // on pages of its own
	put(t, j, big)
	shut(t, j)
	whole, err := os.ReadFile(path)
	check(t, err)
	const size = 4096
	waiting := func(data []byte) (messages, replies int) {
		t.Helper()
		check(t, removeFiles(path))
		check(t, os.WriteFile(path, data, 0o600))
		j := open(t, path, Options{})
		defer shut(t, j)
		return j.Backlog()
	}
	perPage := 0
	for page := range len(whole) / size {
		onIt := bytes.Count(whole[page*size:(page+1)*size], []byte("reply "))
		perPage = max(perPage, onIt)
		spoiled := bytes.Clone(whole)
		from := page * size
		if page == 0 {
			from = 100
		}
		copy(spoiled[from:(page+1)*size], bytes.Repeat([]byte{0xa5}, size))
		messages, replies := waiting(spoiled)
		if replies < n-onIt {
			t.Errorf("page %d damaged: %d of %d replies are left, %d were on it", page+1, replies, n, onIt)
		}
		if messages < 1 && !bytes.Contains(whole[page*size:(page+1)*size], []byte("text of big")) {
			t.Errorf("page %d damaged: %d messages are left", page+1, messages)
		}
	}
	if perPage == 0 || perPage > n/2 {
		t.Fatalf("%d replies on a page: the test shows nothing", perPage)
	}
	for _, cut := range []int{1, 5, len(whole) / size / 3} {
		left := whole[:len(whole)-cut*size]
		there := 0
		for i := range n {
			if bytes.Contains(left, fmt.Appendf(nil, `"text":"reply %d"`, i)) {
				there++
			}
		}
		if _, replies := waiting(left); replies < there {
			t.Errorf("without the last %d pages %d replies are left, %d are in the file", cut, replies, there)
		}
	}
}

// What was committed last stands in the write-ahead log alone.
func TestDamageWithALog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.db")
	j := open(t, path, Options{})
	for i := range 20 {
		put(t, j, message("a", i))
	}
	other := filepath.Join(dir, "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		check(t, err)
		if suffix == "" && len(data) > 0 {
			copy(data[100:], bytes.Repeat([]byte{0xa5}, len(data)-100))
		}
		check(t, os.WriteFile(other+suffix, data, 0o600))
	}
	shut(t, j)
	found, err := readDamaged(other)
	check(t, err)
	if n := len(found.rows[inboxShape]); n != 20 {
		t.Errorf("%d messages are found in the log, want 20", n)
	}
}

func FuzzReadDamaged(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "journal.db")
	j, err := Open(context.Background(), path, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 30 {
		if _, err := j.Put(context.Background(), message("a", i), bridge.MessageWaiting, nil); err != nil {
			f.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte("SQLite format 3\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readDamaged(path); err != nil {
			t.Fatal(err)
		}
	})
}
