package doctor

import (
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// leastPacket is the least that MariaDB must take at once, its default: an INSERT
// of entries takes up to 4 MiB before it is escaped.
const leastPacket = 16 << 20

// partitions looks whether PostgreSQL has a place for what is done from now on.
func partitions(x *examination, tx *gorm.DB) ([]Finding, error) {
	const ahead = 3 // days; workers make seven
	var row struct {
		N, Ahead        int64
		Today, Fallback bool
	}
	err := tx.Raw(`SELECT count(*) AS n, count(*) FILTER (WHERE low > now()) AS ahead, coalesce(bool_or(low <= now() AND high > now()), false) AS today, coalesce(bool_or(bound = 'DEFAULT'), false) AS fallback
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid CROSS JOIN pg_get_expr(c.relpartbound, c.oid) bound
			CROSS JOIN LATERAL (SELECT (regexp_match(bound, 'FROM \(''([^'']*)''\)'))[1]::timestamptz AS low, (regexp_match(bound, 'TO \(''([^'']*)''\)'))[1]::timestamptz AS high) b
		WHERE i.inhparent = to_regclass('` + x.tables.History() + `')`).Scan(&row).Error
	if err != nil {
		return nil, err
	}
	const do = "workers make them when they start, and one of them every minute: see ErrorOccurred of the step housekeeping; their role must own "
	switch {
	case row.Fallback:
		return ok("%s has a default partition: it takes everything", x.tables.History()), nil
	case row.N == 0:
		return ok("%s has no partitions: the first worker that archives makes them", x.tables.History()), nil
	case !row.Today:
		return []Finding{{Level: Fault, Seen: x.tables.History() + " has no partition for today: entries can't be archived, and their finishes fail", Do: do + x.tables.History()}}, nil
	case row.Ahead < ahead:
		return []Finding{{Level: Warning, Seen: fmt.Sprintf("%s has partitions for %d days ahead, not 7", x.tables.History(), row.Ahead), Do: do + x.tables.History()}}, nil
	}
	return ok("%s has partitions for %d days ahead", x.tables.History(), row.Ahead), nil
}

// setting is one that has another value than it should.
func setting(level Level, name, value, harm, do string) Finding {
	return Finding{Level: level, Seen: name + " is " + value + ": " + harm, Do: do}
}

const (
	lostCommits = "what is committed may be lost in a crash of the database, a write and what it owes alike"
	readOnly    = "nothing can be written here"
)

// postgresSettings looks at what a commit is worth.
func postgresSettings(_ *examination, tx *gorm.DB) (found []Finding, err error) {
	for _, s := range []struct {
		level                 Level
		name, bad, harm, good string
	}{
		{Fault, "transaction_read_only", "on", readOnly + ": this is a standby, or default_transaction_read_only is set", "connect to the primary: target_session_attrs=read-write"},
		{Fault, "fsync", "off", "a crash of the machine may destroy the database", "set fsync = on in postgresql.conf"},
		{Fault, "full_page_writes", "off", "a crash of the machine may destroy the database", "set full_page_writes = on in postgresql.conf"},
		{Warning, "synchronous_commit", "off", lostCommits, "set synchronous_commit = on for this role, unless that is what you want"},
	} {
		var value string
		if err := tx.Raw("SELECT current_setting(?)", s.name).Scan(&value).Error; err != nil {
			return found, err
		}
		if value == s.bad {
			found = append(found, setting(s.level, s.name, value, s.harm, s.good))
		}
	}
	return orOK(found, "what is committed stays"), nil
}

// mariaValues are settings of MariaDB.
type mariaValues struct {
	LogBin, ReadOnly    bool
	Format, Mode        string
	Flush, Sync, Packet int64
}

// mariaSettings looks at what a commit is worth, and at what refuses writes.
func mariaSettings(_ *examination, tx *gorm.DB) ([]Finding, error) {
	var v mariaValues
	err := tx.Raw("SELECT @@log_bin AS log_bin, @@read_only AS read_only, @@binlog_format AS format, @@sql_mode AS mode, @@innodb_flush_log_at_trx_commit AS flush, @@sync_binlog AS sync, @@max_allowed_packet AS packet").Scan(&v).Error
	return v.findings(), err
}

func (v *mariaValues) findings() (found []Finding) {
	if v.ReadOnly {
		found = append(found, setting(Fault, "read_only", "ON", readOnly+", but by an administrator", "connect to the primary"))
	}
	if v.LogBin && v.Format == "STATEMENT" {
		found = append(found, setting(Fault, "binlog_format", v.Format, "InnoDB refuses the writes of workers, which are READ COMMITTED", "set binlog_format = MIXED or ROW"))
	}
	if !strings.Contains(v.Mode, "STRICT_TRANS_TABLES") && !strings.Contains(v.Mode, "STRICT_ALL_TABLES") {
		found = append(found, setting(Warning, "sql_mode", "'"+v.Mode+"'", "what is too long for its column is cut without an error", "add STRICT_TRANS_TABLES to sql_mode, of the server or in the program's address"))
	}
	if v.Flush != 1 {
		found = append(found, setting(Warning, "innodb_flush_log_at_trx_commit", fmt.Sprint(v.Flush), lostCommits, "set innodb_flush_log_at_trx_commit = 1, unless that is what you want"))
	}
	if v.LogBin && v.Sync != 1 {
		found = append(found, setting(Warning, "sync_binlog", fmt.Sprint(v.Sync), lostCommits, "set sync_binlog = 1, unless that is what you want"))
	}
	if v.Packet < leastPacket {
		found = append(found, setting(Warning, "max_allowed_packet", fmt.Sprintf("%d KiB", v.Packet>>10), "writes with large changesets fail", fmt.Sprintf("set max_allowed_packet = %dM or more", leastPacket>>20)))
	}
	return orOK(found, "what is committed stays")
}

// sqliteSettings looks at what the program's connections are set to.
func sqliteSettings(_ *examination, tx *gorm.DB) (found []Finding, err error) {
	pragma := func(name string) (value string) {
		if err == nil {
			err = tx.Raw("PRAGMA " + name).Scan(&value).Error
		}
		return value
	}
	const add = "add to the program's address: "
	if mode := pragma("journal_mode"); mode != "wal" {
		found = append(found, setting(Warning, "journal_mode", mode, "readers and the writer wait for each other", add+"_pragma=journal_mode(WAL)"))
	}
	if wait := pragma("busy_timeout"); wait == "0" {
		found = append(found, setting(Warning, "busy_timeout", wait, "a write beside another one fails at once, instead of waiting", add+"_pragma=busy_timeout(10000)"))
	}
	if sync := pragma("synchronous"); sync == "0" {
		found = append(found, setting(Warning, "synchronous", "OFF", "a crash of the machine may destroy the database", add+"_pragma=synchronous(FULL)"))
	}
	if only := pragma("query_only"); only == "1" {
		found = append(found, setting(Fault, "query_only", "ON", readOnly, "leave it out of the program's address"))
	}
	return orOK(found, "one writes while others read; a writer waits for another"), err
}

// evictions asks Redis what becomes of locks when its memory is full.
func evictions(x *examination, tx *gorm.DB) (found []Finding, err error) {
	policies, err := x.Redis(tx.Statement.Context)
	if err != nil {
		return []Finding{{Level: Unknown, Seen: "Redis does not tell: " + err.Error(), Do: "see that it can be reached, and that its user may INFO"}}, nil
	}
	for i, policy := range policies {
		if policy != "noeviction" {
			found = append(found, setting(Warning, "maxmemory-policy", policy, fmt.Sprintf("Redis #%d drops locks when its memory is full, and who held them does its work again", i), "CONFIG SET maxmemory-policy noeviction, and in redis.conf"))
		}
	}
	return orOK(found, "%d Redis keep what they hold", len(policies)), nil
}
