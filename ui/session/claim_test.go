package session

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/testenv"
)

// take takes a claim that nobody else has, until the end of the test.
func take(t *testing.T, dir, kind string) *Claim {
	t.Helper()
	c, err := Take(t.Context(), dir, kind)
	if c == nil || err != nil {
		t.Fatalf("claim %v, error %v", c, err)
	}
	return c
}

// answered calls a claim, which gets the word and answers.
func answered(t *testing.T, c *Claim, dir, kind string) {
	t.Helper()
	if again, err := Take(t.Context(), dir, kind); again != nil || err != nil {
		t.Fatalf("the next one: claim %v, error %v", again, err)
	}
	got := make(chan string, 1)
	go func() {
		select {
		case call := <-c.Calls:
			call.Answer(Yes)
			got <- call.Word
		case <-time.After(testenv.Patience):
			got <- ""
		}
	}()
	if answer, err := Tell(t.Context(), dir, kind, Doctor); answer != Yes || err != nil {
		t.Errorf("answer %q, error %v", answer, err)
	}
	if word := <-got; word != Doctor {
		t.Errorf("asked for %q", word)
	}
}

func TestClaim(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("a-folder-with-a-long-name/", 5), "perch")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for _, dir := range []string{filepath.Join(t.TempDir(), "new"), deep} {
		for _, kind := range []string{Tray, Window} {
			if _, err := Tell(t.Context(), dir, kind, Raise); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("nobody is there: error %v", err)
			}
			c := take(t, dir, kind)
			socket := ourSocketPath(dir, kind)
			if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, error %v", socket, info, err)
			}
			for range 3 {
				answered(t, c, dir, kind)
			}
			take(t, t.TempDir(), kind).Release() // of another home
			c.Release()
			take(t, dir, kind).Release()
		}
	}
	dir := t.TempDir()
	tray := take(t, dir, Tray)
	defer tray.Release()
	take(t, dir, Window).Release()
}

// What a crash leaves behind is taken over.
func TestClaimAfterCrash(t *testing.T) {
	dir := t.TempDir()
	if os.Getenv("PERCH_TEST_CRASH") != "" {
		take(t, ".", Window)
		os.Exit(3)
	}
	crash := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestClaimAfterCrash$")
	crash.Env = append(os.Environ(), "PERCH_TEST_CRASH=yes")
	crash.Dir = dir
	if out, _ := crash.CombinedOutput(); crash.ProcessState.ExitCode() != 3 {
		t.Fatalf("%s", out)
	}
	if _, err := os.Stat(filepath.Join(dir, "window.sock")); err != nil {
		t.Fatalf("nothing was left behind: %v", err)
	}
	if _, err := Tell(t.Context(), dir, Window, Raise); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	c := take(t, dir, Window)
	defer c.Release()
	answered(t, c, dir, Window)
}

// A call that is not answered before the claim is given up has failed, and is made
// again to the next one.
func TestReachNext(t *testing.T) {
	dir := t.TempDir()
	first := take(t, dir, Window)
	reached := make(chan error, 1)
	go func() { reached <- Reach(t.Context(), dir, Window, Pause) }()
	<-first.Calls
	first.Release()
	next := take(t, dir, Window)
	defer next.Release()
	call := <-next.Calls
	call.Answer(Yes)
	if err := <-reached; err != nil || call.Word != Pause {
		t.Errorf("asked for %q, error %v", call.Word, err)
	}
}

// One that does not answer is told of.
func TestReachUnanswered(t *testing.T) {
	dir := t.TempDir()
	silent, err := net.Listen("unix", filepath.Join(dir, "window.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = Reach(ctx, dir, Window, Raise)
	if bridge.CodeOf(err) != bridge.CodeConflict || bridge.HintOf(err).IsZero() {
		t.Errorf("error %v", err)
	}
}

func TestClaimWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Take(t.Context(), filepath.Join(file, "dir"), Tray)
	if c != nil || bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("claim %v, error %v", c, err)
	}
}

func TestSocketPath(t *testing.T) {
	long := "/" + strings.Repeat("x", maxSocketPath)
	for _, test := range []struct{ name, dir, runtimeDir, wantDir string }{
		{"in the folder", "/home/alice/.local/share/perch", "/run/user/1000", "/home/alice/.local/share/perch"},
		{"too long", long, "/run/user/1000", "/run/user/1000"},
		{"no runtime folder", long, "", "/home/alice/.cache"},
		{"a relative runtime folder", long, "run", "/home/alice/.cache"},
		{"a runtime folder that is too long", long, long, "/home/alice/.cache"},
	} {
		got := socketPath(test.dir, Window, test.runtimeDir, "/home/alice/.cache")
		if filepath.Dir(got) != test.wantDir || len(got) > maxSocketPath {
			t.Errorf("%s: %s", test.name, got)
		}
	}
	if socketPath(long+"a", Tray, "/run", "") == socketPath(long+"b", Tray, "/run", "") {
		t.Error("two folders have the same socket")
	}
	if socketPath(long, Tray, "/run", "") == socketPath(long, Window, "/run", "") {
		t.Error("the tray and the window have the same socket")
	}
}
