//go:build !linux

package webhook

// portHolder cannot tell here which process listens on a TCP port.
func portHolder(int) (pid int, name string) { return 0, "" }

// isLikeUs reports whether a process runs the same program as this one; it cannot
// be seen here.
func isLikeUs(string) bool { return false }
