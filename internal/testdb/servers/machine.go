package servers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Machine is where servers are started. The zero value looks for programs
// where they usually are.
type Machine struct {
	// Path lists the directories to look for programs in. Nil stands for PATH
	// and the places where Debian and others keep servers.
	Path []string
}

// MissingError says which servers neither answer nor can be started.
type MissingError struct{ Kinds []Kind }

func (e *MissingError) Error() string {
	var names, variables []string
	for _, k := range e.Kinds {
		names, variables = append(names, "no "+string(k)), append(variables, k.Variable())
	}
	return fmt.Sprintf("%s: none answers, and the programs to start one are not installed\n"+
		"set %s to the URL of a server, or run: apt-get install %s", strings.Join(names, ", "), strings.Join(variables, ", "), strings.Join(packages(e.Kinds), " "))
}

// Missing returns those of kinds that [Machine.Start] has no programs for.
func (m Machine) Missing(kinds []Kind) []Kind {
	return slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool {
		_, err := m.recipe(k)
		return err == nil
	})
}

// CanInstall tells whether [Machine.Install] could work: as root, with apt-get.
func (m Machine) CanInstall() bool {
	_, err := m.look("apt-get")
	return err == nil && os.Geteuid() == 0
}

// denyServices is the script that Debian's packages ask whether they may start
// their services.
const denyServices = "/usr/sbin/policy-rc.d"

// Install installs Debian's packages for kinds. Their services are not started.
func (m Machine) Install(ctx context.Context, kinds []Kind) error {
	apt, err := m.look("apt-get")
	if err != nil {
		return err
	}
	deny, err := os.OpenFile(denyServices, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	switch {
	case err == nil:
		defer func() { _ = os.Remove(denyServices) }()
		_, err = deny.WriteString("#!/bin/sh\nexit 101\n")
		err = errors.Join(err, deny.Close())
	case errors.Is(err, fs.ErrExist): // the machine's own policy
		err = nil
	}
	if err != nil {
		return fmt.Errorf("keep services from starting: %w", err)
	}
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages(kinds)...)
	for _, arguments := range [][]string{{"update", "-q"}, install} {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-o", "DPkg::Lock::Timeout=300"}, arguments...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", arguments[0], err, tail(out))
		}
	}
	if missing := m.Missing(kinds); len(missing) > 0 {
		return &MissingError{missing}
	}
	return nil
}

// packages returns the names of Debian's packages for kinds.
func packages(kinds []Kind) []string {
	var names []string
	for _, k := range kinds {
		names = append(names, map[Kind]string{Postgres: "postgresql", MariaDB: "mariadb-server-core", Redis: "redis-server"}[k])
	}
	return names
}

// look returns the path of the first of names that is a program here.
func (m Machine) look(names ...string) (string, error) {
	path := m.Path
	if path == nil {
		path = usual()
	}
	for _, name := range names {
		for _, dir := range path {
			if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return found, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", strings.Join(names, ", "), exec.ErrNotFound)
}

// usual returns PATH and where packages put servers that they keep out of it.
func usual() []string {
	path := slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool { return !filepath.IsAbs(dir) })
	var versions []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(pattern) // only a bad pattern is an error
		versions = append(versions, found...)
	}
	slices.SortFunc(versions, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return append(append(path, versions...), "/usr/sbin", "/usr/local/sbin", "/usr/libexec")
}

// version returns the 15 of /usr/lib/postgresql/15/bin.
func version(dir string) float64 {
	number, _ := strconv.ParseFloat(strings.TrimPrefix(filepath.Base(filepath.Dir(dir)), "pgsql-"), 64)
	return number
}

// tail returns the end of a program's output.
func tail(out []byte) string {
	return strings.TrimSpace(string(out[max(0, len(out)-2000):]))
}
