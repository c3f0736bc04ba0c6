package handler_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"perch/bridge"
	"perch/bridge/handler"
)

// script returns an Exec of a shell script, for which $0 $1 PROGRAM $2 runs a
// program.
func script(t *testing.T, w witness, text string) handler.Exec {
	t.Helper()
	e := newExec(t)
	e.Command = append([]string{"/bin/sh", "-c", text}, append(e.Command, w.addr())...)
	return e
}

func TestExecEndsThoseThatLeft(t *testing.T) {
	w := newWitness(t)
	t.Run("child in a session of its own", func(t *testing.T) {
		h := start(t, script(t, w, `setsid "$0" "$1" fork "$2" & wait`))
		all := w.running(2)
		h.expire()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long", "timeout", "")
		all["fork"].ended(t)
		all["hold"].ended(t)
	})
	t.Run("child without an environment", func(t *testing.T) {
		h := start(t, script(t, w, `env -i "$0" "$1" hold "$2" & exec "$0" "$1" wait "$2"`))
		all := w.running(2)
		h.expire()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long", "timeout", "")
		all["wait"].ended(t)
		all["hold"].ended(t)
	})
	t.Run("daemon", func(t *testing.T) {
		h := start(t, script(t, w, `(setsid "$0" "$1" hold "$2" &); exec "$0" "$1" wait "$2"`))
		all := w.running(2)
		h.expire()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long", "timeout", "")
		all["wait"].ended(t)
		all["hold"].ended(t)
	})
	t.Run("daemon of a program that is done", func(t *testing.T) {
		h := start(t, script(t, w, `(setsid "$0" "$1" hold "$2" &); echo started; exec "$0" "$1" wait "$2"`))
		all := w.running(2)
		_ = all["wait"].Close() // it ends
		got, err := h.answer()
		if err != nil || got != "started" {
			t.Errorf("got %q, %v", got, err)
		}
		all["hold"].ended(t)
	})
	// The one that gets away does not keep Perch waiting.
	t.Run("daemon in disguise", func(t *testing.T) {
		h := start(t, script(t, w, `(env -i setsid "$0" "$1" hold "$2" &); exec "$0" "$1" wait "$2"`))
		all := w.running(2)
		h.expire()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long", "timeout", "")
		all["wait"].ended(t)
		_ = all["hold"].Close()
	})
}

// Without a terminal a program that asks for a password fails, and does not wait.
func TestExecHasNoTerminal(t *testing.T) {
	got, err := answerOf(t.Context(), t, script(t, newWitness(t), `cut -d " " -f 1,6,7 /proc/$$/stat`), hello())
	pid, rest, _ := strings.Cut(got, " ")
	if err != nil || rest != pid+" 0" {
		t.Errorf("process, session and terminal are %s, %v", got, err)
	}
}

func TestExecCrash(t *testing.T) {
	w := newWitness(t)
	_, err := answerOf(t.Context(), t, script(t, w, `echo no reply; echo last words >&2; kill -SEGV $$`), hello())
	wantError(t, err, bridge.CodeInternal, `The program "/bin/sh" crashed`, "perch log", `signal: segmentation fault`)
}

// A Perch that was killed leaves programs, and their files.
func TestCleanTempEndsPrograms(t *testing.T) {
	w := newWitness(t)
	parent := t.TempDir()
	e := newExec(t)
	run := func(name, temp string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), e.Command[0], e.Command[1], name, w.addr())
		cmd.Env = []string{"TMPDIR=" + filepath.Join(parent, temp)}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	run("hold", "message-123")
	other := run("polite", "other")
	all := w.running(2)
	if err := handler.CleanTemp(parent); err != nil {
		t.Error(err)
	}
	all["hold"].ended(t)
	if err := other.Process.Signal(syscall.SIGTERM); err != nil || all["polite"].says(t) != "asked" {
		t.Error("another's program was ended", err)
	}
}
