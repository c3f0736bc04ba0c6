package journal

import (
	"context"
	"database/sql"
	"errors"
)

// Wrote reports whether a message of a conversation is a reply of ours, by its
// id or by its reference, which is known before the id is.
func (j *Journal) Wrote(ctx context.Context, room, messageID, ref string) (bool, error) {
	var one int
	row := j.writer.current().readers.QueryRowContext(ctx,
		"SELECT 1 FROM outbox WHERE room = ?1 AND (message = ?2 OR ?3 <> '' AND reply ->> '$.ref' = ?3) LIMIT 1", room, messageID, ref)
	err := row.Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, j.explain(err)
}
