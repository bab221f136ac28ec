package mutants

// ordered returns the bugs of work in order.
func ordered() []Mutant {
	return []Mutant{
		{
			Name: "M5", Bug: "a head that failed is passed: what follows it runs first", File: "processors/lanescan.go",
			Old: "case r.dead, !r.due, s.left[e.Kind], ", New: "case !r.due:\n\t\t\tcontinue\n\t\tcase r.dead, s.left[e.Kind], ",
			Package: "chaos", Test: "TestHeadFails/sqlite", Only: "sqlite",
		},
		{
			Name: "M6", Bug: "a key is worked on by the time of its entries", File: "processors/queries_lanes.go",
			Old: "ORDER BY at.key, e.causality_key, e.id`", New: "ORDER BY at.key, e.causality_key, e.created_at`",
			Package: "processors", Test: "TestOrderIsThatOfIDs/sqlite", Only: "sqlite",
		},
		{
			Name: "M7", Bug: "the Locker alone says whose a lane is", File: "processors/queries_lanes.go",
			Old: "const gone = `(l.owner IS NULL OR NOT EXISTS (SELECT 1 FROM {workers} w WHERE w.id = l.owner))`", New: "const gone = `true`",
			Package: "processors", Test: "TestLockerThatLies/sqlite", Only: "sqlite",
		},
		{
			Name: "M8", Bug: "a lock that is not extended is held all the same", File: "processors/lanelocks.go",
			Old: "		err := l.extend(ctx, lane, held)\n		switch {\n		case err == nil:\n", New: "		err := l.extend(ctx, lane, held)\n		switch {\n		case err == nil, held.lock != nil:\n",
			Package: "processors", Test: "TestLockerLoses", Only: "sqlite",
		},
		{
			Name: "M9", Bug: "a lock that was lost is taken again, and passes for extended", File: "processors/redislock/lock.go",
			Old: "	m := k.locker.mutex(k.name, ttl, redsync.WithValue(k.value))\n", New: "	m := k.locker.mutex(k.name, ttl, redsync.WithValue(k.value), redsync.WithSetNXOnExtend())\n",
			Package: "processors/redislock", Test: "TestFlushed",
		},
		{
			Name: "M10", Bug: "a lease is renewed by another clock than the one that it is judged by", File: "processors/queries_postgres.go",
			Old: "UPDATE {workers} SET beat_at = clock_timestamp() WHERE id = $1", New: "UPDATE {workers} SET beat_at = pg_catalog.clock_timestamp() WHERE id = $1",
			Package: "worker", Test: "TestClocksApart", Only: "postgres",
		},
		{
			Name: "M21", Bug: "each claim reads the first keys of a lane", File: "processors/lanescan.go",
			Old: "after[i] = s.ring.after(lane, now)", New: "after[i] = s.ring.after(lane, now)[:0]",
			Package: "processors", Test: "TestHotKeyStarvesNobody/sqlite", Only: "sqlite",
		},
	}
}
