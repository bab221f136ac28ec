package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// leaf makes a command that does something. Flags are parsed here, not by
// cobra, which stops at the first mistake.
func leaf(c *cobra.Command, f *flags, run func(ctx context.Context, c *cobra.Command, args []string) error) *cobra.Command {
	c.DisableFlagParsing = true
	c.RunE = func(c *cobra.Command, args []string) error {
		c.InitDefaultHelpFlag()
		args, mistakes := parse(c, args)
		if help, err := c.Flags().GetBool("help"); err == nil && help {
			return c.Help()
		}
		if err := errors.Join(append(mistakes, f.check(args)...)...); err != nil {
			return &UsageError{err, c}
		}
		return run(c.Context(), c, args)
	}
	return c
}

// parse sets the flags of a command and of those above it. It returns the
// arguments that are no flags, and all mistakes.
func parse(c *cobra.Command, args []string) (rest []string, mistakes []error) {
	_ = c.InheritedFlags() // merges them
	set := c.Flags()
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	args = slices.Clone(args)
	for {
		err := set.Parse(args)
		if err == nil {
			return set.Args(), mistakes
		}
		if errors.Is(err, pflag.ErrHelp) {
			return nil, mistakes
		}
		name, text := culprit(err)
		at := slices.IndexFunc(args, func(arg string) bool {
			flag, _, _ := strings.Cut(arg, "=")
			return flag == "--"+name || len(name) == 1 && strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.Contains(arg, name)
		})
		if text == "" {
			text = fmt.Sprintf("--%s is not known: known are %s", name, strings.Join(known(set), ", "))
			if len(name) == 1 {
				text = fmt.Sprintf("-%s is not known: known are %s", name, strings.Join(known(set), ", "))
			}
		}
		mistakes = append(mistakes, errors.New(text))
		if at < 0 {
			return nil, mistakes
		}
		n := 1
		if !strings.Contains(args[at], "=") && at+1 < len(args) && !strings.HasPrefix(args[at+1], "-") && len(name) > 1 {
			n = 2 // its value, it seems
		}
		args = slices.Delete(args, at, at+n)
	}
}

// culprit returns the flag that an error of pflag is about, and what to say of
// it, nothing if it is not known.
func culprit(err error) (name, text string) {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return unknown.GetSpecifiedName(), ""
	case errors.As(err, &empty):
		return empty.GetSpecifiedName(), "--" + empty.GetSpecifiedName() + " has no value: give it one"
	case errors.As(err, &invalid):
		name = invalid.GetFlag().Name
		return name, fmt.Sprintf("--%s=%q: want true or false", name, invalid.GetValue()) // the only values that fail
	default:
		return "", err.Error()
	}
}

func known(set *pflag.FlagSet) []string {
	var names []string
	set.VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return names
}
