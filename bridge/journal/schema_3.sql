-- Version 3: what became of a message is kept with it, and no longer told by
-- events.

-- inbox.state: 0 waiting, 1 handled, 2 failed, 3 our own reply come back, 4 not
-- for the bot, 5 not allowed, 6 conversation off, 7 busy, 8 unreadable, 9 missed, 10 passed on, 11 a limit was reached.
ALTER TABLE inbox ADD COLUMN digest INTEGER;  -- hash of who wrote what
ALTER TABLE inbox ADD COLUMN ended INTEGER;   -- Unix milliseconds: handled, failed, turned away
ALTER TABLE inbox ADD COLUMN failure BLOB;    -- bridge.Failure as JSON
UPDATE inbox SET failure = CAST(json_object('code', 'internal', 'cause', cause) AS BLOB) WHERE cause IS NOT NULL;
ALTER TABLE inbox DROP COLUMN cause;
ALTER TABLE inbox ADD COLUMN cause TEXT AS (failure ->> '$.cause') VIRTUAL; -- for people who look

-- outbox.unclear counts the attempts that ended without an answer.
ALTER TABLE outbox ADD COLUMN sending INTEGER NOT NULL DEFAULT 0; -- an attempt began and has not ended
ALTER TABLE outbox ADD COLUMN ended INTEGER;                      -- Unix milliseconds: sent, given up
ALTER TABLE outbox ADD COLUMN form INTEGER NOT NULL DEFAULT 0;    -- 0 text, 1 reaction, 2 reaction taken away
ALTER TABLE outbox ADD COLUMN failure BLOB;                       -- bridge.Failure as JSON
ALTER TABLE outbox ADD COLUMN tried INTEGER;                      -- Unix milliseconds: the last attempt began
UPDATE outbox SET failure = CAST(json_object('code', 'internal', 'cause', cause) AS BLOB) WHERE cause IS NOT NULL;
UPDATE outbox SET form = CASE WHEN reply ->> '$.remove' THEN 2 WHEN reply ->> '$.reaction' <> '' THEN 1 ELSE 0 END WHERE reply IS NOT NULL;
UPDATE outbox SET ended = queued WHERE state <> 0;
ALTER TABLE outbox DROP COLUMN cause;
ALTER TABLE outbox ADD COLUMN cause TEXT AS (failure ->> '$.cause') VIRTUAL;
CREATE INDEX outbox_answers ON outbox (answers) WHERE answers IS NOT NULL;

-- Names of conversations.
CREATE TABLE room (
	token TEXT PRIMARY KEY,
	name  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT OR REPLACE INTO room SELECT room, body ->> '$.room.name' FROM event WHERE room <> '' AND body ->> '$.room.name' <> '' ORDER BY id;

-- Who was turned away stood only in the events; those go before all others.
INSERT OR IGNORE INTO inbox (id, server, room, message, received, ended, state, body)
	SELECT -event.id, server.id, event.room, event.body ->> '$.message_id', event.time, event.time,
		CASE event.body ->> '$.code' WHEN 'denied' THEN 5 ELSE 7 END,
		CAST(json_object('key', json_object('server', server.url, 'room', event.room, 'id', event.body ->> '$.message_id'),
			'kind', 'chat', 'room', event.body -> '$.room', 'author', event.body -> '$.actor',
			'text', COALESCE(event.body ->> '$.text', ''), 'received_at', event.body ->> '$.time') AS BLOB)
	FROM event JOIN server ON server.id = (SELECT max(id) FROM server)
	WHERE event.level >= 4 AND event.body ->> '$.stage' = 'intake' AND event.body ->> '$.message_id' <> '';
DELETE FROM event WHERE body ->> '$.stage' IN ('intake', 'handler', 'sender') AND
	(body ->> '$.message_id' <> '' OR body ->> '$.answers' <> '' OR body ->> '$.stage' = 'sender');
ALTER TABLE event ADD COLUMN kind TEXT NOT NULL DEFAULT ''; -- bridge.EventKind
