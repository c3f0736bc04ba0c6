package kit

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
	"github.com/clipperhouse/uax29/v2/graphemes"

	"perch/assets"
)

// Composite is a widget that is made of others.
type Composite struct {
	widget.BaseWidget
	Root *fyne.Container
}

// CreateRenderer implements fyne.Widget.
func (c *Composite) CreateRenderer() fyne.WidgetRenderer { return widget.NewSimpleRenderer(c.Root) }

// MinSize implements fyne.CanvasObject: what is inside can have grown since it
// was asked last.
func (c *Composite) MinSize() fyne.Size { return c.Root.MinSize() }

// HeightFor implements Wrapping.
func (c *Composite) HeightFor(width float32) float32 { return HeightFor(c.Root, width) }

// Relayout takes note that something inside has another size.
func (c *Composite) Relayout() { c.Root.Refresh() }

// Panel is a rectangle in the theme's colours.
type Panel struct {
	widget.BaseWidget
	fill, Stroke fyne.ThemeColorName // empty: none
	radius       float32
	Width        float32 // of the stroke; 0: 1
}

// NewPanel returns a rectangle; the empty fill or stroke is none.
func NewPanel(fill, stroke fyne.ThemeColorName, radius float32) *Panel {
	p := &Panel{fill: fill, Stroke: stroke, radius: radius}
	p.ExtendBaseWidget(p)
	return p
}

// Set changes the colours.
func (p *Panel) Set(fill, stroke fyne.ThemeColorName) {
	if p.fill != fill || p.Stroke != stroke {
		p.fill, p.Stroke = fill, stroke
		p.Refresh()
	}
}

// CreateRenderer implements fyne.Widget.
func (p *Panel) CreateRenderer() fyne.WidgetRenderer {
	r := &panelRenderer{panel: p, rect: &canvas.Rectangle{}}
	r.Children = []fyne.CanvasObject{r.rect}
	r.paint()
	return r
}

type panelRenderer struct {
	Renderer
	panel *Panel
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
	if p.Stroke != "" {
		r.rect.StrokeColor, r.rect.StrokeWidth = theme.ColorForWidget(p.Stroke, p), max(1, p.Width)
	}
}

// Renderer has what is the same in all renderers here.
type Renderer struct{ Children []fyne.CanvasObject }

// Objects implements fyne.WidgetRenderer.
func (r *Renderer) Objects() []fyne.CanvasObject { return r.Children }

// Destroy implements fyne.WidgetRenderer.
func (r *Renderer) Destroy() {}

// Style is how text looks; the zero style is that of plain text.
type Style struct {
	Color fyne.ThemeColorName // empty: colorText
	Size  fyne.ThemeSizeName  // empty: sizeText
	Bold  bool
	Mono  bool

	Italic, Struck bool
}

// ColorName returns the name of the colour.
func (s Style) ColorName() fyne.ThemeColorName {
	if s.Color == "" {
		return ColorText
	}
	return s.Color
}

// SizeName returns the name of the size.
func (s Style) SizeName() fyne.ThemeSizeName {
	if s.Size == "" {
		return SizeText
	}
	return s.Size
}

// Face returns what Fyne calls the style of the text.
func (s Style) Face() fyne.TextStyle {
	return fyne.TextStyle{Bold: s.Bold, Monospace: s.Mono, Italic: s.Italic, Strikethrough: s.Struck}
}

// Line is text on a single line, without space around it, cut off with … where
// it is too long for the space that it has.
type Line struct {
	widget.BaseWidget
	Text  string
	style Style
	Align fyne.TextAlign
	whole bool // never cut off: as wide as the text
}

// NewLine returns a line that can be cut off.
func NewLine(text string, s Style) *Line {
	l := &Line{Text: text, style: s}
	l.ExtendBaseWidget(l)
	return l
}

// NewFullLine returns a line that is always shown in full.
func NewFullLine(text string, s Style) *Line {
	l := NewLine(text, s)
	l.whole = true
	return l
}

// Set changes the text and, if it is given, the style.
func (l *Line) Set(text string, s ...Style) {
	if len(s) == 0 {
		s = []Style{l.style}
	}
	if l.Text != text || l.style != s[0] {
		l.Text, l.style = text, s[0]
		l.Refresh()
	}
}

// MinSize implements fyne.CanvasObject.
func (l *Line) MinSize() fyne.Size {
	text := singleLine(l.Text)
	size := fyne.MeasureText(text, theme.SizeForWidget(l.style.SizeName(), l), l.style.Face())
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
func (l *Line) CreateRenderer() fyne.WidgetRenderer {
	r := &lineRenderer{line: l, text: &canvas.Text{}}
	r.Children = []fyne.CanvasObject{r.text}
	r.paint()
	return r
}

type lineRenderer struct {
	Renderer
	line *Line
	text *canvas.Text
}

func (r *lineRenderer) MinSize() fyne.Size { return r.line.MinSize() }

func (r *lineRenderer) Layout(size fyne.Size) {
	r.fit(size)
	h := r.text.MinSize().Height
	Place(r.text, 0, (size.Height-h)/2, size.Width, h)
}

func (r *lineRenderer) Refresh() {
	r.paint()
	r.Layout(r.line.Size())
	r.text.Refresh()
}

func (r *lineRenderer) paint() {
	l := r.line
	r.text.Text = singleLine(l.Text)
	r.text.Color = theme.ColorForWidget(l.style.ColorName(), l)
	r.text.TextSize = theme.SizeForWidget(l.style.SizeName(), l)
	r.text.TextStyle = l.style.Face()
	r.text.Alignment = l.Align
}

// fit cuts the text off where it does not fit.
func (r *lineRenderer) fit(size fyne.Size) {
	text := singleLine(r.line.Text)
	wide := func(s string) bool {
		return fyne.MeasureText(s, r.text.TextSize, r.text.TextStyle).Width > size.Width+0.5
	}
	if r.line.whole || size.Width == 0 || !wide(text) {
		r.text.Text = text
		return
	}
	var ends []int // of the characters as a reader sees them
	for clusters := graphemes.FromString(text); clusters.Next(); {
		ends = append(ends, clusters.End())
	}
	end := 0
	if fitting := sort.Search(len(ends), func(n int) bool { return wide(text[:ends[n]] + "…") }); fitting > 0 {
		end = ends[fitting-1]
	}
	r.text.Text = strings.TrimRight(text[:end], " ") + "…"
}

// Part is a piece of prose in a style of its own.
type Part struct {
	Text  string
	Style Style
}

// NewPart returns a part of prose.
func NewPart(text string, s Style) Part { return Part{Text: text, Style: s} }

// Prose is text that wraps, without space around it; its parts follow each
// other on the same line.
type Prose struct {
	widget.BaseWidget
	rich  *widget.RichText
	parts []Part
}

// NewProse returns text that wraps.
func NewProse(parts ...Part) *Prose {
	p := &Prose{rich: widget.NewRichText()}
	p.rich.Wrapping = fyne.TextWrapWord
	p.ExtendBaseWidget(p)
	p.Set(parts...)
	return p
}

// Set changes what it says.
func (p *Prose) Set(parts ...Part) {
	if slices.Equal(p.parts, parts) {
		return
	}
	p.parts = slices.Clone(parts)
	p.rich.Segments = p.rich.Segments[:0]
	for _, part := range parts {
		p.rich.Segments = append(p.rich.Segments, &widget.TextSegment{
			Text: part.Text,
			Style: widget.RichTextStyle{
				ColorName: part.Style.ColorName(), SizeName: part.Style.SizeName(), TextStyle: part.Style.Face(), Inline: true,
			},
		})
	}
	p.rich.Refresh()
	p.Refresh()
}

// center puts its lines into the middle.
func (p *Prose) center() {
	for _, s := range p.rich.Segments {
		if t, ok := s.(*widget.TextSegment); ok {
			t.Style.Alignment = fyne.TextAlignCenter
		}
	}
	p.rich.Refresh()
}

// Text returns what it says.
func (p *Prose) Text() string {
	var b strings.Builder
	for _, part := range p.parts {
		b.WriteString(part.Text)
	}
	return b.String()
}

// HeightFor implements Wrapping.
func (p *Prose) HeightFor(width float32) float32 { return trimmedHeight(p.rich, width) }

// MinSize implements fyne.CanvasObject.
func (p *Prose) MinSize() fyne.Size { return trimmedMinSize(p.rich) }

// CreateRenderer implements fyne.Widget.
func (p *Prose) CreateRenderer() fyne.WidgetRenderer {
	return widget.NewSimpleRenderer(trimmed(p.rich))
}

// trimmed takes away the space that Fyne's text has around it.
func trimmed(o fyne.CanvasObject) *fyne.Container {
	return container.New(trimLayout{}, o)
}

type trimLayout struct{}

func (trimLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	return trimmedHeight(objects[0], width)
}

// Layout implements fyne.Layout.
func (trimLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	Place(objects[0], -fynePadding, -fynePadding, size.Width+2*fynePadding, size.Height+2*fynePadding)
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

// Icon is a picture in one of the theme's colours.
type Icon struct {
	widget.BaseWidget
	name  string
	color fyne.ThemeColorName
	size  float32
}

// NewIcon returns the icon of assets.Icon with that name, size high and wide.
func NewIcon(name string, color fyne.ThemeColorName, size float32) *Icon {
	i := &Icon{name: name, color: color, size: size}
	i.ExtendBaseWidget(i)
	return i
}

// Set changes the picture and its colour.
func (i *Icon) Set(name string, color fyne.ThemeColorName) {
	if i.name != name || i.color != color {
		i.name, i.color = name, color
		i.Refresh()
	}
}

// MinSize implements fyne.CanvasObject.
func (i *Icon) MinSize() fyne.Size { return fyne.NewSquareSize(i.size) }

// CreateRenderer implements fyne.Widget.
func (i *Icon) CreateRenderer() fyne.WidgetRenderer {
	r := &iconRenderer{icon: i, image: &canvas.Image{FillMode: canvas.ImageFillContain}}
	r.Children = []fyne.CanvasObject{r.image}
	r.paint()
	return r
}

type iconRenderer struct {
	Renderer
	icon  *Icon
	image *canvas.Image
}

func (r *iconRenderer) MinSize() fyne.Size { return r.icon.MinSize() }

func (r *iconRenderer) Layout(size fyne.Size) {
	s := r.icon.size
	Place(r.image, (size.Width-s)/2, (size.Height-s)/2, s, s)
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

// FormatDuration returns how long something took, for a person: "38 ms", "0.9 s",
// "4 min".
func FormatDuration(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	default:
		return strconv.FormatFloat(d.Minutes(), 'f', 0, 64) + " min"
	}
}

// FormatClock returns the time of day.
func FormatClock(t time.Time, seconds bool) string {
	if seconds {
		return t.Local().Format("15:04:05")
	}
	return t.Local().Format("15:04")
}

// FormatNumber returns n with spaces that do not break between thousands.
func FormatNumber(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// Sentence returns s with a capital and a full stop.
func Sentence(s string) string {
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
