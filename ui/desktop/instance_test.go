package desktop

import (
	"context"
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

func raised(t *testing.T, raise <-chan struct{}) {
	t.Helper()
	select {
	case <-raise:
	case <-time.After(testenv.Patience):
		t.Fatal("the window was not raised")
	}
}

func TestClaim(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("a-folder-with-a-long-name/", 5), "perch")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for _, dir := range []string{filepath.Join(t.TempDir(), "new"), deep} {
		first, raise, release, err := Claim(t.Context(), dir)
		if !first || err != nil {
			t.Fatalf("first %v, error %v", first, err)
		}
		socket := ourSocketPath(dir)
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, error %v", socket, info, err)
		}
		for range 3 {
			if again, _, _, err := Claim(t.Context(), dir); again || err != nil {
				t.Fatalf("the next one: first %v, error %v", again, err)
			}
			raised(t, raise)
		}
		if other, _, release, err := Claim(t.Context(), t.TempDir()); !other || err != nil {
			t.Errorf("another home: first %v, error %v", other, err)
		} else {
			release()
		}
		release()
		if first, _, release, err = Claim(t.Context(), dir); !first || err != nil {
			t.Fatalf("after the first one ended: first %v, error %v", first, err)
		}
		release()
	}
}

// What a crash leaves behind is taken over.
func TestClaimAfterCrash(t *testing.T) {
	dir := t.TempDir()
	if os.Getenv("PERCH_TEST_CRASH") != "" {
		if first, _, _, err := Claim(t.Context(), "."); !first || err != nil {
			t.Fatalf("first %v, error %v", first, err)
		}
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
	first, raise, release, err := Claim(t.Context(), dir)
	if !first || err != nil {
		t.Fatalf("first %v, error %v", first, err)
	}
	defer release()
	if again, _, _, err := Claim(t.Context(), dir); again || err != nil {
		t.Fatalf("the next one: first %v, error %v", again, err)
	}
	raised(t, raise)
}

// One that holds the claim and does not answer is told of.
func TestClaimUnanswered(t *testing.T) {
	dir := t.TempDir()
	_, _, release, err := Claim(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	socket := filepath.Join(dir, "window.sock")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	first, _, _, err := Claim(ctx, dir)
	if first || bridge.CodeOf(err) != bridge.CodeConflict || bridge.HintOf(err).IsZero() {
		t.Errorf("first %v, error %v", first, err)
	}
}

func TestClaimWithoutFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first, _, _, err := Claim(t.Context(), filepath.Join(file, "dir"))
	if first || bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("first %v, error %v", first, err)
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
		got := socketPath(test.dir, test.runtimeDir, "/home/alice/.cache")
		if filepath.Dir(got) != test.wantDir || len(got) > maxSocketPath {
			t.Errorf("%s: %s", test.name, got)
		}
	}
	if socketPath(long+"a", "/run", "") == socketPath(long+"b", "/run", "") {
		t.Error("two folders have the same socket")
	}
}
