package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Entries that are large.
const (
	documents   = 1000
	bodySize    = 1 << 20 // of each
	bodyThreads = 8
)

// memory measures how much memory a worker process takes at most: before a
// large backlog, of which it drains some, and with entries that are large.
func memory(ctx context.Context, b *bench, o options) (results, error) {
	title("memory: a worker process before a backlog of %d; and with %d entries of %d MiB", o.backlog, documents, bodySize>>20)
	if b.peak == 0 { // hold was not asked for
		err := b.in(ctx, func(p place) error {
			if err := p.fill(ctx, o, 2); err != nil {
				return err
			}
			rate, err := p.oldest(ctx, o.entries)
			fmt.Printf("drained %d of them, %.0f entries/s\n", o.entries, rate)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("backlog: %w", err)
		}
	}
	fmt.Printf("peak before a backlog of %d: %s\n", o.backlog, mebibytes(b.peak))
	c, err := b.large(ctx)
	if err != nil {
		return nil, fmt.Errorf("large entries: %w", err)
	}
	fmt.Printf("peak with entries of %d MiB, %d threads, model and changeset read: %s, %.0f entries/s\n",
		bodySize>>20, bodyThreads, mebibytes(c.peak), documents/c.took.Seconds())
	return results{fmt.Sprintf("rss_backlog%s=%s rss_1mib=%s", count(o.backlog), mebibytes(b.peak), mebibytes(c.peak))}, nil
}

// large drains entries of documents by one worker process.
func (b *bench) large(ctx context.Context) (c crowd, err error) {
	err = b.in(ctx, func(p place) error {
		db, closed, err := openOurs(p.url, reliable.Config{Registry: nothing.registry(func(uint) {})})
		if err != nil {
			return err
		}
		if err := errors.Join(p.seed(ctx, db, 0, 0), createDocuments(ctx, db), closed(), p.settle(ctx, p.schema+".documents", p.schema+".outbox_entries")); err != nil {
			return err
		}
		c, err = p.drainedBy(ctx, 1, program{Threads: bodyThreads, Work: reading, Completion: processors.Archive}, span{0, 2 * documents}) // some ids were used up before
		if err != nil {
			return err
		}
		return p.archived(ctx, processors.Archive, documents)
	})
	return c, err
}

// createDocuments writes the documents, a transaction each.
func createDocuments(ctx context.Context, db *gorm.DB) error {
	for i := range documents {
		body := strings.Repeat(fmt.Sprintf("%07d ", i), bodySize/8)
		if err := db.WithContext(ctx).Create(&Document{Body: body}).Error; err != nil {
			return err
		}
	}
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0fMiB", float64(n)/(1<<20)) }
