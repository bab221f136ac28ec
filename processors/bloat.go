package processors

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Where something keeps old row versions, dead entries stay and every scan
// walks over them. Nothing that a worker does helps then; somebody has to end
// what keeps them, so it says who that is.

// bloatWatch is what the housekeeper remembers from look to look.
type bloatWatch struct {
	seen  map[string]time.Time // when a holder was first seen to hold what it holds now
	over  map[string]time.Time // since when a table has too many dead rows
	found map[string]told      // tables of which it told
	dead  int64                // row versions in the table that had most at the last look
}

// told is what was said of a table.
type told struct {
	at    time.Time
	first string // the first holder's identity
}

// tellAgain is how often bloat is told of that stays.
const tellAgain = time.Hour

// table is a table's part in bloat.
type table struct {
	name       string
	dead, live int64
	vacuumed   sql.NullTime
	unvacuumed time.Duration // how long ago vacuum ran; meaningless where it never did
	vacuums    bool          // whether there is such a thing
}

// holder is a HorizonHolder and what it holds.
type holder struct {
	reliable.HorizonHolder
	holds string
}

func (h *holder) identity() string { return fmt.Sprint(h.Kind, " ", h.PID, " ", h.Name, " ", h.holds) }

func (h *housekeeper) lookForBloat(ctx context.Context) (more bool, err error) {
	if h.dialect == "sqlite" { // one file, one writer
		return false, nil
	}
	var tables []table
	var holders []holder
	err = h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		switch h.dialect {
		case "postgres":
			if tables, err = h.postgresTables(ctx, tx); err == nil {
				holders, err = readHolders(tx.QueryContext(ctx, postgresHolders))
			}
		case "mysql":
			if tables, err = mariaUndo(ctx, tx); err == nil {
				holders, err = readHolders(tx.QueryContext(ctx, mariaHolders))
			}
			if err != nil && strings.Contains(err.Error(), "1227") { // no PROCESS privilege
				err = nil
			}
		}
		return err
	})
	if err != nil {
		return false, err
	}
	h.bloat.dead = 0
	for _, t := range tables {
		h.bloat.dead = max(h.bloat.dead, t.dead)
	}
	now := time.Now()
	h.bloat.judge(&h.Housekeeping, now, tables, h.bloat.ages(now, holders), func(e reliable.Event) {
		switch e := e.(type) {
		case *reliable.BloatFound:
			e.Worker = h.site.Worker
		case *reliable.BloatCleared:
			e.Worker = h.site.Worker
		}
		h.site.Plugin.Monitor().Publish(e)
	})
	return false, nil
}

// ages notes who holds what and returns those that held the same at an earlier
// look, with their ages, the oldest first. A long transaction of many short
// statements holds something new each time, and does no harm.
func (b *bloatWatch) ages(now time.Time, holders []holder) []holder {
	seen := make(map[string]time.Time, len(holders))
	var lasting []holder
	for _, h := range holders {
		since, again := b.seen[h.identity()]
		if !again {
			since = now
		}
		seen[h.identity()] = since
		if again {
			h.Age = max(h.Age, now.Sub(since))
			lasting = append(lasting, h)
		}
	}
	b.seen = seen
	slices.SortStableFunc(lasting, func(x, y holder) int { return int(y.Age - x.Age) })
	return lasting
}

// judge tells of tables that have too many dead rows for too long, and of those
// that had.
func (b *bloatWatch) judge(limits *Housekeeping, now time.Time, tables []table, holders []holder, publish func(reliable.Event)) {
	holders = slices.DeleteFunc(holders, func(h holder) bool { return h.Age < limits.HorizonAge })
	over, found := make(map[string]time.Time), make(map[string]told)
	for _, t := range tables {
		late := false
		if t.dead > limits.DeadRows {
			since, was := b.over[t.name]
			if !was {
				since = now
			}
			over[t.name] = since
			late = t.vacuums && now.Sub(since) >= limits.HorizonAge && (!t.vacuumed.Valid || t.unvacuumed >= limits.HorizonAge)
		}
		last, was := b.found[t.name]
		switch {
		case t.dead > limits.DeadRows && (late || len(holders) > 0):
			first, kinds := "", make([]reliable.HorizonHolder, 0, len(holders))
			for i, h := range holders {
				if i == 0 {
					first = h.identity()
				}
				kinds = append(kinds, h.HorizonHolder)
			}
			if !was || last.first != first || now.Sub(last.at) >= tellAgain {
				last = told{now, first}
				publish(&reliable.BloatFound{Table: t.name, DeadRows: t.dead, LiveRows: t.live, Vacuumed: t.vacuumed.Time.UTC(), Holders: kinds})
			}
			found[t.name] = last
		case was:
			publish(&reliable.BloatCleared{Table: t.name, DeadRows: t.dead})
		}
	}
	b.over, b.found = over, found
}

// postgresTables reads what the statistics say of the hot tables.
func (h *housekeeper) postgresTables(ctx context.Context, tx *sql.Tx) ([]table, error) {
	t := h.site.Plugin.Tables()
	rows, err := tx.QueryContext(ctx, postgresBloat, "{"+strings.Join([]string{t.Entries(), t.Claims(), t.Workers(), t.Lanes(), t.Duties()}, ",")+"}")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []table
	for rows.Next() {
		t := table{vacuums: true}
		var seconds float64
		if err := rows.Scan(&t.name, &t.dead, &t.live, &t.vacuumed, &seconds); err != nil {
			return nil, err
		}
		t.unvacuumed = time.Duration(seconds * float64(time.Second))
		found = append(found, t)
	}
	return found, rows.Err()
}

// mariaUndo reads how many old transactions' undo is not purged. It is that of
// the whole server.
func mariaUndo(ctx context.Context, tx *sql.Tx) ([]table, error) {
	undo := table{name: "undo log"}
	var name string
	err := tx.QueryRowContext(ctx, mariaBloat).Scan(&name, &undo.dead)
	return []table{undo}, err
}

func readHolders(rows *sql.Rows, err error) ([]holder, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []holder
	for rows.Next() {
		var h holder
		var seconds sql.NullFloat64
		if err := rows.Scan(&h.Kind, &h.PID, &h.Name, &h.User, &h.Application, &h.State, &seconds, &h.holds); err != nil {
			return nil, err
		}
		h.Age = time.Duration(seconds.Float64 * float64(time.Second))
		found = append(found, h)
	}
	return found, rows.Err()
}
