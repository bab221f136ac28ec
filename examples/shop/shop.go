package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// Shop writes to the database as a shop does. Nothing here knows of callbacks:
// the plugin that is installed in db records what is owed.
type Shop struct {
	db         *gorm.DB
	pace       time.Duration // between the writes of one customer
	customers  atomic.Int64
	rolledBack atomic.Int64 // rows written and taken back
}

// errChangedMind makes a transaction roll back.
var errChangedMind = errors.New("the customer changed their mind")

// Serve lets some customers shop at the same time, each visits times.
func (s *Shop) Serve(ctx context.Context, customers, visits int) error {
	errs := make([]error, customers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for range visits {
				if errs[i] = s.visit(ctx); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// visit is what one customer does, from the first order to the last.
func (s *Shop) visit(ctx context.Context) error {
	db := s.db.WithContext(ctx)
	n := s.customers.Add(1)
	c := &Customer{Name: fmt.Sprintf("Customer %d", n), Email: fmt.Sprintf("customer%d@example.com", n)}
	steps := []struct {
		name string
		do   func(*gorm.DB, *Customer) error
	}{
		{"sign up", signUp},
		{"fill the basket", fillBasket},
		{"change one's mind", s.changeMind},
		{"pay", pay},
		{"pay again", payAgain},
		{"try a voucher", s.tryVoucher},
		{"return goods", returnGoods},
		{"leave", leave},
	}
	for _, step := range steps {
		err := step.do(db, c)
		for tries := 1; deadlock(err) && tries < 10; tries++ {
			err = step.do(db, c) // every step is one transaction, and it was rolled back
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if err := pause(ctx, s.pace); err != nil {
			return err
		}
	}
	return nil
}

// signUp creates a customer with a first order, in one transaction.
func signUp(db *gorm.DB, c *Customer) error {
	return db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(c).Error; err != nil {
			return err
		}
		return tx.Create(&Order{CustomerID: c.ID, Status: "new", Total: 1900}).Error
	})
}

// fillBasket creates many orders with one statement.
func fillBasket(db *gorm.DB, c *Customer) error {
	basket := make([]Order, 12)
	for i := range basket {
		basket[i] = Order{CustomerID: c.ID, Status: "new", Total: int64(100 * (i + 1))}
	}
	return db.Create(&basket).Error
}

// changeMind writes a lot in a transaction that rolls back. None of it may
// ever reach a callback.
func (s *Shop) changeMind(db *gorm.DB, c *Customer) error {
	return unlessChangedMind(db.Transaction(func(tx *gorm.DB) error {
		order := Order{CustomerID: c.ID, Status: "new", Total: 99}
		created := tx.Create(&order)
		updated := tx.Model(&Order{}).Where("customer_id = ?", c.ID).Update("total", gorm.Expr("total + 1"))
		deleted := tx.Delete(&order)
		if err := errors.Join(created.Error, updated.Error, deleted.Error); err != nil {
			return err
		}
		s.rolledBack.Add(created.RowsAffected + updated.RowsAffected + deleted.RowsAffected)
		return errChangedMind
	}))
}

// pay updates many orders with one statement.
func pay(db *gorm.DB, c *Customer) error {
	return db.Model(&Order{}).Where("customer_id = ? AND status = ?", c.ID, "new").Update("status", "paid").Error
}

// payAgain writes to the same rows what they hold already. That changes
// nothing but updated_at, so nothing is owed.
func payAgain(db *gorm.DB, c *Customer) error {
	return db.Model(&Order{}).Where("customer_id = ?", c.ID).Update("status", "paid").Error
}

// tryVoucher rolls back to a savepoint: what follows it is gone, what came
// before it commits.
func (s *Shop) tryVoucher(db *gorm.DB, c *Customer) error {
	return db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(c).Update("points", gorm.Expr("points + ?", 10)).Error; err != nil {
			return err
		}
		return unlessChangedMind(tx.Transaction(func(tx *gorm.DB) error { // a savepoint
			bonus := []Order{{CustomerID: c.ID, Status: "new"}, {CustomerID: c.ID, Status: "new"}}
			if err := tx.Create(&bonus).Error; err != nil {
				return err
			}
			s.rolledBack.Add(int64(len(bonus)))
			return errChangedMind
		}))
	})
}

// returnGoods deletes some orders with one statement.
func returnGoods(db *gorm.DB, c *Customer) error {
	return db.Where("customer_id = ? AND total < ?", c.ID, 400).Delete(&Order{}).Error
}

// leave soft deletes the customer. Every third one comes back.
func leave(db *gorm.DB, c *Customer) error {
	if err := db.Delete(c).Error; err != nil || c.ID%3 != 0 {
		return err
	}
	return db.Unscoped().Model(c).Update("deleted_at", nil).Error
}

// Ship updates every order that is paid, with one statement, and returns how
// many there were.
func (s *Shop) Ship(ctx context.Context) (int, error) {
	shipped := s.db.WithContext(ctx).Model(&Order{}).Where("status = ?", "paid").Update("status", "shipped")
	return int(shipped.RowsAffected), shipped.Error
}

// unlessChangedMind drops the error of a transaction that was meant to roll
// back.
func unlessChangedMind(err error) error {
	if errors.Is(err, errChangedMind) {
		return nil
	}
	return err
}

// deadlock reports whether the database chose a transaction as the victim of a
// deadlock.
func deadlock(err error) bool {
	var maria *mysql.MySQLError
	var postgres *pgconn.PgError
	return errors.As(err, &maria) && maria.Number == 1213 || errors.As(err, &postgres) && postgres.Code == "40P01"
}
