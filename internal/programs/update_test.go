package programs_test

import (
	"fmt"
	"strings"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// update draws an update of one row, of some, or of all.
func update(t *rapid.T) step {
	e := entityOf(t)
	c := begin(t).chosen(t, e, 8)
	zero := value{"&" + e.name + "{}", e.zero}
	some := value{"&[]" + e.name + "{}", e.slice}
	switch pick(t, "rows", "key", "where", "keys", "key and where", "where into a slice", "all") {
	case "key":
		c = c.model(e.byKey(t)).returning(t)
	case "where":
		c = c.model(zero).where(t, e)
	case "keys":
		c = c.model(e.byKeys(t))
	case "key and where":
		c = c.model(e.byKey(t)).where(t, e)
	case "where into a slice":
		c = c.model(some).where(t, e).returning(t)
	default:
		c = c.model(zero)
	}
	if once(t, 15, "alias") {
		table := strings.ToLower(e.name) + "s"
		c = c.then(link(".Table("+table+" AS "+table+")", func(db *gorm.DB) *gorm.DB { return db.Table(table + " AS " + table) }))
	}
	if once(t, 10, "unscoped") {
		c = c.then(link(".Unscoped()", func(db *gorm.DB) *gorm.DB { return db.Unscoped() }))
	}
	return set1(t, e, c)
}

// set1 ends the chain of an update.
func set1(t *rapid.T, e entity, c chain) step {
	end := func(text string, run func(db *gorm.DB) *gorm.DB) step {
		return c.finish(text, func(m *machine, db *gorm.DB) error {
			tx := run(db)
			return m.see(tx, unordered(tx.Statement.Model))
		})
	}
	switch pick(t, "update", "map", "column", "struct", "smaller", "columns", "column as it is") {
	case "map":
		sets := assignments(t, e.sets)
		return end("Updates("+show(sets)+")", func(db *gorm.DB) *gorm.DB { return db.Updates(clone(sets)) })
	case "column":
		s := pick(t, "column", e.sets...)
		v := pick(t, "value", s.values...)
		return end(fmt.Sprintf("Update(%q, %s)", s.column, show(v)), func(db *gorm.DB) *gorm.DB { return db.Update(s.column, v) })
	case "struct":
		v := e.one(t)
		return end("Updates("+v.text+")", func(db *gorm.DB) *gorm.DB { return db.Updates(v.fresh()) })
	case "smaller":
		v := e.smaller(t)
		return end("Updates("+v.text+")", func(db *gorm.DB) *gorm.DB { return db.Updates(v.fresh()) })
	case "columns":
		sets := assignments(t, e.sets)
		return end("UpdateColumns("+show(sets)+")", func(db *gorm.DB) *gorm.DB { return db.UpdateColumns(clone(sets)) })
	default:
		s := pick(t, "column", e.sets...)
		v := pick(t, "value", s.values...)
		return end(fmt.Sprintf("UpdateColumn(%q, %s)", s.column, show(v)), func(db *gorm.DB) *gorm.DB { return db.UpdateColumn(s.column, v) })
	}
}

// generic draws an update or a delete of the generics API.
func generic(t *rapid.T) step {
	on := pick(t, "condition", parts().conditions...)
	qty, remove := number(t, 9, "qty"), once(t, 3, "delete")
	text := fmt.Sprintf("G[Part].Where(%s).Update(qty, %d)", on, qty)
	if remove {
		text = fmt.Sprintf("G[Part].Where(%s).Delete()", on)
	}
	return begin(t).finish(text, func(m *machine, db *gorm.DB) error {
		g := gorm.G[Part](db).Where(on.query, on.args...)
		var n int
		var err error
		if remove {
			n, err = g.Delete(db.Statement.Context)
		} else {
			n, err = g.Update(db.Statement.Context, "qty", qty)
		}
		m.note("  %d rows", n)
		return err
	})
}

// remove draws a delete, soft or hard.
func remove(t *rapid.T) step {
	e := entityOf(t)
	c := begin(t).returning(t)
	if once(t, 3, "unscoped") {
		c = c.then(link(".Unscoped()", func(db *gorm.DB) *gorm.DB { return db.Unscoped() }))
	}
	end := func(text string, run func(db *gorm.DB) (*gorm.DB, any)) step {
		return c.finish(text, func(m *machine, db *gorm.DB) error {
			tx, model := run(db)
			return m.see(tx, unordered(model))
		})
	}
	switch pick(t, "rows", "key", "ids", "where", "slice", "associations", "all") {
	case "key":
		v := e.byKey(t)
		return end("Delete("+v.text+")", func(db *gorm.DB) (*gorm.DB, any) { x := v.fresh(); return db.Delete(x), x })
	case "ids":
		keys := e.keys(t)
		return end(fmt.Sprintf("Delete(&%s{}, %s)", e.name, strings.Join(shows(keys), ", ")), func(db *gorm.DB) (*gorm.DB, any) {
			x := e.zero()
			return db.Delete(x, keys...), x
		})
	case "where":
		c = c.where(t, e)
		return end("Delete(&[]"+e.name+"{})", func(db *gorm.DB) (*gorm.DB, any) { x := e.slice(); return db.Delete(x), x })
	case "slice":
		v := e.byKeys(t)
		return end("Delete("+v.text+")", func(db *gorm.DB) (*gorm.DB, any) { x := v.fresh(); return db.Delete(x), x })
	case "associations":
		n := known(t)
		return end(fmt.Sprintf("Select(Books, Tags, Profile).Delete(&Author{ID: %d})", n), func(db *gorm.DB) (*gorm.DB, any) {
			a := Author{ID: n}
			return db.Select("Books", "Tags", "Profile").Delete(&a), &a
		})
	default:
		return end("Delete(&"+e.name+"{})", func(db *gorm.DB) (*gorm.DB, any) { x := e.zero(); return db.Delete(x), x })
	}
}

// restore draws the undoing of a soft delete.
func restore(t *rapid.T) step {
	n := known(t)
	return begin(t).finish(fmt.Sprintf("Unscoped().Model(&Author{ID: %d}).Update(deleted_at, nil)", n), func(m *machine, db *gorm.DB) error {
		return m.see(db.Unscoped().Model(&Author{ID: n}).Update("deleted_at", nil))
	})
}

// relate draws an operation on an association.
func relate(t *rapid.T) step {
	a := Author{ID: known(t)}
	var v value
	name := pick(t, "association", "Books", "Tags", "Publisher", "Profile")
	switch name {
	case "Books":
		v = of(some(t, 1, 2, drawBook))
	case "Tags":
		v = of(some(t, 1, 2, drawTag))
	case "Publisher":
		v = of(drawPublisher(t))
	default:
		v = of(drawProfile(t))
	}
	c := begin(t)
	what := pick(t, "operation", "Append", "Replace", "Delete", "Clear")
	hard := once(t, 4, "unscoped")
	text := fmt.Sprintf("Model(%s).Association(%s).%s(%s)", show(&a), name, what, v.text)
	if hard {
		text = strings.Replace(text, ")."+what, ").Unscoped()."+what, 1)
	}
	return c.finish(text, func(m *machine, db *gorm.DB) error {
		model, x := copyOf(a), v.fresh()
		association := db.Model(&model).Association(name)
		if hard {
			association = association.Unscoped()
		}
		var err error
		switch what {
		case "Append":
			err = association.Append(x)
		case "Replace":
			err = association.Replace(x)
		case "Delete":
			err = association.Delete(x)
		default:
			err = association.Clear()
		}
		m.note("  %s %s", content(model), content(x))
		return err
	})
}

// unordered renders a model that rows were returned into, in an order that the
// database chose.
func unordered(model any) any {
	switch rows := model.(type) {
	case *[]Part:
		return lines(*rows)
	case *[]Author:
		return lines(*rows)
	case *[]Book:
		return lines(*rows)
	case *[]Seat:
		return lines(*rows)
	case *[]Tag:
		return lines(*rows)
	default:
		return model
	}
}

func lines[T any](rows []T) any {
	list := make([]string, len(rows))
	for i, row := range rows {
		list[i] = content(row)
	}
	return sortedLines(list)
}
