package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// table is an entries processor that keeps order per causality key, without a
// database, and judges what the worker makes of it.
type table struct {
	policy reliable.KeyPolicy
	most   int                                                       // entries of one key in a claim; 0 is any number
	finish func(token int64, outcomes []reliable.Outcome) error      // nil: no errors
	inTx   func(outcome reliable.Outcome) error                      // FinishIn; nil: no errors
	wrote  func(token int64, outcomes []reliable.Outcome, err error) // after a Finish; nil: nobody cares

	mu     sync.Mutex
	rows   []*row // by id
	claims []*tableClaim
	wrong  []string // what broke the order
	gave   int      // entries that Release gave back
}

// row is an entry of a table.
type row struct {
	*reliable.OutboxEntry
	ended   bool // done, or skipped
	parked  bool
	dueAt   time.Time
	holder  *tableClaim // nil: nobody
	ran     *tableClaim // in which it ran to an end that lets its key go on
	running int
	starts  int
}

// put adds a job with a key and returns its id.
func (p *table) put(key string) (id int64) {
	p.look(func() { id = p.add(&reliable.OutboxEntry{Context: "job", EventName: "due", CausalityKey: key}) })
	return id
}

// add adds an entry, inside look, and returns its id.
func (p *table) add(e *reliable.OutboxEntry) int64 {
	e.ID = int64(len(p.rows) + 1)
	p.rows = append(p.rows, &row{OutboxEntry: e})
	return e.ID
}

// KeyPolicy implements processors.KeyOrdered.
func (p *table) KeyPolicy() reliable.KeyPolicy { return p.policy }

// Run implements processors.EntriesProcessor.
func (p *table) Run(ctx context.Context, _ processors.Site, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

// Claim implements processors.EntriesProcessor.
func (p *table) Claim(_ context.Context, n int) (processors.Claim, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blocked := make(map[string]bool)
	for _, r := range p.rows {
		blocked[r.CausalityKey] = blocked[r.CausalityKey] || r.holder != nil
	}
	c := &tableClaim{table: p, token: int64(len(p.claims) + 1), at: time.Now(), lost: make(chan struct{})}
	took := make(map[string]int)
	for _, r := range p.rows {
		key := r.CausalityKey
		switch {
		case r.ended || r.holder != nil || len(c.rows) == n || key != "" && (blocked[key] || took[key] == p.most && p.most > 0):
		case r.parked || r.dueAt.After(c.at):
			blocked[key] = true
		default:
			took[key]++
			r.holder = c
			c.rows = append(c.rows, r)
		}
	}
	if len(c.rows) == 0 {
		return nil, nil
	}
	p.claims = append(p.claims, c)
	return c, nil
}

// lose takes the youngest claim away, or does nothing.
func (p *table) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.claims) == 0 || p.claims[len(p.claims)-1].over {
		return
	}
	c := p.claims[len(p.claims)-1]
	c.over = true
	close(c.lost)
	for _, r := range c.rows {
		if r.holder == c { // others may have it once what runs of it has noticed
			r.holder, r.dueAt = nil, time.Now().Add(time.Second)
		}
	}
}

// begin notes that an entry runs.
func (p *table) begin(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rows[id-1]
	r.running++
	r.starts++
	if r.holder == nil || r.CausalityKey == "" {
		return // its claim was lost at this very moment, or it has no order
	}
	for _, other := range p.rows {
		switch {
		case other.CausalityKey != r.CausalityKey:
		case other.running > 0 && other != r || r.running > 1:
			p.blame("entry %d runs beside entry %d of its key", id, other.ID)
		case other.ID < id && !other.ended && other.ran != r.holder:
			p.blame("entry %d runs before entry %d of its key", id, other.ID)
		}
	}
}

// end notes that an entry has run; on lets its key go on.
func (p *table) end(id int64, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rows[id-1]
	if r.running--; on {
		r.ran = r.holder
	}
}

// errEnds is in the errors that end an entry whose key goes on.
var errEnds = errors.New("not done, and over")

// works returns what a job does that takes d, then comes to what of says (nil:
// it is done). The table judges when it begins.
func (p *table) works(d time.Duration, of func(id int64, start int) error) func(ctx context.Context, id int64) error {
	return func(ctx context.Context, id int64) (err error) {
		p.begin(id)
		on := false
		defer func() { p.end(id, on) }()
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
		if of != nil {
			err = of(id, p.starts(id))
		}
		on = err == nil || errors.Is(err, errEnds)
		return err
	}
}

// starts returns how often an entry began.
func (p *table) starts(ids ...int64) (n int) {
	p.look(func() {
		for _, id := range ids {
			n += p.rows[id-1].starts
		}
	})
	return n
}

// judge fails the test if the order was broken, or if not just these entries
// have ended.
func (p *table) judge(t *testing.T, ended ...int64) {
	t.Helper()
	p.look(func() {
		for _, wrong := range p.wrong {
			t.Error(wrong)
		}
		var got []int64
		for _, r := range p.rows {
			if r.ended {
				got = append(got, r.ID)
			}
		}
		if !slices.Equal(got, ended) {
			t.Errorf("entries that have ended: %v, want %v", got, ended)
		}
	})
}

func (p *table) blame(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// look calls f with nothing going on in the table.
func (p *table) look(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}
