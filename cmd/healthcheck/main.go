// Command healthcheck says whether a worker lives: for probes of a container.
// It reads the worker's heartbeat, the file that RELIABLE_HEARTBEAT_FILE or an
// argument names, and asks nobody else. It exits 0 or 1, with one line:
//
//	healthcheck
//	healthcheck -ready /run/worker/heartbeat
package main

import (
	"os"

	"github.com/gorm-aftercommit/aftercommit/healthcheck"
)

func main() { os.Exit(healthcheck.Main(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }
