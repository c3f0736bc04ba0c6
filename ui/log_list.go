package ui

import (
	"log/slog"
	"unicode"
	"unicode/utf8"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/widget"

	"perch/bridge"
	"perch/ui/kit"
)

// logList shows the rows of a log page, the newest on top. Arrows move the
// selection, Enter and Space open the details.
type logList struct {
	widget.List
	page *logPage
}

// logPitch is the height of a row with the gap of Fyne's list below it.
const (
	logHeight = 28
	logPitch  = logHeight + 4
)

func newLogList(p *logPage) *logList {
	l := &logList{page: p}
	l.Length = func() int { return len(p.view.rows) }
	l.CreateItem = func() fyne.CanvasObject { return newLogLine(p) }
	l.UpdateItem = func(i widget.ListItemID, o fyne.CanvasObject) {
		if line, is := o.(*logLine); is && i < len(p.view.rows) {
			line.show(p.view.newestAt(i))
		}
	}
	l.ExtendBaseWidget(l)
	return l
}

// Tapped implements fyne.Tappable, for the gaps between the rows.
func (l *logList) Tapped(e *fyne.PointEvent) {
	if i := int((e.Position.Y + l.GetScrollOffset()) / logPitch); i < len(l.page.view.rows) {
		l.page.tapped(l.page.view.newestAt(i))
	}
}

// FocusGained implements fyne.Focusable.
func (l *logList) FocusGained() { l.page.focus(true) }

// FocusLost implements fyne.Focusable.
func (l *logList) FocusLost() { l.page.focus(false) }

// TypedKey implements fyne.Focusable.
func (l *logList) TypedKey(e *fyne.KeyEvent) {
	p, visible := l.page, max(1, int(l.Size().Height/logPitch)-1)
	switch e.Name {
	case fyne.KeyDown:
		p.move(1)
	case fyne.KeyUp:
		p.move(-1)
	case fyne.KeyPageDown:
		p.move(visible)
	case fyne.KeyPageUp:
		p.move(-visible)
	case fyne.KeyHome:
		p.move(-len(p.view.rows))
	case fyne.KeyEnd:
		p.move(len(p.view.rows))
	case fyne.KeyReturn, fyne.KeyEnter, fyne.KeySpace:
		p.open(!p.details.Visible())
	case fyne.KeyEscape:
		p.u.kit.Escape()
	default:
	}
}

// TypedShortcut implements fyne.Shortcutable: Ctrl+C copies the selected event,
// and those of the window work here too.
func (l *logList) TypedShortcut(s fyne.Shortcut) {
	switch s.(type) {
	case *fyne.ShortcutCopy:
		if l.page.selected != nil {
			l.page.details.copies.Tapped(nil)
		}
	case *desktop.CustomShortcut:
		l.page.u.kit.Shortcut(s)
	}
}

// reveal scrolls so that the row that stands i below the newest is seen.
func (l *logList) reveal(i int) {
	top, height := float32(i*logPitch), l.Size().Height
	switch offset := l.GetScrollOffset(); {
	case top < offset:
		l.ScrollToOffset(top)
	case top+logPitch > offset+height:
		l.ScrollToOffset(top + logPitch - height)
	}
}

// logColumns are where the columns of the log begin, and how wide they are.
type logColumns struct{ time, sign, room, who, text, state logSpan }

type logSpan struct{ x, width float32 }

// columnsIn returns the columns of a row that wide. Where there is little
// space, those of the room and the person are left out.
func columnsIn(width float32) logColumns {
	const gap, edge, signs = kit.Space3, kit.Space2, 16
	times, room, who, state := float32(92), float32(86), float32(104), float32(134)
	if width < 560 {
		times, room, who, state = 66, 0, 0, 104
	}
	var c logColumns
	x := float32(edge)
	next := func(w float32) logSpan {
		s := logSpan{x, w}
		if x += w; w > 0 {
			x += gap
		}
		return s
	}
	c.time, c.sign, c.room, c.who = next(times), next(signs), next(room), next(who)
	c.text = next(max(width-x-gap-state-edge, 0))
	c.state = logSpan{width - edge - state, state}
	return c
}

// put places an object in its column, in the middle of the height.
func (s logSpan) put(o fyne.CanvasObject, width, height float32) {
	m := o.MinSize()
	kit.Place(o, s.x, (height-m.Height)/2, min(width, s.width), m.Height)
}

// logHead is what stands over the columns.
type logHead struct{ labels []*kit.Line }

func newLogHead(u *UI) *logHead {
	h := &logHead{}
	for _, t := range []bridge.Text{
		bridge.Say("Time"), bridge.Say("Room"), bridge.Say("Who"), bridge.Say("Message"), bridge.Say("Reply"),
	} {
		h.labels = append(h.labels, kit.NewLine(u.say(t), kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Bold: true}))
	}
	return h
}

func (h *logHead) objects() []fyne.CanvasObject {
	var list []fyne.CanvasObject
	for _, l := range h.labels {
		list = append(list, l)
	}
	return list
}

// Layout implements fyne.Layout.
func (h *logHead) Layout(_ []fyne.CanvasObject, size fyne.Size) {
	c := columnsIn(size.Width)
	for i, s := range []logSpan{c.time, c.room, c.who, c.text, c.state} {
		h.labels[i].Hidden = s.width == 0
		s.put(h.labels[i], s.width, size.Height)
	}
}

// MinSize implements fyne.Layout.
func (h *logHead) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(300, 32) }

// logLine shows a row. It is used again for another when it is scrolled out of
// view.
type logLine struct {
	widget.BaseWidget
	page    *logPage
	row     *logRow // nil: none yet
	hovered bool
}

func newLogLine(p *logPage) *logLine {
	l := &logLine{page: p}
	l.ExtendBaseWidget(l)
	return l
}

func (l *logLine) show(r *logRow) {
	l.row = r
	l.Refresh()
}

// Tapped implements fyne.Tappable.
func (l *logLine) Tapped(*fyne.PointEvent) { l.page.tapped(l.row) }

// MouseIn implements desktop.Hoverable.
func (l *logLine) MouseIn(*desktop.MouseEvent) { l.hover(true) }

// MouseMoved implements desktop.Hoverable.
func (l *logLine) MouseMoved(*desktop.MouseEvent) {}

// MouseOut implements desktop.Hoverable.
func (l *logLine) MouseOut() { l.hover(false) }

func (l *logLine) hover(yes bool) {
	l.hovered = yes
	l.Refresh()
}

// Cursor implements desktop.Cursorable.
func (l *logLine) Cursor() desktop.Cursor { return desktop.PointerCursor }

// MinSize implements fyne.CanvasObject. Fyne's list makes a line to ask for this
// at every refresh: what is not shown is not made of anything.
func (l *logLine) MinSize() fyne.Size { return fyne.NewSize(300, logHeight) }

// CreateRenderer implements fyne.Widget.
func (l *logLine) CreateRenderer() fyne.WidgetRenderer {
	r := &logLineRenderer{
		row:    l,
		ground: kit.NewPanel(kit.ColorTint, "", 0),
		time:   kit.NewLine("", kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Mono: true}),
		sign:   kit.NewIcon("dot", kit.ColorText, 15),
		room:   kit.NewLine("", kit.Style{}), who: kit.NewLine("", kit.Style{}), text: kit.NewLine("", kit.Style{}),
		state: kit.NewPill(kit.Neutral),
	}
	r.Children = []fyne.CanvasObject{r.ground, r.time, r.sign, r.room, r.who, r.text, r.state}
	r.paint()
	return r
}

type logLineRenderer struct {
	kit.Renderer
	row             *logLine
	ground          *kit.Panel
	time            *kit.Line
	sign            *kit.Icon
	room, who, text *kit.Line
	state           *kit.Pill
}

func (r *logLineRenderer) MinSize() fyne.Size { return r.row.MinSize() }

func (r *logLineRenderer) Layout(size fyne.Size) {
	const line = 1 // between two rows, in the middle of the gap
	kit.Place(r.ground, 0, -(logPitch-logHeight-line)/2, size.Width, logPitch-line)
	c := columnsIn(size.Width)
	c.time.put(r.time, c.time.width, size.Height)
	c.sign.put(r.sign, c.sign.width, size.Height)
	r.room.Hidden = c.room.width == 0
	c.room.put(r.room, c.room.width, size.Height)
	r.who.Hidden = c.who.width == 0
	c.who.put(r.who, c.who.width, size.Height)
	r.text.Set(r.row.words(c.who.width == 0))
	c.text.put(r.text, c.text.width, size.Height)
	c.state.put(r.state, r.state.MinSize().Width, size.Height)
}

func (r *logLineRenderer) Refresh() {
	r.paint()
	r.Layout(r.row.Size())
}

func (r *logLineRenderer) paint() {
	p, row := r.row.page, r.row.row
	if row == nil {
		return
	}
	e := row.event
	chosen := p.selected != nil && p.selected.seq == row.seq
	r.ground.Hidden = !chosen && !r.row.hovered
	if chosen {
		r.ground.Set(kit.ColorAccentBackground, "")
	} else {
		r.ground.Set(kit.ColorTint, "")
	}
	r.time.Set(p.shortTime(e.Time))
	name, color := signIcon(row.sign())
	r.sign.Set(name, color)

	r.room.Set(orDash(e.Room.Token, e.Room.String()))
	switch {
	case row.sign() == signOut:
		r.who.Set("Perch")
	default:
		r.who.Set(orDash(e.Actor.ID, e.Actor.String()))
	}
	state, t := row.state(p.u.now(), p.u.snapshot.Held)
	r.state.Set(p.u.say(state), t)
	if row.fate == fateWorking {
		p.ages = true
	}
}

// words returns what stands in the column of the message; named says that the
// person stands there, too.
func (l *logLine) words(named bool) (string, kit.Style) {
	if l.row == nil {
		return "", kit.Style{}
	}
	text := l.row.words(l.page.u.kit.Say)
	switch l.row.sign() {
	case signIn:
		if named {
			text = l.row.event.Actor.String() + ": " + text
		}
	case signOut:
	case signRefused:
		return excerpt(capital(text), maxWordsShown), kit.Style{Color: kit.ColorMuted}
	default:
		text = capital(text)
	}
	return excerpt(text, maxWordsShown), kit.Style{}
}

// capital returns s with a capital at its beginning.
func capital(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + s[n:]
}

// maxWordsShown is more than fits into a row.
const maxWordsShown = 300

// orDash returns name, and a dash where there is nothing that has one.
func orDash(id, name string) string {
	if id == "" {
		return "—"
	}
	return excerpt(name, 60)
}

// signIcon returns the shape of a row and its colour.
func signIcon(s sign) (name string, color fyne.ThemeColorName) {
	switch s {
	case signIn:
		return "arrow-in", kit.ColorText
	case signOut:
		return "arrow-out", kit.ColorText
	case signRefused:
		return "refused", kit.ColorText
	case signWarn:
		return "bang", kit.ColorWarn
	case signError:
		return "cross", kit.ColorBad
	default:
		return "dot", kit.ColorText
	}
}

// logLevels returns what the log can be narrowed to, at least.
func logLevels() []slog.Level { return []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} }
