package ui

import (
	"log/slog"
	"strings"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"

	"perch/bridge"
	"perch/ui/kit"
)

// logDetails shows all about the selected row: what was written and answered, or
// what happened, why, and what to do.
type logDetails struct {
	kit.Composite
	u      *UI
	row    *logRow
	ground *kit.Panel
	title  *kit.Line
	retry  *kit.Button
	copies *kit.Button
	head   *fyne.Container
	body   *fyne.Container
	scroll *kit.Scroller
}

// maxDetail is how much of a text is shown; a copy has all of it.
const maxDetail = 3000

func newLogDetails(u *UI, closed func()) *logDetails {
	d := &logDetails{
		u: u, ground: kit.NewPanel(kit.ColorCard, kit.ColorLine, kit.RadiusCard),
		title: kit.NewLine("", kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Bold: true}),
		body:  kit.Column(kit.Space2),
	}
	d.retry = u.kit.SmallButton(bridge.Say("Try again"), func() { u.ask(u.backend.Retry) })
	d.retry.SetKind(kit.PrimaryButton)
	d.copies = u.kit.CopyButton(bridge.Say("Copy event"), func() string { return describe(d.row, u.kit.Say) })
	d.head = kit.FoldingRow(kit.Space2, 0, 180, d.title, d.retry, d.copies, u.kit.SmallButton(bridge.Say("Close"), closed))
	d.scroll = kit.NewScroller(kit.Inset(0, 17, d.body))
	d.Root = container.New(&logDetailsLayout{d}, d.ground, d.head, d.scroll)
	d.ExtendBaseWidget(d)
	d.Hide()
	return d
}

// set shows a row; held says if replies are held back.
func (d *logDetails) set(r *logRow, now time.Time, held bool) {
	text, _ := r.state(now, held)
	state := d.u.say(text)
	e := r.event
	title := state
	switch {
	case isMessage(e) && len(r.later) > 0:
		title = d.u.say(bridge.Say("Reply to message %[1]s · %[2]s · %[3]s", e.MessageID, excerpt(e.Room.String(), 60), state))
	case e.MessageID != "":
		title = d.u.say(bridge.Say("Message %[1]s · %[2]s · %[3]s", e.MessageID, excerpt(e.Room.String(), 60), state))
	case e.Room.Token != "":
		title += " · " + excerpt(e.Room.String(), 60)
	}
	d.title.Set(title + " · " + e.Time.Local().Format(time.DateTime))
	d.retry.Hidden = !held || r.fate != fateHeld && r.fate != fateSlowed && r.fate != fateSending
	d.head.Refresh()
	if d.row == r {
		return
	}
	again := d.row != nil && d.row.seq == r.seq
	d.row = r
	d.body.Objects = d.parts(r)
	d.body.Refresh()
	d.scroll.Fit()
	if !again {
		d.scroll.Scroll.ScrollToTop()
	}
}

// parts returns what is said about a row, from top to bottom.
func (d *logDetails) parts(r *logRow) []fyne.CanvasObject {
	bold, muted := kit.Style{Bold: true}, kit.Style{Color: kit.ColorMuted}
	var list []fyne.CanvasObject
	add := func(parts ...kit.Part) { list = append(list, kit.NewProse(parts...)) }
	problem, wrong := r.problem()
	for _, e := range r.events() {
		switch (&logRow{event: e}).sign() {
		case signIn:
			add(kit.NewPart(excerpt(e.Actor.String(), 60)+"  ", bold), kit.NewPart(harmless(e.Text, maxDetail), kit.Style{}))
		case signOut:
			after := ""
			if e.Waited > 0 {
				after = "  " + d.u.say(bridge.Say("after %s", kit.FormatDuration(e.Waited)))
			}
			add(kit.NewPart("Perch  ", bold), kit.NewPart(harmless(e.Text, maxDetail), kit.Style{}), kit.NewPart(after, muted))
		default:
			if e.Level < slog.LevelWarn || !wrong || e.ID != problem.ID || !e.Time.Equal(problem.Time) {
				add(kit.NewPart(kit.Sentence(d.u.say(e.Title)), kit.Style{}), kit.NewPart(quoted(e), muted))
			}
		}
	}
	if wrong {
		reason := ""
		if problem.Reason.String() != problem.Title.String() && !problem.Reason.IsZero() {
			reason = " " + kit.Sentence(d.u.say(problem.Reason))
		}
		if problem.Stage == bridge.StageSender && problem.Text != "" {
			add(kit.NewPart("Perch  ", bold), kit.NewPart(harmless(problem.Text, maxDetail), kit.Style{}), kit.NewPart("  "+d.u.say(bridge.Say("not sent")), muted))
			problem.Text = ""
		}
		add(kit.NewPart(kit.Sentence(d.u.say(problem.Title)), bold), kit.NewPart(reason+quoted(problem), muted))
		if !problem.Hint.IsZero() {
			fix := d.u.kit.Fixes()
			fix.Set(problem.Hint)
			list = append(list, fix)
		}
	}
	small := kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Mono: true}
	if wrong && technical(problem) != "" {
		add(kit.NewPart(harmless(technical(problem), maxDetail), small))
	}
	known := strings.Join(facts(r.event), "  ")
	if n := len(r.later); n > 0 {
		known += "\n" + strings.Join(facts(r.later[n-1]), "  ")
	}
	add(kit.NewPart(known, small))
	return list
}

// quoted returns the text that an event is about, where it is not told as one
// side of a talk.
func quoted(e logEvent) string {
	if e.Text == "" {
		return ""
	}
	return " “" + harmless(e.Text, maxDetail) + "”"
}

// logDetailsLayout has the title and the buttons stand still over what scrolls.
type logDetailsLayout struct{ d *logDetails }

// parts returns how high the title is and all that is below it.
func (l *logDetailsLayout) parts(width float32) (head, body float32) {
	return kit.HeightFor(l.d.head, width-2*17), kit.HeightFor(l.d.scroll.Scroll.Content, width)
}

const logDetailsEdge = 11 // over the title, below it and below the rest

func (l *logDetailsLayout) HeightFor(_ []fyne.CanvasObject, width float32) float32 {
	head, body := l.parts(width)
	return head + body + 3*logDetailsEdge
}

// Layout implements fyne.Layout.
func (l *logDetailsLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	head, _ := l.parts(size.Width)
	y := head + 2*logDetailsEdge
	kit.Place(objects[0], 0, 0, size.Width, size.Height)
	kit.Place(objects[1], 17, logDetailsEdge, size.Width-2*17, head)
	kit.Place(objects[2], 0, y, size.Width, max(0, size.Height-y-logDetailsEdge))
}

// MinSize implements fyne.Layout.
func (l *logDetailsLayout) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(200, 100) }
