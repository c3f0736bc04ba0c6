//go:build unix

package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
)

func TestExposed(t *testing.T) {
	dir := t.TempDir()
	home := config.Home{ConfigDir: filepath.Join(dir, "config"), DataDir: filepath.Join(dir, "data")}
	cfg := config.Default()
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers = "https://cloud.example.com", []string{"alice"}
	if _, err := config.Save(home.ConfigFile(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(home.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := home.Exposed(); len(got) > 0 {
		t.Errorf("as Perch makes it: %v", got)
	}
	for _, tt := range []struct {
		path string
		mode os.FileMode
		hint string
	}{
		{home.ConfigFile(), 0o644, "chmod 600"},
		{home.ConfigFile(), 0o602, "chmod go-w"},
		{home.ConfigDir, 0o703, "chmod go-w"},
		{home.DataDir, 0o777, "chmod go-w"},
	} {
		before, err := os.Stat(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(tt.path, tt.mode); err != nil {
			t.Fatal(err)
		}
		got := home.Exposed()
		if len(got) != 1 || got[0].File != tt.path || !strings.Contains(got[0].Hint.String(), tt.hint+" ") {
			t.Errorf("%s with mode %o: %v", tt.path, tt.mode, got)
		}
		if _, found := config.Diagnose(home); found.Status != bridge.StatusWarn || !strings.Contains(found.Fix.String(), tt.hint) {
			t.Errorf("%s with mode %o: the doctor says %+v", tt.path, tt.mode, found)
		}
		if err := os.Chmod(tt.path, before.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}
