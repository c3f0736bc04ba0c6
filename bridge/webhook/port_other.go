//go:build !linux

package webhook

// portHolder cannot tell here which process listens on a TCP port.
func portHolder(int) (pid int, name string) { return 0, "" }
