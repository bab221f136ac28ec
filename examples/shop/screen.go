package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// plainEvery is how often progress is printed where no line can be rewritten.
const plainEvery = 2 * time.Second

// screen prints lines that stay and, on a terminal, one below them that is
// rewritten.
type screen struct {
	out      io.Writer
	terminal bool
	begun    time.Time

	mu    sync.Mutex
	live  bool // the last line is to be rewritten
	plain time.Time
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, begun: time.Now(), plain: time.Now()}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// Say prints a line that stays.
func (s *screen) Say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// Event prints a line that stays, with the time since the start.
func (s *screen) Event(format string, args ...any) {
	s.Say("%6.1f s  %s", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// Progress rewrites the last line, or prints one from time to time.
func (s *screen) Progress(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	text := fmt.Sprintf("%6.1f s  %s", now.Sub(s.begun).Seconds(), fmt.Sprintf(format, args...))
	switch {
	case s.terminal:
		s.clear()
		fmt.Fprint(s.out, text)
		s.live = true
	case now.Sub(s.plain) >= plainEvery:
		s.plain = now
		fmt.Fprintln(s.out, text)
	}
}

func (s *screen) clear() {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.live = false
	}
}
