package redislock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Evictions returns the setting maxmemory-policy of each node, in their order:
// what it does with keys when its memory is full. Locks need "noeviction". The
// error names each node that does not tell; what others told is returned, too,
// with "" for those.
func (l *Locker) Evictions(ctx context.Context) (policies []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.Timeout, DefaultTimeout))
	defer cancel()
	policies = make([]string, len(l.nodes))
	errs := make([]error, len(l.nodes))
	answered := make(chan struct{})
	for i, n := range l.nodes {
		go func() {
			defer func() { answered <- struct{}{} }()
			var err error
			if policies[i], err = n.eviction(ctx); err != nil {
				errs[i] = fmt.Errorf("redislock: node #%d: %w", i, err)
			}
		}()
	}
	for range l.nodes {
		<-answered
	}
	return policies, errors.Join(errs...)
}

// EvictionsOf is Evictions of the Redis that urls name, as [FromURL] takes
// them. No connection stays open.
func EvictionsOf(ctx context.Context, urls string) (policies []string, err error) {
	l, err := FromURL(urls)
	if err != nil {
		return nil, err
	}
	policies, err = l.Evictions(ctx)
	return policies, errors.Join(err, l.Close())
}

// eviction reads it from INFO, which servers answer that refuse CONFIG.
func (n *node) eviction(ctx context.Context) (string, error) {
	text, err := n.client.Info(ctx, "memory").Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if policy, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
			return strings.TrimSpace(policy), nil
		}
	}
	return "", errors.New("INFO memory shows no maxmemory_policy")
}
