package outbox_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A head that is retried is as new, but for what it has done already.
func TestRetryHead(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		db, operator := openURL(t, url), openURL(t, url) // the operator's process records nothing that would wake its workers
		plugin, err := reliable.From(operator)
		if err != nil {
			t.Fatal(err)
		}
		ids := record(t, db, "ann", "invoice_sent", "invoice_paid")
		die(t, db, "ann", ids[0], "05")
		behind := row(t, db, "outbox_entries", "*", ids[1])
		released := make(chan *reliable.KeyReleased, 1)
		defer reliable.Subscribe(plugin.Monitor(), func(e *reliable.KeyReleased) { released <- e })()
		woken, stop := plugin.Wakes()
		defer stop()
		if err := outbox.Of(operator).ReleaseKey(t.Context(), "ann", ids[0], outbox.RetryHead); err != nil {
			t.Fatal(err)
		}
		select {
		case <-woken: // it waits in the channel by the time that ReleaseKey returns
		default:
			t.Error("no worker was woken")
		}
		if got, want := *<-released, (reliable.KeyReleased{Key: "ann", Entry: ids[0], How: "retry"}); got != want {
			t.Errorf("event = %+v, want %+v", got, want)
		}
		var e struct {
			Kind, Lane                          int64
			Attempts, Crashes                   int
			Suspect, Dead, Due                  bool
			ErrorClass, ErrorMessage, Callbacks string
		}
		now := map[testdb.Dialect]string{testdb.Postgres: "clock_timestamp()", testdb.MySQL: "utc_timestamp(6)", testdb.SQLite: "strftime('%Y-%m-%d %H:%M:%f', 'now')"}[d]
		err = db.Raw("SELECT kind, lane, attempts, crashes, suspect, dead_at IS NOT NULL AS dead, retry_at <= "+now+" AS due, error_class, error_message, callbacks FROM outbox_entries WHERE id = ?", ids[0]).Scan(&e).Error
		if err != nil {
			t.Fatal(err)
		}
		if e.Dead || !e.Due || e.Suspect || e.Attempts != 0 || e.Crashes != 0 || e.Lane != reliable.LaneOf("ann") || e.ErrorClass != "timeout" ||
			e.Kind != reliable.EntryKind("billing", "", "invoice_sent", []string{"ledger"}) {
			t.Errorf("entry = %+v, want it due, with the kind of its names, no attempts, and its last error", e)
		}
		if want := `{"ledger":{"state":"pending","error_class":"timeout","error":"took 1m"},"mail":{"state":"done"},"tax":{"state":"discarded","attempts":2}}`; e.Callbacks != want {
			t.Errorf("callbacks = %s, want %s", e.Callbacks, want)
		}
		if diff := cmp.Diff(behind, row(t, db, "outbox_entries", "*", ids[1])); diff != "" {
			t.Errorf("the entry behind it changed:\n%s", diff)
		}
		if n := count(t, db, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d parked keys, want none", n)
		}
	})
}

// A head that is discarded is in the history, whole.
func TestDiscardHead(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		ids := record(t, db, "ann", "invoice_sent", "invoice_paid")
		die(t, db, "ann", ids[0], "05")
		before := row(t, db, "outbox_entries", "*", ids[0])
		if d == testdb.Postgres {
			err := o.ReleaseKey(t.Context(), "ann", ids[0], outbox.DiscardHead)
			if err == nil || !strings.Contains(err.Error(), "start a worker") {
				t.Errorf("ReleaseKey() = %v without a partition, want the way out", err)
			}
			if got := parked(t, o); got["ann"] != ids[0] {
				t.Errorf("parked = %v, want it as it was", got)
			}
		}
		keep(t, db)
		if err := o.ReleaseKey(t.Context(), "ann", 0, outbox.DiscardHead); err != nil {
			t.Fatal(err)
		}
		kept := row(t, db, "outbox_history", "*", ids[0])
		if kept["token"] != int64(0) || kept["processed_at"] == nil {
			t.Errorf("history = %v, want token 0 and the time", kept)
		}
		for column := range kept {
			if column == "token" || column == "processed_at" {
				continue
			}
			if diff := cmp.Diff(before[column], kept[column]); diff != "" {
				t.Errorf("%s (-entry +history):\n%s", column, diff)
			}
		}
		if n := count(t, db, "outbox_entries"); n != 1 {
			t.Errorf("%d entries, want the one behind", n)
		}
		if n := count(t, db, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d parked keys, want none", n)
		}
	})
}

// A head that is skipped is dead, and blocks nothing.
func TestSkipHead(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		ids := record(t, db, "ann", "invoice_sent", "invoice_paid")
		die(t, db, "ann", ids[0], "05")
		if err := o.ReleaseKey(t.Context(), "ann", ids[0], outbox.SkipHead); err != nil {
			t.Fatal(err)
		}
		if e := row(t, db, "outbox_entries", "lane, dead_at", ids[0]); e["lane"] != nil || e["dead_at"] == nil {
			t.Errorf("entry = %v, want it dead and without a lane", e)
		}
		if n := count(t, db, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d parked keys, want none", n)
		}
	})
}

// Of many operators who release the same head, one does (80).
func TestReleaseAtOnce(t *testing.T) {
	const operators = 8
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		keep(t, db)
		ids := record(t, db, "ann", "invoice_sent", "invoice_paid")
		die(t, db, "ann", ids[0], "05")
		errs := make([]error, operators)
		var all sync.WaitGroup
		for i := range operators {
			all.Go(func() {
				how := []outbox.Release{outbox.RetryHead, outbox.DiscardHead, outbox.SkipHead}[i%3]
				errs[i] = outbox.Of(db).ReleaseKey(context.Background(), "ann", ids[0], how)
			})
		}
		all.Wait()
		released := 0
		for _, err := range errs {
			if err == nil {
				released++
			} else if !errors.Is(err, outbox.ErrNotParked) {
				t.Errorf("ReleaseKey() = %v, want ErrNotParked", err)
			}
		}
		if released != 1 {
			t.Errorf("%d operators released the head, want one", released)
		}
		if n := count(t, db, "outbox_entries") + count(t, db, "outbox_history"); n != 2 {
			t.Errorf("%d entries are left, want 2", n)
		}
	})
}

// What is not parked as it is said to be is left as it is.
func TestReleaseOfNothing(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		ann, bob, cid, dan := record(t, db, "ann", "a", "b"), record(t, db, "bob", "a"), record(t, db, "cid", "a"), record(t, db, "dan", "a")
		die(t, db, "ann", ann[0], "05")
		die(t, db, "bob", bob[0], "05")
		die(t, db, "cid", cid[0], "05")
		exec(t, db, "UPDATE outbox_entries SET dead_at = NULL WHERE id = ?", bob[0])
		exec(t, db, "DELETE FROM outbox_entries WHERE id = ?", cid[0])
		for _, test := range []struct {
			key       string
			head      int64
			how       outbox.Release
			want      string
			notParked bool
		}{
			{"ann", ann[1], outbox.RetryHead, "it stands at entry", true},
			{"ann", ann[0], "drop", `"drop" is no way to release a key`, false},
			{"", 0, outbox.RetryHead, "the key is empty", false},
			{"dan", dan[0], outbox.DiscardHead, `release key "dan": not parked: call ParkedKeys`, true},
			{"anne", 0, outbox.RetryHead, `release key "anne": not parked`, true},
			{"bob", bob[0], outbox.RetryHead, "at which it stood, is not dead any more", true},
			{"cid", 0, outbox.SkipHead, "at which it stood, is not dead any more", true},
		} {
			err := o.ReleaseKey(t.Context(), test.key, test.head, test.how)
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, outbox.ErrNotParked) != test.notParked {
				t.Errorf("ReleaseKey(%q, %d, %s) = %v, want %q", test.key, test.head, test.how, err, test.want)
			}
		}
		if got := parked(t, o); len(got) != 1 || got["ann"] != ann[0] {
			t.Errorf("parked = %v, want ann as it was", got)
		}
		if n := count(t, db, "outbox_parked_keys"); n != 1 {
			t.Errorf("%d rows of parked keys, want that of ann only", n)
		}
		exec(t, db, "UPDATE outbox_entries SET callbacks = 'no json' WHERE id = ?", ann[0])
		if err := o.ReleaseKey(t.Context(), "ann", 0, outbox.RetryHead); err == nil || !strings.Contains(err.Error(), "discard or skip it") {
			t.Errorf("ReleaseKey() = %v, want that the column can't be read", err)
		}
	})
}

// Where ids don't follow the commits, two entries of a key may be dead: it
// stands at each of them, and also at one that no row shows.
func TestReleaseBesideAnother(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		ids := record(t, db, "ann", "a", "b", "c")
		die(t, db, "ann", ids[1], "05")
		exec(t, db, "UPDATE outbox_entries SET dead_at = created_at, error_class = 'crash' WHERE id = ?", ids[0])
		for _, head := range []int64{ids[1], ids[0]} {
			if got := parked(t, o); got["ann"] != head {
				t.Fatalf("parked = %v, want %d", got, head)
			}
			if reason := map[int64]string{ids[1]: "ledger", ids[0]: "crash"}[head]; count(t, db, "outbox_parked_keys WHERE reason = '"+reason+"'") != 1 {
				t.Errorf("the reason is not %s", reason)
			}
			if err := o.ReleaseKey(t.Context(), "ann", head, outbox.SkipHead); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, db, "outbox_parked_keys"); n != 0 {
			t.Errorf("%d parked keys, want none", n)
		}
		exec(t, db, "UPDATE outbox_entries SET dead_at = created_at WHERE id = ?", ids[2])
		if err := o.ReleaseKey(t.Context(), "ann", 0, outbox.SkipHead); err != nil {
			t.Errorf("ReleaseKey() = %v without a row", err)
		}
	})
}

func TestReleaseKeys(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		db := open(t, d)
		o := outbox.Of(db)
		for _, key := range []string{"ann", "bob", "cid"} {
			die(t, db, key, record(t, db, key, "invoice_sent_to_"+key, "b")[0], map[string]string{"ann": "06", "bob": "05", "cid": "04"}[key])
		}
		for _, test := range []struct {
			filter outbox.ParkedFilter
			want   int
			left   string
		}{
			{outbox.ParkedFilter{Event: "invoice_sent_to_bob"}, 1, "ann cid"},
			{outbox.ParkedFilter{Limit: 1}, 1, "ann"},
			{outbox.ParkedFilter{Model: "Order"}, 0, "ann"},
			{outbox.ParkedFilter{}, 1, ""},
		} {
			n, err := o.ReleaseKeys(t.Context(), test.filter, outbox.RetryHead)
			var left []string
			if e := db.Table("outbox_parked_keys").Order("causality_key").Pluck("causality_key", &left).Error; err != nil || e != nil || n != test.want || strings.Join(left, " ") != test.left {
				t.Errorf("ReleaseKeys(%+v) = %d, %v and leaves %v, want %d and %s", test.filter, n, err, left, test.want, test.left)
			}
		}
		if _, err := o.ReleaseKeys(t.Context(), outbox.ParkedFilter{Limit: -1}, outbox.RetryHead); err == nil {
			t.Error("ReleaseKeys() = nil for a limit below 0")
		}
	})
}
