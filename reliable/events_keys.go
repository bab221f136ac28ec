package reliable

import "log/slog"

// KeyParked says that a causality key stands still: its head is dead, and what
// is behind it waits until an operator releases the key (package outbox).
type KeyParked struct {
	Key          string       // may be made of personal data: [Monitor.LogTo] leaves it out
	Entry        *OutboxEntry // the head
	ErrorClass   string
	ErrorMessage string
}

// KeyReleased says that an operator let a causality key go on, in this process.
type KeyReleased struct {
	Key   string // may be made of personal data: [Monitor.LogTo] leaves it out
	Entry int64  // id of the head
	How   string // what became of the head: "retry" or "discard"
}

// EntriesChanged says that an operator had dead entries tried again, or gave
// entries up, in this process; heads of parked keys have [KeyReleased].
type EntriesChanged struct {
	IDs []int64 // at most a hundred, in order
	How string  // "retry" or "discard"
}

// Name implements [Event].
func (*EntriesChanged) Name() string { return "entries_changed" }

// Name implements [Event].
func (*KeyParked) Name() string { return "key_parked" }

// Name implements [Event].
func (*KeyReleased) Name() string { return "key_released" }

func (*EntriesChanged) event() {}
func (*KeyParked) event()      {}
func (*KeyReleased) event()    {}

func describeKeys(e Event) (slog.Level, []slog.Attr) {
	switch e := e.(type) {
	case *KeyParked:
		return slog.LevelError, append(entryAttrs(e.Entry), slog.String("error_class", e.ErrorClass), slog.String(LogKeyError, e.ErrorMessage))
	case *KeyReleased:
		return slog.LevelInfo, []slog.Attr{slog.Int64(LogKeyEntry, e.Entry), slog.String("how", e.How)}
	case *EntriesChanged:
		return slog.LevelInfo, []slog.Attr{slog.Any("entry_ids", e.IDs), slog.String("how", e.How)}
	default:
		return slog.LevelInfo, nil
	}
}
