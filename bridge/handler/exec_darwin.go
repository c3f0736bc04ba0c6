package handler

import (
	"os"

	"golang.org/x/sys/unix"
)

// processes returns the ids of the user's processes.
func processes() []int {
	list, err := unix.SysctlKinfoProcSlice("kern.proc.uid", os.Getuid())
	if err != nil {
		return nil
	}
	all := make([]int, 0, len(list))
	for i := range list {
		all = append(all, int(list[i].Proc.P_pid))
	}
	return all
}

// environmentOf returns the arguments and the environment with which a process
// was started, with a zero byte before and after each; the arguments alone if
// it is a program of the system.
func environmentOf(pid int) []byte {
	data, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return nil
	}
	return data
}
