package redislock_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
)

// A mistake in a URL is told with what to do, and without the URL.
func TestWrongURL(t *testing.T) {
	const secret = "s3cr3t"
	tests := []struct {
		urls string
		want []string
	}{
		{"", []string{"URL 1 of 1 is empty"}},
		{"redis://h:1,", []string{"URL 2 of 2 is empty"}},
		{"h:6379", []string{"does not begin with redis://"}},
		{"127.0.0.1:6379", []string{"can't be read"}},
		{"http://:" + secret + "@h", []string{"does not begin with redis://"}},
		{"redis:///0", []string{"names no host"}},
		{"redis:" + secret, []string{"names no host"}},
		{"redis://:" + secret + "/x@h:1", []string{"can't be read", "percent-encoded"}},
		{"redis://:12/" + secret + "@h:1", []string{"can't be read", "percent-encoded"}},
		{"redis://:12?" + secret + "@h:1", []string{"can't be read"}},
		{"redis://:12#" + secret + "@h:1", []string{"can't be read"}},
		{"redis://:%" + secret + "@h:1", []string{"can't be read"}},
		{"redis://h:1/" + secret, []string{"database that is no number"}},
		{"redis://h:1?" + secret + "=1", []string{"option that go-redis does not know"}},
		{"unix://", []string{"URL 1 of 1"}},
		{"redis://:" + secret + "@h:1,redis://h:2, redis://other@h:1/3", []string{"URL 3 of 3 names the server that URL 1 names"}},
		{"redis://h,redis://h:6379", []string{"URL 2 of 2 names the server that URL 1 names"}},
		{"x://h,,redis://h:1", []string{"URL 1 of 3 does not begin", "URL 2 of 3 is empty"}},
	}
	for _, test := range tests {
		l, err := redislock.FromURL(test.urls)
		if err == nil {
			_ = l.Close()
			t.Errorf("FromURL(%q) = nil error", test.urls)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("FromURL(%q) = %q, want %q in it", test.urls, err, want)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("FromURL(%q) = %q, which tells the password", test.urls, err)
		}
	}
}

func TestFromEnv(t *testing.T) {
	server := testdb.OwnRedis(t)
	for value, want := range map[string]string{"": "REDIS_URL is not set", " ": "REDIS_URL is not set", "nowhere": "REDIS_URL: "} {
		t.Setenv(redislock.Variable, value)
		if _, err := redislock.FromEnv(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "redis://") {
			t.Errorf("FromEnv() with %q = %v, want %q and an example in it", value, err, want)
		}
	}
	t.Setenv(redislock.Variable, server.URL)
	l, err := redislock.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	held(t, l, "a")
	if err := l.Check(soon(t)); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	wantUnknown(t, "Lock after Close", second(l.Lock(soon(t), "b", ttl)))
}

// A wrong password and a server that is not there are told by Check, and give
// no locks.
func TestWrongServer(t *testing.T) {
	server := testdb.OwnRedis(t)
	server.Do(t, "CONFIG", "SET", "requirepass", "right")
	with := func(password string) string { return strings.Replace(server.URL, "//", "//:"+password+"@", 1) }
	if err := open(t, with("right")).Check(soon(t)); err != nil {
		t.Errorf("Check() with the password = %v", err)
	}
	gone := testdb.OwnRedis(t)
	gone.Kill()
	for url, want := range map[string]string{server.URL: "NOAUTH", with("wr0ng"): "WRONGPASS", gone.URL: "refused"} {
		l := open(t, url)
		wantUnknown(t, "Lock", second(l.Lock(soon(t), "a", ttl)))
		err := l.Check(soon(t))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("Check() = %v, want %s in it, and no password", err, want)
		}
	}
}

// Clients that would not end with a call's context are refused, all at once.
func TestWrongClients(t *testing.T) {
	if _, err := redislock.New(); err == nil {
		t.Error("New() without clients = nil error")
	}
	deaf := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer func() { _ = deaf.Close() }()
	heard := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true})
	defer func() { _ = heard.Close() }()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer func() { _ = cluster.Close() }()
	_, err := redislock.New(heard, deaf, nil, cluster)
	if err == nil {
		t.Fatal("New() = nil error")
	}
	for _, want := range []string{"client 2: it does not end", "client 3: it is nil", "client 4: it does not end"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %q, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), "client 1") {
		t.Errorf("New() = %q, which blames a client that is right", err)
	}
	if _, err := redislock.New(heard); err != nil {
		t.Errorf("New() = %v", err)
	}
}
