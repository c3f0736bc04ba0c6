package handler

import "syscall"

// Hide keeps the memory and the environment of this process, where secrets are,
// from other programs of its user, such as those that handlers start: they
// cannot read them in /proc any more, nor attach to it, and it dumps no core.
// On systems other than Linux it does nothing.
//
// What the desktop's portals are asked afterwards they refuse, since they look
// into /proc too.
func Hide() {
	const setDumpable = 4 // PR_SET_DUMPABLE
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0)
}
