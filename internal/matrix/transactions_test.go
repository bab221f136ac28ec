package matrix_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// transactions are writes in transactions of the user's.
func transactions() []scenario {
	return []scenario{
		steps("transaction", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Part{Qty: 7}).Error, tx.Model(&Part{ID: 1}).Update("qty", 8).Error, tx.Delete(&Part{ID: 2}).Error)
			})}
		}),
		steps("one row many times", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Model(&Part{ID: 1}).Update("qty", 8).Error, tx.Model(&Part{ID: 1}).Update("qty", 9).Error, tx.Delete(&Part{ID: 1}).Error,
					tx.Create(&Part{ID: 1, Qty: 10}).Error, tx.Model(&Part{ID: 1}).Update("qty", 8).Error)
			})}
		}),
		steps("transaction rolled back", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Part{Qty: 7}).Error, errNo) })}
		}),
		steps("begin and commit by hand", func(db *gorm.DB) []error {
			tx := db.Begin()
			return []error{tx.Create(&Part{Qty: 7}).Error, tx.Model(&Part{ID: 1}).Update("qty", 8).Error, tx.Commit().Error}
		}),
		steps("begin and rollback by hand", func(db *gorm.DB) []error {
			tx := db.Begin(&sql.TxOptions{Isolation: sql.LevelSerializable})
			return []error{tx.Create(&Part{Qty: 7}).Error, tx.Rollback().Error}
		}),
		steps("write after the commit", func(db *gorm.DB) []error {
			tx := db.Begin()
			return []error{tx.Create(&Part{Qty: 7}).Error, tx.Commit().Error, tx.Create(&Part{Qty: 8}).Error}
		}),
		steps("error ignored, then committed", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				tx.Create(&Part{Qty: 6})
				tx.Create(&User{Name: "dup", Email: mail("ann@x")})
				return nil
			})}
		}),
		steps("panic", func(db *gorm.DB) (errs []error) {
			defer func() { errs = append(errs, fmt.Errorf("panic: %v", recover())) }()
			return []error{db.Transaction(func(tx *gorm.DB) error {
				tx.Create(&Part{Qty: 7})
				panic("oh")
			})}
		}),
		steps("nested", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&Part{Qty: 6}).Error, tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Part{Qty: 7}).Error }))
			})}
		}),
		steps("nested, outer rolled back", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Part{Qty: 7}).Error }), errNo)
			})}
		}),
		steps("savepoint rolled back", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Part{Qty: 7}).Error, errNo) })
				return tx.Create(&Part{Qty: 8}).Error
			})}
		}),
		steps("error in savepoint survived", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				err := tx.Transaction(func(tx *gorm.DB) error {
					return tx.Create(&[]User{{Name: "n"}, {Name: "a", Email: mail("ann@x")}}).Error
				})
				if err == nil {
					return errNo
				}
				return tx.Create(&Part{Qty: 8}).Error
			})}
		}),
		steps("panic in a savepoint", func(db *gorm.DB) []error {
			return []error{db.Transaction(func(tx *gorm.DB) error {
				func() {
					defer func() { _ = recover() }()
					_ = tx.Transaction(func(tx *gorm.DB) error { tx.Create(&Part{Qty: 7}); panic("oh") })
				}()
				return tx.Create(&Part{Qty: 8}).Error
			})}
		}),
		steps("nested transactions disabled", func(db *gorm.DB) []error {
			return []error{db.Session(&gorm.Session{DisableNestedTransaction: true}).Transaction(func(tx *gorm.DB) error {
				_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Create(&Part{Qty: 7}).Error, errNo) })
				return tx.Create(&Part{Qty: 8}).Error
			})}
		}),
		steps("rollback to", func(db *gorm.DB) []error {
			tx := db.Begin()
			tx.Create(&Part{Qty: 7})
			tx.SavePoint("s")
			tx.Create(&Part{Qty: 8})
			tx.Model(&Part{ID: 2}).Update("qty", 20)
			tx.RollbackTo("s")
			tx.Model(&Part{ID: 1}).Update("qty", 9)
			tx.SavePoint("t")
			tx.Delete(&Part{ID: 3})
			return []error{tx.Commit().Error}
		}),
		steps("transaction of a connection", func(db *gorm.DB) []error {
			return []error{db.Connection(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Part{Qty: 4}).Error })
			})}
		}),
		steps("context cancelled in the transaction", func(db *gorm.DB) []error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				if err := tx.Create(&Part{Qty: 4}).Error; err != nil {
					return err
				}
				cancel()
				return tx.Create(&Part{Qty: 5}).Error
			})
			return []error{errors.New(fmt.Sprint("failed: ", err != nil))} // with which error depends on who notices first
		}),
		steps("context past its deadline in the transaction", func(db *gorm.DB) []error {
			ctx, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
			defer cancel()
			return []error{db.Transaction(func(tx *gorm.DB) error {
				tx.Create(&Part{Qty: 3})
				_ = tx.WithContext(ctx).Create(&Part{Qty: 4})
				return tx.Create(&Part{Qty: 5}).Error
			})}
		}),
	}
}

// hooks are writes of models whose hooks fail, write, or change what is
// written.
func hooks() []scenario {
	var all []scenario
	writes := map[string]func(db *gorm.DB) *gorm.DB{
		"before save":   func(db *gorm.DB) *gorm.DB { return db.Create(&Hooked{Name: "x"}) },
		"after save":    func(db *gorm.DB) *gorm.DB { return db.Model(&Hooked{ID: 1}).Updates(Hooked{Name: "x"}) },
		"before delete": func(db *gorm.DB) *gorm.DB { return db.Delete(&Hooked{ID: 1}) },
		"after delete":  func(db *gorm.DB) *gorm.DB { return db.Delete(&Hooked{ID: 1}) },
	}
	for _, hook := range []string{"before save", "after save", "before delete", "after delete"} {
		write := writes[hook]
		all = append(all,
			bare("hook "+hook+" fails", func(db *gorm.DB) *gorm.DB { return write(db.Set("fail", hook)) }),
			steps("hook "+hook+" fails in a transaction", func(db *gorm.DB) []error {
				return []error{db.Transaction(func(tx *gorm.DB) error { return write(tx.Set("fail", hook)).Error })}
			}),
			steps("hook "+hook+" fails in a transaction and is ignored", func(db *gorm.DB) []error {
				return []error{db.Transaction(func(tx *gorm.DB) error { write(tx.Set("fail", hook)); return nil })}
			}))
	}
	return append(all,
		bare("write inside a hook, create", func(db *gorm.DB) *gorm.DB { return db.Set("write", true).Create(&Hooked{Name: "x"}) }),
		bare("write inside a hook, update", func(db *gorm.DB) *gorm.DB {
			return db.Set("write", true).Model(&Hooked{ID: 1}).Updates(Hooked{Name: "x"})
		}),
		bare("write inside a hook that fails", func(db *gorm.DB) *gorm.DB {
			return db.Set("write", true).Set("fail", "after save").Create(&Hooked{Name: "x"})
		}),
		one("hook changes what is written", &Hooked{ID: 1}, func(db *gorm.DB, m *Hooked) *gorm.DB {
			return db.Set("change", true).Model(m).Updates(Hooked{Name: "x"})
		}),
		bare("skip hooks", func(db *gorm.DB) *gorm.DB {
			return db.Session(&gorm.Session{SkipHooks: true}).Set("fail", "after save").Create(&Hooked{Name: "x"})
		}),
		bare("update column skips hooks", func(db *gorm.DB) *gorm.DB {
			return db.Set("fail", "before save").Model(&Hooked{ID: 1}).UpdateColumn("name", "x")
		}),
	)
}
