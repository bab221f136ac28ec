package capture_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
)

const lockTable = `CREATE TABLE things (id bigint PRIMARY KEY, name text, qty bigint);
INSERT INTO things SELECT id, 'n' || id, 0 FROM unnest(ARRAY[3, 1, 2]) id`

// free returns the things that nobody holds stronger than strength allows.
func free(t *testing.T, db *gorm.DB, strength string) (ids []int64) {
	t.Helper()
	if err := db.Raw("SELECT id FROM things FOR " + strength + " SKIP LOCKED").Scan(&ids).Error; err != nil {
		t.Fatal(err)
	}
	return ids
}

// A captured write holds the rows that it writes as the write itself does: rows
// that refer to them can be inserted meanwhile.
func TestPostgresLockStrength(t *testing.T) {
	l := newPGLab[Thing](t, lockTable, "")
	for _, s := range []struct {
		name  string
		write func(tx *gorm.DB) error
	}{
		{"update", func(tx *gorm.DB) error { return tx.Model(&Thing{ID: 1}).Update("qty", 5).Error }},
		{"bulk update", func(tx *gorm.DB) error { return tx.Model(&Thing{}).Where("id < 3").Update("qty", 5).Error }},
		{"upsert", func(tx *gorm.DB) error {
			return tx.Clauses(replacing("qty", "id")).Create(&[]Thing{{ID: 1, Qty: 7}, {ID: 3, Qty: 7}}).Error
		}},
	} {
		held := func(db, admin *gorm.DB) (shared, updatable []int64) {
			tx := db.Begin()
			defer tx.Rollback()
			if err := s.write(tx); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			return free(t, admin, "KEY SHARE"), free(t, admin, "NO KEY UPDATE")
		}
		shared, updatable := held(l.db, l.dbAdmin)
		wantShared, wantUpdatable := held(l.plain, l.plainAdmin)
		if diff := cmp.Diff(wantShared, shared); diff != "" || len(shared) != 3 {
			t.Errorf("%s: rows that others may refer to: -plain +captured\n%s", s.name, diff)
		}
		if diff := cmp.Diff(wantUpdatable, updatable); diff != "" || len(updatable) == 3 {
			t.Errorf("%s: rows that others may update: -plain +captured\n%s", s.name, diff)
		}
	}
}

// A captured bulk update takes its locks in the order in which the update by
// itself does. Another session holds the row in the middle: what lies before it
// is locked while the update waits, what lies behind it is not.
func TestPostgresLockOrder(t *testing.T) {
	l := newPGLab[Thing](t, lockTable, "")
	waiting := func(db, admin *gorm.DB) (unlocked []int64) {
		holder := admin.Begin()
		defer holder.Rollback()
		if err := holder.Exec("UPDATE things SET qty = qty + 1 WHERE id = 1").Error; err != nil {
			t.Fatal(err)
		}
		tx := db.Begin()
		defer tx.Rollback()
		var pid int64
		if err := tx.Raw("SELECT pg_backend_pid()").Scan(&pid).Error; err != nil {
			t.Fatal(err)
		}
		updated := make(chan error, 1)
		go func() { updated <- tx.Model(&Thing{}).Where("id > 0").Update("qty", gorm.Expr("qty + 10")).Error }()
		for waits, begun := false, time.Now(); !waits; {
			if time.Since(begun) > time.Minute {
				t.Fatal("the update does not wait for the row that is held")
			}
			if err := admin.Raw("SELECT count(*) > 0 FROM pg_locks, pg_sleep(0.005) WHERE pid = ? AND NOT granted", pid).Scan(&waits).Error; err != nil {
				t.Fatal(err)
			}
		}
		unlocked = free(t, admin, "NO KEY UPDATE")
		holder.Rollback()
		if err := <-updated; err != nil {
			t.Fatal(err)
		}
		return unlocked
	}
	got, want := waiting(l.db, l.dbAdmin), waiting(l.plain, l.plainAdmin)
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 1 || got[0] != 2 {
		t.Errorf("rows not locked while the update waits for row 1: %v, want 2 alone: -plain +captured\n%s", got, diff)
	}
}
