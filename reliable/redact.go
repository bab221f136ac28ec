package reliable

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// redacted stands for what Redact takes out.
const redacted = "[redacted]"

// What a secret looks like, and what is left of it. A name in front of it or
// its form gives it away; nothing else does.
var (
	inURL   = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@"'<>]*):[^\s"'<>]*@`) // scheme://user:...@
	inPort  = regexp.MustCompile(`(invalid port )"(?:[^"\\]|\\.)*"`)                      // what net/url says of a password with a slash
	inDSN   = regexp.MustCompile(`([^\s:@/"'(=]+):[^\s"']+@([a-z]+\()`)                   // user:...@tcp(
	header  = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|x-api-key|x-auth-token|api-key|(?:set-)?cookie)(\\*["']?\s*[:=]\s*(?:\[?\\*["'])?)(?:\[redacted\]|[^"'\r\n]+)`)
	private = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?`)
	scheme  = regexp.MustCompile(`(?i)\b(bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})`)

	// name=..., "name":... and password: ...
	named = regexp.MustCompile(`(?i)(` + secretName + `\\*["']?\s*=\s*|` + secretName + `\\*["']\s*:\s*|(?:password|passwd|passphrase|pwd)\s*:\s*)` +
		`(?:\[redacted\]|\\+"[^"\\]*|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s,;&"')}\]]+)`)

	// JSON Web Tokens, and tokens of well-known services.
	formed = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?|` +
		`\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]+|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}|` +
		`\bxox[a-z]-[A-Za-z0-9-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)
)

const secretName = `(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|signature)`

// Redact returns text with "[redacted]" in place of what looks like a secret:
// passwords in URLs and data source names, values that are named password,
// secret, token or key, Authorization headers and cookies, bearer tokens, JSON
// Web Tokens and private keys. What is stored and logged of an error has passed
// it. It knows forms, not values: a secret in a sentence it can't tell.
func Redact(text string) string {
	lower := strings.ToLower(text) // the expressions are slow: most texts give none of them a reason
	if strings.Contains(text, "://") {
		text = inURL.ReplaceAllString(text, "$1:"+redacted+"@")
		text = inPort.ReplaceAllString(text, `$1"`+redacted+`"`)
	}
	if strings.Contains(text, "@") {
		text = inDSN.ReplaceAllString(text, "$1:"+redacted+"@$2")
	}
	if strings.Contains(text, "PRIVATE KEY") {
		text = private.ReplaceAllString(text, redacted)
	}
	if containsAny(lower, "authorization", "api-key", "auth-token", "cookie") {
		text = header.ReplaceAllString(text, "$1$2"+redacted)
	}
	if containsAny(lower, "pass", "pwd", "secret", "token", "key", "signature") && strings.ContainsAny(text, "=:") {
		text = named.ReplaceAllString(text, "$1"+redacted)
	}
	if containsAny(lower, "bearer", "basic") {
		text = scheme.ReplaceAllStringFunc(text, func(found string) string {
			space := strings.IndexFunc(found, unicode.IsSpace)
			name, credentials := found[:space], found[space:]
			if !strings.ContainsAny(credentials, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ=") { // words: "bearer authentication"
				return found
			}
			return name + " " + redacted
		})
	}
	if containsAny(lower, "eyj", "_live_", "_test_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "akia", "asia") {
		text = formed.ReplaceAllString(text, redacted)
	}
	return text
}

func containsAny(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
