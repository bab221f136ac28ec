package programs_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// race runs work in sessions at once, and wants every entry to say what the
// triggers saw. A session may lose its write to another: nothing is recorded of
// it then. It returns how many rows changed.
func (l *lab) race(t *testing.T, sessions, rounds int, work func(db *gorm.DB, draw *rand.Rand) error) int {
	t.Helper()
	l.reset(t)
	var wait sync.WaitGroup
	for session := range sessions {
		wait.Go(func() {
			draw := rand.New(rand.NewPCG(1, uint64(session))) //nolint:gosec // not a secret
			for range rounds {
				if err := work(l.captured.Session(&gorm.Session{}), draw); err != nil && !lost(err) {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if diff := l.log.Diff(t); diff != "" {
		t.Errorf("entries: -triggers +entries\n%s", diff)
	}
	unknown := l.unknown(t)
	changes := len(l.log.Changes(t))
	t.Logf("%d rows changed, %d of them with old values unknown", changes, unknown)
	if unknown > 0 && l.dialect != testdb.MySQL {
		t.Errorf("%d entries do not know the old values", unknown)
	}
	return changes
}

// unknown counts the entries that do not know the old values.
func (l *lab) unknown(t *testing.T) (n int) {
	t.Helper()
	for _, line := range l.log.Entries(t) {
		if strings.Contains(line, oracle.Unknown) {
			n++
		}
	}
	return n
}

// lost reports whether a write lost against another session's: that is what
// happens without the plugin, too.
func lost(err error) bool {
	text := strings.ToLower(err.Error())
	for _, why := range []string{"deadlock", "duplicate", "unique constraint", "could not serialize"} {
		if strings.Contains(text, why) {
			return true
		}
	}
	return false
}

// levels are the isolation levels at which sessions race.
func levels(d testdb.Dialect) []sql.IsolationLevel {
	if d == testdb.SQLite {
		return []sql.IsolationLevel{sql.LevelDefault}
	}
	return []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead}
}

// eachLevel runs a test on each database, at each isolation level.
func eachLevel(t *testing.T, run func(t *testing.T, l *lab, in func(db *gorm.DB, fn func(tx *gorm.DB) error) error)) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		l := newLab(t, d)
		for _, level := range levels(d) {
			t.Run(level.String(), func(t *testing.T) {
				m := &machine{lab: l, captured: true}
				run(t, l, func(db *gorm.DB, fn func(tx *gorm.DB) error) error {
					return db.Transaction(fn, m.options(level)...)
				})
			})
		}
	})
}

// Sessions update rows by a condition that others change meanwhile, insert rows
// that come to match it, and delete some.
func TestRacingUpdates(t *testing.T) {
	eachLevel(t, func(t *testing.T, l *lab, in func(*gorm.DB, func(*gorm.DB) error) error) {
		changes := l.race(t, 4, 60, func(db *gorm.DB, draw *rand.Rand) error {
			return in(db, func(tx *gorm.DB) error {
				low := draw.IntN(6)
				switch draw.IntN(6) {
				case 0:
					return tx.Create(&[]Part{{Qty: low}, {Qty: low + 1}}).Error
				case 1:
					return tx.Where("qty = ? AND id > 3", low).Delete(&Part{}).Error
				case 2:
					return tx.Model(&Part{}).Where("parts = ?", low).Updates(map[string]any{"parts": low + 1, "qty": draw.IntN(6)}).Error
				case 3:
					if l.dialect != testdb.MySQL { // which has none for updates
						tx = tx.Clauses(clause.Returning{})
					}
					return tx.Model(&[]Part{}).Where("id % 3 = ?", low%3).Update("parts", draw.IntN(6)).Error
				default:
					return tx.Model(&Part{}).Where("qty BETWEEN ? AND ?", low, low+2).Update("qty", gorm.Expr("(qty + 1) % 6")).Error
				}
			})
		})
		if changes < 200 {
			t.Errorf("%d rows changed: that is no race", changes)
		}
	})
}

// Sessions upsert a few rows, by one key or the other, and delete them.
func TestRacingUpserts(t *testing.T) {
	eachLevel(t, func(t *testing.T, l *lab, in func(*gorm.DB, func(*gorm.DB) error) error) {
		changes := l.race(t, 6, 60, func(db *gorm.DB, draw *rand.Rand) error {
			return in(db, func(tx *gorm.DB) error {
				id, number, qty := uint(draw.IntN(4)+1), draw.IntN(4), draw.IntN(1000) //nolint:gosec // small
				switch draw.IntN(5) {
				case 0:
					return tx.Delete(&Part{}, id).Error
				case 1:
					return tx.Where("number = ?", number).Delete(&Part{}).Error
				case 2:
					on := clause.OnConflict{Columns: []clause.Column{{Name: "number"}}, DoUpdates: clause.AssignmentColumns([]string{"qty"})}
					return tx.Clauses(on).Create(&Part{Number: &number, Qty: qty}).Error
				case 3:
					return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]Part{{ID: id, Qty: qty}, {ID: id + 1, Number: &number}}).Error
				default:
					return tx.Save(&[]Part{{ID: id, Qty: qty}, {ID: id + 4, Qty: qty}}).Error
				}
			})
		})
		if changes < 200 {
			t.Errorf("%d rows changed: that is no race", changes)
		}
	})
}

// Sessions increment one row: each entry has the next value.
func TestRacingIncrements(t *testing.T) {
	eachLevel(t, func(t *testing.T, l *lab, in func(*gorm.DB, func(*gorm.DB) error) error) {
		if l.dialect == testdb.Postgres { // with retries, in package capture
			return
		}
		sessions, rounds := 4, 60
		if l.dialect == testdb.SQLite {
			sessions, rounds = 6, 50
		}
		l.race(t, sessions, rounds, func(db *gorm.DB, _ *rand.Rand) error {
			return in(db, func(tx *gorm.DB) error { return tx.Model(&Part{ID: 1}).Update("qty", gorm.Expr("qty + 1")).Error })
		})
		for i, line := range l.log.Entries(t) {
			if want := fmt.Sprintf("update parts 1: qty %d -> %d", i+1, i+2); line != want {
				t.Fatalf("entry %d is %q, want %q", i, line, want)
			}
		}
		if n := len(l.log.Entries(t)); n != sessions*rounds {
			t.Errorf("%d entries, want %d", n, sessions*rounds)
		}
	})
}
