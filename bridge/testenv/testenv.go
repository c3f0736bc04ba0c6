// Package testenv is what tests need to know of the machine they run on.
package testenv

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Patience bounds a wait for something that will come. It is far longer than
// that takes on a busy machine, so that no verdict depends on speed.
const Patience = 2 * time.Minute

// NeedPrograms skips the test if a program is not installed that .ci/deps
// installs. Where everything must be tested (CI is set), it fails the test.
func NeedPrograms(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, program := range programs {
		missing, err := Missing(program)
		if err != nil {
			tb.Fatal(err)
		}
		if missing {
			tb.Skipf("%s is not installed; make deps installs it", program)
		}
	}
}

// Missing reports whether a program is not installed that .ci/deps installs;
// where everything must be tested (CI is set), that is an error.
func Missing(program string) (missing bool, err error) {
	if _, err := exec.LookPath(program); err == nil {
		return false, nil
	}
	if os.Getenv("CI") != "" {
		return true, fmt.Errorf("%s is not installed, and CI tests everything: run make deps", program)
	}
	return true, nil
}

// FreeAddr returns an address on loopback that nobody listens on, for programs
// that must be told theirs, or that use the same one again after a restart. Its
// port is none that the system hands out by itself, so nobody takes it meanwhile.
func FreeAddr(t interface{ Fatalf(string, ...any) }) string {
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000))) //nolint:gosec // Nobody must not guess it.
		ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
		if err != nil {
			continue
		}
		_ = ln.Close()
		return addr
	}
	t.Fatalf("there is no free port")
	return ""
}
