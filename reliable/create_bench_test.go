package reliable_test

import (
	"errors"
	"strconv"
	"testing"

	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// BenchmarkWrite writes one row at a time to PostgreSQL, with and without the
// plugin: where the processor's time goes (-cpuprofile). How the rates compare
// is what the module in bench/ measures.
func BenchmarkWrite(b *testing.B) {
	for _, plugin := range []bool{false, true} {
		name := "plain"
		if plugin {
			name = "captured"
		}
		open := func(b *testing.B) *gorm.DB {
			b.Helper()
			db := testdb.New(b, testdb.Postgres).Open(b)
			if err := db.AutoMigrate(&Item{}); err != nil {
				b.Fatal(err)
			}
			if !plugin {
				return db
			}
			r := new(reliable.Registry)
			reliable.AfterCommit(r, reliable.Callback[Item]{Name: "index", Run: nothing[Item]})
			if err := errors.Join(db.Use(reliable.New(reliable.Config{Registry: r})), migrations.Up(b.Context(), db)); err != nil {
				b.Fatal(err)
			}
			return db
		}
		b.Run("create/"+name, func(b *testing.B) {
			db := open(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := db.Create(&Item{Code: strconv.Itoa(i)}).Error; err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("update/"+name, func(b *testing.B) {
			db := open(b)
			if err := db.Create(&Item{Code: "a"}).Error; err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := db.Model(&Item{ID: 1}).Update("qty", i+1).Error; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
