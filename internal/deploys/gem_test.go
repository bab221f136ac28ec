package deploys_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// gemTable is the table of the gem's README, with entries as the gem writes
// them: 4 is done, nobody has taken 5 over.
const gemTable = `CREATE TABLE gem_entries (
	id bigserial PRIMARY KEY, resource_class varchar, resource_id varchar, event_name varchar NOT NULL, context varchar NOT NULL,
	processed_at timestamp(6), arguments text NOT NULL DEFAULT '{}', changeset text NOT NULL DEFAULT '{}', causality_key varchar,
	failed_at timestamp(6), retry_at timestamp(6), error_class varchar, error_message varchar, attempts integer NOT NULL DEFAULT 0,
	created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
INSERT INTO gem_entries (resource_class, resource_id, event_name, context, changeset, arguments, causality_key, retry_at, error_class, attempts, processed_at, created_at, updated_at) VALUES
('Sales::Order', '7', 'sales_order_created', 'active_record', '{"id":[null,7],"total":[null,1200],"rate":[null,"0.5"],"paid_at":[null,"2026-01-02T03:04:05.678Z"],"tags":[null,["a","b"]],"email":[null,"2026-01-02T03:04:05.000Z"]}', '{}', 'ann', NULL, NULL, 0, NULL, '2026-01-02 03:04:06', '2026-01-02 03:04:06'),
('Sales::Order', '7', 'sales_order_updated', 'active_record', '{"total":[1200,900]}', '{}', 'ann', '2026-01-02 04:00:00', 'Timeout', 3, NULL, '2026-01-02 03:04:07', '2026-01-02 03:04:07'),
('Sales::Order', '8', 'sales_order_destroyed', 'active_record', '{"total":[5,6]}', '{}', '', NULL, NULL, 0, NULL, '2026-01-02 03:04:05', '2026-01-02 03:04:05'),
('Sales::Order', '9', 'sales_order_created', 'active_record', '{}', '{}', NULL, NULL, NULL, 0, '2026-01-02 03:04:05', '2026-01-02 03:04:05', '2026-01-02 03:04:05'),
('Refund', '1', 'refund_created', 'active_record', '{}', '{}', NULL, NULL, NULL, 0, NULL, '2026-01-02 03:04:05', '2026-01-02 03:04:05'),
(NULL, NULL, 'invoice_sent', 'service_objects', '{}', '{"invoice":3}', NULL, NULL, NULL, 0, NULL, '2026-01-02 03:04:08', '2026-01-02 03:04:08')`

// GemOrder is what the gem's Sales::Order has become.
type GemOrder struct {
	ID     uint
	Total  int64
	Rate   float64
	PaidAt *time.Time
	Tags   []string `gorm:"serializer:json"`
	Email  string
}

// TableName implements gorm's Tabler.
func (GemOrder) TableName() string { return "orders" }

// The statement of docs/operations.md takes over what the Ruby gem has not
// done: once, in order, with what callbacks need to know of it.
func TestFromTheGem(t *testing.T) {
	t.Parallel()
	statement := documented(t, "WITH names")

	var mu sync.Mutex
	var ran []string
	note := func(format string, args ...any) error {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, fmt.Sprintf(format, args...))
		return nil
	}
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[GemOrder]{Name: "Order"})
	for name, on := range map[string]reliable.Operation{"receipt": reliable.OpCreate, "index": reliable.OpCreate | reliable.OpUpdate | reliable.OpDestroy} {
		reliable.AfterCommit(r, reliable.Callback[GemOrder]{Name: name, On: on, WhenGone: reliable.GoneRun, Run: func(_ context.Context, c reliable.Change[GemOrder]) error {
			v, _ := c.Values("Total")
			text := fmt.Sprintf("%s %s %d total %v %v", name, c.Operation, c.Model.ID, v.Old, v.New)
			if o := c.After(); c.Operation == reliable.OpCreate {
				text += fmt.Sprint(" ", o.Rate, " ", o.PaidAt.UTC(), " ", o.Tags, " ", o.Email)
			}
			return note("%s", text)
		}})
	}
	r.Handle("service_objects", "invoices", reliable.RecordProcessorFunc(func(_ context.Context, e *reliable.OutboxEntry) error { return note("invoices %s", e.Arguments) }))
	db := open(t, testdb.New(t, testdb.Postgres), reliable.Config{Registry: r}, &GemOrder{})
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.ExecContext(t.Context(), gemTable); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{4, 0} { // it takes over what is left: to run it again changes nothing
		result, err := pool.ExecContext(t.Context(), statement)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); err != nil || n != want {
			t.Errorf("%d entries were taken over, %v, want %d", n, err, want)
		}
	}
	if n := count(t, db, "SELECT min(id) FROM gem_entries WHERE processed_at IS NULL"); n != 5 {
		t.Errorf("what is left of the gem begins with %d, want 5", n)
	}

	var entries []reliable.OutboxEntry
	var lanes []sql.NullInt64
	rows, err := pool.QueryContext(t.Context(), "SELECT id, kind, coalesce(array_to_string(ARRAY(SELECT json_array_elements_text(owed::json)), ' '), ''), context, resource_class, event_name, coalesce(causality_key, ''), lane FROM outbox_entries ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var e reliable.OutboxEntry
		var owed string
		var lane sql.NullInt64
		if err := rows.Scan(&e.ID, &e.Kind, &owed, &e.Context, &e.ResourceClass, &e.EventName, &e.CausalityKey, &lane); err != nil {
			t.Fatal(err)
		}
		e.Owed = strings.Fields(owed)
		entries, lanes = append(entries, e), append(lanes, lane)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 || entries[0].EventName != "order_destroyed" {
		t.Fatalf("entries are %v, want four in the order of their creation", entries)
	}
	for i, e := range entries {
		if want := reliable.EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed); e.Kind != want || !r.Covers(&e) {
			t.Errorf("entry %d has the kind %d, want %d, and that the registry covers it", e.ID, e.Kind, want)
		}
		if want := (sql.NullInt64{Int64: reliable.LaneOf(e.CausalityKey), Valid: true}); e.CausalityKey == "" && lanes[i].Valid || e.CausalityKey != "" && lanes[i] != want {
			t.Errorf("entry %d of the key %q is in lane %v", e.ID, e.CausalityKey, lanes[i])
		}
	}

	stop := start(t, &worker.Worker{DB: db, Processor: new(processors.OrderedByCausalityKey)})
	eventually(t, "all is done", left(t, db))
	stop()
	created := " create 7 total <nil> 1200 0.5 2026-01-02 03:04:05.678 +0000 UTC [a b] 2026-01-02T03:04:05Z"
	want := map[string]int{"index destroy 8 total 6 <nil>": 1, "receipt" + created: 1, "index" + created: 1, "index update 7 total 1200 900": 1, `invoices {"invoice":3}`: 1}
	got := make(map[string]int)
	for _, text := range ran {
		got[text]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what ran (-want +got):\n%s", diff)
	}
}
