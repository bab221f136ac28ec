package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Decode reads what Encode wrote. Integers come back as int64, those beyond
// that as uint64; floats as float64. Members that it does not know are left
// out. Another version, a member or a column named twice and a malformed value
// are errors.
func Decode(data []byte) (Changeset, error) {
	return decode(data, true)
}

// DecodeHead is Decode without the columns, which it only skips: much faster.
// What is malformed in them, Decode tells.
func DecodeHead(data []byte) (Changeset, error) {
	return decode(data, false)
}

func decode(data []byte, columns bool) (Changeset, error) {
	d := decoder{scanner: scanner{data: data}, columns: columns}
	if err := d.members(d.member); err != nil {
		return Changeset{}, fmt.Errorf("changeset: %w", err)
	}
	if d.peek() != 0 || d.at < len(d.data) {
		return Changeset{}, fmt.Errorf("changeset: text after its end, at byte %d", d.at)
	}
	if d.version != Version {
		return Changeset{}, fmt.Errorf("changeset: version %d, this binary reads %d", d.version, Version)
	}
	return d.set, nil
}

// decoder reads one document.
type decoder struct {
	scanner
	columns bool // wanted
	set     Changeset
	version int64
	seen    uint8 // members, by bit
}

// member reads one member of the document.
func (d *decoder) member(name []byte) (err error) {
	var bit uint8
	switch string(name) {
	case memberVersion:
		bit = 1
		d.version, err = small(d.word())
	case memberKey:
		bit = 2
		err = d.key()
	case memberSet:
		bit = 4
		if d.columns {
			err = d.changes()
		} else {
			err = d.skip()
		}
	case memberSensitive:
		bit = 64
		err = d.elements(func() error {
			column, err := d.text()
			d.set.Sensitive = append(d.set.Sensitive, column)
			return err
		})
	case memberSoftDeleted:
		bit = 8
		d.set.SoftDeleted, err = d.flag()
	case memberRestored:
		bit = 16
		d.set.Restored, err = d.flag()
	case memberOldUnknown:
		bit = 32
		d.set.OldUnknown, err = d.flag()
	default:
		err = d.skip()
	}
	if err == nil && d.seen&bit != 0 {
		err = errors.New("named twice")
	}
	d.seen |= bit
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (d *decoder) key() error {
	d.set.Key = make(Key, 0, 1)
	return d.members(func(name []byte) error {
		column := string(name)
		v, err := d.value()
		if _, twice := d.set.Key.Get(column); twice && err == nil {
			err = errors.New("named twice")
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", column, err)
		}
		d.set.Key = append(d.set.Key, Column{column, v})
		return nil
	})
}

func (d *decoder) changes() error {
	d.set.Columns = make(map[string]Pair)
	return d.members(func(name []byte) error {
		column := string(name)
		p, err := d.pair()
		if _, twice := d.set.Columns[column]; twice && err == nil {
			err = errors.New("named twice")
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", column, err)
		}
		d.set.Columns[column] = p
		return nil
	})
}

// pair reads [old,new].
func (d *decoder) pair() (p Pair, err error) {
	if err = d.expect('['); err != nil {
		return p, err
	}
	if p.Old, err = d.value(); err != nil {
		return p, err
	}
	if err = d.expect(','); err != nil {
		return p, err
	}
	if p.New, err = d.value(); err != nil {
		return p, err
	}
	return p, d.expect(']')
}

// value reads one driver value.
func (d *decoder) value() (v any, err error) {
	switch d.peek() {
	case '"':
		return d.text()
	case '[':
		return nil, errors.New("an array is no value")
	case '{':
		n := 0
		err = d.members(func(hint []byte) error {
			if n++; n > 1 {
				return errors.New("two hints for one value")
			}
			text, err := d.text()
			if err != nil {
				return err
			}
			v, err = hinted(string(hint), text)
			return err
		})
		if err == nil && n == 0 {
			err = errors.New("an empty object is no value")
		}
		return v, err
	}
	switch word := d.word(); string(word) {
	case "":
		return nil, errEnd
	case "null":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return number(word)
	}
}

func number(word []byte) (any, error) {
	if n, err := small(word); err == nil {
		return n, nil
	}
	if !json.Valid(word) {
		return nil, errors.New("no value")
	}
	if bytes.ContainsAny(word, ".eE") {
		f, err := strconv.ParseFloat(string(word), 64)
		return f, hide(err, "float")
	}
	if n, err := strconv.ParseInt(string(word), 10, 64); err == nil {
		return n, nil
	}
	n, err := strconv.ParseUint(string(word), 10, 64)
	return n, hide(err, "integer of 64 bits")
}

// small reads a positive integer of few digits, as most are.
func small(word []byte) (n int64, err error) {
	if len(word) == 0 || len(word) > 18 || word[0] == '0' && len(word) > 1 {
		return 0, errors.New("no such integer")
	}
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, errors.New("no such integer")
		}
		n = 10*n + int64(c-'0')
	}
	return n, nil
}

// hide returns an error that tells nothing of the value, which may be one that
// nobody is to see.
func hide(err error, what string) error {
	if err != nil {
		return errors.New("no " + what)
	}
	return nil
}

// hinted reads a value that JSON lacks.
func hinted(hint, text string) (any, error) {
	switch hint {
	case "t":
		return parseTime(text)
	case "b":
		return base64.StdEncoding.Strict().DecodeString(text)
	case "s":
		data, err := base64.StdEncoding.Strict().DecodeString(text)
		return string(data), err
	case "f":
		switch text {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return nil, errors.New("no float")
	default:
		return nil, errors.New("a hint that is unknown")
	}
}

func parseTime(text string) (any, error) {
	rest, far := strings.CutPrefix(text, "@")
	if !far {
		t, err := time.Parse(time.RFC3339Nano, text)
		return t, hide(err, "time")
	}
	seconds, nanos, _ := strings.Cut(rest, ".")
	sec, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, hide(err, "time")
	}
	nsec, err := strconv.ParseUint(nanos, 10, 30)
	if err != nil || nsec > 999_999_999 {
		return nil, errors.New("no time")
	}
	return time.Unix(sec, int64(nsec)).UTC(), nil
}
