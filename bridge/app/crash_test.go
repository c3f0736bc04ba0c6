package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge/cli"
	"perch/bridge/config"
	"perch/bridge/practice"
)

// asPerch makes the test binary behave as perch itself.
const asPerch = "PERCH_TEST_AS_PERCH"

func TestMain(m *testing.M) {
	if os.Getenv(asPerch) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}))
	}
	if addr := os.Getenv(asBare); addr != "" {
		os.Exit(serveBare(addr))
	}
	os.Exit(m.Run())
}

// process starts `perch run` with the home and waits until it answers.
func process(t *testing.T, home config.Home, addr string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), self, "run")
	cmd.Env = append(os.Environ(), asPerch+"=1", "PERCH_HOME="+home.ConfigDir, "PERCH_WEBHOOK_SECRET="+key, "PERCH_APP_TOKEN=", "DBUS_SESSION_BUS_ADDRESS=")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	check(t, cmd.Start())
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := http.Get("http://" + addr + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
			return cmd
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("perch did not come up: %v\n%s", err, said.String())
		}
	}
}

// Killed at any moment, under load, again and again: what was acknowledged is
// answered.
func TestKilledAtAnyMoment(t *testing.T) {
	const rounds, rooms = 8, 4
	server, err := practice.Start(t.Context(), practice.Options{})
	check(t, err)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	home := config.Home{ConfigDir: dir, DataDir: dir}
	cfg := config.Default()
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers, cfg.Webhook.Listen = server.URL(), []string{"alice"}, freeAddr(t)
	_, err = config.Save(filepath.Join(dir, "config.toml"), cfg)
	check(t, err)
	bot, err := server.InstallBot(practice.Bot{Name: "Perch", URL: "http://" + cfg.Webhook.Listen + cfg.Webhook.Path, Secret: key})
	check(t, err)

	type question struct {
		room string
		id   int
		text string
	}
	var mu sync.Mutex
	var acknowledged []question
	var posted int
	posting, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	perch := process(t, home, cfg.Webhook.Listen)
	for c := range rooms {
		room := server.AddRoom(fmt.Sprintf("Room %d", c), "alice")
		_, err := server.EnableBot(t.Context(), room, bot)
		check(t, err)
		clients.Go(func() {
			for i := 0; posting.Err() == nil && i < 300; i++ { // the server keeps 1000 entries a room
				text := fmt.Sprintf("%d.%d", c, i)
				r, err := server.Post(posting, room, "alice", "!echo "+text)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("Post: %v", err)
					}
					return
				}
				mu.Lock()
				posted++
				if r.Deliveries[0].OK() {
					acknowledged = append(acknowledged, question{room, r.ID, text})
				}
				mu.Unlock()
			}
		})
	}
	for range rounds {
		timer := time.NewTimer(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		<-timer.C // the moment of the crash is to be any
		check(t, perch.Process.Kill())
		_ = perch.Wait()
		perch = process(t, home, cfg.Webhook.Listen)
	}
	stop()
	clients.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, q := range acknowledged {
		e, err := server.WaitReply(ctx, q.room, q.id)
		if err != nil {
			t.Fatalf("message %d (%s) was acknowledged and never answered: %v", q.id, q.text, err)
		}
		if e.Text != q.text {
			t.Errorf("%s was answered with %q", q.text, e.Text)
		}
	}
	if len(acknowledged) < rounds {
		t.Errorf("only %d of %d messages were acknowledged: that proves nothing", len(acknowledged), posted)
	}
	t.Logf("%d of %d messages were acknowledged, and all of those answered", len(acknowledged), posted)
	check(t, perch.Process.Signal(os.Interrupt))
	_ = perch.Wait()
}
