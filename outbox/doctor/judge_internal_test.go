package doctor

import (
	"strings"
	"testing"
)

// What no server of the tests can be brought to: a binary log is switched on
// when a server starts, as are prepared transactions.
func TestJudge(t *testing.T) {
	for _, format := range []string{"STATEMENT", "MIXED"} {
		v := mariaValues{LogBin: true, Format: format, Mode: "STRICT_TRANS_TABLES", Flush: 1, Packet: leastPacket}
		if f := v.findings(); (f[0].Level == Fault && strings.HasPrefix(f[0].Seen, "binlog_format is STATEMENT")) != (format == "STATEMENT") || len(f) != 1 {
			t.Errorf("findings of binlog_format=%s are %+v", format, f)
		}
	}
	for _, test := range []struct {
		held        held
		dialect, do string
	}{
		{held{Kind: "prepared transaction", Name: "tx-1"}, "postgres", "ROLLBACK PREPARED 'tx-1'"},
		{held{Kind: "prepared transaction"}, "mysql", "XA RECOVER"},
		{held{Kind: "replication slot", Name: "old"}, "postgres", "pg_drop_replication_slot('old')"},
	} {
		if f := test.held.finding(test.dialect); f.Level != Warning || !strings.Contains(f.Do, test.do) || !strings.HasPrefix(f.Seen, strings.TrimSpace(test.held.Kind+" "+test.held.Name)) {
			t.Errorf("finding of %+v is %+v, want %q", test.held, f, test.do)
		}
	}
}
