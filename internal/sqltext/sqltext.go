// Package sqltext tells which tables a piece of raw SQL writes to, as far as
// its text shows that.
package sqltext

import (
	"slices"
	"strings"
)

// Write is a table that raw SQL writes to.
type Write struct {
	Verb  string // INSERT, UPDATE, DELETE, MERGE, REPLACE, TRUNCATE or COPY
	Table string // without quotes and schema
}

// Writes returns the tables that the statements of sql write to, also those of
// a WITH. It knows the grammars of PostgreSQL, MariaDB and SQLite. What
// functions, procedures, triggers, cascades and prepared statements do is not
// in the text, and not found.
func Writes(sql string) []Write {
	if !mayWrite(sql) {
		return nil
	}
	var found []Write
	s := statement{tokens: scan(sql)}
	for len(s.tokens) > 0 {
		end := slices.IndexFunc(s.tokens, func(t token) bool { return t.is(";") })
		if end < 0 {
			end = len(s.tokens)
		}
		one := statement{tokens: s.tokens[:end]}
		found = append(found, one.writes()...)
		s.tokens = s.tokens[min(end+1, len(s.tokens)):]
	}
	return found
}

// verbs are the words that begin a write.
var verbs = []string{"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE", "COPY"} //nolint:gochecknoglobals // a constant

// mayWrite is a quick look at the first word: most raw SQL only reads.
func mayWrite(sql string) bool {
	text := strings.TrimLeft(sql, " \t\r\n(")
	const longest = len("ROLLBACK")
	switch word := strings.ToUpper(text[:min(len(text), longest)]); {
	case strings.HasPrefix(word, "SELECT"), strings.HasPrefix(word, "SAVEPOIN"), strings.HasPrefix(word, "RELEASE"), strings.HasPrefix(word, "ROLLBACK"):
		return strings.ContainsRune(text, ';')
	default:
		return true
	}
}

// statement is the tokens of one statement.
type statement struct {
	tokens []token
	at     int
}

// writes returns the tables that the statement writes to.
func (s *statement) writes() []Write {
	if len(s.tokens) == 0 {
		return nil
	}
	first := s.tokens[0]
	nested := first.is("WITH") || first.is("EXPLAIN")
	if first.is("EXPLAIN") && !slices.ContainsFunc(s.tokens, func(t token) bool { return t.is("ANALYZE") }) {
		return nil
	}
	var found []Write
	for i, t := range s.tokens {
		if t.quoted || !slices.Contains(verbs, t.word()) || i > 0 && (!nested || !s.begins(i)) {
			continue
		}
		s.at = i + 1
		for _, table := range s.tables(t.word()) {
			found = append(found, Write{t.word(), table})
		}
	}
	return found
}

// begins reports whether a statement may begin at a token within a WITH or an
// EXPLAIN.
func (s *statement) begins(i int) bool {
	before := s.tokens[i-1]
	return before.is("(") || before.is(")") || before.is("EXPLAIN") || before.is("ANALYZE") || before.is("VERBOSE")
}

// tables reads the names behind a verb.
func (s *statement) tables(verb string) []string {
	switch verb {
	case "INSERT", "REPLACE", "MERGE":
		s.pass("LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "INTO")
		if s.pass("OR") { // SQLite: OR REPLACE
			s.at++
			s.pass("INTO")
		}
		s.pass("ONLY")
		return s.names(false)
	case "DELETE":
		s.pass("LOW_PRIORITY", "QUICK", "IGNORE")
		var multi []string // MariaDB: DELETE a, b FROM ...
		if !s.next().is("FROM") {
			multi = s.names(true)
		}
		if !s.pass("FROM") {
			return multi
		}
		s.pass("ONLY")
		return append(multi, s.names(true)...)
	case "UPDATE":
		s.pass("LOW_PRIORITY", "IGNORE")
		if s.pass("OR") {
			s.at++
		}
		s.pass("ONLY")
		return s.joined()
	case "TRUNCATE":
		s.pass("TABLE", "ONLY")
		return s.names(true)
	default: // COPY t FROM reads into the table, COPY t TO only from it
		names := s.names(false)
		if slices.ContainsFunc(s.tokens[s.at:], func(t token) bool { return t.is("FROM") }) && !slices.ContainsFunc(s.tokens[s.at:], func(t token) bool { return t.is("TO") }) {
			return names
		}
		return nil
	}
}

// next returns the token to come; an empty one at the end.
func (s *statement) next() token {
	if s.at >= len(s.tokens) {
		return token{}
	}
	return s.tokens[s.at]
}

// pass steps over any of the words; it reports whether there was one.
func (s *statement) pass(words ...string) (passed bool) {
	for slices.ContainsFunc(words, s.next().is) {
		s.at++
		passed = true
	}
	return passed
}

// name reads a name, with what qualifies it, and returns its last part.
func (s *statement) name() string {
	if !s.next().isName() {
		return ""
	}
	name := s.next().text
	s.at++
	for s.next().is(".") {
		s.at++
		if !s.next().isName() {
			break // DELETE t.* FROM
		}
		name = s.next().text
		s.at++
	}
	s.pass("*")
	return name
}

// names reads a name, or with many a list of them.
func (s *statement) names(many bool) []string {
	var names []string
	for {
		name := s.name()
		if name == "" {
			return names
		}
		names = append(names, name)
		if !many || !s.pass(",") {
			return names
		}
	}
}

// joined reads the tables of an UPDATE up to SET: any of them may be written.
func (s *statement) joined() []string {
	var names []string
	for expected := true; s.at < len(s.tokens) && !s.next().is("SET"); {
		switch t := s.next(); {
		case expected && t.isName():
			names = append(names, s.name())
			expected = false
		default:
			expected = t.is(",") || t.is("JOIN")
			s.at++
		}
	}
	return names
}

// Savepoint returns the name of the savepoint that sql sets, "" if it is not
// just that.
func Savepoint(sql string) string {
	s := statement{tokens: scan(sql)}
	if !s.pass("SAVEPOINT") {
		return ""
	}
	return s.last()
}

// RollbackTo returns the name of the savepoint that sql rolls back to, "" if
// it is not just that.
func RollbackTo(sql string) string {
	s := statement{tokens: scan(sql)}
	if !s.pass("ROLLBACK") {
		return ""
	}
	s.pass("WORK", "TRANSACTION")
	if !s.pass("TO") {
		return ""
	}
	s.pass("SAVEPOINT")
	return s.last()
}

// last reads a name that ends the SQL.
func (s *statement) last() string {
	t := s.next()
	s.at++
	s.pass(";")
	if !t.isName() || s.at < len(s.tokens) {
		return ""
	}
	if !t.quoted {
		return strings.ToLower(t.text)
	}
	return t.text
}
