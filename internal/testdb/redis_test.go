package testdb_test

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Each test has a prefix of its own, and no key of it is left.
func TestNewRedis(t *testing.T) {
	var client *redis.Client
	var prefixes []string
	for range 2 {
		t.Run("prefix", func(t *testing.T) {
			address, prefix := testdb.NewRedis(t)
			prefixes = append(prefixes, prefix)
			if client == nil {
				client = connect(t, address)
			}
			if err := client.Set(context.Background(), prefix+"key", 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
	defer func() { _ = client.Close() }()
	if prefixes[0] == prefixes[1] {
		t.Errorf("two tests have the prefix %q", prefixes[0])
	}
	if n, err := client.Exists(t.Context(), prefixes[0]+"key", prefixes[1]+"key").Result(); n != 0 || err != nil {
		t.Errorf("%d keys are left, %v", n, err)
	}
}

func connect(t *testing.T, address string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	return redis.NewClient(o)
}

// A Redis of a test's own forgets and takes no writes when the test wants it.
func TestOwnRedis(t *testing.T) {
	server := testdb.OwnRedis(t)
	set := func() { server.Do(t, "SET", "key", "value") }
	get := func() any { return server.Do(t, "GET", "key") }
	set()
	if got := get(); got != "value" {
		t.Fatalf("the key is %v", got)
	}
	server.Flush(t)
	if got := get(); got != nil {
		t.Errorf("after Flush the key is %v", got)
	}
	set()
	server.Demote(t)
	client := connect(t, server.URL)
	defer func() { _ = client.Close() }()
	if err := client.Set(t.Context(), "key", "other", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
		t.Errorf("a write after Demote: %v, want READONLY", err)
	}
	if got := get(); got != "value" {
		t.Errorf("after Demote the key is %v", got)
	}
	server.Promote(t)
	set()
	server.Kill()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != nil {
		t.Errorf("after Restart the key is %v", got)
	}
}
