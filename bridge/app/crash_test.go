package app_test

import (
	"bufio"
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

	"perch/bridge"
	"perch/bridge/cli"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// asPerch makes the test binary behave as perch itself.
const asPerch = "PERCH_TEST_AS_PERCH"

func TestMain(m *testing.M) {
	if os.Getenv(asPerch) != "" {
		os.Exit(cli.Process(cli.Faces{}))
	}
	if addr := os.Getenv(asBare); addr != "" {
		os.Exit(serveBare(addr))
	}
	os.Exit(m.Run())
}

// process starts `perch run` with the home and waits until it listens.
func process(t *testing.T, home config.Home) *exec.Cmd {
	t.Helper()
	return processUntil(t, home, "", "Listening for webhooks")
}

// processUntil starts `perch run` with the home and an app token, and waits
// until it says so.
func processUntil(t *testing.T, home config.Home, token, ready string) *exec.Cmd {
	t.Helper()
	cmd, _ := processSaying(t, home, token, ready)
	return cmd
}

// processSaying is processUntil. After the process has ended, said returns what
// it printed.
func processSaying(t *testing.T, home config.Home, token, ready string) (cmd *exec.Cmd, said func() string) {
	t.Helper()
	cmd, out := processPrinting(t, home, token, ready)
	var printed strings.Builder
	rest := make(chan struct{})
	go func() { // until it ends
		defer close(rest)
		_, _ = io.Copy(&printed, out)
		_ = out.Close()
	}()
	return cmd, func() string { <-rest; return printed.String() }
}

// processPrinting is processUntil, and returns what prints the rest of its output.
func processPrinting(t *testing.T, home config.Home, token, ready string) (cmd *exec.Cmd, out *os.File) {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	cmd = exec.CommandContext(t.Context(), self, "run")
	cmd.Env = append(os.Environ(), asPerch+"=1", "PERCH_HOME="+home.ConfigDir, "PERCH_WEBHOOK_SECRET="+key, "PERCH_APP_TOKEN="+token, "DBUS_SESSION_BUS_ADDRESS=")
	var failed strings.Builder
	cmd.Stderr = &failed
	out, theirs, err := os.Pipe()
	check(t, err)
	cmd.Stdout = theirs
	check(t, cmd.Start())
	check(t, theirs.Close())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), ready) {
			return cmd, out
		}
	}
	_ = cmd.Wait()
	t.Fatalf("perch did not come up: %s", failed.String())
	return nil, nil
}

// health asks /healthz.
func health(t *testing.T, addr string) (status int, word string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/healthz", nil)
	check(t, err)
	resp, err := http.DefaultClient.Do(r)
	check(t, err)
	body, err := io.ReadAll(resp.Body)
	check(t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, strings.TrimSpace(string(body))
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
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers, cfg.Webhook.Listen = server.URL(), []string{"alice"}, testenv.FreeAddr(t)
	_, err = config.Save(filepath.Join(dir, "config.toml"), cfg)
	check(t, err)
	bot, err := server.InstallBot(practice.Bot{Name: "Perch", URL: "http://" + cfg.Webhook.Listen + cfg.Webhook.Path, Secret: key})
	check(t, err)

	type question struct {
		room string
		id   int
		text string
	}
	var (
		mu           sync.Mutex
		acknowledged []question
		up           = make(chan struct{}) // closed while Perch runs
	)
	running := func() <-chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		return up
	}
	came := make(chan struct{}, 1) // one more was acknowledged
	posting, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for c := range rooms {
		room := server.AddRoom(fmt.Sprintf("Room %d", c), "alice")
		clients.Go(func() {
			for i := range 900 { // the server keeps 1000 entries a room
				select {
				case <-running():
				case <-posting.Done():
					return
				}
				text := fmt.Sprintf("%d.%d", c, i)
				r, err := server.Post(posting, room, "alice", "!echo "+text)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("Post: %v", err)
					}
					return
				}
				if len(r.Deliveries) == 1 && r.Deliveries[0].OK() {
					mu.Lock()
					acknowledged = append(acknowledged, question{room, r.ID, text})
					mu.Unlock()
					select {
					case came <- struct{}{}:
					default:
					}
				}
			}
		})
		defer func() { stop(); clients.Wait() }()
		_, err := server.EnableBot(t.Context(), room, bot)
		check(t, err)
	}
	perch := process(t, home)
	for range rounds {
		mu.Lock()
		close(up)
		mu.Unlock()
		for range 1 + rand.IntN(15) { // under load, however slow the machine is
			<-came
		}
		<-time.After(time.Duration(rand.IntN(30)) * time.Millisecond) // the moment of the crash is to be any
		mu.Lock()
		up = make(chan struct{})
		mu.Unlock()
		check(t, perch.Process.Kill())
		_ = perch.Wait()
		perch = process(t, home)
	}
	stop()
	clients.Wait()

	for _, q := range acknowledged {
		ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
		e, err := server.WaitReply(ctx, q.room, q.id)
		cancel()
		if err != nil {
			t.Fatalf("message %d (%s) was acknowledged and never answered: %v", q.id, q.text, err)
		}
		if e.Text != q.text {
			t.Errorf("%s was answered with %q", q.text, e.Text)
		}
	}
	copies, seen := map[string]int{}, map[string]bool{}
	for _, q := range acknowledged {
		if seen[q.room] {
			continue
		}
		seen[q.room] = true
		for _, e := range server.Transcript(q.room) {
			if e.Actor.Type == bridge.ActorBot && e.System == "" {
				copies[e.Text]++
			}
		}
	}
	for text, n := range copies {
		if n > 2 {
			t.Errorf("%s stands there %d times", text, n)
		}
	}
	t.Logf("%d messages were acknowledged, and all of those answered", len(acknowledged))
	check(t, perch.Process.Signal(os.Interrupt))
	_ = perch.Wait()
}
