package cli_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/cli"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/worker"
)

// canary is in everything that is secret.
const canary = "CanaryHunter2"

// Patient is a model with something in it that nobody is to see, and something
// that is encrypted only.
type Patient struct {
	ID   uint
	Name string
	Iban string `reliable:"sensitive"`
}

// sink is what subscribers and logs got.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
	died int
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// take writes an event down in each way that a subscriber may.
func (s *sink) take(e reliable.Event) {
	data, err := json.Marshal(e)
	fmt.Fprintf(s, "%s %+v %#v %s %v\n", e.Name(), e, e, data, err)
	if _, ok := e.(*reliable.EntryDied); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.died++
	}
}

func (s *sink) dead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.died
}

// secretive opens a database as an application does, whose callbacks fail with
// errors that have a secret in them.
func secretive(t *testing.T, db testdb.DB, ring reliable.KeyRing, s *sink) *gorm.DB {
	t.Helper()
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Patient]{Name: "sync", MaxAttempts: 1, Run: func(_ context.Context, c reliable.Change[Patient]) error {
		if c.Operation == reliable.OpCreate && (c.After().Iban != canary || c.After().Name != "Ann "+canary) {
			return fmt.Errorf("after the create: %v", c)
		}
		switch c.Operation {
		case reliable.OpCreate:
			return reliable.Permanent(&url.Error{Op: "Post", URL: "https://ann:" + canary + "@api.example.com", Err: errors.New("Authorization: Bearer " + canary)})
		default:
			panic(fmt.Sprintf("password=%s of %v, %+v", canary, c, c.Entry))
		}
	}})
	reliable.HandleEvent(r, "billing", "sent", "ledger", func(_ context.Context, e *reliable.OutboxEntry, arguments map[string]string) error {
		if arguments["card"] != canary || !strings.Contains(string(e.Headers), canary) {
			return errors.New("not what was recorded")
		}
		return reliable.Permanent(fmt.Errorf("dial postgres://ann:%s@db/ledger: refused for %v", canary, e))
	})
	m := new(reliable.Monitor)
	m.Subscribe(s.take)
	m.LogTo(slog.New(slog.NewJSONHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug})))
	opened := db.Open(t)
	if err := opened.Use(reliable.New(reliable.Config{Registry: r, Monitor: m, Encryption: ring})); err != nil {
		t.Fatal(err)
	}
	return opened
}

// With encryption, a canary that was written to a model, recorded as an argument
// and a header, and told by errors and panics is in no byte of the database's file,
// in no event, in no log, and in nothing that the commands show; without, the file
// has it, and what is sensitive is masked all the same (76).
func TestCanary(t *testing.T) {
	for _, ring := range []reliable.KeyRing{nil, {{ID: "k", Secret: []byte("0123456789abcdef0123456789abcdef")}}} {
		t.Run(fmt.Sprintf("encrypted %t", ring != nil), func(t *testing.T) {
			var s sink
			url := testdb.New(t, testdb.SQLite)
			db := secretive(t, url, ring, &s)
			ann := Patient{Name: "Ann " + canary, Iban: canary}
			err := errors.Join(migrations.Up(t.Context(), db), db.AutoMigrate(&Patient{}), db.Create(&ann).Error,
				db.Model(&ann).Updates(map[string]any{"name": "Ann", "iban": ""}).Error, // gone from the application's own table
				db.Transaction(func(tx *gorm.DB) error {
					_, err := reliable.Record(t.Context(), tx, reliable.Entry{Context: "billing", EventName: "sent", Arguments: map[string]string{"card": canary}, Headers: map[string]string{"session": canary}})
					return err
				}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- (&worker.Worker{DB: db, PollInterval: 10 * time.Millisecond}).Run(ctx) }()
			for i := 0; s.dead() < 2 || !failed(t, db); i++ {
				if i == 3000 {
					t.Fatal("after 30 s the entries have not failed")
				}
				<-time.After(10 * time.Millisecond)
			}
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"1", "2", "3"} {
				for _, args := range [][]string{{"show", id}, {"show", id, "--json"}, {"list", "--state", "dead", "--json"}, {"list"}, {"status"}} {
					show(t, &s, func(context.Context) (*gorm.DB, error) { return secretive(t, url, ring, &s), nil }, args...)
				}
			}
			show(t, &s, func(context.Context) (*gorm.DB, error) {
				return nil, errors.New("connect to postgres://ann:" + canary + "@db/shop: refused")
			}, "list")
			if text := s.text.String(); ring == nil {
				if strings.Contains(text, `"iban":["`+canary) || !strings.Contains(text, "[masked]") {
					t.Error("what is sensitive is shown, or nothing is masked")
				}
			} else {
				text = strings.ReplaceAll(text, "Ann "+canary, "") // of a field that is not sensitive, by show
				if at := strings.Index(text, canary); at >= 0 {
					t.Errorf("the canary is told: %s", text[max(0, at-200):at+len(canary)])
				}
			}
			for _, name := range []string{"record_processing_failed", "entry_died", "[redacted]", `"changeset":`} {
				if !strings.Contains(s.text.String(), name) {
					t.Errorf("nothing tells of %s", name)
				}
			}
			if err := errors.Join(db.Exec("VACUUM").Error, db.Exec("PRAGMA wal_checkpoint(TRUNCATE)").Error); err != nil {
				t.Fatal(err)
			}
			var file string
			if err := db.Raw("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file).Error; err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			plain := bytes.Contains(data, []byte(canary)) || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString([]byte(canary))))
			if plain != (ring == nil) || !bytes.Contains(data, []byte("[redacted]")) {
				t.Errorf("the file of %d bytes has the canary: %t, want %t", len(data), plain, ring == nil)
			}
		})
	}
}

// failed reports whether all three entries have failed.
func failed(t *testing.T, db *gorm.DB) bool {
	t.Helper()
	var n int
	if err := db.Raw("SELECT count(*) FROM outbox_entries WHERE error_message IS NOT NULL").Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	return n == 3
}

// show runs a command, and adds what it says.
func show(t *testing.T, s *sink, open cli.Open, args ...string) {
	t.Helper()
	c := cli.Command(open)
	c.SetArgs(args)
	c.SetOut(s)
	c.SetErr(s)
	c.SetIn(strings.NewReader(""))
	cli.Main(c)
}
