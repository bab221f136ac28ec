// Package redislock is a [processors.Locker] whose locks are keys in Redis, or
// in a majority of several Redis servers that know nothing of each other.
//
//	locker, err := redislock.FromEnv() // REDIS_URL
//	if err != nil {
//		return err
//	}
//	defer locker.Close()
//	locker.Prefix = "shop:"
//
// Its locks spare workers from meeting at the database. They are no proof that
// one worker alone works: Redis ends them by a clock that may be set, forgets
// them when it is restarted or fails over, and has no fencing tokens. The
// database fences what they are for, so that none of it does harm.
package redislock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// The settings of a Locker whose fields are zero.
const (
	DefaultPrefix  = "aftercommit:lock:"
	DefaultTimeout = time.Second
)

// drift is the part of a lock's time by which Redis's clock may be faster.
const drift = 0.01

// Locker implements [processors.Locker]. It is made by New, FromURL or
// FromEnv; its fields are set before its first use. All methods may be called
// from any goroutine.
type Locker struct {
	// Prefix is what the names of the keys begin with, before the names of the
	// locks. Zero is DefaultPrefix. Workers on the same database must have the
	// same, those on different ones different prefixes.
	Prefix string

	// Timeout is how long one node is waited for. Zero is DefaultTimeout.
	// The deadline of a call's context ends it earlier.
	Timeout time.Duration

	nodes []*node
	sync  *redsync.Redsync
	owned []redis.UniversalClient // Close closes them
}

// New returns a Locker on clients, each of an independent server, cluster or
// group of replicas. A lock is held by whom more than half of them have given
// it, so that of three one may be down, of two none.
//
// The clients remain the caller's, who closes them after the last call. Their
// ContextTimeoutEnabled must be set: without it, a call does not end with its
// context. They should not retry (MaxRetries -1): what is lost on the way to
// Redis would look as if another held it. The error names all mistakes.
func New(clients ...redis.UniversalClient) (*Locker, error) {
	if len(clients) == 0 {
		return nil, errors.New("redislock: no client: give one for each Redis")
	}
	l := new(Locker)
	var mistakes []error
	pools := make([]redsyncredis.Pool, len(clients))
	for i, client := range clients {
		if err := usable(client); err != nil {
			mistakes = append(mistakes, fmt.Errorf("redislock: client %d: %w", i+1, err))
			continue
		}
		l.nodes = append(l.nodes, newNode(client))
		pools[i] = l.nodes[len(l.nodes)-1]
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	l.sync = redsync.New(pools...)
	return l, nil
}

// usable returns why a client can't be used.
func usable(client redis.UniversalClient) error {
	timeouts := true
	switch c := client.(type) {
	case nil:
		return errors.New("it is nil")
	case *redis.Client:
		timeouts = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		timeouts = c != nil && c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		timeouts = c != nil && c.Options().ContextTimeoutEnabled
	}
	if !timeouts {
		return errors.New("it does not end with its context: make it with ContextTimeoutEnabled")
	}
	return nil
}

// Close closes the clients that FromURL or FromEnv made.
func (l *Locker) Close() error {
	var errs []error
	for _, client := range l.owned {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}

// Lock implements [processors.Locker]. It asks all nodes at once, each once.
// If it gets no majority, it gives back what it got.
func (l *Locker) Lock(ctx context.Context, name string, ttl time.Duration) (processors.Lock, error) {
	wait := l.wait(ctx, ttl, 2) // half the time is for giving back
	m := l.mutex(name, ttl, redsync.WithTimeoutFactor(float64(wait)/float64(lasting(ttl))))
	if err := m.TryLockContext(ctx); err != nil {
		return nil, l.refusal("lock", name, err)
	}
	l.settled(true)
	return &lock{locker: l, name: name, value: m.Value()}, nil
}

// mutex returns redsync's view of a lock. It is for one call: a redsync.Mutex
// has one expiry, and is not safe for several goroutines.
func (l *Locker) mutex(name string, ttl time.Duration, options ...redsync.Option) *redsync.Mutex {
	options = append(options, redsync.WithExpiry(lasting(ttl)), redsync.WithTries(1), redsync.WithDriftFactor(drift))
	return l.sync.NewMutex(cmp.Or(l.Prefix, DefaultPrefix)+name, options...)
}

// lasting returns for how long a key is kept in Redis, so that its holder can
// count on ttl by its own clock. Redis counts whole milliseconds.
func lasting(ttl time.Duration) time.Duration {
	return ttl + time.Duration(float64(ttl)*drift) + 2*time.Millisecond
}

// wait returns how long nodes are waited for, of what a context leaves for so
// many steps. Later than ttl, an answer is worth nothing.
func (l *Locker) wait(ctx context.Context, ttl time.Duration, steps int) time.Duration {
	wait := min(cmp.Or(l.Timeout, DefaultTimeout), ttl)
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/time.Duration(steps))
	}
	return max(wait, 0)
}

// settled lets nodes rest that were late, if a majority has decided without
// them.
func (l *Locker) settled(decided bool) {
	for _, n := range l.nodes {
		n.settled(decided)
	}
}

// refusal returns the error of a call that no majority has granted. It is
// ErrLocked if so many nodes said no that the others could not make a
// majority, whatever they would say.
func (l *Locker) refusal(what, name string, err error) error {
	majority := len(l.nodes)/2 + 1
	decided := noes(err) > len(l.nodes)-majority
	l.settled(decided)
	if decided {
		err = fmt.Errorf("%w: %w", processors.ErrLocked, err)
	}
	return fmt.Errorf("redislock: %s %q: %w", what, name, err)
}

// noes returns how many nodes answered that the lock is another's, or gone.
func noes(err error) int {
	switch e := err.(type) { //nolint:errorlint // it looks at each error of the tree once
	case *redsync.ErrTaken:
		return len(e.Nodes)
	case *redsync.ErrNodeTaken:
		return 1
	case interface{ Unwrap() []error }:
		n := 0
		for _, err := range e.Unwrap() {
			n += noes(err)
		}
		return n
	default:
		if errors.Is(err, redsync.ErrLockAlreadyExpired) {
			return 1
		}
		return 0
	}
}
