-- +goose Up

-- What is not done. id is drawn after the row locks of the write that it tells of, so for one row it follows the commits
-- (AUTOINCREMENT: an id is never used again). Payloads are JSON. Times are UTC text in one format, so that they
-- compare as text. kind 0 stands for a row
-- that somebody else wrote without one.
CREATE TABLE {{entries}} (
    id             integer PRIMARY KEY AUTOINCREMENT,
    kind           bigint      NOT NULL DEFAULT 0,
    owed           text,
    context        text        NOT NULL,
    resource_class text        NOT NULL DEFAULT '',
    resource_id    text        NOT NULL DEFAULT '',
    event_name     text        NOT NULL,
    causality_key  text,
    lane           smallint,
    changeset      text,
    arguments      text,
    headers        text,
    created_at     text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at     text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    retry_at       text,
    failed_at      text,
    attempts       integer     NOT NULL DEFAULT 0,
    crashes        integer     NOT NULL DEFAULT 0,
    suspect        boolean     NOT NULL DEFAULT false,
    error_class    text,
    error_message  text,
    callbacks      text,
    dead_at        text,
    processed_at   text
);
-- Fresh work is read by the primary key. Retries are few: a partial index. Ordered work is read by lane and key: what
-- is done, or dead and blocks nothing, has no lane any more.
CREATE INDEX {{name}}_retry ON {{entries}} (retry_at, id) WHERE retry_at IS NOT NULL AND dead_at IS NULL AND processed_at IS NULL;
CREATE INDEX {{name}}_lane ON {{entries}} (lane, causality_key, id) WHERE lane IS NOT NULL;
-- For operators: few are dead, and only an entry that dies is written to it.
CREATE INDEX {{name}}_dead ON {{entries}} (id) WHERE dead_at IS NOT NULL;

-- What is being worked on: an entry is held exactly while its id stands in ids. Small and hot: updated in place.
CREATE TABLE {{claims}} (
    token      integer PRIMARY KEY AUTOINCREMENT,
    worker     text        NOT NULL,
    ids        text    NOT NULL,
    lo         bigint      NOT NULL,
    hi         bigint      NOT NULL,
    alone      boolean     NOT NULL DEFAULT false,
    mark       bigint      NOT NULL DEFAULT 0,
    claimed_at text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);
CREATE INDEX {{name}}_claims_hi ON {{claims}} (hi);

CREATE TABLE {{workers}} (
    id         text PRIMARY KEY,
    processor  text        NOT NULL,
    lease_ms   bigint      NOT NULL,
    threads    integer     NOT NULL,
    hostname   text        NOT NULL,
    pid        integer     NOT NULL,
    started_at text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    beat_at    text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

-- What one worker at a time does for all: who does it, and until when.
CREATE TABLE {{duties}} (
    name       text PRIMARY KEY,
    worker     text,
    held_until text
);
INSERT INTO {{duties}} (name) VALUES ('housekeeping');

CREATE TABLE {{lanes}} (
    lane  smallint PRIMARY KEY,
    owner text,
    token bigint NOT NULL DEFAULT 0
);
INSERT INTO {{lanes}} (lane) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 63) SELECT i FROM n;

CREATE TABLE {{parked_keys}} (
    causality_key text PRIMARY KEY,
    lane          smallint    NOT NULL,
    entry_id      bigint      NOT NULL,
    parked_at     text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    reason        text        NOT NULL DEFAULT ''
);
-- For those that stand for longest.
CREATE INDEX {{name}}_parked_at ON {{parked_keys}} (parked_at, entry_id);

-- What an operator stopped: work to which every name applies that is not empty. id is a hash of the four.
CREATE TABLE {{pauses}} (
    id             bigint PRIMARY KEY,
    context        text NOT NULL DEFAULT '',
    resource_class text NOT NULL DEFAULT '',
    event_name     text NOT NULL DEFAULT '',
    callback       text NOT NULL DEFAULT '',
    reason         text NOT NULL DEFAULT '',
    paused_at      text NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

-- What is done.
CREATE TABLE {{history}} (
    id             bigint      NOT NULL,
    kind           bigint      NOT NULL,
    owed           text,
    context        text        NOT NULL,
    resource_class text        NOT NULL,
    resource_id    text        NOT NULL,
    event_name     text        NOT NULL,
    causality_key  text,
    changeset      text,
    arguments      text,
    headers        text,
    created_at     text NOT NULL,
    attempts       integer     NOT NULL,
    crashes        integer     NOT NULL,
    error_class    text,
    error_message  text,
    callbacks      text,
    token          bigint      NOT NULL,
    processed_at   text NOT NULL
);
CREATE INDEX {{name}}_history_processed ON {{history}} (processed_at);

-- +goose Down
DROP TABLE {{history}};
DROP TABLE {{pauses}};
DROP TABLE {{parked_keys}};
DROP TABLE {{lanes}};
DROP TABLE {{duties}};
DROP TABLE {{workers}};
DROP TABLE {{claims}};
DROP TABLE {{entries}};
