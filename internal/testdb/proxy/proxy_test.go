package proxy_test

import (
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
)

type Row struct{ ID uint }

// through returns a database by way of a proxy, and directly.
func through(t *testing.T, s testdb.Service, d testdb.Dialect) (p *proxy.Proxy, far, near *gorm.DB) {
	t.Helper()
	url := testdb.New(t, d)
	near = url.Open(t)
	if err := near.AutoMigrate(&Row{}); err != nil {
		t.Fatal(err)
	}
	p = proxy.Start(t, s, url.URL)
	return p, testdb.DB{Dialect: d, URL: p.URL(url.URL)}.Open(t), near
}

func rows(t *testing.T, db *gorm.DB) (n int64) {
	t.Helper()
	if err := db.Model(&Row{}).Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCommit(t *testing.T) {
	for s, d := range map[testdb.Service]testdb.Dialect{testdb.PostgreSQL: testdb.Postgres, testdb.MariaDB: testdb.MySQL} {
		for fate, want := range map[proxy.Fate]int64{proxy.Pass: 1, proxy.CutBefore: 0, proxy.CutAfter: 1} {
			p, far, near := through(t, s, d)
			asked := 0
			p.OnCommit(func() proxy.Fate { asked++; return fate })
			err := far.Create(&Row{}).Error
			p.OnCommit(nil)
			if n := rows(t, near); n != want || asked != 1 || (err == nil) != (fate == proxy.Pass) {
				t.Errorf("%s, fate %d: %d rows, asked %d times, error %v; want %d, once, an error if cut", s, fate, n, asked, err, want)
			}
			if err := far.Create(&Row{}).Error; err != nil {
				t.Errorf("%s, fate %d: the next write: %v, want a new connection", s, fate, err)
			}
		}
	}
}

func TestCutAndPause(t *testing.T) {
	for s, d := range map[testdb.Service]testdb.Dialect{testdb.PostgreSQL: testdb.Postgres, testdb.MariaDB: testdb.MySQL} {
		p, far, near := through(t, s, d)
		tx := far.Begin()
		if err := tx.Create(&Row{}).Error; err != nil {
			t.Fatal(err)
		}
		p.Cut()
		if err := tx.Commit().Error; err == nil {
			t.Errorf("%s: COMMIT on a cut connection: no error", s)
		}
		if n := rows(t, near); n != 0 {
			t.Errorf("%s: %d rows after a cut, want 0", s, n)
		}
		p.Pause()
		done := make(chan error)
		go func() { done <- errors.Join(far.Create(&Row{}).Error, far.Create(&Row{}).Error) }()
		if n := rows(t, near); n != 0 {
			t.Errorf("%s: %d rows came through a pause, want 0", s, n)
		}
		p.Delay(1)
		p.Resume()
		if err := <-done; err != nil {
			t.Errorf("%s: after the pause: %v", s, err)
		}
	}
}

// One connection of two is cut: at once, or when the server has done what it
// was asked.
func TestCutOne(t *testing.T) {
	for s, d := range map[testdb.Service]testdb.Dialect{testdb.PostgreSQL: testdb.Postgres, testdb.MariaDB: testdb.MySQL} {
		for _, unheard := range []bool{false, true} {
			p, far, near := through(t, s, d)
			first := far.Begin()
			second := far.Begin()
			if err := errors.Join(first.Error, second.Error); err != nil {
				t.Fatal(err)
			}
			if !p.CutOne(func(n int) int {
				if n != 2 {
					t.Errorf("%s: %d connections, want 2", s, n)
				}
				return 0
			}, unheard) {
				t.Fatalf("%s: CutOne() = false, want true", s)
			}
			lost := errors.Join(first.Create(&Row{}).Error, first.Commit().Error)
			if kept := errors.Join(second.Create(&Row{}).Error, second.Commit().Error); lost == nil || kept != nil || p.Cuts() != 1 || rows(t, near) != 1 {
				t.Errorf("%s, unheard %v: errors %v and %v, %d cuts, %d rows; want an error of the first alone, 1, 1", s, unheard, lost, kept, p.Cuts(), rows(t, near))
			}
			if err := far.Exec("SELECT 1").Error; err != nil {
				t.Fatal(err)
			}
			p.CutOne(func(int) int { return 0 }, unheard)
			if err := far.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&Row{}).Error; unheard && (err == nil || rows(t, near) != 2) {
				t.Errorf("%s: an unheard INSERT: error %v, %d rows; want an error, 2", s, err, rows(t, near))
			}
		}
	}
}

// An answer that is late comes, and only that one is.
func TestLate(t *testing.T) {
	for s, d := range map[testdb.Service]testdb.Dialect{testdb.PostgreSQL: testdb.Postgres, testdb.MariaDB: testdb.MySQL} {
		p, far, near := through(t, s, d)
		p.LateBy(300 * time.Millisecond)
		asked := 0
		p.OnCommit(func() proxy.Fate {
			if asked++; asked == 2 {
				return proxy.Late
			}
			return proxy.Pass
		})
		for n := range 3 {
			begun := time.Now()
			if err := far.Create(&Row{}).Error; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); n == 1 && took < 300*time.Millisecond {
				t.Errorf("%s: a late answer came after %s", s, took)
			}
		}
		if n := rows(t, near); n != 3 {
			t.Errorf("%s: %d rows, want 3", s, n)
		}
	}
}
