package reliable_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gorm-aftercommit/aftercommit/reliable"
)

type address struct{ City string }

type parcel struct {
	ID       uint
	Weight   int
	Shipping address `gorm:"embedded;embeddedPrefix:shipping_"`
	Billing  address `gorm:"embedded;embeddedPrefix:billing_"`
}

func TestNewChangeOfAnUpdate(t *testing.T) {
	before := &parcel{ID: 1, Weight: 2, Shipping: address{"Bonn"}}
	after := &parcel{ID: 1, Weight: 2, Shipping: address{"Köln"}}
	c := reliable.NewChange(reliable.OpUpdate, before, after)

	if diff := cmp.Diff(*before, *c.Before()); diff != "" {
		t.Errorf("Before(): -want +got\n%s", diff)
	}
	if diff := cmp.Diff(*after, *c.After()); diff != "" {
		t.Errorf("After(): -want +got\n%s", diff)
	}
	if diff := cmp.Diff(*after, *c.Model); diff != "" {
		t.Errorf("Model: -want +got\n%s", diff)
	}
	want := map[string]reliable.Values{"shipping_city": {Old: "Bonn", New: "Köln"}}
	if diff := cmp.Diff(want, c.Changeset()); diff != "" {
		t.Errorf("Changeset(): -want +got\n%s", diff)
	}
	for name, want := range map[string]bool{"Shipping.City": true, "shipping_city": true, "Billing.City": false, "Weight": false} {
		if got := c.Changed(name); got != want {
			t.Errorf("Changed(%q) = %t, want %t", name, got, want)
		}
	}
	c.Before().Weight = 99
	if c.Before().Weight != 2 {
		t.Error("Before() hands out shared memory")
	}
}

func TestNewChangeOfCreateAndDestroy(t *testing.T) {
	p := &parcel{ID: 1, Weight: 2}
	created := reliable.NewChange(reliable.OpCreate, nil, p)
	if created.Before() != nil || created.After() == nil || created.Gone || created.Model.Weight != 2 {
		t.Errorf("create: Before %v After %v Gone %t Model %v", created.Before(), created.After(), created.Gone, created.Model)
	}
	if !created.Changed("Weight") {
		t.Error("create: Changed(Weight) = false, want true")
	}
	destroyed := reliable.NewChange(reliable.OpDestroy, p, nil)
	if destroyed.Before() == nil || destroyed.After() != nil || !destroyed.Gone || destroyed.Model.Weight != 2 {
		t.Errorf("destroy: Before %v After %v Gone %t Model %v", destroyed.Before(), destroyed.After(), destroyed.Gone, destroyed.Model)
	}
}

func TestChangedPanicsOnBadNames(t *testing.T) {
	c := reliable.NewChange(reliable.OpUpdate, &parcel{ID: 1}, &parcel{ID: 1})
	for name, want := range map[string]string{
		"Wieght": `parcel.Changed("Wieght"): no such field or column "Wieght"; has ID, Weight, Shipping.City, Billing.City`,
		"City":   `field "City" is ambiguous`,
	} {
		func() {
			defer func() {
				err, _ := recover().(error)
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Changed(%q) panicked with %v, want %q", name, err, want)
				}
			}()
			c.Changed(name)
		}()
	}
}

func TestValues(t *testing.T) {
	c := reliable.NewChange(reliable.OpUpdate, &parcel{ID: 1, Weight: 2}, &parcel{ID: 1, Weight: 3})
	if v, ok := c.Values("Weight"); !ok || v.Old != c.Before().Weight || v.New != c.After().Weight {
		t.Errorf("Values(Weight) = %v, %t, want 2 and 3, true", v, ok)
	}
	if v, ok := c.Values("Shipping.City"); ok || v != (reliable.Values{}) {
		t.Errorf("Values(Shipping.City) = %v, %t, want nothing, false", v, ok)
	}
	if v, ok := (reliable.Change[parcel]{}).Values("Weight"); ok || v != (reliable.Values{}) {
		t.Errorf("zero Change: Values(Weight) = %v, %t, want nothing, false", v, ok)
	}
}

func TestZeroChangeIsSafe(t *testing.T) {
	var c reliable.Change[parcel]
	if c.Before() != nil || c.After() != nil || c.Changed("x") || c.Changeset() != nil || c.DB() != nil || c.IdempotencyKey() != "" {
		t.Errorf("zero Change: %v %v %t %v %v %q", c.Before(), c.After(), c.Changed("x"), c.Changeset(), c.DB(), c.IdempotencyKey())
	}
}
