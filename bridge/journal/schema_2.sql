-- Version 2.

-- What was said to and by a language model. A guest may bring the file to this
-- version at the same time as the bot.
CREATE TABLE IF NOT EXISTS exchange (
	id       INTEGER PRIMARY KEY,
	room     TEXT NOT NULL,             -- conversation token
	message  TEXT NOT NULL,             -- message id
	author   TEXT NOT NULL,             -- name of who wrote the message
	asked    TEXT NOT NULL,
	received INTEGER NOT NULL,          -- Unix milliseconds
	answer   TEXT NOT NULL,
	given    INTEGER NOT NULL,          -- Unix milliseconds
	UNIQUE (room, message)
) STRICT;
