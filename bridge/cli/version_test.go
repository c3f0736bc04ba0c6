package cli

import (
	"runtime/debug"
	"testing"
)

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
