package processorstest

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// faulty is a processor with a fault: what is set replaces a method of a good
// one.
type faulty struct {
	processors.EntriesProcessor
	site  processors.Site
	claim func(ctx context.Context, p *faulty, n int) (processors.Claim, error)
	run   func(ctx context.Context, p *faulty, site processors.Site, ready func()) error
	fault fault
}

// fault replaces methods of a claim.
type fault struct {
	entries func(e []*reliable.OutboxEntry) []*reliable.OutboxEntry
	token   func(t int64) int64
	at      func(t time.Time) time.Time
	finish  func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error
	inTx    func(ctx context.Context, c *faultyClaim, tx gorm.ConnPool, o reliable.Outcome) error
	asked   func(ctx context.Context, c *faultyClaim, o reliable.Outcome) (bool, error)
	release func(ctx context.Context, c *faultyClaim) error
	lost    func(l <-chan struct{}) <-chan struct{}
}

type faultyClaim struct {
	processors.Claim
	p        *faulty
	finishes int
}

func (p *faulty) Run(ctx context.Context, site processors.Site, ready func()) error {
	p.site = site
	if p.run != nil {
		return p.run(ctx, p, site, ready)
	}
	return p.EntriesProcessor.Run(ctx, site, ready)
}

func (p *faulty) Claim(ctx context.Context, n int) (processors.Claim, error) {
	claim := p.EntriesProcessor.Claim
	if p.claim != nil {
		claim = func(ctx context.Context, n int) (processors.Claim, error) { return p.claim(ctx, p, n) }
	}
	c, err := claim(ctx, n)
	if c == nil || err != nil {
		return nil, err
	}
	return &faultyClaim{Claim: c, p: p}, nil
}

func (p *faulty) exec(statement string) { p.site.DB.Exec(statement) }

func (c *faultyClaim) Entries() []*reliable.OutboxEntry {
	if f := c.p.fault.entries; f != nil {
		return f(c.Claim.Entries())
	}
	return c.Claim.Entries()
}

func (c *faultyClaim) Token() int64 {
	if f := c.p.fault.token; f != nil {
		return f(c.Claim.Token())
	}
	return c.Claim.Token()
}

func (c *faultyClaim) At() time.Time {
	if f := c.p.fault.at; f != nil {
		return f(c.Claim.At())
	}
	return c.Claim.At()
}

func (c *faultyClaim) Finish(ctx context.Context, o []reliable.Outcome) error {
	c.finishes++
	if f := c.p.fault.finish; f != nil {
		return f(ctx, c, o)
	}
	return c.Claim.Finish(ctx, o)
}

func (c *faultyClaim) FinishIn(ctx context.Context, tx gorm.ConnPool, o reliable.Outcome) error {
	if f := c.p.fault.inTx; f != nil {
		return f(ctx, c, tx, o)
	}
	return c.Claim.FinishIn(ctx, tx, o)
}

func (c *faultyClaim) FinishedIn(ctx context.Context, o reliable.Outcome) (bool, error) {
	if f := c.p.fault.asked; f != nil {
		return f(ctx, c, o)
	}
	return c.Claim.FinishedIn(ctx, o)
}

func (c *faultyClaim) Release(ctx context.Context) error {
	if f := c.p.fault.release; f != nil {
		return f(ctx, c)
	}
	return c.Claim.Release(ctx)
}

func (c *faultyClaim) Lost() <-chan struct{} {
	if f := c.p.fault.lost; f != nil {
		return f(c.Claim.Lost())
	}
	return c.Claim.Lost()
}

// empty is a claim of nothing.
type empty struct{ processors.Claim }

func (empty) Entries() []*reliable.OutboxEntry { return nil }
func (empty) Token() int64                     { return 1 }

// stolen is a claim of an entry that was read without asking anybody.
type stolen struct {
	processors.Claim
	entry reliable.OutboxEntry
}

func (c *stolen) Entries() []*reliable.OutboxEntry                 { return []*reliable.OutboxEntry{&c.entry} }
func (c *stolen) Token() int64                                     { return 1 }
func (c *stolen) Finish(context.Context, []reliable.Outcome) error { return nil }
