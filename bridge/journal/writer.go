package journal

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// maxBatch bounds how many operations share one commit.
	maxBatch = 256
	// patience is how long an operation that can wait does so for others with
	// which to share a commit.
	patience = 50 * time.Millisecond
)

// writer is the one goroutine that writes. Whatever waits when it is free goes
// into one transaction, so that many waiting requests share one fsync.
type writer struct {
	ops      chan *op
	later    chan *op      // those that can wait
	flush    chan struct{} // one token: they have waited long enough
	armed    atomic.Bool   // the token is on its way
	quit     chan struct{} // closed by close
	finished chan struct{} // closed when the goroutine has ended
	db       atomic.Pointer[database]
	recover  func(broken *database, cause error) (*database, error)
	err      error // of closing the database; after finished
}

// op is a change to the database. run may be called again after an error; its
// context is never done, since a transaction is not left half way.
type op struct {
	run  func(ctx context.Context, db *database) error
	bare bool // a single statement, which needs no transaction of its own
	done chan error
}

// newWriter starts the goroutine, which ends with close. recover replaces a database that turns out
// to be damaged.
func newWriter(ctx context.Context, db *database, recover func(*database, error) (*database, error)) *writer {
	w := &writer{
		ops:      make(chan *op, maxBatch),
		later:    make(chan *op, 4*maxBatch),
		flush:    make(chan struct{}, 1),
		quit:     make(chan struct{}),
		finished: make(chan struct{}),
		recover:  recover,
	}
	w.db.Store(db)
	go w.loop(context.WithoutCancel(ctx))
	return w
}

// current returns the open database, for reading.
func (w *writer) current() *database { return w.db.Load() }

// do runs a change in a transaction and returns when it is on disk.
func (w *writer) do(ctx context.Context, run func(ctx context.Context, db *database) error) error {
	return w.submit(ctx, &op{run: run, done: make(chan error, 1)})
}

// soon runs a change in the next transaction, for which it waits a moment
// unless somebody is in a hurry. It returns when the change is on its way; the
// channel tells when it is on disk.
func (w *writer) soon(ctx context.Context, run func(ctx context.Context, db *database) error) (<-chan error, error) {
	o := &op{run: run, done: make(chan error, 1)}
	err := w.enqueue(ctx, w.later, o)
	if !w.armed.Swap(true) {
		time.AfterFunc(patience, func() {
			w.armed.Store(false)
			select {
			case w.flush <- struct{}{}:
			default:
			}
		})
	}
	return o.done, err
}

func (w *writer) enqueue(ctx context.Context, queue chan *op, o *op) error {
	select {
	case queue <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.quit:
		return errClosed
	}
}

func (w *writer) submit(ctx context.Context, o *op) error {
	if err := w.enqueue(ctx, w.ops, o); err != nil {
		return err
	}
	return w.wait(o.done)
}

// wait waits for an operation that is on its way.
func (w *writer) wait(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-w.finished:
		select {
		case err := <-done:
			return err
		default:
			return errClosed
		}
	}
}

// close writes what waits and closes the database.
func (w *writer) close() error {
	close(w.quit)
	<-w.finished
	return w.err
}

func (w *writer) loop(ctx context.Context) {
	defer close(w.finished)
	batch := make([]*op, 0, maxBatch)
	for open := true; open; {
		batch = batch[:0]
		// Those that can wait are taken when their time is up or their queue fills.
		later := w.later
		if len(later) < maxBatch {
			later = nil
		}
		select {
		case o := <-w.ops:
			batch = take(append(batch, o), w.ops)
		case o := <-later:
			batch = take(append(batch, o), w.later)
		case <-w.flush:
			batch = take(batch, w.later)
		case <-w.quit:
			open = false
		}
		w.commit(ctx, batch)
	}
	for len(w.ops)+len(w.later) > 0 {
		w.commit(ctx, take(take(batch[:0], w.ops), w.later))
	}
	w.err = w.db.Load().close()
}

// take adds what waits in a queue, up to maxBatch.
func take(batch []*op, queue <-chan *op) []*op {
	for len(batch) < maxBatch && len(queue) > 0 {
		batch = append(batch, <-queue)
	}
	return batch
}

// commit writes a batch. If it fails, each operation is tried alone, so that
// one that cannot be done does not take the others with it.
func (w *writer) commit(ctx context.Context, batch []*op) {
	if len(batch) == 0 {
		return
	}
	err := w.transact(ctx, batch)
	if isCorrupt(err) {
		db, failed := w.recover(w.db.Load(), err)
		if failed == nil {
			w.db.Store(db)
			err = w.transact(ctx, batch)
		} else {
			err = errors.Join(err, failed)
		}
	}
	if err != nil && len(batch) > 1 {
		for _, o := range batch {
			o.done <- w.transact(ctx, []*op{o})
		}
		return
	}
	for _, o := range batch {
		o.done <- err
	}
}

func (w *writer) transact(ctx context.Context, batch []*op) (err error) {
	db := w.db.Load()
	if len(batch) == 1 && batch[0].bare {
		return batch[0].run(ctx, db)
	}
	if _, err := db.begin.ExecContext(ctx); err != nil {
		return err
	}
	for _, o := range batch {
		if err = o.run(ctx, db); err != nil {
			break
		}
	}
	if err == nil {
		_, err = db.commit.ExecContext(ctx)
	}
	if err != nil {
		_, _ = db.conn.ExecContext(ctx, "ROLLBACK") // fails if SQLite did it itself
	}
	return err
}

func isCorrupt(err error) bool {
	return hasCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
}

func isFull(err error) bool { return hasCode(err, sqlite3.SQLITE_FULL) }

func isReadOnly(err error) bool {
	return hasCode(err, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN) || errors.Is(err, fs.ErrPermission)
}

// hasCode reports whether err is one of SQLite's, with one of these primary codes.
func hasCode(err error, codes ...int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if e.Code()&0xff == code {
			return true
		}
	}
	return false
}
