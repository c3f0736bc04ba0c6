package kit

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/driver/software"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
	"github.com/google/go-cmp/cmp"

	"perch/assets"
	"perch/bridge"
	"perch/ui/kit/kittest"
)

// bench is a kit in a window of its own, and what it was asked for.
type bench struct {
	*Kit
	t       *testing.T
	window  fyne.Window
	copied  []string
	timers  []func()
	escapes int
	keys    []fyne.Shortcut
}

func newBench(t *testing.T) *bench {
	t.Helper()
	app := test.NewTempApp(t)
	app.Settings().SetTheme(kittest.FixedTheme{Theme: NewTheme(), Variant: theme.VariantLight})
	b := &bench{t: t, window: test.NewTempWindow(t, nil)}
	b.Kit = &Kit{
		Copy:     func(s string) { b.copied = append(b.copied, s) },
		Later:    func(_ time.Duration, f func()) { b.timers = append(b.timers, f) },
		Escape:   func() { b.escapes++ },
		Shortcut: func(s fyne.Shortcut) { b.keys = append(b.keys, s) },
		Unfocus:  func() { b.window.Canvas().Unfocus() },
		Reveal:   func(fyne.CanvasObject) {},
	}
	return b
}

// put shows objects in the window, that wide.
func (b *bench) put(width float32, objects ...fyne.CanvasObject) {
	b.window.SetPadded(false)
	b.window.SetContent(Column(Space2, objects...))
	b.window.Resize(fyne.NewSize(width, 400))
}

func (b *bench) press(keys ...fyne.KeyName) {
	for _, k := range keys {
		if k == fyne.KeyTab {
			b.window.Canvas().FocusNext()
			continue
		}
		b.window.Canvas().Focused().TypedKey(&fyne.KeyEvent{Name: k})
	}
}

// Text is readable on its ground, in light and dark: at least 4.5 to 1, what
// WCAG asks of small text; lines and shapes that tell something 3 to 1.
func TestColorsAreReadable(t *testing.T) {
	for _, light := range []bool{true, false} {
		c := func(name fyne.ThemeColorName) color.Color {
			c, ok := palette(name, light)
			if !ok {
				t.Fatalf("no colour %s", name)
			}
			return c
		}
		for text, grounds := range map[fyne.ThemeColorName][]fyne.ThemeColorName{
			ColorText:     {ColorBackground, ColorCard, ColorRail, ColorTint, ColorAccentBackground, ColorOKBackground, ColorWarnBackground, ColorBadBackground},
			ColorMuted:    {ColorBackground, ColorCard, ColorRail, ColorTint},
			ColorAccent:   {ColorCard, ColorAccentBackground},
			ColorOK:       {ColorCard, ColorOKBackground},
			ColorWarn:     {ColorCard, ColorWarnBackground},
			ColorBad:      {ColorCard, ColorBadBackground},
			ColorOnAccent: {ColorAccent, ColorAccentHover},
		} {
			for _, ground := range grounds {
				if got := contrast(c(text), c(ground)); got < 4.5 {
					t.Errorf("light %v: %s on %s has a contrast of %.1f", light, text, ground, got)
				}
			}
		}
		for _, ground := range []fyne.ThemeColorName{ColorBackground, ColorCard, ColorRail, ColorTint} {
			for _, line := range []fyne.ThemeColorName{ColorBorder, ColorAccent, ColorBad} {
				if got := contrast(c(line), c(ground)); got < 3 {
					t.Errorf("light %v: a border of %s on %s has a contrast of %.1f", light, line, ground, got)
				}
			}
		}
	}
}

// contrast returns the contrast of two colours as WCAG has it.
func contrast(a, b color.Color) float64 {
	bright := func(c color.Color) float64 {
		part := func(v uint32) float64 {
			f := float64(v) / 0xffff
			if f <= 0.04045 {
				return f / 12.92
			}
			return math.Pow((f+0.055)/1.055, 2.4)
		}
		r, g, b, _ := c.RGBA()
		return 0.2126*part(r) + 0.7152*part(g) + 0.0722*part(b)
	}
	x, y := bright(a), bright(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestButtonByMouseAndKeyboard(t *testing.T) {
	b := newBench(t)
	pressed := 0
	button := b.Button(bridge.Say("Pause"), func() { pressed++ })
	b.put(200, button)
	test.Tap(button)
	b.press(fyne.KeyTab, fyne.KeyReturn, fyne.KeySpace, fyne.KeyEnter, fyne.KeyA)
	if pressed != 4 {
		t.Errorf("a tap, Return, Space and Enter pressed it %d times", pressed)
	}
	b.press(fyne.KeyEscape)
	if b.escapes != 1 {
		t.Error("Escape did not get through")
	}
	button.Disable()
	test.Tap(button)
	if pressed != 4 {
		t.Error("a disabled button was pressed")
	}
	b.window.Canvas().Unfocus()
	if b.window.Canvas().FocusNext(); b.window.Canvas().Focused() != nil {
		t.Error("a disabled button got the focus")
	}
}

func TestCopyButtonSaysSoForAMoment(t *testing.T) {
	b := newBench(t)
	code := b.CodeLine("perch occ", true)
	b.put(400, code)
	button := code.line.Objects[1].(*Button)
	width := button.MinSize().Width
	test.Tap(button)
	test.Tap(button)
	code.Set("perch log")
	test.Tap(button)
	if diff := cmp.Diff([]string{"perch occ", "perch occ", "perch log"}, b.copied); diff != "" {
		t.Error(diff)
	}
	if button.Text != "Copied" || button.MinSize().Width != width {
		t.Errorf("after copying it says %q, %v wide instead of %v", button.Text, button.MinSize().Width, width)
	}
	b.timers[0]()
	if button.Text != "Copied" {
		t.Error("the time of the first copy took the word of the last one away")
	}
	b.timers[2]()
	if button.Text != "Copy" {
		t.Errorf("later it says %q", button.Text)
	}
}

// What is shown of a secret is not what is copied.
func TestSecretCodeCopiesInFull(t *testing.T) {
	b := newBench(t)
	code := b.SecretCode("install '••••••'", bridge.Say("Copy with secret"), func() string { return "install 's3cret'" })
	b.put(400, code)
	test.Tap(code.line.Objects[1].(*Button))
	if b.copied[0] != "install 's3cret'" || code.Text != "install '••••••'" {
		t.Errorf("copied %q, shown %q", b.copied, code.Text)
	}
}

func TestChooserByMouseAndKeyboard(t *testing.T) {
	b := newBench(t)
	var taken []int
	cards := b.ChoiceCards([]Choice{
		{bridge.Say("Cloudflare tunnel"), bridge.Say("public, no open port")},
		{bridge.Say("Same network"), bridge.Say("http://192.168.1.20:8460")},
		{bridge.Say("My own proxy"), bridge.Say("an address of yours")},
	}, func(i int) { taken = append(taken, i) })
	b.put(600, cards)
	cards.Set(1)
	if len(taken) > 0 {
		t.Error("set was taken for a person")
	}
	b.press(fyne.KeyTab, fyne.KeyRight, fyne.KeyRight, fyne.KeyLeft, fyne.KeyHome, fyne.KeyHome, fyne.KeyEnd, fyne.KeyUp, fyne.KeySpace, fyne.KeyEscape)
	test.Tap(cards.options[0])
	if diff := cmp.Diff([]int{2, 0, 2, 0, 2, 1, 0}, taken); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	if b.escapes != 1 {
		t.Error("Escape did not get through")
	}
	for i, o := range cards.options {
		stands := o.ground.fill == ColorAccentBackground && o.ground.Stroke == ColorAccent
		if stands != (i == 0) || o.Selected() != stands {
			t.Errorf("choice %d stands out: %v", i, stands)
		}
		if left, width := o.Position().X, o.Size().Width; left != float32(i)*(width+10) || width < 190 {
			t.Errorf("choice %d is at %v, %v wide", i, left, width)
		}
	}
}

func TestDropdownAndCheckAndEntry(t *testing.T) {
	b := newBench(t)
	var taken []string
	list := b.Dropdown([]string{"All levels", "Warnings", "Errors"}, func(i int) { taken = append(taken, fmt.Sprint("level ", i)) })
	box := b.Check(bridge.Say("Start at login"), func(yes bool) { taken = append(taken, fmt.Sprint("login ", yes)) })
	field := b.Entry(bridge.Say("Filter"))
	b.put(300, list, box, field)
	list.Set(0)
	box.Set(true)
	if len(taken) > 0 {
		t.Errorf("set was taken for a person: %v", taken)
	}
	list.SetSelected("Errors")
	b.press(fyne.KeyTab, fyne.KeyEscape, fyne.KeyTab, fyne.KeyReturn, fyne.KeyEscape)
	if diff := cmp.Diff([]string{"level 2", "login false"}, taken); diff != "" || b.escapes != 2 {
		t.Errorf("%s, %d escapes", diff, b.escapes)
	}
	b.press(fyne.KeyTab)
	field.TypedShortcut(&desktop.CustomShortcut{KeyName: fyne.KeyComma, Modifier: fyne.KeyModifierShortcutDefault})
	if len(b.keys) != 1 {
		t.Error("a shortcut of the window is lost while a person types")
	}
	if b.press(fyne.KeyEscape); b.window.Canvas().Focused() != nil {
		t.Error("Escape does not leave the field")
	}
	marked := func() bool {
		return slices.ContainsFunc(kittest.VisibleObjects(field), func(o fyne.CanvasObject) bool {
			r, ok := o.(*canvas.Rectangle)
			return ok && r.StrokeColor == theme.ColorForWidget(ColorBad, field)
		})
	}
	if field.Mark(errors.New("wrong")); !marked() {
		t.Error("a wrong field has no border of that colour")
	}
	if field.Mark(nil); marked() {
		t.Error("a field that was wrong keeps its border")
	}
}

// Each status has a shape of its own, whatever its colour.
func TestStatusesDifferInShape(t *testing.T) {
	newBench(t)
	seen := map[string]Status{}
	for s := StatusOK; s <= StatusPaused; s++ {
		shape := NewStatusShape(s, 20)
		key := fmt.Sprint(shape.glyph.name, " on ", shape.ground.radius)
		if other, ok := seen[key]; ok {
			t.Errorf("%v and %v are both %s", s, other, key)
		}
		seen[key] = s
		if assets.Icon(shape.glyph.name) == nil {
			t.Errorf("there is no picture %q", shape.glyph.name)
		}
	}
}

func TestLineIsCutOff(t *testing.T) {
	newBench(t)
	shown := func(text string, whole bool, width float32) string {
		l := NewLine(text, Style{})
		l.whole = whole
		l.Resize(fyne.NewSize(width, 20))
		return test.WidgetRenderer(l).Objects()[0].(*canvas.Text).Text
	}
	const text = "The server refused the signature of this reply."
	if got := shown(text, false, 1000); got != text {
		t.Errorf("with space enough: %q", got)
	}
	cut := shown(text, false, 120)
	if !strings.HasPrefix(text, strings.TrimSuffix(cut, "…")) || !strings.HasSuffix(cut, "…") || len(cut) < 12 {
		t.Errorf("cut off: %q", cut)
	}
	if w := fyne.MeasureText(cut, 14, fyne.TextStyle{}).Width; w > 121 {
		t.Errorf("%q is %v wide instead of 120", cut, w)
	}
	// What a reader sees as one character stays one, or goes.
	const family, flag = "👨\u200d👩\u200d👧", "🇩🇪"
	for width := float32(10); width < 160; width += 3 {
		cut := strings.TrimSuffix(shown(strings.Repeat(family, 3)+strings.Repeat(flag, 3)+"e\u0301e\u0301 名前", false, width), "…")
		for _, whole := range []string{family, flag, "e\u0301", " ", "名", "前"} {
			cut = strings.ReplaceAll(cut, whole, "")
		}
		if cut != "" {
			t.Errorf("%v wide: %q is left of a character", width, cut)
		}
	}
	if got := shown(text, true, 50); got != text {
		t.Errorf("a whole line was cut off: %q", got)
	}
	if got := shown("two\nlines", false, 1000); got != "two lines" {
		t.Errorf("more than a line: %q", got)
	}
}

// The height of wrapping text is known before it is shown at a width, through
// all layouts.
func TestHeightsFollowWidths(t *testing.T) {
	newBench(t)
	text := func() *Prose {
		return NewProse(Part{"The bot is not enabled in this conversation, or its secret differs from the server's.", Style{}})
	}
	k := &Kit{Reveal: func(fyne.CanvasObject) {}}
	for name, o := range map[string]fyne.CanvasObject{
		"prose": text(), "column": Column(8, text(), text()), "row": Row(8, 0, text(), Strut(60, 10, NewPanel("", "", 0))),
		"inset": Inset(10, 10, text()), "layers": Layers(text()), "grid": Grid(8, 100, text(), text()), "centered": centered(200, text()),
		"card": k.Card(bridge.Say("Title"), text()), "field": k.Field(bridge.Say("Server address"), bridge.Say("Nextcloud ids, separated by commas. Empty: nobody. *: everybody."), text()),
		"flow": Flow(8, Strut(100, 20, NewPanel("", "", 0)), Strut(100, 20, NewPanel("", "", 0)), Strut(100, 20, NewPanel("", "", 0))),
	} {
		wide, narrow := HeightFor(o, 900), HeightFor(o, 180)
		if narrow <= wide {
			t.Errorf("%s: %v high at 180, %v at 900", name, narrow, wide)
		}
		// A scroller gives it enough, also when it gets narrower.
		s := NewScroller(o)
		s.Resize(fyne.NewSize(900, 10))
		s.Resize(fyne.NewSize(180, 10))
		if got := o.Size().Height; got < narrow {
			t.Errorf("%s in a scroller: %v high instead of %v", name, got, narrow)
		}
		if got := o.MinSize().Height; got > o.Size().Height+0.1 {
			t.Errorf("%s: least height %v, given %v", name, got, o.Size().Height)
		}
	}
}

func TestGridLeavesNobodyAlone(t *testing.T) {
	for width, want := range map[float32]int{900: 4, 640: 4, 600: 2, 480: 2, 200: 1} {
		if got, _ := (&gridLayout{gap: 10, least: 150}).columns(4, width); got != want {
			t.Errorf("4 objects in %v: %d columns, want %d", width, got, want)
		}
	}
}

func TestRowFoldsWhereItIsNarrow(t *testing.T) {
	newBench(t)
	code, pill := NewPanel("", "", 0), Strut(100, 20, NewPanel("", "", 0))
	r := FoldingRow(10, 0, 200, Strut(0, 20, code), pill)
	r.Resize(fyne.NewSize(400, HeightFor(r, 400)))
	if r.Size().Height != 20 || pill.Position() != fyne.NewPos(300, 0) {
		t.Errorf("wide: %v high, the pill at %v", r.Size().Height, pill.Position())
	}
	r.Resize(fyne.NewSize(250, HeightFor(r, 250)))
	if r.Size().Height != 50 || pill.Position() != fyne.NewPos(0, 30) || code.Size().Width != 250 {
		t.Errorf("narrow: %v high, the pill at %v, the code %v wide", r.Size().Height, pill.Position(), code.Size().Width)
	}
}

func TestScrollerRevealsWhatHasTheFocus(t *testing.T) {
	newBench(t)
	s := NewScroller(Strut(10, 1000, NewPanel("", "", 0)))
	s.Resize(fyne.NewSize(100, 200))
	for _, step := range []struct{ top, height, want float32 }{
		{50, 30, 0},     // is in view
		{300, 30, 138},  // below
		{-100, 30, 30},  // above
		{120, 300, 142}, // higher than the view: its top
	} {
		s.Reveal(step.top, step.height)
		if got := s.Scroll.Offset.Y; got != step.want {
			t.Errorf("after %v: scrolled to %v, want %v", step, got, step.want)
		}
	}
}

func TestChart(t *testing.T) {
	newBench(t)
	c := NewBarChart(4)
	c.Resize(fyne.NewSize(120, 100))
	bars := []bridge.Bar{{}, {Messages: 2}, {Messages: 8, Failures: 2}, {Messages: 4}}
	c.Set(bars)
	r := test.WidgetRenderer(c).(*chartRenderer)
	var heights []float32
	for i, b := range r.bars {
		heights = append(heights, b.Size().Height)
		if b.Position().Y+b.Size().Height != 100 {
			t.Errorf("bar %d does not stand on the ground", i)
		}
		if r.marks[i].Visible() != (bars[i].Failures > 0) {
			t.Errorf("bar %d: failures shown: %v", i, r.marks[i].Visible())
		}
	}
	if !slices.IsSorted([]float32{heights[0], heights[1], heights[3], heights[2]}) || heights[0] == 0 || heights[2] > 96 {
		t.Errorf("heights: %v", heights)
	}
	mark := r.marks[2]
	if mark.Position().Y+mark.Size().Height >= r.bars[2].Position().Y || mark.Position().Y < 0 {
		t.Error("the failures are not above their bar")
	}
	// One message in a quiet hour is no full bar.
	c.Set([]bridge.Bar{{}, {Messages: 1}, {}, {}})
	if got := r.bars[1].Size().Height; got > 50 {
		t.Errorf("a single message is %v high of 100", got)
	}
}

func TestFieldShowsHintOrError(t *testing.T) {
	b := newBench(t)
	f := b.Field(bridge.Say("Allowed users"), bridge.Say("Empty: nobody."), b.Entry(bridge.Text{}))
	b.put(600, f)
	before := f.MinSize().Height
	f.SetNote("Bob the Builder is not the id of a user", Bad)
	if got := f.below.Text(); got != "Bob the Builder is not the id of a user" || f.below.parts[0].Style.Color != ColorBad {
		t.Errorf("with an error: %q", got)
	}
	f.SetNote("", Neutral)
	if got := f.below.Text(); got != "Empty: nobody." {
		t.Errorf("without: %q", got)
	}
	f.SetHint(bridge.Text{})
	if f.below.Visible() || f.MinSize().Height >= before {
		t.Error("an empty hint takes space")
	}
}

func TestSplitCommand(t *testing.T) {
	for step, want := range map[string][2]string{
		"":                                 {"", ""},
		"perch retry":                      {"", "perch retry"},
		"Fix the cause, then: perch retry": {"Fix the cause, then:", "perch retry"},
		"make one: perch secret generate webhook_secret":                                          {"make one:", "perch secret generate webhook_secret"},
		"install it again: occ talk:bot:uninstall --url=https://x":                                {"install it again:", "occ talk:bot:uninstall --url=https://x"},
		"in Talk: Conversation settings, Bots, Enable":                                            {"in Talk: Conversation settings, Bots, Enable", ""},
		"Store it again: perch secret set webhook_secret. Then send what is waiting: perch retry": {"Store it again: perch secret set webhook_secret. Then send what is waiting: perch retry", ""},
		"perch config check says whether it is in order":                                          {"", "perch config check says whether it is in order"},
	} {
		words, command := splitCommand(step)
		if got := [2]string{words, command}; got != want {
			t.Errorf("%q: %q", step, got)
		}
	}
}

// TestFixes tells words from what can be typed, line by line.
func TestFixes(t *testing.T) {
	b := newBench(t)
	f := b.Fixes(b.SmallButton(bridge.Say("Run doctor"), nil))
	b.put(500, f)
	f.Set(bridge.Say("in Talk: Conversation settings, Bots, Enable\nor on the server: occ talk:bot:setup %s", "1"))
	var got []string
	for _, o := range kittest.VisibleObjects(f) {
		switch o := o.(type) {
		case *Prose:
			got = append(got, o.Text())
		case *CodeLine:
			got = append(got, "$")
		case *Button:
			got = append(got, "["+o.Text+"]")
		}
	}
	want := []string{"in Talk: Conversation settings, Bots, Enable", "or on the server:", "$", "occ talk:bot:setup 1", "[Copy]", "[Run doctor]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWordsForNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"38 ms": FormatDuration(38 * time.Millisecond), "0.8 s": FormatDuration(800 * time.Millisecond), "12.0 s": FormatDuration(12 * time.Second), "3 min": FormatDuration(3 * time.Minute),
		"7": FormatNumber(7), "148": FormatNumber(148), "12\u202f345": FormatNumber(12345), "1\u202f234\u202f567": FormatNumber(1234567),
		"It failed.": Sentence("it failed"), "Why?": Sentence("why?"), "Über alles.": Sentence("über alles"), "": Sentence(""),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The tray's pictures can be told apart by their shape alone, and can be seen,
// on light and on dark panels, at every size that panels have.
func TestTrayPictures(t *testing.T) {
	test.NewTempApp(t)
	draw := func(state string, size int, ground color.Color) []float64 {
		c := software.NewCanvas()
		c.SetPadded(false)
		picture := canvas.NewImageFromResource(fyne.NewStaticResource(state+".svg", assets.Tray(state)))
		c.SetContent(container.NewStack(canvas.NewRectangle(ground), picture))
		c.Resize(fyne.NewSquareSize(float32(size)))
		return grays(c.Capture())
	}
	states := []string{"running", "degraded", "error", "paused"}
	for _, ground := range []color.Gray{{Y: 0xf4}, {Y: 0x1a}} {
		own := float64(ground.Y) / 255
		for _, size := range []int{16, 22, 24, 32} {
			drawn := map[string][]float64{}
			for _, state := range states {
				drawn[state] = draw(state, size, ground)
				if seen := unlike(drawn[state], slices.Repeat([]float64{own}, size*size)); seen < 0.12 {
					t.Errorf("%s at %d on %v: only %.0f %% of it stand out", state, size, ground.Y, seen*100)
				}
			}
			for i, a := range states {
				for _, b := range states[:i] {
					if d := unlike(drawn[a], drawn[b]); d < 0.03 {
						t.Errorf("%s and %s at %d on %v differ by %.1f %% alone", a, b, size, ground.Y, d*100)
					}
				}
			}
		}
	}
}

func grays(img image.Image) []float64 {
	var all []float64
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			all = append(all, float64(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y)/255)
		}
	}
	return all
}

// unlike returns how much of two pictures differs by half the way from black
// to white.
func unlike(a, b []float64) float64 {
	n := 0
	for i := range a {
		if math.Abs(a[i]-b[i]) > 0.5 {
			n++
		}
	}
	return float64(n) / float64(len(a))
}
