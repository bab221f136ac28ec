//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var hits atomic.Int64 //nolint:gochecknoglobals // one process, one point

// Hit kills the process with SIGKILL when it is called for the N-th time with
// the name in RELIABLE_FAILPOINT="name:N" (N defaults to 1).
func Hit(name string) {
	want, count, _ := strings.Cut(os.Getenv("RELIABLE_FAILPOINT"), ":")
	if want != name {
		return
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		n = 1
	}
	if hits.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
