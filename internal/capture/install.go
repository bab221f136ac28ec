package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// capturer is what Install puts around GORM's write callbacks.
type capturer struct {
	hook    Hook
	options Options
}

// Install puts the capture around db's create, update and delete callbacks.
// The database must be PostgreSQL, MariaDB or SQLite.
func Install(db *gorm.DB, h Hook, o Options) error {
	switch db.Name() {
	case "postgres", "sqlite":
	case "mysql":
		if err := isMariaDB(db); err != nil {
			return err
		}
	default:
		return fmt.Errorf("reliable: %s is not supported: use PostgreSQL, MariaDB or SQLite", db.Name())
	}
	c := &capturer{hook: h, options: o}
	cb := db.Callback()
	const commit = "gorm:commit_or_rollback_transaction"
	return errors.Join(
		cb.Create().Replace("gorm:create", c.around(Create, cb.Create().Get("gorm:create"))),
		cb.Update().Replace("gorm:update", c.around(Update, cb.Update().Get("gorm:update"))),
		cb.Delete().Replace("gorm:delete", c.around(Delete, cb.Delete().Get("gorm:delete"))),
		cb.Create().After(commit).Register("reliable:committed", c.committed),
		cb.Update().After(commit).Register("reliable:committed", c.committed),
		cb.Delete().After(commit).Register("reliable:committed", c.committed),
	)
}

func isMariaDB(db *gorm.DB) error {
	if db.DryRun || db.ConnPool == nil {
		return nil
	}
	var version string
	if err := db.ConnPool.QueryRowContext(context.Background(), "SELECT VERSION()").Scan(&version); err != nil {
		return fmt.Errorf("reliable: ask for the database's version: %w", err)
	}
	if !containsFold(version, "mariadb") {
		return fmt.Errorf("reliable: MySQL %s is not supported yet: use MariaDB, PostgreSQL or SQLite", version)
	}
	return nil
}

// around runs GORM's own callback with the capture pool in place of the
// connection pool, if the hook wants to know of the write.
func (c *capturer) around(op Operation, original func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		if db.Error != nil || db.DryRun || db.Statement.Schema == nil {
			original(db)
			return
		}
		wanted, err := c.hook.Watches(db, op)
		if err != nil {
			_ = db.AddError(err)
			return
		}
		if !wanted {
			original(db)
			return
		}
		if _, ok := db.Statement.ConnPool.(gorm.TxCommitter); ok {
			c.inside(db, op, original)
		} else {
			c.inOwn(db, op, original)
		}
	}
}

// inside captures in the transaction that is open.
func (c *capturer) inside(db *gorm.DB, op Operation, original func(*gorm.DB)) {
	tx := db.Statement.ConnPool
	_, gormOwns := db.InstanceGet("gorm:started_transaction")
	recorded, doom := c.write(db, op, original)
	if doom && !gormOwns {
		// The application may ignore the error and commit: make that impossible.
		if err := tx.(gorm.TxCommitter).Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			_ = db.AddError(fmt.Errorf("reliable: roll back: %w", err))
		}
	}
	switch {
	case !recorded || doom:
	case gormOwns:
		db.InstanceSet("reliable:recorded", true)
	default:
		c.hook.Recorded(false)
	}
}

// committed reports the end of a transaction that GORM began for a write.
func (c *capturer) committed(db *gorm.DB) {
	if _, ok := db.InstanceGet("reliable:recorded"); ok && db.Error == nil {
		c.hook.Recorded(true)
	}
}

// inOwn captures in a transaction of its own around the write.
func (c *capturer) inOwn(db *gorm.DB, op Operation, original func(*gorm.DB)) {
	if c.options.RequireTransaction {
		_ = db.AddError(fmt.Errorf("reliable: %s of %s outside a transaction: wrap it in db.Transaction, or drop Config.RequireTransaction",
			op, db.Statement.Schema.Name))
		return
	}
	pool := db.Statement.ConnPool
	tx, err := begin(db.Statement.Context, pool)
	if err != nil {
		_ = db.AddError(err)
		return
	}
	ended := false
	defer func() {
		db.Statement.ConnPool = pool
		if !ended { // a panic is on its way
			_ = tx.(gorm.TxCommitter).Rollback()
		}
	}()
	db.Statement.ConnPool = tx
	recorded, _ := c.write(db, op, original)
	ended = true
	if db.Error != nil {
		db.RowsAffected = 0
		_ = tx.(gorm.TxCommitter).Rollback()
		return
	}
	if err := tx.(gorm.TxCommitter).Commit(); err != nil {
		db.RowsAffected = 0
		_ = db.AddError(err)
		return
	}
	if recorded {
		c.hook.Recorded(true)
	}
}

// begin opens a transaction on any of the pools that GORM writes through.
func begin(ctx context.Context, pool gorm.ConnPool) (gorm.ConnPool, error) {
	switch p := pool.(type) {
	case gorm.TxBeginner:
		return p.BeginTx(ctx, nil)
	case gorm.ConnPoolBeginner:
		return p.BeginTx(ctx, nil)
	default:
		return nil, fmt.Errorf("reliable: can't begin a transaction on %T: wrap the write in db.Transaction", pool)
	}
}

// write runs the original callback and records what it did. doom says that the
// write stands in the transaction without its record.
func (c *capturer) write(db *gorm.DB, op Operation, original func(*gorm.DB)) (recorded, doom bool) {
	tx := db.Statement.ConnPool
	p := &pool{ConnPool: tx, aux: plain(tx), db: db, op: op, options: c.options}
	defer func() { db.Statement.ConnPool = tx }()
	defer p.close()
	db.Statement.ConnPool = p
	original(db)
	db.Statement.ConnPool = p.aux
	if p.doomed {
		return false, true
	}
	if db.Error != nil && p.set == nil {
		return false, false
	}
	if p.set == nil || len(p.set.Rows) == 0 {
		return false, false
	}
	if err := c.record(db, p.set); err != nil {
		db.RowsAffected = 0
		_ = db.AddError(err)
		return false, true
	}
	return true, false
}

// record calls the hook; its panics are errors.
func (c *capturer) record(db *gorm.DB, set *Set) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("reliable: recording panicked: %v", v)
		}
	}()
	return c.hook.Record(db, set)
}

// plain returns the transaction below the user's cache of prepared statements.
func plain(tx gorm.ConnPool) gorm.ConnPool {
	if prepared, ok := tx.(*gorm.PreparedStmtTX); ok {
		return prepared.Tx
	}
	return tx
}

// String returns "create", "update" or "delete".
func (o Operation) String() string {
	switch o {
	case Create:
		return "create"
	case Update:
		return "update"
	default:
		return "delete"
	}
}
