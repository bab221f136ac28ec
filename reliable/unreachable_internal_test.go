package reliable

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
)

// stated is an error with a SQLSTATE.
type stated string

func (s stated) Error() string    { return "SQLSTATE " + string(s) }
func (s stated) SQLState() string { return string(s) }

// unsent is an error of a statement that never left.
type unsent bool

func (unsent) Error() string       { return "conn closed" }
func (u unsent) SafeToRetry() bool { return bool(u) }

func TestUnreachable(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{io.ErrUnexpectedEOF, true},
		{driver.ErrBadConn, true},
		{errors.New("invalid connection"), true},
		{unsent(true), true},
		{unsent(false), false},
		{stated("08006"), true},
		{stated("53300"), true},
		{stated("57P03"), true},
		{stated("57014"), false}, // query canceled
		{stated("42703"), false}, // undefined column
		{context.DeadlineExceeded, false},
		{errors.New("no such column"), false},
	} {
		if got := unreachable(fmt.Errorf("read Order 7: %w", tt.err)); got != tt.want {
			t.Errorf("unreachable(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}
