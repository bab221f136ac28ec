package cli

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

func (t *tree) migrate() *cobra.Command {
	c := group(&cobra.Command{Use: "migrate", Short: "Make, change or show the tables of the outbox"})
	c.AddCommand(t.migrateUp(), t.migrateDown(), t.migrateStatus(), t.migratePrint())
	return c
}

func (t *tree) migrateUp() *cobra.Command {
	c := &cobra.Command{Use: "up", Short: "Apply what is not applied yet", Long: "Apply what is not applied yet. Any number of processes may do it at once.", Example: "  reliable migrate up"}
	f := newFlags(c.Flags())
	f.none()
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.database(ctx, func(db *gorm.DB, _ *reliable.Plugin) error {
			if err := migrations.Up(ctx, db); err != nil {
				return err
			}
			return t.states(ctx, c, db)
		})
	})
}

func (t *tree) migrateDown() *cobra.Command {
	c := &cobra.Command{Use: "down", Short: "Drop the tables, and all that is in them", Long: "Drop the tables of the outbox, and all that is in them.", Example: "  reliable migrate down --yes"}
	f, yes := newFlags(c.Flags()), false
	f.none()
	c.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.database(ctx, func(db *gorm.DB, p *reliable.Plugin) error {
			if err := confirm(c, yes, "the tables of "+p.Tables().Entries()+" will be dropped, with all that is owed"); err != nil {
				return err
			}
			if err := migrations.Down(ctx, db); err != nil {
				return err
			}
			return t.states(ctx, c, db)
		})
	})
}

func (t *tree) migrateStatus() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show which migrations are applied", Long: "Show which migrations are applied.", Example: "  reliable migrate status --json"}
	f := newFlags(c.Flags())
	f.none()
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		return t.database(ctx, func(db *gorm.DB, _ *reliable.Plugin) error { return t.states(ctx, c, db) })
	})
}

// states shows which migrations are applied.
func (t *tree) states(ctx context.Context, c *cobra.Command, db *gorm.DB) error {
	all, err := migrations.Status(ctx, db)
	if err != nil {
		return err
	}
	return t.write(c, map[string]any{"migrations": all}, func(w io.Writer) {
		rows := make([][]string, len(all))
		for i, s := range all {
			rows[i] = []string{s.File, "not applied", ""}
			if s.Applied != nil {
				rows[i] = []string{s.File, "applied", s.Applied.Format(time.DateTime) + " UTC"}
			}
		}
		table(w, "MIGRATION STATE WHEN", rows)
	})
}

func (t *tree) migratePrint() *cobra.Command {
	c := &cobra.Command{
		Use:   "print",
		Short: "Print the SQL of the migrations",
		Long: "Print the SQL of the migrations, for those who vendor them: for the database that is opened and the names of tables that its plugin has;\n" +
			"or with --dialect, for which no database is opened, with the usual names behind --schema and --prefix.",
		Example: "  reliable migrate print --dialect postgres > db/migrate/0042_outbox.sql",
	}
	f := newFlags(c.Flags())
	var dialect string
	var tables reliable.Tables
	f.none()
	oneOf(f, &dialect, "dialect", "for this database", "postgres", "mysql", "sqlite")
	f.text(&tables.Schema, "schema", "with --dialect: the schema of the tables")
	f.text(&tables.Prefix, "prefix", "with --dialect: what the names of tables begin with")
	f.checks = append(f.checks, func([]string) error {
		if dialect == "" && tables != (reliable.Tables{}) {
			return fmt.Errorf("--schema and --prefix go with --dialect: without it, the names are those of the plugin")
		}
		return nil
	})
	return leaf(c, f, func(ctx context.Context, c *cobra.Command, _ []string) error {
		if dialect != "" {
			return t.printFiles(c, dialect, tables)
		}
		return t.database(ctx, func(db *gorm.DB, p *reliable.Plugin) error { return t.printFiles(c, db.Name(), p.Tables()) })
	})
}

func (t *tree) printFiles(c *cobra.Command, dialect string, tables reliable.Tables) error {
	files, err := migrations.Files(dialect, tables)
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return err
	}
	texts := make(map[string]string)
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		texts[name] = string(text)
	}
	return t.write(c, texts, func(w io.Writer) {
		for _, name := range names {
			fmt.Fprintf(w, "-- %s\n%s", name, texts[name])
		}
	})
}
