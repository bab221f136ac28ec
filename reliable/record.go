package reliable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/seal"
)

// Entry is what an application records itself, for the record processors of
// its context. Context and EventName are required.
type Entry struct {
	Context      string            // of [Registry.Handle]; not [ContextModel]
	EventName    string            // what happened, for example "invoice_sent"
	Arguments    any               // anything that encoding/json takes, in valid UTF-8; a json.RawMessage is kept as it is
	CausalityKey string            // entries with the same key are worked in order; empty = unordered
	Headers      map[string]string // added to those of Config.Headers
	RunAt        time.Time         // not before then; zero = as soon as it is committed
}

// Record adds an entry to the transaction tx, with which it commits or not. It
// returns the entry's id. tx must be a transaction (of db.Transaction or
// db.Begin): outside of one, the entry and what it tells of could part.
func Record(ctx context.Context, tx *gorm.DB, e Entry) (id int64, err error) {
	ids, err := RecordAll(ctx, tx, []Entry{e})
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// RecordAll is [Record] for many entries, in one statement per 500. All
// mistakes are reported at once, and then nothing is recorded.
func RecordAll(ctx context.Context, tx *gorm.DB, entries []Entry) (ids []int64, err error) {
	p, err := From(tx)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	if _, ok := tx.Statement.ConnPool.(gorm.TxCommitter); !ok {
		return nil, fmt.Errorf("reliable: record %s.%s: not in a transaction: pass the tx given by db.Transaction",
			entries[0].Context, entries[0].EventName)
	}
	headers, err := p.headers(ctx)
	if err != nil {
		return nil, fmt.Errorf("reliable: record %s.%s: %w", entries[0].Context, entries[0].EventName, err)
	}
	rows := make([]row, len(entries))
	var mistakes []error
	for i, e := range entries {
		var err error
		if rows[i], err = p.rowOf(e, headers); err != nil {
			mistakes = append(mistakes, fmt.Errorf("reliable: record %s.%s: %w", e.Context, e.EventName, err))
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	traced := false
	buffered := p.buffers.of(tx.Statement.ConnPool)
	if buffered != nil { // what was captured before comes before
		err = buffered.flush(ctx)
	}
	if err == nil {
		ids, traced, err = p.insert(ctx, tx, rows)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reliable: record %s.%s: %w", entries[0].Context, entries[0].EventName, err)
	case traced: // the tracer tells
	case buffered != nil:
		buffered.wakes()
	default:
		p.wakes.soon()
	}
	return ids, nil
}

// rowOf checks an entry and makes the row of it.
func (p *Plugin) rowOf(e Entry, headers json.RawMessage) (row, error) {
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	if e.Context == "" {
		wrong("Context is empty: name the context that a record processor handles")
	}
	if e.Context == ContextModel {
		wrong("Context is %q, which is that of captured writes: choose another", ContextModel)
	}
	if e.EventName == "" {
		wrong("EventName is empty: say what happened")
	}
	if err := checkKey(e.CausalityKey); err != nil {
		mistakes = append(mistakes, err)
	}
	for _, text := range []string{e.Context, e.EventName} {
		if !storable(text) {
			wrong("%q: not valid UTF-8, or holds NUL", text)
		}
	}
	arguments, err := json.Marshal(e.Arguments)
	if err != nil {
		wrong("Arguments: %w", err)
	}
	if err := exact(arguments, e.Arguments); err != nil {
		wrong("Arguments: %w", err)
	}
	if seal.Sealed(arguments) && p.seals == nil {
		wrong("Arguments: look like encrypted ones, and would be taken for such: put them into an object of your own")
	}
	if len(arguments) > p.cfg.MaxEntryBytes {
		wrong("Arguments take %d bytes of JSON, more than %d: store them elsewhere, or raise Config.MaxEntryBytes", len(arguments), p.cfg.MaxEntryBytes)
	}
	if len(e.Headers) > 0 {
		merged := make(map[string]string)
		_ = json.Unmarshal(headers, &merged) // our own, or empty
		for k, v := range e.Headers {
			if k != depthHeader {
				merged[k] = v
			}
		}
		if headers, err = marshalHeaders(merged); err != nil {
			wrong("Headers: %w", err)
		}
	}
	r := row{
		owed: p.cfg.Registry.handlerNames(e.Context), context: e.Context, event: e.EventName, key: e.CausalityKey,
		arguments: arguments, headers: headers, runAt: e.RunAt, strict: p.cfg.StrictOrder,
	}
	p.encrypt(&r)
	return r, errors.Join(mistakes...)
}

// maxKey is the most that a causality key takes, in bytes.
const maxKey = 255

// checkKey reports a causality key that not every database takes as it is. The
// error does not tell the key, which may be made of a sensitive value.
func checkKey(key string) error {
	switch {
	case !storable(key):
		return errors.New("CausalityKey: not valid UTF-8, or holds NUL")
	case len(key) > maxKey:
		return fmt.Errorf("CausalityKey: takes %d bytes, more than %d: use a hash of it", len(key), maxKey)
	default:
		return nil
	}
}

// storable reports whether every database takes text as it is.
func storable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for i := range len(text) {
		if text[i] == 0 {
			return false
		}
	}
	return true
}
