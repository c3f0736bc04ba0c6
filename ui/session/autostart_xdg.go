//go:build !windows && !darwin

package session

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// autostartFile returns the desktop entry that starts Perch with the session.
func autostartFile(getenv func(string) string) string {
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(getenv("HOME"), ".config")
	}
	return filepath.Join(dir, "autostart", "perch.desktop")
}

// startsAtLogin heeds what the settings of desktops write into the entry to
// turn it off.
func startsAtLogin(getenv func(string) string) bool {
	data, err := os.ReadFile(autostartFile(getenv))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, "=")
		switch [2]string{strings.TrimSpace(key), strings.TrimSpace(value)} {
		case [2]string{"Hidden", "true"}, [2]string{"X-GNOME-Autostart-enabled", "false"}:
			return false
		}
	}
	return true
}

func setStartsAtLogin(getenv func(string) string, program string, yes bool) error {
	file := autostartFile(getenv)
	if !yes {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(desktopEntry(program)), 0o600)
}

// desktopEntry returns the entry that starts the program hidden, as the Desktop
// Entry Specification has it: what Exec says is quoted once for its arguments,
// and once more as every string is.
func desktopEntry(program string) string {
	argument := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`, `%`, `%%`)
	value := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`)
	return `[Desktop Entry]
Type=Application
Name=Perch
Icon=` + ID + `
Exec=` + value.Replace(`"`+argument.Replace(program)+`" `+hidden) + `
TryExec=` + value.Replace(program) + `
X-GNOME-Autostart-enabled=true
`
}
