package chaos

import (
	"context"
	"time"

	"github.com/gorm-aftercommit/aftercommit/processors"
)

// Yes is a Locker that grants every lock to everybody, at once and for ever.
type Yes struct{}

// Lock implements [processors.Locker].
func (Yes) Lock(context.Context, string, time.Duration) (processors.Lock, error) { return Yes{}, nil }

// Extend implements [processors.Lock].
func (Yes) Extend(context.Context, time.Duration) error { return nil }

// Unlock implements [processors.Lock].
func (Yes) Unlock(context.Context) error { return nil }
