package processors

import (
	"fmt"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// housekeepingQueries is the text of the housekeeper's statements for one
// database. Each that reads or deletes a part of a big table names its index.
type housekeepingQueries struct {
	dialect string
	bounds  string // first in each transaction, on PostgreSQL

	take, seed, release string // the lease: a row of outbox_duties, by its primary key

	pruneHistory string // a batch by the index of processed_at; not on PostgreSQL
	pruneKept    string // a batch by the index _kept
	keptIndexes  []keptIndex
	entriesSize  string // bytes; not on SQLite

	partitions string // of the history: see partition
	expired    string // tables that were partitions of it
	readers    string // of a table

	// Seconds and counts: see measureLatency.
	waitingFresh   string // from an id on, by the primary key or the index _kept_fresh
	waitingRetries string // by the index _retry
	processed      string // in the last minute: where the history ends, or by the index of processed_at
	processedKept  string // the same of kept entries
}

// keptIndex is an index that outbox_entries has only where done entries stay
// in it.
type keptIndex struct{ name, exists, create string }

// newHousekeepingQueries returns the statements for the tables of an outbox.
func newHousekeepingQueries(dialect string, t reliable.Tables) housekeepingQueries {
	q := map[string]func() housekeepingQueries{"postgres": postgresHousekeeping, "mysql": mariaHousekeeping, "sqlite": sqliteHousekeeping}[dialect]()
	q.dialect = dialect
	schema := ""
	if t.Schema != "" {
		schema = t.Schema + "."
	}
	q.latency()
	names := strings.NewReplacer("{duties}", t.Duties(), "{entries}", t.Entries(), "{history}", t.History(), "{kept}", t.Prefix+"outbox_kept",
		"{prefix}", t.Prefix, "{in}", t.Schema, "{schema}", schema)
	for _, text := range []*string{
		&q.take, &q.seed, &q.release, &q.pruneHistory, &q.pruneKept, &q.entriesSize, &q.partitions, &q.expired, &q.readers,
		&q.waitingFresh, &q.waitingRetries, &q.processed, &q.processedKept,
	} {
		*text = names.Replace(*text)
	}
	for i := range q.keptIndexes {
		index := &q.keptIndexes[i]
		index.name, index.exists, index.create = names.Replace(index.name), names.Replace(index.exists), names.Replace(index.create)
	}
	return q
}

func postgresHousekeeping() housekeepingQueries {
	const exists = `SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('{schema}`
	return housekeepingQueries{
		bounds: `SELECT set_config('lock_timeout', '1s', true), set_config('statement_timeout', '9s', true),
			set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)`,
		take: `UPDATE {duties} SET worker = $1, held_until = now() + $2 * interval '1 microsecond' WHERE name = 'housekeeping'
			AND (worker IS NULL OR worker = $3 OR held_until IS NULL OR held_until < now())`,
		seed:    `INSERT INTO {duties} (name) VALUES ('housekeeping') ON CONFLICT DO NOTHING`,
		release: `UPDATE {duties} SET worker = NULL, held_until = NULL WHERE name = 'housekeeping' AND worker = $1`,
		pruneKept: `DELETE FROM {entries} WHERE id = ANY (ARRAY(SELECT id FROM {entries}
			WHERE processed_at < now() - $1 * interval '1 microsecond' ORDER BY processed_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		keptIndexes: []keptIndex{
			{"{kept}", exists + `{kept}')`, `CREATE INDEX IF NOT EXISTS {kept} ON {entries} (processed_at) WHERE processed_at IS NOT NULL`},
			{"{kept}_fresh", exists + `{kept}_fresh')`, `CREATE INDEX IF NOT EXISTS {kept}_fresh ON {entries} (id)
				WHERE retry_at IS NULL AND dead_at IS NULL AND processed_at IS NULL`},
		},
		entriesSize: `SELECT pg_table_size('{entries}')`,
		partitions: `SELECT format('%I.%I', n.nspname, c.relname), upper <= now() - $2 * interval '1 microsecond',
				coalesce((to_jsonb(i) ->> 'inhdetachpending')::boolean, false), coalesce(obj_description(c.oid, 'pg_class') = $3, false)
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
				CROSS JOIN pg_get_expr(c.relpartbound, c.oid) bound
				CROSS JOIN LATERAL (SELECT (regexp_match(bound, 'TO \(''([^'']*)''\)'))[1]::timestamptz AS upper) b
			WHERE i.inhparent = to_regclass($1) ORDER BY upper`,
		expired: `SELECT format('%I.%I', n.nspname, c.relname), pg_total_relation_size(c.oid)
			FROM pg_description d JOIN pg_class c ON c.oid = d.objoid JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND d.description = $1 AND c.relkind = 'r' AND NOT c.relispartition`,
		readers: `SELECT l.pid, coalesce(a.application_name, ''), coalesce(a.state, 'state not visible')
			FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
				AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.relation IN (to_regclass($1), to_regclass($2))
			ORDER BY a.xact_start LIMIT 1`,
	}
}

func mariaHousekeeping() housekeepingQueries {
	return housekeepingQueries{
		take: `UPDATE {duties} SET worker = ?, held_until = utc_timestamp(6) + INTERVAL ? MICROSECOND WHERE name = 'housekeeping'
			AND (worker IS NULL OR worker = ? OR held_until IS NULL OR held_until < utc_timestamp(6))`,
		seed:    `INSERT IGNORE INTO {duties} (name) VALUES ('housekeeping')`,
		release: `UPDATE {duties} SET worker = NULL, held_until = NULL WHERE name = 'housekeeping' AND worker = ?`,
		pruneHistory: `SET STATEMENT innodb_lock_wait_timeout = 1 FOR
			DELETE FROM {history} WHERE processed_at < utc_timestamp(6) - INTERVAL ? MICROSECOND ORDER BY processed_at, id LIMIT ?`,
		pruneKept: `SET STATEMENT innodb_lock_wait_timeout = 1 FOR
			DELETE FROM {entries} WHERE processed_at < utc_timestamp(6) - INTERVAL ? MICROSECOND ORDER BY processed_at LIMIT ?`,
		keptIndexes: []keptIndex{{
			"{kept}", `SELECT count(*) FROM information_schema.statistics WHERE index_name = '{kept}' AND seq_in_index = 1
				AND table_schema = coalesce(nullif('{in}', ''), database()) AND table_name = '{prefix}outbox_entries'`,
			`CREATE INDEX IF NOT EXISTS {kept} ON {entries} (processed_at, dead_at, retry_at) WAIT 1 LOCK=NONE`,
		}},
		entriesSize: `SELECT coalesce(max(data_length), 0) FROM information_schema.tables
			WHERE table_schema = coalesce(nullif('{in}', ''), database()) AND table_name = '{prefix}outbox_entries'`,
	}
}

func sqliteHousekeeping() housekeepingQueries {
	const exists = `SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name = '{kept}`
	return housekeepingQueries{
		take: `UPDATE {duties} SET worker = ?, held_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?) WHERE name = 'housekeeping'
			AND (worker IS NULL OR worker = ? OR held_until IS NULL OR held_until < strftime('%Y-%m-%d %H:%M:%f', 'now'))`,
		seed:    `INSERT INTO {duties} (name) VALUES ('housekeeping') ON CONFLICT DO NOTHING`,
		release: `UPDATE {duties} SET worker = NULL, held_until = NULL WHERE name = 'housekeeping' AND worker = ?`,
		pruneHistory: `DELETE FROM {history} WHERE rowid IN (SELECT rowid FROM {history}
			WHERE processed_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?) ORDER BY processed_at LIMIT ?)`,
		pruneKept: `DELETE FROM {entries} WHERE id IN (SELECT id FROM {entries}
			WHERE processed_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?) ORDER BY processed_at LIMIT ?)`,
		keptIndexes: []keptIndex{
			{"{kept}", exists + `'`, `CREATE INDEX IF NOT EXISTS {kept} ON {entries} (processed_at) WHERE processed_at IS NOT NULL`},
			{"{kept}_fresh", exists + `_fresh'`, `CREATE INDEX IF NOT EXISTS {kept}_fresh ON {entries} (id)
				WHERE retry_at IS NULL AND dead_at IS NULL AND processed_at IS NULL`},
		},
	}
}

// ahead is a time from now as a parameter of the dialect's statements, ago one
// before.
func (q *housekeepingQueries) ahead(d time.Duration) any {
	if q.dialect == "sqlite" {
		return seconds(d)
	}
	return d.Microseconds()
}

func (q *housekeepingQueries) ago(d time.Duration) any {
	if q.dialect == "sqlite" {
		return seconds(-d)
	}
	return d.Microseconds()
}

// seconds is a time as a modifier of SQLite's date functions.
func seconds(d time.Duration) string { return fmt.Sprintf("%+.3f seconds", d.Seconds()) }
