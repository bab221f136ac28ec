package processors

import (
	"strings"

	"github.com/gorm-aftercommit/aftercommit/internal/columns"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// txQueries is the text of the statements that a RunTx's transaction ends
// with, and of those that find out whether it is committed. All of them go by
// primary keys. The fence shares its lock with that of other RunTx, and with
// nobody else.
type txQueries struct {
	complete string // PostgreSQL: fence and completion of one entry; elsewhere only the completion
	note     string // PostgreSQL: fence and state of one entry; elsewhere only the state
	fence    string // elsewhere: ids of a claim, locked, and whether a transaction is open
	drop     string // elsewhere: deletes what was archived; empty if nothing was
	lock     string // locks a claim's row
	state    string // an entry's callbacks, and whether it is processed
}

func newTxQueries(dialect string, t reliable.Tables, completion Completion) txQueries {
	var q txQueries
	now := "clock_timestamp()"
	switch dialect {
	case "postgres":
		q = postgresTxQueries(completion)
	case "mysql":
		q, now = jsonTxQueries(completion), "utc_timestamp(6)"
		q.fence = `SELECT ids, @@in_transaction FROM {claims} WHERE token = ? LOCK IN SHARE MODE`
		q.lock += " FOR UPDATE"
	default:
		q, now = jsonTxQueries(completion), "strftime('%Y-%m-%d %H:%M:%f', 'now')"
		q.fence = `SELECT ids, 1 FROM {claims} WHERE token = ?`
	}
	expand := strings.NewReplacer("{entries}", t.Entries(), "{claims}", t.Claims(), "{history}", t.History(), "{kept}", columns.History, "{now}", now)
	for _, text := range []*string{&q.complete, &q.note, &q.fence, &q.drop, &q.lock, &q.state} {
		*text = expand.Replace(*text)
	}
	return q
}

// postgresTxQueries: one statement each, behind the fence.
func postgresTxQueries(completion Completion) txQueries {
	const fence = `WITH held AS (SELECT FROM {claims} WHERE token = $1 AND $2::bigint = ANY (ids) FOR KEY SHARE),`
	const mine = ` WHERE id = $2 AND EXISTS (SELECT FROM held)`
	const count = ` SELECT count(*) FROM held`
	q := txQueries{
		note: fence + `
		note AS (UPDATE {entries} SET callbacks = $3, attempts = $4, updated_at = {now}` + mine + `)` + count,
		lock:  `SELECT 1 FROM {claims} WHERE token = $1 FOR UPDATE`,
		state: `SELECT callbacks, processed_at IS NOT NULL FROM {entries} WHERE id = $1`,
	}
	switch completion {
	case Delete:
		q.complete = fence + `
		gone AS (DELETE FROM {entries}` + mine + `)` + count
	case Keep:
		q.complete = fence + `
		kept AS (UPDATE {entries} SET processed_at = {now}, retry_at = NULL, lane = NULL, updated_at = {now}` + mine + `)` + count
	default:
		q.complete = fence + `
		gone AS (DELETE FROM {entries}` + mine + ` RETURNING {kept}),
		kept AS (INSERT INTO {history} ({kept}, token, processed_at) SELECT {kept}, $1, {now} FROM gone)` + count
	}
	return q
}

// jsonTxQueries is what MariaDB and SQLite share. Entries are named by =, so
// that MariaDB locks their rows and no gap.
func jsonTxQueries(completion Completion) txQueries {
	q := txQueries{
		note:  `UPDATE {entries} SET callbacks = ?, attempts = ?, updated_at = {now} WHERE id = ?`,
		lock:  `SELECT 1 FROM {claims} WHERE token = ?`,
		state: `SELECT callbacks, processed_at IS NOT NULL FROM {entries} WHERE id = ?`,
	}
	switch completion {
	case Delete:
		q.complete = `DELETE FROM {entries} WHERE id = ?`
	case Keep:
		q.complete = `UPDATE {entries} SET processed_at = {now}, retry_at = NULL, lane = NULL, updated_at = {now} WHERE id = ?`
	default:
		q.complete = `INSERT INTO {history} ({kept}, token, processed_at) SELECT {kept}, ?, {now} FROM {entries} WHERE id = ?`
		q.drop = `DELETE FROM {entries} WHERE id = ?`
	}
	return q
}
