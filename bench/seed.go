package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// pattern is how many orders are written through GORM, with the plugin. All
// others are copies of these and of their entries, with ids of their own.
const pattern = 1000

// chunk is how many rows one statement copies.
const chunk = 100 * pattern

// openOurs connects to a schema, with the plugin.
func openOurs(url string, config reliable.Config) (db *gorm.DB, closed func() error, err error) {
	db, err = gorm.Open(postgres.Open(url), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, nil, err
	}
	config.MaxEntryBytes = 4 << 20
	if err := db.Use(reliable.New(config)); err != nil {
		return nil, nil, errors.Join(err, pool.Close())
	}
	return db, pool.Close, nil
}

// seed makes ours tables, with orders 1 to n and their entries, of the same
// ids; of those after orders, the orders are left out.
func (p place) seed(ctx context.Context, db *gorm.DB, n, orders int) error {
	db = db.WithContext(ctx)
	if err := errors.Join(db.AutoMigrate(&Order{}, &Document{}), migrations.Up(ctx, db)); err != nil {
		return err
	}
	if n > 0 {
		if err := createAtOnce(db, min(n, pattern)); err != nil {
			return err
		}
	}
	said := time.Now()
	for from := 1; from*pattern < n; from += chunk / pattern {
		to := min(from+chunk/pattern, (n+pattern-1)/pattern) - 1
		if err := p.exec(ctx, p.copies("orders", from, to, min(n, orders)), p.copies("outbox_entries", from, to, n)); err != nil {
			return err
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			fmt.Printf("        seeded %d of %d\n", min((to+1)*pattern, n), n)
		}
	}
	if err := p.checkSeed(ctx, n); err != nil {
		return err
	}
	return p.exec(ctx,
		fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s.orders', 'id'), %d)", p.schema, max(n, 1)),
		fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s.outbox_entries', 'id'), %d)", p.schema, max(n, 1)))
}

// checkSeed looks at the last entry: it must be what the plugin would have
// written for the order of its id.
func (p place) checkSeed(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	var same bool
	keyed := "causality_key IS NULL AND lane IS NULL"
	if p.keyed {
		keyed = fmt.Sprintf("(causality_key, lane) = (SELECT key, lane FROM %s.keys WHERE id = %d)", p.schema, n)
	}
	err := p.ask(ctx, fmt.Sprintf(`SELECT count(*) = 1 FROM %s.outbox_entries WHERE id = %[2]d AND resource_id = '%[2]d'
		AND changeset LIKE '{"v":1,"key":{"id":%[2]d},"set":{%%' AND changeset LIKE '%%,"id":[null,%[2]d],%%' AND %[3]s`, p.schema, n, keyed), &same)
	if err == nil && !same {
		err = errors.New("the plugin writes entries in another form than seed.go copies")
	}
	return err
}

// copies returns the statement that copies the pattern's rows for the given
// times, from first to last, up to the row with id n.
func (p place) copies(table string, first, last, n int) string {
	columns, values := "customer, email, status, total, created_at", "customer, email, status, total, created_at"
	keys := ""
	if table == "outbox_entries" {
		columns = "kind, owed, context, resource_class, event_name, causality_key, lane, arguments, headers, resource_id, changeset"
		values = `kind, owed, context, resource_class, event_name, causality_key, lane, arguments, headers, r.to::text,
			replace(replace(changeset, '"id":' || r.id || '}', '"id":' || r.to || '}'), '"id":[null,' || r.id || ']', '"id":[null,' || r.to || ']')`
		if p.keyed {
			values, keys = strings.Replace(values, "causality_key, lane", "k.key, k.lane", 1), "JOIN "+p.schema+".keys k ON k.id = r.to"
		}
	}
	return fmt.Sprintf(`INSERT INTO %[1]s.%[2]s (id, %[3]s) SELECT r.to, %[4]s
		FROM (SELECT id, id + times * %[5]d AS to FROM generate_series(1, %[5]d) id, generate_series(%[6]d, %[7]d) times) r JOIN %[1]s.%[2]s t USING (id) %[9]s
		WHERE r.to <= %[8]d ORDER BY r.to`, p.schema, table, columns, values, pattern, first, last, n, keys)
}

// settled waits for a start that is the same for every side.
func (p place) settled(ctx context.Context) error {
	return p.settle(ctx, p.schema+".orders", p.schema+".outbox_entries")
}

// span is a range of entries by id, without the first and with the last.
type span struct{ after, to int }

// drained returns what to wait for until all of a span is done: that the end
// of it is, which costs next to nothing to ask, and then that all of it is.
func (p place) drained(s span) []string {
	query := "SELECT NOT EXISTS (SELECT FROM %s.outbox_entries WHERE id > %d AND id <= %d)"
	return []string{
		fmt.Sprintf(query, p.schema, max(s.after, s.to-5000), s.to),
		fmt.Sprintf(query, p.schema, s.after, s.to),
	}
}

// createAtOnce creates n orders in one statement.
func createAtOnce(db *gorm.DB, n int) error {
	orders := make([]Order, n)
	for i := range orders {
		orders[i] = order()
	}
	return db.Create(&orders).Error
}
