package reliable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/migrations"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Keys are what nobody is to record.
type Keys struct {
	Public, Private string
}

// Account has a field of each kind that a filter makes.
type Account struct {
	ID       uint
	Name     string
	Password string  `gorm:"->:false;<-"`
	Note     string  `reliable:"-"`
	Token    *string `reliable:"sensitive"`
	Keys     Keys    `gorm:"embedded;embeddedPrefix:key_" reliable:"-"`
	Card     *Card   `gorm:"embedded;embeddedPrefix:card_" reliable:"sensitive"`

	UpdatedAt time.Time
}

// Card is sensitive as a whole.
type Card struct{ Number string }

// secret is in no field that may be shown.
const secret = "s3cr3t"

// accounts makes a database with Account recorded; see is told of each change.
func accounts(t *testing.T, d testdb.Dialect, see func(reliable.Change[Account]), config reliable.Config) (*gorm.DB, *reliable.Plugin) {
	t.Helper()
	config.Registry = new(reliable.Registry)
	reliable.AfterCommit(config.Registry, reliable.Callback[Account]{Name: "see", Run: func(_ context.Context, c reliable.Change[Account]) error {
		see(c)
		return nil
	}})
	db := testdb.New(t, d).Open(t)
	plugin := reliable.New(config)
	if err := errors.Join(db.AutoMigrate(&Account{}), db.Use(plugin), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	return db, plugin
}

// take returns the entries in the outbox, and empties it.
func take(t *testing.T, db *gorm.DB) []*reliable.OutboxEntry {
	t.Helper()
	rows, err := db.Raw("SELECT id, kind, context, resource_class, resource_id, event_name, changeset FROM outbox_entries ORDER BY id").Rows()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var list []*reliable.OutboxEntry
	for rows.Next() {
		e := &reliable.OutboxEntry{Owed: []string{"see"}}
		var changeset string
		if err := rows.Scan(&e.ID, &e.Kind, &e.Context, &e.ResourceClass, &e.ResourceID, &e.EventName, &changeset); err != nil {
			t.Fatal(err)
		}
		e.Changeset = []byte(changeset)
		list = append(list, e)
	}
	if err := errors.Join(rows.Err(), rows.Close(), db.Exec("DELETE FROM outbox_entries").Error); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestFilters(t *testing.T) {
	testdb.Each(t, func(t *testing.T, d testdb.Dialect) {
		var told []reliable.Change[Account]
		var before, after *Account
		db, plugin := accounts(t, d, func(c reliable.Change[Account]) {
			told = append(told, c)
			before, after = c.Before(), c.After()
		}, reliable.Config{})
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		token, other := secret, secret+"2"
		a := Account{Name: "ann", Password: secret, Note: secret, Token: &token, Keys: Keys{secret, secret}, Card: &Card{secret}, UpdatedAt: at}
		step := func(name string, write *gorm.DB, masked string) {
			t.Helper()
			if write.Error != nil {
				t.Fatalf("%s: %v", name, write.Error)
			}
			list := take(t, db)
			if masked == "" {
				if len(list) > 0 {
					t.Errorf("%s: recorded %s, want nothing", name, list[0].Changeset)
				}
				return
			}
			if len(list) != 1 {
				t.Fatalf("%s: %d entries, want 1", name, len(list))
			}
			shown, err := list[0].Masked()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(masked, string(shown)); diff != "" {
				t.Errorf("%s: Masked(): -want +got\n%s", name, diff)
			}
			batch := plugin.NewBatch(db, list, 1, time.Now())
			if out := process(t.Context(), batch, list[0]); out.State != reliable.StateDone {
				t.Errorf("%s: %s", name, out.ErrorMessage)
			}
		}

		const own = `"sensitive":["card_number","token"]`
		step("create", db.Create(&a), `{"v":1,"key":{"id":1},"set":{"card_number":[null,"[masked]"],"id":[null,1],"name":[null,"ann"],"token":[null,"[masked]"],`+
			`"updated_at":[null,"2026-01-02T03:04:05Z"]},`+own+`}`)
		if before != nil || *after.Token != secret || after.Card.Number != secret || after.Note != "" || after.Keys.Private != "" || after.Password != "" {
			t.Errorf("create: callback got %+v", after)
		}
		for _, column := range []string{"password", "note", "key_private"} {
			step("update of "+column, db.Model(&a).UpdateColumn(column, "x"), "")
			step("update of the time and "+column, db.Model(&a).Updates(map[string]any{column: "y", "updated_at": at.Add(time.Hour)}), "")
		}
		step("update of all", db.Model(&a).UpdateColumns(map[string]any{"password": "z", "note": "z", "token": other, "name": "bob"}),
			`{"v":1,"key":{"id":1},"set":{"name":["ann","bob"],"token":["[masked]","[masked]"]},"sensitive":["token"]}`)
		if *before.Token != secret || *after.Token != other || before.Name != "ann" {
			t.Errorf("update: callback got %+v, then %+v", before, after)
		}
		step("update to null", db.Model(&a).UpdateColumn("token", nil), `{"v":1,"key":{"id":1},"set":{"token":["[masked]",null]},"sensitive":["token"]}`)
		step("delete", db.Delete(&a), `{"v":1,"key":{"id":1},"set":{"card_number":["[masked]",null],"id":[1,null],"name":["bob",null],"token":[null,null],`+
			`"updated_at":["2026-01-02T04:04:05Z",null]},`+own+`}`)
		if before.Card.Number != secret || before.Note != "" || after != nil {
			t.Errorf("delete: callback got %+v", before)
		}

		for _, c := range told {
			for name, text := range prints(c, c.Entry) {
				if strings.Contains(text, secret) || !strings.Contains(text, "account_") {
					t.Errorf("%s: prints %s", name, text)
				}
			}
			func() {
				defer func() {
					if text := fmt.Sprint(recover()); !strings.Contains(text, "left out") {
						t.Errorf("Changed() of what is left out: %s", text)
					}
				}()
				c.Changed("Keys.Private")
			}()
		}
	})
}

// prints returns what fmt and slog make of a change and its entry.
func prints(c reliable.Change[Account], e *reliable.OutboxEntry) map[string]string {
	list := make(map[string]string)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, &c, e, *e, []any{e, c}, &reliable.EntryProcessed{Entry: e}, map[string]any{"c": c}} {
			list[fmt.Sprintf("%s of %T", format, v)] = fmt.Sprintf(format, v)
		}
	}
	var text, json bytes.Buffer
	for name, log := range map[string]*slog.Logger{"text": slog.New(slog.NewTextHandler(&text, nil)), "json": slog.New(slog.NewJSONHandler(&json, nil))} {
		log.Info(name, slog.Any("change", c), slog.Any("pointer", &c), slog.Any("entry", e), slog.Any("copy", *e))
	}
	list["slog text"], list["slog json"] = text.String(), json.String()
	return list
}

// Mistaken has every mistake that a tag can be.
type Mistaken struct {
	ID    string  `gorm:"primaryKey" reliable:"sensitive"`
	Part  string  `gorm:"primaryKey" reliable:"-"`
	Blind string  `gorm:"primaryKey;->:false;<-"`
	Name  string  `reliable:"sensitiv,secret"`
	Note  string  `reliable:"-"`
	Plain []Plain `gorm:"many2many:mistaken_plains" reliable:"sensitive"`
	Keys  Keys    `gorm:"embedded" reliable:"private"`
}

func TestFilterMistakes(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Mistaken]{Name: "a", WhenChanged: []string{"Note"}, Run: nothing[Mistaken]})
	err := testdb.New(t, testdb.SQLite).Open(t).Use(reliable.New(reliable.Config{Registry: r}))
	if err == nil {
		t.Fatal("db.Use() = nil, want errors")
	}
	for _, want := range []string{
		`Mistaken.ID: tag reliable:"sensitive" is on the primary key`, `drop the tag, or make another field the primary key`,
		`Mistaken.Part: tag reliable:"-" is on the primary key`, `Mistaken.Blind: the primary key is write-only`,
		`Mistaken.Name: tag reliable:"sensitiv" is unknown: want "-" or "sensitive"`, `Mistaken.Name: tag reliable:"secret" is unknown`,
		`Mistaken.Note: callback "a": WhenChanged names a field that is left out`, `Mistaken.Plain: tag reliable:"sensitive" is on what is no column`,
		`Mistaken.Keys: tag reliable:"private" is unknown`,
	} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("db.Use() = %v\nsays %d times %q, want once", err, n, want)
		}
	}
}

// With AllModels nobody checked the model before its first write.
func TestFilterMistakesOfAnyModel(t *testing.T) {
	db := testdb.New(t, testdb.SQLite).Open(t)
	if err := errors.Join(db.AutoMigrate(&Mistaken{}), db.Use(reliable.New(reliable.Config{AllModels: true})), migrations.Up(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	if err := db.Create(&Mistaken{ID: "a"}).Error; err == nil || !strings.Contains(err.Error(), `tag reliable:"secret" is unknown`) {
		t.Errorf("create = %v, want the mistakes", err)
	}
}

// Errors of the capture and of the replay do not tell what is sensitive.
func TestErrorsTellNoSecret(t *testing.T) {
	long := strings.Repeat(secret, 100)
	for name, config := range map[string]reliable.Config{
		"size":          {MaxEntryBytes: 100},
		"causality key": {CausalityKey: func(_ context.Context, model any) string { return *model.(*Account).Token + "\x00" }},
		"long key":      {CausalityKey: func(_ context.Context, model any) string { return *model.(*Account).Token }},
	} {
		db, _ := accounts(t, testdb.SQLite, func(reliable.Change[Account]) {}, config)
		err := db.Create(&Account{Name: "ann", Token: &long}).Error
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "create of Account") {
			t.Errorf("%s: %v, want an error that names the model and no value", name, err)
		}
		var n int64
		if err := db.Model(&Account{}).Count(&n).Error; err != nil || n != 0 {
			t.Errorf("%s: %d rows, %v, want none", name, n, err)
		}
	}

	db, plugin := accounts(t, testdb.SQLite, func(c reliable.Change[Account]) { c.After() }, reliable.Config{})
	if err := db.Create(&Account{Name: "ann"}).Error; err != nil {
		t.Fatal(err)
	}
	list := take(t, db)
	for _, bad := range []string{`{"b":"%s!"}`, `{"t":"%s"}`, `{"f":"%s"}`, `%s`, `9999%s`, `{"%s":1}`} {
		e := *list[0]
		e.Changeset = []byte(`{"v":1,"key":{"id":1},"set":{"updated_at":[null,` + fmt.Sprintf(bad, secret) + `]}}`)
		_, err := e.Masked()
		out := process(t.Context(), plugin.NewBatch(db, nil, 1, time.Now()), &e)
		if err == nil || strings.Contains(err.Error(), secret) || out.ErrorMessage == "" || strings.Contains(out.ErrorMessage, secret) {
			t.Errorf("%s: Masked() = %v, outcome %q; want errors without a value", bad, err, out.ErrorMessage)
		}
	}
}

// Vault has a sensitive number; SQLite keeps any text there.
type Vault struct {
	ID  uint
	Pin int `reliable:"sensitive"`
	Age int8
}

// A value that its field does not take is an error that names the field, and
// not the value.
func TestUnreadableSecret(t *testing.T) {
	r := new(reliable.Registry)
	reliable.AfterCommit(r, reliable.Callback[Vault]{Name: "see", WhenGone: reliable.GoneRun, Run: func(_ context.Context, c reliable.Change[Vault]) error {
		c.After()
		return nil
	}})
	db := testdb.New(t, testdb.SQLite).Open(t)
	plugin := reliable.New(reliable.Config{Registry: r})
	if err := errors.Join(db.AutoMigrate(&Vault{}), db.Use(plugin), migrations.Up(t.Context(), db), db.Create(&Vault{Pin: 1}).Error,
		db.Model(&Vault{ID: 1}).Update("pin", gorm.Expr("?", secret)).Error, db.Model(&Vault{ID: 1}).Update("age", 300).Error, db.Delete(&Vault{}, 1).Error); err != nil {
		t.Fatal(err)
	}
	list := take(t, db)
	batch := plugin.NewBatch(db, list, 1, time.Now())
	out := process(t.Context(), batch, list[1])
	if !strings.Contains(out.ErrorMessage, "Vault: stored value: field Pin") || strings.Contains(out.ErrorMessage, secret) {
		t.Errorf("outcome %q, want an error that names the field and no value", out.ErrorMessage)
	}
	out = process(t.Context(), batch, list[2])
	if !strings.Contains(out.ErrorMessage, "Vault: stored value: field Age") || !strings.Contains(out.ErrorMessage, "out of range") {
		t.Errorf("outcome %q, want an error that tells what is out of range", out.ErrorMessage)
	}
}
