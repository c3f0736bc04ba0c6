package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// scratch is a folder that programs run in.
type scratch struct {
	*testing.T

	dir string
}

// do runs a program and returns what it printed.
func (s scratch) do(name string, args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.Context()), name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_COMMITTER_DATE=2026-11-25T18:00:00+01:00")
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, complaints.String())
	}
	return strings.TrimSpace(string(out))
}

func TestVersion(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a release is made where there is a shell")
	}
	script, err := filepath.Abs("version")
	if err != nil {
		t.Fatal(err)
	}
	s := scratch{t, t.TempDir()}
	is := func(form string) {
		t.Helper()
		if got := s.do(script); !regexp.MustCompile("^" + form + "$").MatchString(got) {
			t.Errorf("the version is %q; want %s", got, form)
		}
	}
	is(`dev`)
	s.do("git", "init", "-q")
	s.do("git", "commit", "-q", "--allow-empty", "-m", "one")
	is(`0\.0\.0-20261125170000-[0-9a-f]{12}`)
	s.do("git", "tag", "v1.2.9")
	s.do("git", "tag", "other")
	is(`1\.2\.9`)
	s.do("git", "commit", "-q", "--allow-empty", "-m", "two")
	is(`1\.2\.10-0\.20261125170000-[0-9a-f]{12}`)
	if err := os.WriteFile(filepath.Join(s.dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is(`1\.2\.10-0\.20261125170000-[0-9a-f]{12}\+dirty`)
}
