package ui

import (
	"context"
	"strconv"
	"strings"

	"fyne.io/fyne/v2"

	"perch/bridge"
)

// overview is the bot at a glance: where it is reached, how much it has had to
// do, and what is wrong.
type overview struct {
	u    *UI
	body *scroller

	start   *card // what to do first; while nothing is set up
	trouble *card // why the bot does not run as it should
	detail  *prose
	fix     *fixes
	retry   *button

	install *installation // while Talk has the bot at another address

	address *card // where Nextcloud reaches the bot
	url     *codeLine
	noURL   *prose
	tunnel  *pill
	tunnels *prose // why the tunnel is not online
	mend    *fixes

	figures                             *fyne.Container
	received, answered, refused, failed *figure

	traffic *card
	chart   *barChart
	bars    *fyne.Container
	quiet   *emptyState

	problem *card // the last one
	what    *prose
	remedy  *fixes
}

func newOverview(u *UI) *overview {
	o := &overview{u: u}
	examine := func() *button { return u.smallButton(bridge.Say("Run doctor"), u.RunDoctor) }

	o.start = u.card(
		bridge.Say("First steps"),
		newProse(part{u.say(bridge.Say("Perch answers in Nextcloud Talk for you. It needs to know your server and whom it may answer; that takes about five minutes.")), style{}}),
		flow(
			space3,
			u.primary(bridge.Say("Set up…"), func() { u.Show(PageWelcome) }),
			u.button(bridge.Say("Try it without a server"), func() { u.Show(PagePractice) }),
		),
	)

	o.detail, o.retry = newProse(), u.smallButton(bridge.Say("Try again"), func() { u.ask(u.backend.Retry) })
	o.retry.setKind(primaryButton)
	o.fix = u.fixes(o.retry, examine())
	o.trouble = u.card(bridge.Text{}, o.detail, o.fix)

	o.install = newInstallation(u)

	o.tunnel, o.url = newPill(neutral), u.codeLine("", false)
	o.url.lead(o.tunnel)
	o.noURL, o.tunnels, o.mend = newProse(), newProse(), u.fixes()
	o.address = u.card(bridge.Say("Nextcloud reaches this bot at"), o.url, o.noURL, o.tunnels, o.mend)

	o.received = u.figure(bridge.Say("Received, last hour"))
	o.answered = u.figure(bridge.Say("Answered"))
	o.refused = u.figure(bridge.Say("Refused"))
	o.failed = u.figure(bridge.Say("Failed"))
	o.figures = grid(14, 150, o.received, o.answered, o.refused, o.failed)

	o.chart = newBarChart(len(bridge.Hour{}.Bars))
	ago := newLine(u.say(bridge.Say("an hour ago")), style{color: colorMuted, size: sizeSmall})
	now := newWhole(u.say(bridge.Say("now")), style{color: colorMuted, size: sizeSmall})
	o.bars = column(6, o.chart, row(space2, 0, ago, now))
	o.quiet = u.emptyState(
		"mailbox", bridge.Say("No messages yet"),
		bridge.Say("Write to the bot in a conversation in which it is enabled, or try it here."),
		u.button(bridge.Say("Practice"), func() { u.Show(PagePractice) }),
	)
	o.traffic = u.card(bridge.Say("Messages, last hour"), o.bars, o.quiet)

	o.what, o.remedy = newProse(), u.fixes(examine())
	o.problem = u.card(bridge.Text{}, o.what, o.remedy)

	o.body = newScroller(inset(18, space5, column(
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
	o.body.fit()
}

// showTrouble says what is wrong and what to do about it, in full: the header
// has a single line.
func (o *overview) showTrouble(s bridge.Snapshot) {
	title, detail, fix, t := s.Title, s.Detail, s.Fix, warn
	visible := true
	switch {
	case s.State == bridge.StateFailed:
		t = bad
	case s.State == bridge.StateDegraded:
		// What has a card of its own is not said twice.
		asProblem := o.u.say(detail) == o.u.say(s.Problem.Title) && !s.Problem.Time.IsZero()
		asInstall := needsInstall(s) && fix.IsZero()
		visible = s.Held || !asProblem && !asInstall
	case s.Held:
		title = bridge.Say("Replies are held back")
		detail = bridge.Say("%s replies wait until the cause is mended.", strconv.Itoa(s.Waiting))
	default:
		visible = false
	}
	o.trouble.Hidden = !visible
	if visible {
		o.retry.Hidden = !s.Held
		o.trouble.setTitle(o.u.say(title), t)
		o.detail.set(part{o.u.say(detail), style{}})
		o.fix.set(fix)
	}
}

func (o *overview) showAddress(s bridge.Snapshot) {
	o.address.Hidden = s.State == bridge.StateNew
	o.url.Hidden = s.Address == ""
	o.url.set(s.Address)
	o.noURL.Hidden = s.Address != ""
	switch {
	case s.Address != "":
	case s.Local != "":
		o.noURL.set(part{o.u.say(bridge.Say("No address is known yet. Perch listens at %s.", s.Local)), style{color: colorMuted}})
	default:
		o.noURL.set(part{o.u.say(bridge.Say("No address is known yet.")), style{color: colorMuted}})
	}

	off := s.Tunnel.Phase == "" || s.Tunnel.Phase == "off"
	o.tunnel.Hidden = off
	words, t := o.u.tunnelWords(s.Tunnel)
	o.tunnel.set(words, t)
	o.url.relayout()
	wrong := !off && s.Tunnel.Phase != "online" && !s.Tunnel.Reason.IsZero()
	o.tunnels.Hidden = !wrong
	o.mend.Hidden = !wrong || s.Tunnel.Hint.IsZero()
	if wrong {
		reason := o.u.say(s.Tunnel.Reason)
		if !s.Tunnel.RetryAt.IsZero() {
			reason += " " + o.u.say(bridge.Say("Next attempt at %s.", clock(s.Tunnel.RetryAt, true)))
		}
		o.tunnels.set(part{reason, style{}})
		o.mend.set(s.Tunnel.Hint)
	}
}

// tunnelWords says how the tunnel is.
func (k *kit) tunnelWords(t bridge.TunnelState) (words string, tone tone) {
	switch t.Phase {
	case "online":
		parts := []string{k.say(bridge.Say("tunnel online"))}
		if t.Location != "" {
			parts = append(parts, t.Location)
		}
		if t.Connections == 1 {
			parts = append(parts, k.say(bridge.Say("1 connection")))
		} else {
			parts = append(parts, k.say(bridge.Say("%s connections", strconv.Itoa(t.Connections))))
		}
		return strings.Join(parts, " · "), ok
	case "requesting":
		return k.say(bridge.Say("tunnel: asking for an address")), neutral
	case "connecting":
		return k.say(bridge.Say("tunnel connecting")), neutral
	case "reconnecting":
		return k.say(bridge.Say("tunnel reconnecting")), warn
	case "failed":
		return k.say(bridge.Say("tunnel failed")), bad
	default:
		return "", neutral
	}
}

func (o *overview) showTraffic(s bridge.Snapshot) {
	h := s.Hour
	var notes []string
	if s.Median > 0 {
		notes = append(notes, o.u.say(bridge.Say("median %s", duration(s.Median))))
	}
	if s.Waiting > 0 {
		notes = append(notes, o.u.say(bridge.Say("%s waiting", strconv.Itoa(s.Waiting))))
	}
	failed := neutral
	if h.Failed > 0 {
		failed = bad
	}
	o.received.set(number(h.Received), "", neutral)
	o.answered.set(number(h.Answered), strings.Join(notes, " · "), neutral)
	o.refused.set(number(h.Refused), "", neutral)
	o.failed.set(number(h.Failed), "", failed)

	o.traffic.Hidden = s.State == bridge.StateNew
	never := s.Last.ReceivedAt.IsZero() && h.Received == 0
	o.quiet.Hidden, o.bars.Hidden = !never, never
	o.chart.set(h.Bars[:])
}

func (o *overview) showProblem(s bridge.Snapshot) {
	p := s.Problem
	o.problem.Hidden = p.Time.IsZero()
	if p.Time.IsZero() {
		return
	}
	o.problem.setTitle(o.u.say(bridge.Say("Last problem · %s", o.u.when(p.Time))), warn)
	o.what.set(part{sentence(o.u.say(p.Title)), style{bold: true}}, part{" " + sentence(o.u.say(p.Reason)), style{color: colorMuted}})
	o.remedy.set(p.Hint)
}

// needsInstall says if Talk has the bot at another address than it is at now.
func needsInstall(s bridge.Snapshot) bool {
	return s.Installed != "" && s.Address != "" && s.Installed != s.Address
}

// installation is a card that says that the bot is to be installed anew, and
// how.
type installation struct {
	*card
	u        *UI
	words    *prose
	kinds    *fyne.Container // of servers
	code     *codeLine
	commands []bridge.Commands
	taken    int
	asked    string // what address the commands were asked for
}

func newInstallation(u *UI) *installation {
	i := &installation{u: u, words: newProse(), kinds: layers()}
	i.code = u.secretCode("", bridge.Say("Copy with secret"), func() string { return i.commands[i.taken].Lines })
	i.card = u.card(bridge.Text{}, i.words, i.kinds, i.code)
	i.setTitle(u.say(bridge.Say("The bot must be installed anew")), warn)
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
	i.words.set(part{i.u.say(bridge.Say("Talk sends messages to %[1]s, but the bot is at %[2]s now. Type this on the server:", s.Installed, s.Address)), style{}})
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
	kinds := i.u.choicePills(names, i.take)
	kinds.set(i.taken)
	i.kinds.Objects = []fyne.CanvasObject{kinds}
	i.code.Show()
	i.take(i.taken)
}

// take shows the commands for one kind of server.
func (i *installation) take(kind int) {
	i.taken = kind
	i.code.set(i.commands[kind].Shown)
	i.relayout()
	i.u.poke()
}
