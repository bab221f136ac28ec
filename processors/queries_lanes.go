package processors

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// laneQueries is the text of the statements about lanes.
type laneQueries struct {
	dialect   string
	workers   string // how many have a processor
	lanes     string // all, whether they are a worker's, and whether they are free
	hold      string // locks a worker's own row
	lockLanes string // locks lanes that nobody else has locked
	free      string // those of them that nobody has who lives
	take      string
	give      string
	strayKeys string // of what stands in claims whose worker is gone
	entries   string // the next entries of lanes, from cursors on; not on MariaDB
	held      string // MariaDB: the ids of all claims
	full      string // MariaDB: those of some lanes that have entries
	lane      string // MariaDB: the next entries of one lane
}

// laneColumns is what a read of lanes finds beside entryColumns.
const laneColumns = "e.lane, e.retry_at IS NULL OR e.retry_at <= {now}, e.suspect, e.dead_at IS NOT NULL"

func newLaneQueries(dialect string, t reliable.Tables) laneQueries {
	const gone = `(l.owner IS NULL OR NOT EXISTS (SELECT 1 FROM {workers} w WHERE w.id = l.owner))`
	q := laneQueries{
		dialect:   dialect,
		workers:   `SELECT count(*) FROM {workers} WHERE processor = ?`,
		lanes:     `SELECT l.lane, coalesce(l.owner = ?, false), ` + gone + ` FROM {lanes} l ORDER BY l.lane`,
		hold:      `SELECT 1 FROM {workers} WHERE id = ?{share}`,
		lockLanes: `SELECT lane FROM {lanes} WHERE lane IN {list} ORDER BY lane{lock}`,
		free:      `SELECT l.lane FROM {lanes} l WHERE ` + gone + ` AND l.lane IN {list}`,
		take:      `UPDATE {lanes} SET owner = ?, token = token + 1 WHERE lane IN {list}`,
		give:      `UPDATE {lanes} SET owner = NULL, token = token + 1 WHERE owner = ? AND lane IN {list}`,
		strayKeys: `SELECT e.causality_key FROM {claims} c CROSS JOIN {unfolded} JOIN {entries} e ON e.id = {id}
			WHERE c.worker <> ? AND e.causality_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {workers} w WHERE w.id = c.worker)`,
		held: `SELECT ids FROM {claims}`,
		full: `SELECT l.lane FROM {lanes} l WHERE l.lane IN {list} AND EXISTS (SELECT 1 FROM {entries} e WHERE e.lane = l.lane)`,
		lane: `SELECT {columns}, ` + laneColumns + ` FROM {entries} e FORCE INDEX (` + t.Prefix + `outbox_lane) WHERE e.lane = ? AND e.causality_key > ? ORDER BY e.causality_key, e.id LIMIT ?`,
	}
	expand := []string{
		"{entries}", t.Entries(), "{claims}", t.Claims(), "{workers}", t.Workers(), "{lanes}", t.Lanes(),
	}
	switch dialect {
	case "postgres":
		q.number()
		q.entries = `SELECT {columns}, ` + laneColumns + `, e.id IN (SELECT unnest(ids) FROM {claims})
			FROM unnest($1::smallint[], $2::text[]) AS at(lane, after), LATERAL (SELECT * FROM {entries} e
				WHERE e.lane = at.lane AND e.causality_key > at.after ORDER BY e.causality_key, e.id LIMIT $3) e`
		expand = append(expand, "{share}", " FOR KEY SHARE", "{lock}", " FOR UPDATE SKIP LOCKED", "{now}", "now()", "{unfolded}", "LATERAL unnest(c.ids) j(id)", "{id}", "j.id", "{columns}", aliased(entryColumns))
	case "mysql":
		expand = append(expand, "{share}", " LOCK IN SHARE MODE", "{lock}", " FOR UPDATE SKIP LOCKED", "{now}", "utc_timestamp(6)",
			"{unfolded}", "JSON_TABLE(c.ids, '$[*]' COLUMNS (id bigint PATH '$')) j", "{id}", "j.id",
			"{list}", "(SELECT j.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id bigint PATH '$')) j)",
			"{columns}", strings.Replace(aliased(entryColumns), "e.created_at", "CAST(e.created_at AS char)", 1))
	default:
		q.entries = `SELECT {columns}, ` + laneColumns + `, e.id IN (SELECT j.value FROM {claims} c, json_each(c.ids) j)
			FROM json_each(?) at CROSS JOIN {entries} e WHERE e.id IN (SELECT n.id FROM {entries} n
				WHERE n.lane = at.value ->> 0 AND n.causality_key > at.value ->> 1 ORDER BY n.causality_key, n.id LIMIT ?)
			ORDER BY at.key, e.causality_key, e.id`
		expand = append(expand, "{share}", "", "{lock}", "", "{now}", "strftime('%Y-%m-%d %H:%M:%f', 'now')",
			"{unfolded}", "json_each(c.ids) j", "{id}", "j.value", "{list}", "(SELECT value FROM json_each(?))", "{columns}", aliased(entryColumns))
	}
	replace := strings.NewReplacer(expand...)
	for _, text := range q.all() {
		*text = replace.Replace(replace.Replace(*text)) // columns hold names themselves
	}
	return q
}

func (q *laneQueries) all() []*string {
	return []*string{&q.workers, &q.lanes, &q.hold, &q.lockLanes, &q.free, &q.take, &q.give, &q.strayKeys, &q.entries, &q.held, &q.full, &q.lane}
}

// number writes the parameters as PostgreSQL does.
func (q *laneQueries) number() {
	list := strings.NewReplacer("IN {list}", "= ANY (?::smallint[])")
	for _, text := range q.all() {
		*text = list.Replace(*text)
		for i := 1; strings.Contains(*text, "?"); i++ {
			*text = strings.Replace(*text, "?", "$"+string(rune('0'+i)), 1)
		}
	}
}

// aliased puts the alias of the entries before each column.
func aliased(columns string) string {
	return "e." + strings.ReplaceAll(columns, ", ", ", e.")
}

// read returns up to each entries of every lane, from its cursor on: by lane in
// the order of lanes, by key, by id. It stops where p has no room for more.
func (q *laneQueries) read(ctx context.Context, tx *sql.Tx, lanes []int, after []string, each int, p *payload) ([]laneRow, error) {
	ids := laneIDs(lanes)
	var rows *sql.Rows
	var err error
	switch q.dialect {
	case "postgres":
		rows, err = tx.QueryContext(ctx, q.entries, idList(q.dialect, ids), textList(after), each)
	case "sqlite":
		rows, err = tx.QueryContext(ctx, q.entries, cursorList(lanes, after), each)
	default:
		return q.readEach(ctx, tx, lanes, after, each, p)
	}
	if err != nil {
		return nil, err
	}
	return readLaneRows(rows, len(lanes)*each, nil, p)
}

// readEach is read where a subquery can't have both a LIMIT and a reference to
// what is outside of it.
func (q *laneQueries) readEach(ctx context.Context, tx *sql.Tx, lanes []int, after []string, each int, p *payload) ([]laneRow, error) {
	held, err := q.taken(ctx, tx)
	if err != nil {
		return nil, err
	}
	full, err := readLanes(tx.QueryContext(ctx, q.full, idList(q.dialect, laneIDs(lanes))))
	if err != nil || len(full) == 0 {
		return nil, err
	}
	var parts []string
	var args []any
	for i, lane := range lanes {
		if slices.Contains(full, lane) {
			parts, args = append(parts, "("+q.lane+")"), append(args, lane, after[i], each)
		}
	}
	rows, err := tx.QueryContext(ctx, strings.Join(parts, " UNION ALL "), args...)
	if err != nil {
		return nil, err
	}
	return readLaneRows(rows, len(full)*each, held, p)
}

// taken returns the ids that stand in a claim. It is read before the entries:
// what is finished between the two is left for the next read.
func (q *laneQueries) taken(ctx context.Context, tx *sql.Tx) (map[int64]bool, error) {
	rows, err := tx.QueryContext(ctx, q.held)
	if err != nil {
		return nil, err
	}
	return readIDs(rows)
}

// readLaneRows reads what read asked for. held is nil if the rows tell it.
func readLaneRows(rows *sql.Rows, n int, held map[int64]bool, p *payload) ([]laneRow, error) {
	found := make([]laneRow, 0, min(n, 1000))
	var row laneRow
	more := []any{&row.lane, &row.due, &row.suspect, &row.dead}
	if held == nil {
		more = append(more, &row.held)
	}
	err := scanEntries(rows, n, p, more, func(e *reliable.OutboxEntry) {
		if row.entry = e; held != nil {
			row.held = held[e.ID]
		}
		found = append(found, row)
	})
	return found, err
}

// textList returns texts as an array literal of PostgreSQL's.
func textList(texts []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = `"` + quote.Replace(text) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// cursorList returns lanes and how far they are read as a JSON array.
func cursorList(lanes []int, after []string) string {
	pairs := make([][2]any, len(lanes))
	for i, lane := range lanes {
		pairs[i] = [2]any{lane, after[i]}
	}
	text, _ := json.Marshal(pairs) // numbers and texts
	return string(text)
}

func laneIDs(lanes []int) []int64 {
	ids := make([]int64, len(lanes))
	for i, lane := range lanes {
		ids[i] = int64(lane)
	}
	return ids
}
