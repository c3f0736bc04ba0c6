-- Version 1.

-- Servers, so that a message's key is short.
CREATE TABLE server (
	id  INTEGER PRIMARY KEY,
	url TEXT NOT NULL UNIQUE
) STRICT;

-- Every message that a webhook brought, in the order of arrival. It has no index
-- that is not needed to tell a message that comes again: each would cost every
-- commit a page. Where the waiting ones begin stands in meta.
CREATE TABLE inbox (
	id       INTEGER PRIMARY KEY,
	server   INTEGER NOT NULL REFERENCES server,
	room     TEXT NOT NULL,             -- conversation token
	message  TEXT NOT NULL,             -- message id
	nonce    INTEGER,                   -- hash of the webhook's random; NULL without one
	received INTEGER NOT NULL,          -- Unix milliseconds
	state    INTEGER NOT NULL,          -- 0 waiting, 1 handled, 2 failed, 3 our own reply come back
	body     BLOB,                      -- bridge.Message as JSON; NULL once handled if texts are not kept
	cause    TEXT,                      -- of state 2
	UNIQUE (server, room, message)
) STRICT;

-- What is left of a room's messages that retention removed: the highest id, so
-- that none of them is ever taken for a new one.
CREATE TABLE seen (
	server  INTEGER NOT NULL REFERENCES server,
	room    TEXT NOT NULL,
	message INTEGER NOT NULL,
	PRIMARY KEY (server, room)
) STRICT, WITHOUT ROWID;

-- Every reply, in the order in which the handlers gave them.
CREATE TABLE outbox (
	id       INTEGER PRIMARY KEY,
	answers  INTEGER,                   -- inbox.id; NULL if it answers no message
	room     TEXT NOT NULL,             -- conversation token
	queued   INTEGER NOT NULL,          -- Unix milliseconds
	due      INTEGER NOT NULL,          -- Unix milliseconds
	attempts INTEGER NOT NULL DEFAULT 0,
	unclear  INTEGER NOT NULL DEFAULT 0,
	state    INTEGER NOT NULL DEFAULT 0,-- 0 waiting, 1 sent, 2 given up
	reply    BLOB,                      -- bridge.Reply as JSON; NULL once sent if texts are not kept
	message  TEXT,                      -- id of the posted message, where Talk tells
	cause    TEXT                       -- of the last failure
) STRICT;
CREATE INDEX outbox_waiting ON outbox (id) WHERE state = 0;
CREATE INDEX outbox_message ON outbox (room, message) WHERE message IS NOT NULL;

-- What people may want to see.
CREATE TABLE event (
	id    INTEGER PRIMARY KEY,
	time  INTEGER NOT NULL,             -- Unix milliseconds
	level INTEGER NOT NULL,             -- slog.Level
	room  TEXT NOT NULL,                -- conversation token, or empty
	body  BLOB NOT NULL                 -- bridge.Event as JSON
) STRICT;

-- Single values: begun, hold, resumed, salt, settings, waiting.
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
