package outbox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// states is what a head says of its callbacks: the ledger gave up.
const states = `{"ledger":{"state":"dead","attempts":10,"error_class":"timeout","error":"took 1m"},"mail":{"state":"done"},"tax":{"state":"discarded","attempts":2}}`

// record adds entries of a key and returns their ids.
func record(t *testing.T, db *gorm.DB, key string, events ...string) (ids []int64) {
	t.Helper()
	entries := make([]reliable.Entry, len(events))
	for i, event := range events {
		entries[i] = reliable.Entry{Context: "billing", EventName: event, CausalityKey: key, Arguments: i}
	}
	err := db.Transaction(func(tx *gorm.DB) (err error) {
		ids, err = reliable.RecordAll(t.Context(), tx, entries)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// die does to an entry what a processor does that parks its key, days after an
// epoch.
func die(t *testing.T, db *gorm.DB, key string, id int64, day string) {
	t.Helper()
	at := "2026-01-" + day + " 10:00:00"
	exec(t, db, `UPDATE outbox_entries SET dead_at = ?, failed_at = ?, attempts = 10, crashes = 1, suspect = true, kind = 7, error_class = 'timeout', error_message = 'took 1m', callbacks = ? WHERE id = ?`,
		at, at, states, id)
	exec(t, db, `INSERT INTO outbox_parked_keys (causality_key, lane, entry_id, parked_at, reason) VALUES (?, ?, ?, ?, 'ledger')`, key, reliable.LaneOf(key), id, at)
}

func exec(t *testing.T, db *gorm.DB, query string, args ...any) {
	t.Helper()
	if err := db.Exec(query, args...).Error; err != nil {
		t.Fatal(err)
	}
}

// row returns the columns of the one row with an id.
func row(t *testing.T, db *gorm.DB, table, list string, id int64) map[string]any {
	t.Helper()
	var rows []map[string]any
	if err := db.Table(table).Select(list).Where("id = ?", id).Find(&rows).Error; err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 {
		t.Fatalf("%d rows of %s with id %d, want one", len(rows), table, id)
	}
	return rows[0]
}

// parked returns the keys of what is parked, with the ids of their heads.
func parked(t *testing.T, o *outbox.Outbox) map[string]int64 {
	t.Helper()
	keys, err := o.ParkedKeys(t.Context(), outbox.ParkedFilter{})
	if err != nil {
		t.Fatal(err)
	}
	heads := make(map[string]int64)
	for _, k := range keys {
		heads[k.Key] = k.Head
	}
	return heads
}

// count counts rows of what follows FROM.
func count(t *testing.T, db *gorm.DB, from string) (n int64) {
	t.Helper()
	if err := db.Raw("SELECT count(*) FROM " + from).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

// keep makes a place in the history, as workers do on PostgreSQL.
func keep(t *testing.T, db *gorm.DB) {
	t.Helper()
	if db.Name() == "postgres" {
		exec(t, db, "CREATE TABLE outbox_history_all PARTITION OF outbox_history DEFAULT")
	}
}

func TestParkedKeys(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		behind := make([]string, outbox.MaxWaiting+2)
		for i := range behind {
			behind[i] = "invoice_sent"
		}
		ann, bob := record(t, db, "ann", behind...), record(t, db, "bob", "invoice_paid", "invoice_sent", "invoice_sent")
		cid, dan := record(t, db, "cid", "invoice_sent"), record(t, db, "dan", "invoice_sent")
		record(t, db, "eve", "invoice_sent")
		die(t, db, "ann", ann[0], "07")
		die(t, db, "bob", bob[0], "05")
		die(t, db, "cid", cid[0], "03")
		die(t, db, "dan", dan[0], "04")
		exec(t, db, "UPDATE outbox_entries SET lane = NULL WHERE id = ?", cid[0]) // skipped
		exec(t, db, "DELETE FROM outbox_entries WHERE id = ?", dan[0])
		keys, err := o.ParkedKeys(t.Context(), outbox.ParkedFilter{})
		if err != nil {
			t.Fatal(err)
		}
		want := []outbox.ParkedKey{
			{Key: "bob", Lane: int(reliable.LaneOf("bob")), Head: bob[0], Event: "invoice_paid", Since: time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC), Waiting: 2},
			{Key: "ann", Lane: int(reliable.LaneOf("ann")), Head: ann[0], Event: "invoice_sent", Since: time.Date(2026, 1, 7, 10, 0, 0, 0, time.UTC), Waiting: outbox.MaxWaiting},
		}
		for i := range want {
			k := &want[i]
			k.Reason, k.Context, k.ErrorClass, k.ErrorMessage, k.Attempts, k.Crashes = "ledger", "billing", "timeout", "took 1m", 10, 1
		}
		if diff := cmp.Diff(want, keys); diff != "" {
			t.Errorf("ParkedKeys() (-want +got):\n%s", diff)
		}
		for _, test := range []struct {
			filter outbox.ParkedFilter
			want   string
		}{
			{outbox.ParkedFilter{Limit: 1}, "bob"},
			{outbox.ParkedFilter{Event: "invoice_sent"}, "ann"},
			{outbox.ParkedFilter{Context: "billing", ErrorClass: "timeout"}, "bob ann"},
			{outbox.ParkedFilter{ErrorClass: "crash"}, ""},
			{outbox.ParkedFilter{Context: reliable.ContextModel}, ""},
			{outbox.ParkedFilter{Model: "Order"}, ""},
		} {
			keys, err := o.ParkedKeys(t.Context(), test.filter)
			var names []string
			for _, k := range keys {
				names = append(names, k.Key)
			}
			if got := strings.Join(names, " "); err != nil || got != test.want {
				t.Errorf("ParkedKeys(%+v) = %s, %v, want %s", test.filter, got, err, test.want)
			}
		}
		if _, err := o.ParkedKeys(t.Context(), outbox.ParkedFilter{Limit: -1}); err == nil || !strings.Contains(err.Error(), "Limit is -1") {
			t.Errorf("ParkedKeys() = %v, want that the limit is wrong", err)
		}
	})
}
