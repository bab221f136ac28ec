package redislock

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Variable is the environment variable that FromEnv reads.
const Variable = "REDIS_URL"

const example = "redis://user:password@127.0.0.1:6379/0"

// FromEnv is FromURL with what the environment variable REDIS_URL holds. That
// it is missing or empty is an error.
func FromEnv() (*Locker, error) {
	urls := os.Getenv(Variable)
	if strings.TrimSpace(urls) == "" {
		return nil, fmt.Errorf("redislock: %s is not set: set it to the URL of a Redis (example: %s), or use no Locker", Variable, example)
	}
	l, err := FromURL(urls)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	return l, nil
}

// FromURL returns a Locker on the Redis that a URL names, or on the majority
// of several independent ones, whose URLs are separated by commas. Close closes
// their connections. Nothing is connected to yet: Check does.
//
// A URL is redis://user:password@host:port/database, with rediss for TLS, or
// unix://user:password@/path?db=database. What is not a letter or a digit in
// user and password is percent-encoded. Options of go-redis's ParseURL may
// follow; dial_timeout, read_timeout and write_timeout are one second if they
// are not given, and there are no retries.
//
// The error names all mistakes. It has no part of a URL in it, since any part
// may be of a password.
func FromURL(urls string) (*Locker, error) {
	all := strings.Split(urls, ",")
	var mistakes []error
	var options []*redis.Options
	first := make(map[string]int) // number of the URL by its server
	for i, text := range all {
		number := fmt.Sprintf("URL %d of %d", i+1, len(all))
		o, err := parse(strings.TrimSpace(text))
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("redislock: %s %w", number, err))
			continue
		}
		if before, ok := first[o.Addr]; ok {
			mistakes = append(mistakes, fmt.Errorf("redislock: %s names the server that URL %d names: give each once, or only one", number, before))
			continue
		}
		first[o.Addr] = i + 1
		options = append(options, o)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	clients := make([]redis.UniversalClient, len(options))
	for i, o := range options {
		clients[i] = redis.NewClient(o)
	}
	l, err := New(clients...)
	if err != nil {
		return nil, err
	}
	l.owned = clients
	return l, nil
}

// parse returns the options that a URL says, with an end to everything.
func parse(text string) (*redis.Options, error) {
	if text == "" {
		return nil, fmt.Errorf("is empty: want one like %s", example)
	}
	u, err := url.Parse(text)
	if err != nil || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		// url's own error quotes, and a password with / or ? in it is taken for a path.
		return nil, fmt.Errorf("can't be read: want one like %s, with special characters of the password percent-encoded", example)
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, fmt.Errorf("does not begin with redis://, rediss:// or unix://: want one like %s", example)
	}
	if u.Host == "" && u.Scheme != "unix" { // go-redis takes localhost for granted
		return nil, fmt.Errorf("names no host: want one like %s", example)
	}
	o, err := redis.ParseURL(text)
	if err != nil {
		return nil, fmt.Errorf("has a database that is no number, or an option that go-redis does not know: want one like %s", example)
	}
	o.DialTimeout = cmp.Or(o.DialTimeout, time.Second)
	o.ReadTimeout = cmp.Or(o.ReadTimeout, time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, time.Second)
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DisableIdentity = true
	// Locks are asked for again after a failover: nothing is gained by hearing of it.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}
