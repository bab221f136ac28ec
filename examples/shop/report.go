package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gorm-aftercommit/aftercommit/examples/shop/proof"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// watched are the tables of the models that have callbacks.
func watched() []proof.Table {
	return []proof.Table{
		{Name: "customers", Class: "Customer", Columns: []string{"name", "email", "points", "created_at"}, Soft: true},
		{Name: "orders", Class: "Order", Columns: []string{"customer_id", "status", "total", "created_at"}},
	}
}

// owed says once more what callbacks.go says, so that the proof does not ask
// the library what it should have done.
func owed(c proof.Change) []string {
	switch {
	case c.Class == "Customer" && c.Operation == proof.Create:
		return []string{"welcome", "directory"}
	case c.Class == "Customer":
		return []string{"directory"}
	case c.Class == "Order" && c.Operation == proof.Create:
		return []string{"receipt", "warehouse"}
	case c.Class == "Order":
		return []string{"warehouse"}
	default:
		return nil
	}
}

// watch shows what happens until ctx is done.
func (d *demo) watch(ctx context.Context) {
	for pause(ctx, 100*time.Millisecond) == nil {
		committed, err1 := proof.CountChanges(ctx, d.db)
		runs, err2 := proof.CountRuns(d.ledger)
		pending, err3 := d.pending(ctx)
		if errors.Join(err1, err2, err3) == nil { // else there is a next time
			d.Progress("committed %d, rolled back %d, callbacks run %d, waiting %d", committed, d.shop.rolledBack.Load(), runs, pending)
		}
	}
}

// pending returns how many entries wait for a worker or are with one.
func (d *demo) pending(ctx context.Context) (int, error) {
	return d.count(ctx, reliable.Tables.Entries, "dead_at IS NULL AND processed_at IS NULL")
}

// count returns how many rows of one of the outbox's tables fulfil a condition.
func (d *demo) count(ctx context.Context, table func(reliable.Tables) string, where string) (n int, err error) {
	plugin, err := reliable.From(d.db)
	if err != nil {
		return 0, err
	}
	err = d.db.WithContext(ctx).Raw("SELECT count(*) FROM " + table(plugin.Tables()) + " WHERE " + where).Scan(&n).Error
	return n, err
}

// judge prints what became of everything, with the verdict as the last line.
// It returns an error unless the promise was kept.
func (d *demo) judge(ctx context.Context) error {
	changes, err := proof.ReadChanges(ctx, d.db, watched()...)
	if err != nil {
		return err
	}
	runs, torn, err := proof.ReadLedger(d.ledger)
	if err != nil {
		return err
	}
	if torn > d.kills {
		return fmt.Errorf("%d lines of the ledger are torn, but only %d workers were killed", torn, d.kills)
	}
	if err := d.table(ctx, runs); err != nil {
		return err
	}
	v := proof.Judge(changes, runs, owed)
	for _, fault := range v.Faults[:min(len(v.Faults), 20)] {
		d.Say("%s", fault)
	}
	d.Say("demo: %s", v)
	if !v.OK() {
		return errors.New("the promise is broken: what ran is not what committed")
	}
	return nil
}

// table prints callbacks, entries, kills and latency.
func (d *demo) table(ctx context.Context, runs []proof.Run) error {
	done, err1 := d.count(ctx, reliable.Tables.History, "1 = 1")
	dead, err2 := d.count(ctx, reliable.Tables.Entries, "dead_at IS NOT NULL")
	pending, err3 := d.pending(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	var b strings.Builder
	callbacks := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(callbacks, "\ndone\tfailed\tpanicked\tretried\t  callback\n")
	tallies := tally(runs)
	for _, name := range slices.Sorted(maps.Keys(tallies)) {
		t := tallies[name]
		fmt.Fprintf(callbacks, "%d\t%d\t%d\t%d\t  %s\n", t.done, t.failed, t.panicked, t.retried, name)
	}
	_ = callbacks.Flush() // to memory
	d.Say("%s", b.String())

	p50, p99 := latency(runs)
	d.Say("entries       %d done, %d dead, %d pending", done, dead, pending)
	d.Say("rolled back   %d changes, which left no entry", d.shop.rolledBack.Load())
	d.Say("kills         %d, with %d entries waiting", d.kills, d.waiting)
	d.Say("latency       p50 %s, p99 %s from commit to callback; after a kill, it holds the lease of %s", p50, p99, leaseTTL)
	d.Say("")
	return nil
}

// ends counts how the runs of one callback ended.
type ends struct{ done, failed, panicked, retried int }

// tally counts the runs by model and callback.
func tally(runs []proof.Run) map[string]*ends {
	tallies := make(map[string]*ends)
	for _, r := range runs {
		name := r.Class + " " + r.Callback
		t := tallies[name]
		if t == nil {
			t = new(ends)
			tallies[name] = t
		}
		switch r.Outcome {
		case proof.Done:
			t.done++
		case proof.Failed:
			t.failed++
		case proof.Panicked:
			t.panicked++
		}
		if r.Attempt > 1 {
			t.retried++
		}
	}
	return tallies
}

// latency returns percentiles of the time from a commit to the first start of
// each callback.
func latency(runs []proof.Run) (p50, p99 time.Duration) {
	type started struct {
		entry    int64
		callback string
	}
	seen := make(map[started]bool)
	var waits []time.Duration
	for _, r := range runs {
		if s := (started{r.Entry, r.Callback}); !seen[s] {
			seen[s] = true
			waits = append(waits, r.Waited)
		}
	}
	if len(waits) == 0 {
		return 0, 0
	}
	slices.Sort(waits)
	at := func(percent int) time.Duration {
		return waits[(len(waits)-1)*percent/100].Round(100 * time.Microsecond)
	}
	return at(50), at(99)
}
