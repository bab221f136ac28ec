// Package matrix kills a worker at every point of the code that is named for
// it, on every database, while another worker works beside it, and counts what
// that cost. Its test builds the worker in package victim with the tag
// "failpoints".
package matrix

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// keys is how many causality keys the orders have.
const keys = 3

// Order is the model of these tests.
type Order struct {
	ID    uint
	Total int
}

// Effect is what the callback "counted" leaves in the database, in the
// transaction that completes it.
type Effect struct {
	ID      uint
	OrderID uint
}

// TableName implements gorm's Tabler.
func (Effect) TableName() string { return "effects" }

// Callbacks are what an order owes that is created: two callbacks that tell the
// ledger, and one in a transaction if Counted is set.
type Callbacks struct {
	Run     func(ctx context.Context, c reliable.Change[Order], callback string) error
	Counted reliable.Callback[Order] // without a Run and a RunTx, there is none
}

// Registry returns the callbacks' registry.
func (c Callbacks) Registry() *reliable.Registry {
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Order]{CausalityKey: func(o *Order) string { return fmt.Sprint("key ", o.ID%keys) }})
	for _, name := range []string{"first", "second"} {
		reliable.AfterCommit(r, reliable.Callback[Order]{Name: name, On: reliable.OpCreate, Run: func(ctx context.Context, change reliable.Change[Order]) error {
			return c.Run(ctx, change, name)
		}})
	}
	if c.Counted.RunTx != nil {
		reliable.AfterCommit(r, c.Counted)
	}
	return r
}

// Line is a line of a ledger: a callback has begun, or ended.
type Line struct {
	Step         string // "begun" or "ended"
	Entry, Token int64
	Callback     string
	Order        int64
}

// Append writes the line with one write, which a kill does not split.
func (l Line) Append(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s %d %d %s %d\n", l.Step, l.Entry, l.Token, l.Callback, l.Order)
	return err
}

// Verdict is what a ledger says.
type Verdict struct {
	Orders    []int64  // of which a callback began
	Ended     int      // callbacks that ended, each once per order
	Again     []int64  // entries of which a callback began more than once
	Repeated  []int64  // entries of which a callback ended more than once: its effect is there twice
	Faults    []string // what must never be
	Disorders []string // what must never be in order: an order began before one of its key that comes before it had ended
}

// Read judges a ledger. A callback of an order that begins again must do so for
// the same entry, under a higher token.
func Read(path string) (v Verdict, err error) {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return v, err
	}
	type key struct {
		step, callback string
		order          int64
	}
	last := make(map[key]Line)
	again, repeated := make(map[int64]bool), make(map[int64]bool)
	ended := make(map[int64]int) // callbacks, by order
	for line := range strings.Lines(string(text)) {
		var l Line
		if _, err := fmt.Sscan(line, &l.Step, &l.Entry, &l.Token, &l.Callback, &l.Order); err != nil || !strings.HasSuffix(line, "\n") {
			v.Faults = append(v.Faults, fmt.Sprintf("the line %q", line))
			continue
		}
		for before := l.Order - keys; l.Step == "begun" && before > 0; before -= keys {
			if ended[before] < 2 {
				v.Disorders = append(v.Disorders, fmt.Sprintf("%+v before order %d", l, before))
			}
		}
		k := key{l.Step, l.Callback, l.Order}
		if before, ok := last[k]; ok {
			if before.Entry != l.Entry || before.Token >= l.Token {
				v.Faults = append(v.Faults, fmt.Sprintf("%+v after %+v", l, before))
			}
			if l.Step == "begun" && !again[l.Entry] {
				again[l.Entry] = true
				v.Again = append(v.Again, l.Entry)
			}
			if l.Step == "ended" && !repeated[l.Entry] {
				repeated[l.Entry] = true
				v.Repeated = append(v.Repeated, l.Entry)
			}
		} else if l.Step == "ended" {
			v.Ended++
			ended[l.Order]++
		} else {
			v.Orders = append(v.Orders, l.Order)
		}
		last[k] = l
	}
	return v, nil
}
