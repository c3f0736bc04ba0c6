// Package kittest has what the tests of the window and of its widgets share.
package kittest

import (
	"image/color"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
)

// VisibleObjects returns what is visible in o, o first, in the order in which
// it is drawn.
func VisibleObjects(o fyne.CanvasObject) []fyne.CanvasObject {
	if !o.Visible() {
		return nil
	}
	all := []fyne.CanvasObject{o}
	var children []fyne.CanvasObject
	switch o := o.(type) {
	case *fyne.Container:
		children = o.Objects
	case fyne.Widget:
		children = test.WidgetRenderer(o).Objects()
	}
	for _, child := range children {
		all = append(all, VisibleObjects(child)...)
	}
	return all
}

// FixedTheme is light or dark whatever the settings of the system say.
type FixedTheme struct {
	fyne.Theme
	Variant fyne.ThemeVariant
}

// Color implements fyne.Theme.
func (f FixedTheme) Color(name fyne.ThemeColorName, _ fyne.ThemeVariant) color.Color {
	return f.Theme.Color(name, f.Variant)
}
