package capture_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"
)

// together runs write n times in each of some sessions at the same time. A
// write that could not be serialized is repeated.
func together(t *testing.T, l *pgLab, sessions, n int, o *sql.TxOptions, write func(tx *gorm.DB, session, i int) error) {
	t.Helper()
	var all sync.WaitGroup
	for session := range sessions {
		all.Go(func() {
			for i := range n {
				for {
					err := l.db.Transaction(func(tx *gorm.DB) error { return write(tx, session, i) }, o)
					var failure interface{ SQLState() string }
					if errors.As(err, &failure) && failure.SQLState() == "40001" {
						continue
					}
					if err != nil {
						t.Errorf("session %d, write %d: %v", session, i, err)
					}
					break
				}
			}
		})
	}
	all.Wait()
}

// proven fails the test unless the entries are what the triggers saw, n of
// them, all with their old values.
func (l *pgLab) proven(t *testing.T, n int) {
	t.Helper()
	if diff := l.log.Diff(t); diff != "" {
		t.Errorf("-triggers +entries\n%s", diff)
	}
	entries := l.log.Entries(t)
	if len(entries) != n {
		t.Errorf("%d entries, want %d", len(entries), n)
	}
	for _, e := range entries {
		if strings.Contains(e, "unknown") {
			t.Errorf("old values are not known: %s", e)
		}
	}
}

// Sessions that increment one row: each entry begins where the one before
// ended, and no increment is lost.
func TestPostgresIncrements(t *testing.T) {
	const sessions, n = 8, 60
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		t.Run(level.String(), func(t *testing.T) {
			l := newPGLab[Thing](t, thingsDDL+";\nINSERT INTO things (name, qty) VALUES ('a', 0)", "")
			together(t, l, sessions, n, &sql.TxOptions{Isolation: level}, func(tx *gorm.DB, _, _ int) error {
				return tx.Model(&Thing{ID: 1}).Update("qty", gorm.Expr("qty + 1")).Error
			})
			l.proven(t, sessions*n)
			for i, e := range l.log.Entries(t) {
				if want := fmt.Sprintf("update things 1: qty %d -> %d", i, i+1); e != want {
					t.Fatalf("entry %d is %q, want %q", i, e, want)
				}
			}
		})
	}
}

// Sessions that upsert the same new rows: one inserts, the others update what
// they found, and know what that was.
func TestPostgresUpsertRace(t *testing.T) {
	const sessions, n = 6, 40
	l := newPGLab[Thing](t, thingsDDL, "")
	together(t, l, sessions, n, nil, func(tx *gorm.DB, session, i int) error {
		if session == 0 && i%8 == 7 {
			return tx.Where("name = ?", fmt.Sprint(i-1)).Delete(&Thing{}).Error
		}
		return tx.Clauses(replacing("qty", "name")).Create(&[]Thing{
			{Name: fmt.Sprint(i), Qty: session*n + i}, {Name: fmt.Sprint("x", i), Qty: session},
		}).Error
	})
	l.proven(t, len(l.log.Changes(t)))
}
