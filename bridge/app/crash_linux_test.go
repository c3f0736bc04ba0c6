package app_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"perch/bridge/testenv"
)

// A process whose files may not grow any more refuses messages, says so once,
// and goes on by itself when they may.
func TestFullDisk(t *testing.T) {
	server, home, addr, room := crashWorld(t, "")
	perch, said := processSaying(t, home, "", "Listening for webhooks")

	var before unix.Rlimit
	check(t, unix.Prlimit(perch.Process.Pid, unix.RLIMIT_FSIZE, nil, &before))
	full := before
	full.Cur = 0
	check(t, unix.Prlimit(perch.Process.Pid, unix.RLIMIT_FSIZE, &full, nil))
	for range 5 {
		posted, err := server.Post(t.Context(), room, "alice", "!ping")
		check(t, err)
		if got := posted.Deliveries[0].Status; got != http.StatusServiceUnavailable {
			t.Errorf("a message that cannot be stored was answered with %d", got)
		}
	}
	if status, word := health(t, addr); status != http.StatusServiceUnavailable || word != "not-stored" {
		t.Errorf("/healthz: %d %s", status, word)
	}
	check(t, unix.Prlimit(perch.Process.Pid, unix.RLIMIT_FSIZE, &before, nil))
	for deadline := time.Now().Add(testenv.Patience); ; <-time.After(20 * time.Millisecond) {
		if status, _ := health(t, addr); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it never works again")
		}
	}
	posted, err := server.Post(t.Context(), room, "alice", "!ping")
	check(t, err)
	if _, err := server.WaitReply(t.Context(), room, posted.ID); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	check(t, perch.Process.Signal(os.Interrupt))
	_ = perch.Wait()
	out := said()
	for _, once := range []string{"The journal cannot be written: messages are refused", "may not make its file any larger", "The journal can be written again"} {
		if n := strings.Count(out, once); n == 0 || once != "may not make its file any larger" && n > 1 {
			t.Errorf("it was said %d times: %s\n%s", n, once, out)
		}
	}
}
