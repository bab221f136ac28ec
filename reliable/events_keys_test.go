package reliable_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A parked key is an error in the log, with its head and without the key.
func TestKeyEvents(t *testing.T) {
	var m reliable.Monitor
	var log bytes.Buffer
	defer m.LogTo(slog.New(slog.NewTextHandler(&log, nil)))()
	var names []string
	for _, name := range []string{"key_parked", "key_released", "entries_changed"} {
		cancel, err := m.SubscribeTo(name, func(e reliable.Event) { names = append(names, e.Name()) })
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
	}
	head := &reliable.OutboxEntry{ID: 7, EventName: "order_created", ResourceClass: "Order", ResourceID: "3", CausalityKey: "ann@example.com"}
	m.Publish(&reliable.KeyParked{Key: head.CausalityKey, Entry: head, ErrorClass: "timeout", ErrorMessage: "took 1m"})
	flush(t, &m)
	m.Publish(&reliable.KeyReleased{Key: head.CausalityKey, Entry: 7, How: "retry"})
	flush(t, &m)
	m.Publish(&reliable.EntriesChanged{IDs: []int64{3, 4}, How: "discard"})
	flush(t, &m)
	if got := strings.Join(names, " "); got != "key_parked key_released entries_changed" {
		t.Errorf("names = %q, want key_parked key_released entries_changed", got)
	}
	for _, want := range []string{
		"level=ERROR msg=key_parked entry_id=7 event_name=order_created resource_class=Order resource_id=3 error_class=timeout error=\"took 1m\"\n",
		"level=INFO msg=key_released entry_id=7 how=retry\n",
		"level=INFO msg=entries_changed entry_ids=\"[3 4]\" how=discard\n",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log = %s, want %s in it", log.String(), want)
		}
	}
	if strings.Contains(log.String(), head.CausalityKey) {
		t.Errorf("log = %s, want no key in it", log.String())
	}
}
