package reliable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// How often something may fail depends on the policy, if the entry has a key.
func TestKeyPolicy(t *testing.T) {
	const never = 0
	bad := errors.New("bad")
	tests := []struct {
		name   string
		policy reliable.KeyPolicy
		key    string
		err    error
		usual  int // runs until something without a setting of its own is dead
	}{
		{name: "unordered", key: "k", err: bad, usual: reliable.DefaultMaxAttempts},
		{name: "park", policy: reliable.KeyPark, key: "k", err: bad, usual: reliable.DefaultOrderedMaxAttempts},
		{name: "park, without a key", policy: reliable.KeyPark, err: bad, usual: reliable.DefaultMaxAttempts},
		{name: "park, permanent", policy: reliable.KeyPark, key: "k", err: reliable.Permanent(bad), usual: reliable.DefaultOrderedMaxAttempts},
		{name: "skip", policy: reliable.KeySkip, key: "k", err: bad, usual: reliable.DefaultMaxAttempts},
		{name: "skip, permanent", policy: reliable.KeySkip, key: "k", err: reliable.Permanent(bad), usual: reliable.DefaultMaxAttempts},
		{name: "block", policy: reliable.KeyBlock, key: "k", err: bad, usual: never},
		{name: "block, permanent", policy: reliable.KeyBlock, key: "k", err: reliable.Permanent(bad), usual: never},
		{name: "block, without a key", policy: reliable.KeyBlock, err: bad, usual: reliable.DefaultMaxAttempts},
		{name: "block, without a key, permanent", policy: reliable.KeyBlock, err: reliable.Permanent(bad), usual: reliable.DefaultMaxAttempts},
	}
	kinds := map[string]struct {
		entry func(e *reliable.OutboxEntry)
		most  int // what was said for the callback itself
	}{
		"record processor": {func(e *reliable.OutboxEntry) { e.Context = "single" }, 0},
		"batch processor":  {func(e *reliable.OutboxEntry) { e.Context = "batch" }, 0},
		"callback":         {func(e *reliable.OutboxEntry) { e.Owed = []string{"usual"} }, 0},
		"callback of 3":    {func(e *reliable.OutboxEntry) { e.Owed = []string{"own"} }, 3},
		"callback of 25":   {func(e *reliable.OutboxEntry) { e.Owed = []string{"more"} }, 25},
		"unreadable":       {func(e *reliable.OutboxEntry) { e.Context, e.Headers = "single", json.RawMessage("{") }, 0},
	}
	var fails error
	r := new(reliable.Registry)
	fail := func(context.Context, *reliable.OutboxEntry) error { return fails }
	r.Handle("single", "fail", reliable.RecordProcessorFunc(fail))
	r.HandleBatch("batch", "fail", 0, reliable.BatchProcessorFunc(func(_ context.Context, batch []*reliable.OutboxEntry) []error {
		errs := make([]error, len(batch))
		for i := range errs {
			errs[i] = fails
		}
		return errs
	}))
	for name, most := range map[string]int{"usual": 0, "own": 3, "more": 25} {
		reliable.AfterCommit(r, reliable.Callback[Plain]{
			Name: name, MaxAttempts: most, NoModel: true, Backoff: func(int) time.Duration { return time.Hour },
			Run: func(context.Context, reliable.Change[Plain]) error { return fails },
		})
	}
	db := testdb.New(t, testdb.SQLite).Open(t)
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := db.Use(plugin); err != nil {
		t.Fatal(err)
	}
	for kind, k := range kinds {
		for _, tt := range tests {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				want := tt.usual
				switch {
				case want == never:
				case kind != "unreadable" && !errors.Is(bad, tt.err): // it is permanent
					want = 1
				case k.most > 0:
					want = k.most
				}
				fails = tt.err
				e := &reliable.OutboxEntry{
					ID: 1, Context: reliable.ContextModel, ResourceClass: "Plain", ResourceID: "1", EventName: "plain_created", CausalityKey: tt.key,
					Changeset: json.RawMessage(`{"v":1,"key":{"id":1},"set":{"id":[null,1]}}`),
				}
				k.entry(e)
				runs := 0
				for at := time.Now(); ; at = at.Add(48 * time.Hour) {
					batch := plugin.NewBatch(db, []*reliable.OutboxEntry{e}, 1, at)
					batch.KeyPolicy, batch.NoBreaker = tt.policy, true
					o := process(t.Context(), batch, e)
					runs++
					if o.Attempts != runs {
						t.Fatalf("%d attempts after run %d: %s", o.Attempts, runs, o.ErrorMessage)
					}
					if o.State == reliable.StateRetry && (o.RetryAt.Before(at) || o.RetryAt.After(at.Add(25*time.Hour))) {
						t.Fatalf("run %d: again at %s, want within 25 h of %s", runs, o.RetryAt, at)
					}
					if o.State != reliable.StateRetry || runs == 200 {
						if dead := o.State == reliable.StateDead; dead != (want != never) || dead && runs != want {
							t.Fatalf("%v after %d runs, want it dead after %d (0 is never)", o.State, runs, want)
						}
						return
					}
					e.Attempts, e.Callbacks = o.Attempts, o.Callbacks
				}
			})
		}
	}
}

// A discard ends an entry under every policy.
func TestKeyPolicyDiscards(t *testing.T) {
	r := new(reliable.Registry)
	r.Handle("job", "drop", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return reliable.Discard("old") }))
	db := testdb.New(t, testdb.SQLite).Open(t)
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := db.Use(plugin); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []reliable.KeyPolicy{"", reliable.KeyPark, reliable.KeyBlock, reliable.KeySkip} {
		e := &reliable.OutboxEntry{ID: 1, Context: "job", EventName: "due", CausalityKey: "k"}
		batch := plugin.NewBatch(db, []*reliable.OutboxEntry{e}, 1, time.Now())
		batch.KeyPolicy = policy
		if o := process(t.Context(), batch, e); o.State != reliable.StateDone || len(o.Results) != 1 || o.Results[0].Discard != "old" {
			t.Errorf("policy %q: %v %+v, want it done, discarded", policy, o.State, o.Results)
		}
	}
}

func TestKeyPolicyValidate(t *testing.T) {
	for policy, ok := range map[reliable.KeyPolicy]bool{"": true, "park": true, "block": true, "skip": true, "Park": false, "drop": false} {
		if err := policy.Validate(); (err == nil) != ok {
			t.Errorf("KeyPolicy(%q).Validate() = %v, want ok %t", policy, err, ok)
		}
	}
}

// What was only given back tells nobody anything.
func TestReleasedSaysNothing(t *testing.T) {
	o := reliable.Outcome{Entry: &reliable.OutboxEntry{ID: 1}, State: reliable.StateReleased}
	if events := o.Events(); len(events) != 0 {
		t.Errorf("Events() = %v, want none", events)
	}
	if got := fmt.Sprint(o.State); got != "released" {
		t.Errorf("the state prints %q, want released", got)
	}
}
