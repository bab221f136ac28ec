package reliable

import (
	"context"
	"errors"
	"testing"
)

// Who waits until another has read models waits no longer than its callback may
// take, however long the database does not answer.
func TestReadEndsWithItsContext(t *testing.T) {
	p := &preload{turn: make(chan struct{}, 1)}
	if err := p.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if _, _, err := p.row(ctx, nil, &OutboxEntry{ResourceClass: "Order", ResourceID: "7"}); !errors.Is(err, context.Canceled) || err.Error() != "read Order 7: context canceled" {
		t.Errorf("row() = %v, want that of its context", err)
	}
	p.ahead(ctx, nil)
	p.unlock()
	if err := p.lock(ctx); err != nil {
		t.Errorf("lock() = %v, want the turn that nobody has", err)
	}
}
