//go:build unix

package handler

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
)

// environment returns that of a program whose temporary files belong in temp.
func environment(temp string) []string {
	return append(inherit("PATH", "HOME", "LANG", "USER", "TZ"), "TMPDIR="+temp)
}

// family is a program and what it starts: a session without a terminal, and
// who left it, known by the TMPDIR that they have in common.
type family struct {
	cmd   *exec.Cmd
	temp  string
	ended bool
}

func newFamily(cmd *exec.Cmd, temp string) (*family, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return &family{cmd: cmd, temp: temp}, nil
}

// adopt is called once the program was started.
func (f *family) adopt() error { return nil }

// ask asks all to end.
func (f *family) ask() error {
	f.signal(syscall.SIGTERM)
	return nil
}

// kill ends all.
func (f *family) kill() { f.signal(syscall.SIGKILL) }

// end ends all, once.
func (f *family) end() {
	if !f.ended {
		f.ended = true
		f.kill()
	}
}

func (f *family) signal(s syscall.Signal) {
	if f.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-f.cmd.Process.Pid, s) // there need be nobody left
	signalStrays(f.temp+"\x00", s)
}

// endStrays ends all processes whose TMPDIR begins with prefix.
func endStrays(prefix string) { signalStrays(prefix, syscall.SIGKILL) }

func signalStrays(prefix string, s syscall.Signal) {
	const rounds = 10
	signalled := map[int]bool{os.Getpid(): true}
	variable := []byte("\x00TMPDIR=" + prefix)
	for range rounds { // some may start others meanwhile
		again := false
		for _, pid := range processes() {
			if !signalled[pid] && bytes.Contains(environmentOf(pid), variable) {
				signalled[pid] = true
				again = true
				_ = syscall.Kill(pid, s)
			}
		}
		if !again {
			return
		}
	}
}
