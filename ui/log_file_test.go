package ui

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
)

func TestLogWritesAFile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	x, p := openLog(t, refusing(), theme.VariantLight)
	p.search.SetText("kitchen")
	test.Tap(x.buttonOf("Export…"))
	menu := x.menu()
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyDown})
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyDown})
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyReturn})
	x.settle(func() bool { return x.shell.notice.Visible() })
	path := filepath.Join(home, "perch-log-2026-11-22.jsonl")
	x.reads("4 events are in " + path)
	written, err := os.ReadFile(path)
	if must(t, err); bytes.Count(written, []byte("\n")) != 4 {
		t.Errorf("written: %s", written)
	}
}
