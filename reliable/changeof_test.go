package reliable_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
	"github.com/gorm-aftercommit/aftercommit/reliabletest"
)

// A record processor of captured writes makes a change of its entry.
func TestChangeOf(t *testing.T) {
	var db *gorm.DB
	var change reliable.Change[Plain]
	var mismatch error
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Plain]{Name: "Thing", On: reliable.OpSave})
	r.Handle(reliable.ContextModel, "index", reliable.RecordProcessorFunc(func(ctx context.Context, e *reliable.OutboxEntry) (err error) {
		_, mismatch = reliable.ChangeOf[parcel](ctx, db, e)
		change, err = reliable.ChangeOf[Plain](ctx, db, e)
		return err
	}))
	db = testdb.New(t, testdb.SQLite).Open(t)
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := errors.Join(db.AutoMigrate(&Plain{}), db.Use(plugin), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	err := db.Transaction(func(tx *gorm.DB) error {
		outer := db
		defer func() { db = outer }()
		db = tx
		if err := errors.Join(tx.Create(&Plain{ID: 3, Qty: 1}).Error, tx.Model(&Plain{ID: 3}).Update("qty", 2).Error); err != nil {
			return err
		}
		reliabletest.Drain(t, tx)
		return errBack
	})
	if !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	if change.Operation != reliable.OpUpdate || change.Model.Qty != 2 || change.Before().Qty != 1 || change.Entry == nil {
		t.Errorf("the change is %+v of %+v, want an update of 1 to 2", change, change.Model)
	}
	if mismatch == nil || !strings.Contains(mismatch.Error(), `of "Thing", not a change of a reliable_test.parcel`) {
		t.Errorf("ChangeOf[parcel] = %v, want an error that names both", mismatch)
	}
	if of := plugin.ModelOf(&reliable.OutboxEntry{Context: "billing", ResourceClass: "Thing"}); of != nil {
		t.Errorf("ModelOf(another context's) = %v, want nil", of)
	}
	if plain, other := plugin.Captures(reflect.TypeFor[Plain]()), plugin.Captures(reflect.TypeFor[parcel]()); plain != reliable.OpSave || other != 0 {
		t.Errorf("Captures() = %v and %v, want %v and none", plain, other, reliable.OpSave)
	}
}
