package proof_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gorm-aftercommit/aftercommit/examples/shop/proof"
)

// owed is what the changes of these tests owe.
func owed(c proof.Change) []string {
	switch c.Operation {
	case proof.Create:
		return []string{"receipt", "warehouse"}
	case proof.Update, proof.Destroy:
		return []string{"warehouse"}
	default:
		return nil
	}
}

// order is a change of order 7.
func order(operation string) proof.Change {
	return proof.Change{Class: "Order", ID: "7", Operation: operation}
}

// done is a run to the end for order 7.
func done(entry int64, operation, callback string) proof.Run {
	return proof.Run{Entry: entry, Class: "Order", ID: "7", Operation: operation, Callback: callback, Outcome: proof.Done}
}

func TestJudge(t *testing.T) {
	changes := []proof.Change{order(proof.Create), order(proof.Update), order(proof.Update), order(proof.Destroy)}
	failed := done(2, proof.Update, "warehouse")
	failed.Outcome = proof.Failed
	runs := []proof.Run{
		done(1, proof.Create, "receipt"), done(1, proof.Create, "warehouse"),
		failed, done(2, proof.Update, "warehouse"), done(3, proof.Update, "warehouse"),
		done(4, proof.Destroy, "warehouse"),
	}
	with := func(more ...proof.Run) []proof.Run { return append(slices.Clone(runs), more...) }
	other := done(5, proof.Create, "warehouse")
	other.ID = "8"

	tests := []struct {
		name    string
		changes []proof.Change
		runs    []proof.Run
		want    proof.Verdict
		ok      bool
	}{
		{"all is well", changes, runs, proof.Verdict{Committed: 4, Replayed: 4}, true},
		{"nothing happened", nil, nil, proof.Verdict{}, true},
		{"the same entry twice", changes, with(runs[5]), proof.Verdict{Committed: 4, Replayed: 4, Duplicates: 1}, true},
		{"no run of a change", changes, runs[:5], proof.Verdict{Committed: 4, Replayed: 3, Lost: 1}, false},
		{"one callback of two", changes, runs[1:], proof.Verdict{Committed: 4, Replayed: 3, Lost: 1}, false},
		{"failed and never again", changes, slices.Delete(slices.Clone(runs), 3, 4), proof.Verdict{Committed: 4, Replayed: 3, Lost: 1}, false},
		{"one update of two", changes, slices.Delete(slices.Clone(runs), 4, 5), proof.Verdict{Committed: 4, Replayed: 3, Lost: 1}, false},
		{"an update that rolled back", changes, with(done(5, proof.Update, "warehouse")), proof.Verdict{Committed: 4, Replayed: 5, Phantom: 1}, false},
		{"a row that rolled back", changes, with(other), proof.Verdict{Committed: 4, Replayed: 4, Phantom: 1}, false},
		{"not owed", changes, with(done(5, proof.Update, "receipt")), proof.Verdict{Committed: 4, Replayed: 4, Phantom: 1}, false},
		{"one id, two changes", changes, with(done(3, proof.Destroy, "warehouse")), proof.Verdict{Committed: 4, Replayed: 3, Lost: 1, Phantom: 1, Duplicates: 1}, false},
		{
			"another row instead", append(changes[:3:3], proof.Change{Class: "Order", ID: "9", Operation: proof.Destroy}), runs,
			proof.Verdict{Committed: 4, Replayed: 4, Lost: 1, Phantom: 1},
			false,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := proof.Judge(test.changes, test.runs, owed)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(proof.Verdict{}, "Faults")); diff != "" {
				t.Errorf("Judge() (-want +got):\n%s", diff)
			}
			if got.OK() != test.ok {
				t.Errorf("Judge().OK() = %v, want %v: %s", got.OK(), test.ok, got)
			}
			if test.ok != (len(got.Faults) == 0) {
				t.Errorf("Judge().Faults = %q, want some only if not OK", got.Faults)
			}
		})
	}
}
