package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// skewed returns the causality keys of that many entries, in their order: each
// key stands there, and the others are drawn from few keys more often than from
// most. They are the same in each run.
func skewed(entries, keys int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 10, uint64(keys-1))
	all := make([]string, entries)
	for i := range all {
		rank := uint64(i)
		if i >= keys {
			rank = zipf.Uint64()
		}
		all[i] = fmt.Sprintf("customer-%d", rank)
	}
	random.Shuffle(entries, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// hottest returns how many entries the key with the most has.
func hottest(keys []string) (most int) {
	count := make(map[string]int)
	for _, key := range keys {
		count[key]++
		most = max(most, count[key])
	}
	return most
}

// key makes the table from which the seeding takes the keys of entries 1, 2, ...
// and tells the plugin of those that it records itself.
func (p *place) key(ctx context.Context, keys []string, config *reliable.Config) error {
	config.CausalityKey = func(_ context.Context, model any) string { return keys[model.(*Order).ID-1] }
	if err := p.exec(ctx, "CREATE UNLOGGED TABLE "+p.schema+".keys (id bigint PRIMARY KEY, key text NOT NULL, lane smallint NOT NULL)"); err != nil {
		return err
	}
	p.keyed = true
	return p.load(ctx, "keys", []string{"id", "key", "lane"}, len(keys), func(i int) []any {
		return []any{i + 1, keys[i], reliable.LaneOf(keys[i])}
	})
}

// load copies n rows into a table.
func (p place) load(ctx context.Context, table string, columns []string, n int, row func(i int) []any) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{p.schema, table}, columns,
		pgx.CopyFromSlice(n, func(i int) ([]any, error) { return row(i), nil }))
	return errors.Join(err, conn.Close(ctx))
}
