package healthcheck

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Ask checks every heartbeat that is named, or else the one that the variable
// [Variable] of getenv names. It returns a line that says how the workers are,
// or, as an error, why one of them is not healthy or, if ready is set, takes no
// work.
func Ask(paths []string, ready bool, getenv func(string) string) (string, error) {
	if len(paths) == 0 {
		path := getenv(Variable)
		if path == "" {
			return "", fmt.Errorf("no heartbeat is named: set %s as for the worker, or give its path", Variable)
		}
		paths = []string{path}
	}
	var lines, mistakes []string
	for _, path := range paths {
		reports, err := Check(path)
		if err != nil {
			mistakes = append(mistakes, err.Error())
		}
		for _, r := range reports {
			if err := r.Ready(); ready && err != nil {
				mistakes = append(mistakes, err.Error())
			}
			lines = append(lines, r.String())
		}
	}
	if len(mistakes) > 0 {
		return "", errors.New(line(strings.Join(mistakes, "; ")))
	}
	return line(strings.Join(lines, "; ")), nil
}

// Main is command healthcheck: args are those after its name. It returns the
// exit code, 0 or 1, and writes one line.
func Main(args []string, getenv func(string) string, out, errs io.Writer) int {
	set := flag.NewFlagSet("healthcheck", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	ready := set.Bool("ready", false, "also fail while the worker starts or drains")
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(out, "healthcheck [-ready] [heartbeat ...]: exits 0 if every worker is healthy, or else 1; -ready: %s; default: $%s\n", set.Lookup("ready").Usage, Variable)
		return 0
	case err != nil:
		fmt.Fprintf(errs, "unhealthy: %s: known is -ready\n", line(err.Error()))
		return 1
	}
	text, err := Ask(set.Args(), *ready, getenv)
	if err != nil {
		fmt.Fprintf(errs, "unhealthy: %s\n", err)
		return 1
	}
	fmt.Fprintf(out, "healthy: %s\n", text)
	return 0
}
