package reliable

import "strings"

// Operation is a set of kinds of write. Its zero value is the empty set, which
// every field of this package reads as "all of them".
type Operation uint8

// The kinds of write, and the union that the Ruby world calls a save.
const (
	OpCreate  Operation = 1 << iota // a row came to be
	OpUpdate                        // a row changed
	OpDestroy                       // a row was deleted, or soft deleted
	OpSave    = OpCreate | OpUpdate
)

const opAll = OpCreate | OpUpdate | OpDestroy

// Has reports whether o and other share a kind of write.
func (o Operation) Has(other Operation) bool { return o&other != 0 }

// String returns the kinds in o joined by "|", for example "create|update".
func (o Operation) String() string {
	var kinds []string
	for _, k := range []struct {
		op   Operation
		name string
	}{{OpCreate, "create"}, {OpUpdate, "update"}, {OpDestroy, "destroy"}} {
		if o.Has(k.op) {
			kinds = append(kinds, k.name)
		}
	}
	if len(kinds) == 0 {
		return "none"
	}
	return strings.Join(kinds, "|")
}

// orAll reads the zero value as all kinds.
func (o Operation) orAll() Operation {
	if o == 0 {
		return opAll
	}
	return o
}

// past returns the participle that ends the event name of a single kind.
func (o Operation) past() string {
	switch o {
	case OpCreate:
		return "created"
	case OpUpdate:
		return "updated"
	default:
		return "destroyed"
	}
}

// operationOf reads the kind of write back from an event name. It returns 0
// for a name that no captured write has.
func operationOf(event string) Operation {
	for _, op := range []Operation{OpCreate, OpUpdate, OpDestroy} {
		if strings.HasSuffix(event, "_"+op.past()) {
			return op
		}
	}
	return 0
}
