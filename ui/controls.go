package ui

import (
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"perch/bridge"
)

// kit makes the widgets of the window, which speak the user's language.
type kit struct {
	translate func(string) string // nil: English
	copy      func(string)        // into the clipboard
	later     func(time.Duration, func())
	escape    func() // what Escape does where a widget has no use for it
	shortcut  func(fyne.Shortcut)
	unfocus   func()
	reveal    func(fyne.CanvasObject) // scrolls to what has got the focus
}

// say returns a sentence in the user's language.
func (k *kit) say(t bridge.Text) string { return t.In(k.translate) }

// control is what all widgets have that can be used with mouse and keyboard.
// Enter and Space do what a tap does.
type control struct {
	widget.BaseWidget
	k                          *kit
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
	c.k.reveal(c.self)
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
		c.k.escape()
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
func (c *control) Enable() { c.enable(true) }

// Disable implements fyne.Disableable.
func (c *control) Disable() { c.enable(false) }

// Disabled implements fyne.Disableable.
func (c *control) Disabled() bool { return c.disabled }

func (c *control) enable(yes bool) {
	if c.disabled == yes {
		c.disabled = !yes
		c.Refresh()
	}
}

// button is a button with a text, an icon or both.
type button struct {
	control
	text  string
	icon  string // of assets.Icon; empty: none
	kind  buttonKind
	small bool
	least float32 // how wide it is at least
}

type buttonKind int

const (
	plainButton buttonKind = iota
	primaryButton
	dangerButton
)

// button returns a plain button.
func (k *kit) button(label bridge.Text, tapped func()) *button {
	b := &button{control: control{k: k, tapped: tapped}, text: k.say(label)}
	b.self = b
	b.ExtendBaseWidget(b)
	return b
}

// primary returns the button of what a person most likely wants.
func (k *kit) primary(label bridge.Text, tapped func()) *button {
	b := k.button(label, tapped)
	b.kind = primaryButton
	return b
}

// smallButton returns a button for use in a line of text.
func (k *kit) smallButton(label bridge.Text, tapped func()) *button {
	b := k.button(label, tapped)
	b.small = true
	return b
}

// copyButton returns a small button that copies what text returns, and says so
// for a moment.
func (k *kit) copyButton(label bridge.Text, text func() string) *button {
	b := k.smallButton(label, nil)
	before, done := b.text, k.say(bridge.Say("Copied"))
	b.text = done
	b.least = b.MinSize().Width
	b.text = before
	b.least = max(b.least, b.MinSize().Width)
	copies := 0
	b.tapped = func() {
		k.copy(text())
		b.setText(done)
		copies++
		mine := copies
		k.later(copiedFor, func() {
			if copies == mine {
				b.setText(before)
			}
		})
	}
	return b
}

// copiedFor is how long a button says that it has copied.
const copiedFor = 1500 * time.Millisecond

// setText changes what is on the button.
func (b *button) setText(text string) {
	if b.text != text {
		b.text = text
		b.Refresh()
	}
}

// setKind changes how it looks.
func (b *button) setKind(kind buttonKind) {
	if b.kind != kind {
		b.kind = kind
		b.Refresh()
	}
}

// AccessibilityLabel implements fyne.Accessible.
func (b *button) AccessibilityLabel() string { return b.text }

// AccessibilityRole implements fyne.Accessible.
func (b *button) AccessibilityRole() fyne.AccessibleRole { return fyne.AccessibleRoleButton }

// MinSize implements fyne.CanvasObject.
func (b *button) MinSize() fyne.Size {
	size, pad, height := b.measures()
	w := 2 * pad
	if b.text != "" {
		w += fyne.MeasureText(b.text, size, fyne.TextStyle{}).Width
	}
	if b.icon != "" {
		w += size + 2
		if b.text != "" {
			w += 6
		}
	}
	return fyne.NewSize(max(w, b.least), height)
}

// measures returns the size of the text, the space at its sides and the height
// of the button.
func (b *button) measures() (text, pad, height float32) {
	if b.small {
		return theme.SizeForWidget(sizeSmall, b), 10, 26
	}
	return theme.SizeForWidget(sizeText, b), 14, 36
}

// CreateRenderer implements fyne.Widget.
func (b *button) CreateRenderer() fyne.WidgetRenderer {
	r := &buttonRenderer{
		button: b, ground: newPanel("", "", radiusControl), over: newPanel("", "", radiusControl),
		text: newWhole("", style{}), icon: newIcon("dot", colorText, 16),
	}
	r.objects = []fyne.CanvasObject{r.ground, r.over, r.icon, r.text}
	r.paint()
	return r
}

type buttonRenderer struct {
	renderer
	button       *button
	ground, over *panel
	icon         *icon
	text         *line
}

func (r *buttonRenderer) MinSize() fyne.Size { return r.button.MinSize() }

func (r *buttonRenderer) Layout(size fyne.Size) {
	place(r.ground, 0, 0, size.Width, size.Height)
	place(r.over, 0, 0, size.Width, size.Height)
	text := r.text.MinSize()
	x := (size.Width - text.Width) / 2
	if r.button.icon != "" {
		s := r.icon.size
		whole := s
		if r.button.text != "" {
			whole += 6 + text.Width
		}
		x = (size.Width - whole) / 2
		place(r.icon, x, (size.Height-s)/2, s, s)
		x += s + 6
	}
	place(r.text, x, (size.Height-text.Height)/2, text.Width, text.Height)
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
	fill, stroke, over, text := colorCard, colorLine, fyne.ThemeColorName(""), colorText
	switch b.kind {
	case primaryButton:
		fill, stroke, text = colorAccent, "", colorOnAccent
		if b.hovered {
			fill = colorAccentHover
		}
	case dangerButton:
		text = colorBad
		fallthrough
	default:
		if b.hovered {
			over = theme.ColorNameHover
		}
	}
	if b.disabled {
		fill, stroke, over, text = theme.ColorNameDisabledButton, colorLine, "", theme.ColorNameDisabled
	}
	r.ground.fill, r.ground.stroke, r.ground.width = fill, stroke, 1
	r.over.fill, r.over.stroke = over, ""
	if b.focused {
		r.over.stroke, r.over.width = focusColor(b.kind == primaryButton), 2
	}
	size := sizeText
	if b.small {
		size = sizeSmall
	}
	r.text.text, r.text.style = b.text, style{color: text, size: size}
	textSize, _, _ := b.measures()
	r.icon.size, r.icon.color, r.icon.Hidden = textSize+2, text, b.icon == ""
	if b.icon != "" {
		r.icon.name = b.icon
	}
}

// focusColor returns the colour of the ring around what has the focus.
func focusColor(onAccent bool) fyne.ThemeColorName {
	if onAccent {
		return colorText
	}
	return colorAccent
}

// entry is Fyne's, which Escape leaves, and which can be marked as wrong.
type entry struct {
	widget.Entry
	k *kit
}

// entry returns a field to type a line into.
func (k *kit) entry(placeholder bridge.Text) *entry {
	e := &entry{k: k}
	e.PlaceHolder = k.say(placeholder)
	e.ExtendBaseWidget(e)
	return e
}

// TypedKey implements fyne.Focusable.
func (e *entry) TypedKey(key *fyne.KeyEvent) {
	if key.Name == fyne.KeyEscape {
		e.k.unfocus()
		return
	}
	e.Entry.TypedKey(key)
}

// FocusGained implements fyne.Focusable.
func (e *entry) FocusGained() {
	e.Entry.FocusGained()
	e.k.reveal(e)
}

// TypedShortcut implements fyne.Shortcutable: those of the window work in the
// field too.
func (e *entry) TypedShortcut(s fyne.Shortcut) {
	if _, ok := s.(*desktop.CustomShortcut); ok {
		e.k.shortcut(s)
	}
	e.Entry.TypedShortcut(s)
}

// mark draws the border in the colour of errors, with a sign, if err is one.
func (e *entry) mark(err error) {
	// Fyne asks the validator again at every turn, and with one it puts a tick
	// behind all that is right.
	e.Validator, e.AlwaysShowValidationError = nil, err != nil
	if err != nil {
		e.Validator = func(string) error { return err }
	}
	e.SetValidationError(err)
}

// dropdown is Fyne's list to choose from.
type dropdown struct {
	widget.Select
	k *kit
}

// dropdown returns a list of which one option is taken; changed is called with
// its index.
func (k *kit) dropdown(options []string, changed func(int)) *dropdown {
	d := &dropdown{k: k}
	d.Options = options
	d.OnChanged = func(string) { changed(d.SelectedIndex()) }
	d.ExtendBaseWidget(d)
	return d
}

// set selects an option without a word to changed.
func (d *dropdown) set(i int) {
	changed := d.OnChanged
	d.OnChanged = nil
	d.SetSelectedIndex(i)
	d.OnChanged = changed
}

// FocusGained implements fyne.Focusable.
func (d *dropdown) FocusGained() {
	d.Select.FocusGained()
	d.k.reveal(d)
}

// TypedKey implements fyne.Focusable.
func (d *dropdown) TypedKey(e *fyne.KeyEvent) {
	switch e.Name {
	case fyne.KeyEscape:
		d.k.escape()
	case fyne.KeyReturn, fyne.KeyEnter:
		d.Select.TypedKey(&fyne.KeyEvent{Name: fyne.KeySpace})
	default:
		d.Select.TypedKey(e)
	}
}

// check is Fyne's box to tick.
type check struct {
	widget.Check
	k *kit
}

// check returns a box to tick.
func (k *kit) check(label bridge.Text, changed func(bool)) *check {
	c := &check{k: k}
	c.Text, c.OnChanged = k.say(label), changed
	c.ExtendBaseWidget(c)
	return c
}

// set ticks the box or not without a word to changed.
func (c *check) set(yes bool) {
	changed := c.OnChanged
	c.OnChanged = nil
	c.SetChecked(yes)
	c.OnChanged = changed
}

// FocusGained implements fyne.Focusable.
func (c *check) FocusGained() {
	c.Check.FocusGained()
	c.k.reveal(c)
}

// TypedKey implements fyne.Focusable.
func (c *check) TypedKey(e *fyne.KeyEvent) {
	switch e.Name {
	case fyne.KeyEscape:
		c.k.escape()
	case fyne.KeyReturn, fyne.KeyEnter:
		c.Tapped(&fyne.PointEvent{})
	default:
		c.Check.TypedKey(e)
	}
}

// chooser is a row of choices of which one is taken; the arrows move it.
type chooser struct {
	composite
	k        *kit
	options  []*option
	selected int // -1: none
	changed  func(int)
	focused  bool
}

// choice is one of a chooser's.
type choice struct{ title, subtitle bridge.Text }

// choiceCards returns a row of cards, each with a title and what it means;
// changed is called with the index of the one that a person takes.
func (k *kit) choiceCards(choices []choice, changed func(int)) *chooser {
	return k.chooser(choices, changed, func(objects ...fyne.CanvasObject) *fyne.Container {
		return grid(10, 150, objects...)
	}, false)
}

// choicePills returns a row of pills without subtitles.
func (k *kit) choicePills(titles []string, changed func(int)) *chooser {
	choices := make([]choice, len(titles))
	for i, t := range titles {
		choices[i].title = bridge.Say("%s", t)
	}
	return k.chooser(choices, changed, func(objects ...fyne.CanvasObject) *fyne.Container {
		return flow(space2, objects...)
	}, true)
}

func (k *kit) chooser(choices []choice, changed func(int), arrange func(...fyne.CanvasObject) *fyne.Container, pills bool) *chooser {
	c := &chooser{k: k, selected: -1, changed: changed}
	var objects []fyne.CanvasObject
	for i, ch := range choices {
		o := newOption(c, i, k.say(ch.title), k.say(ch.subtitle), pills)
		c.options = append(c.options, o)
		objects = append(objects, o)
	}
	c.root = arrange(objects...)
	c.ExtendBaseWidget(c)
	return c
}

// take selects a choice as a person does.
func (c *chooser) take(i int) {
	if i == c.selected {
		return
	}
	c.set(i)
	if c.changed != nil {
		c.changed(i)
	}
}

// set selects a choice without a word to changed.
func (c *chooser) set(i int) {
	c.selected = i
	c.paint()
}

// setSubtitle changes what stands below a title.
func (c *chooser) setSubtitle(i int, subtitle bridge.Text) {
	c.options[i].subtitle.set(c.k.say(subtitle))
}

func (c *chooser) paint() {
	for _, o := range c.options {
		o.paint()
	}
}

// FocusGained implements fyne.Focusable.
func (c *chooser) FocusGained() {
	c.focused = true
	c.paint()
	c.k.reveal(c)
}

// FocusLost implements fyne.Focusable.
func (c *chooser) FocusLost() {
	c.focused = false
	c.paint()
}

// TypedRune implements fyne.Focusable.
func (c *chooser) TypedRune(rune) {}

// TypedKey implements fyne.Focusable.
func (c *chooser) TypedKey(e *fyne.KeyEvent) {
	n := len(c.options)
	switch e.Name {
	case fyne.KeyRight, fyne.KeyDown:
		c.take((c.selected + 1) % n)
	case fyne.KeyLeft, fyne.KeyUp:
		c.take((max(c.selected, 0) + n - 1) % n)
	case fyne.KeyHome:
		c.take(0)
	case fyne.KeyEnd:
		c.take(n - 1)
	case fyne.KeySpace, fyne.KeyReturn, fyne.KeyEnter:
		c.take(max(c.selected, 0))
	case fyne.KeyEscape:
		c.k.escape()
	default:
	}
}

// option is one choice of a chooser.
type option struct {
	composite
	of              *chooser
	index           int
	pill, hovered   bool
	ground          *panel
	title, subtitle *line
}

func newOption(of *chooser, index int, title, subtitle string, pill bool) *option {
	o := &option{of: of, index: index, pill: pill}
	if pill {
		o.ground = newPanel(colorTint, "", pillHeight/2)
		o.title = newWhole(title, style{size: sizeSmall, bold: true})
		o.subtitle = newLine("", style{})
		o.root = layers(o.ground, inset(0, 9, newStrut(0, pillHeight, o.title)))
	} else {
		o.ground = newPanel(colorCard, colorLine, radiusCard)
		o.title = newLine(title, style{bold: true})
		o.subtitle = newLine(subtitle, style{color: colorMuted, size: sizeSmall})
		o.root = layers(o.ground, inset(10, space3, column(1, o.title, o.subtitle)))
	}
	o.ExtendBaseWidget(o)
	o.paint()
	return o
}

func (o *option) paint() {
	taken := o.of.selected == o.index
	ringed := o.of.focused && (taken || o.of.selected < 0 && o.index == 0)
	fill, stroke, text := colorCard, colorLine, colorText
	if o.pill {
		fill, stroke, text = colorTint, "", colorMuted
	}
	switch {
	case taken:
		fill, stroke = colorAccentGround, colorAccent
		if o.pill {
			stroke, text = "", colorAccent
		}
	case o.hovered:
		fill = colorTint
		if o.pill {
			text = colorText
		}
	}
	o.ground.width = 1
	if ringed {
		stroke, o.ground.width = colorAccent, 2
	}
	o.ground.fill, o.ground.stroke = fill, stroke
	o.ground.Refresh()
	s := o.title.style
	s.color = text
	o.title.set(o.title.text, s)
}

// Tapped implements fyne.Tappable.
func (o *option) Tapped(*fyne.PointEvent) { o.of.take(o.index) }

// MouseIn implements desktop.Hoverable.
func (o *option) MouseIn(*desktop.MouseEvent) { o.hover(true) }

// MouseMoved implements desktop.Hoverable.
func (o *option) MouseMoved(*desktop.MouseEvent) {}

// MouseOut implements desktop.Hoverable.
func (o *option) MouseOut() { o.hover(false) }

// Cursor implements desktop.Cursorable.
func (o *option) Cursor() desktop.Cursor { return desktop.PointerCursor }

func (o *option) hover(yes bool) {
	o.hovered = yes
	o.paint()
}

// railItem is a place in the rail.
type railItem struct {
	control
	name, label string // of assets.Icon; what stands there
	selected    bool
	compact     bool // the label below the icon
	badge       badge
}

func (k *kit) railItem(iconName string, label bridge.Text, tapped func()) *railItem {
	i := &railItem{control: control{k: k, tapped: tapped}, name: iconName, label: k.say(label)}
	i.self = i
	i.ExtendBaseWidget(i)
	return i
}

// badge is what a place in the rail shows where something needs attention: a
// status or a word; the zero badge is none.
type badge struct {
	text   string
	tone   tone
	status status
	shaped bool // status counts
}

// set changes what it shows.
func (i *railItem) set(selected bool, b badge) {
	if i.selected != selected || i.badge != b {
		i.selected, i.badge = selected, b
		i.Refresh()
	}
}

// AccessibilityLabel implements fyne.Accessible.
func (i *railItem) AccessibilityLabel() string { return i.label }

// AccessibilityRole implements fyne.Accessible.
func (i *railItem) AccessibilityRole() fyne.AccessibleRole { return fyne.AccessibleRoleButton }

// MinSize implements fyne.CanvasObject.
func (i *railItem) MinSize() fyne.Size {
	if i.compact {
		return fyne.NewSize(60, 50)
	}
	return fyne.NewSize(120, 36)
}

// CreateRenderer implements fyne.Widget.
func (i *railItem) CreateRenderer() fyne.WidgetRenderer {
	r := &railItemRenderer{
		item: i, ground: newPanel("", "", radiusControl), icon: newIcon(i.name, colorMuted, 17),
		label: newLine(i.label, style{}), word: newPill(bad), shape: newStatus(statusBusy, 18),
	}
	r.objects = []fyne.CanvasObject{r.ground, r.icon, r.label, r.word, r.shape}
	r.paint()
	return r
}

type railItemRenderer struct {
	renderer
	item   *railItem
	ground *panel
	icon   *icon
	label  *line
	word   *pill
	shape  *statusShape
}

func (r *railItemRenderer) MinSize() fyne.Size { return r.item.MinSize() }

func (r *railItemRenderer) Layout(size fyne.Size) {
	place(r.ground, 0, 0, size.Width, size.Height)
	var badge fyne.CanvasObject
	var extra fyne.Size
	for _, b := range []fyne.CanvasObject{r.word, r.shape} {
		if b.Visible() {
			badge, extra = b, b.MinSize()
		}
	}
	h := r.label.MinSize().Height
	if r.item.compact {
		place(r.icon, (size.Width-17)/2, 8, 17, 17)
		place(r.label, 2, size.Height-h-5, size.Width-4, h)
		if badge != nil {
			place(badge, size.Width/2+9, 2, extra.Width, extra.Height)
		}
		return
	}
	place(r.icon, 9, (size.Height-17)/2, 17, 17)
	right := size.Width - 9
	if badge != nil {
		right -= extra.Width
		place(badge, right, (size.Height-extra.Height)/2, extra.Width, extra.Height)
		right -= space1
	}
	place(r.label, 36, (size.Height-h)/2, right-36, h)
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
	fill, text := fyne.ThemeColorName(""), colorMuted
	switch {
	case i.selected:
		fill, text = colorAccentGround, colorAccent
	case i.hovered:
		fill, text = theme.ColorNameHover, colorText
	}
	r.ground.fill, r.ground.stroke, r.ground.width = fill, "", 2
	if i.focused {
		r.ground.stroke = colorAccent
	}
	r.icon.name, r.icon.color = i.name, text
	r.label.text, r.label.style = i.label, style{color: text, bold: i.selected}
	r.label.align = fyne.TextAlignLeading
	if i.compact {
		r.label.style.size, r.label.align = sizeSmall, fyne.TextAlignCenter
	}
	r.word.Hidden, r.shape.Hidden = i.badge.text == "", !i.badge.shaped
	r.word.set(i.badge.text, i.badge.tone)
	r.shape.set(i.badge.status)
}
