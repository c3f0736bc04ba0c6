package secret

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"perch/bridge"
	"perch/bridge/testenv"
)

// A session has a bus and a home of its own, in which the state of the keychain
// is prepared; TestInSession runs there, in a process of its own.
const (
	stateVariable = "PERCH_TEST_KEYCHAIN"

	service  = "perch-test"
	canary   = "canary-of-the-webhook-secret-0123456789ABCDEF" // must never be in a file
	unlocked = `printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null`
	started  = `gnome-keyring-daemon --start --components=secrets >/dev/null`

	// A bus on which nothing can be started.
	bareBus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
)

// Every state of a real keychain is told from the others.
func TestKeychain(t *testing.T) {
	testenv.NeedPrograms(t, "dbus-run-session", "gnome-keyring-daemon", "secret-tool")
	t.Run("unlocked", func(t *testing.T) {
		home := t.TempDir()
		inSession(t, home, "unlocked", unlocked)
		inSession(t, home, "locked", started)
		inSession(t, home, "prompt", started)
		inSession(t, home, "stored", unlocked)
		var files int
		err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(canary)) {
				t.Errorf("the secret can be read in %s", path)
			}
			return err
		})
		if err != nil || files == 0 {
			t.Errorf("%d files, error %v", files, err)
		}
	})
	t.Run("no default keyring", func(t *testing.T) { inSession(t, t.TempDir(), "no default keyring", started) })
	t.Run("no keychain", func(t *testing.T) {
		home := t.TempDir()
		conf := filepath.Join(home, "bus.conf")
		if err := os.WriteFile(conf, []byte(bareBus), 0o600); err != nil {
			t.Fatal(err)
		}
		inSession(t, home, "no keychain", "true", "--config-file="+conf)
	})
	t.Run("dead bus", func(t *testing.T) {
		inSession(t, t.TempDir(), "dead bus", "export DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent")
	})
	t.Run("no bus", func(t *testing.T) {
		home := t.TempDir()
		launch := filepath.Join(home, "dbus-launch")
		if err := os.WriteFile(launch, []byte("#!/bin/sh\ntouch '"+home+"/launched'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		inSession(t, home, "no bus", `export PATH="$HOME:$PATH"; unset DBUS_SESSION_BUS_ADDRESS`)
		if _, err := os.Stat(filepath.Join(home, "launched")); err == nil {
			t.Error("a stray bus was started")
		}
	})
}

// inSession runs TestInSession for a state on a bus of its own, after a shell
// command that brings it about.
func inSession(t *testing.T, home, state, prepare string, options ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", options...)
	cmd.Args = append(cmd.Args, "--", "sh", "-c", prepare+`; exec "$0" -test.run='^TestInSession$' -test.v`, os.Args[0])
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + t.TempDir(), stateVariable + "=" + state,
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestInSession")) {
		t.Errorf("%s: %v\n%s", state, err, out)
	}
}

func TestInSession(t *testing.T) {
	keychain := Keychain(service)
	webhook := bridge.NewSecret(canary)
	get := func() (string, error) {
		s, err := keychain.Get(t.Context(), bridge.WebhookSecret)
		return s.Reveal(), err
	}
	want := func(err, want error, text string) {
		t.Helper()
		if !errors.Is(err, want) || bridge.CodeOf(err) != bridge.CodeUnavailable || !strings.Contains(bridge.TextOf(err).String(), text) {
			t.Errorf("error %v", err)
		}
	}
	state := os.Getenv(stateVariable)
	place := func(want string) {
		t.Helper()
		got, fixed := Chain(env(), keychain).Place(t.Context(), bridge.WebhookSecret)
		if got.String() != want || fixed {
			t.Errorf("place %q, fixed %v", got, fixed)
		}
	}
	switch state {
	case "":
		t.Skip("runs in a session of TestKeychain")
	case "unlocked":
		place("GNOME Keyring")
		testStore(t, keychain)
		if err := keychain.Set(t.Context(), bridge.WebhookSecret, webhook); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "secret-tool", "lookup", "service", service, "username", bridge.WebhookSecret).Output()
		if err != nil || string(out) != canary {
			t.Errorf("secret-tool finds %q, error %v", out, err)
		}
		if _, err := Keychain("perch-other").Get(t.Context(), bridge.WebhookSecret); bridge.CodeOf(err) != bridge.CodeNotFound {
			t.Errorf("found for another service: %v", err)
		}
		if err := keychain.Set(t.Context(), bridge.AppToken, bridge.NewSecret(strings.Repeat("x", 100_000))); err != nil {
			t.Errorf("large: %v", err)
		}
	case "stored":
		if got, err := get(); got != canary || err != nil {
			t.Errorf("%q, error %v", got, err)
		}
	case "locked":
		place("GNOME Keyring")
		for range 2 {
			_, err := get()
			want(err, ErrLocked, "is locked, and was not unlocked")
		}
		want(keychain.Set(t.Context(), bridge.WebhookSecret, webhook), ErrLocked, "is locked, and was not unlocked")
		want(keychain.Delete(t.Context(), bridge.WebhookSecret), ErrLocked, "is locked, and was not unlocked")
	case "prompt":
		prompted := promptForever(t)
		ctx, cancel := context.WithCancel(t.Context())
		expired := expiringContext{ctx}
		go func() {
			<-prompted
			cancel()
		}()
		_, err := keychain.Get(expired, bridge.WebhookSecret)
		want(err, ErrTimeout, "is locked, and waits for its password")
		_, err = keychain.Get(expired, bridge.WebhookSecret) // while the first still waits
		want(err, ErrTimeout, "is locked, and waits for its password")
		_, err = keychain.Get(ctx, bridge.WebhookSecret)
		want(err, context.Canceled, "was not waited for")
	case "no default keyring":
		_, err := get()
		want(err, ErrNoCollection, "has no default keyring")
		want(keychain.Set(t.Context(), bridge.WebhookSecret, webhook), ErrNoCollection, "has no default keyring")
	case "no keychain":
		_, err := get()
		place("the system's keychain")
		want(err, ErrNoKeychain, "no program on this machine keeps secrets")
	case "dead bus":
		place("the system's keychain")
		_, err := get()
		want(err, ErrNoSession, "not a desktop session")
	case "no bus":
		if _, err := sessionBus(os.Getenv, "/nonexistent"); !errors.Is(err, ErrNoSession) {
			t.Errorf("error %v", err)
		}
		if bus, err := sessionBus(os.Getenv, runtimeDir()); err == nil {
			t.Logf("this machine has a bus at %s", bus)
			return
		}
		_, err := get()
		want(err, ErrNoSession, "not a desktop session")
	default:
		t.Fatalf("no such state: %s", state)
	}
}

func TestProgramNamed(t *testing.T) {
	for process, want := range map[string]string{
		"gnome-keyring-d": "GNOME Keyring", "kwalletd5": "KWallet", "kwalletd6": "KWallet", "ksecretd": "KWallet", "keepassxc": "KeePassXC", "python3": "",
	} {
		if got := programNamed(process); got != want {
			t.Errorf("%s is %q", process, got)
		}
	}
}

// A bus that says nothing is not waited for.
func TestProgramOnASilentBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1)) // The other side has begun.
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	}()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+path)
	if got := program(ctx); got != "" {
		t.Errorf("it is %q", got)
	}
	<-ended
}

// expiringContext says that its deadline is exceeded where it was cancelled.
type expiringContext struct{ context.Context }

func (c expiringContext) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return context.DeadlineExceeded
}

// Value hides that there is a context inside, which could be asked instead.
func (expiringContext) Value(any) any { return nil }

// promptForever takes the part of the desktop that shows prompts, and never
// answers. The channel is closed when it is asked for a password.
func promptForever(t *testing.T) <-chan struct{} {
	t.Helper()
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	prompted := make(chan struct{})
	err = conn.Export(prompter{prompted}, "/org/gnome/keyring/Prompter", "org.gnome.keyring.internal.Prompter")
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName("org.gnome.keyring.SystemPrompter", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("reply %v, error %v", reply, err)
	}
	return prompted
}

type prompter struct{ asked chan struct{} }

// BeginPrompting is what the keychain calls to show a prompt.
func (p prompter) BeginPrompting(dbus.ObjectPath) *dbus.Error {
	close(p.asked)
	return nil
}

func TestSessionBus(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"bus", "a b/bus"} {
		listener, err := net.Listen("unix", filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "a b", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		env        Environment
		runtimeDir string
		want       string
	}{
		{"said", env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x"), dir, "unix:path=/x"},
		{"to be launched", env("DBUS_SESSION_BUS_ADDRESS", "autolaunch:"), "/nonexistent", ""},
		{"in the runtime folder", env("XDG_RUNTIME_DIR", filepath.Join(dir, "a b")), dir, "unix:path=" + dir + "/a%20b/bus"},
		{"in the runtime folder of the user", env(), dir, "unix:path=" + dir + "/bus"},
		{"nowhere", env("XDG_RUNTIME_DIR", "/nonexistent"), "/nonexistent", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := sessionBus(test.env, test.runtimeDir)
			if got != test.want || (err == nil) != (test.want != "") || err != nil && !errors.Is(err, ErrNoSession) {
				t.Errorf("%q, error %v", got, err)
			}
		})
	}
}
