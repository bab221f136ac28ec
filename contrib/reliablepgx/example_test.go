package reliablepgx_test

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/contrib/reliablepgx"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func ExampleTracer() {
	open := func(databaseURL string, registry *reliable.Registry, yours pgx.QueryTracer) (*gorm.DB, error) {
		config, err := pgx.ParseConfig(databaseURL)
		if err != nil {
			return nil, err
		}
		config.Tracer = reliablepgx.Tracer{} // or, with a tracer of your own:
		config.Tracer = multitracer.New(yours, reliablepgx.Tracer{})
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: stdlib.OpenDB(*config)}))
		if err != nil {
			return nil, err
		}
		return db, db.Use(reliable.New(reliable.Config{Registry: registry}))
	}
	_ = open
}
