package reliablesentry_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a Sentry: it keeps the envelopes that come.
type server struct {
	*httptest.Server

	mu    sync.Mutex
	bytes bytes.Buffer
	sent  []event
	open  map[net.Conn]bool
}

// event is what a test looks at of one.
type event struct {
	Level       string
	Logger      string
	Message     string
	Transaction string
	Environment string
	Release     string
	Fingerprint []string
	Tags        map[string]string
	Contexts    map[string]map[string]any
	Exception   []struct {
		Type, Value string
		Stacktrace  *struct {
			Frames []struct {
				Function string `json:"function"`
				Module   string `json:"module"`
				File     string `json:"abs_path"`
				Line     int    `json:"lineno"`
			}
		}
	}
}

// listen starts a server and sets the environment for it.
func listen(t *testing.T) *server {
	t.Helper()
	s := new(server)
	s.open = make(map[net.Conn]bool)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s.keep(t, r) }))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[c] = true; state == http.StateClosed {
			delete(s.open, c)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	quiet(t)
	t.Setenv("SENTRY_DSN", strings.Replace(s.URL, "http://", "http://key@", 1)+"/42")
	return s
}

// quiet empties the environment.
func quiet(t *testing.T) {
	t.Helper()
	for _, name := range []string{"SENTRY_DSN", "SENTRY_DSN_FILE", "SENTRY_ENVIRONMENT"} {
		t.Setenv(name, "")
	}
	t.Setenv("SENTRY_RELEASE", "1.2.3")
}

// keep reads an envelope: a header, then a header and a payload per item, each
// a line.
func (s *server) keep(t *testing.T, r *http.Request) {
	if r.URL.Path != "/api/42/envelope/" || !strings.Contains(r.Header.Get("X-Sentry-Auth"), "sentry_key=key") {
		t.Errorf("a request for %s with %q, want the project's envelopes with the key", r.URL, r.Header.Get("X-Sentry-Auth"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	s.bytes.Write(body)
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	for i := 1; i+1 < len(lines); i += 2 {
		var header struct {
			Type   string
			Length int
		}
		if err := json.Unmarshal(lines[i], &header); err != nil || header.Length != len(lines[i+1]) {
			t.Errorf("item header %s of %d bytes: %v", lines[i], len(lines[i+1]), err)
		}
		if header.Type != "event" {
			continue
		}
		var e event
		if err := json.Unmarshal(lines[i+1], &e); err != nil {
			t.Errorf("%s: %v", lines[i+1], err)
		}
		s.sent = append(s.sent, e)
	}
}

// closed waits until no connection is open.
func (s *server) closed(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		open := len(s.open)
		s.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d connections are still open", open)
		}
	}
}

// received returns all that came.
func (s *server) received() (text string, events []event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes.String(), s.sent
}
