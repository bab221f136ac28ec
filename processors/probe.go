package processors

import "context"

// The loops that [Site.Beat] is told of.
const (
	loopLease        = "lease"
	loopClaim        = "claim"
	loopHousekeeping = "housekeeping"
	loopLocks        = "locks"
)

var (
	_ Prober = (*NonOrdered)(nil)
	_ Prober = (*OrderedByCausalityKey)(nil)
)

// Probe implements [Prober]: it writes the worker's own row as it is. The lease
// is not renewed by that.
func (p *NonOrdered) Probe(ctx context.Context) error {
	if err := p.awaitStart(ctx); err != nil {
		return err
	}
	_, err := p.pool.ExecContext(ctx, p.q.probe, p.id())
	return err
}

// Probe implements [Prober].
func (p *OrderedByCausalityKey) Probe(ctx context.Context) error { return p.base.Probe(ctx) }
