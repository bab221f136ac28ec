package matrix_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/plugin/dbresolver"

	"github.com/gorm-aftercommit/aftercommit/internal/oracle"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// open makes a database with the tables of two models and of the outbox.
func open(t *testing.T, d testdb.Dialect) *gorm.DB {
	t.Helper()
	db := testdb.New(t, d).Open(t, &gorm.Config{NowFunc: noon, Logger: logger.Discard})
	if err := errors.Join(db.AutoMigrate(&Company{}, &Part{}), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// became returns the outcome of what is logged.
func became(t *testing.T, log *oracle.Log) outcome {
	t.Helper()
	if diff := log.Diff(t); diff != "" {
		t.Errorf("rows: -triggers +entries\n%s", diff)
	}
	switch entries := log.Entries(t); {
	case len(entries) == 0:
		return nothing
	case strings.Contains(strings.Join(entries, "\n"), oracle.Unknown):
		return oldUnknown
	default:
		return captured
	}
}

// upsertRace has a session upsert a row that another has inserted, and commits
// only while the upsert waits.
func upsertRace(t *testing.T, d testdb.Dialect) outcome {
	db := open(t, d)
	if err := db.Use(reliable.New(reliable.Config{Registry: registry(), AllModels: true})); err != nil {
		t.Fatal(err)
	}
	log := oracle.Watch(t, db, &Company{}, &Part{})
	first := db.Begin()
	if err := first.Create(&Part{ID: 70, Qty: 1}).Error; err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- db.Clauses(updating(conflict("id"), "qty")).Create(&Part{ID: 70, Qty: 2}).Error }()
	untilBlocked(t, db, first)
	if err := errors.Join(first.Commit().Error, <-done); err != nil {
		t.Fatal(err)
	}
	if n := len(log.Changes(t)); n != 2 {
		t.Errorf("%d rows changed, want 2: an insert and an update", n)
	}
	return became(t, log)
}

// untilBlocked waits until another session waits for tx. On SQLite every writer
// waits for the one before, and nobody can tell.
func untilBlocked(t *testing.T, db, tx *gorm.DB) {
	t.Helper()
	var self, query string
	switch db.Name() {
	case "postgres":
		self, query = "SELECT pg_backend_pid()", "SELECT count(*) FROM pg_stat_activity WHERE ? = ANY (pg_blocking_pids(pid))"
	case "mysql":
		self = "SELECT connection_id()"
		query = "SELECT count(*) FROM information_schema.innodb_lock_waits AS w JOIN information_schema.innodb_trx AS x ON x.trx_id = w.blocking_trx_id WHERE x.trx_mysql_thread_id = ?"
	default:
		return
	}
	var id, waiting int
	if err := tx.Raw(self).Scan(&id).Error; err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for waiting == 0 {
		<-tick.C
		if err := db.Raw(query, id).Scan(&waiting).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// twoSources has one model in another database than the rest: its entries must
// be there, too.
func twoSources(t *testing.T, d testdb.Dialect) outcome {
	db, other := open(t, d), open(t, d)
	resolver := dbresolver.Register(dbresolver.Config{Sources: []gorm.Dialector{other.Dialector}}, &Part{})
	if err := errors.Join(db.Use(resolver), db.Use(reliable.New(reliable.Config{Registry: registry(), AllModels: true}))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = resolver.Call(func(p gorm.ConnPool) error {
			if pool, ok := p.(interface{ Close() error }); ok {
				return pool.Close()
			}
			return nil
		})
	})
	here, there := oracle.Watch(t, db, &Company{}, &Part{}), oracle.Watch(t, other, &Company{}, &Part{})
	for _, session := range []*gorm.DB{db, db.Session(&gorm.Session{SkipDefaultTransaction: true}), db.Session(&gorm.Session{PrepareStmt: true})} {
		err := errors.Join(
			session.Create(&[]Company{{Name: "a"}, {Name: "b"}}).Error,
			session.Create(&[]Part{{Qty: 1}, {Qty: 2}, {Qty: 3}}).Error,
			session.Model(&Part{}).Where("qty > 1").Update("qty", gorm.Expr("qty * 10")).Error,
			session.Model(&Company{}).Where("name = 'a'").Update("name", "c").Error,
			session.Where("qty = 20").Delete(&Part{}).Error,
			session.Transaction(func(tx *gorm.DB) error { // a transaction has one connection
				return errors.Join(tx.Create(&Company{Name: "d"}).Error, tx.Create(&Part{ID: 500, Qty: 5}).Error, tx.Delete(&Part{}, 500).Error)
			}),
			session.Clauses(dbresolver.Write).Model(&Part{}).Where("qty = 30").Update("qty", 31).Error,
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	if h, o := len(here.Changes(t)), len(there.Changes(t)); h < 12 || o < 12 {
		t.Errorf("%d rows changed in one database, %d in the other: want both to be written", h, o)
	}
	if one, two := became(t, here), became(t, there); one != two {
		t.Errorf("%s in one database, %s in the other", one, two)
	}
	return became(t, there)
}

// with returns a stage that opens a database with a setting of the plugin's,
// and writes.
func with(config reliable.Config, write func(db *gorm.DB) error) func(t *testing.T, d testdb.Dialect) outcome {
	return func(t *testing.T, d testdb.Dialect) outcome {
		db := open(t, d)
		config := config
		config.Registry, config.AllModels = registry(), true
		if err := db.Use(reliable.New(config)); err != nil {
			t.Fatal(err)
		}
		log := oracle.Watch(t, db, &Company{}, &Part{})
		err := write(db)
		seen := became(t, log)
		if err != nil {
			if !strings.Contains(err.Error(), "reliable: ") {
				t.Error(err)
			}
			return refused
		}
		return seen
	}
}

// Visible is a part as far as a role may read it.
type Visible struct {
	ID  uint
	Qty int
}

// TableName implements gorm's schema.Tabler.
func (Visible) TableName() string { return "parts" }

// granted returns a stage that writes as a role that may read only some of the
// columns.
func granted(write func(db *gorm.DB) error) func(t *testing.T, d testdb.Dialect) outcome {
	return func(t *testing.T, d testdb.Dialect) outcome {
		place := testdb.New(t, d)
		owner := place.Open(t)
		var schema string
		if err := errors.Join(owner.AutoMigrate(&Part{}), migrations.Up(t.Context(), owner), owner.Raw("SELECT current_schema()").Scan(&schema).Error); err != nil {
			t.Fatal(err)
		}
		role := schema + "_clerk"
		run := func(statements ...string) {
			for _, statement := range statements {
				if err := owner.Exec(strings.NewReplacer("$role", role, "$schema", schema).Replace(statement)).Error; err != nil {
					t.Error(err)
				}
			}
		}
		run("INSERT INTO parts (id, parts, qty) VALUES (1, 1, 1), (2, 2, 2)", "CREATE ROLE $role")
		t.Cleanup(func() { run("DROP OWNED BY $role", "DROP ROLE $role") })
		log := oracle.Watch(t, owner, &Visible{})
		run("GRANT USAGE ON SCHEMA $schema TO $role", "GRANT SELECT (id, qty), INSERT, UPDATE, DELETE ON parts TO $role",
			"GRANT ALL ON outbox_entries TO $role", "GRANT USAGE ON ALL SEQUENCES IN SCHEMA $schema TO $role")
		db, err := testdb.OpenURL(place.URL + "&role=" + role)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pool.Close() }()
		if err := db.Use(reliable.New(reliable.Config{AllModels: true})); err != nil {
			t.Fatal(err)
		}
		if err := write(db); err != nil {
			if !strings.Contains(err.Error(), "reliable: ") || len(log.Changes(t)) > 0 {
				t.Error(err)
			}
			return refused
		}
		return became(t, log)
	}
}
