package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

type invoiceSent struct {
	Number int
	To     string
}

// A typed processor gets its event's arguments, no others, and fails those that
// it can't read.
func TestHandleEvent(t *testing.T) {
	r := new(reliable.Registry)
	got := make(chan invoiceSent, 10)
	reliable.HandleEvent(r, "billing", "invoice_sent", "mail", func(_ context.Context, e *reliable.OutboxEntry, a invoiceSent) error {
		if e.EventName != "invoice_sent" {
			t.Errorf("got a %s, want only its event", e.EventName)
		}
		got <- a
		return nil
	})
	db := open(t, testdb.New(t, testdb.SQLite), r)
	err := db.Transaction(func(tx *gorm.DB) error {
		_, err := reliable.RecordAll(t.Context(), tx, []reliable.Entry{
			{Context: "billing", EventName: "invoice_sent", Arguments: invoiceSent{7, "ann"}},
			{Context: "billing", EventName: "invoice_paid", Arguments: "whatever"},
			{Context: "billing", EventName: "invoice_sent"},
			{Context: "billing", EventName: "invoice_sent", Arguments: "seven"},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, &worker.Worker{DB: db, PollInterval: 20 * time.Millisecond})
	var message string
	eventually(t, "three are done, one failed", func() bool {
		err := db.Raw("SELECT coalesce(max(error_message), '') FROM outbox_entries").Scan(&message).Error
		return err == nil && message != "" && count(t, db, "SELECT count(*) FROM outbox_history") == 3
	})
	if !strings.Contains(message, "arguments of billing.invoice_sent: json: cannot unmarshal string") {
		t.Errorf("the entry says %q, want that its arguments can't be read", message)
	}
	if first, second := <-got, <-got; first != (invoiceSent{7, "ann"}) || second != (invoiceSent{}) || len(got) > 0 {
		t.Errorf("arguments %+v and %+v, want those of the two invoices", first, second)
	}
}
