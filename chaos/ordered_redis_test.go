package chaos_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
)

// Workers that are killed take their locks from a Redis that forgets them all,
// dies and comes back empty, stands still, and is read-only for a while: no key
// is out of order, nor run twice at a time, whether workers wait for it or go
// on without (20 to 22, 30).
func TestOrderedRoundWithRedis(t *testing.T) {
	for d, without := range map[testdb.Dialect]processors.WithoutLocker{testdb.Postgres: processors.UseDatabase, testdb.SQLite: processors.Wait} {
		t.Run(d.String()+" "+string(without), func(t *testing.T) {
			size := orderedSize{150, 20, 4, 8, time.Millisecond, chaos.Faults{chaos.Kill: 5, chaos.Stop: 1, chaos.Term: 2}, 2 * time.Second}
			if d == testdb.SQLite {
				size.workers, size.threads, size.accounts = 2, 4, 25
			}
			if *push && d == testdb.Postgres {
				size.accounts, size.each, size.faults = 1000, 100, chaos.Faults{chaos.Kill: 30, chaos.Stop: 2, chaos.Term: 8}
			}
			redis := testdb.OwnRedis(t)
			r := newOrderedRound(t, d, size, "CHAOS_LOCKER="+redis.URL, "CHAOS_WITHOUT_LOCKER="+string(without))
			troubles := []func(t *testing.T) error{
				func(t *testing.T) error { redis.Flush(t); return nil },
				func(*testing.T) error { redis.Kill(); return nil },
				func(*testing.T) error { return redis.Restart() },
				func(*testing.T) error { return redis.Pause() },
				func(*testing.T) error { return redis.Resume() },
				func(t *testing.T) error { redis.Demote(t); return nil },
				func(t *testing.T) error { redis.Promote(t); return nil },
				func(t *testing.T) error { redis.Flush(t); return errors.Join(redis.Pause(), redis.Resume()) },
			}
			r.then = func(t *testing.T, faults int) {
				t.Helper()
				if err := troubles[(faults-1)%len(troubles)](t); err != nil {
					t.Fatal(err)
				}
			}
			r.run(t, draws(t))
			r.judge(t)
		})
	}
}
