//go:build unix

package journal

import "golang.org/x/sys/unix"

// freeSpace returns how many bytes its user may still write to the disk of a folder.
func freeSpace(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil //nolint:gosec,unconvert // neither is negative, and their types differ
}
