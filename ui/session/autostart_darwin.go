package session

import (
	"encoding/xml"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// autostartFile returns the agent that launchd starts with the session.
func autostartFile(getenv func(string) string) string {
	return filepath.Join(getenv("HOME"), "Library", "LaunchAgents", ID+".plist")
}

func startsAtLogin(getenv func(string) string) bool {
	_, err := os.Stat(autostartFile(getenv))
	return err == nil
}

func setStartsAtLogin(getenv func(string) string, program string, yes bool) error {
	file := autostartFile(getenv)
	if !yes {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var path strings.Builder
	if err := xml.EscapeText(&path, []byte(program)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key><string>`+ID+`</string>
	<key>ProgramArguments</key><array><string>`+path.String()+`</string><string>`+hidden+`</string></array>
	<key>RunAtLoad</key><true/>
	<key>ProcessType</key><string>Interactive</string>
</dict>
</plist>
`), 0o600)
}
