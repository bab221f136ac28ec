package doctor

import (
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// held is a transaction, or what else keeps dead rows.
type held struct {
	Kind, Name, Who, State string
	Pid                    int64
	Seconds                float64 // since it began; 0 if there is no such time
}

// wayOut says how each kind is ended.
func (h *held) wayOut(dialect string) string {
	switch {
	case h.Kind == "prepared transaction" && dialect == "postgres":
		return "COMMIT PREPARED or ROLLBACK PREPARED '" + h.Name + "'"
	case h.Kind == "prepared transaction":
		return "find it by XA RECOVER, and XA COMMIT or XA ROLLBACK it"
	case h.Kind == "replication slot":
		return "if its standby is gone: SELECT pg_drop_replication_slot('" + h.Name + "')"
	case dialect == "postgres":
		return fmt.Sprintf("see pid %d in pg_stat_activity; SELECT pg_terminate_backend(%d) ends it; set idle_in_transaction_session_timeout against the next", h.Pid, h.Pid)
	default:
		return fmt.Sprintf("see SHOW PROCESSLIST; KILL %d ends it; set idle_transaction_timeout against the next", h.Pid)
	}
}

func (h *held) finding(dialect string) Finding {
	text := h.Kind
	if h.Pid != 0 {
		text += fmt.Sprint(" ", h.Pid)
	}
	if h.Name != "" {
		text += " " + h.Name
	}
	if h.Who != "" {
		text += " of " + h.Who
	}
	if h.State != "" {
		text += " (" + h.State + ")"
	}
	if h.Seconds > 0 {
		text += " has been open for " + outbox.Age(time.Duration(h.Seconds*float64(time.Second))).String()
	}
	if h.Kind == "replication slot" {
		text += " keeps rows for nobody"
	}
	return Finding{Level: Warning, Seen: text + ": dead rows since then can't be removed, and each claim walks over them", Do: h.wayOut(dialect)}
}

// The oldest transactions of this database, those that are prepared, and slots
// that nobody uses and that keep rows. An ordinary role does not see since when
// transactions of other roles have been open.
const postgresHeld = `SELECT * FROM (
		SELECT 'session' AS kind, application_name AS name, coalesce(usename::text, '') AS who, coalesce(state, '') AS state, pid::bigint AS pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
		UNION ALL SELECT 'prepared transaction', gid, owner::text, '', 0, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts WHERE database = current_database()
	) t WHERE seconds > ?
	UNION ALL SELECT 'replication slot', slot_name::text, '', 'inactive', 0, 0 FROM pg_replication_slots WHERE NOT active AND xmin IS NOT NULL
	ORDER BY seconds DESC LIMIT ?`

const postgresHidden = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()
	AND NOT pg_has_role(usesysid, 'USAGE') AND NOT pg_has_role('pg_read_all_stats', 'USAGE')`

// longTransactions looks for what keeps PostgreSQL from removing dead rows.
func longTransactions(x *examination, tx *gorm.DB) (found []Finding, err error) {
	var all []held
	if err := tx.Raw(postgresHeld, x.LongTransaction.Seconds(), mostTransactions).Scan(&all).Error; err != nil {
		return nil, err
	}
	for i := range all {
		found = append(found, all[i].finding("postgres"))
	}
	var hidden int64
	if err := tx.Raw(postgresHidden).Scan(&hidden).Error; err != nil {
		return found, err
	}
	if hidden > 0 {
		found = append(found, Finding{
			Level: Unknown, Seen: fmt.Sprintf("%d sessions of other roles do not show this role for how long their transactions have been open", hidden),
			Do: "GRANT pg_read_all_stats to this role, or run the doctor as a role that has it",
		})
	}
	return orOK(found, "no transaction is older than %s", outbox.Age(x.LongTransaction)), nil
}

const mariaHeld = `SELECT CASE WHEN t.trx_mysql_thread_id = 0 THEN 'prepared transaction' ELSE 'session' END AS kind, coalesce(p.user, '') AS who, lower(coalesce(p.command, '')) AS state,
		t.trx_mysql_thread_id AS pid, timestampdiff(MICROSECOND, t.trx_started, sysdate(6)) / 1000000 AS seconds
	FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
	WHERE t.trx_mysql_thread_id <> connection_id() AND timestampdiff(MICROSECOND, t.trx_started, sysdate(6)) > ?
	ORDER BY t.trx_started LIMIT ?`

// mariaTransactions looks for what keeps InnoDB from purging.
func mariaTransactions(x *examination, tx *gorm.DB) (found []Finding, err error) {
	var all []held
	if err := tx.Raw(mariaHeld, x.LongTransaction.Microseconds(), mostTransactions).Scan(&all).Error; err != nil {
		if tx.Statement.Context.Err() != nil {
			return nil, err
		}
		return []Finding{{
			Level: Unknown, Seen: "transactions of other sessions are not shown: " + err.Error(), Do: "GRANT PROCESS ON *.* to this user, or run the doctor as a user that has it",
		}}, nil
	}
	for i := range all {
		found = append(found, all[i].finding("mysql"))
	}
	return orOK(found, "no transaction is older than %s", outbox.Age(x.LongTransaction)), nil
}

// tableVacuum is what PostgreSQL's statistics say of a table.
type tableVacuum struct {
	Name       string
	Dead, Live int64
	Changed    int64    // since it was analyzed
	Hours      *float64 // since the last vacuum; nil for never
	Off        bool     // autovacuum is
}

// hot are the tables whose rows come and go.
func (x *examination) hot() []string {
	t := x.tables
	return []string{t.Entries(), t.Claims(), t.Workers(), t.Lanes(), t.Duties()}
}

const postgresVacuum = `SELECT c.oid::regclass::text AS name, pg_stat_get_dead_tuples(c.oid) AS dead, pg_stat_get_live_tuples(c.oid) AS live, pg_stat_get_mod_since_analyze(c.oid) AS changed,
		(extract(epoch FROM now() - greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))) / 3600)::float8 AS hours,
		EXISTS (SELECT FROM pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_enabled' AND NOT option_value::boolean) AS off
	FROM pg_class c WHERE c.oid IN (`

func (x *examination) vacuums(tx *gorm.DB) (all []tableVacuum, err error) {
	return all, tx.Raw(postgresVacuum + regclasses(x.hot()) + ") ORDER BY 1").Scan(&all).Error
}

// deadRows looks for tables that vacuum does not keep clean.
func deadRows(x *examination, tx *gorm.DB) (found []Finding, err error) {
	all, err := x.vacuums(tx)
	if err != nil {
		return nil, err
	}
	var most int64
	for _, t := range all {
		if most = max(most, t.Dead); t.Dead <= x.DeadRows {
			continue
		}
		last := "was never vacuumed"
		if t.Hours != nil {
			last = "was vacuumed " + outbox.Age(time.Duration(*t.Hours*float64(time.Hour))).String() + " ago"
		}
		found = append(found, Finding{
			Level: Warning, Seen: fmt.Sprintf("%s has %s dead rows beside %s live ones, and %s", t.Name, outbox.Gauge{N: t.Dead}, outbox.Gauge{N: t.Live}, last),
			Do: "end what long_transactions names; if that is nothing, VACUUM " + t.Name + ", and see autovacuum_max_workers and autovacuum_vacuum_cost_limit",
		})
	}
	return orOK(found, "at most %s dead rows in a table", outbox.Gauge{N: most}), nil
}

// autovacuum looks whether it runs, and keeps up with what the planner knows.
func autovacuum(x *examination, tx *gorm.DB) (found []Finding, err error) {
	all, err := x.vacuums(tx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.Changed > 10*x.DeadRows {
			found = append(found, Finding{
				Level: Warning, Seen: fmt.Sprintf("%s rows of %s were written since it was analyzed: what an index could serve may read and sort all of it", outbox.Gauge{N: t.Changed}, t.Name), Do: "ANALYZE " + t.Name,
			})
		}
		if t.Off {
			found = append(found, Finding{Level: Warning, Seen: "autovacuum is switched off for " + t.Name, Do: "ALTER TABLE " + t.Name + " RESET (autovacuum_enabled)"})
		}
	}
	for _, name := range []string{"autovacuum", "track_counts"} {
		var value string
		if err := tx.Raw("SELECT current_setting(?)", name).Scan(&value).Error; err != nil {
			return found, err
		}
		if value == "off" {
			found = append(found, Finding{Level: Warning, Seen: name + " is off: nobody removes dead rows", Do: "set " + name + " = on in postgresql.conf"})
		}
	}
	return orOK(found, "autovacuum is on"), nil
}

// undo looks how much InnoDB has to purge, on the whole server.
func undo(x *examination, tx *gorm.DB) ([]Finding, error) {
	var status struct{ Value int64 }
	if err := tx.Raw("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'").Scan(&status).Error; err != nil {
		return nil, err
	}
	n := outbox.Gauge{N: status.Value}
	if n.N > 10*x.DeadRows {
		return []Finding{{
			Level: Warning, Seen: fmt.Sprintf("%s records of undo wait to be purged (Innodb_history_list_length): reads walk over them", n),
			Do: "end what long_transactions names; if that is nothing, raise innodb_purge_threads",
		}}, nil
	}
	return ok("%s records of undo wait to be purged", n), nil
}
