package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"gorm.io/gorm"
)

// Sale is the model of producers. Op names the operation that wrote it last.
type Sale struct {
	ID    uint
	Op    int64 `gorm:"index"`
	Total int
	Card  string `reliable:"sensitive"` // Canary
}

// Producer writes sales in every way that an application does, one operation
// after the other, and keeps a journal of what it meant to do and what it
// knows of the outcome:
//
//	intent OP WRITES TARGET DELETES PROGRAM
//	acked OP
//	undone OP
//	unknown OP ERROR
//
// WRITES is how often the operation writes rows that have its number then, and
// DELETES how many rows of the earlier operation TARGET it deletes; either all
// of that is committed or none of it. A producer that is killed leaves an
// intent without an outcome. Each line is one write, which survives that.
type Producer struct {
	DB      *gorm.DB
	Journal io.Writer
	Rand    *rand.Rand
	Op      int64 // the operation before the first one
	Single  bool  // only single statements, outside a transaction

	held []batch // rows to update and delete
}

// batch is the rows of one operation.
type batch struct {
	op   int64
	rows int
}

// Step does one drawn operation. The error is the operation's: with it, whether
// it was committed is not known.
func (p *Producer) Step(ctx context.Context) error {
	p.Op++
	programs := programs()
	if p.Single {
		programs = slices.DeleteFunc(programs, func(prog program) bool { return !prog.single })
	}
	prog := programs[p.Rand.IntN(len(programs))]
	target := p.take(prog)
	writes, deletes := prog.own+prog.updates*target.rows, 0
	if prog.deletes {
		deletes = target.rows
	}
	if err := p.note("intent %d %d %d %d %s", p.Op, writes, target.op, deletes, prog.name); err != nil {
		return err
	}
	db := p.DB.WithContext(ctx).Session(&gorm.Session{SkipDefaultTransaction: p.Single || p.Rand.IntN(3) == 0, PrepareStmt: p.Rand.IntN(3) == 0})
	err := prog.run(db, p.Op, target.op)
	switch {
	case err != nil:
		return errors.Join(err, p.note("unknown %d %q", p.Op, err.Error()))
	case prog.undone:
		p.hold(target)
		return p.note("undone %d", p.Op)
	default:
		p.hold(batch{p.Op, prog.keeps + prog.updates*target.rows})
		return p.note("acked %d", p.Op)
	}
}

// take returns rows for a program that changes some, if there are any.
func (p *Producer) take(prog program) batch {
	if len(p.held) == 0 || !prog.deletes && prog.updates == 0 {
		return batch{}
	}
	i := p.Rand.IntN(len(p.held))
	b := p.held[i]
	p.held = append(p.held[:i], p.held[i+1:]...)
	return b
}

func (p *Producer) hold(b batch) {
	if b.rows > 0 {
		p.held = append(p.held, b)
	}
}

func (p *Producer) note(format string, args ...any) error {
	_, err := fmt.Fprintf(p.Journal, format+"\n", args...)
	return err
}
