package reliable_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Author has books, through a join table.
type Author struct {
	ID    uint
	Name  string
	Books []Book `gorm:"many2many:author_books"`
}

// Book is an Author's.
type Book struct {
	ID    uint
	Title string
}

// Draft is ignored.
type Draft struct{ ID uint }

// Note has no primary key.
type Note struct{ Text string }

// library opens a database whose plugin records all models.
func library(t *testing.T, d testdb.Dialect, config reliable.Config) *gorm.DB {
	t.Helper()
	db := testdb.New(t, d).Open(t)
	if config.Registry == nil {
		config.Registry = new(reliable.Registry)
	}
	reliable.Ignore[Draft](config.Registry)
	config.AllModels = true
	if err := errors.Join(db.AutoMigrate(&Author{}, &Book{}, &Draft{}, &Note{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db
}

// All models are recorded, join tables too; ignored ones are not.
func TestAllModels(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		r := new(reliable.Registry)
		reliable.AfterCreateCommit(r, "welcome", nothing[Author])
		r.Handle(reliable.ContextModel, "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
		db := library(t, d, reliable.Config{Registry: r})
		if err := errors.Join(
			db.Create(&Author{Name: "ann", Books: []Book{{Title: "x"}}}).Error,
			db.Create(&Draft{}).Error,
			db.Model(&Author{ID: 1}).Update("name", "bob").Error,
			db.Select("Books").Delete(&Author{ID: 1}).Error,
		); err != nil {
			t.Fatal(err)
		}
		want := []string{
			`author_created 1 ["welcome","audit"] {"id":[null,1],"name":[null,"ann"]}`,
			`book_created 1 ["audit"] {"id":[null,1],"title":[null,"x"]}`,
			`author_books_created ["1","1"] ["audit"] {"author_id":[null,1],"book_id":[null,1]}`,
			`author_updated 1 ["audit"] {"name":["ann","bob"]}`,
			`author_books_destroyed ["1","1"] ["audit"] {"author_id":[1,null],"book_id":[1,null]}`,
			`author_destroyed 1 ["audit"] {"id":[1,null],"name":["bob",null]}`,
		}
		if diff := cmp.Diff(want, entries(t, db)); diff != "" {
			t.Errorf("entries: -want +got\n%s", diff)
		}
	})
}

// Without a record processor the entries are recorded all the same, for a
// worker that has one. No registry is needed.
func TestAllModelsWithoutProcessor(t *testing.T) {
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := errors.Join(db.AutoMigrate(&Book{}), db.Use(reliable.New(reliable.Config{AllModels: true})), migrations.Up(t.Context(), db),
		db.Create(&Book{Title: "x"}).Error); err != nil {
		t.Fatal(err)
	}
	var n int64
	if err := db.Raw("SELECT count(*) FROM outbox_entries WHERE resource_class = 'Book' AND owed IS NULL").Scan(&n).Error; err != nil || n != 1 {
		t.Errorf("%d entries for anybody's processor (%v), want 1", n, err)
	}
}

// What can't be recorded is refused, with the way out, and let through with
// AllowUncaptured.
func TestAllModelsRefuses(t *testing.T) {
	writes := map[string]func(db *gorm.DB) error{
		"a write without a model":        func(db *gorm.DB) error { return db.Table("books").Create(map[string]any{"title": "m"}).Error },
		"a model without a primary key":  func(db *gorm.DB) error { return db.Create(&Note{"n"}).Error },
		"raw INSERT of the table books":  func(db *gorm.DB) error { return db.Exec("INSERT INTO books (title) VALUES ('r')").Error },
		"raw UPDATE of the table books":  func(db *gorm.DB) error { return db.Raw("UPDATE books SET title = 'r'").Scan(new(int)).Error },
		"raw DELETE of the table books":  func(db *gorm.DB) error { return db.Raw("DELETE FROM books").Find(&[]Book{}).Error },
		"Book: a write to the table old": func(db *gorm.DB) error { return db.Table("old").Create(&Book{Title: "o"}).Error },
	}
	strict, free := library(t, testdb.SQLite, reliable.Config{}), library(t, testdb.SQLite, reliable.Config{AllowUncaptured: true})
	if err := errors.Join(strict.Exec("CREATE TABLE old (id integer PRIMARY KEY, title text)").Error, free.Exec("CREATE TABLE old (id integer PRIMARY KEY, title text)").Error); err != nil {
		t.Fatal(err)
	}
	for what, write := range writes {
		if err := write(strict); err == nil || !strings.Contains(err.Error(), "reliable.Skip") {
			t.Errorf("%s: %v, want an error that names the way out", what, err)
		}
		if err := write(reliable.Skip(strict)); err != nil && strings.Contains(err.Error(), "reliable:") {
			t.Errorf("%s, skipped: %v", what, err)
		}
		if err := write(free); err != nil && strings.Contains(err.Error(), "reliable:") {
			t.Errorf("%s with AllowUncaptured: %v", what, err)
		}
	}
	if got := append(entries(t, strict), entries(t, free)...); len(got) > 0 {
		t.Errorf("entries = %q, want none", got)
	}
}

func TestIgnoredAndRegistered(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCreateCommit(r, "welcome", nothing[Draft])
	reliable.Ignore[Draft](r)
	err := testdb.New(t, testdb.SQLite).Open(t).Use(reliable.New(reliable.Config{Registry: r}))
	if err == nil || !strings.Contains(err.Error(), "Draft: registered and ignored") {
		t.Errorf("Use() = %v, want an error that names the model", err)
	}
}
