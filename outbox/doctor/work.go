package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// shown is how many names a finding has at most, and mostTransactions how many
// transactions are told.
const shown, mostTransactions = 5, 20

// names joins some names.
func names(all []string) string {
	if more := len(all) - shown; more > 0 {
		return strings.Join(all[:shown], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(all, ", ")
}

// withoutCallbacks is the finding of a binary that knows nothing.
func withoutCallbacks(what string) []Finding {
	return []Finding{{Level: Unknown, Seen: "this binary has no callbacks: " + what + " can't be examined", Do: "run the doctor of the program that has them: see package cli"}}
}

// defaultTransaction looks at the program's own handle.
func defaultTransaction(x *examination, _ *gorm.DB) ([]Finding, error) {
	switch {
	case x.plugin.Registry().Empty():
		return withoutCallbacks("how it writes"), nil
	case x.DB.SkipDefaultTransaction:
		return []Finding{{
			Level: Notice, Seen: "SkipDefaultTransaction is set: a write of a registered model gets a transaction all the same, or is refused with Config.RequireTransaction; what else belongs together does not",
			Do: "put what belongs together into db.Transaction; unless the speed of writes without callbacks matters, leave SkipDefaultTransaction out",
		}}, nil
	}
	return ok("each write has a transaction"), nil
}

// status is the outbox at a glance. It is read once.
func (x *examination) status(tx *gorm.DB) (*outbox.Status, error) {
	if x.glance == nil && x.glanceErr == nil {
		ctx := tx.Statement.Context
		if x.glance, x.glanceErr = outbox.Of(x.DB).Status(ctx); x.glanceErr != nil && ctx.Err() != nil {
			x.glanceErr = context.Cause(ctx)
		}
	}
	return x.glance, x.glanceErr
}

// orphans looks for pending entries that owe what nobody knows.
func orphans(x *examination, tx *gorm.DB) ([]Finding, error) {
	if x.plugin.Registry().Empty() {
		return withoutCallbacks("whether somebody knows what entries owe"), nil
	}
	s, err := x.status(tx)
	if err != nil {
		return nil, err
	}
	var kinds []string
	for _, k := range s.Kinds {
		if k.Orphan {
			kinds = append(kinds, fmt.Sprintf("%s of %s owing %s (%s)", k.Event, k.Context, strings.Join(k.Owed, ", "), outbox.Gauge{N: k.N}))
		}
	}
	if len(kinds) > 0 {
		return []Finding{{
			Level: Warning, Seen: fmt.Sprintf("%s pending entries owe what this binary does not know, the oldest for %s: %s", s.Orphans, s.OldestOrphan, names(kinds)),
			Do: "if a newer binary knows them, deploy it to the workers; if a callback was renamed, give it its old name as an alias; if it is gone for good, 'reliable discard --state orphan'",
		}}, nil
	}
	return ok("what pending entries owe is known"), nil
}

// workers looks for those whose lease is over, and for work without one.
func workers(x *examination, tx *gorm.DB) (found []Finding, err error) {
	s, err := x.status(tx)
	if err != nil {
		return nil, err
	}
	var lost []string
	alive := 0
	for _, w := range s.Workers {
		if w.Alive {
			alive++
			continue
		}
		lost = append(lost, fmt.Sprintf("%s:%d (%s ago, %d entries held)", w.Hostname, w.PID, w.Beat, w.Held))
	}
	if len(lost) > 0 {
		found = append(found, Finding{
			Level: Warning, Seen: fmt.Sprintf("the lease of %d workers is over, since their last heartbeat: %s", len(lost), names(lost)),
			Do: "look why they ended or stand still; another worker takes over what they hold and removes them, if one is alive",
		})
	}
	if alive == 0 && s.Eligible.N > 0 {
		found = append(found, Finding{
			Level: Fault, Seen: fmt.Sprintf("no worker is alive, and %s entries are due, the oldest for %s", s.Eligible, s.OldestEligible),
			Do: "start a worker: worker.Main in the program that has the callbacks",
		})
	}
	return orOK(found, "%d workers are alive, %s entries are due", alive, s.Eligible), nil
}

// pauses looks for those that may have been forgotten.
func pauses(x *examination, tx *gorm.DB) (found []Finding, err error) {
	all, err := outbox.Of(x.DB).Paused(tx.Statement.Context)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		since := time.Since(p.At)
		if since <= x.OldPause {
			continue
		}
		found = append(found, Finding{
			Level: Warning, Seen: fmt.Sprintf("%s has been paused for %s: %s", p.String(), outbox.Age(since), p.Reason),
			Do: "if the reason is gone, 'reliable resume' with the same names",
		})
	}
	return orOK(found, "%d pauses, none older than %s", len(all), outbox.Age(x.OldPause)), nil
}
