package cli

import (
	"cmp"
	"runtime/debug"
	"strings"
)

// version is what the Makefile tells the linker; see assets/packaging/version.
var version string

// Version returns the version of this build, such as 1.2.3 of a release or
// 1.2.4-0.20261125170000-abcdef123456 of a commit, or "dev" if nobody knows.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionOf(version, info.Main)
}

func versionOf(linked string, built debug.Module) string {
	if built.Version == "(devel)" {
		built.Version = ""
	}
	return cmp.Or(linked, strings.TrimPrefix(built.Version, "v"), "dev")
}
