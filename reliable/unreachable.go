package reliable

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// unreachableFor is when a callback is tried again whose model could not be
// read because the database was not there.
const unreachableFor = time.Second

// unreachable reports whether err says that the database could not be reached,
// or went away: nothing that the statement did. Of SQLSTATE, these are the
// classes 08 (connection exception), 53 (insufficient resources) and 57P
// (operator intervention).
func unreachable(err error) bool {
	var network net.Error
	var state interface{ SQLState() string }
	var unsent interface{ SafeToRetry() bool } // of pgx: nothing was sent
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled): // the callback's time was over
		return false
	case errors.As(err, &state):
		code := state.SQLState()
		return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57P")
	case errors.As(err, &unsent) && unsent.SafeToRetry(), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return true
	default: // MariaDB's driver has a plain error for a connection that broke
		return strings.HasSuffix(err.Error(), "invalid connection")
	}
}
