package programs_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// chain is what stands between db and an operation.
type chain struct {
	text  string
	apply func(db *gorm.DB) *gorm.DB
}

func link(text string, apply func(db *gorm.DB) *gorm.DB) chain { return chain{text, apply} }

// then adds a link.
func (c chain) then(next chain) chain {
	return chain{c.text + next.text, func(db *gorm.DB) *gorm.DB { return next.apply(c.apply(db)) }}
}

// here starts a chain in the program's session.
func here() chain { return link("db", func(db *gorm.DB) *gorm.DB { return db }) }

// begin draws how an operation's session differs from the program's.
func begin(t *rapid.T) chain {
	c := here()
	if !once(t, 5, "session") {
		return c
	}
	in := func(text string, s *gorm.Session) chain {
		return link(".Session("+text+")", func(db *gorm.DB) *gorm.DB { return db.Session(s) })
	}
	return c.then(pick(t, "session",
		in("SkipHooks", &gorm.Session{SkipHooks: true}),
		in("PrepareStmt", &gorm.Session{PrepareStmt: true}),
		in("SkipDefaultTransaction", &gorm.Session{SkipDefaultTransaction: true}),
		in("AllowGlobalUpdate", &gorm.Session{AllowGlobalUpdate: true}),
		in("FullSaveAssociations", &gorm.Session{FullSaveAssociations: true}),
		in("CreateBatchSize: 2", &gorm.Session{CreateBatchSize: 2}),
		in("DryRun", &gorm.Session{DryRun: true}),
		in("QueryFields", &gorm.Session{QueryFields: true}),
		link(".WithContext(cancelled)", func(db *gorm.DB) *gorm.DB {
			ctx, cancel := context.WithCancel(db.Statement.Context)
			defer cancel()
			if ctx.Value(cancelKey{}) == nil {
				return db
			}
			return db.WithContext(ctx)
		}),
	))
}

// chosen draws Select or Omit.
func (c chain) chosen(t *rapid.T, e entity, oneIn int) chain {
	if !once(t, oneIn, "chosen") {
		return c
	}
	fields := some(t, 1, 2, func(t *rapid.T) string { return pick(t, "field", e.fields...) })
	if once(t, 2, "omit") {
		return c.then(link(".Omit("+strings.Join(fields, ", ")+")", func(db *gorm.DB) *gorm.DB { return db.Omit(fields...) }))
	}
	return c.then(link(".Select("+strings.Join(fields, ", ")+")", func(db *gorm.DB) *gorm.DB { return db.Select(fields) }))
}

// model names the model, by its key or by none.
func (c chain) model(v value) chain {
	return c.then(link(".Model("+v.text+")", func(db *gorm.DB) *gorm.DB { return db.Model(v.fresh()) }))
}

// where draws conditions.
func (c chain) where(t *rapid.T, e entity) chain {
	on := pick(t, "condition", e.conditions...)
	c = c.then(link(".Where("+on.String()+")", func(db *gorm.DB) *gorm.DB { return db.Where(on.query, on.args...) }))
	if once(t, 5, "or") {
		or := pick(t, "or", e.conditions...)
		c = c.then(link(".Or("+or.String()+")", func(db *gorm.DB) *gorm.DB { return db.Or(or.query, or.args...) }))
	}
	return c
}

// returning draws what the writer wants to have returned.
func (c chain) returning(t *rapid.T) chain {
	if !once(t, 6, "returning") {
		return c
	}
	return c.then(link(".Clauses(Returning)", func(db *gorm.DB) *gorm.DB {
		if db.Name() == "mysql" { // it has none for updates
			return db
		}
		return db.Clauses(clause.Returning{})
	}))
}

// finish makes a step of a chain and what ends it.
func (c chain) finish(text string, run func(m *machine, db *gorm.DB) error) step {
	return op(c.text+"."+text, func(m *machine, db *gorm.DB) error { return run(m, c.apply(db)) })
}

// entityOf draws a model, most often one of the simple ones.
func entityOf(t *rapid.T) entity { return pick(t, "model", entities()...) }

// create draws a create of one or more rows.
func create(t *rapid.T) step {
	e := entityOf(t)
	c := begin(t).chosen(t, e, 8).returning(t)
	switch pick(t, "create", "one", "many", "batches", "map", "maps", "generic") {
	case "one":
		v := e.one(t)
		return c.finish("Create("+v.text+")", func(m *machine, db *gorm.DB) error { x := v.fresh(); return m.see(db.Create(x), x) })
	case "many":
		v := e.many(t)
		return c.finish("Create("+v.text+")", func(m *machine, db *gorm.DB) error { x := v.fresh(); return m.see(db.Create(x), x) })
	case "batches":
		v, n := e.many(t), rapid.IntRange(1, 2).Draw(t, "size")
		return c.finish(fmt.Sprintf("CreateInBatches(%s, %d)", v.text, n), func(m *machine, db *gorm.DB) error {
			x := v.fresh()
			return m.see(db.CreateInBatches(x, n), x)
		})
	case "map":
		row := e.row(t)
		return c.finish(fmt.Sprintf("Model(&%s{}).Create(%s)", e.name, show(row)), func(m *machine, db *gorm.DB) error {
			x := clone(row)
			return m.see(db.Model(e.zero()).Create(x), x)
		})
	case "maps":
		rows := some(t, 1, 3, e.row)
		c = here() // CreateBatchSize makes GORM panic on maps
		return c.finish(fmt.Sprintf("Model(&%s{}).Create(&%s)", e.name, show(rows)), func(m *machine, db *gorm.DB) error {
			x := make([]map[string]any, len(rows))
			for i := range rows {
				x[i] = clone(rows[i])
			}
			return m.see(db.Model(e.zero()).Create(&x), x)
		})
	default:
		p := drawPart(t)
		return c.finish("G[Part].Create("+show(p)+")", func(m *machine, db *gorm.DB) error {
			x := copyOf(p)
			err := gorm.G[Part](db).Create(db.Statement.Context, &x)
			m.note("  %s", content(x))
			return err
		})
	}
}

func clone(row map[string]any) map[string]any {
	fresh := make(map[string]any, len(row))
	for k, v := range row {
		fresh[k] = v
	}
	return fresh
}

// upsert draws a create that may meet rows that exist.
func upsert(t *rapid.T) step {
	e := entityOf(t)
	var on clause.OnConflict
	moves := false // the primary key
	text := "UpdateAll"
	for _, column := range pick(t, "conflict", e.conflicts...) {
		on.Columns = append(on.Columns, clause.Column{Name: column})
	}
	switch pick(t, "on conflict", "nothing", "nothing at all", "updates", "expression", "all") {
	case "nothing":
		on.DoNothing, text = true, "DoNothing"
	case "nothing at all":
		on, text = clause.OnConflict{DoNothing: true}, "DoNothing at all"
	case "updates":
		columns := some(t, 1, 2, func(t *rapid.T) string { return pick(t, "column", e.sets...).column })
		on.DoUpdates, text = clause.AssignmentColumns(columns), "update "+strings.Join(columns, ", ")
	case "expression":
		s := pick(t, "column", e.sets...)
		v := pick(t, "value", s.values...)
		on.DoUpdates, text = clause.Assignments(map[string]any{s.column: v}), fmt.Sprintf("set %s = %s", s.column, show(v))
		moves = slices.Contains(e.conflicts[0], s.column)
	default:
		on = clause.OnConflict{UpdateAll: true}
	}
	for _, column := range on.Columns {
		text += ", on " + column.Name
	}
	v := e.many(t)
	c := begin(t)
	if moves { // may be refused, and must be as a whole: keys that it drew are not given back
		c = here()
	}
	c = c.chosen(t, e, 12).returning(t)
	return c.finish("Clauses(OnConflict: "+text+").Create("+v.text+")", func(m *machine, db *gorm.DB) error {
		x := v.fresh()
		return m.see(db.Clauses(on).Create(x), x)
	})
}

// save draws a Save of something new, of what exists or is missing, of a
// slice, or of what was read before.
func save(t *rapid.T) step {
	e := entityOf(t)
	c := begin(t).chosen(t, e, 10)
	switch pick(t, "save", "one", "many", "read") {
	case "one":
		v := e.one(t)
		return c.finish("Save("+v.text+")", func(m *machine, db *gorm.DB) error { x := v.fresh(); return m.see(db.Save(x), x) })
	case "many":
		v := e.many(t)
		return c.finish("Save("+v.text+")", func(m *machine, db *gorm.DB) error { x := v.fresh(); return m.see(db.Save(x), x) })
	default:
		n, name := known(t), word(t)
		return c.finish(fmt.Sprintf("Save(author %d, named %q, a book more)", n, name), func(m *machine, db *gorm.DB) error {
			var a Author
			read := db.Session(&gorm.Session{NewDB: true}).Preload("Books").Preload("Tags")
			if err := read.First(&a, n).Error; err != nil {
				return err
			}
			a.Name = name
			a.Books = append(a.Books, Book{Title: name})
			return m.see(db.Save(&a), a)
		})
	}
}

// firstOr draws FirstOrCreate and FirstOrInit.
func firstOr(t *rapid.T) step {
	by := pick(t, "name", "ann", "new")
	v := author(t)
	assign, init := once(t, 2, "assign"), once(t, 3, "init")
	text := fmt.Sprintf("Where(name = %q).Attrs(%s)", by, show(v))
	if assign {
		text = strings.Replace(text, "Attrs", "Assign", 1)
	}
	return begin(t).finish(text+".FirstOr", func(m *machine, db *gorm.DB) error {
		var a Author
		tx := db.Where(Author{Name: by})
		if assign {
			tx = tx.Assign(copyOf(v))
		} else {
			tx = tx.Attrs(copyOf(v))
		}
		if !init {
			return m.see(tx.FirstOrCreate(&a), a)
		}
		if err := m.see(tx.FirstOrInit(&a), a); err != nil {
			return err
		}
		return m.see(db.Save(&a), a)
	})
}

// skipped draws writes that are not to be recorded.
func skipped(t *rapid.T) step {
	text := pick(t, "raw",
		"UPDATE parts SET qty = qty + 1 WHERE parts > 1", "INSERT INTO parts (parts, qty) VALUES (8, 8)",
		"DELETE FROM books WHERE pages = 2", "UPDATE authors SET age = 0", "UPDATE tags SET name = 'raw' WHERE code = 'go'")
	if once(t, 3, "model") {
		w := pick(t, "write", create, update, remove)(t)
		return step{append([]string{"Skip(db):"}, w.text...), func(m *machine, db *gorm.DB) error {
			return m.unrecorded(db, func(tx *gorm.DB) error { return m.run(w, reliable.Skip(tx)) })
		}, true}
	}
	return op("Skip(db).Exec("+text+")", func(m *machine, db *gorm.DB) error {
		return m.unrecorded(db, func(tx *gorm.DB) error { return m.see(reliable.Skip(tx).Exec(text)) })
	})
}
