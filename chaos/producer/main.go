// Command producer is an application that the tests of package chaos kill. It
// writes sales to DATABASE_URL and appends its journal to the file
// CHAOS_JOURNAL. CHAOS_SEED is where its draws start, CHAOS_OPERATION the
// number of the operation before its first one, and CHAOS_OPERATIONS how many it
// does if nobody kills it. With CHAOS_SINGLE=true it writes outside transactions.
// With CHAOS_PACED=true it does an operation for each byte that it reads from
// standard input, which it returns; it survives those that fail, and ends with
// the input.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/gorm-aftercommit/aftercommit/chaos"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var settings [3]int64
	for i, name := range []string{"CHAOS_SEED", "CHAOS_OPERATION", "CHAOS_OPERATIONS"} {
		n, err := strconv.ParseInt(os.Getenv(name), 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		settings[i] = n
	}
	journal, err := os.OpenFile(os.Getenv("CHAOS_JOURNAL"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	db, err := testdb.OpenURL(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	if err := db.Use(reliable.New(reliable.Config{Registry: chaos.Callbacks(chaos.Idle)})); err != nil {
		return err
	}
	p := &chaos.Producer{DB: db, Journal: journal, Rand: rand.New(rand.NewPCG(uint64(settings[0]), 0)), Op: settings[1], Single: os.Getenv("CHAOS_SINGLE") == "true"}
	if os.Getenv("CHAOS_PACED") == "true" {
		paced(ctx, p)
		return nil
	}
	for range settings[2] {
		if err := p.Step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// paced does an operation for each byte of standard input, and returns the byte.
func paced(ctx context.Context, p *chaos.Producer) {
	for one := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(one); err != nil {
			return
		}
		if p.Step(ctx) != nil { // the journal has it
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the database may be away
		}
		if _, err := os.Stdout.Write(one); err != nil {
			return
		}
	}
}
