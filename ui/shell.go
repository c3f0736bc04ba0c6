package ui

import (
	"slices"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"

	"perch/bridge"
)

// shell is what stands around every page: the rail with the places, the head
// and the notice.
type shell struct {
	object  *fyne.Container
	items   [PageWelcome]*railItem
	badges  [PageWelcome]badge
	head    *head
	notice  *notice
	holder  *fyne.Container // of the page
	current Page
	state   bridge.State
	u       *UI
	places  *scroller

	foot                    *fyne.Container
	server, nextcloud, talk *line
}

func newShell(u *UI) *shell {
	s := &shell{u: u, head: newHead(), notice: newNotice(u), holder: layers()}
	names := [PageWelcome]struct {
		icon  string
		label bridge.Text
	}{
		PageOverview: {"overview", bridge.Say("Overview")},
		PageLog:      {"log", bridge.Say("Log")},
		PageDoctor:   {"doctor", bridge.Say("Doctor")},
		PagePractice: {"practice", bridge.Say("Practice")},
		PageSettings: {"settings", bridge.Say("Settings")},
	}
	places := make([]fyne.CanvasObject, len(names))
	for i, n := range names {
		s.items[i] = u.railItem(n.icon, n.label, func() { u.Show(Page(i)) })
		places[i] = s.items[i]
	}
	small := style{color: colorMuted, size: sizeSmall}
	s.server, s.nextcloud, s.talk = newLine("", small), newLine("", small), newLine("", small)
	s.foot = column(1, s.server, s.nextcloud, s.talk)
	mark := row(11, 1, newIcon("mark", colorAccent, 22), newLine("Perch", style{size: sizeTitle, bold: true}))
	s.places = newScroller(inset(0, 10, column(2, places...)))
	rail := &railLayout{
		ground: newPanel(colorRail, "", 0), edge: newPanel(colorLine, "", 0),
		mark: mark, places: s.places,
		foot: s.foot, items: s.items[:],
	}
	s.object = container.New(
		&shellLayout{rail: rail},
		container.New(rail, rail.ground, rail.edge, mark, rail.places, rail.foot),
		s.head, s.notice, s.holder,
	)
	return s
}

// show brings a page into view.
func (s *shell) show(current Page, p page) {
	s.current = current
	s.holder.Objects = []fyne.CanvasObject{p.object()}
	s.holder.Refresh()
	s.paint()
}

// badge shows a word at a place.
func (s *shell) badge(p Page, b badge) {
	s.badges[p] = b
	s.paint()
}

// refresh shows how the bot is, where the page's header may speak of something
// else: at the overview's place and at the foot of the rail.
func (s *shell) refresh(now bridge.Snapshot) {
	if s.state != now.State {
		s.state = now.State
		s.badges[PageOverview] = stateBadge(now.State)
		s.paint()
	}
	s.server.set(now.Server)
	version := func(l *line, name, version string) {
		if version != "" {
			version = name + " " + version
		}
		l.set(version)
		l.Hidden = version == ""
	}
	version(s.nextcloud, "Nextcloud", now.Nextcloud)
	version(s.talk, "Talk", now.Talk)
	s.foot.Refresh()
}

func (s *shell) paint() {
	for i, item := range s.items {
		item.set(Page(i) == s.current, s.badges[i])
	}
}

// stateBadge returns what the overview's place shows of a bot that does not run
// as it should.
func stateBadge(s bridge.State) badge {
	switch s {
	case bridge.StateFailed:
		return badge{shaped: true, status: statusBad}
	case bridge.StateDegraded:
		return badge{shaped: true, status: statusWarn}
	case bridge.StatePaused:
		return badge{shaped: true, status: statusPaused}
	default:
		return badge{}
	}
}

const (
	railWidth   = 184
	railCompact = 108
	compactAt   = 760 // a window that is narrower has a narrow rail
	headHeight  = 70
)

// shellLayout has the rail at the left, and beside it the head, the notice and
// the page.
type shellLayout struct{ rail *railLayout }

// Layout implements fyne.Layout.
func (l *shellLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	left := float32(railWidth)
	compact := size.Width < compactAt
	if compact {
		left = railCompact
	}
	l.rail.setCompact(compact)
	rail, head, notice, page := objects[0], objects[1], objects[2], objects[3]
	place(rail, 0, 0, left, size.Height)
	right := size.Width - left
	y := max(headHeight, heightFor(head, right))
	place(head, left, 0, right, y)
	if notice.Visible() {
		h := heightFor(notice, right)
		place(notice, left, y, right, h)
		y += h
	}
	place(page, left, y, right, max(0, size.Height-y))
}

// MinSize implements fyne.Layout.
func (l *shellLayout) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(500, 320) }

// railLayout has the mark on top, the places below it, and at the foot what
// server the bot serves.
type railLayout struct {
	ground, edge *panel
	mark, foot   *fyne.Container
	places       *scroller
	items        []*railItem
	compact      bool
}

func (l *railLayout) setCompact(yes bool) {
	if l.compact == yes {
		return
	}
	l.compact = yes
	for _, i := range l.items {
		i.compact = yes
		i.Refresh()
	}
	l.mark.Objects[1].Hide()
	if !yes {
		l.mark.Objects[1].Show()
	}
	l.foot.Hidden = yes
}

// Layout implements fyne.Layout.
func (l *railLayout) Layout(_ []fyne.CanvasObject, size fyne.Size) {
	place(l.ground, 0, 0, size.Width, size.Height)
	place(l.edge, size.Width-1, 0, 1, size.Height)
	h := l.mark.MinSize().Height
	x := float32(19)
	if l.compact {
		x = (size.Width - 22) / 2
	}
	place(l.mark, x, 30-h/2, size.Width-x, h)
	bottom := size.Height
	if l.foot.Visible() {
		h := heightFor(l.foot, size.Width-36)
		bottom -= h + space5
		place(l.foot, 18, bottom, size.Width-36, h)
	}
	place(l.places, 0, 60, size.Width-1, max(0, bottom-60))
}

// MinSize implements fyne.Layout.
func (l *railLayout) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(railCompact, 200) }

// head is the head of the window: it tells the truth in words, with what to do.
type head struct {
	composite
	shape         *statusShape
	title         *line
	detail        *line
	actions       *fyne.Container
	actionObjects []fyne.CanvasObject
}

func newHead() *head {
	h := &head{
		shape:   newStatus(statusBusy, 34),
		title:   newLine("", style{size: sizeTitle, bold: true}),
		detail:  newLine("", style{color: colorMuted, size: sizeSmall}),
		actions: row(14, -1),
	}
	words := column(1, h.title, h.detail)
	h.root = layers(
		newPanel(colorCard, "", 0),
		inset(14, space5, row(14, 1, h.shape, words, h.actions)),
		container.NewBorder(nil, newStrut(1, 1, newPanel(colorLine, "", 0)), nil, nil),
	)
	h.ExtendBaseWidget(h)
	return h
}

// set changes what it says.
func (h *head) set(to header) {
	h.shape.set(to.status)
	h.title.set(to.title)
	h.detail.set(to.detail)
	if !slices.Equal(h.actionObjects, to.actions) {
		h.actionObjects = slices.Clone(to.actions)
		h.actions.Objects = h.actionObjects
		h.relayout()
	}
}

// notice is a line below the head that tells a person something, until it is
// closed or something else is to be told.
type notice struct {
	composite
	u       *UI
	ground  *panel
	shape   *statusShape
	words   *prose
	actions *fyne.Container
	closing *button
}

func newNotice(u *UI) *notice {
	n := &notice{u: u, ground: newPanel("", "", 0), shape: newStatus(statusOK, 20), words: newProse(), actions: row(space2, -1)}
	n.shape.raise()
	n.closing = u.smallButton(bridge.Say("Close"), n.hide)
	n.root = layers(n.ground, inset(9, space5, row(space3, 1, n.shape, n.words, n.actions)))
	n.ExtendBaseWidget(n)
	n.Hidden = true
	return n
}

// show says something: what in bold, then what to do about it.
func (n *notice) show(t tone, text, hint string, buttons ...fyne.CanvasObject) {
	n.ground.set(t.ground(), "")
	n.shape.set(map[tone]status{ok: statusOK, warn: statusWarn, bad: statusBad}[t])
	if hint != "" {
		hint = " " + hint
	}
	n.words.set(part{text, style{bold: hint != ""}}, part{hint, style{}})
	n.actions.Objects = append(slices.Clone(buttons), n.closing)
	n.Hidden = false
	n.relayout()
	n.u.shell.object.Refresh()
}

// hide takes it away.
func (n *notice) hide() {
	if !n.Hidden {
		n.Hidden = true
		n.u.shell.object.Refresh()
	}
}
