package worker

import (
	"strings"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
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
			worker   *Worker
			variable string
			want     int
		}{
			"THREADS":                     {&Worker{DB: opened}, "THREADS=3", 5},
			"DB_POOL":                     {&Worker{DB: opened}, "DB_POOL=7", 7},
			"given a connection":          {&Worker{DB: given}, "DB_POOL=7", 7 + OwnConnections},
			"given a connection, and Own": {&Worker{DB: given, Own: pool}, "DB_POOL=7", 7},
		} {
			s, err := read([]string{"DATABASE_URL=postgres://x/y", test.variable})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.apply(test.worker); err != nil {
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

// The environment chooses how entries are ordered, unless the program does;
// then it must not say another thing.
func TestProcessorSettings(t *testing.T) {
	ordered := func(policy reliable.KeyPolicy) processors.EntriesProcessor {
		return &processors.OrderedByCausalityKey{Policy: policy}
	}
	for _, test := range []struct {
		variables string
		given     processors.EntriesProcessor // by the program
		name      string
		policy    reliable.KeyPolicy
		mistake   string
	}{
		{"", nil, "non_ordered", "", ""},
		{"RELIABLE_PROCESSOR=non_ordered", nil, "non_ordered", "", ""},
		{"RELIABLE_PROCESSOR=ordered", nil, "ordered", reliable.KeyPark, ""},
		{"RELIABLE_PROCESSOR=ordered RELIABLE_KEY_POLICY=block", nil, "ordered", reliable.KeyBlock, ""},
		{"RELIABLE_PROCESSOR=ordered RELIABLE_KEY_POLICY=skip", nil, "ordered", reliable.KeySkip, ""},
		{"", ordered(reliable.KeySkip), "ordered", reliable.KeySkip, ""},
		{"RELIABLE_PROCESSOR=ordered RELIABLE_KEY_POLICY=park", ordered(""), "ordered", reliable.KeyPark, ""},
		{"RELIABLE_PROCESSOR=non_ordered", &processors.NonOrdered{}, "non_ordered", "", ""},
		{"RELIABLE_PROCESSOR=ordered", &processors.NonOrdered{}, "", "", "RELIABLE_PROCESSOR=ordered, but the program sets a processor that is non_ordered"},
		{"RELIABLE_PROCESSOR=non_ordered", ordered(""), "", "", "RELIABLE_PROCESSOR=non_ordered, but the program sets a processor that is ordered"},
		{"RELIABLE_KEY_POLICY=skip", nil, "", "", "RELIABLE_KEY_POLICY=skip, but the processor keeps no order: set RELIABLE_PROCESSOR=ordered"},
		{"RELIABLE_KEY_POLICY=skip", ordered(reliable.KeyBlock), "", "", "RELIABLE_KEY_POLICY=skip, but the program sets a processor whose policy is block"},
	} {
		s, err := read(append(strings.Fields(test.variables), "DATABASE_URL=sqlite://x", "RELIABLE_LEASE_TTL=7s", "RELIABLE_COMPLETION=keep", "RELIABLE_RETENTION=5m"))
		if err != nil {
			t.Fatal(err)
		}
		w := Worker{DB: testdb.New(t, testdb.SQLite).Open(t), Processor: test.given}
		err = s.apply(&w)
		if test.mistake != "" {
			if err == nil || !strings.Contains(err.Error(), test.mistake) {
				t.Errorf("%s with %T: apply() = %v, want %q", test.variables, test.given, err, test.mistake)
			}
			continue
		}
		if err != nil || w.processor() != test.name || w.keyPolicy() != test.policy {
			t.Errorf("%s with %T: the processor is %s with policy %q, %v, want %s with %q", test.variables, test.given, w.processor(), w.keyPolicy(), err, test.name, test.policy)
		}
		if p, ok := w.Processor.(*processors.OrderedByCausalityKey); ok && test.given == nil &&
			(p.LeaseTTL != 7*time.Second || p.Completion != processors.Keep || p.Housekeeping.Retention != 5*time.Minute) {
			t.Errorf("%s: the processor is %+v, want the other settings in it", test.variables, p)
		}
	}
}
