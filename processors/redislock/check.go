package redislock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/go-redsync/redsync/v4"
)

// Check takes a lock that nobody else wants from each node, and gives it back.
// It returns an error that names each node that can't do so: it does not
// answer, refuses the password, or is a replica. A program may call it at its
// start; a Locker works as long as more than half of its nodes do.
func (l *Locker) Check(ctx context.Context) error {
	results := make(chan error)
	for i, n := range l.nodes {
		go func() { results <- l.check(ctx, i, n) }()
	}
	var errs []error
	for range l.nodes {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// check is Check of one node, asked even if it rests.
func (l *Locker) check(ctx context.Context, i int, n *node) error {
	alone := &Locker{Prefix: l.Prefix, Timeout: l.Timeout, nodes: []*node{newNode(n.client)}}
	alone.sync = redsync.New(alone.nodes[0])
	held, err := alone.Lock(ctx, "check:"+rand.Text(), time.Minute)
	if err == nil {
		err = held.Unlock(ctx)
	}
	if err != nil {
		return fmt.Errorf("redislock: node #%d can't be used: %w", i, err)
	}
	return nil
}
