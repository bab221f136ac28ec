package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// named makes a schema, database or file of that name.
func named(t *testing.T, d testdb.Dialect, name string) testdb.DB {
	t.Helper()
	base := testdb.New(t, d)
	u, err := url.Parse(base.URL)
	if err != nil {
		t.Fatal(err)
	}
	quoted := map[testdb.Dialect]string{testdb.Postgres: `"` + strings.ReplaceAll(name, `"`, `""`) + `"`, testdb.MySQL: "`" + strings.ReplaceAll(name, "`", "``") + "`"}[d]
	switch d {
	case testdb.Postgres:
		query := u.Query()
		query.Set("search_path", quoted)
		u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // pgx takes a plus for one
		admin := base.Open(t)
		exec(t, admin, "DROP SCHEMA IF EXISTS "+quoted+" CASCADE")
		exec(t, admin, "CREATE SCHEMA "+quoted)
		t.Cleanup(func() { exec(t, base.Open(t), "DROP SCHEMA "+quoted+" CASCADE") })
	case testdb.MySQL:
		admin := base.Open(t)
		exec(t, admin, "CREATE DATABASE "+quoted)
		t.Cleanup(func() { exec(t, base.Open(t), "DROP DATABASE "+quoted) })
		u.Path = "/" + name
	default:
		return testdb.DB{Dialect: d, URL: "sqlite://" + filepath.Join(t.TempDir(), name+".db")}
	}
	return testdb.DB{Dialect: d, URL: u.String()}
}

// An outbox works in a schema of any name, and with the longest names for its
// tables: it is migrated, worked in either order, kept, examined and dropped
// (73).
func TestSchemasOfAnyName(t *testing.T) {
	unique := fmt.Sprint(time.Now().UnixNano())
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		long := unique + strings.Repeat("ж", (63-len(unique))/2)
		for name, tables := range map[string]reliable.Tables{
			unique + ` Схема it's "x"; DROP --`: {},
			long:                                {},
			"p" + unique:                        {Prefix: strings.Repeat("p", 40)},
		} {
			t.Run(name, func(t *testing.T) {
				r := new(reliable.Registry)
				reliable.Register(r, reliable.Model[Order]{CausalityKey: func(o *Order) string { return fmt.Sprint(o.Total) }})
				reliable.AfterCommit(r, reliable.Callback[Order]{Name: "receipt", Run: done})
				m := new(reliable.Monitor)
				troubles := make(chan string, 100)
				m.Subscribe(func(e reliable.Event) {
					if e, ok := e.(*reliable.ErrorOccurred); ok {
						troubles <- e.Step + ": " + e.Err.Error()
					}
				})
				db := named(t, d, name).Open(t)
				if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, Monitor: m, Tables: tables, StrictOrder: true})), migrations.Up(t.Context(), db), db.AutoMigrate(&Order{})); err != nil {
					t.Fatal(err)
				}
				old := fmt.Sprintf("pg_inherits WHERE inhparent = '%s'::regclass AND inhrelid::regclass::text = 'old'", tables.History())
				if d == testdb.Postgres { // which is to go
					exec(t, db, "CREATE TABLE old PARTITION OF "+tables.History()+" FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')")
				}
				o := outbox.Of(db)
				for i, processor := range []processors.EntriesProcessor{&processors.NonOrdered{Housekeeping: processors.Housekeeping{Every: 50 * time.Millisecond}}, new(processors.OrderedByCausalityKey)} {
					if err := db.Create(&[]Order{{Total: 1}, {Total: 1}, {Total: 2}}).Error; err != nil {
						t.Fatal(err)
					}
					ctx, stop := context.WithCancel(t.Context())
					ended := make(chan error, 1)
					go func() {
						ended <- (&worker.Worker{DB: db, Processor: processor, PollInterval: 20 * time.Millisecond}).Run(ctx)
					}()
					await(t, "all is done", func() bool {
						return count(t, db, tables.History()) == int64(3*(i+1)) && count(t, db, tables.Entries()) == 0
					})
					await(t, "the old partition is gone", func() bool { return d != testdb.Postgres || count(t, db, old) == 0 })
					stop()
					if err := <-ended; err != nil {
						t.Fatal(err)
					}
				}
				findings, err := (&doctor.Doctor{DB: db}).Examine(t.Context())
				if err != nil {
					t.Error(err)
				}
				for _, f := range findings {
					if f.Level == doctor.Unknown || f.Level != doctor.OK && (f.Code == "migrations" || f.Code == "indexes" || f.Code == "partitions") {
						t.Errorf("the doctor found %+v", f)
					}
				}
				if _, err := o.Status(t.Context()); err != nil {
					t.Error(err)
				}
				if err := migrations.Down(t.Context(), db); err != nil {
					t.Error(err)
				}
				for len(troubles) > 0 {
					t.Error(<-troubles)
				}
			})
		}
	})
}
