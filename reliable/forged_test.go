package reliable_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
	"github.com/gorm-aftercommit/aftercommit/reliable"
)

// Whatever a row says, it runs nothing but what its names are registered for,
// panics nowhere, and what it comes to can be stored (74).
func FuzzForgedEntry(f *testing.F) {
	var ran []string
	r := new(reliable.Registry)
	reliable.Register(r, reliable.Model[Plain]{Aliases: []string{"Former"}})
	reliable.AfterCommit(r, reliable.Callback[Plain]{Name: "index", NoModel: true, Run: func(_ context.Context, c reliable.Change[Plain]) error {
		ran = append(ran, "index")
		c.Before()
		c.After()
		c.Changed("Qty")
		return nil
	}})
	reliable.HandleEvent(r, "billing", "sent", "ledger", func(_ context.Context, _ *reliable.OutboxEntry, _ map[string]any) error {
		ran = append(ran, "ledger")
		return errors.New("always")
	})
	db := testdb.New(f, testdb.SQLite).Open(f, &gorm.Config{Logger: logger.Discard})
	plugin := reliable.New(reliable.Config{Registry: r, Encryption: reliable.KeyRing{{ID: "k", Secret: []byte("0123456789abcdef0123456789abcdef")}}})
	if err := db.Use(plugin); err != nil {
		f.Fatal(err)
	}
	const changeset = `{"v":1,"key":{"id":1},"set":{"qty":[1,2]}}`
	f.Add(reliable.ContextModel, "Plain", "1", "plain_updated", "index", changeset, "", "", "", int32(0), int32(0))
	f.Add("billing", "", "", "sent", "ledger", "", `{"a":1}`, `{"tenant":"a"}`, `{"ledger":{"state":"pending","attempts":2}}`, int32(2), int32(1))
	f.Add(reliable.ContextModel, "Plain", "1", "plain_updated", "Index", changeset, "", "", "", int32(0), int32(0))
	f.Add("Gorm", "Plain", "1", "plain_updated", "index", changeset, "", "", "", int32(0), int32(0))
	f.Add("billing", "", "", "Sent", "ledger", "", `{"a":1}`, "", "", int32(0), int32(0))
	f.Add(reliable.ContextModel, "__proto__", "../../etc/passwd", "{{.}}", "reflect.Value", `{"v":99}`, "{", "[[[", "7", int32(-5), int32(-1))
	f.Add("billing", "", "", "sent", "ledger", "", `{"reliable:sealed":1,"key":"../k","data":"AAAA"}`, `{"reliable-depth":"-1"}`, `{"ledger":{"state":"x","attempts":-1}}`, int32(math.MaxInt32), int32(math.MaxInt32))
	f.Add(reliable.ContextModel, "Former", "", "", "", `{"v":1,"key":{"id":{"f":"NaN"}},"set":{"qty":["x",{"t":"@1"}]}}`, "null", "null", `{"":null}`, int32(math.MinInt32), int32(7))
	f.Fuzz(func(t *testing.T, in, class, id, event, owed, changeset, arguments, headers, callbacks string, attempts, crashes int32) {
		raw := func(text string) json.RawMessage {
			if text == "" {
				return nil
			}
			return json.RawMessage(text)
		}
		e := &reliable.OutboxEntry{
			ID: 1, Kind: reliable.EntryKind(in, class, event, []string{owed}), Context: in, ResourceClass: class, ResourceID: id, EventName: event, Owed: []string{owed},
			Changeset: raw(changeset), Arguments: raw(arguments), Headers: raw(headers), Callbacks: raw(callbacks), Attempts: int(attempts), Crashes: int(crashes),
		}
		ran = nil
		for _, policy := range []reliable.KeyPolicy{"", reliable.KeyPark} {
			batch := plugin.NewBatch(db, []*reliable.OutboxEntry{e}, math.MaxInt64, time.Now())
			batch.KeyPolicy, batch.Timeout, batch.NoBreaker = policy, time.Minute, true
			batch.Prepare(t.Context())
			out := process(t.Context(), batch, e)
			if out.Entry != e || out.Attempts > math.MaxInt32 || out.Attempts < math.MinInt32 || !utf8.ValidString(out.ErrorMessage) || string(out.Callbacks) != callbacks && !json.Valid(out.Callbacks) {
				t.Errorf("the entry came to %+v, want what can be stored", out)
			}
		}
		var may string
		switch {
		case in == reliable.ContextModel && slices.Contains([]string{"Plain", "Former"}, class) && owed == "index":
			may = "index"
		case in == "billing" && event == "sent" && owed == "ledger":
			may = "ledger"
		}
		for _, name := range ran {
			if name != may {
				t.Errorf("%q of %s %s %s ran %s", owed, in, class, event, name)
			}
		}
	})
}
