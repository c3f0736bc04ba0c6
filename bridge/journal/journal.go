// Package journal keeps messages, replies and events in one SQLite file. What
// it says is stored survives a crash of the process and of the machine.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"perch/bridge"
)

// Options are the settings of a Journal.
type Options struct {
	Sink bridge.EventSink // hears when a file is set aside; may be nil
	Now  func() time.Time // nil: time.Now
	// Guest opens a journal that another process may be working on, to read it.
	// The file must exist.
	Guest bool
}

// Journal is the inbox, the outbox, the event log and the memory of language
// models. It implements bridge.Inbox, bridge.Outbox and bridge.Memory. One
// process works on it at a time; others read it.
type Journal struct {
	path  string
	sink  bridge.EventSink
	now   func() time.Time
	guest bool

	writer *writer
	inbox  *lanes[*bridge.Message]
	outbox *lanes[struct{}]

	// The writer's.
	nonces  nonces
	servers map[string]int64
	rooms   map[string]string    // names by token, as far as they were written in this process
	seen    map[serverRoom]int64 // the highest message id that Prune removed

	volatile volatile

	storeText atomic.Bool
	echoes    atomic.Bool

	trouble  atomic.Pointer[error] // why nothing can be written; nil: it can
	troubled time.Time             // since when; the writer's until it is stored, then Watch's
	troubles chan struct{}         // there is trouble, for Watch

	mu        sync.Mutex
	finishing map[int64]int    // messages that are handled, which is not on disk yet
	queued    map[int64]bool   // replies that stand in the outbox lanes
	posted    map[int64]string // replies that were sent, which is not on disk yet, and their message ids
	holdTimer *time.Timer
}

// arrival is how long a request may be on its way after the process that sent it
// ended: so soon it is not looked for.
const arrival = 3 * time.Second

type serverRoom struct {
	server int64
	room   string
}

// Open opens the journal at path and creates it if it is missing, readable by
// its owner only. A file that is damaged is set aside as path.corrupt-TIME, its
// waiting messages and replies are carried over as far as they can be read,
// and an event says so. Errors are *bridge.Error; for a guest CodeNotFound if
// there is no journal.
func Open(ctx context.Context, path string, o Options) (*Journal, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sink == nil {
		o.Sink = nowhere{}
	}
	j := &Journal{
		path: path, sink: o.Sink, now: o.Now, guest: o.Guest,
		finishing: make(map[int64]int), posted: make(map[int64]string),
		inbox: newLanes[*bridge.Message](), outbox: newLanes[struct{}](),
		troubles: make(chan struct{}, 1),
	}
	j.storeText.Store(true)
	j.outbox.trustFor = trustFor

	if _, err := os.Stat(path); o.Guest && errors.Is(err, fs.ErrNotExist) {
		return nil, &bridge.Error{
			Code: bridge.CodeNotFound,
			Text: bridge.Say("There is no journal yet"),
			Hint: bridge.Say("Perch writes one when it runs: perch run"),
		}
	}
	db, err := openDatabase(ctx, path)
	if isCorrupt(err) && !o.Guest {
		db, err = j.replace(ctx, err)
	}
	if err != nil {
		return nil, j.explain(err)
	}
	if err := j.load(ctx, db); err != nil {
		if !isCorrupt(err) || o.Guest {
			return nil, j.explain(errors.Join(err, db.close()))
		}
		_ = db.close() // damaged: what matters is the new one
		if db, err = j.replace(ctx, err); err == nil {
			err = j.load(ctx, db)
		}
		if err != nil {
			return nil, j.explain(err)
		}
	}
	j.writer = newWriter(ctx, db, j.recover, j.noteFailure)
	return j, nil
}

// Close waits for what is being written and closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.holdTimer != nil {
		j.holdTimer.Stop()
	}
	j.mu.Unlock()
	j.inbox.clear()
	j.outbox.clear()
	return j.writer.close()
}

// StoreText says whether the texts of messages and replies are kept after they
// were handled and sent. What Remember kept in memory until then is dropped
// when they are.
func (j *Journal) StoreText(keep bool) {
	if j.storeText.Store(keep); keep {
		j.volatile.drop(func(exchange) bool { return true })
	}
}

// EchoesReturn says that what is posted comes back as a webhook, as it does
// when replies are posted as a user. Then a room's messages wait while a reply
// to it is under way, until Sent tells its message id.
func (j *Journal) EchoesReturn(yes bool) {
	if j.echoes.Swap(yes) && !yes {
		j.inbox.unblockAll()
	}
	if yes { // what waits may have been posted before the last process ended
		for _, room := range j.outbox.names() {
			j.inbox.block(room)
		}
	}
}

// Backlog returns how many messages wait to be handled and how many replies to
// be sent.
func (j *Journal) Backlog() (messages, replies int) {
	return j.inbox.count(), j.outbox.count()
}

// Idle reports whether nothing is under way or ready to be.
func (j *Journal) Idle() bool { return j.inbox.idle() && j.outbox.idle() }

// Settings remembers a fingerprint of the settings that decide whether Talk
// takes our replies, and reports whether it differs from the last one, or is
// the first.
func (j *Journal) Settings(ctx context.Context, fingerprint string) (changed bool, err error) {
	err = j.writer.do(ctx, func(ctx context.Context, db *database) error {
		old, err := db.getMeta(ctx, "settings")
		if err != nil {
			return err
		}
		changed = old != fingerprint
		return db.setMeta(ctx, "settings", fingerprint)
	})
	return changed, j.explain(err)
}

// Salt returns random bytes that were drawn when the journal was made.
func (j *Journal) Salt(ctx context.Context) ([]byte, error) {
	var salt []byte
	err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
		text, err := db.getMeta(ctx, "salt")
		if err != nil {
			return err
		}
		if salt, err = hex.DecodeString(text); err == nil && len(salt) > 0 {
			return nil
		}
		salt = make([]byte, 16)
		if _, err := rand.Read(salt); err != nil {
			return err
		}
		return db.setMeta(ctx, "salt", hex.EncodeToString(salt))
	})
	return salt, j.explain(err)
}

// Watch notices that the files are gone, and when trouble is over, until ctx is
// done. At rest it does nothing.
func (j *Journal) Watch(ctx context.Context) error {
	const soon = 500 * time.Millisecond
	folder := filepath.Dir(j.path)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the journal's folder: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	for {
		// Every commit touches the files, too: to be told of the first is enough.
		_ = watcher.Add(folder) // without it, the next message notices
		j.look(ctx)
		var again <-chan time.Time
		if j.Trouble() != nil {
			again = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again:
			continue
		case <-j.troubles:
			continue
		case <-watcher.Events:
		case <-watcher.Errors: //nolint:errcheck // Whatever it is, it is time to look.
		}
		_ = watcher.Remove(folder)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(soon):
		}
		drain(watcher)
	}
}

// drain forgets what was told already.
func drain(watcher *fsnotify.Watcher) {
	for {
		select {
		case <-watcher.Events:
		default:
			return
		}
	}
}

// look finds out whether the files are there and, after trouble, whether they can
// be written again.
func (j *Journal) look(ctx context.Context) {
	if j.Trouble() != nil {
		j.lookAgain(ctx)
		return
	}
	err := j.writer.do(ctx, func(context.Context, *database) error { return nil }) // it looks at the files
	if err != nil && !isOfDisk(err) && ctx.Err() == nil {
		j.sink.Publish(bridge.Event{Time: j.now(), Stage: bridge.StageJournal, Kind: bridge.EventJournalFailed, Title: bridge.Say("The journal could not be read")}.Failed(j.explain(err)))
	}
}

// load fills the lanes and the caches from the database. It is called before
// the writer runs, or by it.
func (j *Journal) load(ctx context.Context, db *database) error {
	j.mu.Lock()
	j.queued, j.posted = make(map[int64]bool), make(map[int64]string)
	j.mu.Unlock()
	j.servers, j.rooms = make(map[string]int64), make(map[string]string)
	if err := j.loadSeen(ctx, db); err != nil {
		return err
	}
	if err := j.loadNonces(ctx, db); err != nil {
		return err
	}
	if j.guest {
		return nil
	}
	// Attempts that were under way when the last process ended may have arrived,
	// or may still do so: the server gets a moment before it is asked.
	if _, _, err := db.exec(ctx, `UPDATE outbox SET unclear = unclear + 1, sending = 0, due = max(due, COALESCE(tried, 0) + ?)
		WHERE state = 0 AND sending = 1`, arrival.Milliseconds()); err != nil {
		return err
	}
	j.outbox.distrust()
	if err := j.loadHold(ctx, db); err != nil {
		return err
	}
	if err := j.loadOutbox(ctx, db); err != nil {
		return err
	}
	from, err := db.waitingFrom(ctx)
	if err != nil {
		return err
	}
	return db.all(ctx, "SELECT id, room FROM inbox WHERE id >= ? AND state = 0 ORDER BY id", []any{from}, func(scan scanner) error {
		var id int64
		var room string
		if err := scan(&id, &room); err != nil {
			return err
		}
		j.inbox.add(room, id, nil, time.Time{})
		return nil
	})
}

func (j *Journal) loadNonces(ctx context.Context, db *database) error {
	var newest []int64
	err := db.all(ctx, "SELECT nonce FROM inbox WHERE nonce IS NOT NULL ORDER BY id DESC LIMIT ?", []any{maxLoadedNonces}, func(scan scanner) error {
		var nonce int64
		err := scan(&nonce)
		newest = append(newest, nonce)
		return err
	})
	j.nonces = nonces{}
	for _, nonce := range slices.Backward(newest) {
		j.nonces.add(nonce, 0)
	}
	return err
}

type nowhere struct{}

func (nowhere) Publish(bridge.Event) {}

var errClosed = errors.New("the journal is closed")

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms) }
