package journal

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
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
	recover  recovery
	failed   func(cause error) // hears why something could not be written
	err      error             // of closing the database; after finished
}

// op is a change to the database. run may be called again after an error; its
// context is never done, since a transaction is not left half way.
type op struct {
	run   change
	after func() // runs on the writer when the change is on disk, in the order of the changes; may be nil
	ended func() // runs on the writer when the change is on disk or has failed; may be nil
	bare  bool   // a single statement, which needs no transaction of its own
	done  chan error
}

// recovery replaces a database that is damaged or gone, and reports whether the
// new one has everything that the old one had.
type recovery func(broken *database, cause error) (db *database, complete bool, err error)

type change func(ctx context.Context, db *database) error

// newWriter starts the goroutine, which ends with close. recover replaces a
// database that turns out to be damaged; failed hears, on the writer, why
// something could not be written.
func newWriter(ctx context.Context, db *database, recover recovery, failed func(cause error)) *writer {
	w := &writer{
		ops:      make(chan *op, maxBatch),
		later:    make(chan *op, 4*maxBatch),
		flush:    make(chan struct{}, 1),
		quit:     make(chan struct{}),
		finished: make(chan struct{}),
		recover:  recover,
		failed:   failed,
	}
	w.db.Store(db)
	go w.loop(context.WithoutCancel(ctx))
	return w
}

// current returns the open database, for reading.
func (w *writer) current() *database { return w.db.Load() }

// do runs a change in a transaction and returns when it is on disk.
func (w *writer) do(ctx context.Context, run change) error {
	return w.submit(ctx, &op{run: run, done: make(chan error, 1)})
}

// soon runs a change in the next transaction, for which it waits a moment
// unless somebody is in a hurry. It returns when the change is on its way; its
// done channel tells when it is on disk.
func (w *writer) soon(ctx context.Context, o *op) error {
	err := w.enqueue(ctx, w.later, o)
	w.arm()
	return err
}

// offer is soon for what can be left out, if there is no place for it.
func (w *writer) offer(o *op) {
	select {
	case w.later <- o:
		w.arm()
	default:
	}
}

// arm sees that what waits is written in a moment.
func (w *writer) arm() {
	if w.armed.Swap(true) {
		return
	}
	time.AfterFunc(patience, func() {
		w.armed.Store(false)
		select {
		case w.flush <- struct{}{}:
		default:
		}
	})
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
// one that cannot be done does not take the others with it; but not if the file
// is locked, for which each would wait.
func (w *writer) commit(ctx context.Context, batch []*op) {
	if len(batch) == 0 {
		return
	}
	err := w.db.Load().files.check()
	if err == nil {
		err = w.transact(ctx, batch)
	}
	if isCorrupt(err) || isGone(err) {
		if _, err = w.replace(err); err == nil {
			err = w.transact(ctx, batch)
		}
	}
	if err == nil {
		// It may have been written to files that are not there any more.
		if gone := w.db.Load().files.check(); gone != nil {
			complete, failed := w.replace(gone)
			switch {
			case failed != nil:
				err = failed
			case complete: // and queued from there
				for _, o := range batch {
					o.end(nil)
				}
				return
			default:
				err = w.transact(ctx, batch)
			}
		}
	}
	if err != nil && len(batch) > 1 && !isLocked(err) {
		for _, o := range batch {
			w.finish(w.transact(ctx, []*op{o}), o)
		}
		return
	}
	w.finish(err, batch...)
}

// replace puts another database in the place of one that is damaged or gone.
// complete says that nothing that was written is missing there.
func (w *writer) replace(cause error) (complete bool, err error) {
	db, complete, err := w.recover(w.db.Load(), cause)
	if err != nil {
		return false, errors.Join(cause, err)
	}
	w.db.Store(db)
	return complete, nil
}

// finish ends operations that were written together, or were not.
func (w *writer) finish(err error, batch ...*op) {
	if err != nil {
		w.failed(err)
	}
	for _, o := range batch {
		o.finish(err)
	}
}

func (o *op) finish(err error) {
	if err == nil && o.after != nil {
		o.after()
	}
	o.end(err)
}

func (o *op) end(err error) {
	if o.ended != nil {
		o.ended()
	}
	o.done <- err
}

// errNeedsTransaction is returned by a bare change that turns out to be more
// than a single statement.
var errNeedsTransaction = errors.New("the change needs a transaction")

func (w *writer) transact(ctx context.Context, batch []*op) (err error) {
	db := w.db.Load()
	if len(batch) == 1 && batch[0].bare {
		if err := batch[0].run(ctx, db); !errors.Is(err, errNeedsTransaction) {
			return err
		}
	}
	if _, _, err := db.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	db.inTransaction = true
	defer func() { db.inTransaction = false }()
	for _, o := range batch {
		if err = o.run(ctx, db); err != nil {
			break
		}
	}
	if err == nil {
		_, _, err = db.exec(ctx, "COMMIT")
	}
	if err != nil {
		_, _, _ = db.exec(ctx, "ROLLBACK") // fails if SQLite did it itself
	}
	return err
}
