package chaos_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
)

// overNetwork runs f for both services, with a proxy before each.
func overNetwork(t *testing.T, f func(t *testing.T, s *shop, p *proxy.Proxy, r *rand.Rand)) {
	for _, service := range []testdb.Service{testdb.PostgreSQL, testdb.MariaDB} {
		t.Run(service.String(), func(t *testing.T) {
			d := testdb.Postgres
			if service == testdb.MariaDB {
				d = testdb.MySQL
			}
			s := newShop(t, testdb.New(t, d))
			f(t, s, proxy.Start(t, service, s.url.URL), draws(t))
		})
	}
}

// A connection is lost as a COMMIT is sent, or before its answer arrives. The
// application can't tell which; change and entry share their fate.
func TestCutAtCommit(t *testing.T) {
	overNetwork(t, func(t *testing.T, s *shop, p *proxy.Proxy, r *rand.Rand) {
		fates := rand.New(rand.NewPCG(r.Uint64(), 0))
		var seen [3]atomic.Int32 // by fate
		p.OnCommit(func() proxy.Fate {
			fate := []proxy.Fate{proxy.Pass, proxy.Pass, proxy.CutBefore, proxy.CutAfter}[fates.IntN(4)]
			seen[fate].Add(1)
			return fate
		})
		writer := s.producer(t, s.open(t, p.URL(s.url.URL)), r, 0)
		for most := int32(40 * *rounds); seen[proxy.CutBefore].Load() < most || seen[proxy.CutAfter].Load() < most; {
			_ = writer.Step(t.Context()) // the journal has it
		}
		sum := s.check(t)
		t.Logf("%d operations acked, %d undone; of those whose connection was cut at COMMIT %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
		if sum.acked == 0 || sum.committed < 10 || sum.lost < 10 {
			t.Error("all must occur: the test shows nothing")
		}
	})
}

// Connections of some writers are lost at any time, when another one commits.
func TestCutAnywhere(t *testing.T) {
	overNetwork(t, func(t *testing.T, s *shop, p *proxy.Proxy, r *rand.Rand) {
		draw := rand.New(rand.NewPCG(r.Uint64(), 0))
		commits, next, cut := 0, 8, make(chan struct{}, 1)
		p.OnCommit(func() proxy.Fate {
			if commits++; commits == next {
				next += 1 + draw.IntN(16)
				select {
				case cut <- struct{}{}:
				default:
				}
			}
			return proxy.Pass
		})
		db := s.open(t, p.URL(s.url.URL))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var writers sync.WaitGroup
		for number := range 4 {
			writer := s.producer(t, db, r, number)
			writers.Go(func() {
				for ctx.Err() == nil {
					_ = writer.Step(t.Context()) // the journal has it
				}
			})
		}
		for range 25 * *rounds {
			<-cut
			p.Cut() // the other writers are anywhere
		}
		p.OnCommit(nil)
		cancel()
		writers.Wait()
		sum := s.check(t)
		t.Logf("%d operations acked, %d undone; of those whose connection was cut %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
		if sum.acked == 0 || sum.lost == 0 {
			t.Error("both must occur: the test shows nothing")
		}
	})
}

// A context ends at any time, the caller's or that of GORM's transaction
// timeout.
func TestCancel(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := draws(t)
		s := newShop(t, testdb.New(t, d))
		var sum tally
		for number, step := range []func(*chaos.Producer){
			func(writer *chaos.Producer) {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(moment(r), cancel).Stop()
				_ = writer.Step(ctx) // the journal has it
				cancel()
			},
			func(writer *chaos.Producer) {
				writer.DB.DefaultTransactionTimeout = moment(r)
				_ = writer.Step(t.Context()) // the journal has it
			},
		} {
			db := s.open(t, s.url.URL, &gorm.Config{Logger: logger.Discard})
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			writer := s.producer(t, db, r, number)
			for range 100 * *rounds {
				if err := pool.PingContext(t.Context()); err != nil { // connects, if need be, so that the context does not end there
					t.Fatal(err)
				}
				step(writer)
			}
		}
		sum.add(s.check(t))
		t.Logf("%d operations acked, %d undone; of those whose context ended %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
		if sum.acked == 0 || sum.lost == 0 {
			t.Error("both must occur: the test shows nothing")
		}
	})
}

// moment returns a time in which an operation may end or not, or, now and then,
// one in which it surely does.
func moment(r *rand.Rand) time.Duration {
	if r.IntN(4) == 0 {
		return time.Minute
	}
	return time.Duration(1+r.IntN(2500)) * time.Microsecond
}

// The database is killed while applications write, as one of them commits.
func TestKillDatabaseUnderWriters(t *testing.T) {
	for _, service := range []testdb.Service{testdb.PostgreSQL, testdb.MariaDB} {
		t.Run(service.String(), func(t *testing.T) {
			r := draws(t)
			server := testdb.Start(t, service)
			s := newShop(t, server.New(t))
			pool, err := s.db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxIdleConns(0) // none outlives the server
			p := proxy.Start(t, service, s.url.URL)
			var sum tally
			for round := range 2 * *rounds {
				commits, last, kill := 0, 40+r.IntN(20), make(chan struct{})
				p.OnCommit(func() proxy.Fate {
					if commits++; commits == last {
						close(kill)
					}
					if commits > last-4 {
						return proxy.CutAfter // nobody is told of the last ones
					}
					return proxy.Pass
				})
				db := s.open(t, p.URL(s.url.URL))
				var writers sync.WaitGroup
				for number := range 4 {
					writer := s.producer(t, db, r, 4*round+number)
					writers.Go(func() {
						for killed := false; !killed; {
							if writer.Step(t.Context()) != nil {
								select {
								case <-kill:
									killed = true
								default: // the journal has it
								}
							}
						}
					})
				}
				<-kill
				server.Kill()
				writers.Wait()
				if err := server.Restart(); err != nil {
					t.Fatal(err)
				}
				sum.add(s.check(t))
			}
			t.Logf("%d operations acked, %d undone; of those under which the database was killed %d were committed, %d not", sum.acked, sum.undone, sum.committed, sum.lost)
			if sum.acked == 0 || sum.committed == 0 {
				t.Error("both must occur: the test shows nothing")
			}
		})
	}
}

// A statement's context ends within a transaction that goes on: the application
// ignores the error, writes on, and commits.
func TestCancelStatement(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := draws(t)
		s := newShop(t, testdb.New(t, d))
		db := s.open(t, s.url.URL)
		many := make([]chaos.Sale, 200)
		if err := db.Create(&many).Error; err != nil {
			t.Fatal(err)
		}
		failed, committed := 0, 0
		for range 60 * *rounds {
			tx := db.WithContext(t.Context()).Begin()
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), moment(r))
				if tx.WithContext(ctx).Model(&chaos.Sale{}).Where("id % 10 = ?", r.IntN(10)).Update("total", gorm.Expr("total + 1")).Error != nil {
					failed++
				}
				cancel()
			}
			if tx.Commit().Error == nil {
				committed++
			}
		}
		t.Logf("%d statements failed, %d transactions committed", failed, committed)
		if diff := s.log.Diff(t); diff != "" {
			t.Errorf("-triggers +entries\n%.2000s", diff)
		}
	})
}
