package main

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"reliable": func() { os.Exit(run()) }})
}

// Each script runs on every database, with the program's own drivers.
func TestScripts(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata",
			Setup: func(env *testscript.Env) error {
				env.Setenv("DATABASE_URL", testdb.New(t, d).URL)
				env.Setenv("DIALECT", string(d))
				return nil
			},
		})
	})
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"mysql://ann:sec%2Fret@db/shop":        "ann:sec/ret@tcp(db:3306)/shop?",
		"mysql://db:3307/shop?tls=true":        "tcp(db:3307)/shop?",
		"mysql://ann@[::1]/shop?timeout=200ms": "ann@tcp([::1]:3306)/shop?",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		dsn, err := mysqlDSN(u)
		if err != nil || !strings.HasPrefix(dsn, want) || !strings.Contains(dsn, "parseTime=true") || strings.Contains(address, "tls") != strings.Contains(dsn, "tls=true") {
			t.Errorf("mysqlDSN(%s) = %s, %v, want %s...", address, dsn, err, want)
		}
	}
	for _, address := range []string{"mysql://root:sec%2Fret@127.0.0.1:1/shop", "postgres://root:sec%2Fret@127.0.0.1:1/shop", "postgres://root:secret@[/", "oracle://root:secret@host/"} {
		db, err := open(address)
		if err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("open() = %v, %v, want an error without the password", db, err)
		}
	}
}
