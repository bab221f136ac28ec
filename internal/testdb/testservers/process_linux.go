package main

import (
	"os/exec"
	"syscall"
)

// endWithParent asks for SIGTERM when the parent ends: go run does not pass
// signals on.
func endWithParent() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0)
}

// confine puts a command into a process group of its own, which ends with this
// process even if that is killed.
func confine(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
