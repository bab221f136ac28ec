package reliable_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/channel"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// notified is a database whose notifications are listened for.
type notified struct {
	db     *gorm.DB
	plugin *reliable.Plugin
	conn   *pgx.Conn
}

func newNotified(t *testing.T, url testdb.DB, config reliable.Config) *notified {
	t.Helper()
	config.Registry = new(reliable.Registry)
	reliable.AfterCommit(config.Registry, reliable.Callback[Thing]{Name: "x", Run: func(context.Context, reliable.Change[Thing]) error { return nil }})
	n := &notified{db: url.Open(t), plugin: reliable.New(config)}
	var err error
	if n.conn, err = pgx.Connect(t.Context(), url.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.conn.Close(context.Background()) })
	if err := errors.Join(n.db.AutoMigrate(&Thing{}), migrations.Up(t.Context(), n.db), n.db.Use(n.plugin)); err != nil {
		t.Fatal(err)
	}
	var name string
	if err := n.conn.QueryRow(t.Context(), "SELECT "+channel.Name(n.plugin.Tables().Entries())).Scan(&name); err != nil {
		t.Fatal(err)
	}
	if _, err := n.conn.Exec(t.Context(), `LISTEN "`+name+`"; LISTEN mark`); err != nil {
		t.Fatal(err)
	}
	return n
}

// arrived counts what was notified until now.
func (n *notified) arrived(t *testing.T) (count int) {
	t.Helper()
	if err := n.plugin.Close(t.Context()); err != nil { // when it is told, all is sent
		t.Fatal(err)
	}
	if err := n.db.Exec("NOTIFY mark").Error; err != nil {
		t.Fatal(err)
	}
	for {
		got, err := n.conn.WaitForNotification(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Channel == "mark" {
			return count
		}
		if got.Payload != "" {
			t.Errorf("payload %q, want none", got.Payload)
		}
		count++
	}
}

// Thing is the model of these tests.
type Thing struct{ ID uint }

// However many transactions commit, few notifications are sent, and one after
// the last commit.
func TestNotificationsAreFew(t *testing.T) {
	n := newNotified(t, testdb.New(t, testdb.Postgres), reliable.Config{})
	const writers, writes = 4, 100
	begun := time.Now()
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range writes {
				if err := n.db.Create(&Thing{}).Error; err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	sent := n.arrived(t)
	if most := int(time.Since(begun)/(5*time.Millisecond)) + 2; sent < 1 || sent > most {
		t.Errorf("%d notifications for %d commits, want 1 to %d", sent, writers*writes, most)
	}
}

// A commit that GORM does not report is told, too: those who listen look again
// for a while.
func TestNotifiesUnreportedCommits(t *testing.T) {
	n := newNotified(t, testdb.New(t, testdb.Postgres), reliable.Config{})
	tx := n.db.Begin()
	if err := errors.Join(tx.Create(&Thing{}).Error, tx.Commit().Error); err != nil {
		t.Fatal(err)
	}
	if sent := n.arrived(t); sent < 1 {
		t.Errorf("%d notifications, want 1 or more", sent)
	}
}

// Nothing is sent by who must not, after the end, for what owes nothing, or for
// what is rolled back.
func TestNotifiesNobody(t *testing.T) {
	undo := errors.New("undo")
	create := func(n *notified) error { return n.db.Create(&Thing{}).Error }
	for name, test := range map[string]struct {
		config reliable.Config
		do     func(n *notified) error
	}{
		"NoNotify": {reliable.Config{NoNotify: true}, create},
		"closed":   {reliable.Config{}, func(n *notified) error { return errors.Join(n.plugin.Close(context.Background()), create(n)) }},
		"skipped":  {reliable.Config{}, func(n *notified) error { return reliable.Skip(n.db).Create(&Thing{}).Error }},
		"undone": {reliable.Config{}, func(n *notified) error {
			err := reliable.Transaction(n.db, func(tx *gorm.DB) error { return errors.Join(tx.Create(&Thing{}).Error, undo) })
			if errors.Is(err, undo) {
				return nil
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNotified(t, testdb.New(t, testdb.Postgres), test.config)
			if err := test.do(n); err != nil {
				t.Fatal(err)
			}
			if sent := n.arrived(t); sent != 0 {
				t.Errorf("%d notifications, want 0", sent)
			}
		})
	}
}

// Writes don't feel it when nothing can be notified, and the monitor is told
// once.
func TestNotifyFails(t *testing.T) {
	url := testdb.New(t, testdb.Postgres)
	url.URL = strings.Replace(url.URL, "&sslmode=", "%2Cpg_catalog&sslmode=", 1) // the schema first, in which a function fails
	db := url.Open(t)
	const broken = "CREATE FUNCTION pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'too many notifications in the NOTIFY queue'; END $$"
	if err := db.Exec(broken).Error; err != nil {
		t.Fatal(err)
	}
	monitor := new(reliable.Monitor)
	var told atomic.Int64
	defer reliable.Subscribe(monitor, func(e *reliable.ErrorOccurred) {
		if e.Step == "notify" && strings.Contains(e.Err.Error(), "too many notifications") {
			told.Add(1)
		}
	})()
	n := newNotified(t, url, reliable.Config{Monitor: monitor})
	pool, err := n.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(1) // nor does it take a connection that they wait for
	for range 20 {
		err := n.db.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Thing{}).Error, tx.Create(&Thing{}).Error) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(n.plugin.Close(t.Context()), monitor.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	var things int64
	if err := n.db.Model(&Thing{}).Count(&things).Error; err != nil || things != 40 || told.Load() != 1 {
		t.Errorf("%d things, %v, told %d times; want 40, nil, once", things, err, told.Load())
	}
}
