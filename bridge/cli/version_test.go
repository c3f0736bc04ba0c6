package cli

import (
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// Where the system has none, as in a container of one file, this is all there is.
func TestTimeZonesAreInTheProgram(t *testing.T) {
	packages, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "headless", "perch").Output()
	if err != nil || !slices.Contains(strings.Fields(string(packages)), "time/tzdata") {
		t.Errorf("no time zones: %v", err)
	}
}

func TestVersionOf(t *testing.T) {
	for _, c := range []struct{ linked, built, want string }{
		{"1.2.3", "v0.0.0-20261125170000-abcdef123456", "1.2.3"},
		{"", "v1.2.3", "1.2.3"},
		{"", "v0.0.0-20261125170000-abcdef123456+dirty", "0.0.0-20261125170000-abcdef123456+dirty"},
		{"", "(devel)", "dev"},
		{"", "", "dev"},
	} {
		if got := versionOf(c.linked, debug.Module{Version: c.built}); got != c.want {
			t.Errorf("versionOf(%q, %q) = %q; want %q", c.linked, c.built, got, c.want)
		}
	}
}
