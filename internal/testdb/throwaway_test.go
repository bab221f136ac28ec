package testdb_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// A throw-away server starts where nothing runs, also as root, dies when it is
// killed, and has its data when it is started again.
func TestThrowaway(t *testing.T) {
	for _, service := range testdb.Services() {
		t.Run(service.String(), func(t *testing.T) {
			server := testdb.Start(t, service)
			t.Setenv(service.Variable(), server.URL)
			answers := func() bool { _, err := testdb.Find(service); return err == nil }
			if !answers() {
				t.Fatalf("no answer from %s", server.URL)
			}
			server.Kill()
			if answers() {
				t.Fatalf("%s answers after it was killed", server.URL)
			}
			if err := server.Restart(); err != nil || !answers() {
				t.Fatalf("Restart() = %v", err)
			}
			if err := server.Restart(); err == nil {
				t.Error("Restart() of a server that runs = nil, want an error")
			}
		})
	}
}

// A server that is paused does not answer until it goes on.
func TestPause(t *testing.T) {
	server := testdb.Start(t, testdb.PostgreSQL)
	pool, err := sql.Open("pgx", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1)
	if err := pool.Ping(); err != nil { // so that a connection is open
		t.Fatal(err)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- pool.Ping() }()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("after the pause: %v", err)
	}
}
