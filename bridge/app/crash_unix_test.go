//go:build unix

package app_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// crashWorld returns a home for a process, whose handler is that program, or
// the built-in commands, and a server where its bot is enabled in a room.
func crashWorld(t *testing.T, program string) (server *practice.Server, home config.Home, addr, room string) {
	t.Helper()
	server, err := practice.Start(t.Context(), practice.Options{})
	check(t, err)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	home = config.Home{ConfigDir: dir, DataDir: dir}
	cfg := config.Default()
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers, cfg.Webhook.Listen = server.URL(), []string{"alice"}, testenv.FreeAddr(t)
	if program != "" {
		path := filepath.Join(dir, "program")
		check(t, os.WriteFile(path, []byte("#!/bin/sh\n"+program), 0o700))
		cfg.Handler.Kind, cfg.Handler.Command = config.Exec, []string{path}
	}
	_, err = config.Save(home.ConfigFile(), cfg)
	check(t, err)
	bot, err := server.InstallBot(practice.Bot{Name: "Perch", URL: "http://" + cfg.Webhook.Listen + cfg.Webhook.Path, Secret: key})
	check(t, err)
	room = server.AddRoom("Kitchen", "alice")
	_, err = server.EnableBot(t.Context(), room, bot) // its webhook comes before the process does
	check(t, err)
	return server, home, cfg.Webhook.Listen, room
}

// A closed terminal is a clean stop.
func TestHangup(t *testing.T) {
	server, home, _, room := crashWorld(t, "")
	perch, said := processSaying(t, home, "", "Listening for webhooks")
	_, err := server.Post(t.Context(), room, "alice", "!ping")
	check(t, err)
	check(t, perch.Process.Signal(syscall.SIGHUP))
	if err := perch.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if out := said(); !strings.Contains(out, "Perch has stopped") {
		t.Errorf("it was not a clean stop:\n%s", out)
	}
}

// A second Ctrl-C does not wait, and leaves no program behind.
func TestSecondInterrupt(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	check(t, syscall.Mkfifo(fifo, 0o600))
	// Nothing but SIGKILL ends the program and what it starts. Both hold the FIFO open.
	server, home, _, room := crashWorld(t, `trap '' TERM INT HUP
exec 9>`+fifo+`
echo started >&9
sleep 1000 &
while :; do sleep 1000; done
`)
	perch := processUntil(t, home, "", "Listening for webhooks")
	_, err := server.Post(t.Context(), room, "alice", "anything")
	check(t, err)
	held, err := os.Open(fifo)
	check(t, err)
	defer held.Close()
	line := make([]byte, len("started\n"))
	_, err = io.ReadFull(held, line)
	check(t, err)

	check(t, perch.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	go func() { // it may end before
		for perch.Process.Signal(os.Interrupt) == nil {
		}
	}()
	if err := perch.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("it ended with %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, held)
		ended <- err
	}()
	late, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	select {
	case err := <-ended:
		check(t, err)
	case <-late.Done():
		t.Error("the program goes on")
	}
}

// Perch goes on when nobody reads its output any more.
func TestBrokenOutput(t *testing.T) {
	server, home, _, room := crashWorld(t, "")
	perch, out := processPrinting(t, home, "", "Listening for webhooks")
	check(t, out.Close())
	for range 3 { // each has several lines printed
		posted, err := server.Post(t.Context(), room, "alice", "!ping")
		check(t, err)
		if !posted.Deliveries[0].OK() {
			t.Fatalf("the webhook failed: %+v", posted.Deliveries[0])
		}
		_, err = server.WaitReply(t.Context(), room, posted.ID)
		check(t, err)
	}
	check(t, perch.Process.Signal(os.Interrupt))
	if err := perch.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
