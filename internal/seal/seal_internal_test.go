package seal

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The vectors of the specification of XAES-256-GCM (c2sp.org/XAES-256-GCM).
func TestVectors(t *testing.T) {
	for _, v := range []struct {
		key         byte
		about, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		r := new(Ring)
		if err := r.Add("k", bytes.Repeat([]byte{v.key}, KeySize)); err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		got := r.keys[0].derive(nonce[:half]).Seal(nil, nonce[half:], []byte("XAES-256-GCM"), []byte(v.about))
		if hex.EncodeToString(got) != v.want {
			t.Errorf("key of %d: sealed is %x, want %s", v.key, got, v.want)
		}
	}
}
