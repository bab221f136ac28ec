//go:build !linux

package main

import (
	"os/exec"
	"syscall"
)

// endWithParent does nothing: only Linux tells a process of its parent's end.
func endWithParent() {}

// confine puts a command into a process group of its own.
func confine(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
