package processorstest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// faults returns, by the check that must find it, processors with a fault.
func faults() map[string][]faulty {
	altered := func(change func(o *reliable.Outcome)) fault {
		return fault{finish: func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error {
			o = slices.Clone(o)
			for i := range o {
				change(&o[i])
			}
			return c.Claim.Finish(ctx, o)
		}}
	}
	afterRelease := func(statement string) fault {
		return fault{release: func(ctx context.Context, c *faultyClaim) error {
			defer c.p.exec(statement)
			return c.Claim.Release(ctx)
		}}
	}
	return map[string][]faulty{
		"nothing due": {{claim: func(context.Context, *faulty, int) (processors.Claim, error) { return empty{}, nil }}},
		"batches": {
			{claim: func(ctx context.Context, p *faulty, n int) (processors.Claim, error) {
				return p.EntriesProcessor.Claim(ctx, n+1)
			}},
			{fault: fault{entries: func(e []*reliable.OutboxEntry) []*reliable.OutboxEntry {
				e = slices.Clone(e)
				slices.Reverse(e)
				return e
			}}},
			{fault: fault{entries: func(e []*reliable.OutboxEntry) []*reliable.OutboxEntry { return e[:1] }}},
			{fault: fault{at: func(time.Time) time.Time { return time.Time{} }}},
		},
		"held once": {{claim: func(ctx context.Context, p *faulty, n int) (processors.Claim, error) {
			defer p.exec("DELETE FROM outbox_claims")
			return p.EntriesProcessor.Claim(ctx, n)
		}}},
		"tokens":      {{fault: fault{token: func(int64) int64 { return 7 }}}},
		"not covered": {{claim: theftOf("context = 'other'")}},
		"cancelled": {{claim: func(ctx context.Context, p *faulty, n int) (processors.Claim, error) {
			c, err := p.EntriesProcessor.Claim(context.WithoutCancel(ctx), n)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return c, err
		}}},
		"finish": {
			{fault: fault{finish: func(context.Context, *faultyClaim, []reliable.Outcome) error { return nil }}},
			{fault: altered(func(o *reliable.Outcome) { o.State = reliable.StateRetry })},
		},
		"finish repeated": {
			{fault: fault{finish: func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error {
				if c.finishes > 1 {
					c.p.exec("UPDATE outbox_entries SET attempts = attempts + 1")
				}
				return c.Claim.Finish(ctx, o)
			}}},
			{fault: fault{finish: func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error {
				if c.finishes > 1 {
					return reliable.ErrLeaseLost
				}
				return c.Claim.Finish(ctx, o)
			}}},
		},
		"finish fenced": {
			{fault: fault{finish: func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error {
				if err := c.Claim.Finish(ctx, o); !errors.Is(err, reliable.ErrLeaseLost) {
					return err
				}
				return nil
			}}},
			{fault: fault{finish: func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error {
				err := c.Claim.Finish(ctx, o)
				if errors.Is(err, reliable.ErrLeaseLost) {
					c.p.exec("UPDATE outbox_entries SET error_message = 'late'")
				}
				return err
			}}},
		},
		"finish of many": {{fault: fault{finish: func(ctx context.Context, c *faultyClaim, o []reliable.Outcome) error {
			return c.Claim.Finish(ctx, o[:len(o)/2])
		}}}},
		"finish in a transaction": {
			{fault: fault{inTx: func(context.Context, *faultyClaim, gorm.ConnPool, reliable.Outcome) error { return nil }}},
			{fault: fault{asked: func(context.Context, *faultyClaim, reliable.Outcome) (bool, error) { return false, nil }}},
			{fault: fault{inTx: func(ctx context.Context, c *faultyClaim, tx gorm.ConnPool, o reliable.Outcome) error {
				if o.State != reliable.StateDone {
					return nil
				}
				return c.Claim.FinishIn(ctx, tx, o)
			}}},
		},
		"rollback": {
			{fault: fault{asked: func(context.Context, *faultyClaim, reliable.Outcome) (bool, error) { return true, nil }}},
			{fault: fault{inTx: func(ctx context.Context, c *faultyClaim, _ gorm.ConnPool, o reliable.Outcome) error {
				return c.Claim.Finish(ctx, []reliable.Outcome{o})
			}}},
		},
		"transaction fenced": {
			{fault: fault{inTx: func(ctx context.Context, c *faultyClaim, tx gorm.ConnPool, o reliable.Outcome) error {
				if err := c.Claim.FinishIn(ctx, tx, o); !errors.Is(err, reliable.ErrLeaseLost) {
					return err
				}
				return nil
			}}},
			{fault: fault{asked: func(context.Context, *faultyClaim, reliable.Outcome) (bool, error) { return true, nil }}},
		},
		"retry": {
			{fault: altered(func(o *reliable.Outcome) { o.Attempts = 0 })},
			{fault: altered(func(o *reliable.Outcome) { o.Callbacks = nil })},
			{fault: altered(func(o *reliable.Outcome) { o.RetryAt = o.RetryAt.Add(time.Hour) })},
			{fault: altered(func(o *reliable.Outcome) { o.State = reliable.StateDone })},
		},
		"snooze": {
			{fault: altered(func(o *reliable.Outcome) { o.Attempts++ })},
			{fault: altered(func(o *reliable.Outcome) { o.RetryAt = o.RetryAt.Add(-2 * time.Hour) })},
		},
		"dead": {
			{fault: altered(func(o *reliable.Outcome) {
				if o.State == reliable.StateDead {
					o.State, o.RetryAt = reliable.StateRetry, time.Now().Add(-time.Hour)
				}
			})},
			{fault: altered(func(o *reliable.Outcome) {
				if o.State == reliable.StateDead {
					o.State = reliable.StateDone
				}
			})},
			{claim: theftOf("dead_at IS NOT NULL")},
		},
		"release": {
			{fault: fault{release: func(context.Context, *faultyClaim) error { return nil }}},
			{fault: afterRelease("UPDATE outbox_entries SET attempts = attempts + 1")},
			{fault: afterRelease("UPDATE outbox_entries SET suspect = true, retry_at = created_at")},
		},
		"release of the rest": {
			{fault: fault{release: func(context.Context, *faultyClaim) error { return nil }}},
			{fault: fault{release: func(ctx context.Context, c *faultyClaim) error {
				_ = c.Claim.Finish(ctx, outcomes(c.Claim.Entries(), nil))
				return c.Claim.Release(ctx)
			}}},
		},
		"renewal": {{run: func(ctx context.Context, p *faulty, site processors.Site, ready func()) error {
			return p.EntriesProcessor.Run(ctx, site, func() {
				p.exec("DELETE FROM outbox_workers") // once: nobody renews it
				ready()
			})
		}}},
		"lost": {
			{fault: fault{lost: func(<-chan struct{}) <-chan struct{} { return nil }}},
			{claim: once()},
		},
		"take-over": {{claim: once()}, {fault: fault{token: func(t int64) int64 { return -t }}}},
		"end": {
			{run: func(ctx context.Context, p *faulty, site processors.Site, ready func()) error {
				_ = p.EntriesProcessor.Run(ctx, site, ready)
				return ctx.Err()
			}},
			{run: func(ctx context.Context, p *faulty, site processors.Site, ready func()) error {
				defer p.exec("INSERT INTO outbox_workers (id, processor, lease_ms, threads, hostname, pid) VALUES ('x', 'x', 60000, 1, 'x', 1)")
				return p.EntriesProcessor.Run(ctx, site, ready)
			}},
			{run: func(ctx context.Context, p *faulty, site processors.Site, ready func()) error {
				err := p.EntriesProcessor.Run(ctx, site, ready)
				<-site.DB.Statement.Context.Done() // deaf: see TestFaultsAreFound
				return err
			}},
		},
		"no tables": {
			{run: func(ctx context.Context, _ *faulty, _ processors.Site, _ func()) error { <-ctx.Done(); return nil }},
			{run: func(context.Context, *faulty, processors.Site, func()) error { return nil }},
		},
	}
}

// theftOf claims an entry that is nobody's to claim.
func theftOf(where string) func(context.Context, *faulty, int) (processors.Claim, error) {
	return func(ctx context.Context, p *faulty, n int) (processors.Claim, error) {
		var row struct {
			ID      int64
			Context string
		}
		found := p.site.DB.Raw("SELECT id, context FROM outbox_entries WHERE " + where + " LIMIT 1").Scan(&row)
		if found.Error != nil || found.RowsAffected == 0 {
			return p.EntriesProcessor.Claim(ctx, n)
		}
		return &stolen{entry: reliable.OutboxEntry{ID: row.ID, Context: row.Context}}, nil
	}
}

// once claims one time, and never again.
func once() func(context.Context, *faulty, int) (processors.Claim, error) {
	var claimed atomic.Pointer[faulty]
	return func(ctx context.Context, p *faulty, n int) (processors.Claim, error) {
		if claimed.CompareAndSwap(nil, p) {
			return p.EntriesProcessor.Claim(ctx, n)
		}
		return nil, nil
	}
}

// Every check fails on a processor that breaks its promise.
func TestFaultsAreFound(t *testing.T) {
	all := faults()
	for _, c := range checks() {
		if len(all[c.name]) == 0 {
			t.Errorf("check %q: nothing shows that it finds a fault", c.name)
		}
		for i, bad := range all[c.name] {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s := newStage(t, Harness{
					Database: func(t testing.TB) func() (*gorm.DB, error) {
						url := testdb.New(t, testdb.SQLite)
						return func() (*gorm.DB, error) {
							db, err := testdb.OpenURL(url.URL)
							if err != nil {
								return nil, err
							}
							return db.WithContext(ctx), nil
						}
					},
					New: func(lease time.Duration) processors.EntriesProcessor {
						p := bad
						p.EntriesProcessor = &processors.NonOrdered{LeaseTTL: lease}
						return &p
					},
				}, time.Second)
				err := c.run(s)
				if err == nil {
					t.Errorf("fault %d: check %q found nothing", i+1, c.name)
				}
			})
		}
	}
}
