package config

import (
	"cmp"
	"path/filepath"
	"runtime"

	"perch/bridge"
)

// Home is where Perch keeps its files. Both folders are absolute, and need not
// exist.
type Home struct {
	ConfigDir string
	DataDir   string

	keychain string // empty: the user's own
}

// Locate returns PERCH_HOME for everything if it is set, else the folders that
// the system has for a user's configuration and data.
func Locate(getenv func(string) string) (Home, error) { return locate(runtime.GOOS, getenv) }

func locate(goos string, getenv func(string) string) (Home, error) {
	if home := getenv("PERCH_HOME"); home != "" {
		abs, err := filepath.Abs(home)
		if err != nil {
			return Home{}, homeless(err)
		}
		return Home{ConfigDir: abs, DataDir: abs, keychain: "perch " + abs}, nil
	}
	// first returns the first folder that is absolute; the XDG specification says
	// that relative ones are to be ignored.
	first := func(dir, user string, inUser ...string) string {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(append([]string{user}, inUser...)...)
		}
		return filepath.Join(dir, "perch")
	}
	var h Home
	switch goos {
	case "windows":
		user := getenv("UserProfile")
		h.ConfigDir = first(getenv("AppData"), user, "AppData", "Roaming")
		h.DataDir = first(getenv("LocalAppData"), user, "AppData", "Local")
	case "darwin":
		h.ConfigDir = first("", getenv("HOME"), "Library", "Application Support")
		h.DataDir = h.ConfigDir
	default:
		h.ConfigDir = first(getenv("XDG_CONFIG_HOME"), getenv("HOME"), ".config")
		h.DataDir = first(getenv("XDG_DATA_HOME"), getenv("HOME"), ".local", "share")
	}
	if !filepath.IsAbs(h.ConfigDir) || !filepath.IsAbs(h.DataDir) {
		return Home{}, homeless(nil)
	}
	return h, nil
}

func homeless(cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeInvalid,
		Text:  bridge.Say("this system does not say where your home folder is"),
		Hint:  bridge.Say("say where Perch shall keep its files: set the environment variable %s", "PERCH_HOME"),
		Cause: cause,
	}
}

// ConfigFile returns the path of config.toml.
func (h Home) ConfigFile() string { return filepath.Join(h.ConfigDir, "config.toml") }

// JournalFile returns the path of the journal's database.
func (h Home) JournalFile() string { return filepath.Join(h.DataDir, "journal.db") }

// SocketFile returns the path of the socket on which the running Perch answers.
func (h Home) SocketFile() string { return filepath.Join(h.DataDir, "perch.sock") }

// Taken is the error of a process that finds another one working with h.
func (h Home) Taken() error {
	return &bridge.Error{
		Code: bridge.CodeConflict,
		Text: bridge.Say("Perch is already running with the folder %s", h.DataDir),
		Hint: bridge.Say("Stop the other one, or give this one a folder of its own: PERCH_HOME=/path perch run. What the other one does: perch log --follow"),
	}
}

// LockFile returns the path of the file that the running Perch holds locked.
func (h Home) LockFile() string { return filepath.Join(h.DataDir, "perch.lock") }

// KeychainService returns the name under which the keychain has the secrets.
// Every PERCH_HOME has one of its own.
func (h Home) KeychainService() string { return cmp.Or(h.keychain, "perch") }
