package ui

import (
	"context"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/theme"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// practicePage is a chat with the bot on a Talk server inside Perch, as a
// chosen person in a chosen room. The server starts with the first visit and
// ends with the window.
type practicePage struct {
	u      *UI
	body   *fyne.Container
	talk   *talk
	person *kit.Dropdown
	room   *kit.Dropdown
	as, in *fyne.Container // person and room, framed
	input  *messageEntry
	send   *kit.Button
	clear  *kit.Button
	quiet  *kit.EmptyState // nothing was said yet
	broken *kit.EmptyState // the server could not start

	rehearsal *rehearsal // nil: none was begun
	people    []bridge.Actor
	rooms     []bridge.Room
	failure   error // why the server could not start
	sending   bool
	clearing  bool
}

// rehearsal is a practice server as the page has it.
type rehearsal struct {
	stop    context.CancelFunc
	handler config.Handler  // that it was started with
	server  bridge.Practice // nil: it is starting
	changed atomic.Bool     // since it was shown
}

// watchPause is how long after a change the next is looked for: a bot that says
// much at once is shown a few times a second.
const watchPause = 100 * time.Millisecond

func newPractice(u *UI) *practicePage {
	p := &practicePage{u: u, talk: newTalk(u)}
	p.person = u.kit.Dropdown(nil, func(int) {})
	p.room = u.kit.Dropdown(nil, func(int) { p.showLines(true) })
	frame := func(d *kit.Dropdown) *fyne.Container {
		return kit.Layers(d, kit.NewPanel("", kit.ColorBorder, kit.RadiusControl))
	}
	p.as, p.in = frame(p.person), frame(p.room)
	p.clear = u.kit.Button(bridge.Say("Clear"), p.clearAll)
	p.send = u.kit.PrimaryButton(bridge.Say("Send"), p.say)
	p.input = newMessageEntry(u, bridge.Say("Say something to your bot"))
	p.input.OnSubmitted = func(string) { p.say() }
	p.quiet = u.kit.EmptyState(
		"practice", bridge.Say("Say something to your bot"),
		bridge.Say("It answers here as it would in Talk, with the handler of the settings. One of the people is not among the allowed users: see what happens then."),
	)
	p.broken = u.kit.EmptyState(
		"refused", bridge.Say("The practice server could not start"), bridge.Text{},
		u.kit.Button(bridge.Say("Try again"), p.begin),
	)
	card := kit.Layers(kit.NewPanel(kit.ColorCard, kit.ColorLine, kit.RadiusCard), kit.Inset(2, 2, p.talk.body), p.quiet, p.broken)
	foot := kit.Inset(14, 0, kit.FoldingRow(kit.Space2, 1, 160, p.in, p.input, p.send))
	p.body = container.New(practiceLayout{p.talk}, card, foot)
	p.update()
	return p
}

func (p *practicePage) object() fyne.CanvasObject { return p.body }
func (p *practicePage) hidden()                   {}

// shown starts the server if there is none, or anew if the handler is another
// one since.
func (p *practicePage) shown() {
	switch c, _, _ := p.u.backend.Config(); {
	case p.rehearsal == nil, p.failure != nil:
		p.begin()
	case !reflect.DeepEqual(c.Handler, p.rehearsal.handler):
		p.rehearsal.stop()
		if p.talk.said() {
			p.u.tell(kit.OK, bridge.Say("The handler has changed, so practice starts over with it."))
		}
		p.begin()
	case p.server() != nil:
		p.focus()
	}
}

func (p *practicePage) header() header {
	h := header{status: kit.StatusOK, title: p.u.say(bridge.Say("Practice room"))}
	switch host := p.u.snapshot.Server; {
	case p.failure != nil:
		h.status, h.detail = kit.StatusBad, p.u.say(bridge.TextOf(p.failure))
		return h
	case p.server() == nil, p.clearing:
		h.status, h.detail = kit.StatusBusy, p.u.say(bridge.Say("Starting a Talk server inside Perch…"))
	case host == "":
		h.detail = p.u.say(bridge.Say("A Talk server inside Perch. Nothing here reaches a real one."))
	default:
		h.detail = p.u.say(bridge.Say("A Talk server inside Perch. Nothing here reaches %s.", host))
	}
	if p.server() != nil {
		h.actions = []fyne.CanvasObject{p.as, p.clear}
	}
	return h
}

func (p *practicePage) refresh(bridge.Snapshot) {
	if p.server() != nil && p.rehearsal.changed.Swap(false) {
		p.showLines(false)
	}
}

// server returns the practice server; nil while there is none.
func (p *practicePage) server() bridge.Practice {
	if p.rehearsal == nil {
		return nil
	}
	return p.rehearsal.server
}

// begin starts a practice server. Its goroutine has it until it is stopped, or
// the window ends.
func (p *practicePage) begin() {
	r := &rehearsal{}
	c, _, _ := p.u.backend.Config()
	r.handler = c.Handler
	p.rehearsal, p.failure = r, nil
	p.talk.show(nil, false)
	p.update()
	r.stop = p.u.background(func(ctx context.Context) func() {
		server, err := p.u.backend.Practice(ctx)
		if err != nil {
			return func() { p.fail(r, err) }
		}
		defer server.Close()
		p.u.do(func() { p.started(r, server) })
		for {
			changed := server.Changed()
			r.changed.Store(true)
			p.u.poke()
			p.u.signal()
			pause := time.NewTimer(watchPause)
			select {
			case <-ctx.Done():
				pause.Stop()
				return nil
			case <-pause.C:
			}
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
		}
	})
}

func (p *practicePage) started(r *rehearsal, server bridge.Practice) {
	if p.rehearsal != r {
		return
	}
	r.server = server
	p.people = server.People()
	names := make([]string, len(p.people))
	for i, a := range p.people {
		names[i] = p.u.say(bridge.Say("Speak as %s", a.String()))
	}
	options(p.person, names)
	p.enterRooms()
	p.focus()
}

func (p *practicePage) fail(r *rehearsal, err error) {
	if p.rehearsal == r {
		p.failure = err
		p.update()
	}
}

// enterRooms shows the rooms that the server has now.
func (p *practicePage) enterRooms() {
	p.rooms = p.server().Rooms()
	names := make([]string, len(p.rooms))
	for i, r := range p.rooms {
		names[i] = p.u.say(bridge.Say("in %s", r.String()))
	}
	options(p.room, names)
	p.showLines(true)
	p.update()
}

// options changes what there is to choose from, and how wide that is; the same
// place in it stays selected.
func options(d *kit.Dropdown, names []string) {
	selected := max(0, d.SelectedIndex())
	d.Options, d.PlaceHolder = names, " "
	for _, n := range names {
		if textWidth(n, kit.SizeText, fyne.TextStyle{}) > textWidth(d.PlaceHolder, kit.SizeText, fyne.TextStyle{}) {
			d.PlaceHolder = n
		}
	}
	d.Set(min(selected, len(names)-1))
}

func textWidth(s string, size fyne.ThemeSizeName, face fyne.TextStyle) float32 {
	return fyne.MeasureText(s, theme.Size(size), face).Width
}

// update shows what can be done now.
func (p *practicePage) update() {
	enable := func(o fyne.Disableable, yes bool) {
		if yes {
			o.Enable()
		} else {
			o.Disable()
		}
	}
	ready := p.server() != nil && !p.clearing
	enable(p.input, ready)
	enable(p.send, ready && !p.sending)
	enable(p.clear, ready)
	p.in.Hidden = p.server() == nil
	p.broken.Hidden = p.failure == nil
	if p.failure != nil {
		hint := p.u.say(bridge.TextOf(p.failure))
		if more := bridge.HintOf(p.failure); !more.IsZero() {
			hint = kit.Sentence(hint) + " " + p.u.say(more)
		}
		p.broken.Set(p.broken.Title.Text, hint)
	}
	p.quiet.Hidden = !ready || p.talk.said()
	p.body.Refresh()
	p.u.refreshHeader()
}

// showLines shows what stands in the room, with the newest in view if all of it
// is new or the newest was.
func (p *practicePage) showLines(anew bool) {
	i := p.room.SelectedIndex()
	if p.server() == nil || i < 0 {
		return
	}
	lines := p.server().Lines(p.rooms[i].Token)
	atEnd := anew || p.talk.atEnd()
	p.talk.show(lines, awaited(lines, p.rehearsal.handler.Ack))
	if atEnd {
		p.talk.toEnd()
	}
	p.quiet.Hidden = len(lines) > 0 || p.clearing
}

// awaited says if the bot is still to answer the newest line. The reaction that
// it puts on a message while it works on it is no answer.
func awaited(lines []bridge.Line, ack string) bool {
	if len(lines) == 0 {
		return false
	}
	last := lines[len(lines)-1]
	return !last.Bot && last.Note.IsZero() && (last.Reaction == "" || last.Reaction == ack)
}

// focus lets a person type, if nothing else has the keys.
func (p *practicePage) focus() {
	c := p.u.window.Canvas()
	if p.u.inView && p.u.current == PagePractice && c.Focused() == nil {
		c.Focus(p.input)
	}
}

// say posts what is in the field.
func (p *practicePage) say() {
	text := strings.TrimSpace(p.input.Text)
	person, room := p.person.SelectedIndex(), p.room.SelectedIndex()
	if text == "" || p.sending || p.clearing || p.server() == nil || person < 0 || room < 0 {
		return
	}
	server, who, where := p.server(), p.people[person].ID, p.rooms[room].Token
	p.input.take()
	p.sending = true
	p.talk.toEnd()
	p.update()
	p.u.background(func(ctx context.Context) func() {
		err := server.Say(ctx, where, who, text)
		return func() {
			p.sending = false
			if err != nil && p.server() == server {
				p.u.failed(err)
				p.input.giveBack(text)
			}
			p.update()
		}
	})
}

// clearAll begins anew with empty rooms.
func (p *practicePage) clearAll() {
	r := p.rehearsal
	p.clearing = true
	p.update()
	p.u.background(func(ctx context.Context) func() {
		err := r.server.Clear(ctx)
		return func() {
			p.clearing = false
			if p.rehearsal != r {
				p.update()
				return
			}
			if err != nil {
				p.u.failed(err)
			}
			p.enterRooms()
			p.focus()
		}
	})
}

// practiceLayout has the talk above, and what to say at the foot.
type practiceLayout struct{ talk *talk }

// Layout implements fyne.Layout. The newest line stays in view.
func (l practiceLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	const top, bottom = 18, 4
	width := max(0, size.Width-2*kit.Space5)
	foot := kit.HeightFor(objects[1], width)
	atEnd := l.talk.atEnd()
	kit.Place(objects[0], kit.Space5, top, width, max(0, size.Height-top-foot-bottom))
	if atEnd {
		l.talk.toEnd()
	}
	kit.Place(objects[1], kit.Space5, size.Height-foot-bottom, width, foot)
}

// MinSize implements fyne.Layout.
func (practiceLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	return fyne.NewSize(objects[1].MinSize().Width+2*kit.Space5, 200)
}

// messageEntry is a field to say something in; the arrow up brings back what was
// said last.
type messageEntry struct {
	kit.Entry
	last string
}

func newMessageEntry(u *UI, placeholder bridge.Text) *messageEntry {
	e := &messageEntry{Entry: kit.Entry{Kit: u.kit}}
	e.PlaceHolder = u.say(placeholder)
	e.ExtendBaseWidget(e)
	return e
}

// take empties the field.
func (e *messageEntry) take() {
	e.last = e.Text
	e.SetText("")
}

// giveBack puts a text into the field again, if nothing else was typed since.
func (e *messageEntry) giveBack(text string) {
	if e.Text == "" {
		e.put(text)
	}
}

func (e *messageEntry) put(text string) {
	e.SetText(text)
	e.CursorColumn = len([]rune(text))
	e.Refresh()
}

// TypedKey implements fyne.Focusable.
func (e *messageEntry) TypedKey(key *fyne.KeyEvent) {
	if key.Name == fyne.KeyUp && e.last != "" {
		e.put(e.last)
		return
	}
	e.Entry.TypedKey(key)
}

// talk shows the lines of a room, the newest at the foot.
type talk struct {
	u       *UI
	body    *kit.Scroller
	column  *fyne.Container
	shown   map[lineKey]fyne.CanvasObject
	working *fyne.Container
}

// lineKey is all that is shown of a line.
type lineKey struct {
	at                                   int64
	author, name, text, reaction, remark string
	bot                                  bool
	took                                 time.Duration
}

func newTalk(u *UI) *talk {
	t := &talk{u: u, column: kit.Column(10), shown: map[lineKey]fyne.CanvasObject{}}
	t.working = remark("dots", u.say(bridge.Say("working…")))
	t.body = kit.NewScroller(kit.Inset(12, 14, t.column))
	return t
}

// show brings the lines up to date; what is shown already stays as it is.
func (t *talk) show(lines []bridge.Line, working bool) {
	before := t.shown
	t.shown = make(map[lineKey]fyne.CanvasObject, len(lines))
	t.column.Objects = nil
	for _, l := range lines {
		k := lineKey{
			l.Time.UnixNano(), l.Author.Ref(), l.Author.String(), l.Text, l.Reaction, t.u.say(l.Note), l.Bot, l.Took,
		}
		o := before[k]
		delete(before, k) // should two lines be the same, each has its own
		if o == nil {
			o = t.object(l)
		}
		t.shown[k] = o
		t.column.Add(o)
	}
	if working {
		t.column.Add(t.working)
	}
	t.body.Fit()
}

// said says if there is anything.
func (t *talk) said() bool { return len(t.shown) > 0 }

// atEnd says if the newest line is in view.
func (t *talk) atEnd() bool {
	const near = 24
	s := t.body.Scroll
	return s.Offset.Y+s.Size().Height >= s.Content.Size().Height-near
}

func (t *talk) toEnd() { t.body.Scroll.ScrollToBottom() }

// object returns what shows a line.
func (t *talk) object(l bridge.Line) fyne.CanvasObject {
	if !l.Note.IsZero() {
		return remark("refused", t.u.say(l.Note))
	}
	about := t.u.when(l.Time)
	if l.Bot && l.Took > 0 {
		about = kit.FormatDuration(l.Took)
	}
	return newBubble(l, l.Author.String()+" · "+about)
}

// remark is a line that nobody said.
func remark(iconName, text string) *fyne.Container {
	return kit.Row(6, 1, kit.NewIcon(iconName, kit.ColorMuted, 15), kit.NewProse(kit.NewPart(text, kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall})))
}

// bubble is what somebody said: the bot at the left, people at the right and
// tinted, as wide as their words.
type bubble struct {
	kit.Composite
	people bool
	words  float32 // how wide they are on one line
	pill   fyne.CanvasObject
}

const (
	bubbleSide  = 12
	bubbleAbove = 8
	pillBelow   = 14 // how far a reaction hangs out of the bubble
)

func newBubble(l bridge.Line, heading string) *bubble {
	b := &bubble{people: !l.Bot}
	ground, words := kit.ColorTint, fyne.CanvasObject(newMarkdown(l.Text))
	if b.people {
		ground, words = kit.ColorAccentBackground, kit.NewProse(kit.NewPart(l.Text, kit.Style{}))
		for part := range strings.SplitSeq(l.Text, "\n") {
			b.words = max(b.words, textWidth(part, kit.SizeText, fyne.TextStyle{}))
		}
	}
	above := kit.NewFullLine(heading, kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall})
	b.words = max(b.words, above.MinSize().Width)
	objects := []fyne.CanvasObject{kit.NewPanel(ground, "", kit.RadiusCard), kit.Inset(bubbleAbove, bubbleSide, kit.Column(1, above, words))}
	if l.Reaction != "" {
		b.pill = kit.Layers(
			kit.NewPanel(kit.ColorTint, kit.ColorLine, kit.PillHeight/2+1),
			kit.Inset(0, 7, kit.Strut(0, kit.PillHeight+2, kit.NewFullLine(l.Reaction, kit.Style{}))),
		)
		objects = append(objects, b.pill)
	}
	b.Root = container.New(&bubbleLayout{bubble: b}, objects...)
	b.ExtendBaseWidget(b)
	return b
}

type bubbleLayout struct {
	bubble *bubble
	width  float32 // there was last
}

// measures returns how wide and high the bubble is where there is that width.
func (l *bubbleLayout) measures(objects []fyne.CanvasObject, width float32) (w, h float32) {
	const part, narrow, partOfNarrow = 0.66, 480, 0.85
	w = width * part
	if width < narrow {
		w = width * partOfNarrow
	}
	if l.bubble.people {
		w = min(w, l.bubble.words+2*bubbleSide+1)
	}
	return w, kit.HeightFor(objects[1], w)
}

func (l *bubbleLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	_, h := l.measures(objects, width)
	if l.bubble.pill != nil {
		h += pillBelow
	}
	return h
}

// Layout implements fyne.Layout.
func (l *bubbleLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	w, h := l.measures(objects, size.Width)
	var x float32
	if l.bubble.people {
		x = size.Width - w
	}
	kit.Place(objects[0], x, 0, w, h)
	kit.Place(objects[1], x, 0, w, h)
	if pill := l.bubble.pill; pill != nil {
		least := pill.MinSize()
		kit.Place(pill, x+bubbleSide, h+pillBelow-least.Height, least.Width, least.Height)
	}
}

// MinSize implements fyne.Layout.
func (l *bubbleLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	const least = 120
	return fyne.NewSize(least, l.HeightFor(objects, max(l.width, least)))
}
