package processors

import "strings"

// latency adds the statements that measure it.
func (q *housekeepingQueries) latency() {
	var expand *strings.Replacer
	switch q.dialect {
	case "postgres":
		expand = strings.NewReplacer("{now}", "now()", "{id}", "$1", "{minute}", "now() - interval '1 minute'",
			"{from", "extract(epoch FROM (", "{to", ") - (", "to}", "))::float8",
			"{finite", "nullif(nullif(", "finite}", ", 'infinity'), '-infinity')") // no time minus those is a number
	case "mysql":
		expand = strings.NewReplacer("{now}", "utc_timestamp(6)", "{id}", "?", "{minute}", "utc_timestamp(6) - INTERVAL 1 MINUTE",
			"{from", "-timestampdiff(MICROSECOND, ", "{to", ", ", "to}", ") / 1e6", "{finite", "", "finite}", "")
	default:
		expand = strings.NewReplacer("{now}", "strftime('%Y-%m-%d %H:%M:%f', 'now')", "{id}", "?", "{minute}", "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 minute')",
			"{from", "86400 * (julianday(", "{to", ") - julianday(", "to}", "))", "{finite", "", "finite}", "")
	}
	q.waitingFresh = expand.Replace(`SELECT count(*), coalesce(min(id), 0), coalesce({from {now} {to min({finite created_at finite}) to}, 0) FROM (
		SELECT id, created_at FROM {entries} WHERE id >= {id} AND retry_at IS NULL AND dead_at IS NULL AND processed_at IS NULL ORDER BY id LIMIT 10000) w`)
	q.waitingRetries = expand.Replace(`SELECT coalesce({from {now} {to min({finite created_at finite}) to}, 0), coalesce({from {now} {to min({finite retry_at finite}) to}, 0) FROM (
		SELECT created_at, retry_at FROM {entries} WHERE retry_at IS NOT NULL AND dead_at IS NULL AND processed_at IS NULL ORDER BY retry_at, id LIMIT 1000) w`)
	const newest = `SELECT created_at, processed_at FROM {table} WHERE processed_at > {minute} ORDER BY processed_at DESC LIMIT 2000`
	processed := func(rows string) string {
		return expand.Replace(`SELECT count(*), coalesce(min(took), 0), coalesce(max(took), 0), coalesce(avg(took), 0) FROM (
			SELECT {from {finite processed_at finite} {to {finite created_at finite} to} AS took FROM (` + rows + `) p) p`)
	}
	q.processedKept = processed(strings.Replace(newest, "{table}", "{entries}", 1))
	q.processed = processed(strings.Replace(newest, "{table}", "{history}", 1))
	if q.dialect == "postgres" {
		// A day's partition has no index; finishes append to it. These are the
		// rows of its last pages.
		q.processed = processed(`SELECT created_at, processed_at FROM {partition} WHERE processed_at > {minute} AND ctid = ANY (ARRAY(
			SELECT ('(' || page || ',' || line || ')')::tid
			FROM (SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint AS pages) size,
				generate_series(greatest(pages - 50, 0), pages - 1) page, generate_series(1, 60) line))`)
	}
}
