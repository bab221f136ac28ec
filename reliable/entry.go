package reliable

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"
)

// ContextModel is the context of the entries that the plugin captures from
// writes of registered models. Every other context belongs to the application.
const ContextModel = "gorm"

// OutboxEntry is one row of the table outbox_entries: a change that committed
// and what is still owed for it. Processors get it as the claim read it; they
// must not change it. As JSON, as text and in logs it says what it is, not what it
// carries.
type OutboxEntry struct {
	ID            int64           // position in the order of writes; never reused
	Kind          int64           // hash of Context, ResourceClass, EventName and Owed; once something of it was put off, also of what is pending
	Owed          []string        // names of the callbacks or record processors owed; empty = whoever handles Context
	Context       string          // [ContextModel], or the application's own
	ResourceClass string          // name of the model, for example "Order"
	ResourceID    string          // primary key as text, different for different keys; a composite key as a JSON array
	EventName     string          // for example "order_created"
	CausalityKey  string          // entries with the same key are worked in order; empty = unordered
	Changeset     json.RawMessage `json:"-"` // old and new values by column, not to be shown: see Masked; empty for entries of [Record]
	Arguments     json.RawMessage `json:"-"` // what [Record] was given; empty for captured writes
	Headers       json.RawMessage `json:"-"` // a JSON object of strings: trace, tenant, causation depth; may be empty
	CreatedAt     time.Time       // when the entry was written, by the database's clock, UTC
	Attempts      int             // failed attempts so far
	Crashes       int             // times that a worker died while this entry ran alone
	Callbacks     json.RawMessage // state per callback, empty until the first failure

	work   any   // what the batch decoded of the entry; nil until it is first needed
	locked error // why the batch could not decrypt it
}

// EntryKind returns the hash that stands in the column kind of an entry. A
// worker asks for entries by it, so all that decides whether a binary can
// handle an entry is in it, and nothing else.
func EntryKind(context, class, event string, owed []string) int64 {
	h := sha256.New()
	for _, part := range append([]string{context, class, event}, owed...) {
		var size [4]byte
		binary.BigEndian.PutUint32(size[:], uint32(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}
