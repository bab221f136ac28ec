package chaos_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

var (
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()%1_000_000), "where the draws start; a failed test tells its own")
	rounds = flag.Int("rounds", 1, "how often each test of the capture's chaos does all that it does")
)

// draws returns the test's source of randomness, which -seed replays.
func draws(t *testing.T) *rand.Rand {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay with -seed %d", *seed)
		}
	})
	return rand.New(rand.NewPCG(*seed, 1))
}

// shop is a database in which producers write sales, with row triggers that see
// what is committed.
type shop struct {
	url     testdb.DB
	db      *gorm.DB // without the plugin
	log     *oracle.Log
	journal string
}

func newShop(t *testing.T, url testdb.DB) *shop {
	t.Helper()
	s := &shop{url: url, db: url.Open(t), journal: filepath.Join(t.TempDir(), "journal")}
	if err := s.db.AutoMigrate(&chaos.Sale{}); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), s.db); err != nil {
		t.Fatal(err)
	}
	s.log = oracle.Watch(t, s.db, &chaos.Sale{})
	return s
}

// open returns a database with the plugin, at an address that may not be the
// shop's own.
func (s *shop) open(t *testing.T, address string, opts ...gorm.Option) *gorm.DB {
	t.Helper()
	db := testdb.DB{Dialect: s.url.Dialect, URL: address}.Open(t, opts...)
	if err := db.Use(reliable.New(reliable.Config{Registry: chaos.Callbacks(chaos.Idle)})); err != nil {
		t.Fatal(err)
	}
	return db
}

// producer returns one that writes to the shop's journal, with numbers of its
// own.
func (s *shop) producer(t *testing.T, db *gorm.DB, r *rand.Rand, number int) *chaos.Producer {
	t.Helper()
	journal, err := os.OpenFile(s.journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	return &chaos.Producer{DB: db, Journal: journal, Rand: rand.New(rand.NewPCG(r.Uint64(), 0)), Op: int64(number) * 1_000_000}
}

// tally counts operations by what was known of them and what became of them.
type tally struct{ acked, undone, committed, lost int }

// check holds the promise: what is committed, and only that, has its entries;
// what was acknowledged is committed, what was undone is not, and an operation
// of which that is not known is committed as a whole or not at all. Then it
// forgets all operations.
func (s *shop) check(t *testing.T) (sum tally) {
	t.Helper()
	s.settle(t)
	if diff := s.log.Diff(t); diff != "" {
		t.Errorf("-triggers +entries\n%.4000s", diff)
	}
	operations, err := chaos.ReadJournal(s.journal)
	if err != nil {
		t.Fatal(err)
	}
	written, deleted := s.counts(t, "new_op", "op NOT LIKE 'DELETE%'"), s.counts(t, "old_op", "op LIKE 'DELETE%'")
	for _, o := range operations {
		none := written[o.Op] == 0 && (o.Deletes == 0 || deleted[o.Target] == 0)
		whole := written[o.Op] == o.Writes && (o.Deletes == 0 || deleted[o.Target] == o.Deletes)
		wrong := false
		switch o.Outcome {
		case chaos.Acked:
			wrong = !whole
			sum.acked++
		case chaos.Undone:
			wrong = !none
			sum.undone++
		default:
			wrong = !none && !whole
			if whole && !none {
				sum.committed++
			} else {
				sum.lost++
			}
		}
		if wrong {
			t.Errorf("%+v: the triggers saw %d writes, and %d deletes of the target's", o, written[o.Op], deleted[o.Target])
		}
	}
	s.log.Reset(t)
	if err := os.Rename(s.journal, s.journal+".checked"); err != nil {
		t.Fatal(err)
	}
	return sum
}

// counts counts what the triggers saw, by operation.
func (s *shop) counts(t *testing.T, column, where string) map[int64]int {
	t.Helper()
	var rows []struct {
		Op int64
		N  int
	}
	if err := s.db.Raw("SELECT " + column + " AS op, count(*) AS n FROM oracle_sales WHERE " + where + " GROUP BY " + column).Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	counts := make(map[int64]int, len(rows))
	for _, row := range rows {
		counts[row.Op] = row.N
	}
	return counts
}
