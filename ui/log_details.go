package ui

import (
	"log/slog"
	"strings"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"

	"perch/bridge"
)

// logDetails shows all about the selected row: what was written and answered, or
// what happened, why, and what to do.
type logDetails struct {
	composite
	u      *UI
	row    *logRow
	ground *panel
	title  *line
	retry  *button
	copies *button
	head   *fyne.Container
	body   *fyne.Container
	scroll *scroller
}

// maxDetail is how much of a text is shown; a copy has all of it.
const maxDetail = 3000

func newLogDetails(u *UI, closed func()) *logDetails {
	d := &logDetails{
		u: u, ground: newPanel(colorCard, colorLine, radiusCard),
		title: newLine("", style{color: colorMuted, size: sizeSmall, bold: true}),
		body:  column(space2),
	}
	d.retry = u.smallButton(bridge.Say("Try again"), func() { u.ask(u.backend.Retry) })
	d.retry.setKind(primaryButton)
	d.copies = u.copyButton(bridge.Say("Copy event"), func() string { return describe(d.row, u.say) })
	d.head = foldingRow(space2, 0, 180, d.title, d.retry, d.copies, u.smallButton(bridge.Say("Close"), closed))
	d.scroll = newScroller(inset(0, 17, d.body))
	d.root = container.New(&logDetailsLayout{d}, d.ground, d.head, d.scroll)
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
	d.title.set(title + " · " + e.Time.Local().Format(time.DateTime))
	d.retry.Hidden = !held || r.fate != fateHeld && r.fate != fateSlowed && r.fate != fateSending
	d.head.Refresh()
	if d.row == r {
		return
	}
	again := d.row != nil && d.row.seq == r.seq
	d.row = r
	d.body.Objects = d.parts(r)
	d.body.Refresh()
	d.scroll.fit()
	if !again {
		d.scroll.scroll.ScrollToTop()
	}
}

// parts returns what is said about a row, from top to bottom.
func (d *logDetails) parts(r *logRow) []fyne.CanvasObject {
	bold, muted := style{bold: true}, style{color: colorMuted}
	var list []fyne.CanvasObject
	add := func(parts ...part) { list = append(list, newProse(parts...)) }
	problem, wrong := r.problem()
	for _, e := range r.events() {
		switch (&logRow{event: e}).sign() {
		case signIn:
			add(part{excerpt(e.Actor.String(), 60) + "  ", bold}, part{harmless(e.Text, maxDetail), style{}})
		case signOut:
			after := ""
			if e.Waited > 0 {
				after = "  " + d.u.say(bridge.Say("after %s", duration(e.Waited)))
			}
			add(part{"Perch  ", bold}, part{harmless(e.Text, maxDetail), style{}}, part{after, muted})
		default:
			if e.Level < slog.LevelWarn || !wrong || e.ID != problem.ID || !e.Time.Equal(problem.Time) {
				add(part{sentence(d.u.say(e.Title)), style{}}, part{quoted(e), muted})
			}
		}
	}
	if wrong {
		reason := ""
		if problem.Reason.String() != problem.Title.String() && !problem.Reason.IsZero() {
			reason = " " + sentence(d.u.say(problem.Reason))
		}
		if problem.Stage == bridge.StageSender && problem.Text != "" {
			add(part{"Perch  ", bold}, part{harmless(problem.Text, maxDetail), style{}}, part{"  " + d.u.say(bridge.Say("not sent")), muted})
			problem.Text = ""
		}
		add(part{sentence(d.u.say(problem.Title)), bold}, part{reason + quoted(problem), muted})
		if !problem.Hint.IsZero() {
			fix := d.u.fixes()
			fix.set(problem.Hint)
			list = append(list, fix)
		}
	}
	small := style{color: colorMuted, size: sizeSmall, mono: true}
	if wrong && technical(problem) != "" {
		add(part{harmless(technical(problem), maxDetail), small})
	}
	known := strings.Join(facts(r.event), "  ")
	if n := len(r.later); n > 0 {
		known += "\n" + strings.Join(facts(r.later[n-1]), "  ")
	}
	add(part{known, small})
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
	return heightFor(l.d.head, width-2*17), heightFor(l.d.scroll.scroll.Content, width)
}

const logDetailsEdge = 11 // over the title, below it and below the rest

func (l *logDetailsLayout) heightFor(_ []fyne.CanvasObject, width float32) float32 {
	head, body := l.parts(width)
	return head + body + 3*logDetailsEdge
}

// Layout implements fyne.Layout.
func (l *logDetailsLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	head, _ := l.parts(size.Width)
	y := head + 2*logDetailsEdge
	place(objects[0], 0, 0, size.Width, size.Height)
	place(objects[1], 17, logDetailsEdge, size.Width-2*17, head)
	place(objects[2], 0, y, size.Width, max(0, size.Height-y-logDetailsEdge))
}

// MinSize implements fyne.Layout.
func (l *logDetailsLayout) MinSize([]fyne.CanvasObject) fyne.Size { return fyne.NewSize(200, 100) }
