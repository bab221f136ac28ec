package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorm-aftercommit/aftercommit/internal/testdb"
)

// fetch returns the versions of a list, once the programs of all are here.
func fetch(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var versions []int
	var errs []error
	for text := range strings.SplitSeq(list, ",") {
		major, err := strconv.Atoi(text)
		if err == nil {
			_, err = testdb.FetchPostgres(major)
		}
		versions, errs = append(versions, major), append(errs, err)
	}
	return versions, errors.Join(errs...)
}

// onEach runs the command on a server of each version. A signal to the command
// ends the row.
func onEach(versions []int, args, environ []string, signals <-chan os.Signal) (code int) {
	for _, major := range versions {
		server, err := testdb.LaunchPostgres(major)
		if err != nil {
			fmt.Fprintf(os.Stderr, "testservers: PostgreSQL %d: %v\n", major, err)
			return 1
		}
		fmt.Fprintf(os.Stderr, "testservers: PostgreSQL %d: %s\n", major, strings.Join(args, " "))
		begun := time.Now()
		exit := command(args, append(environ, testdb.PostgreSQL.Variable()+"="+server.URL, testdb.Only+"=postgres"), signals)
		server.Stop()
		verdict := "passed"
		if exit != 0 {
			code, verdict = exit, fmt.Sprintf("FAILED with exit code %d", exit)
		}
		fmt.Fprintf(os.Stderr, "testservers: PostgreSQL %d: %s after %.0f s\n", major, verdict, time.Since(begun).Seconds())
		if exit >= 128 {
			break
		}
	}
	return code
}
