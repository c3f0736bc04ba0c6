package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"perch/bridge"
)

// probeSize is how much has to fit on the disk before the journal is said to
// work again: more than a message takes, so that the next one does not find the
// disk full at once.
const probeSize = 64 << 10

// Trouble returns why nothing can be written to the journal, a *bridge.Error;
// nil if it can, as far as is known. While there is trouble, no message is
// handed out, and so nothing is handled whose outcome could not be stored.
// Watch finds out when it is over.
func (j *Journal) Trouble() error {
	if trouble := j.trouble.Load(); trouble != nil {
		return *trouble
	}
	return nil
}

// noteFailure takes note of why a change could not be written. It runs on the writer.
func (j *Journal) noteFailure(cause error) {
	if !isOfDisk(cause) || j.Trouble() != nil || j.guest {
		return
	}
	err := j.explain(cause)
	j.troubled = j.now()
	j.trouble.Store(&err)
	j.inbox.stop()
	j.outbox.stop()
	select {
	case j.troubles <- struct{}{}:
	default:
	}
	j.sink.Publish(bridge.Event{
		Time: j.troubled, Stage: bridge.StageJournal, Kind: bridge.EventJournalFailed,
		Title: bridge.Say("The journal cannot be written: messages are refused"),
	}.Failed(err))
}

// lookAgain finds out whether the trouble is over.
func (j *Journal) lookAgain(ctx context.Context) {
	if j.probe(ctx) != nil {
		return
	}
	j.trouble.Store(nil)
	j.inbox.start()
	j.outbox.start()
	j.sink.Publish(bridge.Event{
		Time: j.now(), Stage: bridge.StageJournal, Kind: bridge.EventJournalWorks,
		Title: bridge.Say("The journal can be written again, after %s", max(0, j.now().Sub(j.troubled)).Round(time.Second).String()),
	})
}

// probe writes something of probeSize to the journal, and removes it.
func (j *Journal) probe(ctx context.Context) error {
	const key = "probe"
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		_, _, err := db.exec(ctx, "INSERT OR REPLACE INTO meta VALUES (?, hex(zeroblob(?)))", key, probeSize/2)
		return err
	})
	if err != nil {
		return err
	}
	return j.writer.do(ctx, func(ctx context.Context, db *database) error { return db.setMeta(ctx, key, "") })
}

// isOfDisk reports whether an error comes of the disk or the files, and not of
// what was to be written.
func isOfDisk(err error) bool {
	return isGone(err) || isCorrupt(err) || isFull(err) || isReadOnly(err) || isLocked(err) || hasCode(err, sqlite3.SQLITE_IOERR)
}

// tryToWrite writes a file of probeSize in a folder and removes it. Its error
// has the system's reason, which SQLite does not tell.
func tryToWrite(dir string) (err error) {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// explain turns an error of the database into one for a person.
func (j *Journal) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errClosed):
		return err
	case bridge.CodeOf(err) != bridge.CodeInternal:
		return err
	case j.Trouble() != nil && isOfDisk(err):
		return j.Trouble()
	}
	if hasCode(err, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) {
		err = errors.Join(err, tryToWrite(filepath.Dir(j.path)))
	}
	e := &bridge.Error{Code: bridge.CodeUnavailable, Cause: err}
	switch {
	case isFull(err):
		e.Text = bridge.Say("The disk is full: the journal cannot be written")
		e.Hint = bridge.Say("Free some space on the disk of %s, or raise the quota. Messages are refused until then.", j.path)
	case errors.Is(err, syscall.EFBIG):
		e.Text = bridge.Say("The journal cannot be written: Perch may not make its file any larger")
		e.Hint = bridge.Say("Raise the limit under which Perch was started: ulimit -f unlimited")
	case errors.Is(err, syscall.EROFS):
		e.Text = bridge.Say("The journal cannot be written: its file system is read-only")
		e.Hint = bridge.Say("Linux makes it so after an error of the disk: look at what dmesg says, then mount it writable again.")
	case isReadOnly(err):
		e.Text = bridge.Say("The journal cannot be written: the file or its folder is read-only")
		e.Hint = bridge.Say("Make it writable for the user who runs Perch: chmod u+rw %s", j.path)
	case isLocked(err):
		e.Text = bridge.Say("The journal cannot be written: another program has it locked")
		e.Hint = bridge.Say("Close what has the file %s open, such as a database browser or a backup.", j.path)
	default:
		e.Text = bridge.Say("The journal %s does not work", j.path)
		e.Hint = bridge.Say("Check the disk. To begin with an empty journal, stop Perch and rename the file.")
	}
	return e
}
