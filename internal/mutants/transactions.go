package mutants

// transactions returns bugs of RunTx and of batch processors.
func transactions() []Mutant {
	const run = "reliable/runtx.go"
	return []Mutant{
		{
			Name: "T1", Bug: "a RunTx's completion is not in its transaction", File: run,
			Old: "FinishIn(own, capture.Uncached(tx.Statement.ConnPool), outcome)", New: "FinishIn(own, capture.Uncached(r.batch.db.Statement.ConnPool), outcome)",
			Package: "chaos", Test: "TestKillTeller/postgres/runtx.finished", Only: "postgres",
		},
		{
			Name: "T2", Bug: "a RunTx among others leaves no note that it is done", File: "processors/runtx.go",
			Old: "\tvar held int\n", New: "\tif o.State != reliable.StateDone {\n\t\treturn nil\n\t}\n\tvar held int\n",
			Package: "worker", Test: "TestRunTxAmongOthers", Only: "postgres",
		},
		{
			Name: "T3", Bug: "a RunTx without its lease commits", File: "processors/runtx.go",
			Old: "if held == 0 {", New: "if held < 0 {",
			Package: "worker", Test: "TestRunTxWithoutItsLease", Only: "postgres",
		},
		{
			Name: "T4", Bug: "a COMMIT without an answer is taken for failed", File: run,
			Old: "case committed:", New: "case committed && false:",
			Package: "worker", Test: "TestRunTxWithUnknownCommits/postgres", Only: "postgres",
		},
		{
			Name: "T5", Bug: "a COMMIT without an answer is taken for done", File: run,
			Old: "case committed:", New: "case committed || true:",
			Package: "worker", Test: "TestRunTxWithUnknownCommits/mariadb", Only: "mariadb",
		},
		{
			Name: "T6", Bug: "a RunTx commits after its time is over", File: run,
			Old: "if !detach() {", New: "if detach(); false {",
			Package: "worker", Test: "TestRunTxRollsBack/sqlite/late", Only: "sqlite",
		},
		{
			Name: "T7", Bug: "batches come on top of the bound", File: "worker/finisher.go",
			Old: "\tf.await(n, slot)\n", New: "",
			Package: "worker", Test: "TestBatchesKeepTheBound",
		},
		{
			Name: "T8", Bug: "a failure in a batch is the failure of all", File: "reliable/batchrun.go",
			Old: "errs[i] = own.errs[i]", New: "errs[i] = err",
			Package: "worker", Test: "TestBatchOutcomes", Only: "sqlite",
		},
		{
			Name: "T9", Bug: "a panic in a batch is the worker's", File: "reliable/batchrun.go",
			Old: "err = &PanicError{Value: recover(), Stack: debug.Stack()}", New: "err = &PanicError{Stack: debug.Stack()}",
			Package: "worker", Test: "TestBatchFailsAsAWhole",
		},
	}
}
