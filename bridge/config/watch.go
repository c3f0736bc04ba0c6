package config

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"perch/bridge"
)

// Watcher watches a file, wherever symbolic links lead, whether it exists or
// not.
type Watcher struct {
	path  string
	fs    *fsnotify.Watcher
	names map[string]bool // the file, its links and their folders
}

// Watch begins to watch path. Its folder is made, for the user alone, if it is
// missing. Run must be called; what happens before is not lost.
func Watch(path string) (*Watcher, error) {
	fail := func(err error) error {
		return unavailable(bridge.Say("changes of %s cannot be noticed", path), err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fail(err)
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fail(err)
	}
	w := &Watcher{path: filepath.Clean(path), fs: fs}
	if err := w.arm(); err != nil {
		_ = fs.Close()
		return nil, fail(err)
	}
	return w, nil
}

const (
	quiet = 100 * time.Millisecond // without a further change, before one is reported
	retry = time.Second            // while the folder is gone
)

// Run calls changed soon after the file was written, replaced, removed, touched
// or given other permissions; once for what happens at a time. It returns when
// ctx is done.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	defer func() { _ = w.fs.Close() }()
	timer := time.NewTimer(quiet)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-w.fs.Events:
			if w.names[event.Name] {
				timer.Reset(quiet)
			}
		case _, open := <-w.fs.Errors: // Events were lost.
			if open {
				timer.Reset(quiet)
			}
		case <-timer.C:
			if w.arm() != nil { // The folder is gone.
				timer.Reset(retry)
				continue
			}
			changed()
		}
	}
}

// arm watches the folder of the file and those of all its links.
func (w *Watcher) arm() error {
	w.names = map[string]bool{}
	for path := range links(w.path) {
		dir := filepath.Dir(path)
		w.names[path], w.names[dir] = true, true
		if err := w.fs.Add(dir); err != nil && path == w.path {
			return err
		}
	}
	return nil
}
