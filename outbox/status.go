package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// MaxCounted is up to where a status counts. Above it a gauge is an estimate.
const MaxCounted = 100_000

// Gauge is a number that may be an estimate.
type Gauge struct {
	N      int64 `json:"n"`
	Approx bool  `json:"approx,omitempty"`
}

// String returns the number with commas, and ≈ before an estimate.
func (g Gauge) String() string {
	digits := strconv.FormatInt(g.N, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if g.Approx {
		return "≈" + digits
	}
	return digits
}

// Age is how long something stands. Its JSON is a number of seconds.
type Age time.Duration

// String returns the age in two units at most, for example "3h12m".
func (a Age) String() string {
	d := time.Duration(a)
	switch days := d / (24 * time.Hour); {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return d.Round(time.Millisecond).String()
	}
}

// MarshalJSON implements [json.Marshaler].
func (a Age) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(a).Round(time.Millisecond).Seconds())
}

// Status is the outbox at a glance.
type Status struct {
	At time.Time `json:"at"` // by the database's clock, UTC

	Pending    Gauge `json:"pending"`
	Eligible   Gauge `json:"eligible"`
	Waiting    Gauge `json:"waiting"`
	Held       Gauge `json:"held"`
	Dead       Gauge `json:"dead"`        // those at which a key stands are among them
	ParkedKeys Gauge `json:"parked_keys"` // see [Outbox.ParkedKeys]
	Orphans    Gauge `json:"orphans"`     // among the oldest [MaxCounted] pending entries; 0 where this binary knows no callbacks

	OldestEligible Age `json:"oldest_eligible_seconds"` // since it was written; behind [MaxLooked] rows of others, that of the oldest pending one; all ages are 0 if there is none
	OldestDead     Age `json:"oldest_dead_seconds"`     // since the first of them died: by id, on MariaDB by time
	OldestParked   Age `json:"oldest_parked_seconds"`   // since the key was parked
	OldestOrphan   Age `json:"oldest_orphan_seconds"`   // since it was written

	Kinds   []Kind           `json:"kinds"` // of the oldest [MaxCounted] pending entries, the most frequent first
	Workers []Worker         `json:"workers"`
	Pauses  []reliable.Pause `json:"pauses"`
}

// Kind is a group of pending entries that are alike.
type Kind struct {
	Context string   `json:"context"`
	Model   string   `json:"model,omitempty"`
	Event   string   `json:"event"`
	Owed    []string `json:"owed,omitempty"`
	N       int64    `json:"n"`
	Oldest  Age      `json:"oldest_seconds"` // since it was written
	Orphan  bool     `json:"orphan,omitempty"`
}

// covered reports whether a binary knows the kind.
func (k *Kind) covered(r *reliable.Registry) bool {
	return r.Covers(&reliable.OutboxEntry{Context: k.Context, ResourceClass: k.Model, EventName: k.Event, Owed: k.Owed})
}

// Worker is a process that works on entries.
type Worker struct {
	ID        string `json:"id"`
	Processor string `json:"processor"`
	Hostname  string `json:"hostname"`
	PID       int    `json:"pid"`
	Threads   int    `json:"threads"`
	Held      int    `json:"held"`         // entries
	Up        Age    `json:"up_seconds"`   // since it started
	Beat      Age    `json:"beat_seconds"` // since its last heartbeat
	Alive     bool   `json:"alive"`        // within its lease
}

// Status returns the outbox at a glance. It reads at most MaxCounted entries of
// each state, by an index, however many there are; what is more is estimated
// from the statistics of the database.
func (o *Outbox) Status(ctx context.Context) (*Status, error) {
	s, err := o.status(ctx)
	if err != nil {
		return nil, fmt.Errorf("outbox: status: %w", err)
	}
	return s, nil
}

func (o *Outbox) status(ctx context.Context) (*Status, error) {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return nil, err
	}
	db, t := o.session(ctx), plugin.Tables()
	at, held, err := selectHeld(db, t)
	if err != nil {
		return nil, err
	}
	s := &Status{At: at, Held: Gauge{N: int64(len(held))}}
	if s.Kinds, err = selectKinds(db, t, at); err != nil {
		return nil, err
	}
	s.sumKinds(plugin.Registry())
	if s.Pending.Approx {
		if s.Pending.N, err = estimate(db, t, Pending); err != nil {
			return nil, err
		}
	}
	for _, g := range []struct {
		state State
		into  *Gauge
	}{{Waiting, &s.Waiting}, {Dead, &s.Dead}, {Parked, &s.ParkedKeys}} {
		if *g.into, err = selectGauge(db, t, g.state); err != nil {
			return nil, err
		}
	}
	s.Eligible = Gauge{N: max(s.Pending.N-s.Waiting.N-s.Held.N, 0), Approx: s.Pending.Approx || s.Waiting.Approx}
	if err := o.ages(ctx, t, s); err != nil {
		return nil, err
	}
	if s.Workers, err = selectWorkers(db, t, at); err != nil {
		return nil, err
	}
	for i := range s.Workers {
		for _, worker := range held {
			if worker == s.Workers[i].ID {
				s.Workers[i].Held++
			}
		}
	}
	s.Pauses, err = selectPauses(db, t)
	return s, err
}

// sumKinds counts what is pending and what of it is an orphan, as far as kinds
// were counted.
func (s *Status) sumKinds(r *reliable.Registry) {
	for i := range s.Kinds {
		k := &s.Kinds[i]
		s.Pending.N += k.N
		k.Orphan = !r.Empty() && !k.covered(r)
		if k.Orphan {
			s.Orphans.N += k.N
			s.OldestOrphan = max(s.OldestOrphan, k.Oldest)
		}
	}
	s.Pending.Approx = s.Pending.N > MaxCounted
	s.Orphans.Approx = s.Pending.Approx && s.Orphans.N > 0
}

// ages looks for the oldest of each kind.
func (o *Outbox) ages(ctx context.Context, t reliable.Tables, s *Status) error {
	if s.Eligible.N > 0 {
		page, err := o.list(ctx, Filter{State: Eligible, Limit: 1}, true)
		if err != nil {
			return err
		}
		if len(page.Entries) > 0 {
			s.OldestEligible = s.age(page.Entries[0].CreatedAt)
		} else if page.Bounded { // it is behind what is done, dead or put off
			for _, k := range s.Kinds {
				s.OldestEligible = max(s.OldestEligible, k.Oldest)
			}
		}
	}
	if s.Dead.N > 0 {
		first, err := selectFirstDead(o.session(ctx), t)
		if err != nil {
			return err
		}
		if !first.IsZero() {
			s.OldestDead = s.age(first)
		}
	}
	if s.ParkedKeys.N > 0 {
		keys, err := o.ParkedKeys(ctx, ParkedFilter{Limit: 1})
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			s.OldestParked = s.age(keys[0].Since)
		}
	}
	return nil
}

// age is how long ago a time was, never less than nothing: clocks of hosts
// that write created_at may differ.
func (s *Status) age(t time.Time) Age { return Age(max(s.At.Sub(t), 0)) }

// Prunable returns how many entries of the history are older than a retention
// of 1 minute or more, and would go: on PostgreSQL whole days.
func (o *Outbox) Prunable(ctx context.Context, retention time.Duration) (Gauge, error) {
	plugin, err := reliable.From(o.db)
	if err != nil {
		return Gauge{}, fmt.Errorf("outbox: %w", err)
	}
	if retention < time.Minute {
		return Gauge{}, fmt.Errorf("outbox: prunable: the retention is %s: want 1m or more", retention)
	}
	g, err := selectPrunable(o.session(ctx), plugin.Tables(), retention)
	if err != nil {
		return g, fmt.Errorf("outbox: prunable: %w", err)
	}
	return g, nil
}
