package reliabletest_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// mailer sends receipts, and may be down.
type mailer struct {
	sent []string
	down error
}

func (m *mailer) Receipt(_ context.Context, c reliable.Change[Order]) error {
	if m.down == nil {
		m.sent = append(m.sent, c.Model.Email)
	}
	return m.down
}

// TestReceipt is the example in docs/testing.md: a test holds each line of that
// against this file.
func TestReceipt(t *testing.T) {
	m := new(mailer)
	db := open(t, memory, func(r *reliable.Registry) { reliable.AfterCreateCommit(r, "receipt", m.Receipt) })

	tx := db.Begin()
	defer tx.Rollback()

	err := tx.Create(&Order{Email: "ann@example.com", Total: 1200}).Error // or a call of the code under test
	if err != nil {
		t.Fatal(err)
	}
	order := reliabletest.RequireRecorded[Order](t, tx, reliable.OpCreate)
	reliabletest.RequireChanged(t, order, "Total", nil, 1200)

	reliabletest.Drain(t, tx) // an error in a callback fails the test
	if len(m.sent) != 1 {
		t.Errorf("receipts to %v, want one", m.sent)
	}
}

// TestReceiptLater is the second example in docs/testing.md.
func TestReceiptLater(t *testing.T) {
	m := new(mailer)
	db := open(t, memory, func(r *reliable.Registry) { reliable.AfterCreateCommit(r, "receipt", m.Receipt) })

	tx := db.Begin()
	defer tx.Rollback()
	if err := tx.Create(&Order{Email: "ann@example.com"}).Error; err != nil {
		t.Fatal(err)
	}

	o := reliabletest.New(t, tx)
	m.down = errors.New("mail server is down")
	outcomes := o.Run() // an error in a callback is in its outcome
	if err := outcomes[0].Results[0].Err; !errors.Is(err, m.down) {
		t.Errorf("the receipt's error is %v", err)
	}
	m.down = nil
	o.Run()           // nothing: the callback waits for its backoff
	o.AdvanceToNext() // the backoff is over
	o.Crash("receipt", reliabletest.AfterRun)
	o.Drain() // runs it twice: its process died before it was noted that it was done
	if len(m.sent) != 2 {
		t.Errorf("receipts to %v, want two", m.sent)
	}
}

// TestReceiptCommitted is the third example in docs/testing.md.
func TestReceiptCommitted(t *testing.T) {
	m := new(mailer)
	db := open(t, memory, func(r *reliable.Registry) { reliable.AfterCreateCommit(r, "receipt", m.Receipt) })
	shop := func(db *gorm.DB) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { db.Create(&Order{Email: "ann@example.com"}) })
	}
	request, answer := httptest.NewRequest(http.MethodPost, "/orders", http.NoBody), httptest.NewRecorder()

	db, _ = reliabletest.Inline(t, db, nil) // with a database of the test's own
	shop(db).ServeHTTP(answer, request)     // each commit in it runs what is owed
	if len(m.sent) != 1 {
		t.Errorf("receipts to %v, want one", m.sent)
	}
}
