// Command victim is a worker that the tests of package chaos kill. It keeps the
// ledger CHAOS_LEDGER, as process CHAOS_PROCESS or else under its pid.
//
// CHAOS_PACE is how long a callback takes. CHAOS_POISON names an order whose
// callbacks misbehave, and how: "20" or "20:kill" kills the process, see
// misdeeds for the others. CHAOS_FAIL=50 lets the first attempt of every
// fiftieth sale's shipping fail. CHAOS_ORDERED is the policy of causality keys;
// without it the victim does not work in order. CHAOS_LOCKER=yes gives it a
// Locker that grants all, a Redis's URL one with locks there, without which it
// does as CHAOS_WITHOUT_LOCKER says. CHAOS_MERCY=true lets no posting fail.
// CHAOS_NEW=true makes it a later release, with one more callback.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

func main() {
	os.Exit(worker.Main(open))
}

// settings is what the environment says.
type settings struct {
	pace, lease time.Duration
	fail        int64
	process     int
	poison      poison
	ordered     reliable.KeyPolicy // empty: not in order
	locker      processors.Locker
	without     processors.WithoutLocker
	mercy       bool
	later       bool
}

func read() (s settings, err error) {
	s.process = os.Getpid()
	var errs []error
	for _, v := range []struct {
		name string
		set  func(text string) error
	}{
		{"CHAOS_PACE", func(text string) (err error) { s.pace, err = time.ParseDuration(text); return err }},
		{"RELIABLE_LEASE_TTL", func(text string) (err error) { s.lease, err = time.ParseDuration(text); return err }},
		{"CHAOS_FAIL", func(text string) (err error) { s.fail, err = strconv.ParseInt(text, 10, 64); return err }},
		{"CHAOS_PROCESS", func(text string) (err error) { s.process, err = strconv.Atoi(text); return err }},
		{"CHAOS_ORDERED", func(text string) error { s.ordered = reliable.KeyPolicy(text); return s.ordered.Validate() }},
		{"CHAOS_LOCKER", func(text string) (err error) { s.locker, err = parseLocker(text); return err }},
		{"CHAOS_WITHOUT_LOCKER", func(text string) error { s.without = processors.WithoutLocker(text); return nil }},
		{"CHAOS_MERCY", func(text string) (err error) { s.mercy, err = strconv.ParseBool(text); return err }},
		{"CHAOS_NEW", func(text string) (err error) { s.later, err = strconv.ParseBool(text); return err }},
		{"CHAOS_POISON", func(text string) (err error) { s.poison, err = parsePoison(text); return err }},
	} {
		if text := os.Getenv(v.name); text != "" {
			if err := v.set(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", v.name, err))
			}
		}
	}
	return s, errors.Join(errs...)
}

func open(_ context.Context, databaseURL string) (*worker.Worker, error) {
	s, err := read()
	if err != nil {
		return nil, err
	}
	ledger, err := chaos.OpenLedger(os.Getenv("CHAOS_LEDGER"), s.process)
	if err != nil {
		return nil, err
	}
	db, err := testdb.OpenURL(databaseURL)
	if err != nil {
		return nil, err
	}
	monitor := new(reliable.Monitor)
	reliable.Subscribe(monitor, func(e *reliable.HeartbeatSent) { _ = ledger.Write("beat", chaos.At(e.Sent)) }) // a lease that is not known is a short one
	s.poison.watch(monitor)
	callbacks := chaos.Callbacks
	if s.later {
		callbacks = chaos.NewCallbacks
	}
	registry := callbacks(func(ctx context.Context, c chaos.Call) error {
		if err := ledger.Write("start", c.Token, c.Entry, c.Callback, c.Attempt, c.Subject); err != nil {
			return err
		}
		result := "failed"
		defer func() { _ = ledger.Write("end", c.Token, c.Entry, c.Callback, c.Attempt, result) }() // a run without an end is a finding
		err := s.run(ctx, c, db)
		if err == nil {
			result = "ok"
		}
		return err
	})
	return &worker.Worker{
		DB: db, FinishGroup: chaos.FinishGroup,
		Processor: chaos.Record(s.processor(), ledger),
	}, db.Use(reliable.New(reliable.Config{Registry: registry, Monitor: monitor}))
}

func (s *settings) processor() processors.EntriesProcessor {
	if s.ordered == "" {
		return &processors.NonOrdered{LeaseTTL: s.lease}
	}
	return &processors.OrderedByCausalityKey{LeaseTTL: s.lease, Policy: s.ordered, Locker: s.locker, WithoutLocker: s.without}
}

func parseLocker(text string) (processors.Locker, error) {
	if text == "yes" {
		return chaos.Yes{}, nil
	}
	return redislock.FromURL(text)
}
