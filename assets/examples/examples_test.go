// Package examples_test runs the example handlers as Perch does.
package examples_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/handler"
	"perch/bridge/testenv"
)

func TestExamples(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("they are started by their first line")
	}
	t.Setenv("HOME", t.TempDir())
	dice := filepath.Join(t.TempDir(), "dice")
	if out, err := exec.Command("go", "build", "-o", dice, "dice/main.go").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, example := range []struct {
		program, needs string
		talk           [][2]string // what is said, and a pattern of what is answered
	}{
		{"disk.sh", "sh", [][2]string{{"disk", `^\S+ of \S+ are free\.$`}, {"what is a disk?", `^$`}}},
		{"shopping.py", "python3", [][2]string{
			{"list", `^Nothing is on the list\.$`},
			{"add milk", `^milk is on the list\.$`},
			{"add rye bread", `^rye bread`},
			{"list", `^- milk\n- rye bread$`},
			{"done milk", `^milk is done\.$`},
			{"list", `^- rye bread$`},
			{"hello", `^$`},
		}},
		{"until.mjs", "node", [][2]string{
			{"until 2026-12-24", `^27 days until 2026-12-24, Alice\.$`}, {"until 2026-13-99", `is no day\.$`}, {"hello", `^$`},
		}},
		{dice, "go", [][2]string{
			{"roll 3d1", `^3d1: \*\*3\*\*$`}, {"roll 2d6", `^2d6: \*\*([2-9]|1[0-2])\*\*$`}, {"roll 1000d6", `^At most`}, {"hello", `^$`},
		}},
	} {
		t.Run(filepath.Base(example.program), func(t *testing.T) {
			testenv.NeedPrograms(t, example.needs)
			program, err := filepath.Abs(example.program)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			h := handler.Exec{Command: []string{program}, Dir: filepath.Join(dir, "work"), Temp: filepath.Join(dir, "temp")}
			for _, said := range example.talk {
				got, err := h.Handle(t.Context(), bridge.Message{
					Key:  bridge.Key{Server: "https://cloud.example.com", Room: "knzaftd5", ID: "1"},
					Text: said[0], Room: bridge.Room{Token: "knzaftd5"},
					Author:     bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: "Alice"},
					ReceivedAt: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC),
				})
				if err != nil {
					t.Fatalf("%q: %v", said[0], err)
				}
				text := ""
				if len(got) > 0 {
					text = got[0].Text
				}
				if len(got) > 1 || !regexp.MustCompile(said[1]).MatchString(text) {
					t.Errorf("%q is answered with %q; want %s", said[0], text, said[1])
				}
			}
		})
	}
}
