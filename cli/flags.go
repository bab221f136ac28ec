package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/gorm-aftercommit/aftercommit/outbox"
)

// flags are the flags of a command, which note mistakes instead of ending the
// parsing, so that all are told at once.
type flags struct {
	set    *pflag.FlagSet
	wrong  map[string]error // by flag
	checks []func(args []string) error
}

func newFlags(set *pflag.FlagSet) *flags {
	return &flags{set: set, wrong: make(map[string]error)}
}

// check returns all mistakes in values and arguments.
func (f *flags) check(args []string) (mistakes []error) {
	f.set.VisitAll(func(flag *pflag.Flag) {
		if err := f.wrong[flag.Name]; err != nil {
			mistakes = append(mistakes, err)
		}
	})
	for _, check := range f.checks {
		if err := check(args); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return mistakes
}

// none wants no arguments.
func (f *flags) none() {
	f.checks = append(f.checks, func(args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%q is too much: this takes flags only", args)
		}
		return nil
	})
}

// ids wants ids as arguments, at least so many.
func (f *flags) ids(into *[]int64, least int) {
	f.checks = append(f.checks, func(args []string) error {
		var wrong []string
		*into = nil
		for _, arg := range args {
			id, err := strconv.ParseInt(arg, 10, 64)
			if err != nil || id <= 0 {
				wrong = append(wrong, arg)
				continue
			}
			*into = append(*into, id)
		}
		switch {
		case len(wrong) > 0:
			return fmt.Errorf("%q: want ids of entries, for example 4711", wrong)
		case len(args) < least:
			return fmt.Errorf("give the id of an entry, for example 4711")
		default:
			return nil
		}
	})
}

// text adds a flag for any text.
func (f *flags) text(into *string, name, usage string) { f.set.StringVar(into, name, "", usage) }

// flag adds a flag whose values are read by parse, and are as want says.
func flag[T any](f *flags, into *T, name, kind, usage, want string, parse func(string) (T, bool)) {
	f.set.Var(&value{kind: kind, set: func(text string) {
		v, ok := parse(text)
		if delete(f.wrong, name); !ok {
			f.wrong[name] = fmt.Errorf("--%s=%q: want %s", name, text, want)
			return
		}
		*into = v
	}}, name, usage)
}

// age adds a flag for a duration, in days, too.
func (f *flags) age(into *time.Duration, name, usage string) {
	flag(f, into, name, "duration", usage, "a duration above 0, for example 90s, 15m, 36h or 3d", func(text string) (time.Duration, bool) {
		if days, ok := strings.CutSuffix(text, "d"); ok {
			n, err := strconv.ParseUint(days, 10, 16)
			return time.Duration(n) * 24 * time.Hour, err == nil && n > 0
		}
		d, err := time.ParseDuration(text)
		return d, err == nil && d > 0
	})
}

// number adds a flag for a number from least to most.
func (f *flags) number(into *int64, name, usage string, least, most int64) {
	want := fmt.Sprintf("a number from %d to %d", least, most)
	if most == 1<<63-1 {
		want = fmt.Sprintf("a number from %d on", least)
	}
	flag(f, into, name, "number", usage, want, func(text string) (int64, bool) {
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil && n >= least && n <= most
	})
}

// oneOf adds a flag for one of some words.
func oneOf[T ~string](f *flags, into *T, name, usage string, words ...T) {
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = string(word)
	}
	flag(f, into, name, "word", usage+": "+strings.Join(texts, ", "), "one of "+strings.Join(texts, ", "), func(text string) (T, bool) {
		return T(text), slices.Contains(texts, text)
	})
}

// value implements [pflag.Value]: no text is an error to it.
type value struct {
	kind, text string
	set        func(string)
}

// String implements pflag.Value.
func (v *value) String() string { return v.text }

// Type implements pflag.Value.
func (v *value) Type() string { return v.kind }

// Set implements pflag.Value.
func (v *value) Set(text string) error {
	v.text = text
	v.set(text)
	return nil
}

// filter adds the flags that select entries, of some states.
func (f *flags) filter(into *outbox.Filter, states ...outbox.State) {
	oneOf(f, &into.State, "state", "entries of this state", states...)
	f.text(&into.Context, "context", "of this context; \"gorm\" for captured writes")
	f.text(&into.Model, "model", "of this model, for example Order")
	f.text(&into.ModelID, "model-id", "of the row with this primary key")
	f.text(&into.Event, "event", "of this event, for example order_created")
	f.text(&into.Key, "key", "of this causality key")
	f.text(&into.Callback, "callback", "that owe this callback")
	f.text(&into.ErrorClass, "error-class", "whose last failure is of this class, for example timeout")
	f.age(&into.OlderThan, "older-than", "written longer ago, for example 36h or 3d")
	f.age(&into.YoungerThan, "younger-than", "written less long ago")
	f.checks = append(f.checks, func([]string) error {
		if into.YoungerThan > 0 && into.OlderThan >= into.YoungerThan {
			return fmt.Errorf("no entry is older than %s and younger than %s: want --older-than below --younger-than", into.OlderThan, into.YoungerThan)
		}
		return nil
	})
}
