package testdb

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// NewRedis returns the URL of a Redis that other tests use as well, and a
// prefix of keys that only this one uses. They are deleted with the test.
func NewRedis(t testing.TB) (address, prefix string) {
	t.Helper()
	address, prefix = server(t, Redis), newName()+":"
	t.Cleanup(func() {
		if err := deleteKeys(address, prefix); err != nil {
			t.Errorf("testdb: delete the keys %s*: %v", prefix, err)
		}
	})
	return address, prefix
}

// deleteKeys deletes the keys that begin with a prefix.
func deleteKeys(address, prefix string) error {
	return onRedis(address, func(ctx context.Context, client *redis.Client) error {
		keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := client.Del(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	})
}

// OwnRedis starts a Redis for this test alone, which may do to it whatever it
// likes. It keeps nothing on disk: it is empty after Kill and Restart.
func OwnRedis(t testing.TB) *Server {
	t.Helper()
	return Start(t, Redis)
}

// Do lets a Redis do a command that must succeed, and returns its reply.
func (s *Server) Do(t testing.TB, command ...any) any {
	t.Helper()
	var reply any
	err := onRedis(s.URL, func(ctx context.Context, client *redis.Client) (err error) {
		reply, err = client.Do(ctx, command...).Result()
		return err
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("testdb: Redis: %v: %v", command, err)
	}
	return reply
}

// Flush lets a Redis forget all keys.
func (s *Server) Flush(t testing.TB) {
	t.Helper()
	s.Do(t, "FLUSHALL", "SYNC")
}

// Demote makes a Redis a read-only replica of a master that is gone, as one
// that a failover has left behind. It keeps its keys.
func (s *Server) Demote(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // nobody answers there, and nobody else listens
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s.Do(t, "REPLICAOF", "127.0.0.1", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

// Promote ends Demote.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.Do(t, "REPLICAOF", "NO", "ONE")
}

// onRedis calls f with a client that is closed afterwards.
func onRedis(address string, f func(ctx context.Context, client *redis.Client) error) error {
	o, err := redis.ParseURL(address)
	if err != nil {
		return err
	}
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return f(ctx, client)
}
