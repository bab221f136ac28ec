package capture

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/failpoint"
)

// started is the setting by which GORM marks the statement that began its
// default transaction.
const started = "gorm:started_transaction"

// capture is what Install puts around GORM's write callbacks.
type capture struct {
	hook    Hook
	options Options
	dialect dialect

	replayer replayer
}

// unit is a default transaction of GORM's. It travels in the context of the
// statement that began it, so that nested statements (associations, hooks)
// find it.
type unit struct {
	owner    *gorm.Statement
	outer    context.Context //nolint:containedctx // put back when the transaction ends
	tx       gorm.ConnPool   // past the statement cache
	recorded bool
	err      error // why a nested statement rolled the transaction back
}

type unitKey struct{ *capture }

// Install wraps db's create, update and delete callbacks so that h learns of
// every row that they change. It does so once per db: a second Install is an
// error, as is a database that capture does not know. If db has a pool, Install
// asks the server for its version.
//
// While GORM's own callback runs, the statement's ConnPool is replaced; GORM's
// one call is answered from rows that the database returned for the rewritten
// statement. Raw SQL, cascades and statements without a model are not seen.
func Install(db *gorm.DB, h Hook, o Options) error {
	d, err := dialectOf(db)
	if err != nil {
		return err
	}
	c := &capture{hook: h, options: o, dialect: d}
	creates, updates, deletes := db.Callback().Create(), db.Callback().Update(), db.Callback().Delete()
	create, update, remove := creates.Get("gorm:create"), updates.Get("gorm:update"), deletes.Get("gorm:delete")
	if create == nil || update == nil || remove == nil {
		return errors.New("reliable: GORM's own callbacks are missing: install the plugin after gorm.Open")
	}
	if creates.Get("reliable:committed") != nil {
		return errors.New("reliable: capture is installed already")
	}
	const begin, end = "gorm:begin_transaction", "gorm:commit_or_rollback_transaction"
	return errors.Join(
		creates.Replace("gorm:create", c.around(Create, create)),
		updates.Replace("gorm:update", c.around(Update, update)),
		deletes.Replace("gorm:delete", c.around(Delete, remove)),
		creates.After(begin).Before("gorm:before_create").Register("reliable:begun", c.begun),
		updates.After(begin).Before("gorm:setup_reflect_value").Register("reliable:begun", c.begun),
		deletes.After(begin).Before("gorm:before_delete").Register("reliable:begun", c.begun),
		creates.After(end).Register("reliable:committed", c.committed),
		updates.After(end).Register("reliable:committed", c.committed),
		deletes.After(end).Register("reliable:committed", c.committed),
		db.Callback().Raw().After("gorm:raw").Register("reliable:ended", c.abandon),
		db.Callback().Row().After("gorm:row").Register("reliable:ended", c.abandon),
		db.Callback().Query().After("gorm:query").Register("reliable:ended", c.abandon),
	)
}

// around returns a callback that runs core with the statement's rows captured.
func (c *capture) around(op Operation, core func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		if db.Error != nil || db.DryRun {
			core(db)
			return
		}
		watched, err := c.hook.Watches(db, op)
		if err != nil {
			_ = db.AddError(err)
			return
		}
		defer c.abandon(db)
		if !watched || db.Statement.Schema == nil {
			core(db)
			return
		}
		p := &pool{ConnPool: db.Statement.ConnPool, capture: c, db: db, op: op}
		if outer, ok := p.ConnPool.(*pool); ok { // a write while another's SQL is built
			p.ConnPool = outer.ConnPool
		}
		original := db.Statement.ConnPool
		db.Statement.ConnPool = p
		defer func() {
			db.Statement.ConnPool = original
			if p.committed {
				c.hook.Recorded(true)
			}
		}()
		core(db)
	}
}

// begun notes that the statement began GORM's default transaction.
func (c *capture) begun(db *gorm.DB) {
	if _, ok := db.InstanceGet(started); !ok || db.Error != nil || db.DryRun {
		return
	}
	stmt := db.Statement
	if _, ok := stmt.ConnPool.(gorm.TxCommitter); !ok {
		return
	}
	u := &unit{owner: stmt, outer: stmt.Context, tx: Uncached(stmt.ConnPool)}
	stmt.Context = context.WithValue(stmt.Context, unitKey{c}, u)
}

// committed tells the hook that GORM's default transaction is committed, when
// the statement that began it has ended.
func (c *capture) committed(db *gorm.DB) {
	u, ok := db.Statement.Context.Value(unitKey{c}).(*unit)
	if !ok || u.owner != db.Statement {
		return
	}
	db.Statement.Context = u.outer
	failpoint.Hit("capture.ended")
	if u.err != nil { // GORM could only say that the transaction is gone
		db.Error = u.err
		if db.Statement.Result != nil {
			db.Statement.Result.Error = u.err
		}
	}
	if u.recorded && db.Error == nil {
		c.hook.Recorded(true)
	}
}

// unit returns the default transaction that tx is, or nil.
func (c *capture) unit(db *gorm.DB, tx gorm.ConnPool) *unit {
	if u, ok := db.Statement.Context.Value(unitKey{c}).(*unit); ok && u.tx == tx {
		return u
	}
	return nil
}

// Uncached returns what p sends statements to, past GORM's statement cache and
// the capture.
func Uncached(p gorm.ConnPool) gorm.ConnPool {
	for {
		switch cache := p.(type) {
		case *gorm.PreparedStmtTX:
			p = cache.Tx
		case *gorm.PreparedStmtDB:
			p = cache.ConnPool
		case *pool:
			p = cache.ConnPool
		default:
			return p
		}
	}
}

// model names the statement's model in errors.
func model(db *gorm.DB) string {
	if name := db.Statement.Schema.Name; name != "" {
		return name
	}
	return "table " + db.Statement.Table
}

// String returns "create", "update" or "delete".
func (op Operation) String() string {
	switch op {
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	default:
		return fmt.Sprintf("Operation(%d)", uint8(op))
	}
}
