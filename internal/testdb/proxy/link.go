package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	done           chan struct{} // closed when the link is cut
	once           sync.Once
	frozen         chan struct{} // closed when nothing passes any more
	freezing       sync.Once
	doomed         atomic.Bool // the server's next answer is not told: the link is cut
	late           atomic.Bool // the server's next answer is told late
}

// cut ends both sides at once.
func (l *link) cut() {
	l.once.Do(func() {
		close(l.done)
		reset(l.client)
		reset(l.server)
	})
}

// freeze lets nothing pass any more.
func (l *link) freeze() { l.freezing.Do(func() { close(l.frozen) }) }

// requests forwards what the client sends, message by message.
func (l *link) requests() {
	defer l.cut()
	r := bufio.NewReader(l.client)
	next := l.messages(r)
	for {
		message, commit, err := next()
		if err != nil || !l.pass() {
			return
		}
		if commit {
			switch l.proxy.decide() {
			case CutBefore:
				l.proxy.count()
				return
			case CutAfter:
				l.doomed.Store(true)
			case Late:
				l.late.Store(true)
			case Stall:
				l.freeze()
				<-l.done
				return
			case Pass:
			}
		}
		if _, err := l.server.Write(message); err != nil {
			return
		}
	}
}

// replies forwards what the server sends.
func (l *link) replies() {
	defer l.cut()
	buffer := make([]byte, 32<<10)
	for {
		n, err := l.server.Read(buffer)
		if n > 0 {
			if l.doomed.Load() {
				l.proxy.count()
				return
			}
			if l.late.Swap(false) && !l.wait(l.proxy.held()) || !l.pass() {
				return
			}
			if _, err := l.client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			select {
			case <-l.frozen: // the client does not hear of the end either
				<-l.done
			default:
			}
			return
		}
	}
}

// pass waits as long as the proxy's conditions want it. It returns false if
// the link was cut meanwhile.
func (l *link) pass() bool {
	latency, gate := l.proxy.conditions()
	if latency > 0 && !l.wait(latency) {
		return false
	}
	select {
	case <-gate:
	case <-l.done:
		return false
	}
	select {
	case <-l.frozen:
		<-l.done
		return false
	default:
		return true
	}
}

// wait waits for d. It returns false if the link was cut meanwhile.
func (l *link) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.done:
		return false
	}
}

// messages returns what reads the client's next message, and tells whether it
// is a COMMIT.
func (l *link) messages(r *bufio.Reader) func() (message []byte, commit bool, err error) {
	switch l.proxy.service {
	case testdb.PostgreSQL:
		started := false
		return func() ([]byte, bool, error) {
			if !started {
				message, err := read(r, 4, func(head []byte) int { return int(binary.BigEndian.Uint32(head)) - 4 })
				started = err == nil && len(message) > 8 // not a request for encryption
				return message, false, err
			}
			message, err := read(r, 5, func(head []byte) int { return int(binary.BigEndian.Uint32(head[1:])) - 4 })
			return message, err == nil && message[0] == 'Q' && isCommit(message[5:]), err
		}
	case testdb.MariaDB:
		return func() ([]byte, bool, error) {
			message, err := read(r, 4, func(head []byte) int { return int(head[0]) | int(head[1])<<8 | int(head[2])<<16 })
			const query = 3
			return message, err == nil && len(message) > 5 && message[3] == 0 && message[4] == query && isCommit(message[5:]), err
		}
	default:
		return func() ([]byte, bool, error) {
			buffer := make([]byte, 32<<10)
			n, err := r.Read(buffer)
			return buffer[:n], false, err
		}
	}
}

// read reads a head, and the body whose length it gives.
func read(r io.Reader, head int, length func(head []byte) int) ([]byte, error) {
	message := make([]byte, head)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	n := length(message)
	if n < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	message = append(message, make([]byte, n)...)
	_, err := io.ReadFull(r, message[head:])
	return message, err
}

// isCommit reports whether a statement begins with COMMIT.
func isCommit(statement []byte) bool {
	statement = bytes.TrimSpace(statement)
	return len(statement) >= 6 && bytes.EqualFold(statement[:6], []byte("commit"))
}
