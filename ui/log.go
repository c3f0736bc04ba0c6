package ui

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/widget"

	"perch/bridge"
	"perch/ui/kit"
)

// logPage shows what happened, as the journal has it and as it happens. From
// when it was first seen on it takes in what comes, also while it is hidden.
type logPage struct {
	u    *UI
	book *logBook
	view logView
	body *kit.Scroller

	begun, loaded bool
	held          bool    // nothing new is shown
	selected      *logRow // nil: none
	ages          bool    // a row that is seen says how long it has been so
	awaited       bool    // the next second is waited for
	version       int     // of the names to choose from
	snapshot      bridge.Snapshot

	search                *kit.Entry
	levels, rooms, people *kit.Dropdown
	roomKeys, personKeys  []string // of what there is to choose, after "all"
	hold, export, clears  *kit.Button
	tools                 *fyne.Container
	ground                *kit.Panel
	list                  *logList
	reading, none, nobody *kit.EmptyState
	setUp, practice       *kit.Button
	details               *logDetails
}

// logRows is how many rows are kept at most.
const logRows = 100_000

func newLog(u *UI) *logPage {
	p := &logPage{u: u, book: newLogBook(logRows)}
	p.search = u.kit.Entry(bridge.Say("Filter text, person or room"))
	p.search.OnChanged = func(s string) { p.narrow(func(f *logFilter) { f.text = s }) }
	p.search.OnSubmitted = func(string) { u.window.Canvas().Focus(p.list) }
	p.levels = u.kit.Dropdown([]string{
		u.say(bridge.Say("All levels")), u.say(bridge.Say("Warnings")), u.say(bridge.Say("Errors")),
	}, func(i int) { p.narrow(func(f *logFilter) { f.level = logLevels()[max(i, 0)] }) })
	p.rooms = u.kit.Dropdown(nil, func(i int) { p.narrow(func(f *logFilter) { f.room = keyAt(p.roomKeys, i) }) })
	p.people = u.kit.Dropdown(nil, func(i int) { p.narrow(func(f *logFilter) { f.person = keyAt(p.personKeys, i) }) })
	p.levels.Set(0)
	p.hold = u.kit.Button(bridge.Say("Hold"), func() { p.setHeld(!p.held) })
	p.hold.Icon = "pause"
	p.export = u.kit.Button(bridge.Say("Export…"), p.askExport)
	p.clears = u.kit.Button(bridge.Say("Clear…"), p.askClear)
	p.tools = kit.FoldingRow(
		kit.Space2, 0, 420,
		kit.FoldingRow(kit.Space2, 0, 150, p.search, framed(p.levels), framed(p.rooms), framed(p.people)),
		p.hold, p.export, p.clears,
	)

	p.ground = kit.NewPanel(kit.ColorCard, kit.ColorLine, kit.RadiusCard)
	p.list = newLogList(p)
	head := newLogHead(u)
	p.reading = u.kit.EmptyState("log", bridge.Say("Reading the journal…"), bridge.Say("It has what happened before, too."))
	p.setUp = u.kit.PrimaryButton(bridge.Say("Set up…"), func() { u.Show(PageWelcome) })
	p.practice = u.kit.Button(bridge.Say("Practice"), func() { u.Show(PagePractice) })
	p.none = u.kit.EmptyState("log", bridge.Say("Messages appear here"), bridge.Say("Write to the bot in a conversation in which it is enabled."), p.setUp, p.practice)
	p.nobody = u.kit.EmptyState("search", bridge.Say("Nothing matches the filter"), bridge.Text{}, u.kit.Button(bridge.Say("Clear filter"), p.unfilter))
	card := kit.Layers(
		p.ground,
		kit.Inset(3, kit.Space2, container.NewBorder(
			kit.Column(0, container.New(head, head.objects()...), kit.Strut(1, 1, kit.NewPanel(kit.ColorLine, "", 0))), nil, nil, nil,
			kit.Layers(p.list, p.reading, p.none, p.nobody),
		)),
	)
	p.details = newLogDetails(u, func() { p.open(false) })
	p.body = kit.NewScroller(kit.Inset(18, kit.Space5, container.New(&logLayout{}, p.tools, card, p.details)))
	p.choices()
	p.show()
	return p
}

func (p *logPage) object() fyne.CanvasObject { return p.body }
func (p *logPage) header() header            { return p.u.botHeader() }
func (p *logPage) hidden()                   {}
func (p *logPage) find()                     { p.u.window.Canvas().Focus(p.search) }

// escape closes the details, then takes the filter away.
func (p *logPage) escape() bool {
	switch {
	case p.details.Visible():
		p.open(false)
	case p.view.filter != logFilter{}:
		p.unfilter()
	default:
		return false
	}
	return true
}

// shown begins to read the journal and to watch it.
func (p *logPage) shown() {
	if p.begun {
		return
	}
	p.begun = true
	p.u.background(p.watch)
}

// begin shows what was read.
func (p *logPage) begin() {
	p.loaded = true
	p.refresh(p.u.snapshot)
	p.show()
}

// watch takes in what the journal has and what happens until ctx is done, and
// returns what to do then.
func (p *logPage) watch(ctx context.Context) (then func()) {
	begun := false
	err := p.u.backend.WatchLog(ctx, bridge.LogFilter{Level: slog.LevelDebug, Limit: logRows}, func(entries []bridge.Entry) {
		p.book.add(entries, p.u.now())
		if !begun && ctx.Err() == nil {
			begun = true
			p.u.do(p.begin)
		}
		p.u.poke()
	})
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return func() {
		p.begin()
		p.u.failed(err)
	}
}

// refresh shows what is new.
func (p *logPage) refresh(s bridge.Snapshot) {
	changed := s.Held != p.snapshot.Held || s.State != p.snapshot.State || p.ages
	p.snapshot = s
	if p.held {
		p.countHeld()
	} else if p.view.version != p.book.current() {
		changed = true
		fresh := p.book.update(&p.view, p.u.kit.Say)
		if offset := p.list.GetScrollOffset(); offset > 0 && fresh > 0 {
			p.list.Refresh()
			p.list.ScrollToOffset(offset + float32(fresh*logPitch)) // what is being read stays where it is
		}
	}
	if changed {
		p.show()
	}
}

// show shows the rows of the view.
func (p *logPage) show() {
	p.choices()
	p.none.Hidden, p.reading.Hidden, p.nobody.Hidden = true, true, true
	if len(p.view.rows) == 0 {
		p.showEmpty()
	}
	p.list.Hidden = len(p.view.rows) == 0
	p.follow()
	p.ages = false
	p.list.Refresh()
	if p.ages && !p.awaited {
		p.awaited = true
		p.u.kit.Later(time.Second, func() {
			p.awaited = false
			p.u.poke()
		})
	}
}

// showEmpty says why there are no rows, and what to do.
func (p *logPage) showEmpty() {
	switch {
	case !p.loaded:
		p.reading.Hidden = false
	case p.view.filter != logFilter{}:
		p.nobody.Hidden = false
		p.nobody.Set(p.u.say(bridge.Say("Nothing matches the filter")), p.u.say(bridge.Say("None of the newest %s entries is like that.", kit.FormatNumber(p.book.size()))))
	default:
		p.none.Hidden = false
		isNew := p.snapshot.State == bridge.StateNew
		p.setUp.Hidden, p.practice.Hidden = !isNew, isNew
		hint := bridge.Say("Write to the bot in a conversation in which it is enabled, or try it here. What goes wrong appears here, too.")
		switch p.snapshot.State {
		case bridge.StateNew:
			hint = bridge.Say("Perch needs to know your Nextcloud first, and whom it may answer.")
		case bridge.StatePaused:
			hint = bridge.Say("Perch is paused: it takes no messages until you resume it.")
		default:
		}
		p.none.Set(p.u.say(bridge.Say("Messages appear here")), p.u.say(hint))
	}
}

// follow finds the selected row again, as it is now.
func (p *logPage) follow() {
	if p.selected == nil {
		return
	}
	i, here := p.view.find(p.selected.seq)
	if !here {
		p.selected = nil
		p.open(false)
		return
	}
	p.selected = p.view.rows[i]
	if p.details.Visible() {
		p.details.set(p.selected, p.u.now(), p.snapshot.Held)
	}
}

// narrow changes the filter.
func (p *logPage) narrow(change func(f *logFilter)) {
	f := p.view.filter
	if change(&f); f == p.view.filter {
		return
	}
	p.book.refilter(&p.view, f, p.u.kit.Say)
	p.list.ScrollToOffset(0)
	p.countHeld()
	p.show()
}

// unfilter shows everything.
func (p *logPage) unfilter() {
	p.levels.Set(0)
	p.rooms.Set(0)
	p.people.Set(0)
	p.narrow(func(f *logFilter) { *f = logFilter{} })
	p.search.SetText("")
}

// choices brings the rooms and people to choose from up to date.
func (p *logPage) choices() {
	rooms, people, version := p.book.choices(p.version)
	if version == p.version {
		return
	}
	p.version = version
	fill := func(d *kit.Dropdown, all bridge.Text, list []logChoice, taken string) (keys []string) {
		names, at := []string{p.u.say(all)}, 0
		for _, c := range list {
			if c.key == taken {
				at = len(names)
			}
			names, keys = append(names, c.name), append(keys, c.key)
		}
		d.Options = names
		d.Set(at)
		return keys
	}
	p.roomKeys = fill(p.rooms, bridge.Say("All rooms"), rooms, p.view.filter.room)
	p.personKeys = fill(p.people, bridge.Say("Everybody"), people, p.view.filter.person)
}

// keyAt returns what is chosen in a list that begins with "all".
func keyAt(keys []string, i int) string {
	if i < 1 || i > len(keys) {
		return ""
	}
	return keys[i-1]
}

// setHeld stops the rows, or lets them move on.
func (p *logPage) setHeld(yes bool) {
	p.held = yes
	p.countHeld()
	if !yes {
		p.refresh(p.snapshot)
	}
}

// countHeld says on the button how many rows have come meanwhile.
func (p *logPage) countHeld() {
	text, kind := bridge.Say("Hold"), kit.PlainButton
	if p.held {
		text, kind = bridge.Say("Go on"), kit.PrimaryButton
		if n := p.book.fresh(&p.view, p.u.kit.Say); n > 0 {
			text = bridge.Say("%s new", kit.FormatNumber(n))
		}
	}
	if p.hold.Text != p.u.say(text) {
		p.hold.SetText(p.u.say(text))
		p.hold.SetKind(kind)
		p.body.Fit()
	}
}

// tapped selects a row and opens its details.
func (p *logPage) tapped(r *logRow) {
	p.selected = r
	p.u.window.Canvas().Focus(p.list)
	p.open(true)
}

// move selects the row that stands so many further down.
func (p *logPage) move(by int) {
	n := len(p.view.rows)
	if n == 0 {
		return
	}
	at := 0
	if p.selected != nil {
		i, _ := p.view.find(p.selected.seq)
		at = min(max(n-1-i+by, 0), n-1)
	}
	p.selected = p.view.newestAt(at)
	p.list.reveal(at)
	p.open(p.details.Visible())
}

// open opens or closes the details of the selected row.
func (p *logPage) open(yes bool) {
	yes = yes && p.selected != nil
	if yes {
		p.details.set(p.selected, p.u.now(), p.snapshot.Held)
	}
	p.details.Hidden = !yes
	p.body.Fit()
	if yes {
		p.u.reveal(p.details)
		i, _ := p.view.find(p.selected.seq)
		p.list.reveal(len(p.view.rows) - 1 - i)
	}
	p.list.Refresh()
}

// focus shows that the keys go to the list.
func (p *logPage) focus(yes bool) {
	stroke := kit.ColorLine
	if yes {
		stroke = kit.ColorAccent
		if p.selected == nil {
			p.move(0)
		}
	}
	p.ground.Set(kit.ColorCard, stroke)
}

// askClear clears once a person has read what that means.
func (p *logPage) askClear() {
	sure := p.u.kit.SmallButton(bridge.Say("Clear the log"), func() {
		p.u.hideNotice()
		p.clear()
	})
	sure.SetKind(kit.DangerButton)
	p.u.tell(kit.Warn, bridge.Say("Everything in the log is removed from the journal, for good. Messages that wait and their replies stay."), sure)
}

func (p *logPage) clear() {
	p.u.background(func(ctx context.Context) func() {
		err := p.u.backend.ClearLog(ctx)
		return func() {
			if err != nil {
				p.u.failed(err)
				return
			}
			p.book.forget()
			p.setHeld(false)
			p.unfilter()
		}
	})
}

// askExport asks for the form of what is written to a file.
func (p *logPage) askExport() {
	name := "perch-log-" + p.u.now().Format(time.DateOnly)
	menu := fyne.NewMenu(
		"",
		fyne.NewMenuItem(p.u.say(bridge.Say("As text, to read")), func() {
			p.askFile(name+".txt", func(w io.Writer, events []logEvent) error { return writeText(w, events, p.u.kit.Say) })
		}),
		fyne.NewMenuItem(p.u.say(bridge.Say("As JSON, for programs")), func() { p.askFile(name+".jsonl", writeJSON) }),
	)
	widget.ShowPopUpMenuAtRelativePosition(menu, p.u.window.Canvas(), fyne.NewPos(0, p.export.Size().Height+kit.Space1), p.export)
}

// write writes what the filter lets through into w, and closes it.
func (p *logPage) write(w io.WriteCloser, name string, write func(w io.Writer, events []logEvent) error) {
	rows := append([]*logRow(nil), p.view.rows...)
	p.u.background(func(context.Context) func() {
		events := eventsOf(rows)
		err := errors.Join(write(w, events), w.Close())
		return func() {
			if err != nil {
				p.u.failed(unwritable(name, err))
				return
			}
			p.u.tell(kit.OK, bridge.Say("%[1]s events are in %[2]s", strconv.Itoa(len(events)), name))
		}
	})
}

func unwritable(name string, err error) error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable, Text: bridge.Say("%s could not be written", name),
		Hint: bridge.Say("Choose another folder, or check whether the disk is full."), Cause: err,
	}
}

// shortTime returns when something happened, as short as it can be: the time of
// today, else the date too.
func (p *logPage) shortTime(t time.Time) string {
	t, now := t.Local(), p.u.now().Local()
	switch {
	case t.Year() != now.Year():
		return t.Format(time.DateOnly)
	case t.YearDay() != now.YearDay():
		return t.Format("01-02 15:04")
	default:
		return kit.FormatClock(t, true)
	}
}

// logLayout has the tools on top, the details below, and the rows between them.
// Where there is too little space for them, the page scrolls.
type logLayout struct{ width float32 }

const (
	logGap   = 14
	logLeast = 190 // of the rows
	logMost  = 290 // of the details, as long as the rows need the space
)

func (*logLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	height := kit.HeightFor(objects[0], width) + logGap + logLeast
	if details := objects[2]; details.Visible() {
		height += logGap + min(kit.HeightFor(details, width), logMost)
	}
	return height
}

// Layout implements fyne.Layout.
func (l *logLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	tools, rows, details := objects[0], objects[1], objects[2]
	y := kit.HeightFor(tools, size.Width)
	kit.Place(tools, 0, 0, size.Width, y)
	y += logGap
	left := size.Height - y
	if details.Visible() {
		h := min(kit.HeightFor(details, size.Width), max(logMost, left/2))
		kit.Place(details, 0, size.Height-h, size.Width, h)
		left -= h + logGap
	}
	kit.Place(rows, 0, y, size.Width, max(left, 0))
}

// MinSize implements fyne.Layout.
func (l *logLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	const least = 300
	return fyne.NewSize(least, l.HeightFor(objects, max(l.width, least)))
}

// framed returns a dropdown with the frame that other controls have.
func framed(d *kit.Dropdown) *fyne.Container {
	return newFixed(118, 36, kit.Layers(d, kit.NewPanel("", kit.ColorBorder, kit.RadiusControl)))
}

// newFixed returns o in a size of its own.
func newFixed(width, height float32, o fyne.CanvasObject) *fyne.Container {
	return container.NewGridWrap(fyne.NewSize(width, height), o)
}
