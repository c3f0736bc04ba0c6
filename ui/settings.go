package ui

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// settingsPage is the form. What a person changes is kept until it is applied
// or reverted, also while another page is shown.
type settingsPage struct {
	*fieldset
	u               *UI
	body            *kit.Scroller
	applying, undos *kit.Button
	visible, stale  bool // stale: not up to date

	elsewhere *kit.Card // what is wrong in config.toml, and not to be seen in the form
	wrong     *kit.Prose
	hints     *kit.Fixes

	testing  *kit.Button
	results  *testRows
	masked   []*secretField
	reaching *reachSection

	install     *installer
	installCard *kit.Card
	steps       *kit.Button

	handler *handlerSection
}

func newSettings(u *UI) *settingsPage {
	p := &settingsPage{u: u, fieldset: &fieldset{editor: newEditor(u)}}
	p.applying, p.undos = u.kit.PrimaryButton(bridge.Say("Apply"), p.save), u.kit.Button(bridge.Say("Revert"), p.undo)

	p.wrong, p.hints = kit.NewProse(), u.kit.Fixes()
	p.elsewhere = u.kit.Card(bridge.Text{}, p.wrong, p.hints)
	p.elsewhere.SetTitle(u.say(bridge.Say("config.toml needs attention")), kit.Warn)

	nextcloud := p.nextcloud()
	p.reaching = p.reach(true)
	p.install = p.installer()
	p.steps = u.kit.SmallButton(bridge.Say("Show me the steps…"), func() { u.Show(PageWelcome) })
	p.installCard = u.kit.Card(bridge.Say("Install the bot on the server"), p.install, kit.Flow(kit.Space2, p.steps))
	listen := p.field(p.setting(listenKey))
	listen.typed = p.followListen
	p.handler = p.handlerSection()

	p.body = kit.NewScroller(kit.Inset(18, kit.Space5, kit.Column(
		14, p.elsewhere,
		p.heading(bridge.Say("Connection")), nextcloud,
		u.kit.Card(bridge.Say("How Nextcloud reaches this computer"), p.reaching),
		p.installCard,
		u.kit.Card(bridge.Say("Listener"), append([]fyne.CanvasObject{listen.field}, p.fields("webhook.path")...)...),
		p.programs(),
		p.heading(bridge.Say("Answers")),
		u.kit.Card(bridge.Say("Who is answered, and as whom"), p.fields(usersKey, "channels_config.nextcloud_talk.reply_as")...),
		u.kit.Card(bridge.Say("What answers"), p.handler),
		p.voice(),
		u.kit.Card(bridge.Say("Limits"), p.fields("limits.user_messages", "limits.room_messages", "limits.user_tokens", "limits.room_tokens")...),
		p.heading(bridge.Say("Program")), p.program(),
	)))
	p.views = append(p.views, p.update)
	p.listenToSave()
	return p
}

// heading begins a section of the page.
func (p *settingsPage) heading(title bridge.Text) fyne.CanvasObject {
	return kit.NewLine(p.u.say(title), kit.Style{Size: kit.SizeTitle, Bold: true})
}

// nextcloud is the card of the server and of the secrets that it knows.
func (p *settingsPage) nextcloud() *kit.Card {
	p.testing, p.results = p.u.kit.Button(bridge.Say("Test"), p.test), p.testRows()
	server := p.field(p.setting(serverKey), p.testing)
	secret := p.secretEntry(bridge.WebhookSecret, bridge.Say("Webhook secret"), bridge.Say("Talk and Perch know each other by it."), true, true)
	token := p.secretEntry(
		bridge.AppToken, bridge.Say("App token"),
		bridge.Say("To reply as you, and to read shared files. Make one in Nextcloud under Settings › Security › Devices."), false, false,
	)
	p.masked = append(p.masked, secret, token)
	return p.u.kit.Card(bridge.Say("Nextcloud"), server.field, p.results, secret.field, token.field)
}

// voice is the card of voice messages.
func (p *settingsPage) voice() *kit.Card {
	key := p.secretEntry(bridge.VoiceToken, bridge.Say("Key"), bridge.Say("Only if the other side wants one: it is sent as a bearer token."), false, false)
	p.masked = append(p.masked, key)
	fields := append(p.fields(config.KeyVoiceServer), key.field)
	return p.u.kit.Card(bridge.Say("Voice messages"), append(fields, p.fields("voice.model", "voice.language")...)...)
}

// programs is the card of what lets other programs post.
func (p *settingsPage) programs() *kit.Card {
	listen := p.fields("notify.listen")
	token := p.secretEntry(
		bridge.NotifyToken, bridge.Say("Their token"),
		bridge.Say("Uptime Kuma, Grafana, Home Assistant and others show it, as Authorization: Bearer."), true, false,
	)
	p.masked = append(p.masked, token)
	return p.u.kit.Card(bridge.Say("Messages of other programs"), append(listen, token.field)...)
}

// program is the card of Perch itself.
func (p *settingsPage) program() *kit.Card {
	login := p.tick("login", bridge.Say("Start"), bridge.Say("Start Perch when I log in"), func() bool { return p.values.login }, func(yes bool) { p.values.login = yes })
	language := p.field(p.setting("window.language"))
	language.know(bridge.Say("Takes effect at the next start."))
	fields := append(p.fields("journal.keep", "journal.store_text"), language.field, login.field)
	return p.u.kit.Card(bridge.Text{}, append(fields, p.fields("window.on_close")...)...)
}

// listenToSave makes Ctrl+S apply, also within a field.
func (p *settingsPage) listenToSave() {
	save := &desktop.CustomShortcut{KeyName: fyne.KeyS, Modifier: fyne.KeyModifierShortcutDefault}
	others := p.u.kit.Shortcut
	p.u.kit.Shortcut = func(s fyne.Shortcut) {
		if s.ShortcutName() != save.ShortcutName() {
			others(s)
		} else if p.u.current == PageSettings {
			p.save()
		}
	}
	p.u.window.Canvas().AddShortcut(save, p.u.kit.Shortcut)
}

func (p *settingsPage) object() fyne.CanvasObject { return p.body }

// header says whether all is saved, and where secrets are.
func (p *settingsPage) header() header {
	h := header{title: p.u.say(bridge.Say("Settings")), actions: []fyne.CanvasObject{p.undos, p.applying}}
	place, err := p.place()
	switch wrong, changes := len(p.checked.errors), p.checked.changes; {
	case p.saving:
		h.status, h.detail = kit.StatusBusy, p.u.say(bridge.Say("Saving…"))
	case wrong == 1:
		h.status, h.detail = kit.StatusBad, p.u.say(bridge.Say("1 field needs attention. Nothing is saved until it is fixed."))
	case wrong > 1:
		h.status, h.detail = kit.StatusBad, p.u.say(bridge.Say("%s fields need attention. Nothing is saved until they are fixed.", strconv.Itoa(wrong)))
	case len(p.lost) > 0:
		h.status, h.detail = kit.StatusWarn, p.u.say(bridge.Say("config.toml needs attention."))
	case changes == 1:
		h.status, h.detail = kit.StatusSkip, p.u.say(bridge.Say("1 change is not saved yet."))
	case changes > 1:
		h.status, h.detail = kit.StatusSkip, p.u.say(bridge.Say("%s changes are not saved yet.", strconv.Itoa(changes)))
	case err != nil:
		h.status, h.detail = kit.StatusWarn, p.u.say(bridge.Say("Saved. Secrets cannot be read: %s", kit.Sentence(p.u.say(bridge.TextOf(err)))))
	case place.IsZero():
		h.status, h.detail = kit.StatusOK, p.u.say(bridge.Say("Saved."))
	default:
		h.status, h.detail = kit.StatusOK, p.u.say(bridge.Say("Saved. Secrets are in %s.", p.u.say(place)))
	}
	return h
}

func (p *settingsPage) shown() {
	p.visible, p.stale = true, true
	p.lookAtSecrets()
}

func (p *settingsPage) hidden() {
	p.visible = false
	p.stopTest()
	p.handler.stop()
	for _, s := range append(p.masked, p.reaching.token, p.handler.token, p.handler.secret) {
		s.mask()
	}
	p.notify()
}

func (p *settingsPage) refresh(s bridge.Snapshot) {
	if p.follow(s) || p.stale {
		p.update()
	}
}

// update shows the form as it is now.
func (p *settingsPage) update() {
	if !p.visible {
		return
	}
	p.stale = false
	p.handler.update() // shows and hides fields
	p.reaching.update()
	p.show()
	p.results.update()
	p.install.update()
	p.showElsewhere()

	_, moved := p.address(p.checked.config, p.u.snapshot.Address)
	stroke := kit.Neutral
	if needsInstall(p.u.snapshot) || p.renewing() || moved && p.u.snapshot.Installed != "" && !p.checked.unreachable() {
		stroke = kit.Warn
	}
	p.installCard.SetTitle(p.u.say(bridge.Say("Install the bot on the server")), stroke)
	p.testing.SetEnabled(!p.tested.busy && p.checked.errors[serverKey].IsZero())
	p.applying.SetEnabled(p.checked.ready() && !p.saving)
	p.undos.SetEnabled(p.pending() && !p.saving)
	p.body.Fit()
	p.u.refreshHeader()
}

// showElsewhere shows what is wrong and in no field.
func (p *settingsPage) showElsewhere() {
	var lines, hints []string
	for _, l := range p.lost {
		lines = append(lines, strings.TrimPrefix(l.Place()+": ", ": ")+p.u.say(l.Text))
		if !l.Hint.IsZero() {
			hints = append(hints, p.u.say(l.Hint))
		}
	}
	if len(lines) > 0 {
		lines = append(lines, p.u.say(bridge.Say("Perch continues without it. Apply rewrites the file and keeps the old one beside it.")))
	}
	var unseen []string
	for _, key := range slices.Sorted(maps.Keys(p.checked.errors)) {
		if !p.isSeen(key) {
			unseen = append(unseen, key+": "+p.u.say(p.checked.errors[key]))
		}
	}
	if len(unseen) > 0 {
		lines = append(append(lines, unseen...), p.u.say(bridge.Say("This form does not show that. Fix it in %s", p.u.backend.ConfigFile())))
	}
	p.elsewhere.Hidden = len(lines) == 0
	p.wrong.Set(kit.NewPart(strings.Join(lines, "\n"), kit.Style{}))
	p.hints.Set(bridge.Say("%s", strings.Join(hints, "\n")))
	p.hints.Hidden = len(hints) == 0
	p.elsewhere.Relayout()
}

// isSeen reports whether a field shows the setting.
func (p *settingsPage) isSeen(key string) bool {
	return strings.HasPrefix(key, "handler.command[") && p.kind() == config.Commands ||
		slices.ContainsFunc(p.rows, func(r *formRow) bool { return r.key == key && !r.hidden() })
}

// save applies the form.
func (p *settingsPage) save() {
	installed := p.u.snapshot.Installed
	address, moved := p.address(p.checked.config, p.u.snapshot.Address)
	p.apply(func() {
		if installed != "" && moved && address != installed || p.renewing() {
			p.askInstall()
		}
	})
}

// askInstall says that the bot must be installed again, and leads to what to
// type.
func (p *settingsPage) askInstall() {
	p.u.tell(kit.Warn, bridge.Say("The bot must be installed again on the server."), p.u.kit.SmallButton(bridge.Say("Show what to type"), func() {
		p.u.hideNotice()
		p.u.Show(PageSettings)
		p.u.reveal(p.installCard)
	}))
}

// undo forgets what is not saved.
func (p *settingsPage) undo() {
	p.revert()
	for _, s := range p.masked {
		s.mask()
	}
	p.edited()
}
