// Package channel names the channel of PostgreSQL by which those who record
// entries wake those who work on them.
package channel

// Name returns an SQL expression for the channel's name, which stands for the
// table that entries resolves to: whoever finds another table by the same name,
// in another schema, has another channel. It is NULL if there is no table.
func Name(entries string) string {
	return "'reliable_' || to_regclass('" + entries + "')::oid::text"
}

// Notify returns the statement that wakes all who listen. It waits for no disk:
// a notification that a crash loses is none that anybody waits for.
func Notify(entries string) string { return notify(Name(entries)) }

// NotifyOne returns the statement that reaches only who listens for a suffix of
// its own as well, which is made of letters and digits.
func NotifyOne(entries, suffix string) string {
	return notify(Name(entries) + " || '_" + suffix + "'")
}

func notify(name string) string {
	return "SELECT set_config('synchronous_commit', 'off', true), pg_notify(" + name + ", '')"
}
