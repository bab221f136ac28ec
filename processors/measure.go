package processors

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// measureOutbox tells how much there is of what, if anybody listens. What it
// costs has a bound, however full the outbox is: see [outbox.Outbox.Status].
func (h *housekeeper) measureOutbox(ctx context.Context) (more bool, err error) {
	monitor := h.site.Plugin.Monitor()
	if !monitor.Active() {
		return false, nil
	}
	var s *outbox.Status
	if h.dialect == "sqlite" { // a transaction may keep others from writing
		ctx, cancel := context.WithTimeout(ctx, statementTimeout)
		defer cancel()
		s, err = outbox.Of(h.quiet(ctx)).Status(ctx)
	} else {
		err = h.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			db := h.quiet(ctx)
			db.Statement.ConnPool = tx
			s, err = outbox.Of(db).Status(ctx)
			return err
		})
	}
	if err != nil {
		return false, err
	}
	e := &reliable.OutboxMeasured{
		Worker:  h.site.Worker,
		Pending: reliable.Gauge(s.Pending), Eligible: reliable.Gauge(s.Eligible), Waiting: reliable.Gauge(s.Waiting), Held: reliable.Gauge(s.Held),
		Dead: reliable.Gauge(s.Dead), ParkedKeys: reliable.Gauge(s.ParkedKeys), Orphans: reliable.Gauge(s.Orphans),
		OldestEligible: time.Duration(s.OldestEligible), OldestDead: time.Duration(s.OldestDead),
		OldestParked: time.Duration(s.OldestParked), OldestOrphan: time.Duration(s.OldestOrphan),
		Pauses: len(s.Pauses), DeadRows: h.bloat.dead,
	}
	for _, w := range s.Workers {
		if w.Alive {
			e.Workers++
			e.Threads += w.Threads
		}
	}
	monitor.Publish(e)
	return false, nil
}

// quiet returns a handle that tells nobody's logger of its statements. They are
// in a transaction already, where there is one, and need no savepoints.
func (h *housekeeper) quiet(ctx context.Context) *gorm.DB {
	return h.site.DB.Session(&gorm.Session{NewDB: true, Context: ctx, Logger: logger.Discard, DisableNestedTransaction: true})
}
