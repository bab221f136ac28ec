package matrix_test

import (
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// User is what most paths write: soft delete, a unique column, and every kind
// of association.
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
	Profile   *Profile
	Pets      []Pet
	Languages []Language `gorm:"many2many:user_languages"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

// Company is what users belong to.
type Company struct {
	ID   uint
	Name string `gorm:"size:40"`
}

// Profile is the one of a user.
type Profile struct {
	ID     uint
	UserID *uint
	Bio    string `gorm:"size:40"`
}

// Pet is one of many of a user, and has toys by a polymorphic key.
type Pet struct {
	ID     uint
	UserID *uint
	Name   string `gorm:"size:40"`
	Toys   []Toy  `gorm:"polymorphic:Owner"`
}

// Toy belongs to a model of any type.
type Toy struct {
	ID        uint
	Name      string  `gorm:"size:40"`
	OwnerID   *uint   // of whatever OwnerType says
	OwnerType *string `gorm:"size:20"`
}

// Language has a text for a key.
type Language struct {
	Code string `gorm:"primaryKey;size:8"`
	Name string `gorm:"size:40"`
}

// Seat has a composite key, and a default of the database's.
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

// Order has a composite key and associations by it.
type Order struct {
	Shop  string `gorm:"primaryKey;size:20"`
	No    int    `gorm:"primaryKey;autoIncrement:false"`
	State string `gorm:"size:20"`
	Lines []Line `gorm:"foreignKey:Shop,OrderNo;references:Shop,No"`
	Tags  []Tag  `gorm:"many2many:order_tags"`
}

// Line is one of many of an order.
type Line struct {
	ID      uint
	Shop    *string `gorm:"size:20"`
	OrderNo *int
	Qty     int
}

// Tag has a composite key.
type Tag struct {
	Space string `gorm:"primaryKey;size:20"`
	Name  string `gorm:"primaryKey;size:20"`
}

// Person has addresses by a join table with a model of its own.
type Person struct {
	ID        uint
	Name      string    `gorm:"size:20"`
	Addresses []Address `gorm:"many2many:person_addresses"`
}

// Address is where a person lives.
type Address struct {
	ID   uint
	Name string `gorm:"size:20"`
}

// PersonAddress is that model: the row is soft deleted.
type PersonAddress struct {
	PersonID  uint `gorm:"primaryKey"`
	AddressID uint `gorm:"primaryKey"`
	CreatedAt time.Time
	DeletedAt gorm.DeletedAt
}

// Parent has children that the database deletes with it.
type Parent struct {
	ID       uint
	Name     string  `gorm:"size:20"`
	Children []Child `gorm:"constraint:OnDelete:CASCADE,OnUpdate:CASCADE"`
}

// Child is one of them.
type Child struct {
	ID       uint
	ParentID uint
}

// Hooked has a hook at each point. Each fails if the session's setting "fail"
// names it; AfterSave writes a Part if the setting "write" is there.
type Hooked struct {
	ID   uint
	Name string `gorm:"size:40"`
}

func failing(tx *gorm.DB, hook string) error {
	if name, _ := tx.Get("fail"); name == hook {
		return errNo
	}
	return nil
}

// BeforeSave implements gorm's hook.
func (*Hooked) BeforeSave(tx *gorm.DB) error { return failing(tx, "before save") }

// AfterSave implements gorm's hook.
func (h *Hooked) AfterSave(tx *gorm.DB) error {
	if _, ok := tx.Get("write"); ok {
		if err := tx.Session(&gorm.Session{NewDB: true}).Create(&Part{Qty: int(h.ID)}).Error; err != nil {
			return err
		}
	}
	return failing(tx, "after save")
}

// BeforeUpdate implements gorm's hook. It changes what is written.
func (h *Hooked) BeforeUpdate(tx *gorm.DB) error {
	if _, ok := tx.Get("change"); ok {
		tx.Statement.SetColumn("Name", "changed by a hook")
	}
	return nil
}

// BeforeDelete implements gorm's hook.
func (*Hooked) BeforeDelete(tx *gorm.DB) error { return failing(tx, "before delete") }

// AfterDelete implements gorm's hook.
func (*Hooked) AfterDelete(tx *gorm.DB) error { return failing(tx, "after delete") }

// PartQty is another, smaller struct over the table of Part.
type PartQty struct {
	ID  uint
	Qty int
}

// TableName implements gorm's schema.Tabler.
func (PartQty) TableName() string { return "parts" }

// CompanyName is another struct over the table of Company.
type CompanyName struct {
	ID   uint
	Name string `gorm:"size:40"`
}

// TableName implements gorm's schema.Tabler.
func (CompanyName) TableName() string { return "companies" }

// BigPart is an updatable view of parts.
type BigPart struct {
	ID    uint
	Parts int
	Qty   int
}

// Memo has no primary key.
type Memo struct {
	Text string `gorm:"size:40"`
	Rank int
}

func mail(name string) *string { return &name }

// noon is the time of all writes, so that runs can be compared.
func noon() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 123000000, time.UTC) }

func conflict(columns ...string) clause.OnConflict {
	var c clause.OnConflict
	for _, name := range columns {
		c.Columns = append(c.Columns, clause.Column{Name: name})
	}
	return c
}

func updating(c clause.OnConflict, columns ...string) clause.OnConflict {
	c.DoUpdates = clause.AssignmentColumns(columns)
	return c
}
