package outbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// maxListedError is how much of an error a list shows, in characters.
const maxListedError = 300

// selectHeld returns the database's time, and what workers hold: all claims,
// which are few.
func selectHeld(db *gorm.DB, t reliable.Tables) (at time.Time, held map[int64]string, err error) {
	var text string
	var claims []struct{ Worker, List string }
	err = onWriter(db, func(tx *gorm.DB) error {
		if err := tx.Raw("SELECT " + timeText(db, now(db))).Scan(&text).Error; err != nil {
			return err
		}
		ids := "ids"
		if db.Name() == "postgres" {
			ids = "array_to_json(ids)::text"
		}
		return tx.Raw("SELECT worker, " + ids + " AS list FROM " + t.Claims()).Scan(&claims).Error
	})
	if err != nil {
		return at, nil, err
	}
	held = make(map[int64]string)
	for _, c := range claims {
		var ids []int64
		if err := json.Unmarshal([]byte(c.List), &ids); err != nil {
			return at, nil, fmt.Errorf("ids of a claim of %s: %w", c.Worker, err)
		}
		for _, id := range ids {
			held[id] = c.Worker
		}
	}
	at, err = timeOf(text)
	return at, held, err
}

// selectCandidates returns up to limit ids above one among which are all
// entries of a state: waiting ones by the index _retry, on MariaDB also dead
// ones, parked ones by _parked_at.
func selectCandidates(db *gorm.DB, t reliable.Tables, s State, after int64, limit int) (ids []int64, err error) {
	query := "SELECT id FROM " + t.Entries() + " WHERE "
	switch s {
	case Parked:
		query = "SELECT entry_id FROM (SELECT entry_id FROM " + t.ParkedKeys() + " ORDER BY parked_at, entry_id LIMIT " + strconv.Itoa(limit) + ") AS p WHERE entry_id > ?"
	case Waiting:
		query += "retry_at IS NOT NULL AND " + unfinished(db) + " AND id > ? ORDER BY retry_at, id"
	default:
		query += "dead_at IS NOT NULL AND id > ?"
	}
	err = onWriter(db, func(tx *gorm.DB) error { return tx.Raw(query+" LIMIT ?", after, limit).Scan(&ids).Error })
	return ids, err
}

// selectWindow returns the next rows above an id: of a key by the index _lane,
// dead ones by _dead, others by the primary key.
func selectWindow(db *gorm.DB, t reliable.Tables, f Filter, after int64) (w window, err error) {
	where, args := f.index(db)
	where, args = where+"id > ?", append(args, after)
	var row struct{ Last, N int64 }
	err = onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT coalesce(max(id), 0) AS last, count(*) AS n FROM (SELECT id FROM "+t.Entries()+" WHERE "+where+" ORDER BY id LIMIT ?) AS w", append(args, windowRows)...).Scan(&row).Error
	})
	return window{last: row.Last, rows: int(row.N)}, err
}

// byKey reports whether the index _lane serves the filter's key.
func (f Filter) byKey() bool { return f.Key != "" && f.State != Dead && len(f.IDs) == 0 }

// index returns the conditions, each with AND behind it, by which an index
// serves the filter in the order of ids; none for the primary key.
func (f Filter) index(db *gorm.DB) (string, []any) {
	switch {
	case f.byKey():
		return "lane = ? AND causality_key = ? AND ", []any{reliable.LaneOf(f.Key), f.Key}
	case f.State == Dead && db.Name() != "mysql":
		return "dead_at IS NOT NULL AND ", nil
	default:
		return "", nil
	}
}

// bounds returns the condition of the rows of a window that were not read yet.
func (s *scan) bounds(w window) (string, []any) {
	if w.ids != nil {
		return "id IN ?", []any{w.ids}
	}
	where, args := s.f.index(s.db)
	return where + "id > ? AND id <= ?", append(args, s.after, w.last)
}

// passing returns the condition of what passes of them, as far as the database
// can tell.
func (s *scan) passing(w window) (string, []any) {
	where, args := s.bounds(w)
	conditions, values := s.where()
	return where + conditions, append(args, values...)
}

// selectCount counts what passes in a window.
func (s *scan) selectCount(w window) (n int64, err error) {
	where, args := s.passing(w)
	err = onWriter(s.db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT count(*) FROM "+s.tables.Entries()+" WHERE "+where, args...).Scan(&n).Error
	})
	return n, err
}

// selectEntries returns what passes in a window after s.after: given ids in any
// order, else up to limit by id.
func (s *scan) selectEntries(w window, limit int) ([]Entry, error) {
	where, args := s.passing(w)
	if w.ids == nil {
		where, args = where+" ORDER BY id LIMIT ?", append(args, limit)
	}
	message := "substr(coalesce(error_message, ''), 1, " + strconv.Itoa(maxListedError) + ")"
	if s.brief {
		message = "''"
	}
	var rows []entryRow
	err := onWriter(s.db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT id, owed, context, resource_class AS model, resource_id AS model_id, event_name AS event, coalesce(causality_key, '') AS "+tx.Statement.Quote("key")+
			", coalesce(lane, -1) AS lane, "+timeText(tx, "created_at")+" AS created, "+timeText(tx, "retry_at")+" AS retry, "+timeText(tx, "failed_at")+" AS failed, "+
			timeText(tx, "dead_at")+" AS dead, attempts, crashes, suspect, coalesce(error_class, '') AS error_class, "+message+" AS error_message FROM "+
			s.tables.Entries()+" WHERE "+where, args...).Scan(&rows).Error
	})
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(rows))
	for i := range rows {
		entries[i] = rows[i].entry()
	}
	return entries, nil
}

// where returns the conditions that the database can be asked, each with AND
// before it.
func (s *scan) where() (string, []any) {
	where, args := " AND processed_at IS NULL", []any(nil)
	add := func(condition string, values ...any) {
		where, args = where+" AND "+condition, append(args, values...)
	}
	at := func(t time.Time) (string, any) { return timeParameter(s.db, t.Format(timeFormat)) }
	switch s.f.State {
	case Pending, Orphan, Held, Waiting, Eligible:
		add("dead_at IS NULL")
	case Dead:
		add("dead_at IS NOT NULL")
	case Parked:
		add("dead_at IS NOT NULL AND lane IS NOT NULL")
	default:
	}
	for _, name := range []struct{ column, value string }{
		{"context", s.f.Context},
		{"resource_class", s.f.Model},
		{"resource_id", s.f.ModelID},
		{"event_name", s.f.Event},
		{"causality_key", s.f.Key},
		{"error_class", s.f.ErrorClass},
	} {
		if name.value != "" {
			add(name.column+" = ?", name.value)
		}
	}
	if s.f.Callback != "" {
		quoted, _ := json.Marshal(s.f.Callback) // a string can't fail; owed is an array of such
		position := "instr"
		if s.db.Name() == "postgres" {
			position = "strpos"
		}
		add(position+"(owed, ?) > 0", string(quoted))
	}
	if s.f.OlderThan > 0 {
		mark, value := at(s.now.Add(-s.f.OlderThan))
		add("created_at < "+mark, value)
	}
	if s.f.YoungerThan > 0 {
		mark, value := at(s.now.Add(-s.f.YoungerThan))
		add("created_at >= "+mark, value)
	}
	return where, args
}

// entryRow is a row of outbox_entries without what it carries.
type entryRow struct {
	ID                             int64
	Owed                           *string
	Context, Model, ModelID, Event string
	Key                            string
	Lane                           int64 // -1 for none
	Created                        string
	Retry, Failed, Dead            *string
	Attempts, Crashes              int
	Suspect                        bool
	ErrorClass, ErrorMessage       string
}

// entry returns the row as an operator sees it: with its state only if it is
// dead. A time that somebody else wrote and that can't be read is zero: the entry
// can be shown, and given up, all the same.
func (r *entryRow) entry() Entry {
	e := Entry{
		ID: r.ID, Context: r.Context, Model: r.Model, ModelID: r.ModelID, Event: r.Event, Key: r.Key,
		Attempts: r.Attempts, Crashes: r.Crashes, Suspect: r.Suspect, ErrorClass: r.ErrorClass, ErrorMessage: r.ErrorMessage,
	}
	if r.Owed != nil {
		e.Owed = owed(*r.Owed)
	}
	e.CreatedAt, _ = timeOf(r.Created)
	for _, c := range []struct {
		text *string
		into **time.Time
	}{{r.Retry, &e.RetryAt}, {r.Failed, &e.FailedAt}, {r.Dead, &e.DeadAt}} {
		if c.text != nil {
			at, _ := timeOf(*c.text)
			*c.into = &at
		}
	}
	if e.DeadAt != nil {
		if e.State = Dead; standsAt(r.Key, r.Lane) {
			e.State = Parked
		}
	}
	return e
}

// standsAt reports whether a key may stand at a dead entry with that lane, -1 for
// none.
func standsAt(key string, lane int64) bool { return key != "" && lane == reliable.LaneOf(key) }

// carriedRow is what an entry carries.
type carriedRow struct {
	ID                                                     int64
	Changeset, Arguments, Headers, Callbacks, ErrorMessage *string
}

// selectCarried reads it by the primary key. It returns nil without a row.
func selectCarried(db *gorm.DB, t reliable.Tables, id int64) (*carriedRow, error) {
	var rows []carriedRow
	err := onWriter(db, func(tx *gorm.DB) error {
		return tx.Raw("SELECT id, changeset, arguments, headers, callbacks, error_message FROM "+t.Entries()+" WHERE id = ?", id).Scan(&rows).Error
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// text is a column as text, empty for NULL.
func text(column *string) string { return strings.TrimSpace(*cmp.Or(column, new(string))) }
