package mutants

import "slices"

// mutants returns all of them.
func mutants() []Mutant {
	return slices.Concat(engine(), ordered(), capture(), transactions(), pressure())
}

// engine returns the bugs of claim, run and finish.
func engine() []Mutant {
	const suite = "processors/processorstest"
	return []Mutant{
		{
			Name: "M1", Bug: "a finish without its token takes entries from whoever holds them", File: "processors/queries_postgres.go",
			Old: "SELECT ids FROM {claims} WHERE token = $1 FOR UPDATE", New: "SELECT $2::bigint[] || $3::bigint[] || coalesce((SELECT ids FROM {claims} WHERE token = $1), '{}') AS ids",
			Package: suite, Test: "TestNonOrdered/postgres/finish_fenced", Only: "postgres",
		},
		{
			Name: "M1b", Bug: "the same, where a finish takes several statements", File: "processors/queries_json.go",
			Old: "`SELECT ids FROM {claims} WHERE token = ?{wait}`", New: "`SELECT ids FROM {claims} WHERE token >= ? ORDER BY token DESC LIMIT 1{wait}`",
			Package: suite, Test: "TestNonOrdered/sqlite/finish_fenced", Only: "sqlite",
		},
		{
			Name: "M2", Bug: "the token is the worker's, not the claim's", File: "processors/queries_postgres.go",
			Old: "INSERT INTO {claims} (worker, ids, lo, hi, alone, mark)\n\t\t\tSELECT $1, ", New: "INSERT INTO {claims} (token, worker, ids, lo, hi, alone, mark) OVERRIDING SYSTEM VALUE\n\t\t\tSELECT abs(hashtext($1::text)), $1, ",
			Package: suite, Test: "TestNonOrdered/postgres/tokens", Only: "postgres",
		},
		{
			Name: "M3", Bug: "what is done becomes durable only when its whole claim is", File: "worker/finisher.go",
			Old: "\t\toutcomes[i], b.waiting = b.waiting, nil\n", New: "\t\tif b.owing > 0 {\n\t\t\tf.batches = append(f.batches, b)\n\t\t\tcontinue\n\t\t}\n\t\toutcomes[i], b.waiting = b.waiting, nil\n",
			Package: "worker", Test: "TestGroupsAreDurableBeforeTheClaimEnds",
		},
		{
			Name: "M3b", Bug: "executors never wait for the finisher", File: "worker/finisher.go",
			Old: "for f.waiting+f.flying+f.running+n >= 2*f.shift.FinishGroup && !f.closed {", New: "for false {",
			Package: "worker", Test: "TestExecutorsWaitForTheFinisher",
		},
		{
			Name: "M4", Bug: "only failures count: an entry that kills its worker does so for ever", File: "processors/rescue.go",
			Old: "crashes = 1", New: "crashes = 0",
			Package: "chaos", Test: "TestPoison/sqlite/kill", Only: "sqlite",
		},
		{
			Name: "M11", Bug: "a rescue takes over from workers that live", File: "processors/queries_postgres.go",
			Old: "DELETE FROM {workers} WHERE beat_at < clock_timestamp() - lease_ms * interval '1 millisecond'", New: "DELETE FROM {workers} WHERE beat_at < clock_timestamp() - 50 * interval '1 millisecond'",
			Package: suite, Test: "TestNonOrdered/postgres/renewal", Only: "postgres",
		},
		{
			Name: "M12", Bug: "a finish has the context that the drain cancelled", File: "worker/finisher.go",
			Old: "err := bounded(func(ctx context.Context) error { return claim.Finish(ctx, outcomes) })", New: "err := bounded(func(context.Context) error { return claim.Finish(s.work, outcomes) })",
			Package: "worker", Test: "TestDrainFinishesUnderTheLease",
		},
		{
			Name: "M16", Bug: "a worker works only when it is woken", File: "worker/shift.go",
			Old: "rest(wake, heard, s.freed, s.PollInterval*time.Duration(s.IdleMultiplier))", New: "rest(wake, heard, s.freed, 24*time.Hour)",
			Package: "worker", Test: "TestPollFindsWork",
		},
		{
			Name: "M17", Bug: "a heartbeat says alive, whatever the database says", File: "processors/lease.go",
			Old: "renewed := alive > 0 && !p.lapsed", New: "renewed := alive >= 0",
			Package: suite, Test: "TestNonOrdered/sqlite/lost", Only: "sqlite",
		},
		{
			Name: "M18", Bug: "a timeout ends the attempt while the callback still runs", File: "reliable/run.go",
			Old: "err = r.invoke(bounded, u, a)", New: "ended := make(chan error, 1)\n\tgo func() { ended <- r.invoke(bounded, u, a) }()\n\tselect {\n\tcase err = <-ended:\n\tcase <-bounded.Done():\n\t\terr = bounded.Err()\n\t}",
			Package: "worker", Test: "TestDeafCallbackKeepsItsEntry",
		},
		{
			Name: "M19", Bug: "the database's order is trusted: a claim is not sorted", File: "processors/claim.go",
			Old: "slices.SortFunc(c.entries, func(a, b *reliable.OutboxEntry) int { return int(a.ID - b.ID) })", New: "",
			Package: suite, Test: "TestNonOrdered/sqlite/batches", Only: "sqlite",
		},
		{
			Name: "M20", Bug: "NUL in an error's text reaches the database", File: "reliable/failure.go",
			Old: "\"\\x00\", \" \"))", New: "\"\\x00\", \"\\x00\"))",
			Package: "reliable", Test: "TestErrorTextIsStorable",
		},
		{
			Name: "M22", Bug: "a transaction of the worker's has no deadline", File: "processors/session.go",
			Old: "ctx, cancel := context.WithTimeout(ctx, limit)", New: "ctx, cancel := context.WithCancel(ctx)",
			Package: "worker", Test: "TestEveryCallHasADeadline",
		},
		{
			Name: "M23", Bug: "a middleware that swallows the attempt passes for success", File: "reliable/surround.go",
			Old: "if err == nil && !called {", New: "if err == nil && !called && false {",
			Package: "worker", Test: "TestMiddleware",
		},
		{
			Name: "M23b", Bug: "the chain of middlewares does not run the callback", File: "reliable/surround.go",
			Old: "return inner(ctx)", New: "_ = inner\n\t\t\t\treturn nil",
			Package: "worker", Test: "TestMiddleware",
		},
		{
			Name: "M24", Bug: "the lease is not renewed while the worker drains", File: "worker/worker.go",
			Old: "context.WithCancel(context.WithoutCancel(ctx))", New: "context.WithCancel(ctx)",
			Package: "worker", Test: "TestDrainFinishesUnderTheLease",
		},
		{
			Name: "blamed", Bug: "every entry that a dead worker held counts a crash", File: "processors/rescue.go",
			Old: "if c.alone {\n", New: "if c.alone || true {\n",
			Package: "chaos/matrix", Test: "TestMatrix/cells/callback.after_sqlite",
		},
		{
			Name: "convicted", Bug: "a lease lost by a worker that lives stays a crash of its suspect", File: "processors/lease.go",
			Old: "if acquitted, err = p.acquit(ctx, tx); err != nil {", New: "if false {",
			Package: "processors", Test: "TestALostLeaseIsNoCrash", Only: "sqlite",
		},
		{
			Name: "sorted", Bug: "a table that was never analysed is read and sorted whole", File: "processors/nonordered.go",
			Old: `"enable_seqscan = off", "enable_bitmapscan = off", "enable_sort = off",`, New: "",
			Package: "processors", Test: "TestPlans/postgres/archive_analysed=false", Only: "postgres",
		},
		{
			Name: "again", Bug: "the claim's second statement does not look at the claims again", File: "processors/queries_postgres.go",
			Old: "WHERE id NOT IN (SELECT unnest(ids) FROM {claims} WHERE hi >= $4 AND lo <= $5) HAVING", New: "WHERE $4::bigint <= $5::bigint HAVING",
			Package: suite, Test: "TestNonOrdered/postgres/held_once", Only: "postgres",
		},
		{
			Name: "open", Bug: "a transaction is open while a callback runs", File: "worker/shift.go",
			Old: "\t\tb.run.Process(x.work, group[0], report)\n", New: "\t\ttx := x.shift.DB.Begin()\n\t\ttx.Exec(\"UPDATE outbox_claims SET lo = lo WHERE token = -1\")\n\t\tb.run.Process(x.work, group[0], report)\n\t\ttx.Rollback()\n",
			Package: "worker", Test: "TestNoTransactionWhileACallbackRuns", Only: "postgres",
		},
		{
			Name: "burnt", Bug: "an interrupted run burns an attempt", File: "reliable/run.go",
			Old: "case ctx.Err() != nil: // for a reason that is not the callback's\n", New: "case false:\n",
			Package: "worker", Test: "TestDrainBurnsNothing", Only: "sqlite",
		},
		{
			Name: "released", Bug: "what is given back becomes suspect", File: "worker/shift.go",
			Old: "if err := bounded(b.Release); err != nil {", New: "if err := error(nil); err != nil {",
			Package: "worker", Test: "TestDrainFinishesUnderTheLease",
		},
	}
}
