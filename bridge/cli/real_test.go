//go:build real

package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// The programs that the recipes are for, from npm. Node comes from there, too,
// as what a system has is too old for some of them.
const (
	nodeJS   = "node@24"
	nodeRED  = "node-red@5.0.7"
	openClaw = "openclaw@2026.9.5"
	talk4OC  = "@openclaw/nextcloud-talk@2026.9.5"
)

const realSecret = "canary-of-the-webhook-secret-0123456789-ABCDEFGHIJ"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// installed has packages of npm installed, in a folder that is kept for the next
// time, and returns the folder. override replaces a package that npm does not have.
func installed(t *testing.T, override string, packages ...string) string {
	t.Helper()
	testenv.NeedPrograms(t, "npm")
	cache, err := os.UserCacheDir()
	check(t, err)
	dir := filepath.Join(cache, "perch-test-real", strings.NewReplacer("@", "_", "/", "_").Replace(packages[len(packages)-1]))
	check(t, os.MkdirAll(dir, 0o700))
	done := filepath.Join(dir, "installed")
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	check(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private": true, "overrides": {`+override+`}}`), 0o600))
	for _, p := range packages { // one by one: the Node that comes first installs the others
		cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--legacy-peer-deps", p)
		cmd.Dir, cmd.Env = dir, withNode(dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm install %s: %v\n%s", p, err, out)
		}
	}
	check(t, os.WriteFile(done, nil, 0o600))
	return dir
}

// withNode is the environment of a program in dir.
func withNode(dir string, more ...string) []string {
	bin := filepath.Join(dir, "node_modules")
	path := filepath.Join(bin, "node", "bin") + ":" + filepath.Join(bin, ".bin") + ":" + os.Getenv("PATH")
	return append(append(os.Environ(), "PATH="+path), more...)
}

// started starts a program that runs until the end of the test, when its output is
// shown if the test has failed.
func started(t *testing.T, dir string, env []string, command ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	check(t, err)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("%s said:\n%s", command[0], said)
		}
	})
}

// listens waits until something listens at addr.
func listens(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	for {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("nothing listens at %s", addr)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// block is the block of a document that is marked for a test.
func block(t *testing.T, file, name string) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes", file))
	check(t, err)
	m := regexp.MustCompile("(?s)<!-- test: " + name + " -->\n```[a-z0-9]*\n(.*?)```").FindSubmatch(doc)
	if m == nil {
		t.Fatalf("%s has no block %s", file, name)
	}
	return string(m[1])
}

// realWorld is a room of a practice server with a bot whose handler is to come.
type realWorld struct {
	server *practice.Server
	room   string
}

func newRealWorld(t *testing.T) realWorld {
	t.Helper()
	server, err := practice.Start(t.Context(), practice.Options{})
	check(t, err)
	t.Cleanup(server.Close)
	return realWorld{server, server.AddRoom("Kitchen", "alice")}
}

// asks runs Perch with a handler and returns what alice is answered.
func (w realWorld) asks(t *testing.T, handler, text string) string {
	t.Helper()
	listen := testenv.FreeAddr(t)
	home := t.TempDir()
	check(t, os.WriteFile(filepath.Join(home, "config.toml"), fmt.Appendf(nil, `
[channels_config.nextcloud_talk]
base_url = %q
allowed_users = ["alice"]
[webhook]
listen = %q
[handler]
%s`, w.server.URL(), listen, handler), 0o600))
	program := filepath.Join(t.TempDir(), "perch")
	build := exec.Command("go", "build", "-tags", "headless", "-o", program, "perch")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	started(t, home, append(os.Environ(), "PERCH_HOME="+home, "PERCH_WEBHOOK_SECRET="+realSecret, "DBUS_SESSION_BUS_ADDRESS=unix:path=/nowhere"), program, "run")
	listens(t, listen)
	bot, err := w.server.InstallBot(practice.Bot{Name: "Perch", URL: "http://" + listen + "/nextcloud-talk", Secret: realSecret})
	check(t, err)
	_, err = w.server.EnableBot(t.Context(), w.room, bot)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	said, err := w.server.Post(ctx, w.room, "alice", text)
	check(t, err)
	answer, err := w.server.Wait(ctx, w.room, said.ID, func(e practice.Entry) bool { return e.System == "" })
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("nothing is answered")
	}
	check(t, err)
	return answer.Text
}

func TestNodeRED(t *testing.T) {
	dir := installed(t, "", nodeJS, nodeRED)
	addr := testenv.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	user := t.TempDir()
	check(t, os.WriteFile(filepath.Join(user, "flows.json"), []byte(block(t, "node-red.md", "node-red")), 0o600))
	check(t, os.WriteFile(filepath.Join(user, "settings.js"), []byte(`module.exports = {flowFile: "flows.json", uiHost: "127.0.0.1"}`), 0o600))
	started(t, user, withNode(dir, "HOME="+user), filepath.Join(dir, "node_modules", ".bin", "node-red"), "--userDir", user, "--port", port)
	listens(t, addr)
	got := newRealWorld(t).asks(t, fmt.Sprintf("kind = \"http\"\nurl = \"http://%s/talk\"", addr), "good morning")
	if got != "You said: good morning" {
		t.Errorf("answered %q", got)
	}
}

func TestOpenClaw(t *testing.T) {
	dir := installed(t, "", nodeJS, openClaw)
	w := newRealWorld(t)
	model := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked struct{ Stream bool }
		_ = json.NewDecoder(r.Body).Decode(&asked)
		if asked.Stream {
			rw.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprint(rw, `data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"The owl says hello."}}]}`+"\n\n"+
				`data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(rw, `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The owl says hello."},"finish_reason":"stop"}]}`)
	}))
	defer model.Close()

	home, addr, gateway := t.TempDir(), testenv.FreeAddr(t), testenv.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	_, gatewayPort, _ := net.SplitHostPort(gateway)
	env := withNode(dir, "HOME="+home)
	check(t, os.Mkdir(filepath.Join(home, ".openclaw"), 0o700))
	file := filepath.Join(home, ".openclaw", "openclaw.json")
	base := fmt.Sprintf(`
  gateway: { mode: "local", port: %s, bind: "loopback", auth: { mode: "token", token: "t" } },
  models: { providers: { local: { baseUrl: "%s/v1", apiKey: "x", api: "openai-completions", models: [{ id: "m", name: "m", contextWindow: 32000, maxTokens: 1000 }] } } },
  agents: { defaults: { model: { primary: "local/m" } } },
`, gatewayPort, model.URL)
	check(t, os.WriteFile(file, []byte("{"+base+"}"), 0o600))
	program := filepath.Join(dir, "node_modules", ".bin", "openclaw")
	install := exec.Command(program, "plugins", "install", talk4OC)
	install.Dir, install.Env = home, env
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	recipe := strings.NewReplacer(
		"https://cloud.example.com", w.server.URL(), "THE SECRET", realSecret, "8788", port, "ROOM-TOKEN", w.room,
	).Replace(block(t, "openclaw.md", "openclaw"))
	recipe = recipe[:strings.LastIndex(recipe, "}")]
	present, err := os.ReadFile(file) // OpenClaw has written it anew
	check(t, err)
	check(t, os.WriteFile(file, []byte(recipe+strings.TrimPrefix(string(present), "{")), 0o600))
	started(t, home, env, program, "gateway", "run")
	listens(t, addr)
	got := w.asks(t, fmt.Sprintf("kind = \"relay\"\nurl = \"http://%s/nextcloud-talk-webhook\"", addr), "good morning")
	if !strings.Contains(got, "The owl says hello.") {
		t.Errorf("answered %q", got)
	}
}
