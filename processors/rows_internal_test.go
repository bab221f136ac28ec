package processors

import "testing"

func TestInteger(t *testing.T) {
	for _, test := range []struct {
		value any
		want  integer
	}{{int64(7), 7}, {[]byte("-7"), -7}, {"7", 7}, {"many", 0}, {1.5, 0}, {nil, 0}, {[]byte{0}, 0}} {
		n := integer(1)
		if err := n.Scan(test.value); err != nil || n != test.want {
			t.Errorf("Scan(%#v) = %d, %v, want %d", test.value, n, err, test.want)
		}
	}
}
