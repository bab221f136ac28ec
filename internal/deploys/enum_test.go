package deploys_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/outbox"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// EnumV1 is the state of a shipment as the old version knows it, EnumV2 as the
// new one does.
type (
	EnumV1 string
	EnumV2 string
)

func scanEnum(value any, known ...string) (string, error) {
	text := fmt.Sprintf("%s", value)
	for _, name := range known {
		if text == name {
			return text, nil
		}
	}
	return "", fmt.Errorf("no state is called %q", text)
}

// Scan implements [sql.Scanner].
func (e *EnumV1) Scan(value any) error {
	text, err := scanEnum(value, "packed", "sent")
	*e = EnumV1(text)
	return err
}

// Scan implements [sql.Scanner].
func (e *EnumV2) Scan(value any) error {
	text, err := scanEnum(value, "packed", "sent", "returned")
	*e = EnumV2(text)
	return err
}

// Value implements [driver.Valuer].
func (e EnumV1) Value() (driver.Value, error) { return string(e), nil }

// Value implements [driver.Valuer].
func (e EnumV2) Value() (driver.Value, error) { return string(e), nil }

// ShipmentV1 and ShipmentV2 are one model.
type (
	ShipmentV1 struct {
		ID    uint
		State EnumV1 `gorm:"size:20"`
	}
	ShipmentV2 struct {
		ID    uint
		State EnumV2 `gorm:"size:20"`
	}
)

// TableName implements gorm's Tabler.
func (ShipmentV1) TableName() string { return "shipments" }

// TableName implements gorm's Tabler.
func (ShipmentV2) TableName() string { return "shipments" }

// A value that the worker's version does not know yet fails its entry alone,
// which says what it is, and reads no other wrongly; the version that knows it
// does the work (62).
func TestUnknownEnum(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		url := testdb.New(t, d)
		after := func(c reliable.Change[ShipmentV2]) string { return string(c.After().State) }
		newer, _ := items(t, url, after, &ShipmentV2{})
		err := errors.Join(
			newer.Create(&[]ShipmentV2{{ID: 1, State: "sent"}, {ID: 2, State: "returned"}, {ID: 3, State: "packed"}}).Error,
			reliable.Skip(newer).Model(&ShipmentV2{ID: 2}).Update("state", "sent").Error, // the entry remembers, the row does not
		)
		if err != nil {
			t.Fatal(err)
		}
		older, told := items(t, url, func(c reliable.Change[ShipmentV1]) string { return string(c.After().State) })
		stop := start(t, &worker.Worker{DB: older})
		eventually(t, "all are done or dead", func() bool { return count(t, older, "SELECT count(*) FROM outbox_entries WHERE dead_at IS NULL") == 0 })
		stop()
		if diff := cmp.Diff(map[int64]string{1: "sent", 3: "packed"}, told()); diff != "" {
			t.Errorf("callbacks were told (-want +got):\n%s", diff)
		}
		page, err := outbox.Of(older).List(t.Context(), outbox.Filter{State: outbox.Dead})
		if err != nil || len(page.Entries) != 1 || page.Entries[0].ID != 2 || page.Entries[0].Attempts != 1 || !strings.Contains(page.Entries[0].ErrorMessage, `field State: no state is called "returned"`) {
			t.Fatalf("List() = %+v, %v, want the second, and why", page.Entries, err)
		}
		newer, told = items(t, url, after)
		if result, err := outbox.Of(newer).Retry(t.Context(), outbox.Filter{IDs: []int64{2}}); err != nil || result.Done != 1 {
			t.Errorf("Retry() = %+v, %v, want it", result, err)
		}
		stop = start(t, &worker.Worker{DB: newer})
		eventually(t, "it is done", left(t, newer))
		stop()
		if diff := cmp.Diff(map[int64]string{2: "returned"}, told()); diff != "" {
			t.Errorf("callbacks were told after the retry (-want +got):\n%s", diff)
		}
	})
}
