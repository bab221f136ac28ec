package processors

import "strings"

// The time before which a worker's last heartbeat is too old.
const (
	mariaExpiry  = "utc_timestamp(6) - INTERVAL lease_ms * 1000 MICROSECOND"
	sqliteExpiry = "strftime('%Y-%m-%d %H:%M:%f', 'now', printf('-%.3f seconds', lease_ms / 1000.0))"
)

// mariaQueries. The fresh scan walks the primary key, the retries the index
// _retry. A claim and a finish are transactions of a few statements.
func mariaQueries() queries {
	q := jsonQueries()
	expand := strings.NewReplacer(
		"{now}", "utc_timestamp(6)", "{expiry}", mariaExpiry,
		"{list}", "(SELECT j.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id bigint PATH '$')) j)",
		"{held}", "(SELECT j.id FROM {claims} c, JSON_TABLE(c.ids, '$[*]' COLUMNS (id bigint PATH '$')) j)",
		"{ahead}", "(SELECT j.id FROM {claims} c, JSON_TABLE(c.ids, '$[*]' COLUMNS (id bigint PATH '$')) j WHERE c.hi > ?)",
		"{lock}", " FOR UPDATE SKIP LOCKED", "{wait}", " FOR UPDATE",
	)
	q.expand(expand)
	q.fresh = strings.Replace(q.fresh, "created_at", "CAST(created_at AS char)", 1)
	q.retries = strings.Replace(q.retries, "created_at", "CAST(created_at AS char)", 1)
	q.died = strings.Replace(q.died, "created_at", "CAST(created_at AS char)", 1)
	q.pauses = strings.Replace(q.pauses, "paused_at", "CAST(paused_at AS char)", 1)
	// An IN over a subquery is run for every row of the table by DELETE and
	// UPDATE, so that these join.
	const each = "JSON_TABLE(?, '$[*]' COLUMNS (id bigint PATH '$')) j STRAIGHT_JOIN "
	q.drop = "DELETE e FROM " + each + "{entries} e ON e.id = j.id"
	q.deleteClaims = "DELETE c FROM " + each + "{claims} c ON c.token = j.id"
	q.keep = "UPDATE " + each + "{entries} e ON e.id = j.id SET e.processed_at = utc_timestamp(6), e.retry_at = NULL, e.lane = NULL, e.updated_at = utc_timestamp(6)"
	q.suspect = "UPDATE " + each + "{entries} e ON e.id = j.id SET e.suspect = true, e.retry_at = utc_timestamp(6), e.updated_at = utc_timestamp(6), " +
		expand.Replace(crash) + " WHERE e.processed_at IS NULL"
	q.now = "SELECT CAST(utc_timestamp(6) AS char)"
	q.deadWorkers = "DELETE FROM {workers} WHERE beat_at < " + mariaExpiry + " AND id <> ?"
	q.fail = `UPDATE {entries} e JOIN JSON_TABLE(?, '$[*]' COLUMNS (id bigint PATH '$.id', kind bigint PATH '$.kind', retry_at datetime(6) PATH '$.retry_at', dead boolean PATH '$.dead', parked boolean PATH '$.parked',
			failed boolean PATH '$.failed', attempts int PATH '$.attempts', error_class varchar(255) PATH '$.error_class', error_message longtext PATH '$.error_message',
			callbacks longtext PATH '$.callbacks')) f ON f.id = e.id
		SET e.retry_at = f.retry_at, e.dead_at = CASE WHEN f.dead THEN utc_timestamp(6) END,
			e.failed_at = CASE WHEN f.failed THEN utc_timestamp(6) ELSE e.failed_at END, e.attempts = f.attempts, e.suspect = false, e.kind = coalesce(f.kind, e.kind),
			e.error_class = coalesce(f.error_class, e.error_class), e.error_message = coalesce(f.error_message, e.error_message),
			e.callbacks = f.callbacks, e.updated_at = utc_timestamp(6), e.lane = CASE WHEN NOT f.dead OR f.parked THEN e.lane END`
	return q
}

// sqliteQueries: as MariaDB's, under SQLite's one write lock.
func sqliteQueries() queries {
	q := jsonQueries()
	q.expand(strings.NewReplacer(
		"{now}", "strftime('%Y-%m-%d %H:%M:%f', 'now')", "{expiry}", sqliteExpiry,
		"{list}", "(SELECT value FROM json_each(?))",
		"{held}", "(SELECT j.value FROM {claims} c, json_each(c.ids) j)",
		"{ahead}", "(SELECT j.value FROM {claims} c, json_each(c.ids) j WHERE c.hi > ?)",
		"{lock}", "", "{wait}", "",
	))
	q.now = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
	q.deadWorkers = `DELETE FROM {workers} WHERE beat_at < ` + sqliteExpiry + ` AND id <> ?`
	q.fail = strings.ReplaceAll(`UPDATE {entries} SET retry_at = f.retry_at, dead_at = CASE WHEN f.dead THEN {now} END,
			failed_at = CASE WHEN f.failed THEN {now} ELSE failed_at END, attempts = f.attempts, suspect = false, kind = coalesce(f.kind, {entries}.kind),
			error_class = coalesce(f.error_class, {entries}.error_class), error_message = coalesce(f.error_message, {entries}.error_message),
			callbacks = f.callbacks, updated_at = {now}, lane = CASE WHEN NOT f.dead OR f.parked THEN lane END
		FROM (SELECT value ->> 'id' AS id, value ->> 'kind' AS kind, value ->> 'retry_at' AS retry_at, value ->> 'dead' AS dead, value ->> 'parked' AS parked, value ->> 'failed' AS failed, value ->> 'attempts' AS attempts,
			value ->> 'error_class' AS error_class, value ->> 'error_message' AS error_message, value ->> 'callbacks' AS callbacks FROM json_each(?)) AS f
		WHERE {entries}.id = f.id`, "{now}", "strftime('%Y-%m-%d %H:%M:%f', 'now')")
	return q
}

// crash counts a crash, as the last things that are set: MariaDB sets from left
// to right, and uses what is set already.
const crash = `dead_at = CASE WHEN crashes + ? >= ? THEN {now} END,
	error_class = CASE WHEN crashes + ? >= ? THEN 'crash' ELSE error_class END,
	error_message = CASE WHEN crashes + ? >= ? THEN 'the worker died each time that this entry ran alone' ELSE error_message END,
	crashes = CASE WHEN crashes < 1000000 THEN crashes + ? ELSE crashes END`

// jsonQueries is what MariaDB and SQLite share.
func jsonQueries() queries {
	const free = ` AND dead_at IS NULL AND processed_at IS NULL AND kind NOT IN {list}
		AND id NOT IN `
	return queries{
		fresh:        `SELECT {columns} FROM {entries} WHERE id > ? AND retry_at IS NULL{loose}` + free + `{ahead} ORDER BY id LIMIT ?{lock}`,
		highest:      `SELECT max(id) FROM {entries}`,
		frontier:     `SELECT coalesce(max(mark), 0) FROM {claims} WHERE hi > ?`,
		retries:      `SELECT {columns} FROM {entries} WHERE retry_at <= {now} AND suspect = ?{loose}` + free + `{held} ORDER BY retry_at, id LIMIT ?{lock}`,
		held:         `SELECT ids FROM {claims} WHERE hi >= ? AND lo <= ?`,
		insertClaim:  `INSERT INTO {claims} (worker, ids, lo, hi, alone, mark) VALUES (?, ?, ?, ?, ?, ?) RETURNING token`,
		lockClaim:    `SELECT ids FROM {claims} WHERE token = ?{wait}`,
		setClaim:     `UPDATE {claims} SET ids = ? WHERE token = ?`,
		company:      `UPDATE {claims} SET alone = false WHERE token = ?`,
		archive:      `INSERT INTO {history} ({kept}, token, processed_at) SELECT {kept}, ?, {now} FROM {entries} WHERE id IN {list}`,
		drop:         `DELETE FROM {entries} WHERE id IN {list}`,
		keep:         `UPDATE {entries} SET processed_at = {now}, retry_at = NULL, lane = NULL, updated_at = {now} WHERE id IN {list}`,
		deleteClaims: `DELETE FROM {claims} WHERE token IN {list}`,
		abandon:      `DELETE FROM {claims} WHERE worker = ? AND token NOT IN {list}`,
		registration: `REPLACE INTO {duties} (name) VALUES ('registration')`,
		others:       `SELECT id, processor, hostname, pid, lease_ms FROM {workers} WHERE processor <> ? AND beat_at >= {expiry} LIMIT 1`,
		countLanes:   `SELECT count(*), min(lane), max(lane) FROM {lanes}`,
		register:     `INSERT INTO {workers} (id, processor, lease_ms, threads, hostname, pid) VALUES (?, ?, ?, ?, ?, ?)`,
		beat:         `UPDATE {workers} SET beat_at = {now} WHERE id = ?`,
		probe:        `UPDATE {workers} SET threads = threads WHERE id = ?`,
		deregister:   `DELETE FROM {workers} WHERE id = ?`,
		strayClaims:  `SELECT token, worker, ids, alone FROM {claims} c WHERE NOT EXISTS (SELECT 1 FROM {workers} w WHERE w.id = c.worker) AND worker <> ?{lock}`,
		suspect:      `UPDATE {entries} SET suspect = true, retry_at = {now}, updated_at = {now}, ` + crash + ` WHERE id IN {list} AND processed_at IS NULL`,
		acquit: `UPDATE {entries} SET updated_at = {now}, error_message = CASE WHEN error_class = 'crash' AND crashes <= ? THEN NULL ELSE error_message END,
			dead_at = CASE WHEN error_class = 'crash' AND crashes <= ? THEN NULL ELSE dead_at END,
			error_class = CASE WHEN error_class = 'crash' AND crashes <= ? THEN NULL ELSE error_class END, crashes = crashes - 1 WHERE id = ? AND crashes > 0`,
		died:   `SELECT {columns} FROM {entries} WHERE id = ? AND dead_at IS NOT NULL`,
		unlane: `UPDATE {entries} SET lane = NULL WHERE id = ? AND dead_at IS NOT NULL`,
		park: `REPLACE INTO {parked} (causality_key, lane, entry_id, reason)
			SELECT causality_key, lane, id, coalesce(error_class, '') FROM {entries} WHERE id = ? AND dead_at IS NOT NULL AND lane IS NOT NULL`,
		unpark:    `DELETE FROM {parked} WHERE entry_id = ?`,
		countKind: `SELECT count(*) FROM (SELECT kind FROM {entries} ORDER BY id LIMIT 100000) AS oldest WHERE kind = ?`,
		pauses:    `SELECT context, resource_class, event_name, callback, reason, paused_at FROM {pauses}`,
	}
}

// expand fills in what differs.
func (q *queries) expand(r *strings.Replacer) {
	for _, text := range []*string{
		&q.fresh, &q.retries, &q.held, &q.insertClaim, &q.lockClaim, &q.setClaim, &q.company, &q.archive, &q.drop, &q.keep,
		&q.deleteClaims, &q.abandon, &q.register, &q.beat, &q.probe, &q.deregister, &q.strayClaims, &q.suspect, &q.acquit, &q.countKind, &q.registration, &q.others, &q.park,
	} {
		*text = r.Replace(*text)
	}
}
