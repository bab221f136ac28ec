package cli_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/cli"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// open is a program's own, with its callbacks.
func open(context.Context) (*gorm.DB, error) {
	db, err := testdb.OpenURL(cmp.Or(os.Getenv("SHOP_DATABASE"), os.Getenv("DATABASE_URL")))
	if err != nil {
		return nil, err
	}
	r := new(reliable.Registry)
	reliable.HandleEvent(r, "billing", "invoice_sent", "ledger", func(_ context.Context, _ *reliable.OutboxEntry, broken bool) error {
		if broken {
			return reliable.Permanent(errors.New("no such account"))
		}
		return nil
	})
	config := reliable.Config{Registry: r}
	if keys := os.Getenv("RELIABLE_ENCRYPTION_KEYS"); keys != "" {
		if config.Encryption, err = reliable.ParseKeyRing(keys); err != nil {
			return nil, err
		}
	}
	return db, db.Use(reliable.New(config))
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"shop": func() { os.Exit(cli.Main(cli.Command(open))) },
	})
}

// Each script runs on every database, in one of its own, with the tables.
func TestScripts(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata",
			Setup: func(env *testscript.Env) error {
				url := testdb.New(t, d).URL
				env.Setenv("DATABASE_URL", url)
				env.Setenv("RELIABLE_POLL_INTERVAL", "20ms")
				if d == testdb.Postgres {
					env.Setenv("RELIABLE_POLL_INTERVAL", "1h") // a worker is woken, or does nothing
				}
				db, err := testdb.OpenURL(url)
				if err != nil {
					return err
				}
				env.Defer(func() {
					if pool, err := db.DB(); err == nil {
						_ = pool.Close()
					}
				})
				env.Values["db"] = db
				return errors.Join(db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), AllModels: true})), migrations.Up(context.Background(), db))
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"record": record, "sql": execute, "count": count, "history": history, "code": code, "double": double},
		})
	})
}

// code runs the program, which must end with that exit code, and say nothing on
// standard output.
func code(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	if err := ts.Exec("shop", args[1:]...); !errors.As(err, &exit) || fmt.Sprint(exit.ExitCode()) != args[0] {
		ts.Fatalf("shop %q: %v, want exit code %s", args[1:], err, args[0])
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("shop %q wrote %q to standard output, want nothing", args[1:], out)
	}
}

func database(ts *testscript.TestScript) *gorm.DB { return ts.Value("db").(*gorm.DB) }

// record [key] records an invoice that was sent, of a causality key.
func record(ts *testscript.TestScript, _ bool, args []string) {
	e := reliable.Entry{Context: "billing", EventName: "invoice_sent", Arguments: false}
	if len(args) > 0 {
		e.CausalityKey = args[0]
	}
	db := database(ts)
	ts.Check(db.Transaction(func(tx *gorm.DB) error {
		_, err := reliable.Record(context.Background(), tx, e)
		return err
	}))
	ts.Check(db.Exec("UPDATE outbox_entries SET owed = '[\"ledger\"]'").Error) // as the program with the callbacks records it
}

// sql runs a statement.
func execute(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(database(ts).Exec(strings.Join(args, " ")).Error)
}

// count waits until so many rows follow FROM.
func count(ts *testscript.TestScript, _ bool, args []string) {
	var n int64
	for range 3000 {
		ts.Check(database(ts).Raw("SELECT count(*) FROM " + strings.Join(args[1:], " ")).Scan(&n).Error)
		if fmt.Sprint(n) == args[0] {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	ts.Fatalf("%d rows of %s, want %s", n, args[1:], args[0])
}

// history makes a place for what is discarded, as workers do.
func history(ts *testscript.TestScript, _ bool, _ []string) {
	if db := database(ts); db.Name() == "postgres" {
		ts.Check(db.Exec("CREATE TABLE outbox_history_all PARTITION OF outbox_history DEFAULT").Error)
	}
}

// double records everything once more.
func double(ts *testscript.TestScript, _ bool, _ []string) {
	const columns = "context, event_name, owed, arguments, dead_at"
	ts.Check(database(ts).Exec("INSERT INTO outbox_entries (" + columns + ") SELECT " + columns + " FROM outbox_entries").Error)
}
