//go:build unix && !linux

package servers

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Tie is for Linux: elsewhere a command outlives a process that is killed.
func Tie(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{} }

// children returns the ids of the processes that pid has started.
func children(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-axo", "ppid=,pid=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var found []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[0] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(fields[1]); err == nil {
			found = append(found, child)
		}
	}
	return found, nil
}
