//go:build unix && !darwin

package handler

import (
	"os"
	"path/filepath"
	"strconv"
)

// processes returns the ids of all processes; none where there is no /proc.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// environmentOf returns the environment with which a process was started, with a
// zero byte before and after each variable; nothing if it is another user's.
func environmentOf(pid int) []byte {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return nil
	}
	return append([]byte{0}, data...)
}
