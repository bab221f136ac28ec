package doctor

import (
	"fmt"
	"time"

	"gorm.io/gorm"
)

// own is how many connections a worker has for itself, and spare how many more
// than threads it lets callbacks have, unless it is told otherwise.
const own, spare = 5, 2

// room is how many connections the server takes, and has.
type room struct {
	Most, Used int64
	Limit      string // what sets Most
}

// connections compares pools with what the server takes.
func connections(x *examination, tx *gorm.DB) (found []Finding, err error) {
	if x.Threads > 0 && x.Pool > 0 && x.Pool < x.Threads {
		found = append(found, Finding{
			Level: Warning, Seen: fmt.Sprintf("%d callbacks at once share %d connections, and wait for each other", x.Threads, x.Pool),
			Do: fmt.Sprintf("set DB_POOL to %d or more, or leave it out", x.Threads+spare),
		})
	}
	if tx.Name() == "sqlite" {
		return orOK(found, "SQLite has no server that counts them"), nil
	}
	all, threads, err := aliveThreads(x, tx)
	if err != nil {
		return found, err
	}
	if all == 0 && x.Threads > 0 {
		all, threads = 1, int64(x.Threads)
	}
	r, err := selectRoom(tx)
	if err != nil {
		return found, err
	}
	need := threads + all*(own+spare)
	switch {
	case x.pooled: // the server's connections are the pooler's
	case need > r.Most:
		found = append(found, Finding{
			Level: Warning, Seen: fmt.Sprintf("%d workers with %d threads may want %d connections, and %s is %d", all, threads, need, r.Limit, r.Most),
			Do: "raise " + r.Limit + ", or have fewer workers or THREADS, or a DB_POOL that is smaller, or put a pooler in between",
		})
	case need*2 > r.Most:
		found = append(found, Finding{
			Level: Notice, Seen: fmt.Sprintf("%d workers with %d threads may want %d connections of the %d that %s allows", all, threads, need, r.Most, r.Limit),
			Do: "a deploy that starts new workers before the old ones end needs twice as many: raise " + r.Limit + ", or let old ones end first",
		})
	}
	if r.Used*10 >= r.Most*9 {
		found = append(found, Finding{
			Level: Warning, Seen: fmt.Sprintf("%d connections are open, and %s is %d", r.Used, r.Limit, r.Most),
			Do: "raise " + r.Limit + ", or find who holds them: new workers can't connect when all are taken",
		})
	}
	return orOK(found, "%d of %d connections are open; workers may want %d", r.Used, r.Most, need), nil
}

// aliveThreads returns how many workers are within their lease, and their
// threads: of a table of a few rows.
func aliveThreads(x *examination, tx *gorm.DB) (n, threads int64, err error) {
	alive := "beat_at + lease_ms * interval '1 millisecond' >= clock_timestamp()"
	if tx.Name() == "mysql" {
		alive = "beat_at + INTERVAL lease_ms * 1000 MICROSECOND >= utc_timestamp(6)"
	}
	var row struct{ N, Threads int64 }
	err = tx.Raw("SELECT count(*) AS n, coalesce(sum(threads), 0) AS threads FROM " + x.tables.Workers() + " WHERE " + alive).Scan(&row).Error
	return row.N, row.Threads, err
}

// selectRoom reads the limit that is reached first, and what is open.
func selectRoom(tx *gorm.DB) (r room, err error) {
	if tx.Name() == "mysql" {
		err = tx.Raw("SELECT @@max_connections AS most, 'max_connections' AS " + tx.Statement.Quote("limit")).Scan(&r).Error
		var status struct{ Value int64 }
		if err == nil {
			err = tx.Raw("SHOW GLOBAL STATUS LIKE 'Threads_connected'").Scan(&status).Error
		}
		r.Used = status.Value
		return r, err
	}
	return r, tx.Raw(`SELECT most, "limit", used FROM (
			SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint AS most, 'max_connections' AS "limit",
				(SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)::bigint AS used
			UNION ALL SELECT rolconnlimit, 'CONNECTION LIMIT of the role', (SELECT count(*) FROM pg_stat_activity WHERE usename = session_user) FROM pg_roles WHERE rolname = session_user AND rolconnlimit >= 0
			UNION ALL SELECT datconnlimit, 'CONNECTION LIMIT of the database', pg_stat_get_db_numbackends(oid) FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0
		) limits ORDER BY most - used LIMIT 1`).Scan(&r).Error
}

// clockSteps is how often a clock is asked: the shortest answer tells most.
const clockSteps = 5

// tolerated is how far two clocks may be apart.
const tolerated = time.Second

// clock compares the host's clock with the database's. The answer was made
// somewhere between the question and its arrival: that half of the round trip
// is not known.
func clock(_ *examination, tx *gorm.DB) ([]Finding, error) {
	query := "SELECT extract(epoch FROM clock_timestamp()) * 1000000"
	if tx.Name() == "mysql" { // what its tables are filled by
		query = "SELECT timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6))"
	}
	var offset, unsure time.Duration
	for step := range clockSteps {
		asked := time.Now()
		var micros float64
		if err := tx.Raw(query).Scan(&micros).Error; err != nil {
			return nil, err
		}
		half := time.Since(asked) / 2
		if step == 0 || half < unsure {
			offset, unsure = time.UnixMicro(int64(micros)).Sub(asked.Add(half)), half
		}
	}
	precision, side := max(unsure/100, time.Microsecond), "ahead of"
	if offset < 0 {
		side = "behind"
	}
	seen := fmt.Sprintf("the database's clock is %s ± %s %s this host's", offset.Abs().Round(precision), unsure.Round(precision), side)
	if offset.Abs()-unsure <= tolerated {
		return ok("%s", seen), nil
	}
	return []Finding{{
		Level: Warning, Seen: seen,
		Do: "have both hosts set by NTP: leases, retries and retention go by the database's clock, logs and what callbacks measure by this host's",
	}}, nil
}
