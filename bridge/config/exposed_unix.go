//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"

	"perch/bridge"
)

// Exposed returns what of the home other users of this machine can change, or
// read and should not: they can take a folder's files away or put others there.
func (h Home) Exposed() []Problem {
	var problems []Problem
	// What belongs to somebody else, such as the administrator who wrote it for a
	// service, is theirs to protect.
	if isOurs(h.ConfigFile()) && others(h.ConfigFile(), 0o4) {
		problems = append(problems, Problem{
			File: h.ConfigFile(),
			Text: bridge.Say("other users of this machine can read the file: whom the bot answers, and with what"),
			Hint: bridge.Say("let only its owner read it: chmod 600 %s", h.ConfigFile()),
		})
	}
	folders := []string{h.ConfigDir, h.DataDir}
	if h.ConfigDir == h.DataDir {
		folders = folders[:1]
	}
	for _, path := range append(folders, h.ConfigFile()) {
		if others(path, 0o2) {
			problems = append(problems, Problem{
				File: path,
				Text: bridge.Say("other users of this machine can write there: they can change the settings, and what runs as you"),
				Hint: bridge.Say("let only its owner write there: chmod go-w %s", path),
			})
		}
	}
	return problems
}

func isOurs(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	return known && int(owner.Uid) == os.Getuid()
}

// others reports whether users other than the owner may do to a file what the
// bit of its mode says. The group of this process is taken for the user's own.
func others(path string, bit fs.FileMode) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	mode := info.Mode().Perm()
	owner, known := info.Sys().(*syscall.Stat_t)
	return mode&bit != 0 || mode&(bit<<3) != 0 && known && int(owner.Gid) != os.Getgid()
}
