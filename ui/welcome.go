package ui

import (
	"strconv"
	"strings"

	"fyne.io/fyne/v2"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// The first steps, in their order.
const (
	stepServer  = iota
	stepUsers   // who may write
	stepReach   // how Nextcloud reaches this computer
	stepStart   // the secret, and all is saved
	stepInstall // the bot on the server
	stepEnable  // it in a conversation
	stepMessage // the first one
	firstSteps  // how many there are
)

// progress says which of the first steps are done. passed are those that a
// person has said to be done.
func (f *form) progress(c checked, s bridge.Snapshot, passed [firstSteps]bool) (done [firstSteps]bool) {
	heard := !s.Last.ReceivedAt.IsZero()
	right := func(key string) bool { return c.errors[key].IsZero() }
	secret := f.secrets[bridge.WebhookSecret]

	done[stepServer] = right(serverKey) && f.text(serverKey) != "" && (passed[stepServer] || f.exists)
	done[stepUsers] = right(usersKey) && len(c.config.Talk.AllowedUsers) > 0 && (passed[stepUsers] || f.exists)
	done[stepReach] = !c.unreachable() && right(bridge.TunnelToken) && (passed[stepReach] || f.exists)
	saved := f.exists && c.changes == 0 && secret.known && !secret.lacking() && secret.err == nil
	done[stepStart] = saved && done[stepServer] && done[stepUsers] && done[stepReach]
	done[stepInstall] = done[stepStart] && (passed[stepInstall] || heard || s.Installed != "")
	done[stepEnable] = done[stepInstall] && (passed[stepEnable] || heard)
	done[stepMessage] = done[stepStart] && heard
	return done
}

// next returns the first step that is not done; firstSteps if all are.
func next(done [firstSteps]bool) int {
	for i, is := range done {
		if !is {
			return i
		}
	}
	return firstSteps
}

// welcomePage leads through what is needed until the bot answers. It shows the
// form of the settings, one step at a time, and can be left and found again.
type welcomePage struct {
	*fieldset // nil before the page is shown for the first time
	u         *UI
	content   *fyne.Container
	body      *kit.Scroller
	leaving   *kit.Button
	visible   bool
	stale     bool // not up to date

	steps  [firstSteps]*step
	passed [firstSteps]bool
	opened int // the step that a person wants to see again; -1: none
	done   [firstSteps]bool

	testing  *kit.Button
	results  *testRows
	reaching *reachSection
	secret   *kit.Prose
	hint     *kit.Fixes
	starting *kit.Button
	again    *kit.Button
	settings *kit.Button
	trouble  *kit.Prose
	remedy   *kit.Fixes
	tunnel   *fyne.Container
	pill     *kit.Pill
	install  *installer
	waiting  *kit.StatusShape
	heard    *kit.Prose
}

func newWelcome(u *UI) *welcomePage {
	w := &welcomePage{u: u, content: kit.Column(kit.Space3), opened: -1}
	w.body = kit.NewScroller(kit.Inset(18, kit.Space5, w.content))
	w.leaving = u.kit.Button(bridge.Say("Later"), func() { u.Show(PageOverview) })
	return w
}

// build makes the steps, with the form of the settings.
func (w *welcomePage) build() {
	u := w.u
	settings, is := u.pages[PageSettings].(*settingsPage)
	if !is {
		return
	}
	w.fieldset = &fieldset{editor: settings.editor, gentle: true}
	w.steps = [firstSteps]*step{
		stepServer:  w.step(stepServer, bridge.Say("Your Nextcloud"), w.serverStep()...),
		stepUsers:   w.step(stepUsers, bridge.Say("Who may write to the bot"), w.usersStep()...),
		stepReach:   w.step(stepReach, bridge.Say("How Nextcloud reaches this computer"), w.reachStep()...),
		stepStart:   w.step(stepStart, bridge.Say("A secret between Talk and Perch"), w.startStep()...),
		stepInstall: w.step(stepInstall, bridge.Say("Install the bot on the server"), w.installStep()...),
		stepEnable:  w.step(stepEnable, bridge.Say("Enable it in a conversation"), w.enableStep()...),
		stepMessage: w.step(stepMessage, bridge.Say("Write to it"), w.messageStep()...),
	}
	w.content.Objects = []fyne.CanvasObject{kit.NewProse(kit.NewPart(
		u.say(bridge.Say("Perch answers in Nextcloud Talk for you, from this computer. Setting it up takes about five minutes, and somebody who can run a command on the server. Nothing changes there until then.")),
		kit.Style{Color: kit.ColorMuted},
	))}
	for _, s := range w.steps {
		w.content.Objects = append(w.content.Objects, s)
	}
	w.views = append(w.views, w.update)
}

func (w *welcomePage) prose(t bridge.Text) *kit.Prose {
	return kit.NewProse(kit.NewPart(w.u.say(t), kit.Style{Color: kit.ColorMuted}))
}

// onward returns the button that leads to the step after i.
func (w *welcomePage) onward(i int, label bridge.Text) *kit.Button {
	return w.u.kit.PrimaryButton(label, func() { w.pass(i) })
}

// pass goes on from a step, if what it is about is right.
func (w *welcomePage) pass(i int) {
	passed := w.passed
	passed[i] = true
	if w.progress(w.checked, w.u.snapshot, passed)[i] {
		w.passed, w.opened = passed, -1
		w.update()
		w.focus(next(w.done))
		return
	}
	for _, r := range w.rows {
		r.tried = r.tried || !r.hidden()
	}
	w.update()
	w.focus(i)
}

// focus puts the cursor where a step is to be filled in.
func (w *welcomePage) focus(i int) {
	if i < firstSteps && w.steps[i].first != nil {
		w.u.window.Canvas().Focus(w.steps[i].first)
	}
}

func (w *welcomePage) serverStep() []fyne.CanvasObject {
	w.testing, w.results = w.u.kit.Button(bridge.Say("Test connection"), w.test), w.testRows()
	server := w.field(w.setting(serverKey), w.testing)
	server.entry.OnSubmitted = func(string) { w.pass(stepServer) }
	return []fyne.CanvasObject{server.entry, server.field, w.results, w.onward(stepServer, bridge.Say("Next"))}
}

func (w *welcomePage) usersStep() []fyne.CanvasObject {
	k := w.setting(usersKey)
	k.Label, k.Example = bridge.Say("Your user id"), "alice"
	k.Help = bridge.Say("What you log in to Nextcloud with, not the name that others see. Separate several with commas. Nobody else is answered.")
	users := w.field(k)
	users.entry.OnSubmitted = func(string) { w.pass(stepUsers) }
	return []fyne.CanvasObject{users.entry, users.field, w.onward(stepUsers, bridge.Say("Next"))}
}

func (w *welcomePage) reachStep() []fyne.CanvasObject {
	w.reaching = w.reach(false)
	advice := w.prose(bridge.Say("Talk sends each message to Perch. If your Nextcloud is at home, too, choose the same network. If it is elsewhere, choose the tunnel, or a proxy of your own."))
	return []fyne.CanvasObject{w.reaching.ways, advice, w.reaching, w.onward(stepReach, bridge.Say("Next"))}
}

func (w *welcomePage) startStep() []fyne.CanvasObject {
	w.secret, w.hint = kit.NewProse(), w.u.kit.Fixes()
	w.starting = w.u.kit.PrimaryButton(bridge.Say("Create the secret and start"), w.start)
	w.again = w.u.kit.Button(bridge.Say("Try again"), w.lookAtSecrets)
	w.settings = w.u.kit.Button(bridge.Say("Settings"), func() { w.u.Show(PageSettings) })
	return []fyne.CanvasObject{w.starting, w.secret, w.hint, kit.Flow(kit.Space2, w.starting, w.again, w.settings)}
}

func (w *welcomePage) installStep() []fyne.CanvasObject {
	w.trouble, w.remedy, w.pill, w.install = kit.NewProse(), w.u.kit.Fixes(), kit.NewPill(kit.Neutral), w.installer()
	typed := w.onward(stepInstall, bridge.Say("I have typed it"))
	w.tunnel = kit.Flow(kit.Space2, w.pill)
	return []fyne.CanvasObject{typed, w.trouble, w.remedy, w.tunnel, w.install, typed}
}

func (w *welcomePage) enableStep() []fyne.CanvasObject {
	enabled := w.onward(stepEnable, bridge.Say("It is enabled"))
	return []fyne.CanvasObject{
		enabled,
		w.prose(bridge.Say("In Talk, open the conversation, then Conversation settings › Bots, and enable Perch. Only moderators can. The last command of the step before does the same.")),
		enabled,
	}
}

func (w *welcomePage) messageStep() []fyne.CanvasObject {
	w.waiting, w.heard = kit.NewStatusShape(kit.StatusBusy, 20), kit.NewProse()
	finish := w.u.kit.PrimaryButton(bridge.Say("To the overview"), func() { w.u.Show(PageOverview) })
	return []fyne.CanvasObject{finish, kit.Row(kit.Space2, 1, w.waiting, w.heard), finish}
}

// start makes a secret if there is none, and saves everything.
func (w *welcomePage) start() {
	if s := w.secrets[bridge.WebhookSecret]; s.lacking() {
		s.typed = w.u.backend.NewSecret().Reveal()
		w.edited()
	}
	w.apply(func() {
		w.opened = -1
		w.update()
		w.focus(next(w.done))
	})
}

func (w *welcomePage) object() fyne.CanvasObject { return w.body }

func (w *welcomePage) header() header {
	h := header{status: kit.StatusSkip, title: w.u.say(bridge.Say("First steps"))}
	if at := next(w.done); at < firstSteps {
		h.detail = w.u.say(bridge.Say("Step %[1]s of %[2]s", strconv.Itoa(at+1), strconv.Itoa(firstSteps)))
		h.actions = []fyne.CanvasObject{w.leaving}
	} else {
		h.status, h.detail = kit.StatusOK, w.u.say(bridge.Say("All done: the bot has received its first message."))
	}
	return h
}

func (w *welcomePage) shown() {
	if w.fieldset == nil {
		w.build()
	}
	w.visible, w.stale = true, true
	w.lookAtSecrets()
}

func (w *welcomePage) hidden() {
	w.visible = false
	w.stopTest()
	w.reaching.token.mask()
	w.notify()
}

func (w *welcomePage) refresh(s bridge.Snapshot) {
	if w.follow(s) || w.stale {
		w.update()
	}
}

// update shows how far it is.
func (w *welcomePage) update() {
	if !w.visible {
		return
	}
	w.stale = false
	w.reaching.update()
	w.show()
	w.results.update()
	w.testing.SetEnabled(!w.tested.busy && w.checked.errors[serverKey].IsZero())
	w.install.update()
	w.updateStart()
	w.updateInstall()
	w.updateMessage()

	w.done = w.progress(w.checked, w.u.snapshot, w.passed)
	at, open := next(w.done), w.opened
	if open < 0 || open > at {
		open = at
	}
	if at == firstSteps && w.opened < 0 {
		open = stepMessage
	}
	summaries := w.summaries()
	for i, s := range w.steps {
		s.show(w.done[i], i == at, i == open, i < at && i != open, summaries[i])
	}
	w.body.Fit()
	w.u.refreshHeader()
}

// summaries returns what is said of the steps that are done.
func (w *welcomePage) summaries() (said [firstSteps]string) {
	u, c, s := w.u, w.checked.config, w.u.snapshot
	said[stepServer] = c.Talk.BaseURL
	said[stepUsers] = strings.Join(c.Talk.AllowedUsers, ", ")
	said[stepReach] = w.reaching.ways.Title(int(w.values.reach))
	if address, _ := w.address(c, s.Address); address != "" {
		said[stepReach] += " · " + address
	}
	if place := w.secrets[bridge.WebhookSecret].place; !place.IsZero() {
		said[stepStart] = u.say(bridge.Say("Stored in %s.", u.say(place)))
	}
	if !s.Last.ReceivedAt.IsZero() {
		said[stepMessage] = s.Last.Author.String() + " · " + s.Last.Room.String() + " · " + u.when(s.Last.ReceivedAt)
	}
	return said
}

// updateStart says what there is to save, or why that does not go.
func (w *welcomePage) updateStart() {
	u, s := w.u, w.secrets[bridge.WebhookSecret]
	place := u.say(s.place)
	var words, hint bridge.Text
	c, label := kit.ColorMuted, bridge.Say("Save and start")
	switch {
	case s.err != nil:
		words, c, hint = bridge.Say("%s", kit.Sentence(u.say(bridge.TextOf(s.err)))), kit.ColorBad, bridge.HintOf(s.err)
	case !s.known:
		words = bridge.Say("Looking for the secret…")
	case s.lacking():
		words = bridge.Say("Talk and Perch know each other by a secret. Perch creates one and keeps it in %s; it is in no file.", place)
		label = bridge.Say("Create the secret and start")
	case s.fixed:
		words = bridge.Say("Talk and Perch know each other by a secret. It comes from %s.", place)
	default:
		words = bridge.Say("Talk and Perch know each other by a secret. There is one in %s already.", place)
	}
	others := 0
	for key := range w.checked.errors {
		if key != serverKey && key != usersKey {
			others++
		}
	}
	if others > 0 && !w.checked.unreachable() {
		words, c = bridge.Say("Something else in the settings needs attention first."), kit.ColorBad
	}
	w.settings.Hidden = others == 0
	w.secret.Set(kit.NewPart(u.say(words), kit.Style{Color: c}))
	w.hint.Set(hint)
	w.hint.Hidden = hint.IsZero()
	w.again.Hidden = s.err == nil
	w.starting.SetText(u.say(label))
	w.starting.SetEnabled(!w.saving && s.known && s.err == nil && len(w.checked.errors) == 0 && (w.checked.changes > 0 || s.lacking()))
}

// updateInstall says why the bot does not run, if it does not.
func (w *welcomePage) updateInstall() {
	u, s := w.u, w.u.snapshot
	failed := s.State == bridge.StateFailed
	w.trouble.Hidden, w.remedy.Hidden = !failed, !failed || s.Fix.IsZero()
	if failed {
		w.trouble.Set(kit.NewPart(kit.Sentence(u.say(s.Title))+" ", kit.Style{Color: kit.ColorBad, Bold: true}), kit.NewPart(kit.Sentence(u.say(s.Detail)), kit.Style{Color: kit.ColorBad}))
		w.remedy.Set(s.Fix)
	}
	words, t := u.tunnelWords(s.Tunnel)
	w.tunnel.Hidden = words == "" || w.checked.config.Tunnel.Mode == config.TunnelOff
	w.pill.Set(words, t)
}

// updateMessage says whether there was a message.
func (w *welcomePage) updateMessage() {
	u, last := w.u, w.u.snapshot.Last
	if last.ReceivedAt.IsZero() {
		h := w.checked.config.Handler
		try := "hello"
		if h.Kind == config.Commands {
			try = h.Prefix + "ping"
		}
		w.waiting.Set(kit.StatusBusy)
		w.heard.Set(kit.NewPart(u.say(bridge.Say("Write %s in the conversation. Perch waits for it here.", try)), kit.Style{}))
		return
	}
	w.waiting.Set(kit.StatusOK)
	w.heard.Set(kit.NewPart(u.say(bridge.Say("%s wrote in %s at %s. The bot is working.", last.Author.String(), last.Room.String(), u.when(last.ReceivedAt))), kit.Style{}))
}

// step is one of the first steps: a card that shows what it is about while it is
// open, else what came of it.
type step struct {
	kit.Composite
	ground  *kit.Panel
	number  *fyne.Container
	tick    *kit.StatusShape
	circle  *kit.Panel
	digit   *kit.Line
	title   *kit.Line
	summary *kit.Line
	change  *kit.Button
	inside  *fyne.Container
	first   fyne.Focusable // where it is to be filled in; can be nil
}

// step returns a step; of its objects the first is what gets the cursor.
func (w *welcomePage) step(i int, title bridge.Text, objects ...fyne.CanvasObject) *step {
	s := &step{
		ground: kit.NewPanel(kit.ColorCard, kit.ColorLine, kit.RadiusCard), circle: kit.NewPanel(kit.ColorTint, "", 12),
		digit: kit.NewFullLine(strconv.Itoa(i+1), kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Bold: true}), tick: kit.NewStatusShape(kit.StatusOK, 24),
		title: kit.NewLine(w.u.say(title), kit.Style{Bold: true}), summary: kit.NewLine("", kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall}),
	}
	s.first, _ = objects[0].(fyne.Focusable)
	s.digit.Align = fyne.TextAlignCenter
	s.number = kit.Strut(24, 24, kit.Layers(s.circle, s.digit))
	label := bridge.Say("Change")
	if i > stepReach {
		label = bridge.Say("Show")
	}
	s.change = w.u.kit.SmallButton(label, func() {
		w.opened = i
		w.update()
		w.focus(i)
	})
	objects = objects[1:]
	if last := len(objects) - 1; last >= 0 {
		if b, is := objects[last].(*kit.Button); is {
			objects[last] = kit.Flow(kit.Space2, b)
		}
	}
	s.inside = w.section(objects...)
	s.Root = kit.Layers(s.ground, kit.Inset(13, 17, kit.Column(
		kit.Space3, kit.Row(kit.Space3, 1, kit.Layers(s.number, s.tick), kit.Column(1, s.title, s.summary), s.change), s.inside,
	)))
	s.ExtendBaseWidget(s)
	return s
}

// show shows the step: is it done, the next one, open, and can it be opened
// again.
func (s *step) show(done, current, open, reopen bool, summary string) {
	s.number.Hidden, s.tick.Hidden = done, !done
	s.inside.Hidden = !open
	s.change.Hidden = !reopen
	s.summary.Hidden = open || !done || summary == ""
	s.summary.Set(summary)
	circle, digit, title, stroke := kit.ColorTint, kit.ColorMuted, kit.ColorMuted, kit.ColorLine
	if current {
		circle, digit, stroke = kit.ColorAccentBackground, kit.ColorAccent, kit.ColorAccent
	}
	if current || open || done {
		title = kit.ColorText
	}
	s.circle.Set(circle, "")
	s.digit.Set(s.digit.Text, kit.Style{Color: digit, Size: kit.SizeSmall, Bold: true})
	s.title.Set(s.title.Text, kit.Style{Color: title, Bold: true})
	s.ground.Set(kit.ColorCard, stroke)
	s.Relayout()
}
