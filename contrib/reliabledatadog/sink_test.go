package reliabledatadog_test

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is an agent: it keeps what comes by UDP.
type sink struct {
	net.PacketConn

	ends  int // that await sent
	mu    sync.Mutex
	bytes []byte
	lines []string
}

// listen starts a sink and sets the environment for it.
func listen(t *testing.T) *sink {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{PacketConn: conn}
	done := make(chan struct{})
	go func() { defer close(done); s.read() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	quiet(t)
	t.Setenv("DD_AGENT_HOST", "127.0.0.1")
	t.Setenv("DD_DOGSTATSD_PORT", port)
	return s
}

// quiet empties the environment.
func quiet(t *testing.T) {
	t.Helper()
	for _, name := range []string{"DD_AGENT_HOST", "DD_DOGSTATSD_PORT", "DD_DOGSTATSD_URL", "DD_ENV", "DD_SERVICE", "DD_VERSION", "DD_TAGS", "DD_ENTITY_ID", "DD_EXTERNAL_ENV"} {
		t.Setenv(name, "")
	}
	t.Setenv("DD_ORIGIN_DETECTION_ENABLED", "false")
}

func (s *sink) read() {
	packet := make([]byte, 64<<10)
	for {
		n, _, err := s.ReadFrom(packet)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.bytes = append(s.bytes, packet[:n]...)
		for line := range strings.SplitSeq(strings.TrimSpace(string(packet[:n])), "\n") {
			if strings.HasPrefix(line, "reliable.") { // else the client's telemetry
				s.lines = append(s.lines, line)
			}
		}
		s.mu.Unlock()
	}
}

// received returns the bytes that came, and the metrics.
func (s *sink) received() (bytes string, metrics []metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.lines {
		metrics = append(metrics, parse(line)...)
	}
	return string(s.bytes), metrics
}

// metric is one that came, with its tags in order.
type metric struct {
	name, kind, tags string
	value            float64
}

// parse reads a line, name:value[:value...]|type|#tags.
func parse(line string) (metrics []metric) {
	fields := strings.Split(line, "|")
	name, values, _ := strings.Cut(fields[0], ":")
	var tags []string
	for _, field := range fields[2:] {
		if list, ok := strings.CutPrefix(field, "#"); ok {
			tags = strings.Split(list, ",")
		}
	}
	slices.Sort(tags)
	for text := range strings.SplitSeq(values, ":") {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			name = "unreadable " + line
		}
		metrics = append(metrics, metric{name: name, kind: fields[1], tags: strings.Join(tags, ","), value: value})
	}
	return metrics
}

// String is how a test compares it.
func (m metric) String() string { return fmt.Sprintf("%s %s %v %s", m.name, m.kind, m.value, m.tags) }

// await returns all that came before, the bytes and the metrics: packets of the
// loopback arrive in order.
func (s *sink) await(t *testing.T) (bytes string, metrics []metric) {
	t.Helper()
	const end = "reliable.end"
	s.ends++
	conn, err := net.Dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "%s:%d|c", end, s.ends); err != nil {
		t.Fatal(err)
	}
	s.until(t, func(m metric) bool { return m.name == end && m.value == float64(s.ends) })
	bytes, metrics = s.received()
	return bytes, slices.DeleteFunc(metrics, func(m metric) bool { return m.name == end })
}

// until waits for a metric.
func (s *sink) until(t *testing.T, ok func(metric) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		_, metrics := s.received()
		if slices.ContainsFunc(metrics, ok) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %v", metrics)
		}
	}
}
