package mutants

// capture returns the bugs of the capture.
func capture() []Mutant {
	return []Mutant{
		{
			Name: "M13", Bug: "entries are written outside of the statement's transaction", File: "internal/capture/pool.go",
			Old: "\tp.db.Statement.ConnPool = tx.raw\n", New: "\tp.db.Statement.ConnPool = p.db.Config.ConnPool\n",
			Package: "reliable", Test: "TestCapture", Only: "postgres",
		},
		{
			Name: "M14", Bug: "a capture that failed is only logged", File: "internal/capture/pool.go",
			Old: "tell, err = p.record(tx, out)\n", New: "if tell, err = p.record(tx, out); err != nil {\n\t\t\tp.db.Logger.Error(ctx, err.Error())\n\t\t\terr = nil\n\t\t}\n",
			Package: "reliable", Test: "TestNotRecordedIsNotCommitted", Only: "sqlite",
		},
		{
			Name: "M14b", Bug: "a capture that failed is an error that the application can ignore", File: "internal/capture/pool.go",
			Old: "p.undo(p.db, tx, tx.raw, err) //", New: "_ = p.undo //",
			Package: "reliable", Test: "TestNotRecordedIsNotCommitted", Only: "sqlite",
		},
		{
			Name: "M15", Bug: "an update that changed nothing has an entry", File: "reliable/view.go",
			Old: "if op == OpUpdate && (len(set.Columns) == 0 || touched && !v.watch.touchCounts) {", New: "if false {",
			Package: "reliable", Test: "TestCapture", Only: "postgres",
		},
		{
			Name: "M19b", Bug: "old and new values are paired by the order of the rows", File: "internal/capture/match.go",
			Old: "j, ok := by[now[i]]\n", New: "j, ok := i, i < len(before.rows)\n",
			Package: "internal/capture", Test: "TestPairByKey",
		},
	}
}
