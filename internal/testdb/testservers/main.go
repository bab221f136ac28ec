// Command testservers runs a command with the servers that tests need:
//
//	go run ./internal/testdb/testservers -- go test ./...
//
// Those that RELIABLE_TEST_POSTGRES_URL, RELIABLE_TEST_MYSQL_URL and
// RELIABLE_TEST_REDIS_URL name or that run on the standard ports are used. It
// starts the others from local binaries, and stops them at the end; as root on
// Debian, it installs the binaries that are missing. The exit code is the
// command's, or 1 with one message that says what to do.
//
// With versions of PostgreSQL it starts a server of each, one after the other,
// and runs the command on it with that database alone:
//
//	go run ./internal/testdb/testservers -postgres 13,18 -- go test ./internal/capture
//
// The exit code is then that of the last command that failed.
//
// With a pooler, the command reaches PostgreSQL by way of a PgBouncer in
// transaction mode:
//
//	go run ./internal/testdb/testservers -pooler -- go test ./worker
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

func main() {
	runtime.LockOSThread() // the servers end with the thread that started them
	endWithParent()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	flags := flag.NewFlagSet("testservers", flag.ContinueOnError)
	postgres := flags.String("postgres", "", "major `versions` of PostgreSQL, separated by commas, to run the command on")
	pooler := flags.Bool("pooler", false, "put a PgBouncer in transaction mode in front of PostgreSQL")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	args = flags.Args()
	if len(args) == 0 || *pooler && *postgres != "" {
		fmt.Fprintln(os.Stderr, "usage: testservers [-postgres versions | -pooler] -- command [argument ...]")
		return 2
	}
	versions, err := fetch(*postgres)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testservers: %v\n", err)
		return 1
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	sweep(time.Now())
	environ, missing, err := look()
	if err == nil {
		err = install(missing)
	}
	if err != nil {
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
		environ = append(environ, service.Variable()+"="+server.URL)
	}
	if *pooler {
		stop, at, err := pool(environ)
		if err != nil {
			fmt.Fprintf(os.Stderr, "testservers: %v\n", err)
			return 1
		}
		defer stop()
		environ = append(environ, testdb.PoolerVariable+"="+at)
	}
	if len(versions) > 0 {
		return onEach(versions, args, environ, signals)
	}
	return command(args, environ, signals)
}

// pool puts a pooler in front of the PostgreSQL of an environment.
func pool(environ []string) (stop func(), at string, err error) {
	for _, pair := range environ {
		if server, ok := strings.CutPrefix(pair, testdb.PostgreSQL.Variable()+"="); ok {
			p, err := testdb.LaunchPooler(server)
			if err != nil {
				return nil, "", err
			}
			return p.Stop, p.URL(), nil
		}
	}
	return nil, "", errors.New("no PostgreSQL to put a pooler in front of")
}

// look returns, for the command's environment, where the services are that
// answer, and the others. One that was named must answer.
func look() (environ []string, missing []testdb.Service, err error) {
	var errs []error
	for _, service := range testdb.Services() {
		address, err := testdb.Find(service)
		switch {
		case err == nil:
			environ = append(environ, service.Variable()+"="+address)
		case os.Getenv(service.Variable()) != "":
			errs = append(errs, fmt.Errorf("%s: no %s answers there: %w; unset it to have one started", service.Variable(), service, err))
		default:
			missing = append(missing, service)
		}
	}
	return environ, missing, errors.Join(errs...)
}

// sweep removes what killed runs left of servers an hour ago or earlier.
func sweep(now time.Time) {
	directories := []string{testdb.PoolerDirectory}
	for _, service := range testdb.Services() {
		directories = append(directories, service.Directory())
	}
	for _, name := range directories {
		left, _ := filepath.Glob(filepath.Join(os.TempDir(), name+"*"))
		for _, dir := range left {
			if info, err := os.Stat(dir); err == nil && now.Sub(info.ModTime()) > time.Hour {
				_ = os.RemoveAll(dir) // another run may be at it
			}
		}
	}
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
	if err := testdb.PoolerInstalled(); err != nil {
		packages = append(packages, testdb.PoolerPackage)
		remedies = append(remedies, fmt.Sprintf("  %v", err))
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
func command(args, environ []string, signals <-chan os.Signal) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), environ...)
	confine(cmd)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "testservers: %v\n", err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal)) // all of the group; it may have ended by now
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
					return 128 + int(status.Signal())
				}
				return exit.ExitCode()
			}
			if err != nil {
				return 1
			}
			return 0
		}
	}
}
