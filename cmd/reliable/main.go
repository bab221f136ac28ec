// Command reliable operates the outbox of any PostgreSQL, MariaDB or SQLite:
//
//	reliable status --database postgres://user:password@host/database
//	DATABASE_URL=... reliable list --state dead
//
// It has no callbacks. A program that has them mounts the same commands, and the
// worker: see package cli.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/cli"
	"github.com/gorm-aftercommit/aftercommit/processors/redislock"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func main() { os.Exit(run()) }

// keysVariable has the keys for what entries carry, if that is encrypted.
const keysVariable = "RELIABLE_ENCRYPTION_KEYS"

// run is main, with its exit code.
func run() int { return cli.Main(command()) }

// command returns the tree with the flags that say which outbox it is.
func command() *cobra.Command {
	var address string
	var tables reliable.Tables
	c := cli.Program{Evictions: redislock.EvictionsOf, Open: func(ctx context.Context) (*gorm.DB, error) {
		if address == "" {
			address = os.Getenv("DATABASE_URL")
		}
		if address == "" {
			return nil, &cli.UsageError{Err: errors.New("no database is given: set --database or DATABASE_URL, for example to " + example)}
		}
		if err := tables.Validate(); err != nil {
			return nil, &cli.UsageError{Err: fmt.Errorf("--tables-schema and --tables-prefix: %w", err)}
		}
		db, err := open(address)
		if err != nil {
			return nil, err
		}
		config := reliable.Config{Registry: new(reliable.Registry), Tables: tables}
		if keys := os.Getenv(keysVariable); keys != "" {
			if config.Encryption, err = reliable.ParseKeyRing(keys); err != nil {
				return nil, &cli.UsageError{Err: fmt.Errorf("%s: %w", keysVariable, err)}
			}
		}
		return db.WithContext(ctx), db.Use(reliable.New(config))
	}}.Command()
	set := c.PersistentFlags()
	set.StringVar(&address, "database", "", "URL of the database: postgres://, mysql:// or sqlite:// (default $DATABASE_URL)")
	set.StringVar(&tables.Schema, "tables-schema", "", "schema of the outbox's tables, if the plugin sets one")
	set.StringVar(&tables.Prefix, "tables-prefix", "", "what the names of the outbox's tables begin with, if the plugin sets that")
	return c
}
