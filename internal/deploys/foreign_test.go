package deploys_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// documented returns the block of SQL in docs/operations.md that begins with a
// text.
func documented(t *testing.T, begin string) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```sql\n"+begin)
	statement, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("docs/operations.md has no block of SQL that begins with %s", begin)
	}
	return begin + statement
}

// Rows that programs without the plugin write, and triggers, are worked.
func TestRowsOfOthers(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var told release
		r := new(reliable.Registry)
		handle := func(ctx context.Context, e *reliable.OutboxEntry, arguments map[string]any) error {
			text, err := json.Marshal(arguments)
			told.tell(ctx, e, e.Context, string(text))
			return err
		}
		reliable.HandleEvent(r, "billing", "invoice_sent", "ledger", handle)
		for _, event := range []string{"invoices_insert", "invoices_update", "invoices_delete"} {
			reliable.HandleEvent(r, "triggers", event, event, handle)
		}
		db := open(t, testdb.New(t, d), reliable.Config{Registry: r})
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		statements := []string{documented(t, "INSERT INTO outbox_entries")}
		want := []string{`01 billing: invoice_sent  key="" tenant="" {"invoice":3}`}
		if d == testdb.Postgres {
			statements = append(statements, "CREATE TABLE invoices (id bigint, total bigint)", documented(t, "CREATE FUNCTION outbox_change"),
				"INSERT INTO invoices VALUES (1, 5)", "UPDATE invoices SET total = 6", "DELETE FROM invoices")
			want = append(want,
				`02 triggers: invoices_insert  key="" tenant="" {"after":{"id":1,"total":5},"before":null}`,
				`03 triggers: invoices_update  key="" tenant="" {"after":{"id":1,"total":6},"before":{"id":1,"total":5}}`,
				`04 triggers: invoices_delete  key="" tenant="" {"after":null,"before":{"id":1,"total":6}}`)
		}
		for _, statement := range statements {
			if _, err := pool.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		stop := start(t, &worker.Worker{DB: db})
		eventually(t, "all is done", left(t, db))
		stop()
		if diff := cmp.Diff(want, told.told()); diff != "" {
			t.Errorf("what ran (-want +got):\n%s", diff)
		}
	})
}
