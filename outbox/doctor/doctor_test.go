package doctor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/outbox/doctor"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // it says on standard error what these tests do on purpose
	goleak.VerifyTestMain(m)
}

type silent struct{}

// Printf implements go-redis's logger.
func (silent) Printf(context.Context, string, ...any) {}

// plugged returns a handle with the plugin.
func plugged(t *testing.T, url testdb.DB, opts ...gorm.Option) *gorm.DB {
	t.Helper()
	db := url.Open(t, opts...)
	plug(t, db)
	return db
}

// plug installs a plugin that knows the context billing.
func plug(t *testing.T, db *gorm.DB) {
	t.Helper()
	r := new(reliable.Registry)
	r.Handle("billing", "ledger", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	if err := db.Use(reliable.New(reliable.Config{Registry: r})); err != nil {
		t.Fatal(err)
	}
}

// open is plugged with all tables.
func open(t *testing.T, url testdb.DB, opts ...gorm.Option) *gorm.DB {
	t.Helper()
	db := plugged(t, url, opts...)
	migrate(t, db)
	return db
}

func migrate(t *testing.T, db *gorm.DB) {
	t.Helper()
	if err := migrations.Up(t.Context(), db); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, db *gorm.DB, queries ...string) {
	t.Helper()
	for _, query := range queries {
		if err := db.Exec(query).Error; err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

// examine returns what is found.
func examine(t *testing.T, d *doctor.Doctor) []doctor.Finding {
	t.Helper()
	findings, err := d.Examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

// want wants a finding of a level with some text, and says what to do.
func want(t *testing.T, findings []doctor.Finding, code string, level doctor.Level, seen, do string) {
	t.Helper()
	var others []doctor.Finding
	for _, f := range findings {
		if f.Code != code {
			continue
		}
		if others = append(others, f); f.Level == level && strings.Contains(f.Seen, seen) && strings.Contains(f.Do, do) && (f.Do != "" || level == doctor.OK) {
			return
		}
	}
	t.Errorf("findings of %s are %+v, want one of the level %s that has seen %q and says %q", code, others, level, seen, do)
}

// elsewhere reports whether a finding is of the server that tests share, or of
// one that is thrown away.
func elsewhere(f doctor.Finding) bool {
	switch f.Code {
	case "long_transactions", "connections":
		return true
	case "dead_rows":
		return strings.Contains(f.Seen, "undo")
	case "settings":
		return strings.Contains(f.Seen, "fsync") || strings.Contains(f.Seen, "innodb_flush_log_at_trx_commit")
	default:
		return strings.Contains(f.Seen, "autovacuum is off")
	}
}

// A database with which nothing is wrong has a finding of each examination, and
// nothing is to be done.
func TestHealthy(t *testing.T) {
	t.Parallel()
	codes := map[testdb.Dialect]string{
		testdb.Postgres: "migrations indexes storage partitions transactions orphans workers pauses listen connections clock long_transactions dead_rows autovacuum settings",
		testdb.MySQL:    "migrations indexes storage transactions orphans workers pauses connections clock long_transactions dead_rows settings",
		testdb.SQLite:   "migrations indexes transactions orphans workers pauses connections settings",
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		var got []string
		for _, f := range examine(t, &doctor.Doctor{DB: open(t, testdb.New(t, d)), Threads: 8, Pool: 10}) {
			if len(got) == 0 || got[len(got)-1] != f.Code {
				got = append(got, f.Code)
			}
			if (f.Level != doctor.OK || f.Seen == "" || f.Do != "") && !elsewhere(f) {
				t.Errorf("%+v, want nothing to do", f)
			}
		}
		if strings.Join(got, " ") != codes[d] {
			t.Errorf("codes are %q, want %s", got, codes[d])
		}
	})
}

// What can't be examined at all is an error.
func TestNothingToExamine(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	ended, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	gone := open(t, url)
	pool, err := gone.DB()
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ctx  context.Context
		db   *gorm.DB
		want string
	}{
		"no handle": {t.Context(), nil, "DB is not set"},
		"no plugin": {t.Context(), url.Open(t), "db.Use"},
		"no answer": {t.Context(), gone, doctor.ErrUnreachable.Error()},
		"no time":   {ended, open(t, url), "context canceled"},
	} {
		findings, err := (&doctor.Doctor{DB: test.db}).Examine(test.ctx)
		if err == nil || !strings.Contains(err.Error(), test.want) || findings != nil {
			t.Errorf("%s: Examine() = %v, %v, want an error with %q", name, findings, err, test.want)
		}
	}
}

// What does not answer in time is told, and keeps nothing else from being
// examined.
func TestDeadline(t *testing.T) {
	t.Parallel()
	url := testdb.New(t, testdb.Postgres)
	db := open(t, url)
	tx := url.Open(t).Begin()
	t.Cleanup(func() { tx.Rollback() })
	exec(t, tx, "LOCK TABLE outbox_migrations")
	findings := examine(t, &doctor.Doctor{DB: db, Timeout: time.Second})
	want(t, findings, "migrations", doctor.Unknown, "no answer within 1s", "a lock that somebody holds on the tables")
	if last := findings[len(findings)-1]; last.Code != "settings" {
		t.Errorf("the last finding is %+v, want all to be examined", last)
	}
}

// statements is a logger that keeps what is sent.
type statements struct {
	logger.Interface
	sent []string
}

// Trace implements [logger.Interface].
func (s *statements) Trace(_ context.Context, _ time.Time, fc func() (string, int64), _ error) {
	text, _ := fc()
	s.sent = append(s.sent, text)
}

// What may be large is read by [outbox.Outbox.Status] alone, which reads no more
// than so many rows of it, by an index: that package tests its plans.
func TestReadsLittle(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		t.Parallel()
		db := open(t, testdb.New(t, d))
		exec(t, db, "INSERT INTO outbox_entries (context, event_name, dead_at) VALUES ('billing', 'ledger', NULL), ('billing', 'ledger', '2026-01-05 10:00:00')")
		large := func(f func(db *gorm.DB)) (found []string) {
			seen := &statements{Interface: logger.Discard}
			f(db.Session(&gorm.Session{Logger: seen}))
			if len(seen.sent) == 0 {
				t.Fatal("no statement was seen")
			}
			for _, query := range seen.sent {
				if from := strings.Contains(query, "FROM outbox_entries") || strings.Contains(query, "FROM outbox_history") || strings.Contains(query, "FROM outbox_parked_keys"); from {
					found = append(found, query)
				}
			}
			return found
		}
		want := large(func(db *gorm.DB) {
			if _, err := outbox.Of(db).Status(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		got := large(func(db *gorm.DB) { examine(t, &doctor.Doctor{DB: db}) })
		if !slices.Equal(got, want) || len(want) < 3 {
			t.Errorf("these are sent: %q, want those of a status: %q", got, want)
		}
	})
}
