package ui

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/canvas"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"perch/assets"
)

// composite is a widget that is made of others.
type composite struct {
	widget.BaseWidget
	root *fyne.Container
}

// CreateRenderer implements fyne.Widget.
func (c *composite) CreateRenderer() fyne.WidgetRenderer { return widget.NewSimpleRenderer(c.root) }

// MinSize implements fyne.CanvasObject: what is inside can have grown since it
// was asked last.
func (c *composite) MinSize() fyne.Size { return c.root.MinSize() }

func (c *composite) heightFor(width float32) float32 { return heightFor(c.root, width) }

// relayout takes note that something inside has another size.
func (c *composite) relayout() { c.root.Refresh() }

// panel is a rectangle in the theme's colours.
type panel struct {
	widget.BaseWidget
	fill, stroke fyne.ThemeColorName // empty: none
	radius       float32
	width        float32 // of the stroke; 0: 1
}

func newPanel(fill, stroke fyne.ThemeColorName, radius float32) *panel {
	p := &panel{fill: fill, stroke: stroke, radius: radius}
	p.ExtendBaseWidget(p)
	return p
}

// set changes the colours.
func (p *panel) set(fill, stroke fyne.ThemeColorName) {
	if p.fill != fill || p.stroke != stroke {
		p.fill, p.stroke = fill, stroke
		p.Refresh()
	}
}

// CreateRenderer implements fyne.Widget.
func (p *panel) CreateRenderer() fyne.WidgetRenderer {
	r := &panelRenderer{panel: p, rect: &canvas.Rectangle{}}
	r.objects = []fyne.CanvasObject{r.rect}
	r.paint()
	return r
}

type panelRenderer struct {
	renderer
	panel *panel
	rect  *canvas.Rectangle
}

func (r *panelRenderer) Layout(size fyne.Size) { r.rect.Resize(size) }
func (r *panelRenderer) MinSize() fyne.Size    { return fyne.Size{} }

func (r *panelRenderer) Refresh() {
	r.paint()
	r.rect.Refresh()
}

func (r *panelRenderer) paint() {
	p := r.panel
	r.rect.CornerRadius, r.rect.FillColor, r.rect.StrokeColor, r.rect.StrokeWidth = p.radius, nil, nil, 0
	if p.fill != "" {
		r.rect.FillColor = theme.ColorForWidget(p.fill, p)
	}
	if p.stroke != "" {
		r.rect.StrokeColor, r.rect.StrokeWidth = theme.ColorForWidget(p.stroke, p), max(1, p.width)
	}
}

// renderer has what is the same in all renderers here.
type renderer struct{ objects []fyne.CanvasObject }

// Objects implements fyne.WidgetRenderer.
func (r *renderer) Objects() []fyne.CanvasObject { return r.objects }

// Destroy implements fyne.WidgetRenderer.
func (r *renderer) Destroy() {}

// style is how text looks; the zero style is that of plain text.
type style struct {
	color fyne.ThemeColorName // empty: colorText
	size  fyne.ThemeSizeName  // empty: sizeText
	bold  bool
	mono  bool
}

func (s style) colorName() fyne.ThemeColorName {
	if s.color == "" {
		return colorText
	}
	return s.color
}

func (s style) sizeName() fyne.ThemeSizeName {
	if s.size == "" {
		return sizeText
	}
	return s.size
}

func (s style) face() fyne.TextStyle { return fyne.TextStyle{Bold: s.bold, Monospace: s.mono} }

// line is text on a single line, without space around it, cut off with … where
// it is too long for the space that it has.
type line struct {
	widget.BaseWidget
	text  string
	style style
	align fyne.TextAlign
	whole bool // never cut off: as wide as the text
}

// newLine returns a line that can be cut off.
func newLine(text string, s style) *line {
	l := &line{text: text, style: s}
	l.ExtendBaseWidget(l)
	return l
}

// newWhole returns a line that is always shown in full.
func newWhole(text string, s style) *line {
	l := newLine(text, s)
	l.whole = true
	return l
}

// set changes the text and, if it is given, the style.
func (l *line) set(text string, s ...style) {
	if len(s) == 0 {
		s = []style{l.style}
	}
	if l.text != text || l.style != s[0] {
		l.text, l.style = text, s[0]
		l.Refresh()
	}
}

// MinSize implements fyne.CanvasObject.
func (l *line) MinSize() fyne.Size {
	text := singleLine(l.text)
	size := fyne.MeasureText(text, theme.SizeForWidget(l.style.sizeName(), l), l.style.face())
	if !l.whole {
		size.Width = min(size.Width, leastLine)
	}
	return size
}

// leastLine is how narrow a line may get that can be cut off.
const leastLine = 36

func singleLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\t") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// CreateRenderer implements fyne.Widget.
func (l *line) CreateRenderer() fyne.WidgetRenderer {
	r := &lineRenderer{line: l, text: &canvas.Text{}}
	r.objects = []fyne.CanvasObject{r.text}
	r.paint()
	return r
}

type lineRenderer struct {
	renderer
	line *line
	text *canvas.Text
}

func (r *lineRenderer) MinSize() fyne.Size { return r.line.MinSize() }

func (r *lineRenderer) Layout(size fyne.Size) {
	r.fit(size)
	h := r.text.MinSize().Height
	place(r.text, 0, (size.Height-h)/2, size.Width, h)
}

func (r *lineRenderer) Refresh() {
	r.paint()
	r.Layout(r.line.Size())
	r.text.Refresh()
}

func (r *lineRenderer) paint() {
	l := r.line
	r.text.Text = singleLine(l.text)
	r.text.Color = theme.ColorForWidget(l.style.colorName(), l)
	r.text.TextSize = theme.SizeForWidget(l.style.sizeName(), l)
	r.text.TextStyle = l.style.face()
	r.text.Alignment = l.align
}

// fit cuts the text off where it does not fit.
func (r *lineRenderer) fit(size fyne.Size) {
	text := singleLine(r.line.text)
	wide := func(s string) bool {
		return fyne.MeasureText(s, r.text.TextSize, r.text.TextStyle).Width > size.Width+0.5
	}
	if r.line.whole || size.Width == 0 || !wide(text) {
		r.text.Text = text
		return
	}
	runes := []rune(text)
	cut := sort.Search(len(runes), func(n int) bool { return wide(string(runes[:n+1]) + "…") })
	r.text.Text = strings.TrimRight(string(runes[:cut]), " ") + "…"
}

// part is a piece of prose in a style of its own.
type part struct {
	text  string
	style style
}

// prose is text that wraps, without space around it; its parts follow each
// other on the same line.
type prose struct {
	widget.BaseWidget
	rich  *widget.RichText
	parts []part
}

func newProse(parts ...part) *prose {
	p := &prose{rich: widget.NewRichText()}
	p.rich.Wrapping = fyne.TextWrapWord
	p.ExtendBaseWidget(p)
	p.set(parts...)
	return p
}

// set changes what it says.
func (p *prose) set(parts ...part) {
	if slices.Equal(p.parts, parts) {
		return
	}
	p.parts = slices.Clone(parts)
	p.rich.Segments = p.rich.Segments[:0]
	for _, part := range parts {
		p.rich.Segments = append(p.rich.Segments, &widget.TextSegment{
			Text: part.text,
			Style: widget.RichTextStyle{
				ColorName: part.style.colorName(), SizeName: part.style.sizeName(), TextStyle: part.style.face(), Inline: true,
			},
		})
	}
	p.rich.Refresh()
	p.Refresh()
}

// center puts its lines into the middle.
func (p *prose) center() {
	for _, s := range p.rich.Segments {
		if t, ok := s.(*widget.TextSegment); ok {
			t.Style.Alignment = fyne.TextAlignCenter
		}
	}
	p.rich.Refresh()
}

// text returns what it says.
func (p *prose) text() string {
	var b strings.Builder
	for _, part := range p.parts {
		b.WriteString(part.text)
	}
	return b.String()
}

func (p *prose) heightFor(width float32) float32 { return trimmedHeight(p.rich, width) }

// MinSize implements fyne.CanvasObject.
func (p *prose) MinSize() fyne.Size { return trimmedMinSize(p.rich) }

// CreateRenderer implements fyne.Widget.
func (p *prose) CreateRenderer() fyne.WidgetRenderer {
	return widget.NewSimpleRenderer(trimmed(p.rich))
}

// trimmed takes away the space that Fyne's text has around it.
func trimmed(o fyne.CanvasObject) *fyne.Container {
	return container.New(trimLayout{}, o)
}

type trimLayout struct{}

func (trimLayout) heightFor(objects []fyne.CanvasObject, width float32) float32 {
	return trimmedHeight(objects[0], width)
}

// Layout implements fyne.Layout.
func (trimLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	place(objects[0], -fynePadding, -fynePadding, size.Width+2*fynePadding, size.Height+2*fynePadding)
}

// MinSize implements fyne.Layout.
func (trimLayout) MinSize(objects []fyne.CanvasObject) fyne.Size { return trimmedMinSize(objects[0]) }

// fynePadding is the space around Fyne's text, theme.SizeNameInnerPadding.
const fynePadding = 8

// trimmedHeight returns the height of Fyne's wrapping text at a width, without
// the space around it. The text only knows once it has that width.
func trimmedHeight(text fyne.CanvasObject, width float32) float32 {
	if size := text.Size(); size.Width != width+2*fynePadding {
		text.Resize(fyne.NewSize(width+2*fynePadding, size.Height))
	}
	return text.MinSize().Height - 2*fynePadding
}

func trimmedMinSize(text fyne.CanvasObject) fyne.Size {
	least := text.MinSize().SubtractWidthHeight(2*fynePadding, 2*fynePadding)
	least.Width = max(least.Width, leastLine)
	return least
}

// icon is a picture in one of the theme's colours.
type icon struct {
	widget.BaseWidget
	name  string
	color fyne.ThemeColorName
	size  float32
}

// newIcon returns the icon of assets.Icon with that name, size high and wide.
func newIcon(name string, color fyne.ThemeColorName, size float32) *icon {
	i := &icon{name: name, color: color, size: size}
	i.ExtendBaseWidget(i)
	return i
}

// set changes the picture and its colour.
func (i *icon) set(name string, color fyne.ThemeColorName) {
	if i.name != name || i.color != color {
		i.name, i.color = name, color
		i.Refresh()
	}
}

// MinSize implements fyne.CanvasObject.
func (i *icon) MinSize() fyne.Size { return fyne.NewSquareSize(i.size) }

// CreateRenderer implements fyne.Widget.
func (i *icon) CreateRenderer() fyne.WidgetRenderer {
	r := &iconRenderer{icon: i, image: &canvas.Image{FillMode: canvas.ImageFillContain}}
	r.objects = []fyne.CanvasObject{r.image}
	r.paint()
	return r
}

type iconRenderer struct {
	renderer
	icon  *icon
	image *canvas.Image
}

func (r *iconRenderer) MinSize() fyne.Size { return r.icon.MinSize() }

func (r *iconRenderer) Layout(size fyne.Size) {
	s := r.icon.size
	place(r.image, (size.Width-s)/2, (size.Height-s)/2, s, s)
}

func (r *iconRenderer) Refresh() {
	r.paint()
	r.image.Refresh()
}

func (r *iconRenderer) paint() {
	red, green, blue, _ := theme.ColorForWidget(r.icon.color, r.icon).RGBA()
	hex := fmt.Sprintf("#%02x%02x%02x", red>>8, green>>8, blue>>8)
	r.image.Resource = fyne.NewStaticResource(r.icon.name+hex+".svg",
		bytes.ReplaceAll(assets.Icon(r.icon.name), []byte("currentColor"), []byte(hex)))
}

// duration returns how long something took, for a person: "38 ms", "0.9 s",
// "4 min".
func duration(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	default:
		return strconv.FormatFloat(d.Minutes(), 'f', 0, 64) + " min"
	}
}

// clock returns the time of day.
func clock(t time.Time, seconds bool) string {
	if seconds {
		return t.Local().Format("15:04:05")
	}
	return t.Local().Format("15:04")
}

// when returns the time of day, with the date if that is not today.
func (u *UI) when(t time.Time) string {
	if now := u.now().Local(); t.Local().YearDay() != now.YearDay() || t.Local().Year() != now.Year() {
		return t.Local().Format("2006-01-02 15:04")
	}
	return clock(t, false)
}

// number returns n with spaces that do not break between thousands.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// sentence returns s with a capital and a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	first, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(first)) + s[n:]
	if strings.ContainsAny(s[len(s)-1:], ".!?…:") {
		return s
	}
	return s + "."
}
