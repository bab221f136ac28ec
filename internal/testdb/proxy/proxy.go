// Package proxy stands between a test and a server, and breaks what passes
// through it: a connection is cut, stands still, is slow, or is lost just
// before or just after a COMMIT reached the server. Connections must not be
// encrypted.
package proxy

import (
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// Fate is what becomes of a COMMIT.
type Fate int

// What may become of a COMMIT.
const (
	Pass      Fate = iota
	CutBefore      // the connection is cut, and the server never hears of it
	CutAfter       // the server has answered, and the connection is cut before the client hears of it
	Late           // the server has answered, and the client hears of it as late as LateBy says
	Stall          // the connection is frozen, and the server never hears of it
)

// Proxy forwards connections to one server. It must not be used after Close.
type Proxy struct {
	listener net.Listener
	server   string // host:port
	service  testdb.Service
	links    sync.WaitGroup

	mu      sync.Mutex
	open    []*link // oldest first
	closed  bool
	down    bool
	fate    func() Fate
	latency time.Duration
	gate    chan struct{} // closed: bytes pass
	cuts    int           // links that the proxy has cut
	late    time.Duration // how long answers are held that are Late
}

// Start listens on a free port of loopback, in front of the server that a URL
// names. The proxy is closed with the test.
func Start(t testing.TB, s testdb.Service, address string) *Proxy {
	t.Helper()
	p, err := Listen(s, address)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

// Listen is Start for a program. The caller must call Close.
func Listen(s testdb.Service, address string) (*Proxy, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, server: u.Host, service: s, gate: make(chan struct{})}
	close(p.gate)
	p.links.Go(p.accept)
	return p, nil
}

// URL returns the address of a database on the server, by way of the proxy.
func (p *Proxy) URL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // who uses it gets the error
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

// OnCommit lets fate decide about each COMMIT from now on, one at a time. Nil
// lets all pass. Redis has none.
func (p *Proxy) OnCommit(fate func() Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fate = fate
}

// Delay holds whatever is sent, either way, for d.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = d
}

// LateBy says how long an answer is held that is Late.
func (p *Proxy) LateBy(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = d
}

// held returns what LateBy said.
func (p *Proxy) held() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.late
}

// Pause makes a black hole of the proxy: connections stay, and can be made,
// but nothing comes through until Resume.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		p.gate = make(chan struct{})
	default:
	}
}

// Resume ends a Pause. What was sent meanwhile comes through.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// Cut resets all connections. New ones can be made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.open {
		p.cuts++
		l.cut()
	}
}

// CutOne resets one of the connections; if unheard, as soon as the server
// answers what it is asked next, before the client hears of it. draw returns
// which one of n, oldest first. CutOne returns false if there is none.
func (p *Proxy) CutOne(draw func(n int) int, unheard bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == 0 {
		return false
	}
	l := p.open[draw(len(p.open))]
	if unheard {
		l.doomed.Store(true)
		return true
	}
	p.cuts++
	l.cut()
	return true
}

// Cuts returns how many connections the proxy has cut.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// count notes that a link is cut as it was told to be.
func (p *Proxy) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts++
}

// Freeze makes black holes of the connections that are open, for good: they are
// half-open, as after a failure of the network. New ones can be made.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.open {
		l.freeze()
	}
}

// Down resets all connections, and refuses new ones until Up.
func (p *Proxy) Down() {
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.Cut()
}

// Up ends a Down.
func (p *Proxy) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// Close cuts all connections, and returns when nothing of the proxy is left.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.links.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		if p.refuses() {
			reset(client)
			continue
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			reset(client)
			continue
		}
		l := &link{proxy: p, client: client, server: server, done: make(chan struct{}), frozen: make(chan struct{})}
		if !p.add(l) {
			l.cut()
			return
		}
		var ways sync.WaitGroup
		ways.Go(l.requests)
		ways.Go(l.replies)
		p.links.Go(func() {
			ways.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.open = slices.DeleteFunc(p.open, func(other *link) bool { return other == l })
		})
	}
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open = append(p.open, l)
	return true
}

func (p *Proxy) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

// decide returns the fate of a COMMIT.
func (p *Proxy) decide() Fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fate == nil {
		return Pass
	}
	return p.fate()
}

// conditions returns what holds for what is sent now.
func (p *Proxy) conditions() (latency time.Duration, gate <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latency, p.gate
}

// reset closes a connection so that the other side sees it break.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
