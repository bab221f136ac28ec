//go:build !failpoints

// Package failpoint kills its own process at named points, so that tests can
// prove what a crash there costs. Without the build tag "failpoints" it is
// nothing.
package failpoint

// Hit does nothing in this build.
func Hit(string) {}
