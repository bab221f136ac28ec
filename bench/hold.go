package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// single is the worker process of these measurements: one, at the defaults.
func single() program { return program{Work: nothing, Completion: processors.Archive} }

// hold compares three drains of as many entries, by turns: of nothing but
// them; while a transaction elsewhere keeps dead rows from being removed, also
// those of entries that were done before; and of the oldest of a large backlog.
func hold(ctx context.Context, b *bench, o options) (results, error) {
	rounds := or(o.rounds, 3)
	title("hold: %d entries, alone, with xmin held by another transaction, and before a backlog of %d", o.entries, o.backlog)
	var heldRatios, backlogRatios []float64
	err := b.in(ctx, func(large place) error {
		if err := large.fill(ctx, o, rounds+1); err != nil {
			return err
		}
		fmt.Println()
		for round := range rounds {
			alone, err := b.alone(ctx, o.entries)
			if err != nil {
				return fmt.Errorf("alone: %w", err)
			}
			held, err := b.held(ctx, o.entries)
			if err != nil {
				return fmt.Errorf("with xmin held: %w", err)
			}
			if err := large.settled(ctx); err != nil {
				return err
			}
			oldest, err := large.oldest(ctx, o.entries)
			if err != nil {
				return fmt.Errorf("before a backlog: %w", err)
			}
			heldRatios, backlogRatios = append(heldRatios, held/alone), append(backlogRatios, oldest/alone)
			fmt.Printf("round %d   alone %8.0f entries/s   xmin held %8.0f, ratio %.2f   backlog %8.0f, ratio %.2f\n",
				round+1, alone, held, heldRatios[round], oldest, backlogRatios[round])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	x, _, _ := median(heldRatios)
	y, _, _ := median(backlogRatios)
	return results{fmt.Sprintf("xmin_held=%.2f backlog%s=%.2f", x, count(o.backlog), y)}, nil
}

// alone returns the rate of a backlog of nothing but what is drained.
func (b *bench) alone(ctx context.Context, entries int) (rate float64, err error) {
	return b.shared(ctx, entries, 1, single())
}

// held returns the rate while another transaction holds xmin. A worker before
// has done some entries by then, whose dead rows a fresh scan meets.
func (b *bench) held(ctx context.Context, entries int) (rate float64, err error) {
	before := entries / 4
	err = b.in(ctx, func(p place) (err error) {
		if err := p.prepare(ctx, entries+2*before, entries+2*before); err != nil {
			return err
		}
		release, err := p.holdXmin(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
		if _, err := p.drainedBy(ctx, 1, single(), span{0, before}); err != nil {
			return err
		}
		rate, err = p.oldest(ctx, entries)
		return err
	})
	return rate, err
}

// holdXmin begins a transaction that has a snapshot and has written, as a long
// report does, and returns how to end it.
func (p place) holdXmin(ctx context.Context) (release func() error, err error) {
	conn, err := pgx.Connect(ctx, p.bench.url)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{
		"SET idle_in_transaction_session_timeout = 0", "CREATE TABLE " + p.schema + ".elsewhere (id int)",
		"BEGIN ISOLATION LEVEL REPEATABLE READ", "INSERT INTO " + p.schema + ".elsewhere VALUES (1)", "SELECT count(*) FROM " + p.schema + ".elsewhere",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", statement, err), conn.Close(ctx))
		}
	}
	return func() error {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, err := conn.Exec(end, "ROLLBACK")
		return errors.Join(err, conn.Close(end))
	}, nil
}

// fill makes a large backlog, of which that many slices are to be drained.
func (p place) fill(ctx context.Context, o options, slices int) error {
	begun := time.Now()
	fmt.Printf("seeding %d entries\n", o.backlog)
	if err := p.prepare(ctx, o.backlog, slices*o.entries); err != nil {
		return err
	}
	var size string
	err := p.ask(ctx, fmt.Sprintf("SELECT pg_size_pretty(pg_total_relation_size('%s.outbox_entries'))", p.schema), &size)
	fmt.Printf("seeded: %s %s\n", size, lap(begun))
	return err
}

// oldest returns the rate at which one worker process drains the oldest of the
// backlog's entries. It keeps in mind how much memory the process took.
func (p place) oldest(ctx context.Context, entries int) (rate float64, err error) {
	s, n, err := p.first(ctx, entries)
	if err != nil {
		return 0, err
	}
	c, err := p.drainedBy(ctx, 1, single(), s)
	p.peak = max(p.peak, c.peak)
	return float64(n) / c.took.Seconds(), err
}

// first returns the span of the backlog's first n entries, and how many it
// found: a worker that was stopped may have left gaps behind.
func (p place) first(ctx context.Context, n int) (s span, found int, err error) {
	err = p.ask(ctx, fmt.Sprintf(`SELECT coalesce(min(id) - 1, 0), coalesce(max(id), 0), count(*)
		FROM (SELECT id FROM %s.outbox_entries ORDER BY id LIMIT %d) first`, p.schema, n), &s.after, &s.to, &found)
	if err == nil && found < n {
		err = fmt.Errorf("the backlog has %d entries left, %d are needed", found, n)
	}
	return s, found, err
}

// count returns a number as people say it: 10m, 400k.
func count(n int) string {
	switch {
	case n > 0 && n%1_000_000 == 0:
		return fmt.Sprintf("%dm", n/1_000_000)
	case n > 0 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprint(n)
	}
}
