package processors

// The statistics of some tables, whose names are an array.
const postgresBloat = `SELECT s.relid::regclass::text, s.n_dead_tup, s.n_live_tup, v.at, coalesce(extract(epoch FROM now() - v.at), 0)::float8
	FROM unnest($1::text[]) name JOIN pg_stat_user_tables s ON s.relid = to_regclass(name)
		CROSS JOIN LATERAL (SELECT greatest(s.last_vacuum, s.last_autovacuum) AS at) v
	ORDER BY s.n_dead_tup DESC`

// Who keeps PostgreSQL from removing dead rows of this database: kind, process,
// name, user, application, state, seconds if known, and what it holds, the
// oldest first. An ordinary role sees of other roles' sessions that they hold,
// their user and application, but neither state nor since when. A slot's
// catalog_xmin is not among it: it keeps rows of the catalogs alone.
const postgresHolders = `SELECT kind, pid, name, usename, application, state, seconds, holds::text FROM (
		SELECT 'session' AS kind, pid, '' AS name, coalesce(usename::text, '') AS usename, coalesce(application_name, '') AS application, coalesce(state, '') AS state,
			extract(epoch FROM now() - xact_start)::float8 AS seconds,
			CASE WHEN backend_xid IS NULL OR age(backend_xmin) > age(backend_xid) THEN backend_xmin ELSE backend_xid END AS holds
		FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
		UNION ALL SELECT 'prepared transaction', 0, gid, coalesce(owner::text, ''), '', '', extract(epoch FROM now() - prepared)::float8, transaction
		FROM pg_prepared_xacts WHERE database = current_database()
		UNION ALL SELECT 'replication slot', coalesce(active_pid, 0), slot_name::text, '', '', CASE WHEN active THEN 'active' ELSE 'inactive' END, NULL, xmin
		FROM pg_replication_slots
		UNION ALL SELECT 'standby', pid, coalesce(application_name, ''), coalesce(usename::text, ''), '', coalesce(state, ''), NULL, backend_xmin
		FROM pg_stat_replication
	) holders WHERE holds IS NOT NULL ORDER BY age(holds) DESC LIMIT 20`

// The undo logs of MariaDB that are not purged.
const mariaBloat = `SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'`

// Who has a read view on MariaDB: transactions that keep theirs, and statements
// that run.
const mariaHolders = `SELECT 'session', t.trx_mysql_thread_id, '', coalesce(p.user, ''), coalesce(p.host, ''), coalesce(p.command, ''),
		CAST(timestampdiff(SECOND, t.trx_started, now()) AS double), t.trx_id
	FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
	WHERE t.trx_mysql_thread_id <> connection_id() AND (t.trx_isolation_level <> 'READ COMMITTED' OR t.trx_query IS NOT NULL)
	ORDER BY t.trx_started LIMIT 20`
