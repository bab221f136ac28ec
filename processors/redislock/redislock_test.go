package redislock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/processors/lockertest"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
)

const ttl = 5 * time.Minute // no test lasts as long

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // it says on standard error what these tests do on purpose
	goleak.VerifyTestMain(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// open returns a Locker on URLs that is closed with the test.
func open(t testing.TB, urls ...string) *redislock.Locker {
	t.Helper()
	l, err := redislock.FromURL(strings.Join(urls, ","))
	if err != nil {
		t.Fatal(err)
	}
	l.Timeout = 10 * time.Second // so that a slow machine makes no node late
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// within returns a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func soon(t testing.TB) context.Context { t.Helper(); return within(t, 20*time.Second) }

// held takes a lock that must be free.
func held(t testing.TB, l *redislock.Locker, name string) processors.Lock {
	t.Helper()
	lock, err := l.Lock(soon(t), name, ttl)
	if err != nil {
		t.Fatalf("Lock(%q) = %v", name, err)
	}
	return lock
}

// wantLocked fails the test unless err says that another holds a lock.
func wantLocked(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, processors.ErrLocked) {
		t.Errorf("%s = %v, want ErrLocked", what, err)
	}
}

// wantUnknown fails the test unless err says that a call does not know.
func wantUnknown(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, processors.ErrLocked) {
		t.Errorf("%s = %v, want an error that is not ErrLocked", what, err)
	}
}

// wantNoAnswer fails the test if a call, of a context with time enough, grants
// something or claims to know who holds it.
func wantNoAnswer(t testing.TB, l *redislock.Locker, lock processors.Lock) {
	t.Helper()
	_, err := l.Lock(within(t, time.Second), "free", ttl)
	wantUnknown(t, "Lock", err)
	wantUnknown(t, "Extend", lock.Extend(within(t, time.Second), ttl))
	wantUnknown(t, "Unlock", lock.Unlock(within(t, time.Second)))
}

func TestConformance(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		lockertest.Run(t, func(t testing.TB) (one, other processors.Locker) {
			url, prefix := testdb.NewRedis(t)
			return prefixed(open(t, url), prefix), prefixed(open(t, url), prefix)
		})
	})
	t.Run("three", func(t *testing.T) {
		servers := start(t, 3)
		lockertest.Run(t, func(t testing.TB) (one, other processors.Locker) {
			return prefixed(open(t, servers.urls()...), t.Name()), prefixed(open(t, servers.urls()...), t.Name())
		})
	})
	t.Run("two of three", func(t *testing.T) {
		servers := start(t, 3)
		servers[1].Kill()
		lockertest.Run(t, func(t testing.TB) (one, other processors.Locker) {
			return prefixed(open(t, servers.urls()...), t.Name()), prefixed(open(t, servers.urls()...), t.Name())
		})
	})
}

func prefixed(l *redislock.Locker, prefix string) *redislock.Locker {
	l.Prefix = prefix
	return l
}

// nodes are servers that a test has for itself.
type nodes []*testdb.Server

func start(t testing.TB, n int) nodes {
	t.Helper()
	var all nodes
	for range n {
		all = append(all, testdb.OwnRedis(t))
	}
	return all
}

func (n nodes) urls() []string {
	urls := make([]string, len(n))
	for i, server := range n {
		urls[i] = server.URL
	}
	return urls
}

// Keys begin with the prefix, have an end, and are gone after Unlock.
func TestKeys(t *testing.T) {
	server := testdb.OwnRedis(t)
	for prefix, key := range map[string]string{"": redislock.DefaultPrefix + "a b", "shop:": "shop:a b"} {
		l := prefixed(open(t, server.URL), prefix)
		lock := held(t, l, "a b")
		left, _ := server.Do(t, "PTTL", key).(int64)
		if left < (ttl/2).Milliseconds() || left > (ttl+ttl/50).Milliseconds() {
			t.Errorf("the key %q ends in %d ms, want about %d", key, left, ttl.Milliseconds())
		}
		if err := lock.Unlock(soon(t)); err != nil {
			t.Errorf("Unlock() = %v", err)
		}
	}
	if n := server.Do(t, "DBSIZE"); n != int64(0) {
		t.Errorf("%d keys are left", n)
	}
}

// A holder that trusts its lock for ttl from before its call, by a clock that is
// a hundredth slower than Redis's, has lost it no earlier.
func TestKeyOutlastsItsHolder(t *testing.T) {
	server := testdb.OwnRedis(t)
	l := open(t, server.URL)
	outlasts := func(what string, asked time.Time, ttl time.Duration) {
		t.Helper()
		left, _ := server.Do(t, "PTTL", redislock.DefaultPrefix+"a").(int64)
		if over := asked.Add(ttl + ttl/100); time.Now().Add(time.Duration(left+1) * time.Millisecond).Before(over) {
			t.Errorf("after %s for %s the key ends in %d ms", what, ttl, left)
		}
	}
	asked := time.Now()
	lock := held(t, l, "a")
	outlasts("Lock", asked, ttl)
	for _, ttl := range []time.Duration{time.Hour, time.Minute} {
		asked := time.Now()
		if err := lock.Extend(soon(t), ttl); err != nil {
			t.Fatal(err)
		}
		outlasts("Extend", asked, ttl)
	}
}
