package ui

import (
	"image/color"
	"slices"
	"strings"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"perch/bridge"
)

// card is a group of things with a title.
type card struct {
	composite
	ground *panel
	title  *line
	body   *fyne.Container
}

// card returns a card with objects below each other; a zero title is none.
func (k *kit) card(title bridge.Text, objects ...fyne.CanvasObject) *card {
	c := &card{
		ground: newPanel(colorCard, colorLine, radiusCard),
		title:  newLine(k.say(title), style{color: colorMuted, size: sizeSmall, bold: true}),
		body:   column(space2, objects...),
	}
	c.title.Hidden = title.IsZero()
	c.root = layers(c.ground, inset(15, 17, column(space2, c.title, c.body)))
	c.ExtendBaseWidget(c)
	return c
}

// setTitle changes the title and how urgent the card is: neutral, or with a
// border and title in the colour of t.
func (c *card) setTitle(title string, t tone) {
	stroke := colorLine
	if t != neutral {
		stroke = t.color()
	}
	c.title.Hidden = title == ""
	c.ground.set(colorCard, stroke)
	c.title.set(title, style{color: t.color(), size: sizeSmall, bold: true})
}

// pill is a word or two about a state.
type pill struct {
	composite
	ground *panel
	label  *line
	tone   tone
}

const pillHeight = 20

func newPill(t tone) *pill {
	p := &pill{ground: newPanel(t.ground(), "", pillHeight/2), label: newWhole("", style{color: t.color(), size: sizeSmall, bold: true}), tone: t}
	p.root = layers(p.ground, inset(0, 8, newStrut(0, pillHeight, p.label)))
	p.ExtendBaseWidget(p)
	return p
}

// set changes what it says.
func (p *pill) set(text string, t tone) {
	p.tone = t
	p.ground.set(t.ground(), "")
	p.label.set(text, style{color: t.color(), size: sizeSmall, bold: true})
}

// newStrut returns o, at least that wide and high.
func newStrut(width, height float32, o fyne.CanvasObject) *fyne.Container {
	r := canvas.NewRectangle(color.Transparent)
	r.SetMinSize(fyne.NewSize(width, height))
	return layers(r, o)
}

// status is how something is, as a shape, so that it is not told by its colour
// alone.
type status int

const (
	statusOK     status = iota // a circle with a tick
	statusWarn                 // a square with an exclamation mark
	statusBad                  // a square with a cross
	statusSkip                 // a circle with a dash
	statusBusy                 // a circle with dots
	statusPaused               // a circle with two bars
)

// tone returns the colours of a status.
func (s status) tone() tone {
	switch s {
	case statusOK:
		return ok
	case statusWarn:
		return warn
	case statusBad:
		return bad
	default:
		return neutral
	}
}

// statusOf returns how a check came out.
func statusOf(s bridge.Status) status {
	switch s {
	case bridge.StatusOK:
		return statusOK
	case bridge.StatusWarn:
		return statusWarn
	case bridge.StatusFail:
		return statusBad
	default:
		return statusSkip
	}
}

// statusShape shows a status.
type statusShape struct {
	composite
	status status
	size   float32
	ground *panel
	glyph  *icon
	raised bool
}

// newStatus returns the shape of s, size high and wide: 34 in a header, 20 in a
// line of text.
func newStatus(s status, size float32) *statusShape {
	shape := &statusShape{status: s, size: size, ground: newPanel("", "", 0), glyph: newIcon("dot", colorText, size*0.62)}
	shape.root = newStrut(size, size, layers(shape.ground, shape.glyph))
	shape.ExtendBaseWidget(shape)
	shape.paint()
	return shape
}

// set changes the status.
func (s *statusShape) set(to status) {
	if s.status != to {
		s.status = to
		s.paint()
		s.ground.Refresh()
	}
}

// raise makes it stand out from a ground of its own tone.
func (s *statusShape) raise() {
	s.raised = true
	s.paint()
}

func (s *statusShape) paint() {
	s.ground.radius = s.size / 2
	var glyph string
	switch s.status {
	case statusOK:
		glyph = "check"
	case statusWarn:
		glyph, s.ground.radius = "bang", s.size/4.5
	case statusBad:
		glyph, s.ground.radius = "cross", s.size/4.5
	case statusSkip:
		glyph = "dash"
	case statusBusy:
		glyph = "dots"
	case statusPaused:
		glyph = "pause"
	}
	ground := s.status.tone().ground()
	if s.raised {
		ground = colorCard
	}
	s.ground.set(ground, "")
	s.glyph.set(glyph, s.status.tone().color())
}

// codeLine is something to type or to open: monospaced, with buttons.
type codeLine struct {
	composite
	text string
	show func(string)
	line *fyne.Container
}

// codeLine returns a line of code with a button that copies it, and others.
// Where it is too long it is cut off; with wrap it goes on below.
func (k *kit) codeLine(text string, wrap bool, more ...fyne.CanvasObject) *codeLine {
	c := &codeLine{}
	copies := k.copyButton(bridge.Say("Copy"), func() string { return c.text })
	c.build(text, wrap, append([]fyne.CanvasObject{copies}, more...)...)
	return c
}

// secretCode returns a line of code that shows something else than what is
// copied: shown has the secret masked, copies returns it in full.
func (k *kit) secretCode(shown string, label bridge.Text, copies func() string) *codeLine {
	c := &codeLine{}
	c.build(shown, true, k.copyButton(label, copies))
	return c
}

func (c *codeLine) build(text string, wrap bool, right ...fyne.CanvasObject) {
	code := style{size: sizeSmall, mono: true}
	var words fyne.CanvasObject
	if wrap {
		p := newProse()
		words, c.show = p, func(s string) { p.set(part{s, code}) }
	} else {
		l := newLine("", code)
		words, c.show = l, func(s string) { l.set(s) }
	}
	c.line = foldingRow(10, 0, 260, append([]fyne.CanvasObject{words}, right...)...)
	c.root = layers(newPanel(colorTint, "", radiusControl), inset(9, 11, c.line))
	c.ExtendBaseWidget(c)
	c.text = text
	c.show(text)
}

// lead puts objects between the code and its buttons.
func (c *codeLine) lead(objects ...fyne.CanvasObject) {
	c.line.Objects = slices.Insert(c.line.Objects, 1, objects...)
}

// set changes the code.
func (c *codeLine) set(text string) {
	if c.text != text {
		c.text = text
		c.show(text)
		c.relayout()
	}
}

// figure is a number with what it counts.
type figure struct {
	composite
	value, note *line
}

// figure returns a card with a number.
func (k *kit) figure(title bridge.Text) *figure {
	f := &figure{
		value: newLine("0", style{size: sizeFigure, bold: true}),
		note:  newLine("", style{color: colorMuted}),
	}
	f.root = layers(
		newPanel(colorCard, colorLine, radiusCard),
		inset(14, 17, column(5, newLine(k.say(title), style{color: colorMuted, size: sizeSmall, bold: true}), f.value, f.note)),
	)
	f.ExtendBaseWidget(f)
	return f
}

// set changes the number, what is said about it, and its colour if it is not
// neutral.
func (f *figure) set(value, note string, t tone) {
	s := style{size: sizeFigure, bold: true}
	if t != neutral {
		s.color = t.color()
	}
	f.value.set(value, s)
	f.note.set(note)
}

// barChart shows how something went over time.
type barChart struct {
	widget.BaseWidget
	bars []bridge.Bar
	top  int // what the highest bar stands for, at least
}

func newBarChart(bars int) *barChart {
	c := &barChart{bars: make([]bridge.Bar, bars), top: 4}
	c.ExtendBaseWidget(c)
	return c
}

// set changes what is shown.
func (c *barChart) set(bars []bridge.Bar) {
	changed := false
	for i := range c.bars {
		if c.bars[i] != bars[i] {
			c.bars[i], changed = bars[i], true
		}
	}
	if changed {
		c.Refresh()
	}
}

// CreateRenderer implements fyne.Widget.
func (c *barChart) CreateRenderer() fyne.WidgetRenderer {
	r := &chartRenderer{chart: c}
	for range c.bars {
		bar, mark := &canvas.Rectangle{CornerRadius: 3}, &canvas.Rectangle{CornerRadius: 1.5}
		r.bars, r.marks = append(r.bars, bar), append(r.marks, mark)
		r.objects = append(r.objects, bar, mark)
	}
	return r
}

type chartRenderer struct {
	renderer
	chart       *barChart
	bars, marks []*canvas.Rectangle
}

func (r *chartRenderer) MinSize() fyne.Size { return fyne.NewSize(float32(len(r.bars))*6, 66) }

// Layout draws each bar from the ground; those of few messages are paler.
// Failures lie on top as a flat line of their own, which a gap sets off.
func (r *chartRenderer) Layout(size fyne.Size) {
	const stub, mark, gap = 5, 3, 2
	c := r.chart
	most := c.top
	for _, b := range c.bars {
		most = max(most, b.Messages)
	}
	width := max(2, size.Width/float32(len(r.bars))*2/3)
	step := (size.Width - width) / float32(len(r.bars)-1)
	full := theme.ColorForWidget(colorAccent, c)
	pale := theme.ColorForWidget(colorCard, c)
	quiet := theme.ColorForWidget(colorLine, c)
	wrong := theme.ColorForWidget(colorBad, c)
	for i, b := range c.bars {
		x := float32(i) * step
		part := float32(b.Messages) / float32(most)
		high := stub + part*(size.Height-stub-mark-gap)
		place(r.bars[i], x, size.Height-high, width, high)
		r.bars[i].FillColor = mix(pale, full, 0.5+part/2)
		if b.Messages == 0 {
			r.bars[i].FillColor = quiet
		}
		place(r.marks[i], x, size.Height-high-gap-mark, width, mark)
		r.marks[i].FillColor = wrong
		r.marks[i].Hidden = b.Failures == 0
	}
}

func (r *chartRenderer) Refresh() {
	r.Layout(r.chart.Size())
	canvas.Refresh(r.chart)
}

// mix returns the colour between from and to.
func mix(from, to color.Color, part float32) color.Color {
	r1, g1, b1, _ := from.RGBA()
	r2, g2, b2, _ := to.RGBA()
	between := func(x, y uint32) uint8 { return uint8((float32(x)*(1-part) + float32(y)*part) / 257) }
	return color.NRGBA{R: between(r1, r2), G: between(g1, g2), B: between(b1, b2), A: 255}
}

// emptyState stands where nothing is to be shown yet, and says what to do next.
type emptyState struct {
	composite
	title *line
	hint  *prose
}

// emptyState returns an empty state; buttons are what can be done about it.
func (k *kit) emptyState(iconName string, title, hint bridge.Text, buttons ...fyne.CanvasObject) *emptyState {
	e := &emptyState{
		title: newLine(k.say(title), style{size: sizeTitle, bold: true}),
		hint:  newProse(part{k.say(hint), style{color: colorMuted}}),
	}
	e.title.align = fyne.TextAlignCenter
	e.hint.center()
	objects := []fyne.CanvasObject{newIcon(iconName, colorMuted, 32), e.title, e.hint}
	if len(buttons) > 0 {
		objects = append(objects, centerRow(space2, buttons...))
	}
	e.root = centered(420, inset(space5, space4, column(space3, objects...)))
	e.ExtendBaseWidget(e)
	return e
}

// set changes what it says.
func (e *emptyState) set(title, hint string) {
	e.title.set(title)
	e.hint.set(part{hint, style{color: colorMuted}})
	e.hint.center()
	e.relayout()
}

// field is a line of a form: what it is, where it is typed, and what to know or
// what is wrong about it.
type field struct {
	composite
	k     *kit
	hint  string
	below *prose
}

// field returns a line of a form; controls stand beside each other, the first
// takes the space. A zero hint is none.
func (k *kit) field(label, hint bridge.Text, controls ...fyne.CanvasObject) *field {
	f := &field{k: k, below: newProse()}
	f.root = container.New(&fieldLayout{}, newProse(part{k.say(label), style{color: colorMuted}}),
		row(space2, 0, controls...), f.below)
	f.ExtendBaseWidget(f)
	f.setHint(hint)
	return f
}

// setHint changes what to know about the field; it is shown while nothing is
// wrong.
func (f *field) setHint(hint bridge.Text) {
	f.hint = f.k.say(hint)
	f.show(f.hint, colorMuted)
}

// setError says what is wrong; the zero Text brings the hint back.
func (f *field) setError(wrong bridge.Text) {
	if wrong.IsZero() {
		f.show(f.hint, colorMuted)
		return
	}
	f.show(f.k.say(wrong), colorBad)
}

func (f *field) show(text string, c fyne.ThemeColorName) {
	f.below.Hidden = text == ""
	f.below.set(part{text, style{color: c, size: sizeSmall}})
	f.relayout()
}

// fieldLayout has the label at the left, or above where it is narrow.
type fieldLayout struct{ width float32 }

const (
	fieldLabel = 170
	fieldFold  = 440
)

func (l *fieldLayout) heightFor(objects []fyne.CanvasObject, width float32) float32 {
	return l.each(objects, width, func(fyne.CanvasObject, float32, float32, float32, float32) {})
}

func (l *fieldLayout) each(objects []fyne.CanvasObject, width float32, put func(o fyne.CanvasObject, x, y, w, h float32)) float32 {
	label, control, below := objects[0], objects[1], objects[2]
	var x, y float32
	if width < fieldFold {
		h := heightFor(label, width)
		put(label, 0, 0, width, h)
		y = h + space1
	} else {
		x = fieldLabel + space4
	}
	h := heightFor(control, width-x)
	if x > 0 {
		lh := heightFor(label, fieldLabel)
		h = max(h, lh)
		put(label, 0, max(0, min(h, 36)-lh)/2, fieldLabel, lh)
	}
	put(control, x, y, width-x, h)
	y += h
	if below.Visible() {
		h := heightFor(below, width-x)
		put(below, x, y+space1, width-x, h)
		y += h + space1
	}
	return y
}

// Layout implements fyne.Layout.
func (l *fieldLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	l.each(objects, size.Width, place)
}

// MinSize implements fyne.Layout.
func (l *fieldLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	least := objects[1].MinSize()
	least.Height = l.heightFor(objects, max(l.width, least.Width))
	return least
}

// fixes says what to do: words as text, and what can be typed as code to copy.
type fixes struct {
	composite
	k     *kit
	text  string
	more  []fyne.CanvasObject
	lines *fyne.Container
}

// fixes returns an empty list; the buttons stand beside the first code.
func (k *kit) fixes(more ...fyne.CanvasObject) *fixes {
	f := &fixes{k: k, more: more, lines: column(space2)}
	f.root = f.lines
	f.ExtendBaseWidget(f)
	f.build("")
	return f
}

// set changes what to do.
func (f *fixes) set(fix bridge.Text) {
	if text := f.k.say(fix); text != f.text {
		f.build(text)
		f.relayout()
	}
}

func (f *fixes) build(text string) {
	f.text, f.lines.Objects = text, nil
	more := f.more
	for step := range strings.SplitSeq(text, "\n") {
		words, code := splitCommand(strings.TrimSpace(step))
		if words != "" {
			f.lines.Objects = append(f.lines.Objects, newProse(part{words, style{color: colorMuted}}))
		}
		if code != "" {
			f.lines.Objects = append(f.lines.Objects, f.k.codeLine(code, true, more...))
			more = nil
		}
	}
	if len(more) > 0 {
		f.lines.Objects = append(f.lines.Objects, flow(space2, more...))
	}
}

// splitCommand splits what to do into words and the command at its end: "Make
// one: perch secret generate webhook_secret". Where there is none, or more than
// one, all of it is words.
func splitCommand(step string) (words, command string) {
	words, command = "", step
	if i := strings.LastIndex(step, ": "); i >= 0 {
		words, command = step[:i+1], step[i+2:]
	}
	program, _, _ := strings.Cut(command, " ")
	switch program {
	case "perch", "occ", "sudo", "docker", "php", "touch", "unset", "mv", "nextcloud.occ":
	default:
		return step, ""
	}
	if strings.Contains(command, ". ") || strings.Contains(words, ": perch ") || strings.Contains(words, ": occ ") {
		return step, ""
	}
	return words, strings.TrimSuffix(command, ".")
}
