-- +goose Up

-- What is not done. id is drawn after the row locks of the write that it tells of, so for one row it follows the commits
-- (auto-increment, drawn by the INSERT). Payloads are JSON in text, as everywhere. kind 0 stands for a row
-- that somebody else wrote without one.
CREATE TABLE {{entries}} (
    id             bigint AUTO_INCREMENT PRIMARY KEY,
    kind           bigint      NOT NULL DEFAULT 0,
    owed           longtext,
    context        varchar(255) NOT NULL,
    resource_class varchar(255) NOT NULL DEFAULT '',
    resource_id    text        NOT NULL DEFAULT '',
    event_name     varchar(255) NOT NULL,
    causality_key  varchar(255) COLLATE utf8mb4_nopad_bin, -- a space at the end makes another key
    lane           smallint,
    changeset      longtext,
    arguments      longtext,
    headers        longtext,
    created_at     datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    updated_at     datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    retry_at       datetime(6),
    failed_at      datetime(6),
    attempts       integer     NOT NULL DEFAULT 0,
    crashes        integer     NOT NULL DEFAULT 0,
    suspect        boolean     NOT NULL DEFAULT false,
    error_class    varchar(255),
    error_message  longtext,
    callbacks      longtext,
    dead_at        datetime(6),
    processed_at   datetime(6)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- Fresh work is read by the primary key. There are no partial indexes here: what is dead, for operators, and retries
-- share one; ordered work is read by lane and key: what is done, or dead and blocks nothing, has no lane any more.
CREATE INDEX {{name}}_retry ON {{entries}} (dead_at, retry_at, id);
CREATE INDEX {{name}}_lane ON {{entries}} (lane, causality_key, id);

-- What is being worked on: an entry is held exactly while its id stands in ids. Small and hot: updated in place.
CREATE TABLE {{claims}} (
    token      bigint AUTO_INCREMENT PRIMARY KEY,
    worker     varchar(255) NOT NULL,
    ids        longtext    NOT NULL,
    lo         bigint      NOT NULL,
    hi         bigint      NOT NULL,
    alone      boolean     NOT NULL DEFAULT false,
    mark       bigint      NOT NULL DEFAULT 0,
    claimed_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX {{name}}_claims_hi ON {{claims}} (hi);

CREATE TABLE {{workers}} (
    id         varchar(255) PRIMARY KEY,
    processor  varchar(255) NOT NULL,
    lease_ms   bigint      NOT NULL,
    threads    integer     NOT NULL,
    hostname   varchar(255) NOT NULL,
    pid        integer     NOT NULL,
    started_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    beat_at    datetime(6) NOT NULL DEFAULT (utc_timestamp(6))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What one worker at a time does for all: who does it, and until when.
CREATE TABLE {{duties}} (
    name       varchar(255) PRIMARY KEY,
    worker     varchar(255),
    held_until datetime(6)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO {{duties}} (name) VALUES ('housekeeping');

CREATE TABLE {{lanes}} (
    lane  smallint PRIMARY KEY,
    owner varchar(255),
    token bigint NOT NULL DEFAULT 0
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO {{lanes}} (lane) SELECT seq FROM seq_0_to_63;

CREATE TABLE {{parked_keys}} (
    causality_key varchar(255) COLLATE utf8mb4_nopad_bin PRIMARY KEY,
    lane          smallint    NOT NULL,
    entry_id      bigint      NOT NULL,
    parked_at     datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    reason        varchar(255) NOT NULL DEFAULT ''
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
-- For those that stand for longest.
CREATE INDEX {{name}}_parked_at ON {{parked_keys}} (parked_at, entry_id);

-- A transaction that must be in line with others of its causality key locks the row of the key's hash: there are no other
-- locks that end with a transaction.
CREATE TABLE {{key_locks}} (slot smallint PRIMARY KEY);
INSERT INTO {{key_locks}} (slot) SELECT seq FROM seq_0_to_1023;

-- What an operator stopped: work to which every name applies that is not empty. id is a hash of the four.
CREATE TABLE {{pauses}} (
    id             bigint PRIMARY KEY,
    context        varchar(255) NOT NULL DEFAULT '',
    resource_class varchar(255) NOT NULL DEFAULT '',
    event_name     varchar(255) NOT NULL DEFAULT '',
    callback       varchar(255) NOT NULL DEFAULT '',
    reason         varchar(255) NOT NULL DEFAULT '',
    paused_at      datetime(6) NOT NULL DEFAULT (utc_timestamp(6))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What is done, in the order of its end: finishes append, and what is old is deleted from the other side.
CREATE TABLE {{history}} (
    id             bigint      NOT NULL,
    kind           bigint      NOT NULL,
    owed           longtext,
    context        varchar(255) NOT NULL,
    resource_class varchar(255) NOT NULL,
    resource_id    text        NOT NULL,
    event_name     varchar(255) NOT NULL,
    causality_key  varchar(255),
    changeset      longtext,
    arguments      longtext,
    headers        longtext,
    created_at     datetime(6) NOT NULL,
    attempts       integer     NOT NULL,
    crashes        integer     NOT NULL,
    error_class    varchar(255),
    error_message  longtext,
    callbacks      longtext,
    token          bigint      NOT NULL,
    processed_at   datetime(6) NOT NULL,
    PRIMARY KEY (processed_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE {{history}};
DROP TABLE {{pauses}};
DROP TABLE {{key_locks}};
DROP TABLE {{parked_keys}};
DROP TABLE {{lanes}};
DROP TABLE {{duties}};
DROP TABLE {{workers}};
DROP TABLE {{claims}};
DROP TABLE {{entries}};
