package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"perch/bridge"
)

func TestLocate(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, goos string
		env        map[string]string
		want       Home
	}{
		{"PERCH_HOME", "linux", map[string]string{"PERCH_HOME": "/p", "HOME": "/h"}, Home{ConfigDir: "/p", DataDir: "/p"}},
		{"PERCH_HOME, relative", "linux", map[string]string{"PERCH_HOME": "p/../q"}, Home{ConfigDir: filepath.Join(wd, "q"), DataDir: filepath.Join(wd, "q")}},
		{"Linux", "linux", map[string]string{"HOME": "/h"}, Home{ConfigDir: "/h/.config/perch", DataDir: "/h/.local/share/perch"}},
		{"Linux, XDG", "linux", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d"}, Home{ConfigDir: "/c/perch", DataDir: "/d/perch"}},
		{"Linux, relative XDG", "linux", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "c", "XDG_DATA_HOME": "d"}, Home{ConfigDir: "/h/.config/perch", DataDir: "/h/.local/share/perch"}},
		{"Linux, XDG without a home", "linux", map[string]string{"XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d"}, Home{ConfigDir: "/c/perch", DataDir: "/d/perch"}},
		{"macOS", "darwin", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, Home{ConfigDir: "/h/Library/Application Support/perch", DataDir: "/h/Library/Application Support/perch"}},
		{"Windows", "windows", map[string]string{"AppData": "/r", "LocalAppData": "/l"}, Home{ConfigDir: "/r/perch", DataDir: "/l/perch"}},
		{"nothing", "linux", nil, Home{}},
		{"half", "linux", map[string]string{"XDG_CONFIG_HOME": "/c"}, Home{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := locate(test.goos, func(name string) string { return test.env[name] })
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Home{})); diff != "" {
				t.Errorf("home (-want +got):\n%s", diff)
			}
			if test.want.ConfigDir == "" && (bridge.CodeOf(err) != bridge.CodeInvalid || bridge.HintOf(err).IsZero()) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestEveryPerchHomeHasItsOwnSecrets(t *testing.T) {
	services := map[string]bool{}
	for _, home := range []string{"", "/a", "/b"} {
		h, err := locate("linux", func(name string) string {
			return map[string]string{"HOME": "/h", "PERCH_HOME": home}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		services[h.KeychainService()] = true
	}
	if len(services) != 3 || !services["perch"] {
		t.Errorf("services %v", services)
	}
}

func TestFilesOfAHome(t *testing.T) {
	h := Home{ConfigDir: "/c", DataDir: "/d"}
	got := []string{h.ConfigFile(), h.JournalFile(), h.LockFile()}
	if diff := cmp.Diff([]string{"/c/config.toml", "/d/journal.db", "/d/perch.lock"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
