package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// start runs a worker until the test ends, or stop is called.
func start(t *testing.T, w *worker.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// heads are entries of one key, of which the first can't be decrypted.
type heads struct {
	Attempts   int
	Dead       bool
	ErrorClass string
	Message    string
}

func head(t *testing.T, db *gorm.DB, id int64) (h heads) {
	t.Helper()
	err := db.Raw("SELECT attempts, dead_at IS NOT NULL AS dead, coalesce(error_class, '') AS error_class, coalesce(error_message, '') AS message FROM outbox_entries WHERE id = ?", id).Scan(&h).Error
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// An entry under a key that a worker lacks waits and burns nothing, and its
// causality key with it, if there is order; all others run. With the key it
// runs (75).
func TestUnknownKeyWaits(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("ordered %t", ordered), func(t *testing.T) {
				url := testdb.New(t, d)
				var ran atomic.Int64
				send(t, withKeys(t, url, keys("next"), &ran), 1, 3)
				lacking := withKeys(t, url, keys("now"), &ran)
				send(t, lacking, 1, 3) // the same causality keys
				send(t, lacking, 3, 4)
				processor := func() processors.EntriesProcessor {
					if ordered {
						return new(processors.OrderedByCausalityKey)
					}
					return new(processors.NonOrdered)
				}
				plugin, err := reliable.From(lacking)
				if err != nil {
					t.Fatal(err)
				}
				told := make(chan string, 100)
				defer plugin.Monitor().Subscribe(func(e reliable.Event) {
					if failed, ok := e.(*reliable.ErrorOccurred); ok {
						told <- failed.Step + ": " + failed.Err.Error()
					}
				})()
				stop := start(t, &worker.Worker{DB: lacking, Processor: processor(), PollInterval: 20 * time.Millisecond})
				want := map[bool]int64{false: 3, true: 1}[ordered]
				await(t, "what can be decrypted is run, and the rest waits", func() bool {
					return ran.Load() == want && head(t, lacking, 1).ErrorClass != "" && head(t, lacking, 2).ErrorClass != ""
				})
				stop()
				for id := range int64(2) {
					if got := head(t, lacking, id+1); got.Attempts != 0 || got.Dead || got.ErrorClass != "*reliable.UnknownKeyError" || !strings.Contains(got.Message, `column arguments: encrypted with key "next", and Config.Encryption has only now`) {
						t.Errorf("entry %d is %+v, want that it waits without an attempt, and says for which key", id+1, got)
					}
				}
				select {
				case text := <-told:
					if !strings.HasPrefix(text, "decrypt: entry ") || !strings.Contains(text, ` waits: column arguments: encrypted with key "next"`) {
						t.Errorf("told is %q, want that an entry waits", text)
					}
				case <-time.After(10 * time.Second):
					t.Error("nothing is told of an entry that waits")
				}
				page, err := outbox.Of(lacking).List(t.Context(), outbox.Filter{State: outbox.Waiting, ErrorClass: "*reliable.UnknownKeyError"})
				if err != nil || len(page.Entries) != 2 || ran.Load() != want {
					t.Errorf("List() = %+v, %v after %d runs, want the two that wait", page, err, ran.Load())
				}
				exec(t, lacking, "UPDATE outbox_entries SET retry_at = created_at WHERE retry_at IS NOT NULL")
				stop = start(t, &worker.Worker{DB: withKeys(t, url, keys("now", "next"), &ran), Processor: processor(), PollInterval: 20 * time.Millisecond})
				await(t, "all are run", func() bool { return ran.Load() == 5 })
				stop()
				if n := count(t, lacking, "outbox_entries"); n != 0 {
					t.Errorf("%d entries are left, want none", n)
				}
			})
		}
	})
}

// What was encrypted and then altered, or put elsewhere, reaches no callback: the
// entry fails and says why (74).
func TestForgedCiphertexts(t *testing.T) {
	forgeries := []struct{ name, set string }{
		{"another's arguments", "arguments = (SELECT arguments FROM (SELECT * FROM outbox_entries) AS o WHERE id = 1)"},
		{"another column's", "arguments = headers"},
		{"cut off", "arguments = substr(arguments, 1, 90)"},
		{"altered", "arguments = replace(arguments, substr(arguments, 60, 4), 'AAAA')"},
		{"another id", "resource_id = '4711'"},
		{"another event", "event_name = 'invoice_paid'"},
		{"another key", "causality_key = 'key-1'"},
		{"another callback", `owed = '["audit"]', kind = 0`},
		{"no data", `arguments = '{"reliable:sealed":1,"key":"now","data":""}'`},
		{"a path for a key", `arguments = '{"reliable:sealed":1,"key":"../../etc/passwd","data":"AAAA"}'`},
		{"a template for a key", `headers = '{"reliable:sealed":1,"key":"{{.}}","data":"AAAA"}'`},
	}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		var ran, audited atomic.Int64
		r := new(reliable.Registry)
		for name, n := range map[string]*atomic.Int64{"ledger": &ran, "audit": &audited} {
			r.Handle("billing", name, reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error {
				n.Add(1)
				return nil
			}))
		}
		writer := withKeys(t, url, keys("now"), &ran)
		send(t, writer, 1, 2+len(forgeries))
		for i, f := range forgeries {
			exec(t, writer, "UPDATE outbox_entries SET "+f.set+" WHERE id = ?", i+2)
		}
		db := url.Open(t)
		if err := db.Use(reliable.New(reliable.Config{Registry: r, Encryption: keys("now")})); err != nil {
			t.Fatal(err)
		}
		stop := start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		await(t, "all are run", func() bool { return ran.Load() == 1 && count(t, db, "outbox_entries WHERE attempts = 0") == 0 })
		stop()
		for i, f := range forgeries {
			if got := head(t, db, int64(i+2)); got.Attempts != 1 || !strings.Contains(got.Message, "it was altered, or is another entry's or column's") || !strings.Contains(got.Message, "column ") {
				t.Errorf("%s: the entry is %+v, want a failure that says so", f.name, got)
			}
			shown, err := outbox.Of(db).Reveal(t.Context(), int64(i+2))
			if err != nil || !strings.Contains(string(shown.Arguments), "altered") {
				t.Errorf("%s: Reveal() = %+v, %v, want why it can't be read", f.name, shown, err)
			}
		}
		if ran.Load() != 1 || audited.Load() != 0 {
			t.Errorf("%d and %d runs, want only that of the first", ran.Load(), audited.Load())
		}
	})
}

// What is written in every way reads back, by workers and operators, and no
// table of the outbox has it in clear, before and after.
func TestEncrypted(t *testing.T) {
	const canary = "canary-4711"
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		type Note struct {
			ID   uint
			Text string
			Pin  string `reliable:"sensitive"`
		}
		var ran atomic.Int64
		r := new(reliable.Registry)
		reliable.AfterCommit(r, reliable.Callback[Note]{Name: "index", Run: func(_ context.Context, c reliable.Change[Note]) error {
			before, after := c.Before(), c.After()
			if before == nil {
				before = &Note{Text: canary, Pin: canary}
			}
			if after == nil {
				after = &Note{Text: canary, Pin: canary}
			}
			if !strings.HasPrefix(before.Text, canary) || !strings.HasPrefix(after.Text, canary) || before.Pin != canary || after.Pin != canary {
				return fmt.Errorf("before %+v, after %+v", before, after)
			}
			ran.Add(1)
			return nil
		}})
		db := testdb.New(t, d).Open(t)
		if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r, Encryption: keys("now")})), migrations.Up(t.Context(), db), db.AutoMigrate(&Note{})); err != nil {
			t.Fatal(err)
		}
		two := []Note{{Text: canary, Pin: canary}, {Text: canary + "b", Pin: canary}}
		err := errors.Join(
			db.Create(&two).Error,
			db.Model(&Note{}).Where("id > 0").Update("text", canary+"c").Error,
			reliable.Transaction(db, func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Note{Text: canary, Pin: canary}).Error, tx.Delete(&two[0]).Error)
			}),
		)
		if err != nil {
			t.Fatal(err)
		}
		encrypted := func(table string) {
			t.Helper()
			var texts []string
			if err := db.Raw("SELECT concat_ws('|', resource_class, resource_id, owed, changeset, arguments, headers, error_message, callbacks) FROM " + table).Scan(&texts).Error; err != nil {
				t.Fatal(err)
			}
			if len(texts) != 6 {
				t.Fatalf("%s has %d rows, want 6", table, len(texts))
			}
			for _, text := range texts {
				if strings.Contains(text, "canary") || !strings.Contains(text, `{"reliable:sealed":1,"key":"now"`) {
					t.Errorf("a row of %s is %s, want it encrypted", table, text)
				}
			}
		}
		encrypted("outbox_entries")
		shown, err := outbox.Of(db).Get(t.Context(), 1)
		if err != nil || !strings.Contains(string(shown.Changeset), `"pin":[null,"[masked]"]`) || !strings.Contains(string(shown.Changeset), `"text":[null,"`+canary+`"]`) {
			t.Errorf("Get() = %+v, %v, want it decrypted, and masked", shown, err)
		}
		stop := start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
		await(t, "all are run, but for the update of a row that is gone", func() bool { return ran.Load() == 5 && count(t, db, "outbox_entries") == 0 })
		stop()
		encrypted("outbox_history")
	})
}
