package mutants

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	all = flag.Bool("mutants", false, "run the mutants: make mutants")
	one = flag.String("mutant", "", "run only those whose names begin so")
)

// The bugs' places are in the code as it is now.
func TestMutantsApply(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range mutants() {
		if _, err := m.Apply("../.."); err != nil {
			t.Error(err)
		}
		if seen[m.Name] || m.Old == m.New || m.Bug == "" || m.Package == "" || m.Test == "" {
			t.Errorf("%s is not complete, or there twice", m.Name)
		}
		seen[m.Name] = true
	}
}

// Each bug makes its test red.
func TestMutants(t *testing.T) {
	if !*all && *one == "" {
		t.Skip("this takes minutes: make mutants")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	passes := make(map[[3]string]error)
	var table strings.Builder
	for _, m := range mutants() {
		if !strings.HasPrefix(m.Name, *one) {
			continue
		}
		key := [3]string{m.Package, m.Test, m.Only}
		if _, known := passes[key]; !known {
			passes[key] = m.Passes(t.Context(), root)
		}
		if err := passes[key]; err != nil {
			t.Error(err)
			fmt.Fprintf(&table, "%-5s %-70s %-12s fails without the bug\n", m.Name, m.Bug, m.Test)
			continue
		}
		v := m.Run(t.Context(), root, t.TempDir())
		result := "red"
		switch {
		case v.Problem != "":
			result = strings.ToUpper(v.Problem)
			t.Errorf("%s: %s\n%.4000s", m.Name, v.Problem, v.Output)
		case !v.Red:
			result = "SURVIVED"
			t.Errorf("%s survived: %s of %s finds nothing wrong with it: %s", m.Name, m.Test, m.Package, m.Bug)
		}
		line := fmt.Sprintf("%-5s %-70s %s %s: %s, %s\n", m.Name, m.Bug, m.Package, m.Test, result, v.Took.Round(100*time.Millisecond))
		t.Log(line)
		table.WriteString(line)
	}
	t.Logf("\n%s", &table)
}
