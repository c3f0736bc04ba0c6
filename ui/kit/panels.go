package kit

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

// Card is a group of things with a title.
type Card struct {
	Composite
	ground *Panel
	title  *Line
	body   *fyne.Container
}

// Card returns a card with objects below each other; a zero title is none.
func (k *Kit) Card(title bridge.Text, objects ...fyne.CanvasObject) *Card {
	c := &Card{
		ground: NewPanel(ColorCard, ColorLine, RadiusCard),
		title:  NewLine(k.Say(title), Style{Color: ColorMuted, Size: SizeSmall, Bold: true}),
		body:   Column(Space2, objects...),
	}
	c.title.Hidden = title.IsZero()
	c.Root = Layers(c.ground, Inset(15, 17, Column(Space2, c.title, c.body)))
	c.ExtendBaseWidget(c)
	return c
}

// SetTitle changes the title and how urgent the card is: neutral, or with a
// border and title in the colour of t.
func (c *Card) SetTitle(title string, t Tone) {
	stroke := ColorLine
	if t != Neutral {
		stroke = t.Color()
	}
	c.title.Hidden = title == ""
	c.ground.Set(ColorCard, stroke)
	c.title.Set(title, Style{Color: t.Color(), Size: SizeSmall, Bold: true})
}

// Pill is a word or two about a state.
type Pill struct {
	Composite
	ground *Panel
	label  *Line
	tone   Tone
}

// PillHeight is how high a pill is.
const PillHeight = 20

// NewPill returns an empty pill.
func NewPill(t Tone) *Pill {
	p := &Pill{ground: NewPanel(t.Background(), "", PillHeight/2), label: NewFullLine("", Style{Color: t.Color(), Size: SizeSmall, Bold: true}), tone: t}
	p.Root = Layers(p.ground, Inset(0, 8, Strut(0, PillHeight, p.label)))
	p.ExtendBaseWidget(p)
	return p
}

// Set changes what it says.
func (p *Pill) Set(text string, t Tone) {
	p.tone = t
	p.ground.Set(t.Background(), "")
	p.label.Set(text, Style{Color: t.Color(), Size: SizeSmall, Bold: true})
}

// Strut returns o, at least that wide and high.
func Strut(width, height float32, o fyne.CanvasObject) *fyne.Container {
	r := canvas.NewRectangle(color.Transparent)
	r.SetMinSize(fyne.NewSize(width, height))
	return Layers(r, o)
}

// Status is how something is, as a shape, so that it is not told by its colour
// alone.
type Status int

// How something can be.
const (
	StatusOK     Status = iota // a circle with a tick
	StatusWarn                 // a square with an exclamation mark
	StatusBad                  // a square with a cross
	StatusSkip                 // a circle with a dash
	StatusBusy                 // a circle with dots
	StatusPaused               // a circle with two bars
)

// tone returns the colours of a status.
func (s Status) tone() Tone {
	switch s {
	case StatusOK:
		return OK
	case StatusWarn:
		return Warn
	case StatusBad:
		return Bad
	default:
		return Neutral
	}
}

// StatusOf returns how a check came out.
func StatusOf(s bridge.Status) Status {
	switch s {
	case bridge.StatusOK:
		return StatusOK
	case bridge.StatusWarn:
		return StatusWarn
	case bridge.StatusFail:
		return StatusBad
	default:
		return StatusSkip
	}
}

// StatusShape shows a status.
type StatusShape struct {
	Composite
	Status Status
	size   float32
	ground *Panel
	glyph  *Icon
	raised bool
}

// NewStatusShape returns the shape of s, size high and wide: 34 in a header, 20 in a
// line of text.
func NewStatusShape(s Status, size float32) *StatusShape {
	shape := &StatusShape{Status: s, size: size, ground: NewPanel("", "", 0), glyph: NewIcon("dot", ColorText, size*0.62)}
	shape.Root = Strut(size, size, Layers(shape.ground, shape.glyph))
	shape.ExtendBaseWidget(shape)
	shape.paint()
	return shape
}

// Set changes the status.
func (s *StatusShape) Set(to Status) {
	if s.Status != to {
		s.Status = to
		s.paint()
		s.ground.Refresh()
	}
}

// Raise makes it stand out from a background of its own tone, or not.
func (s *StatusShape) Raise(yes bool) {
	s.raised = yes
	s.paint()
}

func (s *StatusShape) paint() {
	s.ground.radius = s.size / 2
	var glyph string
	switch s.Status {
	case StatusOK:
		glyph = "check"
	case StatusWarn:
		glyph, s.ground.radius = "bang", s.size/4.5
	case StatusBad:
		glyph, s.ground.radius = "cross", s.size/4.5
	case StatusSkip:
		glyph = "dash"
	case StatusBusy:
		glyph = "dots"
	case StatusPaused:
		glyph = "pause"
	}
	ground := s.Status.tone().Background()
	if s.raised {
		ground = ColorCard
	}
	s.ground.Set(ground, "")
	s.glyph.Set(glyph, s.Status.tone().Color())
}

// CodeLine is something to type or to open: monospaced, with buttons.
type CodeLine struct {
	Composite
	Text string
	show func(string)
	line *fyne.Container
}

// CodeLine returns a line of code with a button that copies it, and others.
// Where it is too long it is cut off; with wrap it goes on below.
func (k *Kit) CodeLine(text string, wrap bool, more ...fyne.CanvasObject) *CodeLine {
	c := &CodeLine{}
	copies := k.CopyButton(bridge.Say("Copy"), func() string { return c.Text })
	c.build(text, wrap, append([]fyne.CanvasObject{copies}, more...)...)
	return c
}

// SecretCode returns a line of code that shows something else than what is
// copied: shown has the secret masked, copies returns it in full.
func (k *Kit) SecretCode(shown string, label bridge.Text, copies func() string) *CodeLine {
	c := &CodeLine{}
	c.build(shown, true, k.CopyButton(label, copies))
	return c
}

func (c *CodeLine) build(text string, wrap bool, right ...fyne.CanvasObject) {
	code := Style{Size: SizeSmall, Mono: true}
	var words fyne.CanvasObject
	if wrap {
		p := NewProse()
		words, c.show = p, func(s string) { p.Set(Part{s, code}) }
	} else {
		l := NewLine("", code)
		words, c.show = l, func(s string) { l.Set(s) }
	}
	c.line = FoldingRow(10, 0, 260, append([]fyne.CanvasObject{words}, right...)...)
	c.Root = Layers(NewPanel(ColorTint, "", RadiusControl), Inset(9, 11, c.line))
	c.ExtendBaseWidget(c)
	c.Text = text
	c.show(text)
}

// Insert puts objects between the code and its buttons.
func (c *CodeLine) Insert(objects ...fyne.CanvasObject) {
	c.line.Objects = slices.Insert(c.line.Objects, 1, objects...)
}

// Set changes the code.
func (c *CodeLine) Set(text string) {
	if c.Text != text {
		c.Text = text
		c.show(text)
		c.Relayout()
	}
}

// Figure is a number with what it counts.
type Figure struct {
	Composite
	value, note *Line
}

// Figure returns a card with a number.
func (k *Kit) Figure(title bridge.Text) *Figure {
	f := &Figure{
		value: NewLine("0", Style{Size: SizeFigure, Bold: true}),
		note:  NewLine("", Style{Color: ColorMuted}),
	}
	f.Root = Layers(
		NewPanel(ColorCard, ColorLine, RadiusCard),
		Inset(14, 17, Column(5, NewLine(k.Say(title), Style{Color: ColorMuted, Size: SizeSmall, Bold: true}), f.value, f.note)),
	)
	f.ExtendBaseWidget(f)
	return f
}

// Set changes the number, what is said about it, and its colour if it is not
// neutral.
func (f *Figure) Set(value, note string, t Tone) {
	s := Style{Size: SizeFigure, Bold: true}
	if t != Neutral {
		s.Color = t.Color()
	}
	f.value.Set(value, s)
	f.note.Set(note)
}

// BarChart shows how something went over time.
type BarChart struct {
	widget.BaseWidget
	bars []bridge.Bar
	top  int // what the highest bar stands for, at least
}

// NewBarChart returns a chart with that many bars, all of them empty.
func NewBarChart(bars int) *BarChart {
	c := &BarChart{bars: make([]bridge.Bar, bars), top: 4}
	c.ExtendBaseWidget(c)
	return c
}

// Set changes what is shown.
func (c *BarChart) Set(bars []bridge.Bar) {
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
func (c *BarChart) CreateRenderer() fyne.WidgetRenderer {
	r := &chartRenderer{chart: c}
	for range c.bars {
		bar, mark := &canvas.Rectangle{CornerRadius: 3}, &canvas.Rectangle{CornerRadius: 1.5}
		r.bars, r.marks = append(r.bars, bar), append(r.marks, mark)
		r.Children = append(r.Children, bar, mark)
	}
	return r
}

type chartRenderer struct {
	Renderer
	chart       *BarChart
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
	full := theme.ColorForWidget(ColorAccent, c)
	pale := theme.ColorForWidget(ColorCard, c)
	quiet := theme.ColorForWidget(ColorLine, c)
	wrong := theme.ColorForWidget(ColorBad, c)
	for i, b := range c.bars {
		x := float32(i) * step
		part := float32(b.Messages) / float32(most)
		high := stub + part*(size.Height-stub-mark-gap)
		Place(r.bars[i], x, size.Height-high, width, high)
		r.bars[i].FillColor = mix(pale, full, 0.5+part/2)
		if b.Messages == 0 {
			r.bars[i].FillColor = quiet
		}
		Place(r.marks[i], x, size.Height-high-gap-mark, width, mark)
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

// EmptyState stands where nothing is to be shown yet, and says what to do next.
type EmptyState struct {
	Composite
	Title *Line
	hint  *Prose
}

// EmptyState returns an empty state; buttons are what can be done about it.
func (k *Kit) EmptyState(iconName string, title, hint bridge.Text, buttons ...fyne.CanvasObject) *EmptyState {
	e := &EmptyState{
		Title: NewLine(k.Say(title), Style{Size: SizeTitle, Bold: true}),
		hint:  NewProse(Part{k.Say(hint), Style{Color: ColorMuted}}),
	}
	e.Title.Align = fyne.TextAlignCenter
	e.hint.center()
	objects := []fyne.CanvasObject{NewIcon(iconName, ColorMuted, 32), e.Title, e.hint}
	if len(buttons) > 0 {
		objects = append(objects, centerRow(Space2, buttons...))
	}
	e.Root = centered(420, Inset(Space5, Space4, Column(Space3, objects...)))
	e.ExtendBaseWidget(e)
	return e
}

// Set changes what it says.
func (e *EmptyState) Set(title, hint string) {
	e.Title.Set(title)
	e.hint.Set(Part{hint, Style{Color: ColorMuted}})
	e.hint.center()
	e.Relayout()
}

// Field is a line of a form: what it is, where it is typed, and what to know or
// what is wrong about it.
type Field struct {
	Composite
	k          *Kit
	hint, note string
	tone       Tone // of the note
	below      *Prose
}

// Field returns a line of a form; controls stand beside each other, the first
// takes the space. A zero hint is none.
func (k *Kit) Field(label, hint bridge.Text, controls ...fyne.CanvasObject) *Field {
	f := &Field{k: k, below: NewProse()}
	f.Root = container.New(&fieldLayout{}, NewProse(Part{k.Say(label), Style{Color: ColorMuted}}),
		Row(Space2, 0, controls...), f.below)
	f.ExtendBaseWidget(f)
	f.SetHint(hint)
	return f
}

// SetHint changes what to know about the field. It is shown while there is no
// note.
func (f *Field) SetHint(hint bridge.Text) {
	f.hint = f.k.Say(hint)
	f.showBelow()
}

// SetNote says what is wrong with the value, in the colour of t; the empty text
// brings the hint back.
func (f *Field) SetNote(text string, t Tone) {
	f.note, f.tone = text, t
	f.showBelow()
}

func (f *Field) showBelow() {
	text, color := f.hint, ColorMuted
	if f.note != "" {
		text, color = f.note, f.tone.Color()
	}
	f.below.Hidden = text == ""
	f.below.Set(Part{text, Style{Color: color, Size: SizeSmall}})
	f.Relayout()
}

// fieldLayout has the label at the left, or above where it is narrow.
type fieldLayout struct{ width float32 }

const (
	fieldLabel = 170
	fieldFold  = 440
)

func (l *fieldLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	return l.each(objects, width, func(fyne.CanvasObject, float32, float32, float32, float32) {})
}

func (l *fieldLayout) each(objects []fyne.CanvasObject, width float32, put func(o fyne.CanvasObject, x, y, w, h float32)) float32 {
	label, control, below := objects[0], objects[1], objects[2]
	var x, y float32
	if width < fieldFold {
		h := HeightFor(label, width)
		put(label, 0, 0, width, h)
		y = h + Space1
	} else {
		x = fieldLabel + Space4
	}
	h := HeightFor(control, width-x)
	if x > 0 {
		lh := HeightFor(label, fieldLabel)
		h = max(h, lh)
		put(label, 0, max(0, min(h, 36)-lh)/2, fieldLabel, lh)
	}
	put(control, x, y, width-x, h)
	y += h
	if below.Visible() {
		h := HeightFor(below, width-x)
		put(below, x, y+Space1, width-x, h)
		y += h + Space1
	}
	return y
}

// Layout implements fyne.Layout.
func (l *fieldLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	l.each(objects, size.Width, Place)
}

// MinSize implements fyne.Layout.
func (l *fieldLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	least := objects[1].MinSize()
	least.Height = l.HeightFor(objects, max(l.width, least.Width))
	return least
}

// Fixes says what to do: words as text, and what can be typed as code to copy.
type Fixes struct {
	Composite
	k     *Kit
	text  string
	more  []fyne.CanvasObject
	lines *fyne.Container
}

// Fixes returns an empty list; the buttons stand beside the first code.
func (k *Kit) Fixes(more ...fyne.CanvasObject) *Fixes {
	f := &Fixes{k: k, more: more, lines: Column(Space2)}
	f.Root = f.lines
	f.ExtendBaseWidget(f)
	f.build("")
	return f
}

// Set changes what to do.
func (f *Fixes) Set(fix bridge.Text) {
	if text := f.k.Say(fix); text != f.text {
		f.build(text)
		f.Relayout()
	}
}

// StartsWithCode says whether the first line is code and not words.
func (f *Fixes) StartsWithCode() bool {
	if len(f.lines.Objects) == 0 {
		return false
	}
	_, code := f.lines.Objects[0].(*CodeLine)
	return code
}

func (f *Fixes) build(text string) {
	f.text, f.lines.Objects = text, nil
	more := f.more
	for step := range strings.SplitSeq(text, "\n") {
		words, code := splitCommand(strings.TrimSpace(step))
		if words != "" {
			f.lines.Objects = append(f.lines.Objects, NewProse(Part{words, Style{Color: ColorMuted}}))
		}
		if code != "" {
			f.lines.Objects = append(f.lines.Objects, f.k.CodeLine(code, true, more...))
			more = nil
		}
	}
	if len(more) > 0 {
		f.lines.Objects = append(f.lines.Objects, Flow(Space2, more...))
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
