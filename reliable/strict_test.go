package reliable_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Deed is ordered by its owner, which is coarser than its row.
type Deed struct {
	ID    uint
	Owner string `gorm:"size:20"`
}

func deeds(t *testing.T, d testdb.Dialect) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Deed]{CausalityKey: func(deed *Deed) string { return deed.Owner }, StrictOrder: true})
	reliable.AfterCommit(r, reliable.Callback[Deed]{Name: "file", Run: nothing[Deed]})
	db := testdb.New(t, d).Open(t)
	if err := errors.Join(db.AutoMigrate(&Deed{}), db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// With StrictOrder the ids of a key follow the commits, however the writers'
// transactions overlap.
func TestStrictOrder(t *testing.T) {
	const writers, each = 6, 15
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := deeds(t, d)
		var mu sync.Mutex
		var committed []uint // in the order of the commits
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range each {
					deed := Deed{Owner: "ann"}
					tx := db.Begin()
					err := tx.Create(&deed).Error
					mu.Lock() // nobody commits between this commit and its note
					err = errors.Join(err, tx.Commit().Error)
					committed = append(committed, deed.ID)
					mu.Unlock()
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		var recorded []uint
		if err := db.Raw("SELECT resource_id FROM outbox_entries ORDER BY id").Scan(&recorded).Error; err != nil {
			t.Fatal(err)
		}
		if len(recorded) != writers*each || !slices.Equal(recorded, committed) {
			t.Errorf("entries are in the order %v, the commits were in %v", recorded, committed)
		}
	})
}

// keyWaits counts who waits for a causality key.
var keyWaits = map[testdb.Dialect]string{
	testdb.Postgres: "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1633907567 AND NOT granted",
	// Not innodb_trx: it shows what was a while ago for as long as somebody looks again and again.
	testdb.MySQL: "SELECT count(*) FROM information_schema.processlist WHERE db = database() AND id <> connection_id() AND time_ms > 200 AND info LIKE '%key_locks%'",
}

// waitFor waits until somebody waits for a causality key; done, which says that
// they did not, is a failure.
func waitFor(t *testing.T, db *gorm.DB, waiting string, done <-chan error) {
	t.Helper()
	for waiter := 0; waiter == 0; {
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		if err := db.Raw(waiting).Scan(&waiter).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// A Transaction waits for one that holds its key, and draws its ids after it;
// other keys don't wait.
func TestStrictOrderWaits(t *testing.T) {
	for d, waiting := range keyWaits {
		t.Run(d.String(), func(t *testing.T) {
			db := deeds(t, d)
			early := db.Begin()
			defer early.Rollback() // after a failure: it would hold up the end of the test
			if err := early.Create(&Deed{Owner: "ann"}).Error; err != nil {
				t.Fatal(err)
			}
			write := func(owners ...string) error {
				return reliable.Transaction(db, func(tx *gorm.DB) error {
					for _, owner := range owners {
						if err := tx.Create(&Deed{Owner: owner}).Error; err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := write("bob"); err != nil {
				t.Fatal(err)
			}
			late := make(chan error, 1)
			go func() { late <- write("cid", "ann") }()
			waitFor(t, db, waiting, late)
			if err := errors.Join(early.Commit().Error, <-late); err != nil {
				t.Fatal(err)
			}
			var keys []string
			if err := db.Raw("SELECT causality_key FROM outbox_entries ORDER BY id").Scan(&keys).Error; err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(keys, " "); got != "ann bob cid ann" {
				t.Errorf("keys in the order of ids: %s, want ann bob cid ann", got)
			}
		})
	}
}
