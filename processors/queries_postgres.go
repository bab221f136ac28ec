package processors

// postgresQueries. The fresh scan walks the primary key from the watermark,
// the retries the index _retry; NOT IN over a subquery is a hashed subplan, so
// that neither sorts.
func postgresQueries() queries {
	const free = ` AND dead_at IS NULL AND processed_at IS NULL AND kind <> ALL($2::bigint[])
		AND id NOT IN (SELECT unnest(ids) FROM {claims} WHERE hi > `
	// What is done can be written twice: it is gone, or marked, the second time. What failed may be due again by then, or
	// another's, so that it must still stand in the claim.
	const fence = `WITH held AS (SELECT ids FROM {claims} WHERE token = $1 FOR UPDATE),
		strike AS (UPDATE {claims} SET ids = $3::bigint[] WHERE token = $1 AND EXISTS (SELECT FROM held))`
	const fail = `,
		fail AS (UPDATE {entries} e SET retry_at = f.retry_at, dead_at = CASE WHEN f.dead THEN clock_timestamp() END,
				failed_at = CASE WHEN f.failed THEN clock_timestamp() ELSE e.failed_at END, attempts = f.attempts, suspect = false, kind = coalesce(f.kind, e.kind),
				error_class = coalesce(f.error_class, e.error_class), error_message = coalesce(f.error_message, e.error_message),
				callbacks = f.callbacks, updated_at = clock_timestamp(), lane = CASE WHEN NOT f.dead OR f.parked THEN e.lane END
			FROM json_to_recordset($4::json) f(id bigint, kind bigint, retry_at timestamptz, dead boolean, parked boolean, failed boolean, attempts integer,
				error_class text, error_message text, callbacks text)
			WHERE e.id = f.id AND f.id IN (SELECT unnest(ids) FROM held) RETURNING e.id, e.causality_key, e.lane, e.dead_at, e.error_class),
		parked AS (INSERT INTO {parked} (causality_key, lane, entry_id, reason) SELECT causality_key, lane, id, coalesce(error_class, '') FROM fail
			WHERE dead_at IS NOT NULL AND lane IS NOT NULL ON CONFLICT (causality_key) DO UPDATE SET lane = excluded.lane, entry_id = excluded.entry_id,
				reason = excluded.reason, parked_at = clock_timestamp())`
	const done = ` WHERE id = ANY ($2::bigint[]) AND EXISTS (SELECT FROM held)`
	const count = ` SELECT count(*) FROM held`
	return queries{
		fresh: `SELECT {columns} FROM {entries} WHERE id > $1 AND retry_at IS NULL{loose}` + free +
			`$1) ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED`,
		retries: `SELECT {columns} FROM {entries} WHERE retry_at <= now() AND suspect = $1{loose}` + free +
			`0) ORDER BY retry_at, id LIMIT $3 FOR UPDATE SKIP LOCKED`,
		insertClaim: `INSERT INTO {claims} (worker, ids, lo, hi, alone, mark)
			SELECT $1, array_agg(id ORDER BY id), min(id), max(id), $3, $6 FROM unnest($2::bigint[]) id
			WHERE id NOT IN (SELECT unnest(ids) FROM {claims} WHERE hi >= $4 AND lo <= $5) HAVING count(*) > 0
			RETURNING token, claimed_at, ids::text`,
		highest:  `SELECT max(id) FROM {entries}`,
		frontier: `SELECT coalesce(max(mark), 0) FROM {claims} WHERE hi > $1`,
		setClaim: `UPDATE {claims} SET ids = $2::bigint[] WHERE token = $1`,
		company:  `UPDATE {claims} SET alone = false WHERE token = $1`,
		finish:   fence,
		fail:     fail,
		archive: `, gone AS (DELETE FROM {entries}` + done + ` RETURNING {kept}),
			kept AS (INSERT INTO {history} ({kept}, token, processed_at) SELECT {kept}, $1, clock_timestamp() FROM gone)` + count,
		drop:         `, gone AS (DELETE FROM {entries}` + done + `)` + count,
		keep:         `, kept AS (UPDATE {entries} SET processed_at = clock_timestamp(), retry_at = NULL, lane = NULL, updated_at = clock_timestamp()` + done + ` AND processed_at IS NULL)` + count,
		deleteClaims: `DELETE FROM {claims} WHERE token = ANY ($1::bigint[])`,
		abandon:      `DELETE FROM {claims} WHERE worker = $1 AND token <> ALL ($2::bigint[])`,
		now:          `SELECT clock_timestamp()`,
		registration: `INSERT INTO {duties} (name) VALUES ('registration') ON CONFLICT (name) DO UPDATE SET held_until = NULL`,
		others: `SELECT id, processor, hostname, pid, lease_ms FROM {workers}
			WHERE processor <> $1 AND beat_at >= clock_timestamp() - lease_ms * interval '1 millisecond' LIMIT 1`,
		countLanes:  `SELECT count(*), min(lane), max(lane) FROM {lanes}`,
		register:    `INSERT INTO {workers} (id, processor, lease_ms, threads, hostname, pid) VALUES ($1, $2, $3, $4, $5, $6)`,
		beat:        `UPDATE {workers} SET beat_at = clock_timestamp() WHERE id = $1`,
		probe:       `UPDATE {workers} SET threads = threads WHERE id = $1`,
		deregister:  `DELETE FROM {workers} WHERE id = $1`,
		deadWorkers: `DELETE FROM {workers} WHERE beat_at < clock_timestamp() - lease_ms * interval '1 millisecond' AND id <> $1`,
		strayClaims: `SELECT token, worker, ids::text, alone FROM {claims} c WHERE NOT EXISTS (SELECT FROM {workers} w WHERE w.id = c.worker) AND worker <> $1 FOR UPDATE SKIP LOCKED`,
		suspect: `UPDATE {entries} SET suspect = true, retry_at = clock_timestamp(), crashes = least(crashes, 1000000) + $2, updated_at = clock_timestamp(),
			dead_at = CASE WHEN least(crashes, 1000000) + $2 >= $3 THEN clock_timestamp() END,
			error_class = CASE WHEN least(crashes, 1000000) + $2 >= $3 THEN 'crash' ELSE error_class END,
			error_message = CASE WHEN least(crashes, 1000000) + $2 >= $3 THEN 'the worker died each time that this entry ran alone' ELSE error_message END
			WHERE id = ANY ($1::bigint[]) AND processed_at IS NULL`,
		acquit: `UPDATE {entries} SET updated_at = clock_timestamp(), crashes = crashes - 1,
			dead_at = CASE WHEN error_class = 'crash' AND crashes <= $2 THEN NULL ELSE dead_at END,
			error_class = CASE WHEN error_class = 'crash' AND crashes <= $2 THEN NULL ELSE error_class END,
			error_message = CASE WHEN error_class = 'crash' AND crashes <= $2 THEN NULL ELSE error_message END
			WHERE id = $1 AND crashes > 0`,
		died:   `SELECT {columns} FROM {entries} WHERE id = $1 AND dead_at IS NOT NULL`,
		unlane: `UPDATE {entries} SET lane = NULL WHERE id = $1 AND dead_at IS NOT NULL`,
		park: `INSERT INTO {parked} (causality_key, lane, entry_id, reason)
			SELECT causality_key, lane, id, coalesce(error_class, '') FROM {entries} WHERE id = $1 AND dead_at IS NOT NULL AND lane IS NOT NULL
			ON CONFLICT (causality_key) DO UPDATE SET lane = excluded.lane, entry_id = excluded.entry_id, reason = excluded.reason, parked_at = clock_timestamp()`,
		unpark:    `DELETE FROM {parked} WHERE entry_id = $1`,
		countKind: `SELECT count(*) FROM (SELECT kind FROM {entries} ORDER BY id LIMIT 100000) AS oldest WHERE kind = $1`,
		pauses:    `SELECT context, resource_class, event_name, callback, reason, paused_at FROM {pauses}`,
	}
}
