package reliable

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/gorm-aftercommit/aftercommit/internal/codec"
)

// Masked returns the changeset for people: values as text and numbers, and
// "[masked]" for what is in fields tagged `reliable:"sensitive"`. Whoever shows
// an entry shows this, never Changeset. It is nil for entries of [Record].
func (e *OutboxEntry) Masked() (json.RawMessage, error) {
	if len(e.Changeset) == 0 {
		return nil, nil
	}
	set, err := codec.Decode(e.Changeset)
	if err != nil {
		return nil, fmt.Errorf("reliable: entry %d: column changeset: %w", e.ID, err)
	}
	return codec.Encode(set.Readable())
}

// String names the entry: its id, event and resource, never what it carries.
func (e OutboxEntry) String() string {
	name := fmt.Sprintf("entry %d %s", e.ID, e.EventName)
	if e.ResourceClass != "" {
		name += " " + e.ResourceClass + " " + e.ResourceID
	}
	return name
}

// Format implements [fmt.Formatter]: every verb prints String.
func (e OutboxEntry) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.String())) }

// LogValue implements [slog.LogValuer] with ids and names.
func (e OutboxEntry) LogValue() slog.Value { return slog.GroupValue(entryAttrs(&e)...) }

// String names the change: its entry, callback and attempt, never its values.
func (c Change[T]) String() string {
	if c.Entry == nil {
		return fmt.Sprintf("%s of %T", c.Operation, *new(T))
	}
	return fmt.Sprintf("%s, callback %s, attempt %d", c.Entry, c.callback, c.Attempt)
}

// Format implements [fmt.Formatter]: every verb prints String.
func (c Change[T]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue implements [slog.LogValuer] with ids and names.
func (c Change[T]) LogValue() slog.Value {
	if c.Entry == nil {
		return slog.StringValue(c.String())
	}
	return slog.GroupValue(append(entryAttrs(c.Entry), slog.String(LogKeyCallback, c.callback), slog.Int(LogKeyAttempt, c.Attempt))...)
}
