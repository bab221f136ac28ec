package reliable_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func TestSubscribersGetTheirEventsInOrder(t *testing.T) {
	var m reliable.Monitor
	var started []string
	var all int
	cancel := reliable.Subscribe(&m, func(e *reliable.Started) { started = append(started, e.Worker) })
	defer m.Subscribe(func(reliable.Event) { all++ })()
	for _, id := range []string{"a", "b", "c"} {
		m.Publish(&reliable.Started{Worker: id})
		m.Publish(&reliable.HeartbeatSent{Worker: id})
	}
	flush(t, &m)
	cancel()
	m.Publish(&reliable.Started{Worker: "d"})
	flush(t, &m)
	if got := strings.Join(started, ""); got != "abc" {
		t.Errorf("started = %q, want abc", got)
	}
	if all != 7 {
		t.Errorf("all = %d events, want 7", all)
	}
}

func TestBadSubscribersHurtNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m reliable.Monitor
		good, after := 0, 0
		block := make(chan struct{})
		defer m.Subscribe(func(reliable.Event) { panic(errors.New("bad")) })()
		defer m.Subscribe(func(reliable.Event) { after++; runtime.Goexit() })()
		defer m.Subscribe(func(reliable.Event) { <-block })()
		defer m.Subscribe(func(reliable.Event) { good++ })()
		const events = 10_000
		for i := range events {
			m.Publish(&reliable.HeartbeatSent{})
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if good != events || after != events {
			t.Errorf("good subscriber got %d events, the one that exits %d, want %d each", good, after, events)
		}
		if m.Dropped() == 0 {
			t.Error("Dropped() = 0, want the blocked subscriber's surplus")
		}
		close(block)
		flush(t, &m)
	})
}

func TestSubscribeToUnknownName(t *testing.T) {
	var m reliable.Monitor
	if _, err := m.SubscribeTo("record_procesed", func(reliable.Event) {}); err == nil || !strings.Contains(err.Error(), "record_processed") {
		t.Errorf("SubscribeTo() = %v, want an error with the known names", err)
	}
	for _, name := range []string{"started", "stopped", "shutting_down", "record_processing_failed", "record_processed", "error", "heartbeat"} {
		cancel, err := m.SubscribeTo(name, func(reliable.Event) {})
		if err != nil {
			t.Errorf("SubscribeTo(%q) = %v, want the gem's seven names known", name, err)
			continue
		}
		cancel()
	}
}

func flush(t *testing.T, m *reliable.Monitor) {
	t.Helper()
	if err := m.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}
