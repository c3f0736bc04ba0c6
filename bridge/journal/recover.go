package journal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"perch/bridge"
)

// metaBegun is the name of the time when the file replaced a damaged one: what
// came before may have been handled, also where nothing is known of it.
const metaBegun = "begun"

// recoverTimeout bounds how long a damaged file is read.
const recoverTimeout = 10 * time.Minute

// recover replaces a database that turned out to be damaged or gone while it was
// used. It runs on the writer.
func (j *Journal) recover(broken *database, cause error) (db *database, complete bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), recoverTimeout)
	defer cancel()
	unhandled := j.inbox.values()
	if isGone(cause) {
		if db, err = j.rewrite(ctx, broken); err == nil {
			complete = true
		}
	}
	if !complete {
		_ = broken.close() // what matters is the new one
		if db, err = j.replace(ctx, cause); err != nil {
			return nil, false, err
		}
	}
	j.inbox.clear()
	j.outbox.clear()
	if err := j.load(ctx, db); err != nil {
		return nil, false, errors.Join(err, db.close())
	}
	return db, complete, j.putBack(ctx, db, unhandled)
}

// putBack stores messages that are still in memory, if the file has lost them.
func (j *Journal) putBack(ctx context.Context, db *database, messages []*bridge.Message) error {
	for _, m := range messages {
		if m == nil {
			continue
		}
		body, err := j.body(*m, messageWaiting)
		if err != nil {
			return err
		}
		server, err := db.server(ctx, m.Key.Server)
		if err != nil {
			return err
		}
		n, id, err := db.exec(ctx, putMessage, server, m.Key.Room, m.Key.ID, nil, millis(m.ReceivedAt), messageWaiting, digest(m), nil, nil, body)
		if err != nil {
			return err
		}
		if n == 1 {
			j.inbox.add(m.Key.Room, id, m, time.Time{})
		}
	}
	return nil
}

// rewrite writes what a database holds whose files were deleted, as long as it
// has them open, to new ones.
func (j *Journal) rewrite(ctx context.Context, gone *database) (*database, error) {
	fresh := j.path + ".new"
	if err := removeFiles(fresh); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(fresh), 0o700); err != nil {
		return nil, err
	}
	if _, _, err := gone.exec(ctx, "VACUUM INTO ?", fresh); err != nil {
		return nil, err
	}
	if err := syncFile(fresh); err != nil {
		return nil, err
	}
	if err := os.Chmod(fresh, 0o600); err != nil {
		return nil, err
	}
	_ = gone.close() // its files are not there any more
	aside, err := j.setFileAside()
	if err != nil {
		return nil, err
	}
	if err := os.Rename(fresh, j.path); err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, j.path)
	if err != nil {
		return nil, err
	}
	why := &bridge.Error{
		Code: bridge.CodeInternal,
		Text: bridge.Say("The journal was deleted or changed while Perch runs"),
		Hint: bridge.Say("Nothing is lost. To begin with an empty journal, stop Perch first."),
	}
	if aside != "" {
		why.Hint = bridge.Say("Nothing is lost; what was left of the old file is kept as %s. To begin with an empty journal, stop Perch first.", aside)
	}
	j.sink.Publish(bridge.Event{
		Time: j.now(), Stage: bridge.StageJournal, Kind: bridge.EventJournalDamaged,
		Title: bridge.Say("The journal was gone from the disk; it is written again"),
	}.Failed(why))
	return db, nil
}

// replace writes what can still be read of a damaged file to a new one, which
// takes its place when it is complete.
func (j *Journal) replace(ctx context.Context, cause error) (*database, error) {
	fresh := j.path + ".new"
	if err := removeFiles(fresh); err != nil {
		return nil, err
	}
	found, err := readDamaged(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		found, err = &salvage{}, nil
	}
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, fresh)
	if err != nil {
		return nil, err
	}
	copySmall(ctx, db, j.path)
	n, err := found.restoreAll(ctx, db, millis(j.now()))
	if err := errors.Join(err, db.close()); err != nil {
		return nil, err
	}
	aside, err := j.setFileAside()
	if err != nil {
		return nil, err
	}
	if err := os.Rename(fresh, j.path); err != nil {
		return nil, err
	}
	j.sink.Publish(bridge.Event{
		Time: j.now(), Stage: bridge.StageJournal, Kind: bridge.EventJournalDamaged,
		Title: bridge.Say("The journal was damaged. Saved: %[1]s waiting messages and %[2]s waiting replies; pages that could not be read: %[3]s",
			strconv.Itoa(n.messages), strconv.Itoa(n.replies), strconv.Itoa(n.broken)),
	}.Failed(&bridge.Error{
		Code:  bridge.CodeInternal,
		Text:  bridge.Say("The journal was damaged"),
		Hint:  bridge.Say("There is nothing to do now. The old file is kept as %s; check the disk and its free space.", aside),
		Cause: cause,
	}))
	return openDatabase(ctx, j.path)
}

func (s *salvage) restoreAll(ctx context.Context, db *database, now int64) (n saved, err error) {
	if _, _, err := db.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return n, err
	}
	if n, err = s.restore(ctx, db); err == nil {
		err = db.setMeta(ctx, metaBegun, strconv.FormatInt(now, 10))
	}
	if err == nil {
		_, _, err = db.exec(ctx, "COMMIT")
	}
	return n, err
}

// setFileAside renames the files of the journal, as far as they are there, and
// returns the new name of the first; empty if it was not there.
func (j *Journal) setFileAside() (aside string, err error) {
	to := j.path + ".corrupt-" + j.now().UTC().Format("20060102-150405")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(j.path+suffix, to+suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", err
		case suffix == "":
			aside = to
		}
	}
	return aside, nil
}

func removeFiles(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// goneError says that the files of the journal are not those that are open.
type goneError struct{ file string }

func (e *goneError) Error() string { return e.file + " was deleted, replaced or cut short" }

func isGone(err error) bool {
	_, ok := errors.AsType[*goneError](err)
	return ok
}

// files are what a database is written to. They are looked at with every commit:
// whoever deletes or truncates them would have messages acknowledged that the
// next start does not find.
type files struct {
	path string
	seen [3]fs.FileInfo
}

// check returns a *goneError if the files are not there as they were the last
// time. It is the writer's.
func (f *files) check() error {
	if runtime.GOOS == "windows" { // an open file cannot be deleted there
		return nil
	}
	for i, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(f.path + suffix)
		switch before := f.seen[i]; {
		case before == nil && err != nil: // not written to yet
			continue
		case err != nil, before != nil && (!os.SameFile(before, info) || info.Size() < before.Size()):
			return &goneError{filepath.Base(f.path + suffix)}
		}
		f.seen[i] = info
	}
	return nil
}
