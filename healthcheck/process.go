package healthcheck

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What is read of /proc is there on Linux only. Elsewhere a reused pid and a
// clock that was set are found out by the file's age alone.

// machine returns the id of the machine's last start, empty if it is not known.
func machine() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// uptime returns how long the machine is up, with the time that it slept; 0 is
// not known. Nobody can set that clock.
func uptime() time.Duration {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || seconds <= 0 {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// begun returns when a process began, in the kernel's ticks, and whether it is
// a zombie; empty if that is not known.
func begun(pid int) (ticks string, zombie bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	const state, start = 0, 19 // in what follows the name, which may hold anything
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= start {
		return "", false
	}
	return fields[start], fields[state] == "Z" || fields[state] == "X"
}

// gone reports whether there is no process with that pid.
func gone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return errors.Is(err, os.ErrProcessDone)
	}
	defer func() { _ = p.Release() }()
	err = p.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
