package capture_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/capture"
	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

type User struct {
	ID        uint
	Name      string  `gorm:"size:40"`
	Email     *string `gorm:"size:40;uniqueIndex"`
	Age       int
	Score     float64
	Active    bool
	Picture   []byte
	CompanyID *uint
	Company   *Company
	Pets      []Pet
	Languages []Language `gorm:"many2many:user_languages"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt

	fail error // of AfterSave
}

func (u *User) AfterSave(*gorm.DB) error { return u.fail }

type Company struct {
	ID   uint
	Name string `gorm:"size:40"`
}

type Pet struct {
	ID     uint
	UserID *uint
	Name   string `gorm:"size:40"`
}

type Language struct {
	Code string `gorm:"primaryKey;size:8"`
	Name string `gorm:"size:40"`
}

type Seat struct {
	Hall  string `gorm:"primaryKey;size:20"`
	Place int    `gorm:"primaryKey;autoIncrement:false"`
	Taken bool
	Note  string `gorm:"size:20;default:free"`
}

// Part has a column like the table.
type Part struct {
	ID    uint
	Parts int
	Qty   int
}

var models = []any{&Company{}, &User{}, &Pet{}, &Language{}, &Seat{}, &Part{}}

func mail(name string) *string { return &name }

// noon is the time of all writes, so that runs can be compared.
func noon() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 123000000, time.UTC) }

// lab is a database with the models' tables and some rows, twice: captured and
// plain.
type lab struct {
	dialect testdb.Dialect
	hook    *hook
	db      *gorm.DB // captured
	plain   *gorm.DB
}

func newLab(t *testing.T, d testdb.Dialect, configs ...*gorm.Config) *lab {
	t.Helper()
	config := gorm.Config{}
	if len(configs) > 0 {
		config = *configs[0]
	}
	config.NowFunc, config.Logger = noon, logger.Discard
	open := func() *gorm.DB {
		fresh := config
		return testdb.New(t, d).Open(t, &fresh)
	}
	l := &lab{dialect: d, hook: new(hook), db: open(), plain: open()}
	for _, db := range []*gorm.DB{l.db, l.plain} {
		if err := db.AutoMigrate(models...); err != nil {
			t.Fatal(err)
		}
	}
	oracle(t, l.db, d, models...)
	if err := capture.Install(l.db, l.hook, capture.Options{MaxRows: 100}); err != nil {
		t.Fatal(err)
	}
	return l
}

// reset empties the tables and writes the same rows to both databases.
func (l *lab) reset(t *testing.T) {
	t.Helper()
	*l.hook = hook{skip: true}
	for _, db := range []*gorm.DB{l.db, l.plain} {
		l.empty(t, db, tables(t, db, models...))
		seed := db.Session(&gorm.Session{NewDB: true})
		err := errors.Join(
			seed.Create(&[]Company{{Name: "acme"}, {Name: "bolt"}}).Error,
			seed.Create(&[]User{
				{Name: "ann", Email: mail("ann@x"), Age: 10, Score: 1.5, Active: true, Picture: []byte{0, 255}},
				{Name: "bob", Email: mail("bob@x"), Age: 20, Pets: []Pet{{Name: "rex"}}},
				{Name: "cid", Age: 30},
			}).Error,
			seed.Create(&[]Language{{"de", "German"}, {"en", "English"}}).Error,
			seed.Create(&[]Seat{{Hall: "a", Place: 1}, {Hall: "a", Place: 2}, {Hall: "b", Place: 1, Note: "x"}}).Error,
			seed.Create(&[]Part{{Parts: 1, Qty: 1}, {Parts: 2, Qty: 2}, {Parts: 3, Qty: 3}}).Error,
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	l.empty(t, l.db, []string{"audit", "captured"})
	l.hook.skip = false
}

func (l *lab) empty(t *testing.T, db *gorm.DB, names []string) {
	t.Helper()
	err := db.Connection(func(tx *gorm.DB) error {
		tx = tx.Session(&gorm.Session{NewDB: true})
		run := func(sql string) error { return tx.Exec(sql).Error }
		var errs []error
		switch l.dialect {
		case testdb.MySQL:
			errs = append(errs, run("SET foreign_key_checks = 0"))
		case testdb.SQLite:
			errs = append(errs, run("PRAGMA foreign_keys = 0"))
		}
		for _, name := range names {
			switch l.dialect {
			case testdb.SQLite:
				errs = append(errs, run("DELETE FROM `"+name+"`"))
				var n int64
				if tx.Raw("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'").Scan(&n); n > 0 {
					errs = append(errs, run("DELETE FROM sqlite_sequence WHERE name = '"+name+"'"))
				}
			case testdb.MySQL:
				errs = append(errs, run("TRUNCATE `"+name+"`"))
			default:
				errs = append(errs, run(`TRUNCATE "`+name+`" RESTART IDENTITY CASCADE`))
			}
		}
		switch l.dialect {
		case testdb.MySQL:
			errs = append(errs, run("SET foreign_key_checks = 1"))
		case testdb.SQLite:
			errs = append(errs, run("PRAGMA foreign_keys = 1"))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// contents dumps the models' tables.
func contents(t *testing.T, db *gorm.DB) []string {
	t.Helper()
	var all []string
	for _, name := range tables(t, db, models...) {
		var rows []map[string]any
		if err := db.Session(&gorm.Session{NewDB: true}).Table(name).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			all = append(all, fmt.Sprintf("%s %v", name, row))
		}
	}
	slices.Sort(all) // a table has no order: how an update is planned may show in it
	return all
}
