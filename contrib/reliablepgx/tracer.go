// Package reliablepgx wakes the workers of this process at the very commit of a
// transaction with entries, whoever ends it: GORM, the application by
// db.Begin and Commit, or another library with the same connection.
//
// Without it, the plugin knows the commits of GORM's default transactions and
// of reliable.Transaction, and guesses the others by a short back-off. Set
// [Tracer] in pgx.ConnConfig.Tracer where the pool is opened, beside another
// tracer with pgx's own multitracer.New. Nothing else changes: *sql.Tx, *sql.DB
// and what sql.Conn.Raw gives stay what they are. Commits of other processes
// are not seen.
package reliablepgx

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Tracer follows each connection's transactions. The command tags of the server
// tell a COMMIT that committed from one that rolled back; if the connection is
// lost while a COMMIT is under way, the workers are woken, since it may have
// been done. A transaction that a savepoint left without entries wakes them for
// nothing. What goes past pgx.Conn, by its PgConn, is noticed at the
// connection's next statement.
type Tracer struct{}

var (
	_ pgx.QueryTracer = Tracer{}
	_ pgx.BatchTracer = Tracer{}
)

// transaction is what a connection's current transaction has recorded. It
// stays with the connection.
type transaction struct {
	plugins    []*reliable.Plugin // who recorded entries; none: nothing to tell
	committing bool               // the statement under way may commit it
}

// key is where a connection keeps its transaction.
const key = "reliablepgx"

// open returns the connection's transaction if it has recorded entries, or nil.
func open(conn *pgx.Conn) *transaction {
	t, ok := conn.PgConn().CustomData()[key].(*transaction)
	if !ok || len(t.plugins) == 0 {
		return nil
	}
	return t
}

// TraceQueryStart implements [pgx.QueryTracer].
func (Tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if t := open(conn); t != nil {
		t.begin(conn, commits(data.SQL))
	}
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (Tracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.Err == nil {
		note(ctx, conn)
	}
	if t := open(conn); t != nil {
		t.settle(conn, data.CommandTag.String(), data.Err)
	}
}

// TraceBatchStart implements [pgx.BatchTracer].
func (Tracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	if t := open(conn); t != nil {
		t.begin(conn, slices.ContainsFunc(data.Batch.QueuedQueries, func(q *pgx.QueuedQuery) bool { return commits(q.SQL) }))
	}
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (Tracer) TraceBatchQuery(_ context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	t := open(conn)
	if t == nil {
		return
	}
	switch data.CommandTag.String() {
	case "COMMIT":
		t.end(true)
	case "ROLLBACK":
		t.committing = false
	}
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (Tracer) TraceBatchEnd(_ context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	if t := open(conn); t != nil {
		t.settle(conn, "", data.Err)
	}
}

// note remembers who recorded entries by the statement of ctx, if it did.
func note(ctx context.Context, conn *pgx.Conn) {
	plugin := reliable.Traced(ctx)
	if plugin == nil {
		return
	}
	custom := conn.PgConn().CustomData()
	t, ok := custom[key].(*transaction)
	if !ok {
		t = new(transaction)
		custom[key] = t
	}
	if !slices.Contains(t.plugins, plugin) {
		t.plugins = append(t.plugins, plugin)
	}
}

// idle is the status of a connection without a transaction.
const idle = 'I'

// begin is called before a statement that may commit the transaction, or not.
func (t *transaction) begin(conn *pgx.Conn, committing bool) {
	t.committing = committing
	if conn.PgConn().TxStatus() == idle { // it was ended unseen
		t.end(true)
	}
}

// settle is called after a statement with its command tag.
func (t *transaction) settle(conn *pgx.Conn, tag string, err error) {
	switch {
	case conn.IsClosed():
		t.end(t.committing)
	case tag == "COMMIT": // also COMMIT AND CHAIN
		t.end(true)
	case conn.PgConn().TxStatus() == idle:
		t.end(err == nil && tag != "ROLLBACK" && t.committing)
	}
}

// end forgets the transaction and, if it may be committed, wakes the workers.
func (t *transaction) end(committed bool) {
	if committed {
		for _, plugin := range t.plugins {
			plugin.Committed()
		}
	}
	clear(t.plugins)
	t.plugins = t.plugins[:0]
}

// commits reports whether a statement may be, or hold, a COMMIT.
func commits(query string) bool {
	for word := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == ';' || r == ' ' || r == '\n' || r == '\t' }) {
		if strings.EqualFold(word, "commit") || strings.EqualFold(word, "end") {
			return true
		}
	}
	return false
}
