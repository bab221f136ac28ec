package main

import (
	"time"

	"gorm.io/gorm"
)

// Customer is a customer of the shop. Deleting one is a soft delete.
type Customer struct {
	ID        uint
	Name      string
	Email     string
	Points    int
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

// Order is what a customer bought. Deleting one deletes the row.
type Order struct {
	ID         uint
	CustomerID uint   `gorm:"index"`
	Status     string `gorm:"size:20"` // new, paid or shipped
	Total      int64  // in cents
	CreatedAt  time.Time
	UpdatedAt  time.Time
}
