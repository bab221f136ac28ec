package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	startGrace = 5 * time.Second // for a program that is told that it did not start in time
	serveGrace = time.Second     // for what is being answered at the end
)

// lateError is the cause of the end of a worker that did not start in time.
type lateError struct{ limit time.Duration }

// Error implements error.
func (e lateError) Error() string {
	return fmt.Sprintf("not started within %s (RELIABLE_START_TIMEOUT): the program's Open or the database does not answer", e.limit)
}

// life is what others see of a program: from its begin, while the worker is not
// there yet, to its end.
type life struct {
	logger  *slog.Logger
	board   *board
	pulse   *pulse
	begun   time.Time
	arm     func(limit time.Duration) // ends the program if the worker has not started then
	server  *http.Server
	served  chan struct{}                // closed when the server has ended
	handler atomic.Pointer[http.Handler] // of the worker, once there is one
}

// begin writes the first heartbeat and serves, as the settings say.
func (p *program) begin(s *settings, logger *slog.Logger) (*life, error) {
	l := &life{logger: logger, begun: time.Now(), board: newBoard(s.StartTimeout)}
	first := (&health{board: l.board}).handler(http.NotFound)
	l.handler.Store(&first)
	var err error
	if l.pulse, err = newPulse(l.board, s.HeartbeatFile, l.trouble); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if s.Port == 0 {
		return l, nil
	}
	listener, err := p.listen("tcp", net.JoinHostPort("", strconv.Itoa(s.Port)))
	if err != nil {
		l.pulse.close(l.trouble)
		return nil, fmt.Errorf("worker: PORT=%d: %w", s.Port, err)
	}
	l.server = &http.Server{
		Handler:           http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { (*l.handler.Load()).ServeHTTP(out, r) }),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	l.served = make(chan struct{})
	go func() {
		defer close(l.served)
		if err := l.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("serve", slog.Any(reliable.LogKeyError, err))
		}
	}()
	return l, nil
}

// limit ends a program that has not started in time: by its context, and if it
// does not heed that, by exit.
func (l *life) limit(limit time.Duration, stop context.CancelCauseFunc, exit func(int)) (cancel func()) {
	over := make(chan struct{})
	late := time.NewTimer(0)
	late.Stop()
	l.arm = func(limit time.Duration) {
		late.Stop()
		board := l.board
		late = time.AfterFunc(limit-time.Since(l.begun), func() {
			if !board.starting() {
				return
			}
			stop(lateError{limit})
			timer := time.NewTimer(startGrace)
			defer timer.Stop()
			select {
			case <-over:
			case <-timer.C:
				l.logger.Error("start", slog.Any(reliable.LogKeyError, lateError{limit}))
				exit(ExitFailure)
			}
		})
	}
	l.arm(limit)
	return func() { late.Stop(); close(over) }
}

// hand makes the worker go on with what was begun.
func (l *life) hand(w *Worker) {
	l.board = w.begun(l.board)
	if w.HeartbeatFile == l.pulse.path {
		w.pulse = l.pulse
		l.pulse.board.Store(l.board)
	} else { // the program's own
		l.pulse.close(l.trouble)
		l.pulse = nil
	}
	l.arm(w.StartTimeout)
	l.board.slot(startLoop).busy("", w.StartTimeout-time.Since(l.begun))
	handler := w.Handler()
	l.handler.Store(&handler)
}

// stopped returns the exit code of a program that has stopped because ctx was
// done.
func (l *life) stopped(ctx context.Context) int {
	var late lateError
	if errors.As(context.Cause(ctx), &late) {
		l.logger.Error("start", slog.Any(reliable.LogKeyError, late))
		return ExitFailure
	}
	return ExitClean
}

// end ends the heartbeat and the server.
func (l *life) end() {
	if l.pulse != nil {
		l.pulse.close(l.trouble)
	}
	if l.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), serveGrace)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
	<-l.served
}

func (l *life) trouble(err error) {
	l.logger.Warn("heartbeat file", slog.Any(reliable.LogKeyError, err))
}
