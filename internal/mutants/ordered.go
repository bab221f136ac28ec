package mutants

// ordered returns the bugs of work in order.
func ordered() []Mutant {
	return []Mutant{
		{
			Name: "M5", Bug: "a head that failed is passed: what follows it runs first", File: "processors/lanescan.go",
			Old: "case r.dead, !r.due, s.left[e.Kind], ", New: "case !r.due:\n\t\t\tcontinue\n\t\tcase r.dead, s.left[e.Kind], ",
			Package: "chaos", Test: "TestHeadFails/sqlite", Only: "sqlite",
		},
	}
}
