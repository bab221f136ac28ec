package redislock_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
)

// Each node tells what it does with keys when its memory is full; one that does
// not answer is named.
func TestEvictions(t *testing.T) {
	first, second := testdb.OwnRedis(t), testdb.OwnRedis(t)
	second.Do(t, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	l := open(t, first.URL, second.URL)
	if got, err := l.Evictions(soon(t)); err != nil || !slices.Equal(got, []string{"noeviction", "allkeys-lru"}) {
		t.Errorf("Evictions() = %q, %v, want those of both", got, err)
	}
	if got, err := redislock.EvictionsOf(soon(t), second.URL); err != nil || !slices.Equal(got, []string{"allkeys-lru"}) {
		t.Errorf("EvictionsOf() = %q, %v, want that of the second", got, err)
	}
	if _, err := redislock.EvictionsOf(soon(t), "http://secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("EvictionsOf() = %v, want an error without the URL", err)
	}
	first.Kill()
	got, err := l.Evictions(soon(t))
	if err == nil || !strings.Contains(err.Error(), "node #0") || strings.Contains(err.Error(), "node #1") || !slices.Equal(got, []string{"", "allkeys-lru"}) {
		t.Errorf("Evictions() = %q, %v, want an error of node #0, and the other's", got, err)
	}
}
