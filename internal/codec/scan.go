package codec

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// scanner reads a JSON text from left to right. encoding/json takes an object
// that names a member twice, and keeps one of the values; here that is an
// error. And it is several times slower, for every entry of every batch.
type scanner struct {
	data []byte
	at   int
}

var errEnd = errors.New("the text ends too early")

// peek returns the next byte that is not space, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// expect consumes c.
func (s *scanner) expect(c byte) error {
	switch s.peek() {
	case c:
		s.at++
		return nil
	case 0:
		return errEnd
	default:
		return fmt.Errorf("want %q at byte %d", c, s.at)
	}
}

// members calls each for every member of an object, which reads its value. The
// name is valid until each returns.
func (s *scanner) members(each func(name []byte) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		if s.peek() == '}' && first {
			s.at++
			return nil
		}
		name, err := s.literal()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := each(name); err != nil {
			return err
		}
		if s.peek() == '}' {
			s.at++
			return nil
		}
		if err := s.expect(','); err != nil {
			return err
		}
	}
}

// elements calls each for every element of an array, which reads it.
func (s *scanner) elements(each func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	if s.peek() == ']' {
		s.at++
		return nil
	}
	for {
		if err := each(); err != nil {
			return err
		}
		if s.peek() == ']' {
			s.at++
			return nil
		}
		if err := s.expect(','); err != nil {
			return err
		}
	}
}

// text reads a string.
func (s *scanner) text() (string, error) {
	b, err := s.literal()
	return string(b), err
}

// literal is text; the result may be part of the document.
func (s *scanner) literal() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	plain := true
	for i := s.at; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			raw := s.data[s.at:i]
			start := s.at - 1
			s.at = i + 1
			if !plain {
				return unquote(s.data[start:s.at])
			}
			return raw, nil
		case c == '\\':
			plain = false
			i++
		case c < 0x20:
			return nil, fmt.Errorf("control character %#x in a string at byte %d", c, i)
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	return nil, errEnd
}

// unquote reads a string with escapes or with other characters than ASCII.
func unquote(literal []byte) ([]byte, error) {
	if !utf8.Valid(literal) {
		return nil, errors.New("a string that is not UTF-8")
	}
	var text string
	err := json.Unmarshal(literal, &text)
	return []byte(text), err
}

// flag reads true or false.
func (s *scanner) flag() (bool, error) {
	switch string(s.word()) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, fmt.Errorf("neither true nor false before byte %d", s.at)
	}
}

// word reads a number, true, false or null: all up to the next delimiter.
func (s *scanner) word() []byte {
	s.peek()
	start := s.at
	for ; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case ',', ']', '}', ':', '[', '{', '"', ' ', '\t', '\n', '\r':
			return s.data[start:s.at]
		}
	}
	return s.data[start:]
}

// maxDepth bounds how deep a value that is skipped may be nested.
const maxDepth = 100

// skip passes over a value of any kind. It sees to strings, brackets and
// literals; commas, colons and numbers may be out of place.
func (s *scanner) skip() error {
	var open [maxDepth]byte // the brackets that must close
	depth := 0
	for {
		switch c := s.peek(); c {
		case 0:
			return errEnd
		case '"':
			if err := s.skipText(); err != nil {
				return err
			}
		case '{', '[':
			if depth == maxDepth {
				return fmt.Errorf("nested deeper than %d", maxDepth)
			}
			open[depth] = c + 2 // the closing bracket of either
			depth++
			s.at++
			continue
		case '}', ']':
			if depth == 0 || open[depth-1] != c {
				return fmt.Errorf("unexpected %q at byte %d", c, s.at)
			}
			depth--
			s.at++
		case ',', ':':
			if depth == 0 {
				return fmt.Errorf("unexpected %q at byte %d", c, s.at)
			}
			s.at++
			continue
		default:
			if !plausible(s.word()) {
				return fmt.Errorf("no value before byte %d", s.at)
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

// plausible reports whether a word is a literal or made of what numbers are.
func plausible(word []byte) bool {
	switch string(word) {
	case "null", "true", "false":
		return true
	}
	for _, c := range word {
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			return false
		}
	}
	return len(word) > 0
}

// skipText passes over a string.
func (s *scanner) skipText() error {
	for i := s.at + 1; i < len(s.data); i++ {
		switch s.data[i] {
		case '"':
			s.at = i + 1
			return nil
		case '\\':
			i++
		}
	}
	return errEnd
}
