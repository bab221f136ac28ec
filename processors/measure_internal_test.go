package processors

import (
	"context"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// What measures has its pace, however often there is a round.
func TestPacedDuty(t *testing.T) {
	p, db := begin(t, testdb.SQLite, 1)
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	h := newHousekeeper(p, pool)
	defer h.session.close()
	h.Every = time.Hour
	done := map[string]int{}
	count := func(name string, more bool) func(context.Context) (bool, error) {
		return func(context.Context) (bool, error) { done[name]++; return more, nil }
	}
	h.duties = []*duty{{name: "prune", do: count("prune", true)}, {name: "measure", do: count("measure", false), paced: true}}
	for range 3 {
		if !h.round(t.Context()) {
			t.Fatal("round() = false, want more to do")
		}
	}
	if done["prune"] != 3 || done["measure"] != 1 {
		t.Errorf("done %v in three rounds, want prune 3 and measure 1", done)
	}
}
