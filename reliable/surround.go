package reliable

import (
	"context"
	"fmt"
)

// surround puts the registry's middleware around next, and Around around that.
func (b *Batch) surround(ctx context.Context, a Attempt, next func(context.Context) error) error {
	chain := b.plugin.cfg.Registry.middleware
	for i := len(chain) - 1; i >= 0; i-- {
		mw, inner := chain[i], next
		next = func(ctx context.Context) error {
			called := false
			err := mw(ctx, a, func(ctx context.Context) error {
				called = true
				return inner(ctx)
			})
			if err == nil && !called {
				return fmt.Errorf("middleware %d returned without calling next", i+1)
			}
			return err
		}
	}
	if b.Around != nil {
		return b.Around(ctx, a, next)
	}
	return next(ctx)
}
