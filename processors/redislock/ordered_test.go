package redislock_test

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/processors/processorstest"
)

// A processor that asks Redis keeps what it promises without.
func TestOrderedByCausalityKey(t *testing.T) {
	url, prefix := testdb.NewRedis(t)
	database := prefix // of its own for each check
	processorstest.Run(t, processorstest.Harness{
		Database: func(t testing.TB) func() (*gorm.DB, error) {
			database = prefix + t.Name()
			db := testdb.New(t, testdb.SQLite)
			return func() (*gorm.DB, error) { return testdb.OpenURL(db.URL) }
		},
		New: func(lease time.Duration) processors.EntriesProcessor {
			return &processors.OrderedByCausalityKey{LeaseTTL: lease, Locker: prefixed(open(t, url), database)}
		},
	})
}
