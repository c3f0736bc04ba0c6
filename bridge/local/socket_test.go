package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/local"
	"perch/bridge/testenv"
)

func TestSocketIsPrivate(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for path, want := range map[string]os.FileMode{w.home.SocketFile(): 0o600, w.home.DataDir: 0o700} {
		info, err := os.Stat(path)
		check(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %o, not %o", path, info.Mode().Perm(), want)
		}
	}
}

func TestDialTellsApart(t *testing.T) {
	w := newWorld(t)
	path := w.home.SocketFile()
	dialled := func(path, version string) error {
		c, err := local.Dial(t.Context(), path, version)
		if err == nil {
			check(t, c.Close())
		}
		return err
	}
	if err := dialled(path, version); bridge.CodeOf(err) != bridge.CodeNotFound || bridge.HintOf(err).IsZero() {
		t.Errorf("nobody: %v", err)
	}
	stop := w.serve()
	check(t, dialled(path, version))
	err := dialled(path, "1.2.2")
	if bridge.CodeOf(err) != bridge.CodeConflict || !strings.Contains(err.Error(), "1.2.3") || !strings.Contains(err.Error(), "1.2.2") || bridge.HintOf(err).IsZero() {
		t.Errorf("another version: %v", err)
	}
	stop()
	if err := dialled(path, version); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("nobody any more: %v", err)
	}

	// Somebody who is no Perch.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "other.sock"))
	check(t, err)
	other := &http.Server{Handler: http.NotFoundHandler()}
	defer other.Close()
	go other.Serve(l)
	if err := dialled(l.Addr().String(), version); bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("no Perch: %v", err)
	}
}

func TestOnlyOneServes(t *testing.T) {
	w := newWorld(t)
	w.served()
	if _, err := local.Serve(t.Context(), w.home, local.Options{Engine: w.bot, Version: version}); bridge.CodeOf(err) != bridge.CodeConflict {
		t.Errorf("a second one: %v", err)
	}
	check(t, w.Pause(t.Context())) // the first was left alone

	second := newWorld(t)
	second.served()
	check(t, second.Save(t.Context(), second.cfg))
	second.until("it runs", in(bridge.StateRunning))
	if s, _ := w.Snapshot(); s.State == bridge.StateRunning {
		t.Error("two homes are mixed up")
	}
}

// crashed is set in a process that is to leave its socket behind.
const crashed = "PERCH_TEST_CRASH"

func TestSocketOfACrash(t *testing.T) {
	if dir := os.Getenv(crashed); dir != "" {
		_, err := local.Serve(t.Context(), config.Home{ConfigDir: dir, DataDir: dir}, local.Options{Version: version})
		check(t, err)
		fmt.Println("serving")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	}
	w := newWorld(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestSocketOfACrash$")
	cmd.Env = append(os.Environ(), crashed+"="+w.home.DataDir)
	stdin, err := cmd.StdinPipe()
	check(t, err)
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, len("serving")))
	check(t, err)
	check(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()
	if _, err := os.Lstat(w.home.SocketFile()); err != nil {
		t.Fatalf("it left nothing: %v", err)
	}
	if _, err := local.Dial(t.Context(), w.home.SocketFile(), version); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("a dead engine: %v", err)
	}
	w.served()
	w.until("the new one answers", in(bridge.StateNew))
}

func TestSomethingElseIsNotRemoved(t *testing.T) {
	dir := t.TempDir()
	home := config.Home{ConfigDir: dir, DataDir: dir}
	check(t, os.WriteFile(home.SocketFile(), []byte("mine"), 0o600))
	if _, err := local.Serve(t.Context(), home, local.Options{Version: version}); bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("instead of a file: %v", err)
	}
	if data, _ := os.ReadFile(home.SocketFile()); string(data) != "mine" {
		t.Error("the file is gone")
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	home := config.Home{ConfigDir: dir, DataDir: dir}
	w := newWorld(t)
	server, err := local.Serve(t.Context(), home, local.Options{Engine: w.bot, Version: version})
	check(t, err)
	client, err := local.Dial(t.Context(), home.SocketFile(), version)
	check(t, err)
	check(t, client.Pause(t.Context()))
	check(t, client.Close())
	check(t, server.Close())
	if _, err := os.Lstat(home.SocketFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// socketClient returns a client that is not ours.
func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

func TestEveryResponseHasTheVersion(t *testing.T) {
	w := newWorld(t)
	w.serve()
	c := socketClient(w.home.SocketFile())
	for path, status := range map[string]int{"/v1": 200, "/v1/snapshot": 200, "/v2": 404, "/v1/log?limit=x": 422} {
		resp, err := c.Get("http://perch" + path)
		check(t, err)
		body, err := io.ReadAll(resp.Body)
		check(t, errors.Join(err, resp.Body.Close()))
		if resp.Header.Get("Perch-Version") != version || resp.StatusCode != status || status != 200 && !bytes.Contains(body, []byte(`"error":{"code":`)) {
			t.Errorf("%s: %s %v\n%s", path, resp.Status, resp.Header, body)
		}
	}
	r, err := http.NewRequest(http.MethodPost, "http://perch/v1/pause", nil)
	check(t, err)
	r.Header.Set("Perch-Version", "1.0.0")
	resp, err := c.Do(r)
	check(t, err)
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("an older client is answered with %s", resp.Status)
	}
	if s, _ := w.Snapshot(); s.State == bridge.StatePaused {
		t.Error("an older client paused the bot")
	}
}

// The engine goes away under a client, and comes back.
func TestClientWaitsForTheEngine(t *testing.T) {
	w := newWorld(t)
	stop := w.serve()
	client, err := local.Dial(t.Context(), w.home.SocketFile(), version)
	check(t, err)
	defer client.Close()
	w.face = client
	check(t, w.Save(t.Context(), w.cfg))
	w.until("it runs", in(bridge.StateRunning))
	ctx, cancel := context.WithCancel(t.Context())
	shown := make(chan []bridge.Entry, 100)
	watched := make(chan error, 1)
	go func() {
		watched <- client.WatchLog(ctx, bridge.LogFilter{Level: slog.LevelDebug, Limit: 10}, func(e []bridge.Entry) { shown <- e })
	}()
	<-shown
	practice, err := client.Practice(t.Context())
	check(t, err)
	defer practice.Close()

	stop()
	s := w.until("it is lost", in(bridge.StateFailed))
	if s.Detail.String() != "Perch has stopped; waiting for it to come back" || s.Fix.IsZero() {
		t.Errorf("it says %+v", s)
	}
	if err := client.Pause(t.Context()); bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("nobody was asked: %v", err)
	}
	if c, _, exists := client.Config(); exists && c.Talk.BaseURL != w.cfg.Talk.BaseURL {
		t.Errorf("the settings are now %+v", c)
	}
	if err := practice.Say(t.Context(), practice.Rooms()[0].Token, "alice", "!ping"); err == nil {
		t.Error("a practice server that has ended answers")
	}

	stop = w.serve()
	w.until("it is back", in(bridge.StateRunning))
	select {
	case <-shown:
	case <-time.After(testenv.Patience):
		t.Error("the log is not shown again")
	}
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("the log ended with %v", err)
	}

	// What comes back is of another version.
	stop()
	other, err := local.Serve(t.Context(), w.home, local.Options{Engine: w.bot, Version: "2.0.0"})
	check(t, err)
	defer other.Close()
	w.until("it is another version", func(s bridge.Snapshot) bool {
		return s.State == bridge.StateFailed && strings.Contains(s.Detail.String(), "2.0.0")
	})
	if err := client.WatchLog(t.Context(), bridge.LogFilter{Level: slog.LevelDebug, Limit: 10}, func([]bridge.Entry) {}); bridge.CodeOf(err) != bridge.CodeConflict {
		t.Errorf("the log of another version: %v", err)
	}
}

// A client that came before its engine says what it waits for, and then asks it.
func TestAwait(t *testing.T) {
	w := newWorld(t)
	client := local.Await(t.Context(), w.home.SocketFile(), version)
	defer client.Close()
	w.face = client
	if s, _ := client.Snapshot(); s.State != bridge.StateFailed || s.Detail.IsZero() || s.Fix.IsZero() {
		t.Errorf("it says %+v", s)
	}
	stop := w.serve()
	w.until("the engine is there", in(bridge.StateNew))
	if got := client.ConfigFile(); got != w.home.ConfigFile() {
		t.Errorf("the settings are in %q", got)
	}
	check(t, client.Save(t.Context(), w.cfg))
	w.until("it runs", in(bridge.StateRunning))
	stop()

	other, err := local.Serve(t.Context(), w.home, local.Options{Engine: w.bot, Version: "2.0.0"})
	check(t, err)
	defer other.Close()
	newer := local.Await(t.Context(), w.home.SocketFile(), version)
	defer newer.Close()
	if s, _ := newer.Snapshot(); !strings.Contains(s.Detail.String(), "2.0.0") || s.Fix.IsZero() {
		t.Errorf("of another version it says %+v", s)
	}
}

// busy is an engine whose state changes without end.
type busy struct {
	local.Engine

	calls atomic.Int64
	text  string
}

func (b *busy) Snapshot() (bridge.Snapshot, <-chan struct{}) {
	b.calls.Add(1)
	changed := make(chan struct{})
	close(changed)
	return bridge.Snapshot{State: bridge.StateRunning, Detail: bridge.Say("%s", b.text), Waiting: int(b.calls.Load())}, changed
}

// A client that reads nothing keeps neither the engine nor other clients waiting,
// and a server that ends does not wait for it.
func TestSlowReader(t *testing.T) {
	w := newWorld(t)
	b := &busy{Engine: w.bot, text: strings.Repeat("x", 1<<20)}
	server, err := local.Serve(t.Context(), w.home, local.Options{Engine: b, Version: version})
	check(t, err)
	conn, err := net.Dial("unix", w.home.SocketFile())
	check(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /v1/snapshot?follow HTTP/1.1\r\nHost: perch\r\n\r\n")
	check(t, err)
	_, err = io.ReadFull(conn, make([]byte, 100)) // the stream has begun
	check(t, err)
	client, err := local.Dial(t.Context(), w.home.SocketFile(), version)
	check(t, err)
	first, _ := client.Snapshot()
	await(t, "another client sees news", client.Snapshot, func(s bridge.Snapshot) bool { return s.Waiting > first.Waiting+2 })
	check(t, client.Close())
	check(t, server.Close())
}
