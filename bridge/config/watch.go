package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Watcher watches a file, wherever symbolic links lead, whether it exists or
// not. Where the system has no watches left, it looks every few seconds.
type Watcher struct {
	path  string
	fs    *fsnotify.Watcher // nil: there are none
	names map[string]bool   // the file, its links and their folders
	armed bool              // fs tells of every change
	seen  string            // state, when it was looked at last
	every time.Duration     // how often it is looked at without fs
}

// Watch begins to watch path. Its folder is made, for the user alone, if it is
// missing. Run must be called; what happens before is not lost.
func Watch(path string) *Watcher {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		fs = nil
	}
	return watchWith(path, fs)
}

func watchWith(path string, fs *fsnotify.Watcher) *Watcher {
	_ = os.MkdirAll(filepath.Dir(path), 0o700) // If it cannot be made, it may be there later.
	w := &Watcher{path: filepath.Clean(path), fs: fs, every: 3 * time.Second}
	w.armed = w.arm()
	w.seen = w.state()
	return w
}

// quiet is how long nothing must change before a change is reported.
const quiet = 100 * time.Millisecond

// Run calls changed soon after the file was written, replaced, removed, touched
// or given other permissions; once for what happens at a time. It returns when
// ctx is done.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	var events <-chan fsnotify.Event
	var lost <-chan error
	if w.fs != nil {
		defer func() { _ = w.fs.Close() }()
		events, lost = w.fs.Events, w.fs.Errors
	}
	timer := time.NewTimer(w.every)
	defer timer.Stop()
	if w.armed {
		timer.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case event, open := <-events:
			if !open {
				events = nil
			}
			if w.names[event.Name] {
				timer.Reset(quiet)
			}
		case _, open := <-lost:
			if !open {
				lost = nil
				continue
			}
			timer.Reset(quiet)
		case <-timer.C:
			told := w.armed // or it is one of the regular looks
			w.armed = w.arm()
			if now := w.state(); told || now != w.seen {
				w.seen = now
				changed()
			}
			if !w.armed {
				timer.Reset(w.every)
			}
		}
	}
}

// arm watches the folder of the file and those of all its links. It reports
// false if that of the file cannot be watched.
func (w *Watcher) arm() bool {
	if w.fs == nil {
		return false
	}
	w.names = map[string]bool{}
	for path := range links(w.path) {
		dir := filepath.Dir(path)
		w.names[path], w.names[dir] = true, true
		if err := w.fs.Add(dir); err != nil && path == w.path {
			return false
		}
	}
	return true
}

// state returns what the file and its links look like; another text when they
// have changed.
func (w *Watcher) state() string {
	var b strings.Builder
	for path := range links(w.path) {
		if info, err := os.Lstat(path); err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}
