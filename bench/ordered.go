package main

import (
	"context"
	"fmt"
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

// ordered drains backlogs with few and with many causality keys by the gem's
// algorithm, and as many jobs with River, which keeps no order, by turns.
func ordered(ctx context.Context, b *bench, o options) (results, error) {
	rounds, entries := or(o.rounds, 3), o.entries*3/4
	title("ordered: %d entries, skewed causality keys, a callback that does nothing, on PostgreSQL", entries)
	few, many := skewed(entries, fewKeys), skewed(entries, manyKeys)
	fmt.Printf("%d and %d keys; the hottest has %d entries, and %d\nthreads %d\n\n%-32s %s\n",
		fewKeys, manyKeys, hottest(few), hottest(many), o.threads, "", costColumns)
	best, err := b.sweepRiver(ctx, o.entries)
	if err != nil {
		return nil, err
	}
	river := b.plainRiver(entries, best)
	gemFew, gemMany := b.gems("1,000 keys", few, o.threads), b.gems("100,000 keys", many, o.threads)
	contenders := []*contender{river, gemFew, gemMany}
	if err := byTurns(ctx, contenders, rounds); err != nil {
		return nil, err
	}
	summarize(contenders, river, rounds)
	x, _, _ := gemFew.ratio(river)
	y, _, _ := gemMany.ratio(river)
	return results{fmt.Sprintf("ordered_gem keys1k x_river=%.2f (%s) keys100k x_river=%.2f (%s)", x, counts(x, leastFew), y, counts(y, leastMany))}, nil
}

func (b *bench) gems(name string, keys []string, threads int) *contender {
	return &contender{name: "the gem's way, " + name, drain: func(ctx context.Context) (cost, error) { return b.gem(ctx, keys, threads) }}
}

// counts says whether a baseline is good enough to be compared with.
func counts(ratio, least float64) string {
	if ratio < least {
		return fmt.Sprintf("less than %.2f: a straw man, compare nothing with it", least)
	}
	return fmt.Sprintf("counts: %.2f or more", least)
}
