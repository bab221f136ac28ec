package outbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// maxWorkers is how many workers a status shows.
const maxWorkers = 1000

// pendingRows is the condition of what is pending.
const pendingRows = "dead_at IS NULL AND processed_at IS NULL"

// unfinished is the condition of what is pending and has a retry_at, as the
// index _retry has it: on MariaDB that knows nothing of processed_at, which
// would take a look at every row; what is done has no retry_at.
func unfinished(db *gorm.DB) string {
	if db.Name() == "mysql" {
		return "dead_at IS NULL"
	}
	return pendingRows
}

// selectKinds counts up to MaxCounted pending entries by kind, and one more if
// there are more: the oldest fresh ones, by the primary key, or the index
// _kept_fresh of a table that keeps what is done; then the others, by _retry.
func selectKinds(db *gorm.DB, t reliable.Tables, at time.Time) ([]Kind, error) {
	kinds, err := selectGroups(db, at, kindRows(t)+pendingRows+" AND retry_at IS NULL ORDER BY id LIMIT ?", MaxCounted+1)
	if err != nil {
		return nil, err
	}
	room := int64(MaxCounted + 1)
	for i := range kinds {
		room -= kinds[i].N
	}
	if room > 0 {
		others, err := selectGroups(db, at, kindRows(t)+unfinished(db)+" AND retry_at IS NOT NULL ORDER BY retry_at, id LIMIT ?", room)
		if err != nil {
			return nil, err
		}
		kinds = merge(kinds, others)
	}
	slices.SortStableFunc(kinds, func(a, b Kind) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Event, b.Event)) })
	return kinds, nil
}

// merge adds others to the kinds that they are of.
func merge(kinds, others []Kind) []Kind {
	for _, o := range others {
		i := slices.IndexFunc(kinds, func(k Kind) bool {
			return k.Context == o.Context && k.Model == o.Model && k.Event == o.Event && slices.Equal(k.Owed, o.Owed)
		})
		if i < 0 {
			kinds = append(kinds, o)
			continue
		}
		kinds[i].N += o.N
		kinds[i].Oldest = max(kinds[i].Oldest, o.Oldest)
	}
	return kinds
}

// selectWindowKinds returns the kinds of what is pending in a window.
func selectWindowKinds(db *gorm.DB, t reliable.Tables, where string, args []any) ([]Kind, error) {
	return selectGroups(db, time.Time{}, kindRows(t)+where+" AND "+pendingRows, args...)
}

// kindRows begins a query of the rows that selectGroups counts.
func kindRows(t reliable.Tables) string {
	return "SELECT context, resource_class, event_name, owed, created_at FROM " + t.Entries() + " WHERE "
}

// selectGroups counts entries by kind.
func selectGroups(db *gorm.DB, at time.Time, entries string, args ...any) ([]Kind, error) {
	var rows []struct {
		Context, Model, Event string
		Owed                  *string
		N                     int64
		Oldest                *string
	}
	err := onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT context, resource_class AS model, event_name AS event, owed, count(*) AS n, "+timeText(tx, "min(created_at)")+" AS oldest FROM ("+
			entries+") AS w GROUP BY context, resource_class, event_name, owed", args...).Scan(&rows).Error
	})
	if err != nil {
		return nil, err
	}
	kinds := make([]Kind, len(rows))
	for i, r := range rows {
		kinds[i] = Kind{Context: r.Context, Model: r.Model, Event: r.Event, N: r.N}
		if oldest, err := timeOf(text(r.Oldest)); err == nil { // else somebody else wrote it
			kinds[i].Oldest = Age(max(at.Sub(oldest), 0))
		}
		if r.Owed != nil {
			kinds[i].Owed = owed(*r.Owed)
		}
	}
	return kinds, nil
}

// selectFirstDead returns when the first dead entry died, zero without one: by
// the index _dead the one with the lowest id, on MariaDB by _retry.
func selectFirstDead(db *gorm.DB, t reliable.Tables) (at time.Time, err error) {
	order := "id"
	if db.Name() == "mysql" {
		order = "dead_at"
	}
	var texts []string
	err = onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT coalesce(" + timeText(tx, "dead_at") + ", '') AS died FROM " + t.Entries() + " WHERE dead_at IS NOT NULL ORDER BY " + order + " LIMIT 1").Scan(&texts).Error
	})
	if err != nil || len(texts) == 0 {
		return at, err
	}
	at, _ = timeOf(texts[0]) // zero if somebody else wrote what can't be read
	return at, nil
}

// selectGauge counts the entries of a state, by the index that
// selectCandidates names.
func selectGauge(db *gorm.DB, t reliable.Tables, s State) (g Gauge, err error) {
	err = onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT count(*) FROM ("+stateRows(tx, t, s)+" LIMIT ?) AS w", MaxCounted+1).Scan(&g.N).Error
	})
	if err != nil || g.N <= MaxCounted {
		return g, err
	}
	g.Approx = true
	g.N, err = estimate(db, t, s)
	return g, err
}

// stateRows selects the ids of a state in the order of the index that serves
// it.
func stateRows(db *gorm.DB, t reliable.Tables, s State) string {
	switch s {
	case Parked:
		return "SELECT entry_id FROM " + t.ParkedKeys() + " ORDER BY parked_at, entry_id"
	case Waiting:
		at := now(db)
		if db.Name() == "postgres" {
			at = "now()" // about clock_timestamp the planner knows nothing
		}
		return "SELECT id FROM " + t.Entries() + " WHERE retry_at > " + at + " AND " + unfinished(db) + " ORDER BY retry_at, id"
	case Dead:
		query := "SELECT id FROM " + t.Entries() + " WHERE dead_at IS NOT NULL"
		if db.Name() == "mysql" {
			return query
		}
		return query + " ORDER BY id"
	default:
		return "SELECT id FROM " + t.Entries() + " WHERE " + pendingRows + " ORDER BY id"
	}
}

// estimate returns about how many entries are in a state, more than MaxCounted:
// what the planner expects. SQLite plans without numbers: there it is the range
// of ids, and MaxCounted + 1 of what is dead or parked or waits.
func estimate(db *gorm.DB, t reliable.Tables, s State) (n int64, err error) {
	switch db.Name() {
	case "postgres":
		n, err = planRows(db, stateRows(db, t, s))
	case "mysql":
		var plan []struct{ Rows *int64 }
		err = onWriter(db, func(tx *gorm.DB) error { return tx.Raw("EXPLAIN " + stateRows(db, t, s)).Scan(&plan).Error })
		for _, step := range plan {
			n = max(n, *cmp.Or(step.Rows, new(int64)))
		}
	default:
		if s == Pending {
			err = db.Raw("SELECT (SELECT max(id) FROM " + t.Entries() + ") - (SELECT min(id) FROM " + t.Entries() + ") + 1").Scan(&n).Error
		}
	}
	return max(n, MaxCounted+1), err
}

// planRows returns how many rows PostgreSQL expects of a query.
func planRows(db *gorm.DB, query string) (int64, error) {
	var text string
	if err := onWriter(db, func(tx *gorm.DB) error { return tx.Raw("EXPLAIN (FORMAT JSON) " + query).Scan(&text).Error }); err != nil {
		return 0, err
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) == 0 {
		return 0, fmt.Errorf("a plan that can't be read: %w", err)
	}
	return int64(plans[0].Plan.Rows), nil
}

// selectWorkers returns those that have a heartbeat, and whether it is within
// their lease.
func selectWorkers(db *gorm.DB, t reliable.Tables, at time.Time) ([]Worker, error) {
	var rows []struct {
		ID, Processor, Hostname string
		LeaseMs                 int64
		Threads, Pid            int
		Started, Beat           string
	}
	err := onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT id, processor, hostname, lease_ms, threads, pid, " + "coalesce(" + timeText(tx, "started_at") + ", '') AS started, coalesce(" + timeText(tx, "beat_at") + ", '') AS beat FROM " +
			t.Workers() + " LIMIT " + strconv.Itoa(maxWorkers)).Scan(&rows).Error
	})
	if err != nil {
		return nil, err
	}
	workers := make([]Worker, len(rows))
	for i, r := range rows {
		workers[i] = Worker{ID: r.ID, Processor: r.Processor, Hostname: r.Hostname, PID: r.Pid, Threads: r.Threads}
		if started, err := timeOf(r.Started); err == nil { // else somebody else wrote it
			workers[i].Up = Age(max(at.Sub(started), 0))
		}
		if beat, err := timeOf(r.Beat); err == nil {
			since := max(at.Sub(beat), 0)
			workers[i].Beat, workers[i].Alive = Age(since), since <= time.Duration(r.LeaseMs)*time.Millisecond
		}
	}
	slices.SortFunc(workers, func(a, b Worker) int {
		return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.PID, b.PID), cmp.Compare(a.ID, b.ID))
	})
	return workers, nil
}

// selectPrunable counts what of the history is older than a retention: by its
// index on processed_at; on PostgreSQL by its partitions, which hold a day each.
func selectPrunable(db *gorm.DB, t reliable.Tables, retention time.Duration) (g Gauge, err error) {
	before := map[string]string{
		"postgres": "date_trunc('day', now() - ? * interval '1 second', 'UTC')",
		"mysql":    "utc_timestamp(6) - INTERVAL ? SECOND",
		"sqlite":   "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ? || ' seconds')",
	}[db.Name()]
	err = onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT count(*) FROM (SELECT id FROM "+t.History()+" WHERE processed_at < "+before+" LIMIT ?) AS w", int64(retention/time.Second), MaxCounted+1).Scan(&g.N).Error
	})
	g.Approx = g.N > MaxCounted
	return g, err
}
