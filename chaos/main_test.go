package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// victim and producer are the paths of the programs that are killed. temporary
// is where the system keeps temporary files, whatever tests are told.
var victim, teller, producer, temporary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run runs the tests with a folder for all their files, which goes when they
// are interrupted, too.
func run(m *testing.M) int {
	temporary = os.TempDir()
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil { // servers run as other users
		panic(err)
	}
	if err := os.Setenv("TMPDIR", dir); err != nil {
		panic(err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-interrupted
		_ = os.RemoveAll(dir)
		fmt.Fprintln(os.Stderr, "chaos:", s)
		os.Exit(1) // the processes that it started end with it
	}()
	victim, teller, producer = filepath.Join(dir, "victim"), filepath.Join(dir, "teller"), filepath.Join(dir, "producer")
	build := exec.Command("go", "build", "-tags", "failpoints", "-o", dir, "./victim", "./teller", "./producer")
	build.Env = append(os.Environ(), "TMPDIR="+temporary)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	return m.Run()
}
