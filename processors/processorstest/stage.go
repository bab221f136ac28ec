package processorstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	long  = time.Minute            // a lease that does not end while a check runs
	short = 400 * time.Millisecond // a lease of those that take over
	event = "happened"
)

// stage is a database and the processors that a check runs on it.
type stage struct {
	t        testing.TB
	harness  Harness
	open     func() (*gorm.DB, error)
	patience time.Duration
	db       *gorm.DB
	plugin   *reliable.Plugin
	seats    int
}

func newStage(t testing.TB, h Harness, patience time.Duration) *stage {
	t.Helper()
	s := &stage{t: t, harness: h, open: h.Database(t), patience: patience}
	s.db, s.plugin = s.connect("known")
	if err := migrations.Up(t.Context(), s.db); err != nil {
		t.Fatal(err)
	}
	return s
}

// connect opens a handle on the database whose registry handles one context.
func (s *stage) connect(handles string) (*gorm.DB, *reliable.Plugin) {
	s.t.Helper()
	r := new(reliable.Registry)
	r.Handle(handles, "work", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	db, err := s.open()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if pool, err := db.DB(); err == nil {
			_ = pool.Close()
		}
	})
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := db.Use(plugin); err != nil {
		s.t.Fatal(err)
	}
	return db, plugin
}

// record commits n entries of the context that is handled.
func (s *stage) record(n int) error { return recordIn(s.t.Context(), s.db, "known", n) }

func recordIn(ctx context.Context, db *gorm.DB, handled string, n int) error {
	entries := make([]reliable.Entry, n)
	for i := range entries {
		entries[i] = reliable.Entry{Context: handled, EventName: event}
	}
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		_, err := reliable.RecordAll(ctx, tx, entries)
		return err
	})
}

// seat is a processor that runs for a worker.
type seat struct {
	processors.EntriesProcessor
	stage  *stage
	worker string
	stop   func() error // ends Run and returns what it returned
}

// start runs a processor until the test ends or stop is called.
func (s *stage) start(lease time.Duration) (*seat, error) {
	s.seats++
	p := &seat{EntriesProcessor: s.harness.New(lease), stage: s, worker: fmt.Sprintf("seat%d", s.seats)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, processors.Site{DB: s.db, Plugin: s.plugin, Worker: p.worker, Threads: 4}, func() { close(ready) })
	}()
	p.stop = sync.OnceValue(func() error {
		cancel()
		return s.within("Run returns after its context ended", ended)
	})
	s.t.Cleanup(func() { _ = p.stop() }) // a check that cares calls it itself
	select {
	case <-ready:
		return p, nil
	case err := <-ended:
		ended <- err
		return nil, fmt.Errorf("Run() = %w before it was ready", err)
	case <-time.After(s.patience):
		return nil, errors.New("Run did not call ready")
	}
}

// within waits for a result, but not for ever.
func (s *stage) within(what string, result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-time.After(s.patience):
		return fmt.Errorf("not within %s: %s", s.patience, what)
	}
}

// eventually asks until ok says so.
func (s *stage) eventually(what string, ok func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond) // others need the database, too
	defer tick.Stop()
	for deadline := time.Now().Add(s.patience); time.Now().Before(deadline); <-tick.C {
		if done, err := ok(); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("not within %s: %s", s.patience, what)
}

// claim asks for up to n entries until there are some, as a worker does: a
// processor may look for some sorts of work less often than it is asked, and it
// may fail for a while.
func (p *seat) claim(n int) (c processors.Claim, err error) {
	var failed error
	err = p.stage.eventually("a claim of what is due", func() (bool, error) {
		ctx, cancel := context.WithTimeout(p.stage.t.Context(), p.stage.patience)
		defer cancel()
		c, failed = p.Claim(ctx, n)
		return c != nil && failed == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim by %s: %w", p.worker, errors.Join(err, failed))
	}
	if len(c.Entries()) == 0 {
		return nil, fmt.Errorf("claim by %s: a claim without entries, want nil", p.worker)
	}
	return c, nil
}

// claimAll claims until n entries are held. It returns them by claim.
func (p *seat) claimAll(n int) (claims []processors.Claim, err error) {
	for n > 0 {
		c, err := p.claim(n)
		if err != nil {
			return nil, err
		}
		claims = append(claims, c)
		n -= len(c.Entries())
	}
	return claims, nil
}

// bury makes a worker look dead to others, as a rescuer finds it: without its
// heartbeat.
func (s *stage) bury(p *seat) error {
	gone := s.db.Exec("DELETE FROM "+s.plugin.Tables().Workers()+" WHERE id LIKE ?", p.worker+"%")
	if gone.Error == nil && gone.RowsAffected != 1 {
		return fmt.Errorf("%d rows of worker %s, want 1, whose id begins with Site.Worker", gone.RowsAffected, p.worker)
	}
	return gone.Error
}

// count counts rows of a table.
func (s *stage) count(table, where string, args ...any) (n int, err error) {
	err = s.db.Raw("SELECT count(*) FROM "+table+" WHERE "+where, args...).Scan(&n).Error
	return n, err
}

// want holds a count of entries against what it should be.
func (s *stage) want(n int, where string, args ...any) error {
	got, err := s.count(s.plugin.Tables().Entries(), where, args...)
	if err == nil && got != n {
		err = fmt.Errorf("%d entries where %s, want %d", got, where, n)
	}
	return err
}

// unfinished entries are neither done nor dead.
const unfinished = "processed_at IS NULL AND dead_at IS NULL"

// picture returns all that the tables say, but for the workers.
func (s *stage) picture() (string, error) {
	var all strings.Builder
	tables := s.plugin.Tables()
	for _, from := range [][2]string{{tables.Entries(), "id"}, {tables.History(), "id, token"}, {tables.Claims(), "token"}} {
		table, order := from[0], from[1]
		var rows []map[string]any
		if err := s.db.Table(table).Order(order).Find(&rows).Error; err != nil {
			return "", err
		}
		for _, row := range rows {
			if held := fmt.Sprintf("%s", row["ids"]); held == "{}" || held == "[]" {
				continue // of a claim that is finished: it goes with a heartbeat
			}
			fmt.Fprintf(&all, "%s %v\n", table, row)
		}
	}
	return all.String(), nil
}

// outcomes returns one outcome per entry.
func outcomes(entries []*reliable.OutboxEntry, of func(o *reliable.Outcome)) []reliable.Outcome {
	made := make([]reliable.Outcome, len(entries))
	for i, e := range entries {
		made[i] = reliable.Outcome{Entry: e, Attempts: e.Attempts}
		if of != nil {
			of(&made[i])
		}
	}
	return made
}

func ids(claims ...processors.Claim) (all []int64) {
	for _, c := range claims {
		for _, e := range c.Entries() {
			all = append(all, e.ID)
		}
	}
	return all
}
