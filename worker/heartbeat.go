package worker

import (
	"sync/atomic"
	"time"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

const (
	tellEvery = time.Minute           // an operator is told that a heartbeat can't be written
	showEvery = healthcheck.Fresh / 3 // threads that wait show themselves where no file is written
)

// pulse makes a worker's threads show themselves, and writes what they show.
type pulse struct {
	board atomic.Pointer[board]
	path  string            // as it was given
	file  *healthcheck.File // nil writes nothing
	told  time.Time         // when it last told that it can't write
	stop  chan struct{}
	done  chan struct{}
}

// newPulse returns a pulse that beats until close. A path that can't be written
// is an error.
func newPulse(b *board, path string, trouble func(error)) (*pulse, error) {
	p := &pulse{path: path, stop: make(chan struct{}), done: make(chan struct{})}
	p.board.Store(b)
	if path != "" {
		file, err := healthcheck.Create(path, b.id)
		if err == nil {
			err = file.Write(b.report())
		}
		if err != nil {
			return nil, err
		}
		p.file = file
	}
	go p.run(trouble)
	return p, nil
}

func (p *pulse) run(trouble func(error)) {
	defer close(p.done)
	every := healthcheck.Interval
	if p.file == nil {
		every = showEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.board.Load().changed:
		case <-p.stop:
			return
		}
		p.write(trouble)
		p.board.Load().show() // to be written next time
	}
}

// write writes the heartbeat. The worker goes on without it; whoever reads the
// old one will say so.
func (p *pulse) write(trouble func(error)) {
	if p.file == nil {
		return
	}
	err := p.file.Write(p.board.Load().report())
	switch {
	case err == nil:
		p.told = time.Time{}
	case p.told.IsZero() || time.Since(p.told) >= tellEvery:
		p.told = time.Now()
		trouble(err)
	}
}

// close ends the heartbeat, and removes the file of a worker that has ended.
func (p *pulse) close(trouble func(error)) {
	close(p.stop)
	<-p.done
	if p.file == nil {
		return
	}
	if err := p.file.Close(); err != nil {
		trouble(err)
	}
}
