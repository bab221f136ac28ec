package worker

import (
	"testing"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// DB_POOL is what callbacks may use: the worker's own connections are apart
// from it, or else come on top.
func TestPoolOfCallbacks(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		if d == testdb.SQLite {
			return // its pool is left as it is
		}
		opened := testdb.New(t, d).Open(t)
		pool, err := opened.DB()
		if err != nil {
			t.Fatal(err)
		}
		dialector := postgres.New(postgres.Config{Conn: pool})
		if d == testdb.MySQL {
			dialector = mysql.New(mysql.Config{Conn: pool})
		}
		given, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			worker   Worker
			variable string
			want     int
		}{
			"THREADS":                     {Worker{DB: opened}, "THREADS=3", 5},
			"DB_POOL":                     {Worker{DB: opened}, "DB_POOL=7", 7},
			"given a connection":          {Worker{DB: given}, "DB_POOL=7", 7 + OwnConnections},
			"given a connection, and Own": {Worker{DB: given, Own: pool}, "DB_POOL=7", 7},
		} {
			s, err := read([]string{"DATABASE_URL=postgres://x/y", test.variable})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.apply(&test.worker); err != nil {
				t.Fatal(err)
			}
			if got := pool.Stats().MaxOpenConnections; got != test.want {
				t.Errorf("%s: the pool has %d connections, want %d", name, got, test.want)
			}
		}
	})
}

func TestListenOff(t *testing.T) {
	for value, want := range map[string]bool{"": false, "on": false, "off": true} {
		s, err := read([]string{"DATABASE_URL=sqlite://x", "RELIABLE_LISTEN=" + value})
		if err != nil {
			t.Fatal(err)
		}
		w := Worker{DB: testdb.New(t, testdb.SQLite).Open(t)}
		if err := s.apply(&w); err != nil || w.NoListen != want {
			t.Errorf("RELIABLE_LISTEN=%s: NoListen is %v, %v, want %v", value, w.NoListen, err, want)
		}
	}
}
