package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever an editor does to the file is noticed.
func TestWatchNotices(t *testing.T) {
	const text = "version = 1\n"
	write := func(path ...string) error { return os.WriteFile(filepath.Join(path...), []byte(text), 0o600) }
	moveBehindLink := func(dir, path string) error {
		return errors.Join(
			os.Mkdir(filepath.Join(dir, "dotfiles"), 0o700),
			os.Rename(path, filepath.Join(dir, "dotfiles", "perch.toml")),
			os.Symlink(filepath.Join("dotfiles", "perch.toml"), path),
		)
	}
	tests := []struct {
		name           string
		before, change func(dir, path string) error
	}{
		{"written in place", nil, func(_, path string) error { return os.WriteFile(path, []byte("version = 2\n"), 0o600) }},
		{"renamed over", nil, func(dir, path string) error {
			return errors.Join(write(dir, "new"), os.Rename(filepath.Join(dir, "new"), path))
		}},
		{"saved", nil, func(_, path string) error {
			_, err := Save(path, valid())
			return err
		}},
		{"removed", nil, func(_, path string) error { return os.Remove(path) }},
		{"removed and made again", nil, func(_, path string) error { return errors.Join(os.Remove(path), write(path)) }},
		{"touched", nil, func(_, path string) error { return Touch(path) }},
		{"other permissions", nil, func(_, path string) error { return os.Chmod(path, 0o640) }},
		{
			"made for the first time",
			func(_, path string) error { return os.Remove(path) },
			func(_, path string) error { return write(path) },
		},
		{
			"link points elsewhere",
			func(dir, path string) error {
				return errors.Join(write(dir, "a"), write(dir, "b"), os.Remove(path), os.Symlink("a", path))
			},
			func(dir, path string) error {
				return errors.Join(os.Symlink("b", filepath.Join(dir, "new")), os.Rename(filepath.Join(dir, "new"), path))
			},
		},
		{"behind a link", moveBehindLink, func(dir, _ string) error { return write(dir, "dotfiles", "perch.toml") }},
		{"touched behind a link", moveBehindLink, func(_, path string) error { return Touch(path) }},
		{
			"link to nowhere gets a target",
			func(_, path string) error { return errors.Join(os.Remove(path), os.Symlink("later", path)) },
			func(dir, _ string) error { return write(dir, "later") },
		},
		{"folder removed and made again", nil, func(dir, path string) error {
			return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), write(path))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "perch")
			path := filepath.Join(dir, "config.toml")
			err := errors.Join(os.Mkdir(dir, 0o700), write(path))
			if test.before != nil {
				err = errors.Join(err, test.before(dir, path))
			}
			if err != nil {
				t.Fatal(err)
			}
			changed, stop := watch(t, path)
			defer stop()
			if err := test.change(dir, path); err != nil {
				t.Fatal(err)
			}
			<-changed

			// It goes on watching.
			_ = os.Remove(path)
			if err := write(path); err != nil {
				t.Fatal(err)
			}
			<-changed
		})
	}
}

func TestWatchMakesTheFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "perch", "config.toml")
	changed, stop := watch(t, path)
	defer stop()
	wantModes(t, filepath.Dir(path), os.ModeDir|0o700)
	if _, err := Save(path, valid()); err != nil {
		t.Fatal(err)
	}
	<-changed
}

// A folder that comes back later is watched again.
func TestWatchWaitsForTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "perch")
	path := filepath.Join(dir, "config.toml")
	changed, stop := watch(t, path)
	defer stop()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	back := make(chan error, 1)
	time.AfterFunc(3*quiet, func() { // By then it was missed.
		back <- errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path, nil, 0o600))
	})
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	<-changed
}

// Where the system has no watches left, or only later, changes are noticed all
// the same.
func TestWatchLooksWhereNothingTells(t *testing.T) {
	closed, err := fsnotify.NewWatcher()
	if err == nil {
		err = closed.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, fs := range map[string]*fsnotify.Watcher{"none": nil, "none for the folder": closed} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.toml")
			w := watchWith(path, fs)
			w.every = time.Millisecond
			changed, stop := run(t, w)
			defer stop()
			if _, err := Save(path, valid()); err != nil {
				t.Fatal(err)
			}
			<-changed
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			<-changed
		})
	}
}

// Nothing is reported while nothing changes.
func TestWatchLooksAndSaysNothing(t *testing.T) {
	w := watchWith(filepath.Join(t.TempDir(), "config.toml"), nil)
	w.every = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(quiet, cancel)
	w.Run(ctx, func() { t.Error("nothing has changed") })
}

// Other files in the folder, such as the journal, are none of its business.
func TestWatchIgnoresOtherFiles(t *testing.T) {
	dir := t.TempDir()
	w := Watch(filepath.Join(dir, "config.toml"))
	for _, name := range []string{"journal.db", "config.toml~", ".config.toml-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*quiet, cancel)
	w.Run(ctx, func() { t.Error("took another file for it") })
}

// Many writes in a row are one change, or a few where the machine is busy.
func TestWatchGathersChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	w := Watch(path)
	for range 50 { // Before Run, so that they are there at once.
		if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), Touch(path)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	w.Run(ctx, func() {
		calls++
		if calls == 1 {
			time.AfterFunc(5*quiet, cancel)
		}
	})
	if calls > 10 {
		t.Errorf("%d calls for 50 writes and touches", calls)
	}
}

// watch runs a watcher until stop is called.
func watch(t *testing.T, path string) (changed <-chan struct{}, stop func()) {
	t.Helper()
	return run(t, Watch(path))
}

func run(t *testing.T, w *Watcher) (changed <-chan struct{}, stop func()) {
	t.Helper()
	calls := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, func() {
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	return calls, func() {
		cancel()
		<-done
	}
}
