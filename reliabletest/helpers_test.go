package reliabletest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/glebarez/sqlite"
	"go.uber.org/goleak"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")) // GORM's statement cache never ends
}

// Order is what the tests write.
type Order struct {
	ID    uint
	Email string
	Total int64
	Paid  bool
	Note  *string
}

// Line is what callbacks write; nothing is owed for it.
type Line struct {
	ID   uint
	Text string `gorm:"unique"`
}

var errBack = errors.New("roll back")

// memory is SQLite in memory, as many tests have it.
const memory testdb.Dialect = "memory"

// each runs f for every database, and for one that is in memory.
func each(t *testing.T, f func(t *testing.T, d testdb.Dialect)) {
	t.Helper()
	testdb.Each(t, f)
	if only := os.Getenv(testdb.Only); only == "" || only == testdb.SQLite.String() {
		t.Run(string(memory), func(t *testing.T) { f(t, memory) })
	}
}

// open returns a database with the plugin, all tables, and what register adds.
func open(t *testing.T, d testdb.Dialect, register func(r *reliable.Registry)) *gorm.DB {
	t.Helper()
	var db *gorm.DB
	if d == memory {
		var err error
		if db, err = gorm.Open(sqlite.Open(":memory:"), &gorm.Config{Logger: logger.Discard}); err != nil {
			t.Fatal(err)
		}
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1) // each has a database of its own
		t.Cleanup(func() { _ = pool.Close() })
	} else {
		db = testdb.New(t, d).Open(t)
	}
	r := new(reliable.Registry)
	register(r)
	plugin := reliable.New(reliable.Config{Registry: r, NoNotify: true})
	if err := errors.Join(db.Use(plugin), migrations.Up(t.Context(), db), db.AutoMigrate(&Order{}, &Line{})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plugin.Close(context.Background()) })
	return db
}

// begin begins a transaction that is rolled back with the test.
func begin(t *testing.T, db *gorm.DB) *gorm.DB {
	t.Helper()
	tx := db.Begin()
	if tx.Error != nil {
		t.Fatal(tx.Error)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

// ok ends the test if there is an error.
func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// notes is what callbacks did, in order.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, fmt.Sprintf(format, args...))
}

// want compares what was noted since the last time.
func (n *notes) want(t *testing.T, want ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := strings.Join(n.list, "; "); got != strings.Join(want, "; ") {
		t.Errorf("callbacks: %s\nwant: %s", got, strings.Join(want, "; "))
	}
	n.list = nil
}

// spy is the testing.TB of a test that is to fail.
type spy struct {
	testing.TB
	failed   bool
	said     strings.Builder
	cleanups []func()
}

func (s *spy) Helper()          {}
func (s *spy) Failed() bool     { return s.failed }
func (s *spy) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
func (s *spy) Logf(format string, args ...any) {
	fmt.Fprintf(&s.said, format+"\n", args...)
}

func (s *spy) Errorf(format string, args ...any) {
	s.Logf(format, args...)
	s.failed = true
}

func (s *spy) FailNow() {
	s.failed = true
	runtime.Goexit()
}

func (s *spy) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	s.FailNow()
}

// watch runs f as a test of its own. It returns whether that failed, whether f
// returned, and what was said.
func watch(t *testing.T, f func(t testing.TB)) (failed, returned bool, said string) {
	t.Helper()
	s := &spy{TB: t}
	var ended sync.WaitGroup
	ended.Go(func() {
		f(s)
		returned = true
	})
	ended.Wait()
	for _, cleanup := range s.cleanups {
		cleanup()
	}
	return s.failed, returned, s.said.String()
}

// fails runs f as a test of its own, which must end at once and say all of that.
func fails(t *testing.T, f func(t testing.TB), words ...string) {
	t.Helper()
	failed, returned, said := watch(t, f)
	if !failed || returned {
		t.Errorf("failed: %t, went on: %t, want it to fail and end; it says %q", failed, returned, said)
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("it says %q, want %q in it", said, word)
		}
	}
}
