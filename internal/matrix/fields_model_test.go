package matrix_test

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/plugin/soft_delete"
)

// Parcel has every kind of field that is not a plain column.
type Parcel struct {
	ID      uint
	Size    Box               `gorm:"embedded;embeddedPrefix:box_"`
	Labels  map[string]string `gorm:"serializer:json;size:100"`
	Blob    []string          `gorm:"serializer:gob;type:bytes"`
	Sent    int64             `gorm:"serializer:unixtime;type:timestamp NULL"`
	Price   Money             `gorm:"size:20"`
	Seen    int               `gorm:"->;default:0"`        // read, never written
	Pin     string            `gorm:"->:false;<-;size:20"` // written, never read
	Origin  string            `gorm:"<-:create;size:20"`
	Changed string            `gorm:"<-:update;size:20"`
	Free    string            `gorm:"-"`
	State   string            `gorm:"size:20;default:new"`
	Area    int               `gorm:"->;type:int GENERATED ALWAYS AS (box_width * box_height) STORED"`
}

// Box is embedded.
type Box struct {
	Width  int
	Height int
}

// Money goes to the database by its Valuer and comes back by its Scanner.
type Money struct {
	Cents    int64
	Currency string
}

// Value implements driver.Valuer.
func (m Money) Value() (driver.Value, error) { return fmt.Sprintf("%d %s", m.Cents, m.Currency), nil }

// Scan implements sql.Scanner.
func (m *Money) Scan(v any) error {
	if v == nil {
		return nil
	}
	if data, ok := v.([]byte); ok {
		v = string(data)
	}
	_, err := fmt.Sscanf(strings.TrimSpace(fmt.Sprint(v)+" "), "%d %s", &m.Cents, &m.Currency)
	return err
}

// Voucher's key is a default of the database's.
type Voucher struct {
	ID   string `gorm:"primaryKey;size:36;default:made_by_the_database"`
	Name string `gorm:"size:20"`
}

// Stamp's table has a trigger that changes what is written before it is.
type Stamp struct {
	ID   uint
	Name string `gorm:"size:40"`
	Rank int
}

// Source's table has a trigger that writes to parts.
type Source struct {
	ID  uint
	Qty int
}

// Reading's table is partitioned.
type Reading struct {
	Region string `gorm:"primaryKey;size:8"`
	ID     int    `gorm:"primaryKey;autoIncrement:false"`
	Qty    int
}

// ZeroRow is live at a time that stands for none.
type ZeroRow struct {
	ID        uint
	Name      string         `gorm:"size:20"`
	DeletedAt gorm.DeletedAt `gorm:"zeroValue:1970-01-01 00:00:01"`
}

// Soft deletes other than gorm.DeletedAt.
type (
	// UnixRow is marked with the second.
	UnixRow struct {
		ID        uint
		Name      string `gorm:"size:20"`
		DeletedAt soft_delete.DeletedAt
	}
	// MilliRow is marked with the millisecond.
	MilliRow struct {
		ID        uint
		Name      string                `gorm:"size:20"`
		DeletedAt soft_delete.DeletedAt `gorm:"type:bigint;softDelete:milli"`
	}
	// NanoRow is marked with the nanosecond.
	NanoRow struct {
		ID        uint
		Name      string                `gorm:"size:20"`
		DeletedAt soft_delete.DeletedAt `gorm:"type:bigint;softDelete:nano"`
	}
	// FlagRow is marked with 1.
	FlagRow struct {
		ID      uint
		Name    string                `gorm:"size:20"`
		Deleted soft_delete.DeletedAt `gorm:"softDelete:flag"`
	}
	// MixedRow is marked with 1, and has the time beside it.
	MixedRow struct {
		ID        uint
		Name      string `gorm:"size:20"`
		DeletedAt *time.Time
		Deleted   soft_delete.DeletedAt `gorm:"softDelete:flag,DeletedAtField:DeletedAt"`
	}
)
