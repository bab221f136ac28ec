package chaos_test

import (
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Writers of the same rows, at every isolation level, try again what the
// database refuses to serialize. The plugin adds no deadlock, and each commit
// has its entries, with the values that it found.
func TestIsolation(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
		t.Run(level.String(), func(t *testing.T) {
			s := newShop(t, testdb.New(t, testdb.Postgres))
			db := s.open(t, s.url.URL)
			hot := make([]chaos.Sale, 3)
			if err := db.Create(&hot).Error; err != nil {
				t.Fatal(err)
			}
			const writers, commits = 4, 40
			var retries atomic.Int64
			var all sync.WaitGroup
			for number := range writers {
				all.Go(func() {
					for n := range commits * *rounds {
						row := hot[(number+n)%len(hot)].ID
						write := func(tx *gorm.DB) error {
							var sale chaos.Sale
							if err := tx.First(&sale, row).Error; err != nil {
								return err
							}
							if err := tx.Create(&chaos.Sale{Op: int64(number + 1)}).Error; err != nil {
								return err
							}
							return tx.Model(&chaos.Sale{}).Where("id = ?", row).Update("total", gorm.Expr("total + 1")).Error
						}
						err := db.WithContext(t.Context()).Transaction(write, &sql.TxOptions{Isolation: level})
						for ; code(err) == "40001"; retries.Add(1) {
							err = db.WithContext(t.Context()).Transaction(write, &sql.TxOptions{Isolation: level})
						}
						if err != nil {
							t.Errorf("writer %d: %v", number, err)
							return
						}
					}
				})
			}
			all.Wait()
			var total int
			if err := s.db.Model(&chaos.Sale{}).Where("op = 0").Select("sum(total)").Scan(&total).Error; err != nil {
				t.Fatal(err)
			}
			if want := writers * commits * *rounds; total != want {
				t.Errorf("%d increments are committed, want %d", total, want)
			}
			if diff := s.log.Diff(t); diff != "" {
				t.Errorf("-triggers +entries\n%s", diff)
			}
			t.Logf("%d commits, %d tried again", total, retries.Load())
		})
	}
}

// code returns PostgreSQL's code of an error.
func code(err error) string {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return ""
	}
	return refused.Code
}
