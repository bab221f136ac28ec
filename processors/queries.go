package processors

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/columns"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// queries is the text of every statement for one database. Ids travel as one
// parameter: an array literal on PostgreSQL, a JSON array elsewhere, so that
// any driver takes them and the text stays the same for any number.
type queries struct {
	fresh, retries      string // see entryColumns for what they return
	highest             string // the id of the youngest entry
	frontier            string // the id up to which claims that reach above one left nothing
	held                string // ids in claim rows that reach into a range of ids; not on PostgreSQL
	insertClaim         string
	lockClaim           string // ids of a claim, locked; not on PostgreSQL
	setClaim            string
	company             string // a suspect runs alone no longer
	finish              string // PostgreSQL: all of a finish, in one statement
	archive, drop, keep string // elsewhere: what becomes of done entries
	fail                string // reschedules or buries failed entries
	deleteClaims        string
	abandon             string // deletes a worker's other claims
	now                 string
	registration        string // locks out other registrations
	others              string // live workers with another processor
	countLanes          string
	register, beat      string
	probe               string // writes the worker's row as it is; by the primary key
	deregister          string
	deadWorkers         string // deletes them, but for the one that asks
	strayClaims         string // claims of others whose worker is gone
	suspect             string // marks what a dead worker left
	acquit              string // takes a crash back
	died                string // an entry, if it is dead; see entryColumns
	unlane              string // a dead entry blocks its key no longer
	park                string // shows that the keys of dead entries are parked
	unpark              string // takes that back
	countKind           string
	pauses              string
}

// entryColumns is what a claim reads, in the order of scanEntry.
const entryColumns = "id, kind, owed, context, resource_class, resource_id, event_name, causality_key, changeset, arguments, headers, " +
	"created_at, attempts, crashes, callbacks"

// newQueries returns the statements of a dialect. If loose, only entries without
// a lane are found by fresh and retries.
func newQueries(dialect string, t reliable.Tables, loose bool) queries {
	lane := ""
	if loose {
		lane = " AND lane IS NULL"
	}
	names := strings.NewReplacer("{loose}", lane, "{lanes}", t.Lanes(), "{duties}", t.Duties(), "{parked}", t.ParkedKeys(), "{entries}", t.Entries(),
		"{claims}", t.Claims(), "{workers}", t.Workers(), "{history}", t.History(), "{pauses}", t.Pauses(), "{columns}", entryColumns, "{kept}", columns.History)
	var q queries
	switch dialect {
	case "postgres":
		q = postgresQueries()
	case "mysql":
		q = mariaQueries()
	default:
		q = sqliteQueries()
	}
	for _, text := range []*string{
		&q.fresh, &q.retries, &q.highest, &q.frontier, &q.held, &q.insertClaim, &q.lockClaim, &q.setClaim, &q.company, &q.finish, &q.archive, &q.drop, &q.keep,
		&q.fail, &q.deleteClaims, &q.abandon, &q.now, &q.registration, &q.others, &q.countLanes, &q.register, &q.beat, &q.probe, &q.deregister, &q.deadWorkers, &q.strayClaims, &q.suspect, &q.acquit, &q.died, &q.unlane, &q.park, &q.unpark, &q.countKind, &q.pauses,
	} {
		*text = names.Replace(*text)
	}
	return q
}

// idList returns ids as a parameter of a dialect's statements.
func idList(dialect string, ids []int64) string {
	open, end := byte('['), byte(']')
	if dialect == "postgres" {
		open, end = '{', '}'
	}
	b := make([]byte, 0, 2+8*len(ids))
	b = append(b, open)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(append(b, end))
}

// parseIDs reads what idList wrote, or what the database made of it.
func parseIDs(text string) ([]int64, error) {
	text = strings.Trim(text, "[]{} ")
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	ids := make([]int64, len(parts))
	for i, part := range parts {
		id, err := strconv.ParseInt(strings.TrimSpace(part), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("ids of a claim: %w", err)
		}
		ids[i] = id
	}
	return ids, nil
}

// timeText returns t as the dialect's tables hold it.
func timeText(dialect string, t time.Time) string {
	switch dialect {
	case "postgres":
		return t.UTC().Format(time.RFC3339Nano)
	case "mysql":
		return t.UTC().Format("2006-01-02 15:04:05.000000")
	default:
		return t.UTC().Format("2006-01-02 15:04:05.000")
	}
}

// timeOf reads a time that a driver delivered, in UTC.
func timeOf(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v.UTC(), nil
	case []byte:
		return time.Parse("2006-01-02 15:04:05.999999", string(v))
	case string:
		return time.Parse("2006-01-02 15:04:05.999999", v)
	default:
		return time.Time{}, fmt.Errorf("a time of type %T", v)
	}
}
