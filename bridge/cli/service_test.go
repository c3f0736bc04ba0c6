package cli_test

import (
	"net"
	"strings"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"
)

// serviceManager listens as systemd does, for what await manager can wait for.
func serviceManager(w *world, ts *testscript.TestScript, args []string) {
	socket := "@perch-" + uuid.NewString()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	ts.Check(err)
	out, err := newStream(ts.MkAbs("manager.out"))
	ts.Check(err)
	none, err := newStream(ts.MkAbs("manager.err"))
	ts.Check(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			_, _ = out.Write([]byte(strings.TrimSuffix(string(buf[:n]), "\n") + "\n"))
		}
	}()
	w.processes["manager"] = &process{out: out, err: none, ended: ended}
	ts.Setenv("NOTIFY_SOCKET", socket)
	ts.Setenv("WATCHDOG_USEC", args[0])
	ts.Defer(func() {
		_ = conn.Close()
		<-ended
		_ = out.file.Close()
		_ = none.file.Close()
	})
}
