package ui

import (
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

// item is one thing in the window that a person can read or use, as an outline
// writes it:
//
//	words          text, with {ok}, {warn}, {bad} or {accent} if it has that colour
//	[words]        a button; (words) if it is disabled
//	⟨words⟩        a field; its placeholder if it is empty
//	<words>        a list to choose from
//	[x] words      a box to tick
//	(•) words      a choice
//	✓ ! ✕ – … ‖    a status
//	‹name›         a picture
type item struct {
	words string
	at    fyne.Position
	size  fyne.Size
	// What it is scrolled in shows no more than what is between these.
	top, bottom float32
}

// items returns what is in o, in the order in which it is drawn.
func (x *tested) items(o fyne.CanvasObject) []item {
	if !o.Visible() {
		return nil
	}
	words, leaf := x.wordsOf(o)
	if leaf {
		if words == "" {
			return nil
		}
		return []item{{words, x.app.Driver().AbsolutePositionForObject(o), o.Size(), 0, x.window.Canvas().Size().Height}}
	}
	var all []item
	switch o := o.(type) {
	case *fyne.Container:
		for _, child := range o.Objects {
			all = append(all, x.items(child)...)
		}
	case fyne.Widget:
		for _, child := range test.WidgetRenderer(o).Objects() {
			all = append(all, x.items(child)...)
		}
	}
	if scroll, ok := o.(*container.Scroll); ok {
		top := x.app.Driver().AbsolutePositionForObject(scroll).Y
		for i := range all {
			all[i].top = max(all[i].top, top)
			all[i].bottom = min(all[i].bottom, top+scroll.Size().Height)
		}
	}
	if option, ok := o.(*kit.Option); ok && len(all) > 0 {
		all[0].words = map[bool]string{true: "(•) ", false: "( ) "}[option.Selected()] + all[0].words
	}
	return all
}

// wordsOf returns what an outline says of o, and false if that is in what o is
// made of.
func (x *tested) wordsOf(o fyne.CanvasObject) (words string, leaf bool) {
	field := func(text, placeholder string, password bool) string {
		if password {
			text = strings.Repeat("•", len(text))
		}
		if text == "" {
			text = placeholder
		}
		return "⟨" + strings.ReplaceAll(text, "\n", " ⏎ ") + "⟩"
	}
	switch o := o.(type) {
	case *kit.Button:
		text := o.Text
		if text == "" {
			text = "‹" + o.Icon + "›"
		}
		if o.Disabled() {
			return "(" + text + ")", true
		}
		return "[" + text + "]", true
	case *kit.RailItem:
		return "[" + o.Label + "]", true
	case *kit.Line:
		drawn, _ := test.WidgetRenderer(o).Objects()[0].(*canvas.Text)
		if drawn.Text == "" {
			return "", true
		}
		return drawn.Text + x.toneOf(o), true
	case *kit.Prose:
		if o.Text() == "" {
			return "", true
		}
		return strings.ReplaceAll(o.Text(), "\n", " ⏎ ") + x.toneOf(o), true
	case *kit.Entry:
		return field(o.Text, o.PlaceHolder, o.Password), true
	case *messageEntry:
		return field(o.Text, o.PlaceHolder, false), true
	case *kit.Dropdown:
		return "<" + o.Selected + ">", true
	case *kit.Check:
		return map[bool]string{true: "[x] ", false: "[ ] "}[o.Checked] + o.Text, true
	case *kit.StatusShape:
		return map[kit.Status]string{kit.StatusOK: "✓", kit.StatusWarn: "!", kit.StatusBad: "✕", kit.StatusSkip: "–", kit.StatusBusy: "…", kit.StatusPaused: "‖"}[o.Status], true
	case *kit.Icon:
		picture, _ := test.WidgetRenderer(o).Objects()[0].(*canvas.Image)
		name, _, _ := strings.Cut(picture.Resource.Name(), "#")
		return "‹" + name + "›", true
	case *kit.BarChart:
		return "‹chart›", true
	}
	return "", false
}

// toneOf returns the colour of a text if it says something.
func (x *tested) toneOf(o fyne.CanvasObject) string {
	variant := x.app.Settings().ThemeVariant()
	if fixed, ok := x.app.Settings().Theme().(kittest.FixedTheme); ok {
		variant = fixed.Variant
	}
	for _, o := range kittest.VisibleObjects(o) {
		if text, ok := o.(*canvas.Text); ok && text.Text != "" {
			for name, tone := range map[string]kit.Tone{" {ok}": kit.OK, " {warn}": kit.Warn, " {bad}": kit.Bad, " {accent}": kit.Accent} {
				if text.Color == x.app.Settings().Theme().Color(tone.Color(), variant) {
					return name
				}
			}
			return ""
		}
	}
	return ""
}

// outlineOf returns what is in o as text: what stands beside each other in a
// line, from left to right.
func (x *tested) outlineOf(o fyne.CanvasObject) string {
	all := x.items(o)
	middle := func(i item) float32 { return i.at.Y + i.size.Height/2 }
	slices.SortStableFunc(all, func(a, b item) int {
		switch d := a.at.Y - b.at.Y; {
		case d < 0:
			return -1
		case d > 0:
			return 1
		default:
			return 0
		}
	})
	var b strings.Builder
	for len(all) > 0 {
		bottom := all[0].at.Y + all[0].size.Height
		var line, rest []item
		for _, i := range all {
			if middle(i) <= bottom {
				line = append(line, i)
			} else {
				rest = append(rest, i)
			}
		}
		slices.SortStableFunc(line, func(a, b item) int { return int(a.at.X - b.at.X) })
		for n, i := range line {
			if n > 0 {
				b.WriteString("  ")
			}
			b.WriteString(i.words)
		}
		b.WriteByte('\n')
		all = rest
	}
	return b.String()
}

// looks compares what a person can read and use, beside the rail, with
// testdata/<name>.txt; PERCH_GOLDEN=update writes that file.
func (x *tested) looks(name string) {
	x.t.Helper()
	got := x.outlineOf(x.shell.head) + "---\n"
	if x.shell.notice.Visible() {
		got += x.outlineOf(x.shell.notice) + "---\n"
	}
	got += x.outlineOf(x.pages[x.current].object())
	file := filepath.Join("testdata", name+".txt")
	if os.Getenv("PERCH_GOLDEN") == "update" {
		must(x.t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(x.t, err)
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		x.t.Errorf("%s looks otherwise (-want +got):\n%s", name, diff)
	}
}

// fits fails if something on the page ends beyond the right edge of the window,
// if two things lie over each other, or if a button has not the space that its
// words need.
func (x *tested) fits() {
	x.t.Helper()
	page := x.pages[x.current].object()
	width := x.window.Canvas().Size().Width
	for _, o := range kittest.VisibleObjects(page) {
		if right := x.app.Driver().AbsolutePositionForObject(o).X + o.Size().Width; right > width+1 && o.Size().Width > 0 {
			x.t.Errorf("%T ends at %v, outside the window", o, right)
		}
		if b, ok := o.(*kit.Button); ok && (b.Size().Width < b.MinSize().Width-0.5 || b.Size().Height < b.MinSize().Height-0.5) {
			x.t.Errorf("the button %q has %v instead of %v", b.Text, b.Size(), b.MinSize())
		}
	}
	all := x.items(page)
	for i, a := range all {
		for _, b := range all[:i] {
			wide := min(a.at.X+a.size.Width, b.at.X+b.size.Width) - max(a.at.X, b.at.X)
			high := min(a.at.Y+a.size.Height, b.at.Y+b.size.Height, a.bottom, b.bottom) - max(a.at.Y, b.at.Y, a.top, b.top)
			if wide > 2 && high > 2 {
				x.t.Errorf("%q and %q lie over each other by %v × %v", a.words, b.words, wide, high)
			}
		}
	}
}

// isDrawnIn fails if something in the window has a colour that only the other
// of light and dark has.
func (x *tested) isDrawnIn(variant fyne.ThemeVariant) {
	x.t.Helper()
	colors := func(v fyne.ThemeVariant) map[color.NRGBA]bool {
		all := map[color.NRGBA]bool{}
		for _, name := range []fyne.ThemeColorName{
			kit.ColorText, kit.ColorMuted, kit.ColorLine, kit.ColorBorder, kit.ColorCard, kit.ColorRail, kit.ColorTint, kit.ColorBackground,
			kit.ColorAccent, kit.ColorAccentBackground, kit.ColorBad, kit.ColorWarn, kit.ColorOnAccent, theme.ColorNameInputBackground,
			kit.OK.Color(), kit.OK.Background(), kit.Warn.Background(), kit.Bad.Background(),
		} {
			all[color.NRGBAModel.Convert(kit.NewTheme().Color(name, v)).(color.NRGBA)] = true
		}
		return all
	}
	own := colors(variant)
	other := colors(theme.VariantDark + theme.VariantLight - variant)
	seen := 0
	check := func(o fyne.CanvasObject, c color.Color) {
		if c == nil {
			return
		}
		rgba := color.NRGBAModel.Convert(c).(color.NRGBA)
		if own[rgba] {
			seen++
		} else if other[rgba] {
			x.t.Errorf("%T has the colour %v, which is not of this theme", o, rgba)
		}
	}
	for _, o := range kittest.VisibleObjects(x.window.Canvas().Content()) {
		switch o := o.(type) {
		case *canvas.Text:
			check(o, o.Color)
		case *canvas.Rectangle:
			check(o, o.FillColor)
			check(o, o.StrokeColor)
		}
	}
	if seen < 20 {
		x.t.Errorf("only %d colours are of this theme", seen)
	}
}

// A test of what the tests above see by.
func TestOutline(t *testing.T) {
	x := open(t, newFake())
	save := x.kit.Button(bridge.Say("Save"), nil)
	save.Disable()
	name := x.kit.Entry(bridge.Say("your name"))
	box := x.kit.Check(bridge.Say("at once"), nil)
	box.Set(true)
	x.window.SetContent(kit.Column(
		10, kit.Row(10, 1, kit.NewStatusShape(kit.StatusWarn, 20), kit.NewLine("careful", kit.Style{Color: kit.ColorWarn}), x.kit.Button(bridge.Say("Undo"), nil), save),
		name, box, kit.NewProse(kit.NewPart("two\nlines", kit.Style{})),
	))
	want := "!  careful {warn}  [Undo]  (Save)\n⟨your name⟩\n[x] at once\ntwo ⏎ lines\n"
	if diff := cmp.Diff(want, x.outlineOf(x.window.Canvas().Content())); diff != "" {
		t.Error(diff)
	}
}
