package assets

import (
	"bytes"
	"image/png"
	"io/fs"
	"strings"
	"testing"
)

// Fyne draws strokes with a width that does not grow with the picture, so there
// are only filled shapes.
func TestPicturesAreOfFilledShapes(t *testing.T) {
	names, err := fs.Glob(files, "*/*.svg")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d pictures: %v", len(names), err)
	}
	for _, name := range names {
		svg := string(file(name))
		if strings.Contains(svg, "stroke") {
			t.Errorf("%s has strokes", name)
		}
		if strings.HasPrefix(name, "icons/") && name != "icons/perch.svg" && strings.Count(svg, "<path") != strings.Count(svg, `fill="currentColor"`) {
			t.Errorf("%s is not drawn in currentColor alone", name)
		}
	}
}

func TestPicturesByName(t *testing.T) {
	if Icon("mark") == nil || Icon("nothing") != nil || Tray("nothing") != nil {
		t.Error("pictures are not found by their names")
	}
	for _, state := range []string{"running", "degraded", "error", "paused"} {
		if Tray(state) == nil {
			t.Errorf("no picture for the tray: %s", state)
		}
	}
	logo, err := png.DecodeConfig(bytes.NewReader(Logo()))
	if err != nil || logo.Width != 512 || logo.Height != 512 {
		t.Errorf("the logo is %d × %d: %v", logo.Width, logo.Height, err)
	}
}
