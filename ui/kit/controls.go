package kit

import (
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"perch/bridge"
)

// Kit makes the widgets of the window, which speak the user's language.
type Kit struct {
	Translate func(string) string // nil: English
	Copy      func(string)        // into the clipboard
	Later     func(time.Duration, func())
	Escape    func() // what Escape does where a widget has no use for it
	Shortcut  func(fyne.Shortcut)
	Unfocus   func()
	Reveal    func(fyne.CanvasObject) // scrolls to what has got the focus
}

// Say returns a sentence in the user's language.
func (k *Kit) Say(t bridge.Text) string { return t.In(k.Translate) }

// control is what all widgets have that can be used with mouse and keyboard.
// Enter and Space do what a tap does.
type control struct {
	widget.BaseWidget
	k                          *Kit
	self                       fyne.CanvasObject // the widget that this is part of
	tapped                     func()
	focused, hovered, disabled bool
}

// Tapped implements fyne.Tappable.
func (c *control) Tapped(*fyne.PointEvent) {
	if !c.disabled && c.tapped != nil {
		c.tapped()
	}
}

// FocusGained implements fyne.Focusable.
func (c *control) FocusGained() {
	c.focused = true
	c.Refresh()
	c.k.Reveal(c.self)
}

// FocusLost implements fyne.Focusable.
func (c *control) FocusLost() {
	c.focused = false
	c.Refresh()
}

// TypedRune implements fyne.Focusable.
func (c *control) TypedRune(rune) {}

// TypedKey implements fyne.Focusable.
func (c *control) TypedKey(e *fyne.KeyEvent) {
	switch e.Name {
	case fyne.KeyReturn, fyne.KeyEnter, fyne.KeySpace:
		c.Tapped(nil)
	case fyne.KeyEscape:
		c.k.Escape()
	default:
	}
}

// MouseIn implements desktop.Hoverable.
func (c *control) MouseIn(*desktop.MouseEvent) {
	c.hovered = true
	c.Refresh()
}

// MouseMoved implements desktop.Hoverable.
func (c *control) MouseMoved(*desktop.MouseEvent) {}

// MouseOut implements desktop.Hoverable.
func (c *control) MouseOut() {
	c.hovered = false
	c.Refresh()
}

// Cursor implements desktop.Cursorable.
func (c *control) Cursor() desktop.Cursor {
	if c.disabled {
		return desktop.DefaultCursor
	}
	return desktop.PointerCursor
}

// Enable implements fyne.Disableable.
func (c *control) Enable() { c.SetEnabled(true) }

// Disable implements fyne.Disableable.
func (c *control) Disable() { c.SetEnabled(false) }

// Disabled implements fyne.Disableable.
func (c *control) Disabled() bool { return c.disabled }

// SetEnabled makes it work or not.
func (c *control) SetEnabled(yes bool) {
	if c.disabled == yes {
		c.disabled = !yes
		c.Refresh()
	}
}

// Button is a button with a text, an icon or both.
type Button struct {
	control
	Text  string
	Icon  string // of assets.Icon; empty: none
	kind  ButtonKind
	Small bool
	Least float32 // how wide it is at least
}

// ButtonKind is how much a button stands out.
type ButtonKind int

// The kinds of buttons.
const (
	PlainButton ButtonKind = iota
	PrimaryButton
	DangerButton
)

// Button returns a plain button.
func (k *Kit) Button(label bridge.Text, tapped func()) *Button {
	b := &Button{control: control{k: k, tapped: tapped}, Text: k.Say(label)}
	b.self = b
	b.ExtendBaseWidget(b)
	return b
}

// PrimaryButton returns the button of what a person most likely wants.
func (k *Kit) PrimaryButton(label bridge.Text, tapped func()) *Button {
	b := k.Button(label, tapped)
	b.kind = PrimaryButton
	return b
}

// SmallButton returns a button for use in a line of text.
func (k *Kit) SmallButton(label bridge.Text, tapped func()) *Button {
	b := k.Button(label, tapped)
	b.Small = true
	return b
}

// CopyButton returns a small button that copies what text returns, and says so
// for a moment.
func (k *Kit) CopyButton(label bridge.Text, text func() string) *Button {
	b := k.SmallButton(label, nil)
	before, done := b.Text, k.Say(bridge.Say("Copied"))
	b.Text = done
	b.Least = b.MinSize().Width
	b.Text = before
	b.Least = max(b.Least, b.MinSize().Width)
	copies := 0
	b.tapped = func() {
		k.Copy(text())
		b.SetText(done)
		copies++
		mine := copies
		k.Later(copiedFor, func() {
			if copies == mine {
				b.SetText(before)
			}
		})
	}
	return b
}

// copiedFor is how long a button says that it has copied.
const copiedFor = 1500 * time.Millisecond

// SetText changes what is on the button.
func (b *Button) SetText(text string) {
	if b.Text != text {
		b.Text = text
		b.Refresh()
	}
}

// SetKind changes how it looks.
func (b *Button) SetKind(kind ButtonKind) {
	if b.kind != kind {
		b.kind = kind
		b.Refresh()
	}
}

// AccessibilityLabel implements fyne.Accessible.
func (b *Button) AccessibilityLabel() string { return b.Text }

// AccessibilityRole implements fyne.Accessible.
func (b *Button) AccessibilityRole() fyne.AccessibleRole { return fyne.AccessibleRoleButton }

// MinSize implements fyne.CanvasObject.
func (b *Button) MinSize() fyne.Size {
	size, pad, height := b.measures()
	w := 2 * pad
	if b.Text != "" {
		w += fyne.MeasureText(b.Text, size, fyne.TextStyle{}).Width
	}
	if b.Icon != "" {
		w += size + 2
		if b.Text != "" {
			w += 6
		}
	}
	return fyne.NewSize(max(w, b.Least), height)
}

// measures returns the size of the text, the space at its sides and the height
// of the button.
func (b *Button) measures() (text, pad, height float32) {
	if b.Small {
		return theme.SizeForWidget(SizeSmall, b), 10, 26
	}
	return theme.SizeForWidget(SizeText, b), 14, 36
}

// CreateRenderer implements fyne.Widget.
func (b *Button) CreateRenderer() fyne.WidgetRenderer {
	r := &buttonRenderer{
		button: b, ground: NewPanel("", "", RadiusControl), over: NewPanel("", "", RadiusControl),
		text: NewFullLine("", Style{}), icon: NewIcon("dot", ColorText, 16),
	}
	r.Children = []fyne.CanvasObject{r.ground, r.over, r.icon, r.text}
	r.paint()
	return r
}

type buttonRenderer struct {
	Renderer
	button       *Button
	ground, over *Panel
	icon         *Icon
	text         *Line
}

func (r *buttonRenderer) MinSize() fyne.Size { return r.button.MinSize() }

func (r *buttonRenderer) Layout(size fyne.Size) {
	Place(r.ground, 0, 0, size.Width, size.Height)
	Place(r.over, 0, 0, size.Width, size.Height)
	text := r.text.MinSize()
	x := (size.Width - text.Width) / 2
	if r.button.Icon != "" {
		s := r.icon.size
		whole := s
		if r.button.Text != "" {
			whole += 6 + text.Width
		}
		x = (size.Width - whole) / 2
		Place(r.icon, x, (size.Height-s)/2, s, s)
		x += s + 6
	}
	Place(r.text, x, (size.Height-text.Height)/2, text.Width, text.Height)
}

func (r *buttonRenderer) Refresh() {
	r.paint()
	r.ground.Refresh()
	r.over.Refresh()
	r.icon.Refresh()
	r.text.Refresh()
	r.Layout(r.button.Size())
}

func (r *buttonRenderer) paint() {
	b := r.button
	fill, stroke, over, text := ColorCard, ColorBorder, fyne.ThemeColorName(""), ColorText
	switch b.kind {
	case PrimaryButton:
		fill, stroke, text = ColorAccent, "", ColorOnAccent
		if b.hovered {
			fill = ColorAccentHover
		}
	case DangerButton:
		text = ColorBad
		fallthrough
	default:
		if b.hovered {
			over = theme.ColorNameHover
		}
	}
	if b.disabled {
		fill, stroke, over, text = theme.ColorNameDisabledButton, ColorLine, "", theme.ColorNameDisabled
	}
	r.ground.fill, r.ground.Stroke, r.ground.Width = fill, stroke, 1
	r.over.fill, r.over.Stroke = over, ""
	if b.focused {
		r.over.Stroke, r.over.Width = focusColor(b.kind == PrimaryButton), 2
	}
	size := SizeText
	if b.Small {
		size = SizeSmall
	}
	r.text.Text, r.text.style = b.Text, Style{Color: text, Size: size}
	textSize, _, _ := b.measures()
	r.icon.size, r.icon.color, r.icon.Hidden = textSize+2, text, b.Icon == ""
	if b.Icon != "" {
		r.icon.name = b.Icon
	}
}

// focusColor returns the colour of the ring around what has the focus.
func focusColor(onAccent bool) fyne.ThemeColorName {
	if onAccent {
		return ColorText
	}
	return ColorAccent
}

// Entry is Fyne's, which Escape leaves, and which can be marked as wrong.
type Entry struct {
	widget.Entry
	Kit *Kit
}

// Entry returns a field to type a line into.
func (k *Kit) Entry(placeholder bridge.Text) *Entry {
	e := &Entry{Kit: k}
	e.PlaceHolder = k.Say(placeholder)
	e.ExtendBaseWidget(e)
	return e
}

// TypedKey implements fyne.Focusable.
func (e *Entry) TypedKey(key *fyne.KeyEvent) {
	if key.Name == fyne.KeyEscape {
		e.Kit.Unfocus()
		return
	}
	e.Entry.TypedKey(key)
}

// AcceptsTab implements fyne.Tabbable: Tab goes on to the next field, also from
// one of several lines.
func (e *Entry) AcceptsTab() bool { return false }

// FocusGained implements fyne.Focusable.
func (e *Entry) FocusGained() {
	e.Entry.FocusGained()
	e.Kit.Reveal(e)
}

// TypedShortcut implements fyne.Shortcutable: those of the window work in the
// field too.
func (e *Entry) TypedShortcut(s fyne.Shortcut) {
	if _, ok := s.(*desktop.CustomShortcut); ok {
		e.Kit.Shortcut(s)
	}
	e.Entry.TypedShortcut(s)
}

// Mark draws the border in the colour of errors, with a sign, if err is one.
func (e *Entry) Mark(err error) {
	// Fyne asks the validator again at every turn, and with one it puts a tick
	// behind all that is right.
	e.Validator, e.AlwaysShowValidationError = nil, err != nil
	if err != nil {
		e.Validator = func(string) error { return err }
	}
	e.SetValidationError(err)
}

// Dropdown is Fyne's list to choose from.
type Dropdown struct {
	widget.Select
	k *Kit
}

// Dropdown returns a list of which one option is taken; changed is called with
// its index.
func (k *Kit) Dropdown(options []string, changed func(int)) *Dropdown {
	d := &Dropdown{k: k}
	d.Options = options
	d.OnChanged = func(string) { changed(d.SelectedIndex()) }
	d.ExtendBaseWidget(d)
	return d
}

// Set selects an option without a word to changed.
func (d *Dropdown) Set(i int) {
	changed := d.OnChanged
	d.OnChanged = nil
	d.SetSelectedIndex(i)
	d.OnChanged = changed
}

// FocusGained implements fyne.Focusable.
func (d *Dropdown) FocusGained() {
	d.Select.FocusGained()
	d.k.Reveal(d)
}

// TypedKey implements fyne.Focusable.
func (d *Dropdown) TypedKey(e *fyne.KeyEvent) {
	switch e.Name {
	case fyne.KeyEscape:
		d.k.Escape()
	case fyne.KeyReturn, fyne.KeyEnter:
		d.Select.TypedKey(&fyne.KeyEvent{Name: fyne.KeySpace})
	default:
		d.Select.TypedKey(e)
	}
}

// Check is Fyne's box to tick.
type Check struct {
	widget.Check
	k *Kit
}

// Check returns a box to tick.
func (k *Kit) Check(label bridge.Text, changed func(bool)) *Check {
	c := &Check{k: k}
	c.Text, c.OnChanged = k.Say(label), changed
	c.ExtendBaseWidget(c)
	return c
}

// Set ticks the box or not without a word to changed.
func (c *Check) Set(yes bool) {
	changed := c.OnChanged
	c.OnChanged = nil
	c.SetChecked(yes)
	c.OnChanged = changed
}

// FocusGained implements fyne.Focusable.
func (c *Check) FocusGained() {
	c.Check.FocusGained()
	c.k.Reveal(c)
}

// TypedKey implements fyne.Focusable.
func (c *Check) TypedKey(e *fyne.KeyEvent) {
	switch e.Name {
	case fyne.KeyEscape:
		c.k.Escape()
	case fyne.KeyReturn, fyne.KeyEnter:
		c.Tapped(&fyne.PointEvent{})
	default:
		c.Check.TypedKey(e)
	}
}

// Chooser is a row of choices of which one is taken; the arrows move it.
type Chooser struct {
	Composite
	k        *Kit
	options  []*Option
	Selected int // -1: none
	changed  func(int)
	focused  bool
}

// Choice is one of a chooser's.
type Choice struct{ Title, Subtitle bridge.Text }

// ChoiceCards returns a row of cards, each with a title and what it means;
// changed is called with the index of the one that a person takes.
func (k *Kit) ChoiceCards(choices []Choice, changed func(int)) *Chooser {
	return k.chooser(choices, changed, func(objects ...fyne.CanvasObject) *fyne.Container {
		return Grid(10, 150, objects...)
	}, false)
}

// ChoicePills returns a row of pills without subtitles.
func (k *Kit) ChoicePills(titles []string, changed func(int)) *Chooser {
	choices := make([]Choice, len(titles))
	for i, t := range titles {
		choices[i].Title = bridge.Say("%s", t)
	}
	return k.chooser(choices, changed, func(objects ...fyne.CanvasObject) *fyne.Container {
		return Flow(Space2, objects...)
	}, true)
}

func (k *Kit) chooser(choices []Choice, changed func(int), arrange func(...fyne.CanvasObject) *fyne.Container, pills bool) *Chooser {
	c := &Chooser{k: k, Selected: -1, changed: changed}
	var objects []fyne.CanvasObject
	for i, ch := range choices {
		o := newOption(c, i, k.Say(ch.Title), k.Say(ch.Subtitle), pills)
		c.options = append(c.options, o)
		objects = append(objects, o)
	}
	c.Root = arrange(objects...)
	c.ExtendBaseWidget(c)
	return c
}

// take selects a choice as a person does.
func (c *Chooser) take(i int) {
	if i == c.Selected {
		return
	}
	c.Set(i)
	if c.changed != nil {
		c.changed(i)
	}
}

// Set selects a choice without a word to changed.
func (c *Chooser) Set(i int) {
	c.Selected = i
	c.paint()
}

// Title returns the title of a choice.
func (c *Chooser) Title(i int) string { return c.options[i].Title.Text }

// SetSubtitle changes what stands below a title.
func (c *Chooser) SetSubtitle(i int, subtitle bridge.Text) {
	c.options[i].subtitle.Set(c.k.Say(subtitle))
}

func (c *Chooser) paint() {
	for _, o := range c.options {
		o.paint()
	}
}

// FocusGained implements fyne.Focusable.
func (c *Chooser) FocusGained() {
	c.focused = true
	c.paint()
	c.k.Reveal(c)
}

// FocusLost implements fyne.Focusable.
func (c *Chooser) FocusLost() {
	c.focused = false
	c.paint()
}

// TypedRune implements fyne.Focusable.
func (c *Chooser) TypedRune(rune) {}

// TypedKey implements fyne.Focusable.
func (c *Chooser) TypedKey(e *fyne.KeyEvent) {
	n := len(c.options)
	switch e.Name {
	case fyne.KeyRight, fyne.KeyDown:
		c.take((c.Selected + 1) % n)
	case fyne.KeyLeft, fyne.KeyUp:
		c.take((max(c.Selected, 0) + n - 1) % n)
	case fyne.KeyHome:
		c.take(0)
	case fyne.KeyEnd:
		c.take(n - 1)
	case fyne.KeySpace, fyne.KeyReturn, fyne.KeyEnter:
		c.take(max(c.Selected, 0))
	case fyne.KeyEscape:
		c.k.Escape()
	default:
	}
}

// Option is one choice of a chooser.
type Option struct {
	Composite
	of              *Chooser
	index           int
	pill, hovered   bool
	ground          *Panel
	Title, subtitle *Line
}

func newOption(of *Chooser, index int, title, subtitle string, pill bool) *Option {
	o := &Option{of: of, index: index, pill: pill}
	if pill {
		o.ground = NewPanel(ColorTint, "", PillHeight/2)
		o.Title = NewFullLine(title, Style{Size: SizeSmall, Bold: true})
		o.subtitle = NewLine("", Style{})
		o.Root = Layers(o.ground, Inset(0, 9, Strut(0, PillHeight, o.Title)))
	} else {
		o.ground = NewPanel(ColorCard, ColorLine, RadiusCard)
		o.Title = NewLine(title, Style{Bold: true})
		o.subtitle = NewLine(subtitle, Style{Color: ColorMuted, Size: SizeSmall})
		o.Root = Layers(o.ground, Inset(10, Space3, Column(1, o.Title, o.subtitle)))
	}
	o.ExtendBaseWidget(o)
	o.paint()
	return o
}

func (o *Option) paint() {
	taken := o.of.Selected == o.index
	ringed := o.of.focused && (taken || o.of.Selected < 0 && o.index == 0)
	fill, stroke, text := ColorCard, ColorBorder, ColorText
	if o.pill {
		fill, stroke, text = ColorTint, "", ColorMuted
	}
	switch {
	case taken:
		fill, stroke = ColorAccentBackground, ColorAccent
		if o.pill {
			stroke, text = "", ColorAccent
		}
	case o.hovered:
		fill = ColorTint
		if o.pill {
			text = ColorText
		}
	}
	o.ground.Width = 1
	if ringed {
		stroke, o.ground.Width = ColorAccent, 2
	}
	o.ground.fill, o.ground.Stroke = fill, stroke
	o.ground.Refresh()
	s := o.Title.style
	s.Color = text
	o.Title.Set(o.Title.Text, s)
}

// Selected reports whether it is the one that is taken.
func (o *Option) Selected() bool { return o.of.Selected == o.index }

// Tapped implements fyne.Tappable.
func (o *Option) Tapped(*fyne.PointEvent) { o.of.take(o.index) }

// MouseIn implements desktop.Hoverable.
func (o *Option) MouseIn(*desktop.MouseEvent) { o.hover(true) }

// MouseMoved implements desktop.Hoverable.
func (o *Option) MouseMoved(*desktop.MouseEvent) {}

// MouseOut implements desktop.Hoverable.
func (o *Option) MouseOut() { o.hover(false) }

// Cursor implements desktop.Cursorable.
func (o *Option) Cursor() desktop.Cursor { return desktop.PointerCursor }

func (o *Option) hover(yes bool) {
	o.hovered = yes
	o.paint()
}

// RailItem is a place in the rail.
type RailItem struct {
	control
	name, Label string // of assets.Icon; what stands there
	selected    bool
	Compact     bool // the label below the icon
	Badge       Badge
}

// RailItem returns a place in the rail.
func (k *Kit) RailItem(iconName string, label bridge.Text, tapped func()) *RailItem {
	i := &RailItem{control: control{k: k, tapped: tapped}, name: iconName, Label: k.Say(label)}
	i.self = i
	i.ExtendBaseWidget(i)
	return i
}

// Badge is what a place in the rail shows where something needs attention: a
// status or a word; the zero badge is none.
type Badge struct {
	Text   string
	Tone   Tone
	Status Status
	Shaped bool // status counts
}

// Set changes what it shows.
func (i *RailItem) Set(selected bool, b Badge) {
	if i.selected != selected || i.Badge != b {
		i.selected, i.Badge = selected, b
		i.Refresh()
	}
}

// AccessibilityLabel implements fyne.Accessible.
func (i *RailItem) AccessibilityLabel() string { return i.Label }

// AccessibilityRole implements fyne.Accessible.
func (i *RailItem) AccessibilityRole() fyne.AccessibleRole { return fyne.AccessibleRoleButton }

// MinSize implements fyne.CanvasObject.
func (i *RailItem) MinSize() fyne.Size {
	if i.Compact {
		return fyne.NewSize(60, 50)
	}
	return fyne.NewSize(120, 36)
}

// CreateRenderer implements fyne.Widget.
func (i *RailItem) CreateRenderer() fyne.WidgetRenderer {
	r := &railItemRenderer{
		item: i, ground: NewPanel("", "", RadiusControl), icon: NewIcon(i.name, ColorMuted, 17),
		label: NewLine(i.Label, Style{}), word: NewPill(Bad), shape: NewStatusShape(StatusBusy, 18),
	}
	r.Children = []fyne.CanvasObject{r.ground, r.icon, r.label, r.word, r.shape}
	r.paint()
	return r
}

type railItemRenderer struct {
	Renderer
	item   *RailItem
	ground *Panel
	icon   *Icon
	label  *Line
	word   *Pill
	shape  *StatusShape
}

func (r *railItemRenderer) MinSize() fyne.Size { return r.item.MinSize() }

func (r *railItemRenderer) Layout(size fyne.Size) {
	Place(r.ground, 0, 0, size.Width, size.Height)
	var badge fyne.CanvasObject
	var extra fyne.Size
	for _, b := range []fyne.CanvasObject{r.word, r.shape} {
		if b.Visible() {
			badge, extra = b, b.MinSize()
		}
	}
	h := r.label.MinSize().Height
	if r.item.Compact {
		Place(r.icon, (size.Width-17)/2, 8, 17, 17)
		Place(r.label, 2, size.Height-h-5, size.Width-4, h)
		if badge != nil {
			Place(badge, size.Width/2+9, 2, extra.Width, extra.Height)
		}
		return
	}
	Place(r.icon, 9, (size.Height-17)/2, 17, 17)
	right := size.Width - 9
	if badge != nil {
		right -= extra.Width
		Place(badge, right, (size.Height-extra.Height)/2, extra.Width, extra.Height)
		right -= Space1
	}
	Place(r.label, 36, (size.Height-h)/2, right-36, h)
}

func (r *railItemRenderer) Refresh() {
	r.paint()
	r.ground.Refresh()
	r.icon.Refresh()
	r.label.Refresh()
	r.Layout(r.item.Size())
}

func (r *railItemRenderer) paint() {
	i := r.item
	fill, text := fyne.ThemeColorName(""), ColorMuted
	switch {
	case i.selected:
		fill, text = ColorAccentBackground, ColorAccent
	case i.hovered:
		fill, text = theme.ColorNameHover, ColorText
	}
	r.ground.fill, r.ground.Stroke, r.ground.Width = fill, "", 2
	if i.focused {
		r.ground.Stroke = ColorAccent
	}
	r.icon.name, r.icon.color = i.name, text
	r.label.Text, r.label.style = i.Label, Style{Color: text, Bold: i.selected}
	r.label.Align = fyne.TextAlignLeading
	if i.Compact {
		r.label.style.Size, r.label.Align = SizeSmall, fyne.TextAlignCenter
	}
	r.word.Hidden, r.shape.Hidden = i.Badge.Text == "", !i.Badge.Shaped
	r.word.Set(i.Badge.Text, i.Badge.Tone)
	r.shape.Set(i.Badge.Status)
}
