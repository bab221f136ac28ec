package sqltext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a word, a quoted identifier, or a punctuation mark. Strings and
// comments are none.
type token struct {
	text   string
	quoted bool
}

func (t token) word() string { return strings.ToUpper(t.text) }

// is reports whether the token is the keyword or mark.
func (t token) is(word string) bool { return !t.quoted && strings.EqualFold(t.text, word) }

// isName reports whether the token may name a table.
func (t token) isName() bool {
	if t.quoted {
		return true
	}
	r, _ := utf8.DecodeRuneInString(t.text)
	return r == '_' || unicode.IsLetter(r)
}

// scan splits SQL into tokens. Text that it does not understand to its end
// (a string that never closes) is dropped from there on.
func scan(sql string) []token {
	var tokens []token
	for len(sql) > 0 {
		c := sql[0]
		switch {
		case strings.HasPrefix(sql, "--") || c == '#':
			sql = after(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			sql = after(sql[2:], "*/")
		case c == '\'':
			_, sql = quoted(sql)
		case c == '"' || c == '`':
			var name string
			name, sql = quoted(sql)
			tokens = append(tokens, token{name, true})
		case c == '[': // SQLite
			end := strings.IndexByte(sql, ']')
			if end < 0 {
				return tokens
			}
			tokens, sql = append(tokens, token{sql[1:end], true}), sql[end+1:]
		case c == '$':
			sql = dollar(sql)
		default:
			n := wordLength(sql)
			if n == 0 {
				_, n = utf8.DecodeRuneInString(sql)
				if strings.TrimSpace(sql[:n]) == "" {
					sql = sql[n:]
					continue
				}
			}
			tokens, sql = append(tokens, token{sql[:n], false}), sql[n:]
		}
	}
	return tokens
}

// after returns what follows the first end.
func after(sql, end string) string {
	_, rest, _ := strings.Cut(sql, end)
	return rest
}

// quoted reads a string or identifier up to its closing quote, of which two in
// a row are one. A backslash hides a quote in a string of MariaDB's; where it
// does not, PostgreSQL's 'a\', the text is read too far, and less is found.
func quoted(sql string) (text, rest string) {
	quote := sql[0]
	var b strings.Builder
	for i := 1; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == '\\' && quote == '\'':
			i++
		case c == quote && i+1 < len(sql) && sql[i+1] == quote:
			b.WriteByte(c)
			i++
		case c == quote:
			return b.String(), sql[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// dollar reads $1, or a string $tag$ ... $tag$.
func dollar(sql string) string {
	n := 1 + wordLength(sql[1:])
	if n < len(sql) && sql[n] == '$' {
		return after(sql[n+1:], sql[:n+1])
	}
	return sql[n:]
}

// wordLength returns how many bytes of sql are a word or number.
func wordLength(sql string) int {
	for i, r := range sql {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return i
		}
	}
	return len(sql)
}
