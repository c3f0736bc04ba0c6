package local

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// isForeign reports whether the other end of a connection is not known to be a
// process of this user.
func isForeign(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	foreign := true
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		foreign = err != nil || int(cred.Uid) != os.Geteuid()
	})
	return foreign || err != nil
}
