package reliable_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// An entry of which a part is paused is due again soon if claims can leave it
// where it is, and seldom if they can't, since another part waits for its time.
func TestPausedParts(t *testing.T) {
	hour := func(context.Context, *reliable.OutboxEntry) error { return reliable.Snooze(time.Hour) }
	done := func(context.Context, *reliable.OutboxEntry) error { return nil }
	tests := []struct {
		name    string
		other   reliable.RecordProcessorFunc
		paused  []reliable.Pause
		from    time.Duration // the entry is due again
		kept    bool          // the kind stays
		pending int           // processors
	}{
		{"the other is done", done, []reliable.Pause{{Callback: "mail"}}, time.Second, false, 1},
		{"the other waits", hour, []reliable.Pause{{Context: "service", Callback: "mail"}}, 30 * time.Second, true, 2},
		{"both are paused", done, []reliable.Pause{{Callback: "mail"}, {Event: "sent", Callback: "other"}}, time.Second, true, 2},
		{"all is paused", done, []reliable.Pause{{Context: "service"}}, time.Second, true, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mails := 0
			r := new(reliable.Registry)
			r.Handle("service", "mail", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { mails++; return nil }))
			r.Handle("service", "other", test.other)
			db := testdb.New(t, testdb.SQLite).Open(t)
			plugin := reliable.New(reliable.Config{Registry: r})
			if err := db.Use(plugin); err != nil {
				t.Fatal(err)
			}
			e := &reliable.OutboxEntry{ID: 1, Context: "service", EventName: "sent", Owed: []string{"mail", "other"}}
			e.Kind = reliable.EntryKind(e.Context, e.ResourceClass, e.EventName, e.Owed)
			admission := plugin.Admission()
			plugin.SetPauses(test.paused)
			now := time.Now()
			out := process(t.Context(), plugin.NewBatch(db, []*reliable.OutboxEntry{e}, 1, now), e)
			if mails != 0 || out.State != reliable.StateRetry || out.Attempts != 0 || out.RetryAt.Before(now.Add(test.from)) || out.RetryAt.After(now.Add(2*test.from+time.Minute)) {
				t.Errorf("%d mails, %s with %d attempts in %s, want 0, retry with 0 in %s or more", mails, out.State, out.Attempts, out.RetryAt.Sub(now), test.from)
			}
			var states map[string]struct{ State string }
			if err := json.Unmarshal(out.Callbacks, &states); err != nil {
				t.Fatal(err)
			}
			pending := 0
			for _, s := range states {
				if s.State == "pending" {
					pending++
				}
			}
			if kept := out.Kind == 0; kept != test.kept || pending != test.pending {
				t.Errorf("new kind %d, %d pending, want kept %v, %d pending", out.Kind, pending, test.kept, test.pending)
			}
			after := *e
			after.Callbacks = out.Callbacks
			if out.Kind != 0 {
				after.Kind = out.Kind
			}
			admission.Begin()
			if got, want := admission.Admits(&after), test.from > time.Second; got != want {
				t.Errorf("Admits() = %v, want %v", got, want)
			}
			if !test.kept && !admission.Admits(e) {
				t.Error("an entry of which the other is not done is left alone")
			}
			held := len(admission.Kinds()) > 0
			plugin.SetPauses(nil)
			if again := admission.Begin(); again != held || len(admission.Kinds()) != 0 || !admission.Admits(&after) {
				t.Errorf("Begin() = %v, Kinds() = %v after the pause, want %v, none, and all admitted", again, admission.Kinds(), held)
			}
		})
	}
}

// Mistakes in breakers are reported with all others.
func TestBreakerMistakes(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Order]{Name: "mail", Breaker: &reliable.Breaker{FailureRatio: 50, Probes: -1, MaxCoolDown: time.Second, CoolDown: time.Minute}, Run: func(context.Context, reliable.Change[Order]) error { return nil }})
	err := testdb.New(t, testdb.SQLite).Open(t).Use(reliable.New(reliable.Config{Registry: r, Breaker: &reliable.Breaker{Window: -1, RetryShare: 2, RetryFloor: -1}}))
	for _, want := range []string{"FailureRatio is 50", "Probes -1", "MaxCoolDown is 1s: want CoolDown (1m0s)", "Config: Breaker.RetryShare is 2", "Window is -1ns", "RetryFloor is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("db.Use() = %v, want %q in it", err, want)
		}
	}
}
