//go:build unix

package local_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/local"
)

// as is set in a process of another user.
const as = "PERCH_TEST_AS_NOBODY"

func TestOtherUsers(t *testing.T) {
	switch path := os.Getenv(as); {
	case strings.HasPrefix(path, "dial "):
		_, err := local.Dial(t.Context(), strings.TrimPrefix(path, "dial "), version)
		fmt.Printf("code %s\n", bridge.CodeOf(err))
		return
	case strings.HasPrefix(path, "serve "):
		dir := strings.TrimPrefix(path, "serve ")
		_, err := local.Serve(t.Context(), config.Home{ConfigDir: dir, DataDir: dir}, local.Options{Version: version})
		check(t, err)
		check(t, os.Chmod(filepath.Join(dir, "perch.sock"), 0o777))
		fmt.Println("serving")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can be another user, too")
	}
	shared, err := os.MkdirTemp("", "perch-shared-") //nolint:usetesting // everybody can reach it, unlike that of a test
	check(t, err)
	defer os.RemoveAll(shared)
	check(t, os.Chmod(shared, 0o777))
	program := filepath.Join(shared, "program")
	data, err := os.ReadFile(os.Args[0])
	check(t, err)
	check(t, os.WriteFile(program, data, 0o755))
	nobody := func(what string) *exec.Cmd {
		cmd := exec.Command(program, "-test.run=^TestOtherUsers$")
		cmd.Env, cmd.Dir = append(os.Environ(), as+"="+what, "GOCOVERDIR="), shared
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd
	}

	// Another user who gets to the socket is not answered.
	w := newWorld(t)
	w.home = config.Home{ConfigDir: shared, DataDir: shared}
	stop := w.serve()
	out, err := nobody("dial " + w.home.SocketFile()).CombinedOutput()
	check(t, err)
	if !bytes.Contains(out, []byte("code denied\n")) {
		t.Errorf("by the file's mode: %s", out)
	}
	check(t, os.Chmod(w.home.SocketFile(), 0o777))
	out, err = nobody("dial " + w.home.SocketFile()).CombinedOutput()
	check(t, err)
	if !bytes.Contains(out, []byte("code denied\n")) {
		t.Errorf("by the peer: %s", out)
	}
	resp, err := socketClient(w.home.SocketFile()).Get("http://perch/v1")
	check(t, err)
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Errorf("we are answered with %s", resp.Status)
	}
	stop()

	// Nor is another user's engine asked: it would be shown secrets.
	dir := filepath.Join(shared, "theirs")
	check(t, os.Mkdir(dir, 0o777))
	check(t, os.Chmod(dir, 0o777))
	theirs := nobody("serve " + dir)
	stdin, err := theirs.StdinPipe()
	check(t, err)
	stdout, err := theirs.StdoutPipe()
	check(t, err)
	check(t, theirs.Start())
	defer func() { _ = stdin.Close(); _ = theirs.Wait() }()
	_, err = io.ReadFull(stdout, make([]byte, len("serving")))
	check(t, err)
	if _, err := local.Dial(t.Context(), filepath.Join(dir, "perch.sock"), version); bridge.CodeOf(err) != bridge.CodeDenied {
		t.Errorf("their engine: %v", err)
	}
}
