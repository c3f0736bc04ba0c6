//go:build package

package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"perch/bridge/practice"
)

// patience bounds every wait.
const patience = time.Minute

// A .deb is installed into a scratch root, answers, is upgraded while a reply
// waits, which is sent then, and is removed without the person's files.
func TestDebianPackage(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("there is no dpkg here")
	}
	t.Chdir("../..")
	debs := t.TempDir()
	for _, version := range []string{"1.0.0", "1.1.0"} {
		r := release{version: version, date: time.Unix(1_790_000_000, 0).UTC(), dist: debs, work: filepath.Join(t.TempDir(), "work")}
		program := filepath.Join(r.work, "perch")
		for _, step := range []func() error{
			func() error { return os.MkdirAll(r.work, 0o755) },
			r.parts,
			func() error { return r.build(t.Context(), "linux", runtime.GOARCH, program) },
			func() error { return r.packages(t.Context(), headless(runtime.GOARCH, program), "deb") },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	deb := func(version string) string {
		return filepath.Join(debs, "perch-headless_"+version+"-1_"+runtime.GOARCH+".deb")
	}
	root := t.TempDir()
	s := scratch{t, root}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg := func(args ...string) {
		t.Helper()
		s.do("dpkg", append([]string{"--root=" + root, "--force-not-root", "--force-depends", "--log=" + filepath.Join(root, "log")}, args...)...)
	}

	dpkg("--install", deb("1.0.0"))
	perch := filepath.Join(root, "usr/bin/perch")
	if got := s.do(perch, "version"); got != "perch 1.0.0" {
		t.Errorf("installed is %q", got)
	}
	server, err := practice.Start(t.Context(), practice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.AddUser("alice", "Alice")
	room := server.AddRoom("Kitchen", "alice")
	const secret = "canary-of-the-webhook-secret-0123456789-ABCDEFGHIJ"
	home := filepath.Join(t.TempDir(), "home")
	t.Setenv("PERCH_HOME", home)
	t.Setenv("PERCH_WEBHOOK_SECRET", secret)
	s.do(perch, "config", "init", server.URL(), "--allow", "alice")
	file := filepath.Join(home, "config.toml")
	settings, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(settings), "127.0.0.1:8460", "127.0.0.1:0", 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	b := runBot(t, perch)
	bot, err := server.InstallBot(practice.Bot{Name: "Perch", Secret: secret, URL: "http://" + b.addr + "/nextcloud-talk"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	if _, err := server.EnableBot(ctx, room, bot); err != nil {
		t.Fatal(err)
	}
	answer := func(posted int) string {
		t.Helper()
		reply, err := server.WaitReply(ctx, room, posted)
		if err != nil {
			t.Fatal(err)
		}
		return reply.Text
	}
	post := func(text string) int {
		t.Helper()
		posted, err := server.Post(ctx, room, "alice", text)
		if err != nil || len(posted.Deliveries) != 1 || !posted.Deliveries[0].OK() {
			t.Fatalf("%v, %+v", err, posted)
		}
		return posted.ID
	}
	if got := answer(post("!echo one")); got != "one" {
		t.Errorf("it answers %q", got)
	}

	server.SetFaults(practice.Fault{Kind: practice.FaultMaintenance, On: practice.EndpointBot, Times: 1 << 30})
	waiting := post("!echo two")
	b.stop()
	dpkg("--install", deb("1.1.0"))
	if got := s.do(perch, "version"); got != "perch 1.1.0" {
		t.Errorf("upgraded is %q", got)
	}
	server.SetFaults()
	b = runBot(t, perch)
	if got := answer(waiting); got != "two" {
		t.Errorf("it answers %q after the upgrade", got)
	}
	b.stop()

	dpkg("--purge", "perch-headless")
	if _, err := os.Stat(perch); !os.IsNotExist(err) {
		t.Errorf("removed, it is still there: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the settings were removed, too: %v", err)
	}

	if _, err := exec.LookPath("lintian"); err != nil {
		t.Log("there is no lintian here")
		return
	}
	if out, err := exec.CommandContext(ctx, "lintian", "--fail-on", "error", "--allow-root", deb("1.1.0")).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

// bot is a running Perch.
type bot struct {
	addr string
	stop func()
}

func runBot(t *testing.T, perch string) bot {
	t.Helper()
	cmd := exec.Command(perch, "run")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	giveUp := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := regexp.MustCompile(`listens on (\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				_, _ = io.Copy(io.Discard, out)
			}()
			return bot{m[1], func() {
				t.Helper()
				_ = cmd.Process.Signal(syscall.SIGTERM)
				<-drained
				if err := cmd.Wait(); err != nil {
					t.Errorf("it ended with %v", err)
				}
			}}
		}
	}
	t.Fatal("it does not start")
	return bot{}
}

// The unit keeps Perch in; what software centres read is valid.
func TestMetadata(t *testing.T) {
	t.Chdir("../..")
	r := release{version: "1.0.0", date: time.Unix(1_790_000_000, 0).UTC(), work: t.TempDir()}
	if err := r.parts(); err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{
		{"systemd-analyze", "security", "--offline=true", "--threshold=20", files + "/perch.service"},
		{"desktop-file-validate", files + "/app.perch.Perch.desktop"},
		{"appstreamcli", "validate", "--no-net", "--explain", r.work + "/app.perch.Perch.metainfo.xml"},
		{"mandoc", "-T", "lint", "-W", "error", r.work + "/man/perch.1.gz"},
	} {
		if _, err := exec.LookPath(check[0]); err != nil {
			t.Logf("there is no %s here", check[0])
			continue
		}
		if out, err := exec.CommandContext(t.Context(), check[0], check[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(check, " "), err, out)
		}
	}
}
