package reliabledatadog

import (
	"strings"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

const (
	// maxValues is how many values a tag may have; further ones are "other".
	// Names are from code, but tables hold what anybody wrote.
	maxValues = 500

	maxTag = 100 // bytes of a value; Datadog takes 200 with the tag's name
)

// tagger makes tags, and remembers the values that they have.
type tagger struct{ seen map[string]map[string]bool }

// tag returns the tag of a name with a value; "none" if that is empty.
func (t *tagger) tag(name, value string) string {
	value = cleanTag(value)
	if value == "" {
		value = "none"
	}
	values := t.seen[name]
	if values == nil {
		values = make(map[string]bool)
		t.seen[name] = values
	}
	if !values[value] {
		if len(values) == maxValues {
			value = "other"
		} else {
			values[value] = true
		}
	}
	return name + ":" + value
}

// kind returns the tags of the kind of an entry.
func (t *tagger) kind(e *reliable.OutboxEntry) []string {
	return []string{t.tag("context", e.Context), t.tag("model", e.ResourceClass), t.tag("event", e.EventName)}
}

// callback returns the tags of a callback of an entry.
func (t *tagger) callback(e *reliable.OutboxEntry, name string) []string {
	return append(t.kind(e), t.tag("callback", name))
}

// cleanTag returns a value as Datadog keeps it, but for capitals.
func cleanTag(value string) string {
	if len(value) > maxTag {
		value = value[:maxTag]
	}
	var clean strings.Builder
	for _, r := range value {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_-./", r):
			clean.WriteRune(r)
		case r != '*' && !strings.HasSuffix(clean.String(), "_"): // a pointer's type says no more than the type
			clean.WriteByte('_')
		}
	}
	return clean.String()
}
