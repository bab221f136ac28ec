package processors

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
)

// remedy is what to do about a transaction that failed.
type remedy int

const (
	giveUp    remedy = iota // and tell: the caller tries again later
	repeat                  // at once, on the same connection
	reconnect               // the connection is, or may be, of no use any more
)

// States that say what to do, by SQLSTATE (PostgreSQL) and by number (MariaDB).
// A server that became read-only was demoted: a new connection finds the other.
func repeated() []string { return []string{"40001", "40P01", "Error 1205", "Error 1213"} }

func reconnected() []string {
	return []string{
		"08", "53", "57P", "25006", // connection; resources, also too many connections; going down; read-only
		"Error 1040", "Error 1203", "Error 1226", // too many connections
		"Error 1053", "Error 1317", "Error 1927", // going down, killed
		"Error 1290", "Error 1792", "Error 1836", // read-only
	}
}

// remedyFor says what to do about err.
func remedyFor(err error) remedy {
	var network net.Error
	var state interface{ SQLState() string }
	switch {
	case err == nil:
		return giveUp
	case errors.As(err, &state):
		return known(state.SQLState())
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &network):
		return reconnect
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "SQLITE_BUSY"), strings.Contains(text, "database is locked"):
		return repeat
	case strings.HasSuffix(text, "bad connection"), strings.HasSuffix(text, "invalid connection"), strings.HasSuffix(text, "conn closed"): // the last is pgx's
		return reconnect
	default:
		if begin := strings.Index(text, "Error "); begin >= 0 {
			return known(text[begin:])
		}
		return giveUp
	}
}

// known says what to do about a SQLSTATE, or an error text of MariaDB's.
func known(text string) remedy {
	is := func(prefix string) bool { return strings.HasPrefix(text, prefix) }
	switch {
	case slices.ContainsFunc(repeated(), is):
		return repeat
	case slices.ContainsFunc(reconnected(), is):
		return reconnect
	default:
		return giveUp
	}
}
