package worker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb/proxy"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// A program whose database falls silent when it has been opened, and before the
// worker has registered with it, ends with an error in time (69).
func TestDatabaseFallsSilent(t *testing.T) {
	services := map[testdb.Dialect]testdb.Service{testdb.Postgres: testdb.PostgreSQL, testdb.MySQL: testdb.MariaDB}
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		service, remote := services[d]
		if !remote {
			return
		}
		url := testdb.New(t, d)
		p := proxy.Start(t, service, url.URL)
		var out bytes.Buffer
		exited := 0
		main := program{
			environ: []string{"DATABASE_URL=" + p.URL(url.URL), "RELIABLE_START_TIMEOUT=1s"}, errors: &out, signals: make(chan os.Signal),
			exit: func(code int) { exited = code; p.Resume() },
		}
		code := main.main(func(_ context.Context, address string) (*Worker, error) {
			db := testdb.DB{Dialect: d, URL: address}.Open(t)
			err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: new(reliable.Registry), AllModels: true})), migrations.Up(t.Context(), db))
			p.Pause()
			return &Worker{DB: db}, err
		})
		if code != ExitFailure || exited != 0 && exited != ExitFailure {
			t.Errorf("main() = %d, exit %d, want %d", code, exited, ExitFailure)
		}
		if !strings.Contains(out.String(), "not started within 1s (RELIABLE_START_TIMEOUT)") {
			t.Errorf("it wrote\n%s\nwant the variable and the time", &out)
		}
	})
}
