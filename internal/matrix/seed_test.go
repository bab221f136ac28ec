package matrix_test

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// registry records every model, with a handler that takes all.
func registry() *reliable.Registry {
	r := new(reliable.Registry)
	r.Handle(reliable.ContextModel, "audit", reliable.RecordProcessorFunc(func(context.Context, *reliable.OutboxEntry) error { return nil }))
	reliable.Register(r, reliable.Model[Part]{}) // so that another struct over its table is refused
	return r
}

// seed writes the rows that scenarios start from.
func seed(db *gorm.DB) error {
	uid := func(id uint) *uint { return &id }
	north, one := "north", 1
	return errors.Join(
		db.Create(&[]Company{{1, "acme"}, {2, "bolt"}}).Error,
		db.Create(&[]User{
			{ID: 1, Name: "ann", Email: mail("ann@x"), Age: 10, Score: 1.5, Active: true, Picture: []byte{0, 255}},
			{ID: 2, Name: "bob", Email: mail("bob@x"), Age: 20, CompanyID: uid(1)},
			{ID: 3, Name: "cid", Age: 30},
		}).Error,
		db.Create(&Profile{ID: 1, UserID: uid(2), Bio: "bio"}).Error,
		db.Create(&Pet{ID: 1, UserID: uid(2), Name: "rex", Toys: []Toy{{ID: 1, Name: "ball"}}}).Error,
		db.Create(&[]Language{{"de", "German"}, {"en", "English"}}).Error,
		db.Table("user_languages").Create(map[string]any{"user_id": 2, "language_code": "de"}).Error,
		db.Create(&[]Seat{{Hall: "a", Place: 1}, {Hall: "a", Place: 2}, {Hall: "b", Place: 1, Note: "x"}}).Error,
		db.Create(&[]Part{{1, 1, 1}, {2, 2, 2}, {3, 3, 3}}).Error,
		db.Create(&Order{Shop: north, No: one, State: "open", Lines: []Line{{ID: 1, Qty: 1}}, Tags: []Tag{{"s", "a"}}}).Error,
		db.Create(&Tag{"s", "b"}).Error,
		db.Create(&Person{ID: 1, Name: "eve", Addresses: []Address{{1, "home"}}}).Error,
		db.Create(&Address{2, "work"}).Error,
		db.Create(&Parent{ID: 1, Name: "p", Children: []Child{{ID: 1}, {ID: 2}}}).Error,
		db.Create(&Hooked{1, "h"}).Error,
		db.Create(&Memo{"m", 1}).Error,
		db.Create(&Parcel{ID: 1, Size: Box{2, 3}, Labels: map[string]string{"a": "b"}, Blob: []string{"x"}, Sent: noon().Unix(), Price: Money{100, "EUR"}, Pin: "1234", Origin: "here"}).Error,
		db.Create(&Stamp{1, "S", 1}).Error,
		db.Create(&UnixRow{ID: 1, Name: "a"}).Error, db.Create(&UnixRow{ID: 2, Name: "b", DeletedAt: 5}).Error,
		db.Create(&MilliRow{ID: 1, Name: "a"}).Error, db.Create(&MilliRow{ID: 2, Name: "b", DeletedAt: 5}).Error,
		db.Create(&NanoRow{ID: 1, Name: "a"}).Error, db.Create(&NanoRow{ID: 2, Name: "b", DeletedAt: 5}).Error,
		db.Create(&FlagRow{ID: 1, Name: "a"}).Error, db.Create(&FlagRow{ID: 2, Name: "b", Deleted: 1}).Error,
		db.Create(&MixedRow{ID: 1, Name: "a"}).Error, db.Create(&MixedRow{ID: 2, Name: "b", Deleted: 1}).Error,
		db.Create(&ZeroRow{ID: 1, Name: "a", DeletedAt: gorm.DeletedAt{Time: time.Unix(1, 0).UTC(), Valid: true}}).Error,
		db.Create(&ZeroRow{ID: 2, Name: "b", DeletedAt: gorm.DeletedAt{Time: noon(), Valid: true}}).Error,
		seedDialect(db),
	)
}

func seedDialect(db *gorm.DB) error {
	err := db.Create(&Voucher{ID: "v1", Name: "v"}).Error
	if db.Name() == "postgres" {
		err = errors.Join(err, db.Create(&[]Reading{{"north", 1, 1}, {"north", 2, 2}, {"south", 3, 3}}).Error)
	}
	return err
}
