package testdb

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Service is a kind of server that tests need.
type Service int

// The services.
const (
	PostgreSQL Service = iota
	MariaDB
	Redis
)

// Services returns all of them.
func Services() []Service { return []Service{PostgreSQL, MariaDB, Redis} }

// String returns the service's name.
func (s Service) String() string { return [...]string{"PostgreSQL", "MariaDB", "Redis"}[s] }

// Variable returns the environment variable that says where the service is.
func (s Service) Variable() string {
	return [...]string{"RELIABLE_TEST_POSTGRES_URL", "RELIABLE_TEST_MYSQL_URL", "RELIABLE_TEST_REDIS_URL"}[s]
}

// standard returns where the service is if nothing else is said.
func (s Service) standard() []string {
	switch s {
	case PostgreSQL:
		return []string{"postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable", "postgres://root@127.0.0.1:5432/postgres?sslmode=disable"}
	case MariaDB:
		return []string{"mysql://root@127.0.0.1:3306/"}
	default:
		return []string{"redis://127.0.0.1:6379/0"}
	}
}

// Throwaway is the environment variable that, not empty, makes tests ignore
// servers on the standard ports.
const Throwaway = "RELIABLE_TEST_THROWAWAY"

// Find returns the URL of a server that answers: where the service's variable
// says, or else on its standard port.
func Find(s Service) (address string, err error) {
	candidates := s.standard()
	if os.Getenv(Throwaway) != "" {
		candidates, err = nil, errors.New(Throwaway+" is set: standard ports are not looked at")
	}
	if address := os.Getenv(s.Variable()); address != "" {
		candidates = []string{address}
	}
	for _, address := range candidates {
		if err = s.ping(address); err == nil {
			return address, nil
		}
	}
	return "", err
}

// ping returns nil if a server answers.
func (s Service) ping(address string) error {
	switch s {
	case PostgreSQL:
		return pingSQL("pgx", address)
	case MariaDB:
		config, err := mysqlDSN(address)
		if err != nil {
			return err
		}
		return pingSQL("mysql", config)
	default:
		return pingRedis(address)
	}
}

func pingSQL(driver, address string) error {
	pool, err := sql.Open(driver, address)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = pool.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pool.PingContext(ctx)
}

func pingRedis(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("no answer of a Redis: %q: %w", line, err)
	}
	return nil
}

// found remembers the URL by Service, so that a test binary looks once.
var found sync.Map //nolint:gochecknoglobals // testing has no place for it

// server returns the URL of a server that answers. It fails the test if there
// is none, saying what to do.
func server(t testing.TB, s Service) string {
	t.Helper()
	if address, ok := found.Load(s); ok {
		return address.(string)
	}
	address, err := Find(s)
	if err != nil {
		t.Fatalf("testdb: no %s: %v\nrun the tests with \"make test\", which starts the servers that it needs; or start one on its standard port, or set %s",
			s, err, s.Variable())
	}
	if _, again := found.LoadOrStore(s, address); !again {
		sweep(t, s, address)
	}
	return address
}
