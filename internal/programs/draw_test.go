package programs_test

import (
	"fmt"

	"pgregory.net/rapid"
)

// value is an argument of an operation: its text, and a new one for each run.
type value struct {
	text  string
	fresh func() any
}

// of returns v as a value, a pointer to a copy for each run.
func of[T any](v T) value {
	return value{show(&v), func() any { c := copyOf(v); return &c }}
}

// plain returns a value that runs may share.
func plain(v any) value { return value{show(v), func() any { return v }} }

// pick draws one of the choices, and shrinks to the first.
func pick[T any](t *rapid.T, label string, choices ...T) T {
	return choices[rapid.IntRange(0, len(choices)-1).Draw(t, label)]
}

// once draws true once in n times, and shrinks to false.
func once(t *rapid.T, n int, label string) bool {
	return rapid.IntRange(0, n-1).Draw(t, label) == n-1
}

// number draws from 0 up to high.
func number(t *rapid.T, high int, label string) int { return rapid.IntRange(0, high).Draw(t, label) }

// some draws up to high elements.
func some[T any](t *rapid.T, low, high int, draw func(t *rapid.T) T) []T {
	var list []T
	for i, n := 0, rapid.IntRange(low, high).Draw(t, "length"); i < n; i++ {
		list = append(list, draw(t))
	}
	return list
}

// key draws a primary key: of a seed row, of none, or none at all.
func key(t *rapid.T) uint { return uint(number(t, 6, "id")) } //nolint:gosec // small

// known draws a primary key that is probably a row's.
func known(t *rapid.T) uint { return uint(rapid.IntRange(1, 5).Draw(t, "id")) } //nolint:gosec // small

func reference(t *rapid.T) *uint {
	if once(t, 3, "refers") {
		id := uint(rapid.IntRange(1, 3).Draw(t, "refers to")) //nolint:gosec // small
		return &id
	}
	return nil
}

func word(t *rapid.T) string { return pick(t, "word", "w", "x", "", "ann", "ü'\"") }

func email(t *rapid.T) *string {
	if e := pick(t, "email", "", "e1", "a", "b", "e2"); e != "" {
		return &e
	}
	return nil
}

func drawAuthor(t *rapid.T) Author {
	a := author(t)
	if once(t, 3, "publisher") {
		p := drawPublisher(t)
		a.Publisher = &p
	}
	if once(t, 4, "profile") {
		p := drawProfile(t)
		a.Profile = &p
	}
	if once(t, 3, "books") {
		a.Books = some(t, 0, 2, drawBook)
	}
	if once(t, 3, "tags") {
		a.Tags = some(t, 0, 2, drawTag)
	}
	if once(t, 12, "hook") {
		a.Hook = pick(t, "hook", "AfterSave", "BeforeSave") + pick(t, "does", " fails", " writes", " cancels")
	}
	return a
}

// author draws an Author alone.
func author(t *rapid.T) Author {
	a := Author{Name: word(t), Age: number(t, 4, "age"), Email: email(t)}
	if once(t, 3, "with id") {
		a.ID = key(t)
	}
	if once(t, 4, "more") {
		a.Score, a.Photo, a.PublisherID = 0.1, []byte("p"), reference(t)
	}
	return a
}

func drawPublisher(t *rapid.T) Publisher { return Publisher{ID: key(t) / 2, Name: word(t)} }

func drawProfile(t *rapid.T) Profile {
	return Profile{ID: key(t) / 3, AuthorID: reference(t), Bio: word(t)}
}

func drawBook(t *rapid.T) Book {
	b := Book{Title: word(t), Pages: number(t, 5, "pages"), AuthorID: reference(t)}
	if once(t, 3, "with id") {
		b.ID = key(t)
	}
	return b
}

func drawTag(t *rapid.T) Tag { return Tag{Code: code(t), Name: word(t)} }

func code(t *rapid.T) string { return pick(t, "code", "go", "db", "t1", "t2", "") }

func drawSeat(t *rapid.T) Seat {
	return Seat{Hall: hall(t), Place: number(t, 3, "place"), Taken: once(t, 2, "taken"), Note: word(t)}
}

func hall(t *rapid.T) string { return pick(t, "hall", "a", "b", "c") }

func drawPart(t *rapid.T) Part {
	p := Part{Parts: number(t, 4, "parts"), Qty: number(t, 5, "qty")}
	if once(t, 3, "with id") {
		p.ID = key(t)
	}
	if once(t, 3, "with number") {
		n := number(t, 4, "number")
		p.Number = &n
	}
	return p
}

// condition is a WHERE clause.
type condition struct {
	query any // of db.Where: SQL or a struct
	args  []any
}

func where(query any, args ...any) condition { return condition{query, args} }

// String renders the arguments of db.Where.
func (c condition) String() string {
	text := show(c.query)
	for _, arg := range c.args {
		text += ", " + show(arg)
	}
	return text
}

// set is what an update may set a column to.
type set struct {
	column string
	values []any
}

// assignments draws a map for Updates.
func assignments(t *rapid.T, sets []set) map[string]any {
	m := make(map[string]any)
	for range rapid.IntRange(1, 2).Draw(t, "columns") {
		s := pick(t, "column", sets...)
		m[s.column] = pick(t, fmt.Sprintf("value of %s", s.column), s.values...)
	}
	return m
}
