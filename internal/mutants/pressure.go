package mutants

// pressure returns the bugs of breakers, retry budgets and pauses.
func pressure() []Mutant {
	return []Mutant{
		{
			Name: "P1", Bug: "an open breaker lets runs through", File: "reliable/breaker_circuit.go",
			Old: "return c.until - now + c.jitter(spread), false", New: "return 0, true",
			Package: "reliable", Test: "TestOutage",
		},
		{
			Name: "P2", Bug: "what began before a rest judges the probes", File: "reliable/breaker_circuit.go",
			Old: "generation != c.generation", New: "generation > c.generation",
			Package: "reliable", Test: "TestCircuitProbesHang",
		},
		{
			Name: "P3", Bug: "retries are not counted", File: "reliable/breaker_circuit.go",
			Old: "c.bucket(now).retries++", New: "c.bucket(now).retries += 0",
			Package: "reliable", Test: "TestCircuitBudgetsRetries",
		},
		{
			Name: "P4", Bug: "what is put off burns an attempt", File: "reliable/admit.go",
			Old: "state.RetryAt, state.putOff = &at, true", New: "state.RetryAt, state.putOff, state.Attempts = &at, true, state.Attempts+1",
			Package: "worker", Test: "TestBreakerRests", Only: "sqlite",
		},
		{
			Name: "P5", Bug: "entries that may not run are claimed, and put off", File: "reliable/admission.go",
			Old: "a.held[e.Kind] = k\n\treturn false", New: "return true",
			Package: "worker", Test: "TestBreakerRests", Only: "sqlite",
		},
		{
			Name: "P6", Bug: "an entry of which a part may not run is written again and again", File: "reliable/admit.go",
			Old: "r.out.Kind = pendingKind(r.entry, pending)", New: "r.out.Kind = 0",
			Package: "worker", Test: "TestPauseCallback", Only: "sqlite",
		},
		{
			Name: "P7", Bug: "the same, while another part waits for its time", File: "reliable/admit.go",
			Old: "if mixed && r.states[i].putOff {", New: "if mixed && i < 0 {",
			Package: "reliable", Test: "TestPausedParts",
		},
		{
			Name: "P8", Bug: "what is left of an entry has the kind of one that owes just that", File: "reliable/admit.go",
			Old: `slices.Concat(e.Owed, []string{"\x00pending"}, pending)`, New: `slices.Concat(pending)`,
			Package: "worker", Test: "TestPausedPartKeepsItsBinary", Only: "sqlite",
		},
		{
			Name: "P9", Bug: "a worker that claims nothing hears of no pause", File: "processors/lease.go",
			Old: "s.inTx(ctx, p.readPauses)", New: "error(nil)",
			Package: "worker", Test: "TestPauseReachesWhatIsClaimed", Only: "sqlite",
		},
	}
}
