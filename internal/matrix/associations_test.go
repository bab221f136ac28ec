package matrix_test

import (
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

func family() *User {
	return &User{
		Name: "fam", Company: &Company{Name: "corp"}, Profile: &Profile{Bio: "b"},
		Pets: []Pet{{Name: "p1", Toys: []Toy{{Name: "t"}}}, {Name: "p2"}}, Languages: []Language{{"de", "German"}, {"xx", "New"}},
	}
}

// autosaves are associations that are saved with their model.
func autosaves() []scenario {
	return []scenario{
		one("autosave", family(), func(db *gorm.DB, m *User) *gorm.DB { return db.Create(m) }),
		one("autosave batch", &[]User{*family(), {Name: "other", Pets: []Pet{{Name: "q"}}}}, func(db *gorm.DB, m *[]User) *gorm.DB { return db.Create(m) }),
		one("autosave belongs-to that exists", &User{Name: "x", Company: &Company{ID: 1, Name: "ignored"}}, func(db *gorm.DB, m *User) *gorm.DB { return db.Create(m) }),
		one("autosave has-one", &User{ID: 1, Name: "ann", Profile: &Profile{Bio: "new"}}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("autosave composite", &Order{Shop: "s", No: 9, Lines: []Line{{Qty: 1}, {Qty: 2}}, Tags: []Tag{{"s", "a"}, {"s", "new"}}}, func(db *gorm.DB, m *Order) *gorm.DB { return db.Create(m) }),
		one("autosave polymorphic", &Pet{Name: "x", Toys: []Toy{{Name: "a"}, {ID: 1, Name: "ignored"}}}, func(db *gorm.DB, m *Pet) *gorm.DB { return db.Create(m) }),
		one("autosave by update", &User{ID: 1}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Model(m).Updates(User{Age: 3, Company: &Company{Name: "n"}, Pets: []Pet{{Name: "n"}}})
		}),
		one("autosave omitted", family(), func(db *gorm.DB, m *User) *gorm.DB { return db.Omit(clause.Associations).Create(m) }),
		one("autosave, some omitted", &User{Name: "fam", Pets: []Pet{{Name: "p"}}, Languages: []Language{{"de", "German"}}}, func(db *gorm.DB, m *User) *gorm.DB { return db.Omit("Pets", "Languages.*").Create(m) }),
		one("autosave selected", family(), func(db *gorm.DB, m *User) *gorm.DB { return db.Select("Name", "Pets").Create(m) }),
		one("full save", &User{
			ID: 2, Name: "bob", Email: mail("bob@x"), Company: &Company{ID: 1, Name: "renamed"}, Profile: &Profile{ID: 1, Bio: "changed"},
			Pets: []Pet{{ID: 1, Name: "max", Toys: []Toy{{ID: 1, Name: "bone"}}}, {Name: "new"}}, Languages: []Language{{"de", "Deutsch"}},
		}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Session(&gorm.Session{FullSaveAssociations: true}).Save(m)
		}),
		one("full save by update", &User{ID: 2}, func(db *gorm.DB, m *User) *gorm.DB {
			return db.Session(&gorm.Session{FullSaveAssociations: true}).Model(m).Updates(User{Name: "x", Pets: []Pet{{ID: 1, Name: "max"}}})
		}),
		one("save existing pet", &User{ID: 2, Name: "bob", Pets: []Pet{{ID: 1, Name: "ignored"}}}, func(db *gorm.DB, m *User) *gorm.DB { return db.Save(m) }),
		one("autosave fails in a child", &User{Name: "x", Languages: []Language{{"much too long a code for the column", "x"}}, Pets: []Pet{{ID: 1, UserID: new(uint)}}}, func(db *gorm.DB, m *User) *gorm.DB {
			m.Company = &Company{ID: 3}
			m.CompanyID = nil
			return db.Create(m)
		}),
		bare("delete with associations", func(db *gorm.DB) *gorm.DB {
			return db.Unscoped().Select("Profile", "Pets", "Languages").Delete(&User{ID: 2})
		}),
		bare("delete with composite associations", func(db *gorm.DB) *gorm.DB {
			return db.Select(clause.Associations).Delete(&Order{Shop: "north", No: 1})
		}),
		bare("delete with polymorphic associations", func(db *gorm.DB) *gorm.DB { return db.Select("Toys").Delete(&Pet{ID: 1}) }),
	}
}

// of makes a scenario of calls of an association of a row.
func of(name string, model func() any, field string, calls func(a *gorm.Association) []error) scenario {
	return steps(name, func(db *gorm.DB) []error {
		return calls(db.Model(model()).Association(field))
	})
}

// each makes a scenario per call of an association's.
func each(name string, model func() any, field string, fresh, there func() any) []scenario {
	call := func(what string, f func(a *gorm.Association) error) scenario {
		return of(name+" "+what, model, field, func(a *gorm.Association) []error { return []error{f(a)} })
	}
	return []scenario{
		call("append", func(a *gorm.Association) error { return a.Append(fresh()) }),
		call("append of an existing row", func(a *gorm.Association) error { return a.Append(there()) }),
		call("replace", func(a *gorm.Association) error { return a.Replace(fresh()) }),
		call("delete", func(a *gorm.Association) error { return a.Delete(there()) }),
		call("clear", func(a *gorm.Association) error { return a.Clear() }),
		call("unscoped replace", func(a *gorm.Association) error { return a.Unscoped().Replace(fresh()) }),
		call("unscoped delete", func(a *gorm.Association) error { return a.Unscoped().Delete(there()) }),
		call("unscoped clear", func(a *gorm.Association) error { return a.Unscoped().Clear() }),
	}
}

// associations are calls of db.Association.
func associations() []scenario {
	uid := func() *uint { id := uint(1); return &id }
	bob := func() any { return &User{ID: 2, CompanyID: uid()} }
	// GORM deletes from the table of the model then, not from the association's: an error of the database.
	broken := func(s scenario) bool { return s.name == "belongs-to unscoped clear" }
	var all []scenario
	for _, list := range [][]scenario{
		each("belongs-to", bob, "Company", func() any { return &Company{Name: "n"} }, func() any { return &Company{ID: 1, Name: "acme"} }),
		each("has-one", bob, "Profile", func() any { return &Profile{Bio: "n"} }, func() any { return &Profile{ID: 1, Bio: "bio"} }),
		each("has-many", bob, "Pets", func() any { return &[]Pet{{Name: "a"}, {Name: "b"}} }, func() any { return &Pet{ID: 1, Name: "rex"} }),
		each("polymorphic", func() any { return &Pet{ID: 1} }, "Toys", func() any { return &Toy{Name: "n"} }, func() any { return &Toy{ID: 1, Name: "ball"} }),
		each("many-to-many", bob, "Languages", func() any { return &[]Language{{"en", "English"}, {"yy", "y"}} }, func() any { return &Language{"de", "German"} }),
		each("composite has-many", func() any { return &Order{Shop: "north", No: 1} }, "Lines", func() any { return &Line{Qty: 7} }, func() any { return &Line{ID: 1, Qty: 1} }),
		each("composite many-to-many", func() any { return &Order{Shop: "north", No: 1} }, "Tags", func() any { return &[]Tag{{"s", "b"}, {"n", "n"}} }, func() any { return &Tag{"s", "a"} }),
		each("join table of its own model", func() any { return &Person{ID: 1} }, "Addresses", func() any { return &[]Address{{2, "work"}, {Name: "new"}} }, func() any { return &Address{1, "home"} }),
	} {
		all = append(all, slices.DeleteFunc(list, broken)...)
	}
	return append(all,
		steps("append takes a row over", func(db *gorm.DB) []error {
			return []error{
				db.Model(&User{ID: 1}).Association("Pets").Append(&Pet{Name: "a"}, &Pet{ID: 1}),
				db.Model(&User{ID: 1}).Association("Profile").Append(&Profile{ID: 1}),
			}
		}),
		steps("append to many", func(db *gorm.DB) []error {
			return []error{db.Model(&[]User{{ID: 1}, {ID: 3}}).Association("Languages").Append(&Language{"de", "German"}, &Language{"en", "English"})}
		}),
		steps("append in a transaction that is rolled back", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				_ = tx.Model(&User{ID: 1}).Association("Pets").Append(&Pet{Name: "n"})
				return errNo
			})}
		}),
	)
}

// joins are writes of join tables by their own model.
func joins() []scenario {
	return []scenario{
		bare("join row created by its model", func(db *gorm.DB) *gorm.DB { return db.Create(&PersonAddress{PersonID: 1, AddressID: 2}) }),
		bare("join row soft deleted by its model", func(db *gorm.DB) *gorm.DB { return db.Delete(&PersonAddress{PersonID: 1, AddressID: 1}) }),
		bare("join rows deleted by condition", func(db *gorm.DB) *gorm.DB { return db.Unscoped().Where("person_id = 1").Delete(&PersonAddress{}) }),
	}
}
