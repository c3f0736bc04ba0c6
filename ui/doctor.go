package ui

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"

	"perch/bridge"
	"perch/bridge/doctor"
	"perch/ui/kit"
)

// doctorPage runs every check and shows what each has found, and what to do
// about it. The first visit runs them by itself; a run goes on when the page is
// left, and ends with the window.
type doctorPage struct {
	u      *UI
	body   *kit.Scroller
	list   *checklist
	empty  *kit.EmptyState
	action *kit.Button // runs the checks, or stops that
	copies *kit.Button

	visited bool
	run     *examination  // under way; nil: none
	known   []doctor.Row  // of the last run that was not stopped: what else there is to look at
	rows    []doctor.Row  // what was found so far, with everything that a fix needs
	report  doctor.Report // the same for others to read
	ended   time.Time     // when all of it was; zero: it was not
}

// examination is a run of all checks.
type examination struct {
	stop context.CancelFunc

	mu    sync.Mutex
	rows  []doctor.Row // that are there
	fresh bool         // some of them were not taken yet
}

func newDoctor(u *UI) *doctorPage {
	p := &doctorPage{u: u, list: newChecklist(u)}
	p.empty = u.kit.EmptyState(
		"doctor", bridge.Say("No checks have run yet"),
		bridge.Say("The doctor looks at everything between Talk and the bot. It changes nothing, posts nothing, and takes less than 15 seconds."),
		u.kit.Button(bridge.Say("Run all checks"), p.begin),
	)
	p.action = u.kit.PrimaryButton(bridge.Say("Run again"), func() {
		if p.run != nil {
			p.stop()
		} else {
			p.begin()
		}
	})
	p.copies = u.kit.CopyButton(bridge.Say("Copy report"), p.text)
	p.copies.Small = false
	p.action.Least = max(p.action.MinSize().Width, u.kit.Button(bridge.Say("Stop"), nil).MinSize().Width)
	p.body = kit.NewScroller(kit.Inset(18, kit.Space5, kit.Layers(kit.NewPanel(kit.ColorCard, kit.ColorLine, kit.RadiusCard), kit.Inset(6, 14, p.list), p.empty)))
	p.show()
	return p
}

func (p *doctorPage) object() fyne.CanvasObject { return p.body }
func (p *doctorPage) hidden()                   {}

func (p *doctorPage) shown() {
	if !p.visited {
		p.visited = true
		p.begin()
	}
}

func (p *doctorPage) header() header {
	var h header
	switch done := strconv.Itoa(len(p.report.Rows)); {
	case p.run != nil:
		h.status, h.title = kit.StatusBusy, p.u.say(bridge.Say("Looking at everything between Talk and the bot"))
		h.detail = p.progress(done)
		h.actions = []fyne.CanvasObject{p.action}
	case !p.ended.IsZero():
		h.status, h.title = kit.StatusOf(p.report.Verdict()), p.u.say(p.report.Headline())
		h.detail = numbers(p.report, p.u.kit.Translate) + " · " + p.u.when(p.ended)
		h.actions = []fyne.CanvasObject{p.copies, p.action}
	case len(p.report.Rows) > 0:
		h.status, h.title, h.detail = kit.StatusPaused, p.u.say(bridge.Say("Stopped")), p.progress(done)
		h.actions = []fyne.CanvasObject{p.action}
	default:
		h.status, h.title = kit.StatusSkip, p.u.say(bridge.Say("Doctor"))
		h.detail = p.u.say(bridge.Say("Says what keeps the bot from working, and what to type."))
	}
	return h
}

// progress says how many checks are done, and of how many if that is known.
func (p *doctorPage) progress(done string) string {
	if all := len(p.known); all >= len(p.report.Rows) && all > 0 {
		return p.u.say(bridge.Say("%[1]s of %[2]s checks done", done, strconv.Itoa(all)))
	}
	return p.u.say(bridge.Say("%s checks done", done))
}

func (p *doctorPage) refresh(bridge.Snapshot) {
	if p.run != nil && p.take() {
		p.show()
	}
}

// begin runs all checks, if that is not under way.
func (p *doctorPage) begin() {
	if p.run != nil {
		return
	}
	run := &examination{}
	p.run, p.rows, p.report, p.ended = run, nil, doctor.Report{}, time.Time{}
	run.stop = p.u.background(func(ctx context.Context) func() {
		report, err := p.u.backend.Doctor(ctx, func(r doctor.Row) {
			run.mu.Lock()
			run.rows, run.fresh = append(run.rows, r), true
			run.mu.Unlock()
			p.u.poke()
		})
		return func() {
			if p.run == run {
				p.finish(report, err)
			}
		}
	})
	p.show()
}

// stop ends a run; what it has found stays.
func (p *doctorPage) stop() {
	p.take() // before: what is under way fails for the stop
	p.run.stop()
	p.run = nil
	p.show()
}

func (p *doctorPage) finish(report doctor.Report, err error) {
	p.take()
	p.run = nil
	if err != nil {
		p.rows, p.report = nil, doctor.Report{}
		p.u.failed(err)
	} else {
		p.report, p.known, p.ended = report, report.Rows, p.u.now()
	}
	p.show()
	if p.u.inView && p.u.current == PageDoctor {
		p.list.revealFailure()
	}
}

// take gets the rows that have come, and returns false if there are none.
func (p *doctorPage) take() bool {
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	fresh := p.run.fresh
	p.rows, p.run.fresh = slices.Clone(p.run.rows), false
	p.report.Rows = p.rows
	return fresh
}

// show brings everything up to date.
func (p *doctorPage) show() {
	running := p.run != nil
	findings := make([]finding, 0, max(len(p.known), len(p.report.Rows)+1))
	for _, r := range p.rows {
		findings = append(findings, finding{row: r, state: found})
	}
	if p.ended.IsZero() && (running || len(findings) > 0) {
		state := unseen
		if running {
			state = looking
		}
		rest := p.known[min(len(p.known), len(findings)):]
		if running && len(rest) == 0 {
			rest = []doctor.Row{{Title: bridge.Say("The next check")}}
		}
		for _, r := range rest {
			findings = append(findings, finding{row: doctor.Row{ID: r.ID, Title: r.Title}, state: state})
			if running {
				state = waiting
			}
		}
	}
	p.list.show(findings)
	p.list.Hidden = len(findings) == 0
	p.empty.Hidden = !p.list.Hidden

	label, kind := bridge.Say("Run again"), kit.PrimaryButton
	if running {
		label, kind = bridge.Say("Stop"), kit.PlainButton
	}
	p.action.SetKind(kind)
	p.action.SetText(p.u.say(label))
	p.body.Fit()
	if p.u.shell == nil {
		return // the window is being made
	}
	badge := ""
	if n := p.report.Count(bridge.StatusFail); n > 0 {
		badge = strconv.Itoa(n)
	}
	p.u.badge(PageDoctor, badge, kit.Bad)
	p.u.refreshHeader()
}

// text returns the report as perch doctor prints it.
func (p *doctorPage) text() string {
	var b strings.Builder
	t := doctor.Table{W: &b, Rows: true, Translate: p.u.kit.Translate}
	for _, r := range p.report.Rows {
		t.Row(r)
	}
	t.End(p.report, concealed(p.report))
	return b.String()
}

// numbers returns the report in numbers, as perch doctor says them: "17 checks
// in 2.3 s · 14 ok · 1 failed · 2 skipped".
func numbers(r doctor.Report, translate func(string) string) string {
	var b strings.Builder
	(&doctor.Table{W: &b, Rows: true, Translate: translate}).End(r, false)
	printed := strings.TrimSpace(b.String())
	return strings.TrimSpace(printed[strings.LastIndexByte(printed, '\n')+1:])
}

// concealed says if a report has hidden names of conversations or people.
func concealed(r doctor.Report) bool {
	found := false
	for _, row := range r.Rows {
		for _, t := range []bridge.Text{row.Seen, row.Why, row.Fix} {
			t.Map(func(arg string) string {
				found = found || strings.Contains(arg, doctor.SomeRoom) || strings.Contains(arg, doctor.Somebody)
				return arg
			})
		}
	}
	return found
}

// finding is a line of the checklist.
type finding struct {
	row   doctor.Row
	state findingState
}

type findingState int

const (
	found   findingState = iota
	looking              // what is looked at now
	waiting              // to be looked at
	unseen               // it was stopped before
)

// checklist shows checks below each other. It has the focus as a whole, and the
// arrows go through it.
type checklist struct {
	kit.Composite
	u       *UI
	rows    []*checkRow
	at      int
	focused bool
}

func newChecklist(u *UI) *checklist {
	c := &checklist{u: u}
	c.Root = kit.Column(0)
	c.ExtendBaseWidget(c)
	return c
}

// show brings the rows up to date.
func (c *checklist) show(findings []finding) {
	for len(c.rows) < len(findings) {
		c.rows = append(c.rows, newCheckRow(c.u))
	}
	c.rows = c.rows[:len(findings)]
	c.Root.Objects = c.Root.Objects[:0]
	for i, f := range findings {
		c.rows[i].set(f)
		c.Root.Objects = append(c.Root.Objects, c.rows[i])
	}
	c.move(min(c.at, max(0, len(c.rows)-1)))
	c.Relayout()
}

// move puts the ring around another row, if the list has the focus.
func (c *checklist) move(to int) {
	c.at = to
	for i, r := range c.rows {
		r.ring(c.focused && i == to)
	}
}

func (c *checklist) reveal() {
	if c.at < len(c.rows) {
		c.u.reveal(c.rows[c.at])
	}
}

// revealFailure scrolls to the first check that failed.
func (c *checklist) revealFailure() {
	for _, r := range c.rows {
		if r.finding.row.Status == bridge.StatusFail {
			c.u.reveal(r)
			return
		}
	}
}

// FocusGained implements fyne.Focusable.
func (c *checklist) FocusGained() {
	c.focused = true
	c.move(c.at)
	c.reveal()
}

// FocusLost implements fyne.Focusable.
func (c *checklist) FocusLost() {
	c.focused = false
	c.move(c.at)
}

// TypedRune implements fyne.Focusable.
func (c *checklist) TypedRune(rune) {}

// TypedKey implements fyne.Focusable.
func (c *checklist) TypedKey(e *fyne.KeyEvent) {
	const pageful = 10
	to := c.at
	switch e.Name {
	case fyne.KeyDown:
		to++
	case fyne.KeyUp:
		to--
	case fyne.KeyPageDown:
		to += pageful
	case fyne.KeyPageUp:
		to -= pageful
	case fyne.KeyHome:
		to = 0
	case fyne.KeyEnd:
		to = len(c.rows) - 1
	case fyne.KeyEscape:
		c.u.Back()
		return
	default:
		return
	}
	c.move(max(0, min(to, len(c.rows)-1)))
	c.reveal()
}

// checkRow is a check: its status, what was seen, how long that took, and, if
// not all is well, why that matters and what to do.
type checkRow struct {
	kit.Composite
	u            *UI
	finding      finding
	ground, edge *kit.Panel
	shape        *kit.StatusShape
	title, seen  *kit.Prose
	took         *kit.Line
	whyName, why *kit.Prose
	fixName      *kit.Prose
	fix          *kit.Fixes
}

func newCheckRow(u *UI) *checkRow {
	name := func(t bridge.Text) *kit.Prose {
		return kit.NewProse(kit.NewPart(u.say(t), kit.Style{Color: kit.ColorMuted}))
	}
	r := &checkRow{
		u: u, ground: kit.NewPanel("", "", kit.RadiusControl), edge: kit.NewPanel(kit.ColorLine, "", 0), shape: kit.NewStatusShape(kit.StatusBusy, 20),
		title: kit.NewProse(), seen: kit.NewProse(), took: kit.NewFullLine("", kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Mono: true}),
		whyName: name(bridge.Say("Why")), why: kit.NewProse(), fixName: name(bridge.Say("Fix")), fix: u.kit.Fixes(),
	}
	r.took.Align = fyne.TextAlignTrailing
	r.ground.Width = 2
	r.Root = container.New(&checkLayout{row: r}, r.ground, r.edge, r.shape, r.title, r.seen, r.took, r.whyName, r.why, r.fixName, r.fix)
	r.ExtendBaseWidget(r)
	return r
}

// set shows another finding.
func (r *checkRow) set(f finding) {
	r.finding = f
	shape, seen, took := kit.StatusOf(f.row.Status), r.u.say(f.row.Seen), strconv.FormatInt(f.row.Duration.Milliseconds(), 10)+" ms"
	title, text := kit.Style{}, kit.Style{Color: kit.ColorMuted}
	switch f.state {
	case found:
	case looking:
		shape, seen, took = kit.StatusBusy, r.u.say(bridge.Say("running…")), ""
	case waiting:
		shape, seen, took, title = kit.StatusBusy, r.u.say(bridge.Say("waiting")), "", text
	case unseen:
		shape, seen, took, title = kit.StatusSkip, r.u.say(bridge.Say("not looked at")), "", text
	}
	amiss := f.row.Status == bridge.StatusWarn || f.row.Status == bridge.StatusFail
	switch f.row.Status {
	case bridge.StatusWarn, bridge.StatusFail:
		title.Bold, text = true, kit.Style{}
	case bridge.StatusSkip:
		took = ""
	case bridge.StatusOK:
	}
	r.shape.Set(shape)
	r.shape.Raise(f.row.Status == bridge.StatusFail)
	r.title.Set(kit.NewPart(r.u.say(f.row.Title), title))
	r.seen.Set(kit.NewPart(seen, text))
	r.took.Set(took)
	r.whyName.Hidden = !amiss || f.row.Why.IsZero()
	r.fixName.Hidden = !amiss || f.row.Fix.IsZero()
	r.why.Hidden, r.fix.Hidden = r.whyName.Hidden, r.fixName.Hidden
	r.why.Set(kit.NewPart(r.u.say(f.row.Why), kit.Style{}))
	r.fix.Set(f.row.Fix)
	r.Relayout()
}

// ring shows that the arrows are at this row.
func (r *checkRow) ring(yes bool) {
	fill, stroke := fyne.ThemeColorName(""), fyne.ThemeColorName("")
	if r.finding.row.Status == bridge.StatusFail {
		fill = kit.ColorBadBackground
	}
	if yes {
		stroke = kit.ColorAccent
	}
	r.ground.Set(fill, stroke)
}

// checkLayout has what was seen beside the title, or below it where it is
// narrow.
type checkLayout struct {
	row   *checkRow
	width float32
}

const (
	checkPad    = 8.5 // above and below
	checkSide   = 6
	checkTitle  = 42  // where titles begin
	checkSeen   = 264 // where it says what was seen
	checkFold   = 520
	checkLine   = 20 // the height of the shape, and more than that of a line
	checkDetail = 6  // between what was seen and why
)

// each calls put with where everything stands in that width, and returns the
// height.
func (l *checkLayout) each(width float32, put func(o fyne.CanvasObject, x, y, w, h float32)) float32 {
	r := l.row
	took := max(56, r.took.MinSize().Width)
	folded := width < checkFold
	right := width - checkSide
	put(r.shape, checkSide, checkPad, checkLine, checkLine)
	put(r.took, right-took, checkPad, took, checkLine)

	y := float32(checkPad)
	text := func(o fyne.CanvasObject, x, y, w float32) float32 {
		h := kit.HeightFor(o, w)
		put(o, x, y, w, h)
		return y + h
	}
	x := float32(checkSeen)
	if folded {
		x = checkTitle
		y = max(text(r.title, checkTitle, y, right-took-kit.Space2-checkTitle), y+checkLine)
		y = text(r.seen, x, y, right-x)
	} else {
		below := text(r.title, checkTitle, y, checkSeen-checkTitle-kit.Space3)
		y = max(text(r.seen, x, y, right-took-kit.Space3-x), below, y+checkLine)
	}
	for _, more := range [...]struct {
		name *kit.Prose
		text fyne.CanvasObject
	}{{r.whyName, r.why}, {r.fixName, r.fix}} {
		if !more.name.Visible() {
			continue
		}
		y += checkDetail
		if folded {
			y = text(more.name, x, y, right-x)
			y = text(more.text, x, y, right-x)
		} else {
			text(more.name, checkTitle, y+lower(more.text), checkSeen-checkTitle-kit.Space3)
			y = text(more.text, x, y, right-x)
		}
	}
	y += checkPad
	put(r.ground, 0, 0, width, y)
	put(r.edge, 0, y-1, width, 1)
	return y
}

// lower returns how far below its top the first words of what to do stand.
func lower(o fyne.CanvasObject) float32 {
	if f, ok := o.(*kit.Fixes); ok && f.StartsWithCode() {
		return 12
	}
	return 0
}

func (l *checkLayout) HeightFor(_ []fyne.CanvasObject, width float32) float32 {
	return l.each(width, func(fyne.CanvasObject, float32, float32, float32, float32) {})
}

// Layout implements fyne.Layout.
func (l *checkLayout) Layout(_ []fyne.CanvasObject, size fyne.Size) {
	l.width = size.Width
	l.each(size.Width, kit.Place)
}

// MinSize implements fyne.Layout.
func (l *checkLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	const least = 220
	return fyne.NewSize(least, l.HeightFor(objects, max(l.width, least)))
}
