package webhook

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portHolder returns the process that listens on a TCP port, and its name; 0
// if it cannot be seen, as those of other users cannot.
func portHolder(port int) (pid int, name string) {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, inode := range listening(table, port) {
			sockets["socket:["+inode+"]"] = true
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && sockets[target] {
			process := filepath.Dir(filepath.Dir(link))
			pid, _ = strconv.Atoi(filepath.Base(process))
			comm, _ := os.ReadFile(filepath.Join(process, "comm"))
			return pid, strings.TrimSpace(string(comm))
		}
	}
	return 0, ""
}

// isLikeUs reports whether a process runs the same program as this one.
func isLikeUs(pid string) bool {
	if _, err := strconv.Atoi(pid); err != nil {
		return false
	}
	theirs, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	ours, ourErr := os.ReadFile("/proc/self/comm")
	return err == nil && ourErr == nil && string(theirs) == string(ours)
}

// listening returns the inodes of the sockets that listen on a port.
func listening(table string, port int) (inodes []string) {
	f, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	const listen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == listen {
			inodes = append(inodes, fields[9])
		}
	}
	return inodes
}
