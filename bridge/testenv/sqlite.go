package testenv

import (
	"context"
	"database/sql"
	"testing"

	_ "modernc.org/sqlite" // the driver
)

// LockDatabase keeps others from writing to a SQLite file until the function
// that it returns is called, or the test ends: to them it is as if the disk were
// full, only later.
func LockDatabase(tb testing.TB, path string) (unlock func()) {
	tb.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(context.Background(), "PRAGMA busy_timeout = 60000; BEGIN IMMEDIATE"); err != nil {
		tb.Fatal(err)
	}
	unlock = func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(unlock)
	return unlock
}
