package reliable_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// What a write costs in round trips to PostgreSQL once its statements are
// prepared, BEGIN and COMMIT included. Without the plugin, each but the last
// two takes three.
func TestRoundTrips(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Plain]{Name: "index", Run: nothing[Plain]})
	db, trips := testdb.New(t, testdb.Postgres).OpenCounted(t)
	if err := errors.Join(db.AutoMigrate(&Plain{}), db.Use(reliable.New(reliable.Config{Registry: r, NoNotify: true})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	qty := 0
	next := func() int { qty++; return qty }
	creates := func(tx *gorm.DB) error {
		for range 10 {
			if err := tx.Create(&Plain{Qty: next()}).Error; err != nil {
				return err
			}
		}
		return nil
	}
	for _, tt := range []struct {
		name  string
		write func() error
		want  int64
	}{
		{"create", func() error { return db.Create(&Plain{Qty: next()}).Error }, 4},
		{"create 100", func() error { many := make([]Plain, 100); return db.Create(&many).Error }, 4},
		{"update one row", func() error { return db.Model(&Plain{ID: 1}).Update("qty", next()).Error }, 4},
		{"update by condition", func() error { return db.Model(&Plain{}).Where("id < 5").Update("qty", next()).Error }, 4},
		{"update no row", func() error { return db.Model(&Plain{}).Where("id < 0").Update("qty", next()).Error }, 3},
		{"delete", func() error {
			var last Plain
			return db.Last(&last).Delete(&last).Error
		}, 5}, // one of them reads
		{"upsert", func() error {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Plain{ID: 2, Qty: next()}).Error
		}, 4},
		{"create without a transaction", func() error {
			return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&Plain{Qty: next()}).Error
		}, 4},
		{"ten creates in db.Transaction", func() error { return db.Transaction(creates) }, 22},
		{"ten creates in reliable.Transaction", func() error { return reliable.Transaction(db, creates) }, 13},
	} {
		for range 2 { // prepares the statements
			if err := tt.write(); err != nil {
				t.Fatal(err)
			}
		}
		if got := trips.Of(func() {
			if err := tt.write(); err != nil {
				t.Fatal(err)
			}
		}); got != tt.want {
			t.Errorf("%s takes %d round trips, want %d", tt.name, got, tt.want)
		}
	}
}
