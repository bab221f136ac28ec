package redislock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// rest is how long a node is not asked that was late when a majority was not.
const rest = time.Second

// node is one Redis. It implements redsync's Pool.
//
// All nodes are asked at once and waited for, so that no goroutine is left
// behind. One that does not answer would make every call last as long as the
// Timeout; so it rests, if the others can do without it.
type node struct {
	client redis.UniversalClient
	pool   redsyncredis.Pool

	mu    sync.Mutex
	late  bool      // it was too late for a call that may still be granted
	until time.Time // it rests
}

func newNode(client redis.UniversalClient) *node {
	return &node{client: client, pool: goredis.NewPool(client)}
}

// Get implements redsync's Pool.
func (n *node) Get(ctx context.Context) (redsyncredis.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	pause := time.Until(n.until)
	n.mu.Unlock()
	if pause > 0 {
		return nil, fmt.Errorf("it was late and is not asked for %s", pause)
	}
	c, err := n.pool.Get(ctx)
	if err != nil {
		return nil, err
	}
	return conn{c, n}, nil
}

// heard notes what came of asking.
func (n *node) heard(err error) {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.late = true
	}
}

// settled is called after each call of a Locker. A node that was late rests if
// a majority has decided without it; if not, it can't be spared.
func (n *node) settled(decided bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.late && decided {
		n.until = time.Now().Add(rest)
	}
	n.late = false
}

// conn is a connection of which the node hears.
type conn struct {
	redsyncredis.Conn
	node *node
}

// SetNX implements redsync's Conn.
func (c conn) SetNX(name, value string, expiry time.Duration) (bool, error) {
	ok, err := c.Conn.SetNX(name, value, expiry)
	c.node.heard(err)
	return ok, err
}

// Eval implements redsync's Conn.
func (c conn) Eval(script *redsyncredis.Script, keysAndArgs ...any) (any, error) {
	reply, err := c.Conn.Eval(script, keysAndArgs...)
	c.node.heard(err)
	return reply, err
}
