// Package columns names columns of the outbox's tables where more than one
// package copies them.
package columns

// History is what outbox_history keeps of an entry that is over, as both tables
// call it. The history has a token and processed_at besides.
const History = "id, kind, owed, context, resource_class, resource_id, event_name, causality_key, changeset, arguments, headers, " +
	"created_at, attempts, crashes, error_class, error_message, callbacks"
