package handler_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"perch/bridge"
)

// What a handler starts cannot read the secrets in our environment.
func TestExecHidesUs(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	e := newExec(t)
	e.Command = []string{"/bin/true"}
	if _, err := e.Handle(t.Context(), bridge.Message{Text: "x"}); err != nil {
		t.Fatal(err)
	}
	if got, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || got != 0 {
		t.Errorf("while a program runs, this process can be dumped: %d, %v", got, err)
	}
}
