package lockertest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/gorm-aftercommit/aftercommit/processors"
	"github.com/gorm-aftercommit/aftercommit/processors/lockertest"
)

func TestLocalLocker(t *testing.T) {
	lockertest.Run(t, func(testing.TB) (one, other processors.Locker) {
		l := new(processors.LocalLocker)
		return l, l
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
