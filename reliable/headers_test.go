package reliable_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type tenantKey struct{}

// An entry keeps what Headers takes from the writer's context, and falls under
// the configured causality key.
func TestHeadersAndKey(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Plain]{Name: "index", Run: nothing[Plain]})
	config := reliable.Config{
		Registry: r,
		Headers: func(ctx context.Context) map[string]string {
			tenant := ctx.Value(tenantKey{}).(string) // without one, it panics
			return map[string]string{"tenant": tenant, "reliable-depth": "forged"}
		},
		CausalityKey: func(ctx context.Context, model any) string {
			if model.(*Plain).Qty < 0 {
				panic("no key")
			}
			return ctx.Value(tenantKey{}).(string)
		},
	}
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := errors.Join(db.AutoMigrate(&Plain{}), db.Use(reliable.New(config)), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	mine := db.WithContext(context.WithValue(t.Context(), tenantKey{}, "t7"))
	if err := reliable.Transaction(mine, func(tx *gorm.DB) error { return tx.Create(&Plain{Qty: 1}).Error }); err != nil {
		t.Fatal(err)
	}
	var entry struct{ Headers, CausalityKey string }
	if err := db.Raw("SELECT headers, causality_key FROM outbox_entries").Scan(&entry).Error; err != nil {
		t.Fatal(err)
	}
	if entry.Headers != `{"tenant":"t7"}` || entry.CausalityKey != "t7" {
		t.Errorf("the entry has headers %s and key %q, want the tenant's", entry.Headers, entry.CausalityKey)
	}
	for what, write := range map[string]func() error{
		"create of Plain: Config.Headers panicked": func() error { return db.Create(&Plain{Qty: 2}).Error },
		"create of Plain: CausalityKey panicked":   func() error { return mine.Create(&Plain{Qty: -1}).Error },
	} {
		if err := write(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("Create() = %v, want %q", err, what)
		}
	}
	var n int64
	if err := db.Model(&Plain{}).Count(&n).Error; err != nil || n != 1 {
		t.Errorf("%d rows are committed (%v), want that with an entry", n, err)
	}
}
