//go:build !windows && !darwin

package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"perch/bridge/testenv"
)

func TestStartsAtLogin(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	file := filepath.Join(config, "autostart", "perch.desktop")
	if StartsAtLogin() {
		t.Error("it starts by itself from the beginning")
	}
	if err := SetStartsAtLogin(false); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := SetStartsAtLogin(true); err != nil || !StartsAtLogin() {
			t.Errorf("on: %v, error %v", StartsAtLogin(), err)
		}
	}
	for _, off := range []string{"Hidden=true\n", "X-GNOME-Autostart-enabled = false\n"} { // as the settings of desktops write it
		if err := os.WriteFile(file, []byte("[Desktop Entry]\nExec=perch\n"+off), 0o600); err != nil {
			t.Fatal(err)
		}
		if StartsAtLogin() {
			t.Errorf("%q is not heeded", off)
		}
	}
	if err := SetStartsAtLogin(false); err != nil || StartsAtLogin() {
		t.Errorf("off: %v, error %v", !StartsAtLogin(), err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the entry is still there")
	}
}

func TestStartsAtLoginReadOnly(t *testing.T) {
	config := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CONFIG_HOME", config)
	if err := SetStartsAtLogin(true); err == nil || StartsAtLogin() {
		t.Errorf("on: %v, error %v", StartsAtLogin(), err)
	}
}

func TestProgramPath(t *testing.T) {
	image := func(key string) string { return map[string]string{"APPIMAGE": "/opt/Perch.AppImage"}[key] }
	if got, err := programPath(image); got != "/opt/Perch.AppImage" || err != nil {
		t.Errorf("%q, error %v", got, err)
	}
	if got, err := programPath(func(string) string { return "" }); !filepath.IsAbs(got) || err != nil {
		t.Errorf("%q, error %v", got, err)
	}
}

// The desktop's own reader of entries starts what was written, whatever its
// path has in it (but for %, which GLib does not take in a path).
func TestDesktopEntry(t *testing.T) {
	testenv.NeedPrograms(t, "gio")
	for _, name := range []string{"plain", "with space", `quote"d`, "dollar$HOME", "back`tick", `back\slash`, `back\\slashes`, "new\nline", "semi;colon&"} {
		dir := t.TempDir()
		program, seen := filepath.Join(dir, name), filepath.Join(dir, "seen")
		script := "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$@\" > " + seen + ".new && mv " + seen + ".new " + seen + "\n"
		if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		entry := filepath.Join(dir, "perch.desktop")
		if err := os.WriteFile(entry, []byte(desktopEntry(program)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "gio", "launch", entry).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", name, err, out)
			continue
		}
		eventually(t, name+" was started", func() bool { _, err := os.Stat(seen); return err == nil })
		if got, _ := os.ReadFile(seen); string(got) != "1\n--hidden\n" {
			t.Errorf("%q was started with %q", name, got)
		}
	}
}

// eventually waits until done is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(testenv.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still not so after %v: %s", testenv.Patience, what)
		}
	}
}
