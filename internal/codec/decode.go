package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// document is the format as encoding/json reads it.
type document struct {
	Version     int                          `json:"v"`
	Key         map[string]json.RawMessage   `json:"key"`
	Set         map[string][]json.RawMessage `json:"set"`
	Types       map[string]string            `json:"types"`
	SoftDeleted bool                         `json:"soft_deleted"`
	Restored    bool                         `json:"restored"`
	OldUnknown  bool                         `json:"old_unknown"`
}

// Decode reads what Encode wrote. Unknown members are ignored; an unknown
// version or a malformed value is an error.
func Decode(data []byte) (Changeset, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&doc); err != nil {
		return Changeset{}, fmt.Errorf("changeset is not JSON as expected: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Changeset{}, errors.New("changeset is followed by something else")
	}
	if doc.Version != Version {
		return Changeset{}, fmt.Errorf("changeset has version %d, this binary reads %d", doc.Version, Version)
	}
	c := Changeset{SoftDeleted: doc.SoftDeleted, Restored: doc.Restored, OldUnknown: doc.OldUnknown}
	var err error
	if len(doc.Key) > 0 {
		c.Key = make(map[string]any, len(doc.Key))
	}
	for column, raw := range doc.Key {
		if c.Key[column], err = value(doc.Types[column], raw); err != nil {
			return Changeset{}, fmt.Errorf("column %s: %w", column, err)
		}
	}
	if len(doc.Set) > 0 {
		c.Columns = make(map[string]Pair, len(doc.Set))
	}
	for column, raw := range doc.Set {
		if len(raw) != 2 {
			return Changeset{}, fmt.Errorf("column %s: %d values instead of old and new", column, len(raw))
		}
		var p Pair
		if p.Old, err = value(doc.Types[column], raw[0]); err == nil {
			p.New, err = value(doc.Types[column], raw[1])
		}
		if err != nil {
			return Changeset{}, fmt.Errorf("column %s: %w", column, err)
		}
		c.Columns[column] = p
	}
	return c, nil
}

// value reads one value by its column's hint.
func value(kind string, raw json.RawMessage) (any, error) {
	if len(raw) == 0 || raw[0] == 'n' {
		return nil, nil
	}
	switch raw[0] {
	case 't', 'f':
		return raw[0] == 't', nil
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
		return text(kind, s)
	case '{', '[':
		return nil, errors.New("not a plain value")
	default:
		return number(kind, string(raw))
	}
}

func text(kind, s string) (any, error) {
	switch kind {
	case "":
		return s, nil
	case string(Bytes):
		return base64.StdEncoding.DecodeString(s)
	case string(Text):
		data, err := base64.StdEncoding.DecodeString(s)
		return string(data), err
	case string(Time):
		return parseTime(s)
	case string(Float):
		switch s {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return nil, fmt.Errorf("%q is no float", s)
	default:
		return nil, fmt.Errorf("type %q is unknown", kind)
	}
}

func number(kind, s string) (any, error) {
	if kind == string(Float) {
		return strconv.ParseFloat(s, 64)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	return strconv.ParseFloat(s, 64)
}

func parseTime(s string) (any, error) {
	rest, far := strings.CutPrefix(s, "@")
	if !far {
		return time.Parse(time.RFC3339Nano, s)
	}
	seconds, nanos, _ := strings.Cut(rest, ".")
	sec, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return nil, err
	}
	nsec, err := strconv.ParseInt(nanos, 10, 64)
	return time.Unix(sec, nsec).UTC(), err
}
