package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// patience is how long a drain may take, with its seeding: entries that are not
// done would be waited for in vain.
const patience = 10 * time.Minute

var errSlow = fmt.Errorf("not drained within %s", patience)

// contender is one way to drain a backlog.
type contender struct {
	name  string
	drain func(ctx context.Context) (cost, error)
	costs []cost // by round
}

// run drains once and prints the cost.
func (c *contender) run(ctx context.Context) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	got, err := c.drain(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.costs = append(c.costs, got)
	fmt.Printf("%-32s %s  %s\n", c.name, got, lap(begun))
	return nil
}

// ratio returns the median of the rounds' ratios to another contender's rates,
// and their range.
func (c *contender) ratio(to *contender) (m, lo, hi float64) {
	var ratios []float64
	for i := range c.costs {
		ratios = append(ratios, c.costs[i].rate()/to.costs[i].rate())
	}
	return median(ratios)
}

// typical returns the cost of the round with the median rate.
func (c *contender) typical() cost {
	sorted := slices.SortedFunc(slices.Values(c.costs), func(a, b cost) int { return int(a.took - b.took) })
	return sorted[len(sorted)/2]
}

// drain sweeps River's settings; then River at its best, ours in its forms and
// the raw floors drain by turns.
func drain(ctx context.Context, b *bench, o options) (results, error) {
	rounds := or(o.rounds, 3)
	title("drain: %d entries, a callback that does nothing, on PostgreSQL", o.entries)
	fmt.Printf("ours: %s\n\n%-32s %s\n", defaults(), "", costColumns)
	best, err := b.sweepRiver(ctx, o.entries)
	if err != nil {
		return nil, err
	}
	floor := func(name string, completion processors.Completion) *contender {
		return &contender{name: name, drain: func(ctx context.Context) (cost, error) { return b.floor(ctx, o.entries, completion) }}
	}
	river := b.plainRiver(o.entries, best)
	forms := b.forms(o.entries)
	archive, deleted, model, loaded := forms[0], forms[1], forms[2], forms[3]
	contenders := slices.Concat([]*contender{river}, forms[:4],
		[]*contender{floor("raw floor, archive", processors.Archive), floor("raw floor, delete", processors.Delete)})
	if err := byTurns(ctx, contenders, rounds); err != nil {
		return nil, err
	}
	summarize(contenders, river, rounds)
	r, _, _ := archive.ratio(river)
	d, _, _ := deleted.ratio(river)
	m, _, _ := model.ratio(river)
	l, _, _ := loaded.ratio(river)
	return results{fmt.Sprintf("non_ordered x_river=%.2f x_river_delete=%.2f x_river_model=%.2f", r, d, m), fmt.Sprintf("non_ordered_row_read x_river=%.2f", l)}, nil
}

// summarize prints what the contenders came to, also by River's rate.
func summarize(contenders []*contender, river *contender, rounds int) {
	fmt.Printf("\n%-32s %s  x River, median of %d rounds\n", "the median round", costColumns, rounds)
	for _, c := range contenders {
		m, lo, hi := c.ratio(river)
		fmt.Printf("%-32s %s  %7.2f (%.2f to %.2f)\n", c.name, c.typical(), m, lo, hi)
	}
}

// forms returns ours with the history, without it, with the model and the
// changeset read, with the row read for nothing, and as a record processor.
func (b *bench) forms(entries int) []*contender {
	form := func(name string, side ours) *contender {
		return &contender{name: "ours, " + name, drain: func(ctx context.Context) (cost, error) { return b.ours(ctx, entries, side) }}
	}
	return []*contender{
		form("archive", ours{completion: processors.Archive}),
		form("delete", ours{completion: processors.Delete}),
		form("model and changeset", ours{completion: processors.Archive, work: reading}),
		form("row read", ours{completion: processors.Archive, work: loading}),
		form("record processor", ours{completion: processors.Archive, work: record}),
	}
}

// byTurns runs each contender once a round.
func byTurns(ctx context.Context, contenders []*contender, rounds int) error {
	for round := range rounds {
		fmt.Printf("\nround %d of %d\n", round+1, rounds)
		for _, c := range contenders {
			if err := c.run(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// drainOurs drains with ours alone: for who looks where its time goes.
func drainOurs(ctx context.Context, b *bench, o options) (results, error) {
	title("ours: %d entries, a callback that does nothing, on PostgreSQL", o.entries)
	fmt.Printf("ours: %s\n\n%-32s %s\n", defaults(), "", costColumns)
	return nil, byTurns(ctx, b.forms(o.entries), or(o.rounds, 3))
}

// plainRiver drains with River at that setting.
func (b *bench) plainRiver(entries, maxWorkers int) *contender {
	return &contender{
		name:  fmt.Sprintf("River, MaxWorkers %d", maxWorkers),
		drain: func(ctx context.Context) (cost, error) { return b.river(ctx, entries, maxWorkers) },
	}
}

// sweepRiver returns the MaxWorkers with which River is fastest, on a quarter of
// the backlog.
func (b *bench) sweepRiver(ctx context.Context, entries int) (best int, err error) {
	if b.maxWorkers > 0 {
		return b.maxWorkers, nil
	}
	entries = max(entries/4, 1)
	var most float64
	for _, n := range []int{100, 500, 1000, 2000, 5000} {
		c := &contender{
			name:  fmt.Sprintf("sweep: River, MaxWorkers %d", n),
			drain: func(ctx context.Context) (cost, error) { return b.river(ctx, entries, n) },
		}
		if err := c.run(ctx); err != nil {
			return 0, err
		}
		if rate := c.costs[0].rate(); rate > most {
			best, most = n, rate
		}
	}
	b.maxWorkers = best
	return best, nil
}
