package kit

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
)

// Fyne asks what is inside for its least size before it says how wide it will
// be; text that wraps has no answer to that. The layouts here ask for the height
// at a width instead, of everything that knows it.

// Wrapping is an object whose height follows from its width.
type Wrapping interface {
	// HeightFor returns the height that the object needs at a width.
	HeightFor(width float32) float32
}

// WrappingLayout is a layout of which the same is true.
type WrappingLayout interface {
	// HeightFor returns the height that objects need at a width.
	HeightFor(objects []fyne.CanvasObject, width float32) float32
}

// HeightFor returns the height that o needs at a width.
func HeightFor(o fyne.CanvasObject, width float32) float32 {
	if w, ok := o.(Wrapping); ok {
		return w.HeightFor(width)
	}
	if c, ok := o.(*fyne.Container); ok {
		if l, ok := c.Layout.(WrappingLayout); ok {
			return l.HeightFor(c.Objects, width)
		}
	}
	return o.MinSize().Height
}

func visible(objects []fyne.CanvasObject) []fyne.CanvasObject {
	shown := make([]fyne.CanvasObject, 0, len(objects))
	for _, o := range objects {
		if o.Visible() {
			shown = append(shown, o)
		}
	}
	return shown
}

// Place moves and resizes o.
func Place(o fyne.CanvasObject, x, y, width, height float32) {
	o.Move(fyne.NewPos(x, y))
	o.Resize(fyne.NewSize(width, height))
}

// Column puts objects below each other, each as wide as the column.
func Column(gap float32, objects ...fyne.CanvasObject) *fyne.Container {
	return container.New(&columnLayout{gap: gap}, objects...)
}

type columnLayout struct{ gap, width float32 }

func (l *columnLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	var height float32
	for i, o := range visible(objects) {
		if i > 0 {
			height += l.gap
		}
		height += HeightFor(o, width)
	}
	return height
}

// Layout implements fyne.Layout.
func (l *columnLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	var y float32
	for _, o := range visible(objects) {
		h := HeightFor(o, size.Width)
		Place(o, 0, y, size.Width, h)
		y += h + l.gap
	}
}

// MinSize implements fyne.Layout.
func (l *columnLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	var least fyne.Size
	for i, o := range visible(objects) {
		m := o.MinSize()
		least.Width = max(least.Width, m.Width)
		least.Height += m.Height
		if i > 0 {
			least.Height += l.gap
		}
	}
	if l.width > 0 {
		least.Height = l.HeightFor(objects, max(l.width, least.Width))
	}
	return least
}

// Row puts objects beside each other, centred; the one numbered grow takes what
// space is left, none if it is negative.
func Row(gap float32, grow int, objects ...fyne.CanvasObject) *fyne.Container {
	return FoldingRow(gap, grow, 0, objects...)
}

// FoldingRow is a row that has the growing object above the others where less
// than fold would be left for it.
func FoldingRow(gap float32, grow int, fold float32, objects ...fyne.CanvasObject) *fyne.Container {
	l := &rowLayout{gap: gap, fold: fold}
	if grow >= 0 {
		l.grow = objects[grow]
	}
	return container.New(l, objects...)
}

type rowLayout struct {
	gap, fold, width float32
	grow             fyne.CanvasObject
}

func (l *rowLayout) folded(objects []fyne.CanvasObject, width float32) bool {
	if l.fold == 0 {
		return false
	}
	for _, o := range objects {
		if o != l.grow {
			width -= o.MinSize().Width + l.gap
		}
	}
	return width < l.fold
}

// widths returns how wide each object is in a row of that width.
func (l *rowLayout) widths(objects []fyne.CanvasObject, width float32) []float32 {
	widths := make([]float32, len(objects))
	growing, left := -1, width-l.gap*float32(max(0, len(objects)-1))
	for i, o := range objects {
		if o == l.grow {
			growing = i
			continue
		}
		widths[i] = o.MinSize().Width
		left -= widths[i]
	}
	if growing >= 0 {
		widths[growing] = max(left, 0)
	}
	return widths
}

// split returns what is in the two lines of a folded row.
func (l *rowLayout) split(objects []fyne.CanvasObject) (above fyne.CanvasObject, below []fyne.CanvasObject) {
	for _, o := range objects {
		if o == l.grow {
			above = o
		} else {
			below = append(below, o)
		}
	}
	return above, below
}

func (l *rowLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	objects = visible(objects)
	var total float32
	if l.folded(objects, width) {
		above, below := l.split(objects)
		if above != nil {
			total = HeightFor(above, width)
			if len(below) > 0 {
				total += l.gap
			}
		}
		objects = below
	}
	var height float32
	for i, w := range l.widths(objects, width) {
		height = max(height, HeightFor(objects[i], w))
	}
	return total + height
}

// Layout implements fyne.Layout.
func (l *rowLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	objects = visible(objects)
	var y float32
	if l.folded(objects, size.Width) {
		above, below := l.split(objects)
		if above != nil {
			h := HeightFor(above, size.Width)
			Place(above, 0, 0, size.Width, h)
			y = h + l.gap
		}
		objects = below
	}
	var x float32
	for i, w := range l.widths(objects, size.Width) {
		h := min(HeightFor(objects[i], w), size.Height-y)
		Place(objects[i], x, y+(size.Height-y-h)/2, w, h)
		x += w + l.gap
	}
}

// MinSize implements fyne.Layout.
func (l *rowLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	var least fyne.Size
	var widest float32
	for i, o := range visible(objects) {
		m := o.MinSize()
		least.Width += m.Width
		if i > 0 {
			least.Width += l.gap
		}
		least.Height = max(least.Height, m.Height)
		widest = max(widest, m.Width)
	}
	if l.fold > 0 {
		_, below := l.split(visible(objects))
		least.Width = l.gap * float32(max(0, len(below)-1))
		for _, o := range below {
			least.Width += o.MinSize().Width
		}
		least.Width = max(least.Width, widest)
	}
	if l.width > 0 {
		least.Height = l.HeightFor(objects, max(l.width, least.Width))
	}
	return least
}

// Grid puts objects into columns of the same width, as many as fit at least
// that wide; each line is as high as its highest.
func Grid(gap, least float32, objects ...fyne.CanvasObject) *fyne.Container {
	return container.New(&gridLayout{gap: gap, least: least}, objects...)
}

type gridLayout struct{ gap, least, width float32 }

// columns returns how many columns there are and how wide they are. A last line
// with a single object would look lost: 4 objects are in 4, 2 or 1 columns.
func (l *gridLayout) columns(n int, width float32) (columns int, each float32) {
	columns = max(1, min(n, int((width+l.gap)/(l.least+l.gap))))
	for columns > 1 && n%columns == 1 {
		columns--
	}
	return columns, (width - l.gap*float32(columns-1)) / float32(columns)
}

// lines calls line with the objects of each line and its height.
func (l *gridLayout) lines(objects []fyne.CanvasObject, width float32, line func(objects []fyne.CanvasObject, each, height float32)) {
	objects = visible(objects)
	columns, each := l.columns(len(objects), width)
	for len(objects) > 0 {
		n := min(columns, len(objects))
		var height float32
		for _, o := range objects[:n] {
			height = max(height, HeightFor(o, each))
		}
		line(objects[:n], each, height)
		objects = objects[n:]
	}
}

func (l *gridLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	var total float32
	l.lines(objects, width, func(_ []fyne.CanvasObject, _, height float32) { total += height + l.gap })
	return max(0, total-l.gap)
}

// Layout implements fyne.Layout.
func (l *gridLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	var y float32
	l.lines(objects, size.Width, func(objects []fyne.CanvasObject, each, height float32) {
		for i, o := range objects {
			Place(o, float32(i)*(each+l.gap), y, each, height)
		}
		y += height + l.gap
	})
}

// MinSize implements fyne.Layout.
func (l *gridLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	least := fyne.NewSize(l.least, 0)
	for _, o := range visible(objects) {
		least.Width = max(least.Width, o.MinSize().Width)
	}
	least.Height = l.HeightFor(objects, max(l.width, least.Width))
	return least
}

// Flow puts objects beside each other, and goes on below where there is no more
// space. It can be as narrow as the widest.
func Flow(gap float32, objects ...fyne.CanvasObject) *fyne.Container {
	return container.New(&flowLayout{gap: gap}, objects...)
}

type flowLayout struct{ gap, width float32 }

// each calls put with where each object stands, and returns the height of all.
func (l *flowLayout) each(objects []fyne.CanvasObject, width float32, put func(o fyne.CanvasObject, x, y, w, h float32)) float32 {
	var x, y, high float32
	for _, o := range visible(objects) {
		m := o.MinSize()
		if x > 0 && x+m.Width > width {
			x, y, high = 0, y+high+l.gap, 0
		}
		put(o, x, y, min(m.Width, width), m.Height)
		x += m.Width + l.gap
		high = max(high, m.Height)
	}
	return y + high
}

func (l *flowLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	return l.each(objects, width, func(fyne.CanvasObject, float32, float32, float32, float32) {})
}

// Layout implements fyne.Layout.
func (l *flowLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	l.each(objects, size.Width, Place)
}

// MinSize implements fyne.Layout.
func (l *flowLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	var least, all float32
	for _, o := range visible(objects) {
		w := o.MinSize().Width
		least = max(least, w)
		all += w + l.gap
	}
	width := l.width
	if width == 0 {
		width = all
	}
	return fyne.NewSize(least, l.HeightFor(objects, max(width, least)))
}

// Inset puts space around an object: above and below, left and right.
func Inset(vertical, horizontal float32, o fyne.CanvasObject) *fyne.Container {
	return container.New(insetLayout{vertical, horizontal}, o)
}

type insetLayout struct{ vertical, horizontal float32 }

func (l insetLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	return HeightFor(objects[0], width-2*l.horizontal) + 2*l.vertical
}

// Layout implements fyne.Layout.
func (l insetLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	Place(objects[0], l.horizontal, l.vertical, max(0, size.Width-2*l.horizontal), max(0, size.Height-2*l.vertical))
}

// MinSize implements fyne.Layout.
func (l insetLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	return objects[0].MinSize().AddWidthHeight(2*l.horizontal, 2*l.vertical)
}

// Layers puts objects over each other, the last on top.
func Layers(objects ...fyne.CanvasObject) *fyne.Container {
	return container.New(layersLayout{}, objects...)
}

type layersLayout struct{}

func (layersLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	var height float32
	for _, o := range objects {
		height = max(height, HeightFor(o, width))
	}
	return height
}

// Layout implements fyne.Layout.
func (layersLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	for _, o := range objects {
		Place(o, 0, 0, size.Width, size.Height)
	}
}

// MinSize implements fyne.Layout.
func (layersLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	var least fyne.Size
	for _, o := range objects {
		least = least.Max(o.MinSize())
	}
	return least
}

// centered puts an object into the middle, at most that wide.
func centered(widest float32, o fyne.CanvasObject) *fyne.Container {
	return container.New(centeredLayout{widest}, o)
}

type centeredLayout struct{ widest float32 }

func (l centeredLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	return HeightFor(objects[0], min(width, l.widest))
}

// Layout implements fyne.Layout.
func (l centeredLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	w := min(size.Width, l.widest)
	h := HeightFor(objects[0], w)
	Place(objects[0], (size.Width-w)/2, max(0, (size.Height-h)/2), w, h)
}

// MinSize implements fyne.Layout.
func (l centeredLayout) MinSize(objects []fyne.CanvasObject) fyne.Size { return objects[0].MinSize() }

// Scroller shows an object that can be higher than the space for it.
type Scroller struct {
	Composite
	Scroll *container.Scroll
}

// NewScroller returns a scroller that shows body.
func NewScroller(body fyne.CanvasObject) *Scroller {
	s := &Scroller{Scroll: container.NewVScroll(body)}
	s.Root = Layers(s.Scroll)
	s.ExtendBaseWidget(s)
	return s
}

// Fit takes note that what is shown may have become higher or lower.
func (s *Scroller) Fit() { s.Scroll.Refresh() }

// Reveal scrolls so that what stands at top, from the top of what is to be seen
// now, and is that high, is in view.
func (s *Scroller) Reveal(top, height float32) {
	const around = Space2
	offset := s.Scroll.Offset
	switch view := s.Size().Height; {
	case top < around:
		offset.Y += top - around
	case top+height > view-around:
		offset.Y += min(top-around, top+height-view+around)
	default:
		return
	}
	s.Scroll.ScrollToOffset(offset)
}

// centerRow puts objects beside each other into the middle.
func centerRow(gap float32, objects ...fyne.CanvasObject) *fyne.Container {
	return container.New(&centerRowLayout{flowLayout{gap: gap}}, objects...)
}

type centerRowLayout struct{ flowLayout }

// Layout implements fyne.Layout.
func (l *centerRowLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	var used float32
	l.each(objects, size.Width, func(_ fyne.CanvasObject, x, _, w, _ float32) { used = max(used, x+w) })
	l.each(objects, size.Width, func(o fyne.CanvasObject, x, y, w, h float32) { Place(o, x+(size.Width-used)/2, y, w, h) })
}
