// Package journal keeps messages, replies and events in one SQLite file. What
// it says is stored survives a crash of the process and of the machine.
package journal

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"perch/bridge"
)

//go:embed schema.sql
var schema1 string

//go:embed schema_2.sql
var schema2 string

// schemas returns what brings a file from each version to the next. PRAGMA
// user_version says how many of them it has seen.
func schemas() []string { return []string{schema1, schema2} }

// Options are the settings of a Journal.
type Options struct {
	Sink bridge.EventSink // hears when a file is set aside; may be nil
	Now  func() time.Time // nil: time.Now
	// Guest opens a journal that another process may be working on, to read it
	// and to call Enqueue and Resume. The file must exist.
	Guest bool
}

// Journal is the inbox, the outbox, the event log and the memory of language
// models. It implements bridge.Inbox, bridge.Outbox and bridge.Memory. One
// process works on it at a time; it notices what guests do.
type Journal struct {
	path  string
	sink  bridge.EventSink
	now   func() time.Time
	guest bool

	writer *writer
	inbox  *lanes[*bridge.Message]
	outbox *lanes[struct{}]

	nonces   nonces // the writer's
	volatile volatile

	storeText atomic.Bool
	echoes    atomic.Bool

	mu        sync.Mutex
	servers   map[string]int64
	seen      map[serverRoom]int64 // the highest message id that Prune removed
	queued    map[int64]bool       // replies that stand in the outbox lanes
	resumed   string               // when Resume was last called, by any process
	holdTimer *time.Timer
}

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
		inbox: newLanes[*bridge.Message](), outbox: newLanes[struct{}](),
	}
	j.storeText.Store(true)

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
	j.writer = newWriter(ctx, db, j.recover)
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

// Totals are numbers of messages and replies.
type Totals struct {
	Received int // messages stored to be handled
	Failed   int // of those, messages whose handler failed
	Answered int // replies sent
	Refused  int // replies given up
}

// Totals counts what came and went since the given time, as far as it is kept.
func (j *Journal) Totals(ctx context.Context, since time.Time) (t Totals, err error) {
	row := j.writer.current().readers.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM inbox WHERE received >= ?1 AND state <> 3),
		(SELECT count(*) FROM inbox WHERE received >= ?1 AND state = 2),
		(SELECT count(*) FROM outbox WHERE queued >= ?1 AND state = 1),
		(SELECT count(*) FROM outbox WHERE queued >= ?1 AND state = 2)`, millis(since))
	return t, j.explain(row.Scan(&t.Received, &t.Failed, &t.Answered, &t.Refused))
}

// Settings remembers a fingerprint of the settings that decide whether Talk
// takes our replies, and reports whether it differs from the last one, or is
// the first.
func (j *Journal) Settings(ctx context.Context, fingerprint string) (changed bool, err error) {
	err = j.writer.do(ctx, func(ctx context.Context, db *database) error {
		old, err := db.meta(ctx, "settings")
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
		text, err := db.meta(ctx, "salt")
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

// Watch notices what other processes wrote, once a second, until ctx is done.
func (j *Journal) Watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last int64
	for {
		err := j.writer.do(ctx, func(ctx context.Context, db *database) error {
			version, err := db.dataVersion(ctx)
			if err != nil || version == last {
				return err
			}
			last = version
			return j.catchUp(ctx, db)
		})
		if err != nil && ctx.Err() == nil {
			j.sink.Publish(bridge.Event{Time: j.now(), Stage: bridge.StageJournal, Title: bridge.Say("The journal could not be read")}.Failed(j.explain(err)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// load fills the lanes and the caches from the database.
func (j *Journal) load(ctx context.Context, db *database) error {
	j.mu.Lock()
	j.servers, j.queued = make(map[string]int64), make(map[int64]bool)
	j.mu.Unlock()
	err := db.each(ctx, "SELECT url, id FROM server", func(scan scanner) error {
		var url string
		var id int64
		if err := scan(&url, &id); err != nil {
			return err
		}
		j.servers[url] = id
		return nil
	})
	if err != nil {
		return err
	}
	if err := j.loadSeen(ctx, db); err != nil {
		return err
	}
	if err := j.loadNonces(ctx, db); err != nil {
		return err
	}
	if j.guest {
		return nil
	}
	// What waits in the outbox may have been under way when the last process ended.
	if _, err := db.conn.ExecContext(ctx, "UPDATE outbox SET unclear = 1 WHERE state = 0 AND unclear = 0"); err != nil {
		return err
	}
	j.outbox.restrict(1)
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
	return db.each(ctx, "SELECT id, room FROM inbox WHERE id >= ? AND state = 0 ORDER BY id", func(scan scanner) error {
		var id int64
		var room string
		if err := scan(&id, &room); err != nil {
			return err
		}
		j.inbox.add(room, id, nil, time.Time{})
		return nil
	}, from)
}

func (j *Journal) loadNonces(ctx context.Context, db *database) error {
	var newest []int64
	err := db.each(ctx, "SELECT nonce FROM inbox WHERE nonce IS NOT NULL ORDER BY id DESC LIMIT ?", func(scan scanner) error {
		var nonce int64
		err := scan(&nonce)
		newest = append(newest, nonce)
		return err
	}, maxLoadedNonces)
	j.nonces = nonces{}
	for _, nonce := range slices.Backward(newest) {
		j.nonces.add(nonce, 0)
	}
	return err
}

// catchUp takes over what another process wrote.
func (j *Journal) catchUp(ctx context.Context, db *database) error {
	if err := j.loadOutbox(ctx, db); err != nil {
		return err
	}
	resumed, err := db.meta(ctx, "resumed")
	if err == nil && resumed != j.resumed {
		j.resumed = resumed
		j.outbox.restrict(1)
		j.outbox.resume(true)
	}
	return err
}

// recover replaces a database that turned out to be damaged while it was used.
func (j *Journal) recover(broken *database, cause error) (*database, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = broken.close()
	j.inbox.clear()
	j.outbox.clear()
	db, err := j.replace(ctx, cause)
	if err != nil {
		return nil, err
	}
	return db, j.load(ctx, db)
}

// metaBegun is the name of the time when the file replaced a damaged one: what
// came before may have been handled, also where nothing is known of it.
const metaBegun = "begun"

// replace sets the damaged file aside and begins a new one with what waits in
// the old.
func (j *Journal) replace(ctx context.Context, cause error) (*database, error) {
	aside := j.path + ".corrupt-" + j.now().UTC().Format("20060102-150405")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(j.path+suffix, aside+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	db, err := openDatabase(ctx, j.path)
	if err != nil {
		return nil, err
	}
	messages, replies := salvage(ctx, db, aside)
	if err := db.setMeta(ctx, metaBegun, strconv.FormatInt(millis(j.now()), 10)); err != nil {
		return nil, errors.Join(err, db.close())
	}
	err = &bridge.Error{
		Code:  bridge.CodeInternal,
		Text:  bridge.Say("The journal was damaged"),
		Hint:  bridge.Say("Nothing is to be done now. The old file is kept as %s; check the disk and its free space.", aside),
		Cause: cause,
	}
	j.sink.Publish(bridge.Event{
		Time: j.now(), Stage: bridge.StageJournal,
		Title: bridge.Say("The journal was damaged; it is set aside and a new one begun with %s waiting messages and %s waiting replies",
			strconv.Itoa(messages), strconv.Itoa(replies)),
	}.Failed(err))
	return db, nil
}

// salvage copies what waits in the file aside, as far as it can be read.
func salvage(ctx context.Context, db *database, aside string) (messages, replies int) {
	if _, err := db.conn.ExecContext(ctx, "ATTACH ? AS old", aside); err != nil {
		return 0, 0
	}
	defer func() { _, _ = db.conn.ExecContext(ctx, "DETACH old") }()
	copied := func(stmt string) int {
		r, err := db.conn.ExecContext(ctx, stmt)
		if err != nil {
			return 0
		}
		n, _ := r.RowsAffected()
		return int(n)
	}
	copied("INSERT OR IGNORE INTO meta SELECT * FROM old.meta")
	copied("INSERT OR IGNORE INTO server SELECT * FROM old.server")
	copied("INSERT OR IGNORE INTO seen SELECT * FROM old.seen")
	copied("INSERT OR IGNORE INTO exchange SELECT * FROM old.exchange")
	messages = copied("INSERT OR IGNORE INTO inbox SELECT * FROM old.inbox WHERE state = 0")
	replies = copied("INSERT OR IGNORE INTO outbox SELECT * FROM old.outbox WHERE state = 0")
	return messages, replies
}

// makeFile creates the file for its owner only, if it is missing.
func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
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
	case isFull(err):
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The disk is full: the journal cannot be written"),
			Hint:  bridge.Say("Free some space on the disk of %s. Messages are refused until then.", j.path),
			Cause: err,
		}
	case isReadOnly(err):
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The journal cannot be written: the file or its folder is read-only"),
			Hint:  bridge.Say("Make it writable for the user who runs Perch: chmod u+rw %s", j.path),
			Cause: err,
		}
	}
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("The journal %s does not work", j.path),
		Hint:  bridge.Say("Check the disk. To begin with an empty journal, stop Perch and rename the file."),
		Cause: err,
	}
}

type nowhere struct{}

func (nowhere) Publish(bridge.Event) {}

var errClosed = errors.New("the journal is closed")

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms) }

type scanner func(dest ...any) error

// database is one open file: a connection that writes, used by one goroutine
// at a time, and a pool that reads.
type database struct {
	writePool *sql.DB
	conn      *sql.Conn
	readers   *sql.DB

	// Statements on conn that are used for every message.
	begin, commit, putMessage, finish, putEvent *sql.Stmt
}

func openDatabase(ctx context.Context, path string) (*database, error) {
	if err := makeFile(path); err != nil {
		return nil, err
	}
	dsn := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?_pragma=busy_timeout(5000)"
	db := &database{}
	var err error
	if db.writePool, err = sql.Open("sqlite", dsn+"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"); err != nil {
		return nil, err
	}
	if db.readers, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, db.close())
	}
	db.readers.SetMaxOpenConns(2)
	if db.conn, err = db.writePool.Conn(ctx); err == nil {
		if err = db.migrate(ctx); err == nil {
			err = db.prepare(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// migrate brings the schema to the newest version, in one transaction.
func (db *database) migrate(ctx context.Context) error {
	var version int
	if err := db.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	steps := schemas()
	switch {
	case version == len(steps):
		return nil
	case version > len(steps):
		return &bridge.Error{
			Code: bridge.CodeConflict,
			Text: bridge.Say("The journal was written by a newer version of Perch"),
			Hint: bridge.Say("Update Perch, or set PERCH_HOME to another folder."),
		}
	}
	_, err := db.conn.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version = %d;\nCOMMIT",
		strings.Join(steps[version:], "\n"), len(steps)))
	return err
}

func (db *database) prepare(ctx context.Context) (err error) {
	if db.begin, err = db.conn.PrepareContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if db.commit, err = db.conn.PrepareContext(ctx, "COMMIT"); err != nil {
		return err
	}
	if db.putMessage, err = db.conn.PrepareContext(ctx, putMessage); err != nil {
		return err
	}
	if db.finish, err = db.conn.PrepareContext(ctx, finishMessage); err != nil {
		return err
	}
	db.putEvent, err = db.conn.PrepareContext(ctx, putEvent)
	return err
}

func (db *database) close() error {
	var errs []error
	for _, s := range []*sql.Stmt{db.begin, db.commit, db.putMessage, db.finish, db.putEvent} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	if db.conn != nil {
		errs = append(errs, db.conn.Close())
	}
	if db.readers != nil {
		errs = append(errs, db.readers.Close())
	}
	return errors.Join(append(errs, db.writePool.Close())...)
}

// each calls row for every row that a query on the reading side returns.
func (db *database) each(ctx context.Context, query string, row func(scanner) error, args ...any) error {
	rows, err := db.readers.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// meta returns a single value, empty if there is none.
func (db *database) meta(ctx context.Context, key string) (string, error) {
	var value string
	err := db.readers.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// setMeta stores a single value; an empty one removes it.
func (db *database) setMeta(ctx context.Context, key, value string) error {
	if value == "" {
		_, err := db.conn.ExecContext(ctx, "DELETE FROM meta WHERE key = ?", key)
		return err
	}
	_, err := db.conn.ExecContext(ctx, "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
	return err
}

// dataVersion changes whenever another process has written.
func (db *database) dataVersion(ctx context.Context) (int64, error) {
	var v int64
	err := db.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&v)
	return v, err
}
