package handler

import (
	"errors"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// environment returns that of a program whose temporary files belong in temp.
func environment(temp string) []string {
	return append(
		inherit(
			"PATH", "PATHEXT", "SystemRoot", "SystemDrive", "windir", "ComSpec", "USERNAME", "USERPROFILE", "HOMEDRIVE",
			"HOMEPATH", "APPDATA", "LOCALAPPDATA", "ProgramData", "ProgramFiles", "ProgramFiles(x86)", "ProgramW6432",
			"CommonProgramFiles", "CommonProgramFiles(x86)", "OS", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "LANG", "TZ",
		),
		"TEMP="+temp, "TMP="+temp,
	)
}

// endStrays has nothing to do: a job ends with the Perch that made it.
func endStrays(string) {}

// family is a program and what it starts: a job, which nobody can leave.
type family struct {
	cmd *exec.Cmd
	job windows.Handle
}

// newFamily has cmd start without a window, and wait for adopt, so that it
// starts nothing before it is in the job.
func newFamily(cmd *exec.Cmd, _ string) (*family, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED | windows.CREATE_NO_WINDOW}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, err
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	_, err = windows.SetInformationJobObject(
		job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)),
	)
	if err != nil {
		_ = windows.CloseHandle(job)
		return nil, err
	}
	return &family{cmd: cmd, job: job}, nil
}

// adopt puts the program, which was started, into the job and lets it run.
func (f *family) adopt() error {
	var adopted error
	err := f.cmd.Process.WithHandle(func(process uintptr) {
		adopted = windows.AssignProcessToJobObject(f.job, windows.Handle(process))
	})
	if err = errors.Join(err, adopted); err != nil {
		return err
	}
	return resume(uint32(f.cmd.Process.Pid)) //nolint:gosec // a DWORD on Windows
}

// resume lets the only thread of a process run that was started suspended.
func resume(pid uint32) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(snapshot) }()
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snapshot, &entry); err == nil; err = windows.Thread32Next(snapshot, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		_, err = windows.ResumeThread(thread)
		return errors.Join(err, windows.CloseHandle(thread))
	}
	return err
}

// ask ends all: Windows has no request to end for a program without a window.
func (f *family) ask() error { return windows.TerminateJobObject(f.job, 1) }

// kill has nothing to do: the job ends with the process that kills it.
func (f *family) kill() {}

// end ends all, once.
func (f *family) end() {
	if f.job != 0 {
		_ = windows.CloseHandle(f.job) // kills, as the job's limit says
		f.job = 0
	}
}
