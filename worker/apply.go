package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// apply fills in what the program left open: code beats the environment.
func (s *settings) apply(w *Worker) error {
	fill(&w.Threads, s.Threads)
	fill(&w.BatchSize, s.BatchSize)
	fill(&w.PollInterval, s.PollInterval)
	fill(&w.IdleMultiplier, s.IdleMultiplier)
	fill(&w.CallbackTimeout, s.CallbackTimeout)
	fill(&w.ShutdownTimeout, s.ShutdownTimeout)
	fill(&w.StartTimeout, s.StartTimeout)
	fill(&w.HeartbeatFile, s.HeartbeatFile)
	fill(&w.NoListen, s.Listen == "off")
	fill(&w.NoBreaker, s.Breaker == "off")
	if err := s.applyProcessor(w); err != nil {
		return err
	}
	if w.DB == nil || w.DB.Config == nil {
		return errors.New("worker: the program returned a Worker without DB")
	}
	if p, err := reliable.From(w.DB); err == nil && s.EncryptionKeys != "" && p.EncryptionKey() == "" {
		return fmt.Errorf("worker: %s is set, but the program's plugin has no keys: set reliable.Config.Encryption, see reliable.ParseKeyRing", keysVariable)
	}
	pool, err := w.DB.DB()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if w.DB.Name() == "sqlite" {
		return nil
	}
	callbacks := s.Pool
	if callbacks == 0 {
		callbacks = w.Threads + 2
	}
	if w.Own == nil && !separate(w.DB) {
		callbacks += OwnConnections
	}
	pool.SetMaxOpenConns(callbacks)
	pool.SetMaxIdleConns(callbacks)
	return nil
}

// applyProcessor gives the worker its processor. How entries are ordered is not
// left to whoever speaks last: what the environment says of it must be true.
func (s *settings) applyProcessor(w *Worker) error {
	if w.Processor == nil {
		completion, housekeeping := processors.Completion(s.Completion), processors.Housekeeping{Retention: time.Duration(s.Retention)}
		if s.Processor == "ordered" {
			w.Processor = &processors.OrderedByCausalityKey{LeaseTTL: s.LeaseTTL, Completion: completion, Housekeeping: housekeeping, Policy: reliable.KeyPolicy(s.KeyPolicy)}
		} else {
			w.Processor = &processors.NonOrdered{LeaseTTL: s.LeaseTTL, Completion: completion, Housekeeping: housekeeping}
		}
	}
	var mistakes []error
	if name := w.processor(); s.given["RELIABLE_PROCESSOR"] && s.Processor != name {
		mistakes = append(mistakes, fmt.Errorf("worker: RELIABLE_PROCESSOR=%s, but the program sets a processor that is %s: leave the variable out, or the processor", s.Processor, name))
	}
	switch policy := w.keyPolicy(); {
	case !s.given["RELIABLE_KEY_POLICY"]:
	case policy == "":
		mistakes = append(mistakes, fmt.Errorf("worker: RELIABLE_KEY_POLICY=%s, but the processor keeps no order: set RELIABLE_PROCESSOR=ordered, or leave the variable out", s.KeyPolicy))
	case string(policy) != s.KeyPolicy:
		mistakes = append(mistakes, fmt.Errorf("worker: RELIABLE_KEY_POLICY=%s, but the program sets a processor whose policy is %s: leave the variable out, or the processor", s.KeyPolicy, policy))
	}
	return errors.Join(mistakes...)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
