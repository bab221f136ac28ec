package testdb

import (
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// confine makes a command run as owner, in a process group of its own, and end
// with this process even if that is killed.
func confine(cmd *exec.Cmd, owner *user.User) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if owner == nil {
		return nil
	}
	uid, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(owner.Gid, 10, 32)
	if err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}
