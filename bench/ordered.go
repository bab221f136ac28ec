package main

import (
	"context"
	"fmt"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// Numbers of causality keys.
const (
	fewKeys  = 1000
	manyKeys = 100_000
)

// The least rates of the gem's algorithm, by River's, with which it is no straw
// man: with few keys and with many. They are a little below what it came to
// when it was first measured.
const (
	leastFew  = 0.6
	leastMany = 0.11
)

// ordered drains backlogs with few and with many causality keys with ours and
// by the gem's algorithm, and as many jobs with River, which keeps no order, by
// turns. Then it checks the order that ours keeps while producers write, and
// sees what a head that fails and a hot key cost the others.
func ordered(ctx context.Context, b *bench, o options) (results, error) {
	rounds, entries := or(o.rounds, 3), o.entries*3/4
	title("ordered: %d entries, skewed causality keys, a callback that does nothing, on PostgreSQL", entries)
	few, many := skewed(entries, fewKeys), skewed(entries, manyKeys)
	fmt.Printf("%d and %d keys; the hottest has %d entries, and %d; threads %d\nours: %s\n\n%-32s %s\n",
		fewKeys, manyKeys, hottest(few), hottest(many), o.threads, defaults(), "", costColumns)
	best, err := b.sweepRiver(ctx, o.entries)
	if err != nil {
		return nil, err
	}
	river := b.plainRiver(entries, best)
	gemFew, gemMany := b.gems("1,000 keys", few, o.threads), b.gems("100,000 keys", many, o.threads)
	oursFew, oursMany := b.inOrder("1,000 keys", few, o.threads), b.inOrder("100,000 keys", many, o.threads)
	contenders := []*contender{river, gemFew, oursFew, gemMany, oursMany}
	if err := byTurns(ctx, contenders, rounds); err != nil {
		return nil, err
	}
	summarize(contenders, river, rounds)
	fmt.Println()
	violations, err := b.checkOrder(ctx)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	p99, err := b.headFailing(ctx)
	if err != nil {
		return nil, fmt.Errorf("a head that fails: %w", err)
	}
	cold, err := b.hotKey(ctx, o.entries*5/2, max(o.entries/4, 1), o.threads)
	if err != nil {
		return nil, fmt.Errorf("a hot key: %w", err)
	}
	x, _, _ := gemFew.ratio(river)
	y, _, _ := gemMany.ratio(river)
	toFew, _, _ := oursFew.ratio(gemFew)
	toMany, _, _ := oursMany.ratio(gemMany)
	riverFew, _, _ := oursFew.ratio(river)
	riverMany, _, _ := oursMany.ratio(river)
	return results{
		fmt.Sprintf("ordered keys1k x_gem=%.1f keys100k x_gem=%.1f x_river=%.2f violations=%d", toFew, toMany, min(riverFew, riverMany), violations),
		fmt.Sprintf("ordered_gem keys1k x_river=%.2f (%s) keys100k x_river=%.2f (%s)", x, counts(x, leastFew), y, counts(y, leastMany)),
		fmt.Sprintf("ordered_head_fails others_p99=%s", short(p99)),
		fmt.Sprintf("ordered_hot_key cold_over_even=%.2f", cold),
	}, nil
}

// orderedOurs drains with ours alone: for who looks where its time goes.
func orderedOurs(ctx context.Context, b *bench, o options) (results, error) {
	entries := o.entries * 3 / 4
	title("ours, in order per causality key: %d entries, a callback that does nothing, on PostgreSQL", entries)
	fmt.Printf("ours: %s; threads %d\n\n%-32s %s\n", defaults(), o.threads, "", costColumns)
	return nil, byTurns(ctx, []*contender{
		b.inOrder("1,000 keys", skewed(entries, fewKeys), o.threads),
		b.inOrder("100,000 keys", skewed(entries, manyKeys), o.threads),
	}, or(o.rounds, 3))
}

func (b *bench) gems(name string, keys []string, threads int) *contender {
	return &contender{name: "the gem's way, " + name, drain: func(ctx context.Context) (cost, error) { return b.gem(ctx, keys, threads) }}
}

func (b *bench) inOrder(name string, keys []string, threads int) *contender {
	side := ours{threads: threads, completion: processors.Archive, keys: keys}
	return &contender{name: "ours, " + name, drain: func(ctx context.Context) (cost, error) { return b.ours(ctx, len(keys), side) }}
}

// counts says whether a baseline is good enough to be compared with.
func counts(ratio, least float64) string {
	if ratio < least {
		return fmt.Sprintf("less than %.2f: a straw man, compare nothing with it", least)
	}
	return fmt.Sprintf("counts: %.2f or more", least)
}
