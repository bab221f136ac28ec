package programs_test

import (
	"context"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// found are operations that random programs once found a difference in.
func found() []step {
	set := func(column string, value any, on ...string) clause.OnConflict {
		c := clause.OnConflict{DoUpdates: clause.Assignments(map[string]any{column: value})}
		for _, name := range on {
			c.Columns = append(c.Columns, clause.Column{Name: name})
		}
		return c
	}
	create := func(text string, on clause.OnConflict, v value) step {
		return op(text, func(m *machine, db *gorm.DB) error { x := v.fresh(); return m.see(db.Clauses(on).Create(x), x) })
	}
	one, mail := 1, "a"
	return []step{
		op("the first statement on a table is sent after an error in its transaction", func(m *machine, db *gorm.DB) error {
			return aborted(db.Transaction(func(tx *gorm.DB) error {
				tx.Create(&Part{ID: 1})
				m.note("  %v", tx.Model(&Profile{ID: 1}).Update("bio", "new").Error)
				return nil
			}))
		}),
		create("an upsert moves a row", set("place", gorm.Expr("seats.place + 10"), "hall", "place"), of([]Seat{{Hall: "a", Place: 1}})),
		create("an upsert moves a row to where it is", set("hall", "a", "hall", "place"), of([]Seat{{Hall: "a", Place: 1}})),
		create("an upsert moves a row, then makes one where that was", set("place", 3, "hall", "place"), of([]Seat{{Hall: "a", Place: 1}, {Hall: "a", Place: 1, Note: "w"}})),
		create("an upsert moves a row that it has made", set("id", 8, "id"), of([]Book{{Title: "v"}, {Title: "w"}, {ID: 5}})),
		create("an upsert moves a row that has no other key", set("id", 8, "id"), of([]Part{{ID: 3}, {Number: &one}})),
		create("an upsert sets bytes", clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"photo"})},
			of([]Author{{Email: &mail, Photo: []byte{1, 0, 200}}})),
		create("an upsert meets a row by a key that the model does not tell", clause.OnConflict{UpdateAll: true}, of([]Book{{Title: "x", Pages: 9}, {Title: "new"}})),
		create("nothing is done by a key that the model does not tell", clause.OnConflict{DoNothing: true}, of([]Book{{Title: "x", Pages: 9}, {Title: "new"}})),
		op("a statement whose context has ended leaves its transaction open", func(m *machine, db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				m.note("  %v", tx.WithContext(ctx).Create(&Part{Qty: 5}).Error)
				return m.see(tx.Create(&Part{Qty: 6}))
			})
		}),
	}
}

func TestFound(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		l := newLab(t, d)
		for _, db := range []*gorm.DB{l.captured, l.plain} {
			l.exec(t, db, "CREATE UNIQUE INDEX untold ON books (title)")
		}
		for _, s := range found() {
			t.Run(s.text[0], func(t *testing.T) {
				l.compare(t, t, program{steps: []step{s}, unknown: d == testdb.MySQL && strings.HasPrefix(s.text[0], "an upsert meets")})
			})
		}
	})
}
