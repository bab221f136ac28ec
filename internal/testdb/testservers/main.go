// Command testservers runs a command with the servers that tests need:
//
//	go run ./internal/testdb/testservers -- go test ./...
//
// Those that RELIABLE_TEST_POSTGRES_URL, RELIABLE_TEST_MYSQL_URL and
// RELIABLE_TEST_REDIS_URL name or that run on the standard ports are used. It
// starts the others from local binaries, and stops them at the end; as root on
// Debian, it installs the binaries that are missing. The exit code is the
// command's, or 1 with one message that says what to do.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func main() {
	runtime.LockOSThread() // the servers end with the thread that started them
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: testservers -- command [argument ...]")
		return 2
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	missing := look()
	if err := install(missing); err != nil {
		fmt.Fprintf(os.Stderr, "testservers: %v\n", err)
		return 1
	}
	for _, service := range missing {
		begun := time.Now()
		server, err := testdb.Launch(service)
		if err != nil {
			fmt.Fprintf(os.Stderr, "testservers: %v\n%s\n", err, service.Remedy())
			return 1
		}
		defer server.Stop()
		fmt.Fprintf(os.Stderr, "testservers: started %s in %.1f s: %s\n", service, time.Since(begun).Seconds(), server.URL)
		if err := os.Setenv(service.Variable(), server.URL); err != nil {
			fmt.Fprintf(os.Stderr, "testservers: %v\n", err)
			return 1
		}
	}
	return command(args, signals)
}

// look tells the command where the services are that answer, and returns the
// others.
func look() (missing []testdb.Service) {
	for _, service := range testdb.Services() {
		address, err := testdb.Find(service)
		if err == nil {
			err = os.Setenv(service.Variable(), address)
		}
		if err != nil {
			missing = append(missing, service)
		}
	}
	return missing
}

// install installs the programs that are missing, where it can: as root on
// Debian. Else the error says what to do about all of them.
func install(services []testdb.Service) error {
	var packages, remedies []string
	for _, service := range services {
		if err := service.Installed(); err != nil {
			packages = append(packages, service.Packages()...)
			remedies = append(remedies, fmt.Sprintf("  %s (%v)", service.Remedy(), err))
		}
	}
	if len(packages) == 0 {
		return nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("servers that the tests need neither run nor are installed:\n%s", strings.Join(remedies, "\n"))
	}
	fmt.Fprintf(os.Stderr, "testservers: installing %s with apt-get, which takes a minute\n", strings.Join(packages, ", "))
	for _, args := range [][]string{{"update"}, append([]string{"install", "--yes", "--no-install-recommends"}, packages...)} {
		cmd := exec.Command(apt, append([]string{"--quiet=2"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1") // RUNLEVEL: start no service
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s\nor:\n%s", args[0], err, out, strings.Join(remedies, "\n"))
		}
	}
	return nil
}

// command runs the command, passes signals on, and returns its exit code.
func command(args []string, signals <-chan os.Signal) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "testservers: %v\n", err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended by now
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return max(exit.ExitCode(), 1) // -1 after a signal
			}
			if err != nil {
				return 1
			}
			return 0
		}
	}
}
