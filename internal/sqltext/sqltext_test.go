package sqltext_test

import (
	"strings"
	"testing"

	"github.com/gorm-aftercommit/aftercommit/internal/sqltext"
)

func TestWrites(t *testing.T) {
	for _, tt := range []struct{ sql, want string }{
		{"", ""},
		{"SELECT * FROM orders FOR UPDATE", ""},
		{"SELECT 1; DELETE FROM orders", "DELETE orders"},
		{"SELECT ';delete from orders'", ""},
		{"SELECT delete FROM orders", ""},
		{"select 'it''s' from t; update Orders set a = 1", "UPDATE Orders"},
		{"INSERT INTO orders (a) VALUES ('DELETE FROM pets') ON CONFLICT (a) DO UPDATE SET a = 1", "INSERT orders"},
		{"insert ignore into `shop`.`orders` values (1) on duplicate key update a = 2", "INSERT orders"},
		{"INSERT OR REPLACE INTO [my orders] VALUES (1)", "INSERT my orders"},
		{"REPLACE orders VALUES (1)", "REPLACE orders"},
		{`UPDATE ONLY "public"."Or""ders" AS o SET a = (SELECT b FROM pets)`, `UPDATE Or"ders`},
		{"UPDATE orders, pets SET orders.a = pets.b", "UPDATE orders|UPDATE pets"},
		{"UPDATE orders o JOIN pets p ON p.id = o.id SET o.a = p.b", "UPDATE orders|UPDATE pets"},
		{"UPDATE OR IGNORE orders SET a = 1", "UPDATE orders"},
		{"DELETE FROM ONLY orders * USING pets WHERE true", "DELETE orders"},
		{"DELETE o.*, p FROM orders o JOIN pets p", "DELETE o|DELETE p|DELETE orders"},
		{"/* DELETE FROM a */ -- DELETE FROM b\n DELETE FROM c # d", "DELETE c"},
		{"TRUNCATE TABLE orders, pets RESTART IDENTITY", "TRUNCATE orders|TRUNCATE pets"},
		{"MERGE INTO orders USING pets ON true WHEN MATCHED THEN UPDATE SET a = 1", "MERGE orders"},
		{"WITH gone AS (DELETE FROM orders RETURNING *) INSERT INTO pets SELECT * FROM gone", "DELETE orders|INSERT pets"},
		{"WITH x AS (SELECT 1) SELECT * FROM x FOR UPDATE", ""},
		{"EXPLAIN UPDATE orders SET a = 1", ""},
		{"EXPLAIN (ANALYZE) UPDATE orders SET a = 1", "UPDATE orders"},
		{"COPY orders (a) FROM STDIN", "COPY orders"},
		{"COPY orders TO STDOUT", ""},
		{"CREATE TRIGGER x AFTER UPDATE ON orders FOR EACH ROW DELETE FROM pets", ""},
		{"ALTER TABLE orders ADD FOREIGN KEY (a) REFERENCES pets ON DELETE CASCADE ON UPDATE CASCADE", ""},
		{"DO $$ BEGIN DELETE FROM orders; END $$; DELETE FROM pets WHERE a = $1", "DELETE pets"},
		{"UPDATE", ""},
		{"DELETE FROM 'x", ""},
	} {
		var got []string
		for _, w := range sqltext.Writes(tt.sql) {
			got = append(got, w.Verb+" "+w.Table)
		}
		if strings.Join(got, "|") != tt.want {
			t.Errorf("Writes(%s) = %q, want %q", tt.sql, got, tt.want)
		}
	}
}

// Whatever the text, it is read to its end.
func FuzzWrites(f *testing.F) {
	f.Add("WITH a AS (DELETE FROM b) UPDATE c SET d = 'e' -- f")
	f.Add("$x$ ' \" ` [ /*")
	f.Fuzz(func(t *testing.T, sql string) {
		for _, w := range sqltext.Writes(sql) {
			if w.Verb == "" {
				t.Errorf("Writes(%q) has a write without a verb", sql)
			}
		}
	})
}
