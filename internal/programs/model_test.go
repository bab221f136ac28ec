package programs_test

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"
)

// Author has what a model can have: hooks, every kind of association, a unique
// column beside its key, soft delete, times that GORM keeps.
type Author struct {
	ID          uint
	Name        string  `gorm:"size:20"`
	Email       *string `gorm:"size:20;uniqueIndex"`
	Age         int
	Score       float64
	Photo       []byte
	PublisherID *uint
	Publisher   *Publisher
	Profile     *Profile
	Books       []Book
	Tags        []Tag `gorm:"many2many:author_tags"`
	CreatedAt   time.Time
	UpdatedAt   time.Time
	DeletedAt   gorm.DeletedAt
	Hook        string `gorm:"-" json:",omitempty"` // what a hook does, for example "AfterSave fails"
}

// Publisher is what an Author belongs to.
type Publisher struct {
	ID   uint
	Name string `gorm:"size:20"`
}

// Profile is the one that an Author has.
type Profile struct {
	ID       uint
	AuthorID *uint
	Bio      string `gorm:"size:20"`
}

// Book is one of those that an Author has.
type Book struct {
	ID       uint
	AuthorID *uint
	Title    string `gorm:"size:20"`
	Pages    int
}

// Tag has a text for a key, and many Authors.
type Tag struct {
	Code string `gorm:"primaryKey;size:8"`
	Name string `gorm:"size:20"`
}

// Seat has a key of two columns.
type Seat struct {
	Hall  string `gorm:"primaryKey;size:8"`
	Place int    `gorm:"primaryKey;autoIncrement:false"`
	Taken bool
	Note  string `gorm:"size:20;default:free"`
}

// Part has a column like its table, a unique number and no times.
type Part struct {
	ID     uint
	Parts  int
	Qty    int
	Number *int `gorm:"uniqueIndex"`
}

// models are in the order in which rows refer to each other.
func models() []any {
	return []any{&Publisher{}, &Tag{}, &Author{}, &Profile{}, &Book{}, &Seat{}, &Part{}}
}

// seed returns the rows that every program starts with.
func seed() []any {
	text := func(s string) *string { return &s }
	number := func(n int) *int { return &n }
	id := func(n uint) *uint { return &n }
	return []any{
		&[]Publisher{{Name: "acme"}, {Name: "bolt"}},
		&[]Tag{{"go", "Go"}, {"db", "Databases"}},
		&[]Author{
			{Name: "ann", Email: text("a"), Age: 1, Score: 1.5, PublisherID: id(1), Photo: []byte{0, 255}},
			{Name: "bob", Email: text("b"), Age: 2, Tags: []Tag{{Code: "go"}}},
			{Name: "cid", Age: 3, DeletedAt: gorm.DeletedAt{Time: start(), Valid: true}},
		},
		&[]Profile{{AuthorID: id(1), Bio: "old"}},
		&[]Book{{AuthorID: id(1), Title: "x", Pages: 1}, {AuthorID: id(2), Title: "y", Pages: 2}, {Title: "z", Pages: 3}},
		&[]Seat{{Hall: "a", Place: 1}, {Hall: "a", Place: 2, Taken: true}, {Hall: "b", Place: 1, Note: "x"}},
		&[]Part{{Parts: 1, Qty: 1, Number: number(1)}, {Parts: 2, Qty: 2, Number: number(2)}, {Parts: 3, Qty: 3}},
	}
}

// start is the time at which a program starts.
func start() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 123000000, time.UTC) }

var errHook = errors.New("the hook says no")

type cancelKey struct{}

// cancel cancels the context of the program's step, if that may be.
func cancel(tx *gorm.DB) {
	if cancel, ok := tx.Statement.Context.Value(cancelKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// hook does what the field Hook says of the hook with that name.
func (a *Author) hook(tx *gorm.DB, name string) error {
	switch a.Hook {
	case name + " fails":
		return errHook
	case name + " writes":
		return tx.Create(&Part{Qty: 50}).Error
	case name + " cancels":
		cancel(tx)
	}
	return nil
}

// BeforeSave is GORM's hook.
func (a *Author) BeforeSave(tx *gorm.DB) error { return a.hook(tx, "BeforeSave") }

// AfterSave is GORM's hook.
func (a *Author) AfterSave(tx *gorm.DB) error { return a.hook(tx, "AfterSave") }

// BeforeDelete is GORM's hook.
func (a *Author) BeforeDelete(tx *gorm.DB) error { return a.hook(tx, "BeforeDelete") }

// AfterDelete is GORM's hook.
func (a *Author) AfterDelete(tx *gorm.DB) error { return a.hook(tx, "AfterDelete") }

// copyOf returns a copy that shares nothing with v: a write changes its model.
func copyOf[T any](v T) T {
	text, err := json.Marshal(v)
	if err == nil {
		var fresh T
		if err = json.Unmarshal(text, &fresh); err == nil {
			return fresh
		}
	}
	panic(err)
}
