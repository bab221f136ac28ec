package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// atOnce runs commands as many operators at a time do. It returns how many
// entries each changed.
func atOnce(t *testing.T, url string, commands ...[]string) []int {
	t.Helper()
	changed := make([]int, len(commands))
	var all sync.WaitGroup
	for i, args := range commands {
		all.Go(func() {
			c := exec.Command("shop", append(args, "--yes", "--json")...)
			c.Env = append(os.Environ(), "DATABASE_URL="+url)
			out, err := c.Output()
			var result struct{ Done int }
			if err = errors.Join(err, json.Unmarshal(out, &result)); err != nil {
				t.Errorf("shop %q: %v, %s", args, err, out)
			}
			changed[i] = result.Done
		})
	}
	all.Wait()
	return changed
}

// Operators at the same entries, each in a process of its own: an entry is
// changed by one of them, and what a worker holds by none (80).
func TestOperatorsAtOnce(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		db := url.Open(t)
		if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), AllModels: true})), migrations.Up(t.Context(), db)); err != nil {
			t.Fatal(err)
		}
		do := func(statement string, args ...any) {
			t.Helper()
			if err := db.Exec(statement, args...).Error; err != nil {
				t.Fatal(err)
			}
		}
		rows := func(from string) (n int) {
			t.Helper()
			if err := db.Raw("SELECT count(*) FROM " + from).Scan(&n).Error; err != nil {
				t.Fatal(err)
			}
			return n
		}
		if d == testdb.Postgres {
			do("CREATE TABLE outbox_history_all PARTITION OF outbox_history DEFAULT")
		}
		const entries = 30 // the first is a key's head, the second is held
		var ids []int64
		err := db.Transaction(func(tx *gorm.DB) (err error) {
			all := make([]reliable.Entry, entries)
			for i := range all {
				all[i] = reliable.Entry{Context: "billing", EventName: "invoice_sent", Arguments: false}
			}
			all[0].CausalityKey = "ann"
			ids, err = reliable.RecordAll(context.Background(), tx, all)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		do(`UPDATE outbox_entries SET owed = '["ledger"]'`)
		do("UPDATE outbox_entries SET dead_at = '2026-01-05 10:00:00', error_class = 'timeout' WHERE id <> ?", ids[1])
		do("UPDATE outbox_entries SET lane = NULL WHERE id <> ?", ids[0])
		do("INSERT INTO outbox_parked_keys (causality_key, lane, entry_id) SELECT causality_key, lane, id FROM outbox_entries WHERE id = ?", ids[0])
		do("UPDATE outbox_entries SET owed = '[\"tax\"]' WHERE id = ?", ids[1])
		list := map[testdb.Dialect]string{testdb.Postgres: "{" + strconv.FormatInt(ids[1], 10) + "}"}[d]
		if list == "" {
			list = "[" + strconv.FormatInt(ids[1], 10) + "]"
		}
		do("INSERT INTO outbox_claims (worker, ids, lo, hi) VALUES ('w', ?, ?, ?)", list, ids[1], ids[1])

		head, held := strconv.FormatInt(ids[0], 10), strconv.FormatInt(ids[1], 10)
		skipped := atOnce(t, url.URL, []string{"release", head, "--as", "skip"}, []string{"release", head, "--as", "skip"}, []string{"release", head, "--as", "skip"})
		if skipped[0]+skipped[1]+skipped[2] != 1 || rows("outbox_parked_keys") != 0 {
			t.Errorf("the head was skipped %v times, want once", skipped)
		}
		changed := atOnce(t, url.URL,
			[]string{"retry", "--state", "dead"}, []string{"discard", "--state", "dead"}, []string{"retry", "--state", "dead"}, []string{"discard", "--state", "dead"},
			[]string{"retry", held}, []string{"discard", held}, []string{"discard", "--state", "orphan"})
		retried, discarded := changed[0]+changed[2], changed[1]+changed[3]
		if retried+discarded != entries-1 || retried != rows("outbox_entries WHERE dead_at IS NULL AND id <> "+held) || discarded != rows("outbox_history") {
			t.Errorf("%d were retried and %d discarded; want each of %d once, and those in their tables", retried, discarded, entries-1)
		}
		if n := changed[4] + changed[5] + changed[6]; n != 0 || rows("outbox_entries WHERE dead_at IS NULL AND attempts = 0 AND id = "+held) != 1 {
			t.Errorf("what a worker holds was changed %d times", n)
		}
	})
}
