package ui

import (
	"context"
	"strconv"
	"strings"

	"fyne.io/fyne/v2"

	"perch/bridge"
	"perch/ui/kit"
)

// overview is the bot at a glance: where it is reached, how much it has had to
// do, and what is wrong.
type overview struct {
	u    *UI
	body *kit.Scroller

	start   *kit.Card // what to do first; while nothing is set up
	trouble *kit.Card // why the bot does not run as it should
	detail  *kit.Prose
	fix     *kit.Fixes
	retry   *kit.Button

	install *installation // while Talk has the bot at another address

	address *kit.Card // where Nextcloud reaches the bot
	url     *kit.CodeLine
	noURL   *kit.Prose
	tunnel  *kit.Pill
	tunnels *kit.Prose // why the tunnel is not online
	mend    *kit.Fixes

	figures                             *fyne.Container
	received, answered, refused, failed *kit.Figure

	traffic *kit.Card
	chart   *kit.BarChart
	bars    *fyne.Container
	quiet   *kit.EmptyState

	problem *kit.Card // the last one
	what    *kit.Prose
	remedy  *kit.Fixes
}

func newOverview(u *UI) *overview {
	o := &overview{u: u}
	examine := func() *kit.Button { return u.kit.SmallButton(bridge.Say("Run doctor"), u.RunDoctor) }

	o.start = u.kit.Card(
		bridge.Say("First steps"),
		kit.NewProse(kit.NewPart(u.say(bridge.Say("Perch answers in Nextcloud Talk for you. It needs to know your server and whom it may answer; that takes about five minutes.")), kit.Style{})),
		kit.Flow(
			kit.Space3,
			u.kit.PrimaryButton(bridge.Say("Set up…"), func() { u.Show(PageWelcome) }),
			u.kit.Button(bridge.Say("Try it without a server"), func() { u.Show(PagePractice) }),
		),
	)

	o.detail, o.retry = kit.NewProse(), u.kit.SmallButton(bridge.Say("Try again"), func() { u.ask(u.backend.Retry) })
	o.retry.SetKind(kit.PrimaryButton)
	o.fix = u.kit.Fixes(o.retry, examine())
	o.trouble = u.kit.Card(bridge.Text{}, o.detail, o.fix)

	o.install = newInstallation(u)

	o.tunnel, o.url = kit.NewPill(kit.Neutral), u.kit.CodeLine("", false)
	o.url.Insert(o.tunnel)
	o.noURL, o.tunnels, o.mend = kit.NewProse(), kit.NewProse(), u.kit.Fixes()
	o.address = u.kit.Card(bridge.Say("Nextcloud reaches this bot at"), o.url, o.noURL, o.tunnels, o.mend)

	o.received = u.kit.Figure(bridge.Say("Received, last hour"))
	o.answered = u.kit.Figure(bridge.Say("Answered"))
	o.refused = u.kit.Figure(bridge.Say("Refused"))
	o.failed = u.kit.Figure(bridge.Say("Failed"))
	o.figures = kit.Grid(14, 150, o.received, o.answered, o.refused, o.failed)

	o.chart = kit.NewBarChart(hourBars)
	ago := kit.NewLine(u.say(bridge.Say("an hour ago")), kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall})
	now := kit.NewFullLine(u.say(bridge.Say("now")), kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall})
	o.bars = kit.Column(6, o.chart, kit.Row(kit.Space2, 0, ago, now))
	o.quiet = u.kit.EmptyState(
		"mailbox", bridge.Say("No messages yet"),
		bridge.Say("Write to the bot in a conversation in which it is enabled, or try it here."),
		u.kit.Button(bridge.Say("Practice"), func() { u.Show(PagePractice) }),
	)
	o.traffic = u.kit.Card(bridge.Say("Messages, last hour"), o.bars, o.quiet)

	o.what, o.remedy = kit.NewProse(), u.kit.Fixes(examine())
	o.problem = u.kit.Card(bridge.Text{}, o.what, o.remedy)

	o.body = kit.NewScroller(kit.Inset(18, kit.Space5, kit.Column(
		14, o.start, o.trouble, o.install, o.address, o.figures, o.traffic, o.problem,
	)))
	return o
}

func (o *overview) object() fyne.CanvasObject { return o.body }
func (o *overview) header() header            { return o.u.botHeader() }
func (o *overview) shown()                    {}
func (o *overview) hidden()                   {}

func (o *overview) refresh(s bridge.Snapshot) {
	isNew := s.State == bridge.StateNew
	o.start.Hidden = !isNew
	o.figures.Hidden = isNew
	o.showTrouble(s)
	o.install.refresh(s)
	o.showAddress(s)
	o.showTraffic(s)
	o.showProblem(s)
	o.body.Fit()
}

// showTrouble says what is wrong and what to do about it, in full: the header
// has a single line.
func (o *overview) showTrouble(s bridge.Snapshot) {
	title, detail, fix, t := s.Title, s.Detail, s.Fix, kit.Warn
	visible := true
	switch {
	case s.State == bridge.StateFailed:
		t = kit.Bad
	case s.State == bridge.StateDegraded:
		// What has a card of its own is not said twice.
		asProblem := o.u.say(detail) == o.u.say(s.Problem.Title) && !s.Problem.Time.IsZero()
		asInstall := needsInstall(s) && fix.IsZero()
		visible = s.Held || !asProblem && !asInstall
	case s.Held:
		title = bridge.Say("Replies are held back")
		detail = bridge.Say("%s replies wait until the cause is fixed.", strconv.Itoa(s.Waiting))
	default:
		visible = false
	}
	o.trouble.Hidden = !visible
	if visible {
		o.retry.Hidden = !s.Held
		o.trouble.SetTitle(o.u.say(title), t)
		o.detail.Set(kit.NewPart(o.u.say(detail), kit.Style{}))
		o.fix.Set(fix)
	}
}

func (o *overview) showAddress(s bridge.Snapshot) {
	o.address.Hidden = s.State == bridge.StateNew
	o.url.Hidden = s.Address == ""
	o.url.Set(s.Address)
	o.noURL.Hidden = s.Address != ""
	switch {
	case s.Address != "":
	case s.Local != "":
		o.noURL.Set(kit.NewPart(o.u.say(bridge.Say("No address is known yet. Perch listens at %s.", s.Local)), kit.Style{Color: kit.ColorMuted}))
	default:
		o.noURL.Set(kit.NewPart(o.u.say(bridge.Say("No address is known yet.")), kit.Style{Color: kit.ColorMuted}))
	}

	off := s.Tunnel.Phase == "" || s.Tunnel.Phase == "off"
	o.tunnel.Hidden = off
	words, t := o.u.tunnelWords(s.Tunnel)
	o.tunnel.Set(words, t)
	o.url.Relayout()
	wrong := !off && s.Tunnel.Phase != "online" && !s.Tunnel.Reason.IsZero()
	o.tunnels.Hidden = !wrong
	o.mend.Hidden = !wrong || s.Tunnel.Hint.IsZero()
	if wrong {
		reason := o.u.say(s.Tunnel.Reason)
		if !s.Tunnel.RetryAt.IsZero() {
			reason += " " + o.u.say(bridge.Say("Next attempt at %s.", kit.FormatClock(s.Tunnel.RetryAt, true)))
		}
		o.tunnels.Set(kit.NewPart(reason, kit.Style{}))
		o.mend.Set(s.Tunnel.Hint)
	}
}

// tunnelWords says how the tunnel is.
func (u *UI) tunnelWords(t bridge.TunnelState) (words string, tone kit.Tone) {
	switch t.Phase {
	case "online":
		parts := []string{u.say(bridge.Say("tunnel online"))}
		if t.Location != "" {
			parts = append(parts, t.Location)
		}
		if t.Connections == 1 {
			parts = append(parts, u.say(bridge.Say("1 connection")))
		} else {
			parts = append(parts, u.say(bridge.Say("%s connections", strconv.Itoa(t.Connections))))
		}
		return strings.Join(parts, " · "), kit.OK
	case "requesting":
		return u.say(bridge.Say("tunnel: asking for an address")), kit.Neutral
	case "connecting":
		return u.say(bridge.Say("tunnel connecting")), kit.Neutral
	case "reconnecting":
		return u.say(bridge.Say("tunnel reconnecting")), kit.Warn
	case "failed":
		return u.say(bridge.Say("tunnel failed")), kit.Bad
	default:
		return "", kit.Neutral
	}
}

// hourBars is how many parts the chart has.
const hourBars = 30

func (o *overview) showTraffic(s bridge.Snapshot) {
	h := s.Hour
	var notes []string
	if h.Median > 0 {
		notes = append(notes, o.u.say(bridge.Say("median %s", kit.FormatDuration(h.Median))))
	}
	if s.Waiting > 0 {
		notes = append(notes, o.u.say(bridge.Say("%s waiting", strconv.Itoa(s.Waiting))))
	}
	failed := kit.Neutral
	if h.Failed > 0 {
		failed = kit.Bad
	}
	o.received.Set(kit.FormatNumber(h.Received), "", kit.Neutral)
	o.answered.Set(kit.FormatNumber(h.Answered), strings.Join(notes, " · "), kit.Neutral)
	o.refused.Set(kit.FormatNumber(h.Refused), "", kit.Neutral)
	o.failed.Set(kit.FormatNumber(h.Failed), "", failed)

	o.traffic.Hidden = s.State == bridge.StateNew
	never := s.Last.ReceivedAt.IsZero() && h.Received == 0
	o.quiet.Hidden, o.bars.Hidden = !never, never
	o.chart.Set(append(make([]bridge.Bar, max(0, hourBars-len(h.Bars))), h.Bars...))
}

func (o *overview) showProblem(s bridge.Snapshot) {
	p := s.Problem
	o.problem.Hidden = p.Time.IsZero()
	if p.Time.IsZero() {
		return
	}
	o.problem.SetTitle(o.u.say(bridge.Say("Last problem · %s", o.u.when(p.Time))), kit.Warn)
	o.what.Set(kit.NewPart(kit.Sentence(o.u.say(p.Title)), kit.Style{Bold: true}), kit.NewPart(" "+kit.Sentence(o.u.say(p.Reason)), kit.Style{Color: kit.ColorMuted}))
	o.remedy.Set(p.Hint)
}

// needsInstall says if Talk has the bot at another address than it is at now.
func needsInstall(s bridge.Snapshot) bool {
	return s.Installed != "" && s.Address != "" && s.Installed != s.Address
}

// installation is a card that says that the bot must be installed again, and
// how.
type installation struct {
	*kit.Card
	u        *UI
	words    *kit.Prose
	kinds    *fyne.Container // of servers
	code     *kit.CodeLine
	commands []bridge.Commands
	taken    int
	asked    string // what address the commands were asked for
}

func newInstallation(u *UI) *installation {
	i := &installation{u: u, words: kit.NewProse(), kinds: kit.Layers()}
	i.code = u.kit.SecretCode("", bridge.Say("Copy with secret"), func() string { return i.commands[i.taken].Lines })
	i.Card = u.kit.Card(bridge.Text{}, i.words, i.kinds, i.code)
	i.SetTitle(u.say(bridge.Say("The bot must be installed again")), kit.Warn)
	i.Hidden = true
	return i
}

// refresh shows the card if it is needed, and asks for the commands once for
// each address.
func (i *installation) refresh(s bridge.Snapshot) {
	i.Hidden = !needsInstall(s)
	if i.Hidden {
		i.asked = ""
		return
	}
	i.words.Set(kit.NewPart(i.u.say(bridge.Say("Talk sends messages to %[1]s, but the bot is at %[2]s now. Type this on the server:", s.Installed, s.Address)), kit.Style{}))
	if i.asked == s.Address {
		return
	}
	i.asked = s.Address
	i.code.Hide()
	i.u.background(func(ctx context.Context) func() {
		secret, err := i.u.backend.Secret(ctx, bridge.WebhookSecret)
		if err != nil {
			return func() { i.u.failed(err) }
		}
		c, _, _ := i.u.backend.Config()
		commands, err := i.u.backend.Occ(ctx, c, secret)
		return func() {
			if err != nil {
				i.u.failed(err)
				return
			}
			i.show(commands)
		}
	})
}

func (i *installation) show(commands []bridge.Commands) {
	i.commands = commands
	var names []string
	for _, c := range commands {
		names = append(names, c.Server)
	}
	if len(names) == 0 {
		return
	}
	kinds := i.u.kit.ChoicePills(names, i.take)
	kinds.Set(i.taken)
	i.kinds.Objects = []fyne.CanvasObject{kinds}
	i.code.Show()
	i.take(i.taken)
}

// take shows the commands for one kind of server.
func (i *installation) take(kind int) {
	i.taken = kind
	i.code.Set(i.commands[kind].Shown)
	i.Relayout()
	i.u.poke()
}
