package chaos_test

import (
	"os/exec"
	"syscall"
)

// endWithParent makes a process end when the test does, even if that is killed.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
