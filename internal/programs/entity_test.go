package programs_test

import (
	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// entity is a model as operations draw it.
type entity struct {
	name       string
	zero       func() any             // &T{}
	slice      func() any             // &[]T{}
	one        func(t *rapid.T) value // *T
	many       func(t *rapid.T) value // *[]T, *[]*T
	byKey      func(t *rapid.T) value // *T with nothing but its key
	byKeys     func(t *rapid.T) value // *[]T with nothing but their keys
	smaller    func(t *rapid.T) value // of a struct with fewer fields
	row        func(t *rapid.T) map[string]any
	keys       func(t *rapid.T) []any // conditions of Delete
	fields     []string               // for Select and Omit
	sets       []set
	conditions []condition
	conflicts  [][]string // columns that conflict
}

// newEntity completes rest for the model T.
func newEntity[T any](rest entity, draw, byKey func(t *rapid.T) T) entity {
	rest.zero = func() any { return new(T) }
	rest.slice = func() any { return new([]T) }
	rest.one = func(t *rapid.T) value { return of(draw(t)) }
	rest.many = func(t *rapid.T) value {
		list := some(t, 0, 3, draw)
		if once(t, 4, "pointers") {
			var pointers []*T
			for i := range list {
				pointers = append(pointers, &list[i])
			}
			return of(pointers)
		}
		return of(list)
	}
	rest.byKey = func(t *rapid.T) value { return of(byKey(t)) }
	rest.byKeys = func(t *rapid.T) value { return of(some(t, 1, 3, byKey)) }
	return rest
}

func values(v ...any) []any { return v }

// ids draws one or two keys for db.Delete.
func ids(t *rapid.T) []any {
	if once(t, 2, "ids") {
		return []any{[]uint{known(t), known(t)}}
	}
	return []any{known(t)}
}

func entities() []entity {
	return []entity{parts(), authors(), books(), seats(), tags()}
}

func parts() entity {
	type smaller struct{ Qty, Parts int }
	expr := gorm.Expr
	return newEntity(entity{
		name: "Part", fields: []string{"Qty", "parts", "Number", "*"}, conflicts: [][]string{{"id"}, {"number"}}, keys: ids,
		smaller: func(t *rapid.T) value { return plain(smaller{Qty: number(t, 9, "qty")}) },
		row: func(t *rapid.T) map[string]any {
			return map[string]any{"qty": number(t, 9, "qty"), "Parts": number(t, 9, "parts")}
		},
		sets: []set{
			{"qty", values(7, 0, expr("qty + ?", 1), expr("parts * 2"), expr("-qty"))},
			{"parts", values(7, expr("parts + qty"), expr("CASE WHEN qty > 1 THEN 0 ELSE parts END"))},
			{"number", values(nil, 1, 4, expr("number + 10"), expr("number - 1"), expr("3 - number"))},
			{"id", values(1, 5, 9, expr("id + 10"), expr("id + 1"), expr("CASE id WHEN 1 THEN 3 WHEN 3 THEN 1 ELSE id END"))},
		},
		conditions: []condition{
			where("qty > ?", 1), where("qty >= ? OR parts = ?", 2, 1), where("1 = 0"), where("number IS NOT NULL"), where("id IN ?", []int{1, 3, 5}),
			where(&Part{Qty: 2}), where(map[string]any{"parts": 3}), where("qty = @q OR parts = @q", map[string]any{"q": 2}),
		},
	}, drawPart, func(t *rapid.T) Part { return Part{ID: known(t)} })
}

func authors() entity {
	type smaller struct {
		Name string
		Age  int
	}
	return newEntity(entity{
		name: "Author", conflicts: [][]string{{"id"}, {"email"}}, keys: ids,
		fields:  []string{"Name", "age", "Email", "Books", "Tags", "Publisher", "*"},
		smaller: func(t *rapid.T) value { return plain(smaller{Name: word(t), Age: number(t, 9, "age")}) },
		row:     func(t *rapid.T) map[string]any { return map[string]any{"name": word(t), "Age": number(t, 9, "age")} },
		sets: []set{
			{"age", values(9, 0, gorm.Expr("age + ?", 1), gorm.Expr("age * 2"))},
			{"name", values("n", "", gorm.Expr("upper(name)"))},
			{"email", values(nil, "e1", "a", gorm.Expr("NULL"))},
			{"score", values(2.25, 0.1)},
			{"photo", values([]byte{1, 200}, nil)},
			{"publisher_id", values(nil, 1, 77)},
			{"deleted_at", values(nil)},
			{"updated_at", values(start())},
		},
		conditions: []condition{
			where("age > ?", 1), where("age >= ? OR name = ?", 2, "w"), where("email IS NULL"), where(&Author{Name: "ann"}),
			where("publisher_id IN (SELECT id FROM publishers WHERE name = ?)", "acme"), where("authors.id < ?", 3),
		},
	}, drawAuthor, func(t *rapid.T) Author {
		a := Author{ID: known(t)}
		if once(t, 10, "hook") {
			a.Hook = pick(t, "hook", "AfterSave", "BeforeSave", "AfterDelete", "BeforeDelete") + pick(t, "does", " fails", " writes", " cancels")
		}
		return a
	})
}

func books() entity {
	type smaller struct{ Title string }
	return newEntity(entity{
		name: "Book", fields: []string{"Title", "pages", "AuthorID", "*"}, conflicts: [][]string{{"id"}}, keys: ids,
		smaller: func(t *rapid.T) value { return plain(smaller{word(t)}) },
		row: func(t *rapid.T) map[string]any {
			return map[string]any{"title": word(t), "AuthorID": pick[any](t, "author", nil, 1, 2, 77)}
		},
		sets: []set{
			{"pages", values(9, gorm.Expr("pages + 1"))},
			{"title", values("t", gorm.Expr("concat(title, ?)", "!"))},
			{"author_id", values(nil, 1, 2, 77)},
			{"id", values(8, gorm.Expr("id + 20"))},
		},
		conditions: []condition{where("pages > ?", 1), where("author_id IS NULL"), where("title = ?", "x"), where("author_id = ? AND pages < 4", 1)},
	}, drawBook, func(t *rapid.T) Book { return Book{ID: known(t)} })
}

func seats() entity {
	type smaller struct{ Note string }
	return newEntity(entity{
		name: "Seat", fields: []string{"Taken", "note", "*"}, conflicts: [][]string{{"hall", "place"}},
		keys:    func(t *rapid.T) []any { return []any{"hall = ?", hall(t)} },
		smaller: func(t *rapid.T) value { return plain(smaller{word(t)}) },
		row: func(t *rapid.T) map[string]any {
			return map[string]any{"hall": hall(t), "place": number(t, 3, "place"), "Taken": true}
		},
		sets: []set{
			{"taken", values(true, false, gorm.Expr("NOT taken"))},
			{"note", values("n", "")},
			{"place", values(3, gorm.Expr("place + 10"), gorm.Expr("3 - place"))},
			{"hall", values("q", "a")},
		},
		conditions: []condition{where("taken"), where("hall = ?", "a"), where("place = ?", 1), where("place > ? AND hall <> ?", 0, "b")},
	}, drawSeat, func(t *rapid.T) Seat { return Seat{Hall: hall(t), Place: rapid.IntRange(1, 2).Draw(t, "place")} })
}

func tags() entity {
	type smaller struct{ Name string }
	return newEntity(entity{
		name: "Tag", fields: []string{"Name", "*"}, conflicts: [][]string{{"code"}},
		keys:       func(t *rapid.T) []any { return []any{"code = ?", code(t)} },
		smaller:    func(t *rapid.T) value { return plain(smaller{word(t)}) },
		row:        func(t *rapid.T) map[string]any { return map[string]any{"code": code(t), "Name": word(t)} },
		sets:       []set{{"name", values("n", "", gorm.Expr("lower(name)"))}, {"code", values("t3", "go")}},
		conditions: []condition{where("name <> ?", "Go"), where("code LIKE ?", "t%"), where("name = ''")},
	}, drawTag, func(t *rapid.T) Tag { return Tag{Code: code(t)} })
}
