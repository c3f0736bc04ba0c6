package ui

import (
	"slices"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"

	"perch/bridge"
	"perch/ui/kit"
)

// shell is what stands around every page: the rail with the places, the head
// and the notice.
type shell struct {
	object  *fyne.Container
	items   [PageWelcome]*kit.RailItem
	badges  [PageWelcome]kit.Badge
	head    *head
	notice  *notice
	holder  *fyne.Container // of the page
	current Page
	state   bridge.State
	u       *UI
	places  *kit.Scroller

	foot                    *fyne.Container
	server, nextcloud, talk *kit.Line
}

func newShell(u *UI) *shell {
	s := &shell{u: u, head: newHead(), notice: newNotice(u), holder: kit.Layers()}
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
		s.items[i] = u.kit.RailItem(n.icon, n.label, func() { u.Show(Page(i)) })
		places[i] = s.items[i]
	}
	small := kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall}
	s.server, s.nextcloud, s.talk = kit.NewLine("", small), kit.NewLine("", small), kit.NewLine("", small)
	s.foot = kit.Column(1, s.server, s.nextcloud, s.talk)
	mark := kit.Row(11, 1, kit.NewIcon("mark", kit.ColorAccent, 22), kit.NewLine("Perch", kit.Style{Size: kit.SizeTitle, Bold: true}))
	s.places = kit.NewScroller(kit.Inset(0, 10, kit.Column(2, places...)))
	rail := &railLayout{
		ground: kit.NewPanel(kit.ColorRail, "", 0), edge: kit.NewPanel(kit.ColorLine, "", 0),
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
func (s *shell) badge(p Page, b kit.Badge) {
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
	s.server.Set(now.Server)
	version := func(l *kit.Line, name, version string) {
		if version != "" {
			version = name + " " + version
		}
		l.Set(version)
		l.Hidden = version == ""
	}
	version(s.nextcloud, "Nextcloud", now.Nextcloud)
	version(s.talk, "Talk", now.Talk)
	s.foot.Refresh()
}

func (s *shell) paint() {
	for i, item := range s.items {
		item.Set(Page(i) == s.current, s.badges[i])
	}
}

// stateBadge returns what the overview's place shows of a bot that does not run
// as it should.
func stateBadge(s bridge.State) kit.Badge {
	switch s {
	case bridge.StateFailed:
		return kit.Badge{Shaped: true, Status: kit.StatusBad}
	case bridge.StateDegraded:
		return kit.Badge{Shaped: true, Status: kit.StatusWarn}
	case bridge.StatePaused:
		return kit.Badge{Shaped: true, Status: kit.StatusPaused}
	default:
		return kit.Badge{}
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
	kit.Place(rail, 0, 0, left, size.Height)
	right := size.Width - left
	y := max(headHeight, kit.HeightFor(head, right))
	kit.Place(head, left, 0, right, y)
	if notice.Visible() {
		h := kit.HeightFor(notice, right)
		kit.Place(notice, left, y, right, h)
		y += h
	}
	kit.Place(page, left, y, right, max(0, size.Height-y))
}

// MinSize implements fyne.Layout.
func (l *shellLayout) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(500, 320) }

// railLayout has the mark on top, the places below it, and at the foot what
// server the bot serves.
type railLayout struct {
	ground, edge *kit.Panel
	mark, foot   *fyne.Container
	places       *kit.Scroller
	items        []*kit.RailItem
	compact      bool
}

func (l *railLayout) setCompact(yes bool) {
	if l.compact == yes {
		return
	}
	l.compact = yes
	for _, i := range l.items {
		i.Compact = yes
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
	kit.Place(l.ground, 0, 0, size.Width, size.Height)
	kit.Place(l.edge, size.Width-1, 0, 1, size.Height)
	h := l.mark.MinSize().Height
	x := float32(19)
	if l.compact {
		x = (size.Width - 22) / 2
	}
	kit.Place(l.mark, x, 30-h/2, size.Width-x, h)
	bottom := size.Height
	if l.foot.Visible() {
		h := kit.HeightFor(l.foot, size.Width-36)
		bottom -= h + kit.Space5
		kit.Place(l.foot, 18, bottom, size.Width-36, h)
	}
	kit.Place(l.places, 0, 60, size.Width-1, max(0, bottom-60))
}

// MinSize implements fyne.Layout.
func (l *railLayout) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(railCompact, 200) }

// head is the head of the window: it tells the truth in words, with what to do.
type head struct {
	kit.Composite
	shape         *kit.StatusShape
	title         *kit.Line
	detail        *kit.Line
	actions       *fyne.Container
	actionObjects []fyne.CanvasObject
}

func newHead() *head {
	h := &head{
		shape:   kit.NewStatusShape(kit.StatusBusy, 34),
		title:   kit.NewLine("", kit.Style{Size: kit.SizeTitle, Bold: true}),
		detail:  kit.NewLine("", kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall}),
		actions: kit.Row(14, -1),
	}
	words := kit.Column(1, h.title, h.detail)
	h.Root = kit.Layers(
		kit.NewPanel(kit.ColorCard, "", 0),
		kit.Inset(14, kit.Space5, kit.Row(14, 1, h.shape, words, h.actions)),
		container.NewBorder(nil, kit.Strut(1, 1, kit.NewPanel(kit.ColorLine, "", 0)), nil, nil),
	)
	h.ExtendBaseWidget(h)
	return h
}

// set changes what it says.
func (h *head) set(to header) {
	h.shape.Set(to.status)
	h.title.Set(to.title)
	h.detail.Set(to.detail)
	if !slices.Equal(h.actionObjects, to.actions) {
		h.actionObjects = slices.Clone(to.actions)
		h.actions.Objects = h.actionObjects
		h.Relayout()
	}
}

// notice is a line below the head that tells a person something, until it is
// closed or something else is to be told.
type notice struct {
	kit.Composite
	u       *UI
	ground  *kit.Panel
	shape   *kit.StatusShape
	words   *kit.Prose
	actions *fyne.Container
	closing *kit.Button
}

func newNotice(u *UI) *notice {
	n := &notice{u: u, ground: kit.NewPanel("", "", 0), shape: kit.NewStatusShape(kit.StatusOK, 20), words: kit.NewProse(), actions: kit.Row(kit.Space2, -1)}
	n.shape.Raise(true)
	n.closing = u.kit.SmallButton(bridge.Say("Close"), n.hide)
	n.Root = kit.Layers(n.ground, kit.Inset(9, kit.Space5, kit.Row(kit.Space3, 1, n.shape, n.words, n.actions)))
	n.ExtendBaseWidget(n)
	n.Hidden = true
	return n
}

// show says something: what in bold, then what to do about it.
func (n *notice) show(t kit.Tone, text, hint string, buttons ...fyne.CanvasObject) {
	n.ground.Set(t.Background(), "")
	n.shape.Set(map[kit.Tone]kit.Status{kit.OK: kit.StatusOK, kit.Warn: kit.StatusWarn, kit.Bad: kit.StatusBad}[t])
	if hint != "" {
		hint = " " + hint
	}
	n.words.Set(kit.NewPart(text, kit.Style{Bold: hint != ""}), kit.NewPart(hint, kit.Style{}))
	n.actions.Objects = append(slices.Clone(buttons), n.closing)
	n.Hidden = false
	n.Relayout()
	n.u.shell.object.Refresh()
}

// hide takes it away.
func (n *notice) hide() {
	if !n.Hidden {
		n.Hidden = true
		n.u.shell.object.Refresh()
	}
}
