package ui

import (
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
)

func TestLogAsksForAFile(t *testing.T) {
	x, _ := openLog(t, refusing(), theme.VariantLight)
	test.Tap(x.buttonOf("Export…"))
	menu := x.menu()
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyDown})
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyDown})
	menu.TypedKey(&fyne.KeyEvent{Name: fyne.KeyReturn})
	if x.window.Canvas().Overlays().Top() == nil {
		t.Fatal("nobody asks for a file")
	}
	x.shoot("log-export-file")
}
