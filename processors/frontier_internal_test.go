package processors

import (
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// take claims n entries and returns their ids.
func take(t *testing.T, p *NonOrdered, n int) (ids []int64) {
	t.Helper()
	c, err := p.Claim(t.Context(), n)
	if err != nil || c == nil {
		t.Fatalf("Claim() = %v, %v, want entries", c, err)
	}
	for _, e := range c.Entries() {
		ids = append(ids, e.ID)
	}
	return ids
}

// What commits late is found although batches are full, and so is what another
// left behind; until that is worked off, scans go on from there.
func TestFrontier(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		p, db := begin(t, d, 50)
		if ids := take(t, p, 10); ids[0] != 1 || ids[9] != 10 {
			t.Fatalf("the first claim took %v, want 1 to 10", ids)
		}
		// Another worker has claimed up to 30 and left nothing.
		if err := db.Exec("INSERT INTO outbox_claims (worker, ids, lo, hi, mark) VALUES ('other', ?, 30, 30, 30)", idList(p.dialect, []int64{30})).Error; err != nil {
			t.Fatal(err)
		}
		if ids := take(t, p, 5); ids[0] != 31 || ids[4] != 35 {
			t.Fatalf("a claim behind the other worker took %v, want 31 to 35", ids)
		}
		// It had not: 11 to 29 come when the time for a look from the start is there.
		p.mu.Lock()
		p.frontier.rescanBy = time.Time{}
		p.mu.Unlock()
		for _, first := range []int64{11, 16, 21} {
			if ids := take(t, p, 5); ids[0] != first {
				t.Fatalf("a claim took %v, want it to begin with %d", ids, first)
			}
		}
		if ids := take(t, p, 5); ids[0] != 26 || ids[3] != 29 || ids[4] != 36 {
			t.Fatalf("the last claim of what was left took %v, want 26 to 29 and 36", ids)
		}
	})
}

func TestFrontierMoves(t *testing.T) {
	now := time.Now()
	f := frontier{mark: 100, rescanBy: now.Add(time.Hour)}
	for _, step := range []struct {
		what   string
		do     func()
		shared int64
		want   int64
	}{
		{"at first", func() {}, 0, 100},
		{"others are further", func() {}, 150, 150},
		{"a scan found nothing there", func() { f.scanned(150, 150, false, now) }, 0, 150},
		{"entries are given back", func() { f.lower(120) }, 200, 119},
		{"half of that is done", func() { f.scanned(119, 140, true, now) }, 200, 140},
		{"all of it is", func() { f.scanned(140, 160, true, now) }, 200, 200},
		{"much is found at the start", func() { f.scanned(0, 20, true, now); f.rescanBy = now.Add(time.Hour) }, 200, 20},
		{"little is left there", func() { f.scanned(20, 170, false, now) }, 200, 200},
		{"it is time for a look from the start", func() { f.rescanBy = now.Add(-1) }, 200, 0},
	} {
		step.do()
		if got := f.start(now, step.shared); got != step.want {
			t.Errorf("%s: scan above %d, want %d", step.what, got, step.want)
		}
	}
}
