package processorstest_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/processors/processorstest"
)

func database(d testdb.Dialect) func(t testing.TB) func() (*gorm.DB, error) {
	return func(t testing.TB) func() (*gorm.DB, error) {
		url := testdb.New(t, d)
		return func() (*gorm.DB, error) { return testdb.OpenURL(url.URL) }
	}
}

func TestNonOrdered(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		processorstest.Run(t, processorstest.Harness{
			Database: database(d),
			New:      func(lease time.Duration) processors.EntriesProcessor { return &processors.NonOrdered{LeaseTTL: lease} },
		})
	})
}

// The suite's entries have no key: what differs from NonOrdered are two
// statements, of which SQLite's and MariaDB's are the same.
func TestOrderedByCausalityKey(t *testing.T) {
	for _, d := range []testdb.Dialect{testdb.Postgres, testdb.SQLite} {
		t.Run(d.String(), func(t *testing.T) {
			processorstest.Run(t, processorstest.Harness{
				Database: database(d),
				New: func(lease time.Duration) processors.EntriesProcessor {
					return &processors.OrderedByCausalityKey{LeaseTTL: lease}
				},
			})
		})
	}
}

// The other ways to complete an entry are other statements.
func TestCompletions(t *testing.T) {
	for d, completion := range map[testdb.Dialect]processors.Completion{testdb.Postgres: processors.Keep, testdb.SQLite: processors.Delete} {
		t.Run(d.String()+" "+string(completion), func(t *testing.T) {
			processorstest.Run(t, processorstest.Harness{
				Database: database(d),
				New: func(lease time.Duration) processors.EntriesProcessor {
					return &processors.NonOrdered{LeaseTTL: lease, Completion: completion}
				},
			})
		})
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
