package redislock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
)

// again takes a lock as soon as that works: connections and nodes come back by
// themselves.
func again(t *testing.T, l *redislock.Locker, name string) {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		lock, err := l.Lock(soon(t), name, 5*time.Second) // one that nobody hears of ends soon
		if err == nil {
			err = lock.Extend(soon(t), ttl)
		}
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("Lock(%q) still fails: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// What is forgotten is lost, and says so; it is never taken again silently.
func TestFlushed(t *testing.T) {
	server := testdb.OwnRedis(t)
	l := open(t, server.URL)
	lock := held(t, l, "a")
	server.Flush(t)
	wantLocked(t, "Extend", lock.Extend(soon(t), ttl))
	wantLocked(t, "Unlock", lock.Unlock(soon(t)))
	held(t, open(t, server.URL), "a")
	wantLocked(t, "Extend of another's", lock.Extend(soon(t), ttl))
}

func TestKilled(t *testing.T) {
	server := testdb.OwnRedis(t)
	l := open(t, server.URL)
	lock := held(t, l, "a")
	server.Kill()
	wantNoAnswer(t, l, lock)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	again(t, l, "b")
	wantLocked(t, "Extend after the restart", lock.Extend(soon(t), ttl))
	again(t, l, "a")
}

func TestPaused(t *testing.T) {
	server := testdb.OwnRedis(t)
	l := open(t, server.URL)
	lock := held(t, l, "a")
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lock(within(t, 300*time.Millisecond), "b", ttl); err == nil {
		t.Error("a paused Redis gave a lock")
	}
	wantUnknown(t, "Extend", lock.Extend(within(t, 300*time.Millisecond), ttl))
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := lock.Extend(soon(t), ttl); err != nil {
		t.Errorf("Extend after the pause = %v", err)
	}
	again(t, l, "c")
}

// Behind a black hole, and with connections that are cut, no call grants
// anything; nor does a late answer meet the question of another call.
func TestPartitioned(t *testing.T) {
	server := testdb.OwnRedis(t)
	between := proxy.Start(t, testdb.Redis, server.URL)
	l := open(t, between.URL(server.URL))
	lock := held(t, l, "a")
	between.Pause()
	wantNoAnswer(t, l, lock)
	between.Cut()
	wantNoAnswer(t, l, lock)
	between.Resume()
	again(t, l, "b")
	wantLocked(t, "Lock of what is held", second(l.Lock(soon(t), "b", ttl)))
}

// An answer that comes after five seconds is too late for a call that ends
// earlier. The context is what ends it, whatever the Timeout.
func TestLatency(t *testing.T) {
	server := testdb.OwnRedis(t)
	between := proxy.Start(t, testdb.Redis, server.URL)
	l := open(t, between.URL(server.URL))
	lock := held(t, l, "a")
	between.Delay(5 * time.Second)
	wantNoAnswer(t, l, lock)
	l.Timeout = time.Second
	_, err := l.Lock(soon(t), "c", ttl)
	wantUnknown(t, "Lock", err)
	between.Delay(0)
	between.Cut()
	again(t, l, "b")
}

// A call returns when its context ends, though Redis never answers.
func TestEveryCallEndsWithItsContext(t *testing.T) {
	server := testdb.OwnRedis(t)
	between := proxy.Start(t, testdb.Redis, server.URL)
	l := open(t, between.URL(server.URL))
	l.Timeout = time.Hour
	lock := held(t, l, "a")
	between.Pause()
	calls := map[string]func(ctx context.Context) error{
		"Lock":   func(ctx context.Context) error { return second(l.Lock(ctx, "b", ttl)) },
		"Extend": func(ctx context.Context) error { return lock.Extend(ctx, ttl) },
		"Unlock": lock.Unlock,
		"Check":  l.Check,
	}
	for name, call := range calls {
		ended := make(chan error)
		go func() { ended <- call(within(t, 300*time.Millisecond)) }()
		select {
		case err := <-ended:
			wantUnknown(t, name, err)
		case <-time.After(30 * time.Second):
			t.Fatalf("%s goes on after its context", name)
		}
	}
}

// second returns an error, without what it is about.
func second[T any](_ T, err error) error { return err }

// A replica can't give locks; what was lost with the failover can't be known.
func TestReplica(t *testing.T) {
	server := testdb.OwnRedis(t)
	l := open(t, server.URL)
	lock := held(t, l, "a")
	server.Demote(t)
	wantNoAnswer(t, l, lock)
	if err := l.Check(soon(t)); err == nil {
		t.Error("Check() of a replica = nil")
	}
	server.Promote(t)
	if err := lock.Extend(soon(t), ttl); err != nil {
		t.Errorf("Extend after the replica was promoted = %v", err)
	}
	again(t, l, "b")
}

// A majority is enough, and needed.
func TestQuorum(t *testing.T) {
	servers := start(t, 3)
	l, other := open(t, servers.urls()...), open(t, servers.urls()...)
	lock := held(t, l, "a")
	servers[0].Kill()
	wantLocked(t, "Lock of what is held", second(other.Lock(soon(t), "a", ttl)))
	if err := lock.Extend(soon(t), ttl); err != nil {
		t.Errorf("Extend on two of three = %v", err)
	}
	if err := l.Check(soon(t)); err == nil {
		t.Error("Check() with a dead node = nil")
	}
	if err := servers[0].Restart(); err != nil {
		t.Fatal(err)
	}
	again(t, l, "b")
	wantLocked(t, "Lock with a node that forgot it", second(other.Lock(soon(t), "a", ttl)))
	if err := lock.Extend(soon(t), ttl); err != nil {
		t.Errorf("Extend with a node that forgot it = %v", err)
	}
	servers[1].Flush(t)
	wantLocked(t, "Extend with two nodes that forgot it", lock.Extend(soon(t), ttl))

	rest := held(t, l, "c")
	servers[1].Kill()
	servers[2].Kill()
	wantNoAnswer(t, l, rest)
}

// A lock that did not get a majority is given back where it was had, though
// the call ended while it waited for the others.
func TestMinorityIsGivenBack(t *testing.T) {
	servers := start(t, 3)
	urls := servers.urls()
	urls[2] += "?read_timeout=1m" // so that the call is what ends
	l := open(t, urls...)
	held(t, l, "b")
	servers[0].Flush(t)
	servers[1].Kill()
	if err := servers[2].Pause(); err != nil {
		t.Fatal(err)
	}
	wantUnknown(t, "Lock on one of three", second(l.Lock(within(t, 4*time.Second), "a", ttl)))
	if n := servers[0].Do(t, "DBSIZE"); n != int64(0) {
		t.Errorf("%d keys are left on the node that gave the lock", n)
	}
}

// A lock that Redis has given, and of which the answer was lost, is not taken
// for another's: nothing is asked twice.
func TestLostAnswer(t *testing.T) {
	server := testdb.OwnRedis(t)
	between := proxy.Start(t, testdb.Redis, server.URL)
	l := open(t, between.URL(server.URL))
	lock := held(t, l, "a")
	cut := func() {
		if !between.CutOne(func(n int) int { return n - 1 }, true) {
			t.Error("there is no connection")
		}
	}
	cut()
	wantUnknown(t, "Lock without an answer", second(l.Lock(soon(t), "b", ttl)))
	again(t, l, "b")
	cut()
	wantUnknown(t, "Unlock without an answer", lock.Unlock(soon(t)))
	wantLocked(t, "Unlock again", lock.Unlock(soon(t)))
}

// Nodes that are split between two have given the lock to none.
func TestSplit(t *testing.T) {
	servers := start(t, 3)
	for i, holder := range []string{"x", "y"} {
		servers[i].Do(t, "SET", redislock.DefaultPrefix+"a", holder)
	}
	wantLocked(t, "Lock", second(open(t, servers.urls()...).Lock(soon(t), "a", ttl)))
	servers[1].Kill()
	wantUnknown(t, "Lock of what one holds of three, with one dead", second(open(t, servers.urls()...).Lock(soon(t), "a", ttl)))
}

// counted counts the commands that a client is given.
type counted struct{ commands atomic.Int64 }

func (*counted) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		c.commands.Add(1)
		return next(ctx, command)
	}
}

func (*counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A node that is late is left alone for a while, and asked again after it.
func TestLateNodeRests(t *testing.T) {
	servers := start(t, 3)
	between := proxy.Start(t, testdb.Redis, servers[2].URL)
	urls, asked := servers.urls(), new(counted)
	urls[2] = between.URL(urls[2])
	var clients []redis.UniversalClient
	for _, url := range urls {
		o, err := redis.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		o.ContextTimeoutEnabled, o.MaxRetries = true, -1
		client := redis.NewClient(o)
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	clients[2].AddHook(asked)
	l, err := redislock.New(clients...)
	if err != nil {
		t.Fatal(err)
	}
	l.Timeout = 10 * time.Second
	lock := held(t, l, "a")
	l.Timeout = time.Second
	between.Pause()
	ctx := within(t, 30*time.Second)
	for before := int64(-1); before != asked.commands.Load(); { // until an Extend does without it
		before = asked.commands.Load()
		if err := lock.Extend(ctx, ttl); err != nil {
			t.Fatalf("Extend with a late node, %d times asked = %v", before, err)
		}
	}
	between.Resume()
	servers[0].Kill()
	again(t, l, "b") // needs the node
}
