package journal

import (
	"context"
	"database/sql"
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"perch/bridge"
)

//go:embed schema.sql
var schema1 string

//go:embed schema_2.sql
var schema2 string

//go:embed schema_3.sql
var schema3 string

// schemas returns what brings a file from each version to the next. PRAGMA
// user_version says how many of them it has seen.
func schemas() []string { return []string{schema1, schema2, schema3} }

// database is one open file: a connection that writes, used by one goroutine
// at a time, and a pool that reads.
type database struct {
	*writing

	readers *sql.DB
	files   files
}

func openDatabase(ctx context.Context, path string) (*database, error) {
	if err := makeFile(path); err != nil {
		return nil, err
	}
	dsn := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?_pragma=busy_timeout(5000)"
	raw, err := new(sqlite.Driver).Open(dsn + "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	db := &database{writing: &writing{conn: raw, prepared: map[string]driver.Stmt{}}}
	if db.readers, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(err, db.close())
	}
	db.readers.SetMaxOpenConns(2)
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.close())
	}
	db.files.path = path
	return db, nil
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

// migrate brings the schema to the newest version, in one transaction.
func (db *database) migrate(ctx context.Context) error {
	var version int64
	if err := db.row(ctx, "PRAGMA user_version", nil, &version); err != nil {
		return err
	}
	steps := schemas()
	switch {
	case int(version) == len(steps):
		return nil
	case int(version) > len(steps):
		return &bridge.Error{
			Code: bridge.CodeConflict,
			Text: bridge.Say("The journal was written by a newer version of Perch"),
			Hint: bridge.Say("Update Perch, or set PERCH_HOME to another folder."),
		}
	}
	err := db.script(ctx, fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version = %d;\nCOMMIT",
		strings.Join(steps[version:], "\n"), len(steps)))
	if err != nil {
		_ = db.script(ctx, "ROLLBACK") // fails if SQLite did it itself
	}
	return err
}

func (db *database) close() error {
	err := db.writing.close()
	if db.readers != nil {
		err = errors.Join(err, db.readers.Close())
	}
	return err
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

type scanner func(dest ...any) error

// writing is the connection that writes, without database/sql: that took almost
// a third of the time of a message. It keeps every statement prepared.
type writing struct {
	conn          driver.Conn
	prepared      map[string]driver.Stmt
	inTransaction bool // that the writer began
}

func (w *writing) close() error {
	var errs []error
	for _, s := range w.prepared {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

func (w *writing) stmt(query string) (driver.Stmt, error) {
	if s, ok := w.prepared[query]; ok {
		return s, nil
	}
	s, err := w.conn.Prepare(query)
	if err == nil {
		w.prepared[query] = s
	}
	return s, err
}

// script runs statements without arguments, once.
func (w *writing) script(ctx context.Context, text string) error {
	execer, ok := w.conn.(driver.ExecerContext)
	if !ok {
		return driver.ErrSkip
	}
	_, err := execer.ExecContext(ctx, text, nil)
	return err
}

// exec runs a statement and returns how many rows it changed and the id of the
// last one that it inserted.
func (w *writing) exec(ctx context.Context, query string, args ...any) (changed, id int64, err error) {
	s, err := w.stmt(query)
	if err != nil {
		return 0, 0, err
	}
	values, err := named(args)
	if err != nil {
		return 0, 0, err
	}
	execer, ok := s.(driver.StmtExecContext)
	if !ok {
		return 0, 0, driver.ErrSkip
	}
	result, err := execer.ExecContext(ctx, values)
	if err != nil {
		return 0, 0, err
	}
	if changed, err = result.RowsAffected(); err != nil {
		return 0, 0, err
	}
	id, err = result.LastInsertId()
	return changed, id, err
}

// row reads the first row of a query; sql.ErrNoRows if there is none.
func (w *writing) row(ctx context.Context, query string, args []any, dest ...any) error {
	found := false
	err := w.all(ctx, query, args, func(scan scanner) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
}

// all calls row for every row of a query.
func (w *writing) all(ctx context.Context, query string, args []any, row func(scanner) error) (err error) {
	s, err := w.stmt(query)
	if err != nil {
		return err
	}
	values, err := named(args)
	if err != nil {
		return err
	}
	querier, ok := s.(driver.StmtQueryContext)
	if !ok {
		return driver.ErrSkip
	}
	rows, err := querier.QueryContext(ctx, values)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	cells := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(cells); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := row(func(dest ...any) error { return assign(dest, cells) }); err != nil {
			return err
		}
	}
}

func named(args []any) ([]driver.NamedValue, error) {
	values := make([]driver.NamedValue, len(args))
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return nil, err
		}
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return values, nil
}

// assign copies cells to where dest points; NULL as the zero value.
func assign(dest []any, cells []driver.Value) error {
	for i, d := range dest {
		switch d := d.(type) {
		case *int64:
			*d, _ = cells[i].(int64)
		case *string:
			switch v := cells[i].(type) {
			case string:
				*d = v
			case []byte:
				*d = string(v)
			default:
				*d = ""
			}
		case *[]byte:
			switch v := cells[i].(type) {
			case []byte:
				*d = append([]byte(nil), v...)
			case string:
				*d = []byte(v)
			default:
				*d = nil
			}
		case *sql.NullInt64:
			d.Int64, d.Valid = cells[i].(int64)
		default:
			return fmt.Errorf("cannot read a column into %T", d)
		}
	}
	return nil
}

// setMeta stores a single value; an empty one removes it.
func (w *writing) setMeta(ctx context.Context, key, value string) error {
	var err error
	if value == "" {
		_, _, err = w.exec(ctx, "DELETE FROM meta WHERE key = ?", key)
	} else {
		_, _, err = w.exec(ctx, "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
	}
	return err
}

// getMeta is meta inside the transaction.
func (w *writing) getMeta(ctx context.Context, key string) (value string, err error) {
	if err = w.row(ctx, "SELECT value FROM meta WHERE key = ?", []any{key}, &value); errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

func isCorrupt(err error) bool {
	return hasCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
}

func isFull(err error) bool {
	return hasCode(err, sqlite3.SQLITE_FULL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isReadOnly(err error) bool {
	return hasCode(err, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN) || errors.Is(err, os.ErrPermission)
}

func isLocked(err error) bool { return hasCode(err, sqlite3.SQLITE_BUSY) }

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
