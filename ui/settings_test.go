package ui

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/test"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/ui/kit"
)

// openSettings opens the form; the keychain has answered.
func openSettings(t *testing.T, b *fakeBackend) (*tested, *settingsPage) {
	t.Helper()
	x := open(t, b)
	x.Show(PageSettings)
	x.idle()
	return x, x.settings()
}

func (x *tested) settings() *settingsPage {
	x.t.Helper()
	p, is := x.pages[PageSettings].(*settingsPage)
	if !is {
		x.t.Fatal("no settings page")
	}
	return p
}

// rowOf returns the field of a setting.
func (s *fieldset) rowOf(t *testing.T, key string) *formRow {
	t.Helper()
	for _, r := range s.rows {
		if r.key == key {
			return r
		}
	}
	t.Fatalf("no field for %s", key)
	return nil
}

// write types text in place of what a field has.
func (s *fieldset) write(t *testing.T, key, text string) {
	t.Helper()
	e := s.rowOf(t, key).entry
	e.SetText("")
	test.Type(e, text)
}

func ctrlS() fyne.Shortcut {
	return &desktop.CustomShortcut{KeyName: fyne.KeyS, Modifier: fyne.KeyModifierShortcutDefault}
}

func (x *tested) markup() string { return test.RenderToMarkup(x.window.Canvas()) }

func TestSettingsLooks(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x := openIn(t, newFake(), v)
		x.Show(PageSettings)
		x.idle()
		x.looks("settings")
		x.isDrawnIn(v)
		x.shoot("settings-" + name)
		p := x.settings()
		p.write(t, bridge.AppToken, "Dar2i-app-token")
		p.write(t, "handler.prefix", "")
		p.takeKind(config.LLM)
		p.takeReach(reachLocal, x.backend.LocalAddresses())
		p.edited()
		x.idle()
		x.window.Resize(fyne.NewSize(1080, 2300))
		x.looks("settings-changed")
		x.isDrawnIn(v)
		x.shoot("settings-changed-" + name)
		x.window.Resize(fyne.NewSize(540, 350))
		x.shoot("settings-narrow-" + name)
	})
}

func TestSettingsSaveWhatIsRight(t *testing.T) {
	x, p := openSettings(t, newFake())
	x.reads("Settings", "Saved. Secrets are in GNOME Keyring.", "Stored in GNOME Keyring.")
	if !p.applying.Disabled() || !p.undos.Disabled() {
		t.Error("Apply or Revert can be pressed, though nothing has changed")
	}

	p.write(t, serverKey, "cloud")
	x.reads("1 field needs attention. Nothing is saved until it is fixed.", "Must be an http or https address, such as https://cloud.example.com.")
	server := p.rowOf(t, serverKey).entry
	server.TypedShortcut(ctrlS())
	if !p.applying.Disabled() {
		t.Error("Apply can be pressed, though the address is wrong")
	}
	p.write(t, usersKey, "guests/")
	x.reads("2 fields need attention. Nothing is saved until they are fixed.")
	p.write(t, usersKey, "carol, dave")
	p.write(t, serverKey, "https://cloud.example.org/")
	x.reads("2 changes are not saved yet.")
	x.idle()
	if asked := x.fake.asked(); len(asked) > 0 {
		t.Fatalf("asked for %v, though something was wrong", asked)
	}

	server.TypedShortcut(ctrlS())
	x.reads("Saving…")
	x.idle()
	x.reads("Saved. Secrets are in GNOME Keyring.")
	if x.fake.saved.Talk.BaseURL != "https://cloud.example.org" || !slices.Equal(x.fake.saved.Talk.AllowedUsers, []string{"carol", "dave"}) {
		t.Errorf("saved %+v", x.fake.saved.Talk)
	}
	if server.Text != "https://cloud.example.org" {
		t.Errorf("the field says %q, not what is saved", server.Text)
	}
	if asked := x.fake.asked(); !slices.Equal(asked, []string{"Save"}) {
		t.Errorf("asked for %v", asked)
	}
}

func TestSettingsShortcutIsOfThePage(t *testing.T) {
	x, p := openSettings(t, newFake())
	p.write(t, usersKey, "carol")
	x.Show(PageOverview)
	x.kit.Shortcut(ctrlS())
	x.idle()
	if len(x.fake.asked()) > 0 {
		t.Error("Ctrl+S saves on another page")
	}
	x.Show(PageSettings)
	x.kit.Shortcut(ctrlS())
	x.idle()
	if !slices.Contains(x.fake.asked(), "Save") {
		t.Error("Ctrl+S does not save")
	}
	x.kit.Shortcut(settingsShortcut())
}

func TestSettingsStayUntilApplied(t *testing.T) {
	x, p := openSettings(t, newFake())
	p.write(t, usersKey, "carol")
	test.Tap(x.buttonOf("Generate"))
	x.Show(PageOverview)
	if b := x.shell.badges[PageSettings]; b.Text != "2" || b.Tone != kit.Warn {
		t.Errorf("the rail shows %+v for two changes", b)
	}
	x.Show(PageSettings)
	x.idle()
	x.reads("2 changes are not saved yet.")
	if got := p.rowOf(t, usersKey).entry.Text; got != "carol" {
		t.Errorf("the field has %q", got)
	}
	p.write(t, "webhook.path", "x")
	if b := x.shell.badges[PageSettings]; b.Tone != kit.Bad {
		t.Errorf("the rail shows %+v for a wrong field", b)
	}
	test.Tap(x.buttonOf("Revert"))
	if b := x.shell.badges[PageSettings]; b.Text != "" {
		t.Errorf("the rail shows %+v after Revert", b)
	}
	if got := p.rowOf(t, usersKey).entry.Text; got != "alice, bob" {
		t.Errorf("the field has %q after Revert", got)
	}
	x.reads("Saved. Secrets are in GNOME Keyring.")
	if len(x.fake.asked()) > 0 {
		t.Errorf("asked for %v", x.fake.asked())
	}
}

func TestSettingsThatCannotBeSaved(t *testing.T) {
	x, p := openSettings(t, newFake())
	x.fake.errs["Save"] = &bridge.Error{Text: bridge.Say("the disk is full"), Hint: bridge.Say("make space")}
	p.write(t, usersKey, "carol")
	test.Tap(x.buttonOf("Apply"))
	x.idle()
	x.reads("the disk is full make space", "1 change is not saved yet.")
	delete(x.fake.errs, "Save")
	test.Tap(x.buttonOf("Apply"))
	x.idle()
	x.reads("Saved. Secrets are in GNOME Keyring.")

	// A secret that cannot be stored keeps the rest from being saved.
	x.fake.errs["SetSecret"] = errors.New("locked")
	p.write(t, usersKey, "dave")
	p.write(t, bridge.AppToken, "token")
	test.Tap(x.buttonOf("Apply"))
	x.idle()
	x.reads("2 changes are not saved yet.")
	if slices.Equal(x.fake.saved.Talk.AllowedUsers, []string{"dave"}) {
		t.Error("saved without its secret")
	}
}

// What is typed while the form is being saved is not lost.
func TestSettingsTypedWhileSaving(t *testing.T) {
	x, p := openSettings(t, newFake())
	p.write(t, usersKey, "carol")
	p.write(t, bridge.AppToken, "one")
	test.Tap(x.buttonOf("Apply"))
	p.write(t, usersKey, "dave")
	p.write(t, bridge.AppToken, "two")
	x.idle()
	x.reads("2 changes are not saved yet.")
	if got := p.rowOf(t, usersKey).entry.Text; got != "dave" || p.secrets[bridge.AppToken].typed != "two" {
		t.Errorf("the field has %q", got)
	}
	if !slices.Equal(x.fake.saved.Talk.AllowedUsers, []string{"carol"}) {
		t.Errorf("saved %v", x.fake.saved.Talk.AllowedUsers)
	}
}

func TestSettingsSecretsAreMasked(t *testing.T) {
	x, p := openSettings(t, newFake())
	const secret = "a-secret-of-more-than-forty-characters-for-tests"
	entry := p.rowOf(t, bridge.WebhookSecret).entry
	if strings.Contains(x.markup(), secret) || entry.Text != "" || entry.PlaceHolder != bullets {
		t.Error("the stored secret is in the form before a person has asked")
	}
	test.Tap(x.buttonOf("Show"))
	x.idle()
	if entry.Text != secret || !strings.Contains(x.markup(), secret) {
		t.Errorf("shown is %q", entry.Text)
	}
	if p.checked.changes != 0 {
		t.Error("to look at a secret is a change")
	}
	test.Type(entry, "x")
	if p.checked.changes != 1 {
		t.Error("to change a secret is no change")
	}
	x.window.Canvas().Focus(entry)
	x.press(fyne.KeyBackspace)
	if entry.Text != secret || p.checked.changes != 0 {
		t.Errorf("typed back, it is %q with %d changes", entry.Text, p.checked.changes)
	}
	test.Tap(x.buttonOf("Hide"))
	if strings.Contains(x.markup(), secret) || entry.Text != "" || !p.masked[0].revealed.IsZero() {
		t.Error("the secret is still in the form")
	}

	// Shown again, then left.
	test.Tap(x.buttonOf("Show"))
	x.idle()
	x.Show(PageOverview)
	x.Show(PageSettings)
	if x.idle(); entry.Text != "" {
		t.Error("the secret is still shown after the page was left")
	}

	// A new one is masked, can be looked at, and is stored with Apply alone.
	test.Tap(x.buttonOf("Generate"))
	generated := x.backend.NewSecret().Reveal()
	if entry.Text != generated || strings.Contains(x.markup(), generated) {
		t.Error("the new secret is not masked, or not there")
	}
	test.Tap(x.buttonOf("Show"))
	if !strings.Contains(x.markup(), generated) {
		t.Error("the new secret is not shown")
	}
	test.Tap(x.buttonOf("Hide"))
	if len(x.fake.asked()) > 0 {
		t.Error("stored before Apply")
	}
	test.Tap(x.buttonOf("Apply"))
	x.idle()
	if asked := x.fake.asked(); !slices.Equal(asked, []string{"SetSecret webhook_secret"}) {
		t.Errorf("asked for %v: config.toml had no reason to be written", asked)
	}
	if x.fake.secrets[bridge.WebhookSecret].Reveal() != generated {
		t.Error("another secret is stored")
	}
	x.reads("The bot must be installed again on the server.", "Talk knows the bot by its old secret. Remove the bot and install it again, with this:")
	if strings.Contains(x.markup(), generated) {
		t.Error("the stored secret is in the window")
	}
}

func TestSettingsSecretsTyped(t *testing.T) {
	x, p := openSettings(t, newFake())
	p.write(t, bridge.WebhookSecret, "short")
	x.reads("Needs at least 40 characters.", "1 field needs attention. Nothing is saved until it is fixed.")
	p.write(t, bridge.WebhookSecret, "")
	p.rowOf(t, bridge.WebhookSecret).entry.SetText("")
	x.reads("Saved. Secrets are in GNOME Keyring.")

	p.write(t, bridge.AppToken, "app-token")
	x.reads("It is stored in GNOME Keyring when you apply.")
	x.kit.Shortcut(ctrlS())
	x.idle()
	if x.fake.secrets[bridge.AppToken].Reveal() != "app-token" {
		t.Error("not stored")
	}
	test.Tap(x.buttonOf("Remove"))
	x.reads("It is removed when you apply.")
	x.kit.Shortcut(ctrlS())
	x.idle()
	if _, there := x.fake.secrets[bridge.AppToken]; there {
		t.Error("not removed")
	}
}

func TestSettingsSecretsElsewhere(t *testing.T) {
	b := newFake()
	b.fixed = map[string]bool{bridge.WebhookSecret: true}
	x, p := openSettings(t, b)
	x.reads("It comes from the variable PERCH_WEBHOOK_SECRET, and can be changed only there.")
	if !p.rowOf(t, bridge.WebhookSecret).entry.Disabled() || !x.buttonOf("Generate").Disabled() {
		t.Error("it can be changed here")
	}

	b = newFake()
	b.errs["SecretPlace"] = &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("the keychain is locked"), Hint: bridge.Say("unlock it")}
	x, _ = openSettings(t, b)
	x.reads("Saved. Secrets cannot be read: The keychain is locked.", "It cannot be read: The keychain is locked. unlock it")

	b = newFake()
	delete(b.secrets, bridge.WebhookSecret)
	x, _ = openSettings(t, b)
	x.reads("Without one every message is refused: generate it.", "The command appears here once there is a webhook secret.")
}

func TestSettingsTestTheServer(t *testing.T) {
	b := newFake()
	b.secrets[bridge.AppToken] = bridge.NewSecret("token")
	b.report.Rows = slices.Insert(b.report.Rows, 1, doctor.Row{
		ID: "app-token", Title: bridge.Say("App token"),
		Result: bridge.Failed(bridge.Say("The server does not know this token."), bridge.Text{}, bridge.Say("Make one under Settings › Security › Devices.")),
	})
	x, p := openSettings(t, b)
	p.write(t, serverKey, "cloud")
	if !p.testing.Disabled() {
		t.Error("a wrong address can be tested")
	}
	p.write(t, serverKey, "https://cloud.example.com")
	test.Tap(x.buttonOf("Test"))
	x.reads("Looking at the server…  ")
	x.idle()
	x.reads(
		"Server answers  status.php: Nextcloud 32.0.1, not in maintenance", "App token  The server does not know this token.",
		"The server does not know this token.", "Make one under Settings › Security › Devices.",
	)
	x.shoot("settings-tested")
	if p.rowOf(t, bridge.AppToken).tone != kit.Bad {
		t.Error("the field of the token is not marked")
	}
	p.write(t, bridge.AppToken, "another")
	if p.rowOf(t, bridge.AppToken).wrong != "" {
		t.Error("another token is refused before it was tried")
	}
	p.write(t, serverKey, "https://other.example.com")
	if p.results.Visible() {
		t.Error("what was found of another server is still shown")
	}

	x.fake.errs["TestServer"] = errors.New("no network")
	test.Tap(x.buttonOf("Test"))
	x.idle()
	x.reads("No network.  ")
}

func TestSettingsWays(t *testing.T) {
	b := newFake()
	b.local = []string{"192.168.1.20", "10.0.0.3"}
	b.snapshot.Tunnel = bridge.TunnelState{
		Phase: "reconnecting", Reason: bridge.Say("The connection was lost."), Hint: bridge.Say("Check whether the network is up."),
	}
	x, p := openSettings(t, b)
	x.reads("http://192.168.1.20:8460", "http://127.0.0.1:8460", "tunnel reconnecting", "The connection was lost.", "Check whether the network is up.")
	take := func(title string) {
		t.Helper()
		test.Tap(find(x, func(o *kit.Option) bool { return o.Title.Text == title }))
		x.idle()
	}
	take("Named tunnel")
	x.reads("connects when you apply", "Is required, such as bot.example.com.", "2 fields need attention. Nothing is saved until they are fixed.")
	x.shoot("settings-tunnel")
	p.write(t, "tunnel.hostname", "bot.example.com")
	p.write(t, bridge.TunnelToken, "sudo cloudflared service install eyJ…")
	x.reads("3 changes are not saved yet.")

	take("Same network")
	x.reads("192.168.1.20", "10.0.0.3")
	take("10.0.0.3")
	x.reads("This gives the bot another address. After you apply it, install the bot again; the command is below.")
	x.reads("http://10.0.0.3:8460", "When you apply, the bot moves to http://10.0.0.3:8460/nextcloud-talk. Talk knows it at https://bot.example.com/nextcloud-talk: install it again then, with this:")
	x.shoot("settings-network")
	x.kit.Shortcut(ctrlS())
	x.idle()
	if x.fake.saved.Webhook.Listen != "10.0.0.3:8460" || x.fake.saved.Tunnel.Mode != config.TunnelOff {
		t.Errorf("saved %+v %+v", x.fake.saved.Webhook, x.fake.saved.Tunnel)
	}
	x.reads("The bot must be installed again on the server.")
	test.Tap(x.buttonOf("Show what to type"))
	x.fake.change(func(b *fakeBackend) { b.snapshot.Address = "http://10.0.0.3:8460/nextcloud-talk" })
	x.tickNow()
	x.idle()
	x.reads("Talk sends messages to https://bot.example.com/nextcloud-talk, but the bot is at http://10.0.0.3:8460/nextcloud-talk now. Type this on the server:")

	// The network changes: no address is left.
	x.fake.change(func(b *fakeBackend) { b.local = nil })
	x.poke()
	x.tickNow()
	x.reads("This computer is in no network now.")
	take("My own proxy")
	x.reads("1 field needs attention. Nothing is saved until it is fixed.")
	p.write(t, "webhook.public_url", "https://bot.example.com")
	take("This computer")
	x.kit.Shortcut(ctrlS())
	x.idle()
	if x.fake.saved.Webhook.Listen != "127.0.0.1:8460" || x.fake.saved.Webhook.PublicURL != "" {
		t.Errorf("saved %+v", x.fake.saved.Webhook)
	}
}

func TestSettingsCommandToInstall(t *testing.T) {
	x, p := openSettings(t, newFake())
	masked := "sudo -u www-data php occ talk:bot:install -f webhook -f response -- Perch '••••••' http://127.0.0.1:8460/nextcloud-talk\nsudo -u www-data php occ talk:bot:setup BOT-ID TOKEN"
	x.reads(masked)
	test.Tap(x.buttonOf("Copy with secret"))
	if got := x.app.Clipboard().Content(); got != strings.ReplaceAll(masked, "••••••", "a-secret-of-more-than-forty-characters-for-tests") {
		t.Errorf("copied %s", got)
	}
	test.Tap(find(x, func(o *kit.Option) bool { return o.Title.Text == "Snap" }))
	x.reads(strings.ReplaceAll(masked, "sudo -u www-data php occ", "sudo nextcloud.occ"))

	p.write(t, "webhook.path", "bot")
	x.idle()
	x.reads("The command appears here once the problems are fixed.")
	p.write(t, "webhook.path", "/bot")
	x.idle()
	x.reads("sudo nextcloud.occ talk:bot:install -f webhook -f response -- Perch '••••••' http://127.0.0.1:8460/bot\nsudo nextcloud.occ talk:bot:setup BOT-ID TOKEN")

	x.fake.change(func(b *fakeBackend) {
		b.errs["Occ"] = &bridge.Error{Text: bridge.Say("The address is not known yet"), Hint: bridge.Say("Apply first.")}
		b.snapshot.Installed = ""
	})
	p.write(t, "webhook.path", "/other")
	x.tickNow()
	x.idle()
	x.reads("The address is not known yet.", "Apply first.")
}

// When Talk sends something after its secret has changed, the bot is installed
// with the new one.
func TestSettingsRenewedSecret(t *testing.T) {
	x, p := openSettings(t, newFake())
	test.Tap(x.buttonOf("Generate"))
	x.idle()
	if code := p.install.code.Text; !strings.HasPrefix(code, "sudo -u www-data php occ talk:bot:uninstall --url=") {
		t.Errorf("nothing takes the bot away: %s", code)
	}
	x.kit.Shortcut(ctrlS())
	x.idle()
	if !p.renewing() {
		t.Error("forgotten when it was saved")
	}
	x.fake.change(func(b *fakeBackend) { b.snapshot.Last.ReceivedAt = atTime().Add(time.Minute) })
	x.tickNow()
	x.idle()
	if p.renewing() || strings.Contains(p.install.code.Text, "uninstall") {
		t.Error("still to be installed, though Talk knows the secret")
	}
}

func TestSettingsModels(t *testing.T) {
	x, p := openSettings(t, newFake())
	test.Tap(find(x, func(o *kit.Option) bool { return o.Title.Text == "Language model" }))
	x.reads("2 fields need attention. Nothing is saved until they are fixed.")
	if !p.handler.listing.Disabled() {
		t.Error("models can be asked for without a server")
	}
	p.write(t, "handler.base_url", "http://127.0.0.1:11434/v1")
	test.Tap(x.buttonOf("Show models"))
	x.buttonOf("Asking…")
	x.idle()
	list := find(x, func(d *kit.Dropdown) bool { return slices.Equal(d.Options, []string{"llama3.2", "qwen3:8b"}) })
	list.SetSelectedIndex(1)
	if got := p.rowOf(t, "handler.model").entry.Text; got != "qwen3:8b" {
		t.Errorf("the model is %q", got)
	}
	p.write(t, "handler.model", "mine")
	if list.SelectedIndex() >= 0 {
		t.Error("a model of the list is selected, though another is typed")
	}
	x.shoot("settings-models")
	x.kit.Shortcut(ctrlS())
	x.idle()
	if h := x.fake.saved.Handler; h.Kind != config.LLM || h.Model != "mine" || h.Timeout != config.DefaultHandler(config.LLM).Timeout {
		t.Errorf("saved %+v", h)
	}
	x.fake.errs["Models"] = errors.New("connection refused")
	test.Tap(x.buttonOf("Show models"))
	x.idle()
	x.reads("Connection refused.")
	p.write(t, "handler.base_url", "http://127.0.0.1:1/v1")
	if p.handler.noModels.Visible() {
		t.Error("the error of another server is shown")
	}
}

func TestSettingsOwnCommands(t *testing.T) {
	x, p := openSettings(t, newFake())
	add := x.buttonOf("Add a command")
	test.Tap(add)
	name, is := x.window.Canvas().Focused().(*kit.Entry)
	if !is {
		t.Fatal("the cursor is not in the new command's name")
	}
	x.reads("2 fields need attention. Nothing is saved until they are fixed.")
	test.Type(name, "wifi")
	x.press(fyne.KeyTab, fyne.KeyTab)
	help, _ := x.window.Canvas().Focused().(*kit.Entry)
	test.Type(help, "how to get online")
	x.press(fyne.KeyTab)
	reply, _ := x.window.Canvas().Focused().(*kit.Entry)
	test.Type(reply, "On the fridge.")
	if reply.AcceptsTab() {
		t.Error("Tab is typed into an answer of several lines, and leads nowhere")
	}
	x.press(fyne.KeyTab)
	if x.window.Canvas().Focused() != fyne.Focusable(add) {
		t.Errorf("Tab leads from the answer to %T", x.window.Canvas().Focused())
	}
	test.Tap(add)
	if second, _ := x.window.Canvas().Focused().(*kit.Entry); second == name {
		t.Fatal("the cursor is in the first command")
	}
	second, _ := x.window.Canvas().Focused().(*kit.Entry)
	test.Type(second, "a b")
	if len(p.checked.errors) != 2 {
		t.Errorf("wrong are %v", p.checked.errors)
	}
	x.shoot("settings-commands")

	// The first one goes; the second moves up.
	test.Tap(x.buttonOf("Remove"))
	if name.Text != "a b" || reply.Text != "" {
		t.Errorf("the first command is %q: %q", name.Text, reply.Text)
	}
	test.Tap(x.buttonOf("Remove"))
	x.reads("Saved. Secrets are in GNOME Keyring.")
}

func TestSettingsFollowTheFile(t *testing.T) {
	x, p := openSettings(t, newFake())
	p.write(t, usersKey, "carol")
	x.fake.change(func(b *fakeBackend) {
		b.config.Talk.BaseURL = "https://elsewhere.example.com"
		b.config.Talk.AllowedUsers = []string{"dave"}
		b.login = true
	})
	x.tickNow()
	if got := p.rowOf(t, serverKey).entry.Text; got != "https://elsewhere.example.com" {
		t.Errorf("the server is %q", got)
	}
	if got := p.rowOf(t, usersKey).entry.Text; got != "carol" {
		t.Errorf("what was typed became %q", got)
	}
	x.reads("1 change is not saved yet.")
}

// What was changed elsewhere a moment ago is not undone by Apply.
func TestSettingsReadTheFileBeforeTheyWriteIt(t *testing.T) {
	x, p := openSettings(t, newFake())
	p.write(t, usersKey, "carol")
	x.fake.change(func(b *fakeBackend) {
		b.config.Talk.BaseURL = "https://elsewhere.example.com"
		b.config.Rooms = map[string]config.Room{"knzaftd5": {Enabled: true, AllowedUsers: []string{"bob"}}}
	})
	test.Tap(x.buttonOf("Apply"))
	x.idle()
	if c := x.fake.saved; c.Talk.BaseURL != "https://elsewhere.example.com" || len(c.Rooms) != 1 || !slices.Equal(c.Talk.AllowedUsers, []string{"carol"}) {
		t.Errorf("saved %+v", c)
	}
}

func TestSettingsOfABrokenFile(t *testing.T) {
	b := newFake()
	b.problems = []config.Problem{{File: "config.toml", Line: 7, Key: "webhok", Text: bridge.Say("unknown key"), Hint: bridge.Say("remove it")}}
	house := config.DefaultHandler(config.HTTP)
	b.config.Handlers = map[string]config.Handler{"house": house}
	x, p := openSettings(t, b)
	x.reads("1 field needs attention. Nothing is saved until it is fixed.", "config.toml needs attention", "remove it")
	all := strings.Join(x.texts(), "\n")
	for _, want := range []string{
		"config.toml:7: webhok: unknown key\nPerch continues without it. Apply rewrites the file and keeps the old one beside it.",
		"handlers.house.url: is required", "This form does not show that. Fix it in /home/me/.config/perch/config.toml",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not to be read", want)
		}
	}
	x.shoot("settings-broken")
	x.fake.change(func(b *fakeBackend) { b.config.Handlers = nil })
	x.tickNow()
	x.reads("config.toml needs attention.")
	test.Tap(x.buttonOf("Apply"))
	x.fake.change(func(b *fakeBackend) { b.problems = nil })
	x.idle()
	if !slices.Contains(x.fake.asked(), "Save") || p.elsewhere.Visible() {
		t.Errorf("asked for %v", x.fake.asked())
	}
}

func TestSettingsOfTheProgram(t *testing.T) {
	x, _ := openSettings(t, newFake())
	test.Tap(find(x, func(c *kit.Check) bool { return c.Text == "Start Perch when I log in" }))
	x.reads("1 change is not saved yet.")
	x.kit.Shortcut(ctrlS())
	x.idle()
	if asked := x.fake.asked(); !slices.Equal(asked, []string{"SetStartsAtLogin true"}) {
		t.Errorf("asked for %v", asked)
	}
	x.reads("Saved. Secrets are in GNOME Keyring.")
	x.fake.errs["SetStartsAtLogin"] = errors.New("no autostart here")
	test.Tap(find(x, func(c *kit.Check) bool { return c.Text == "Start Perch when I log in" }))
	x.kit.Shortcut(ctrlS())
	x.idle()
	x.reads("no autostart here", "1 change is not saved yet.")
}

// Tab goes through the form from top to bottom, and what has the focus can be
// seen.
func TestSettingsByKeyboard(t *testing.T) {
	x, p := openSettings(t, newFake())
	driver := x.app.Driver()
	top := func(o fyne.CanvasObject) float32 {
		return driver.AbsolutePositionForObject(o).Y + p.body.Scroll.Offset.Y
	}
	x.window.Canvas().Focus(p.rowOf(t, serverKey).entry)
	last, fields := float32(-1), 0
	for range 60 {
		focused := x.window.Canvas().Focused()
		o, is := focused.(fyne.CanvasObject)
		if !is {
			t.Fatal("Tab leads nowhere")
		}
		if _, rail := o.(*kit.RailItem); rail {
			break
		}
		fields++
		y := top(o)
		if y+2 < last {
			t.Errorf("%T at %.0f comes after %.0f", o, y, last)
		}
		last = y
		at, from := driver.AbsolutePositionForObject(o), driver.AbsolutePositionForObject(p.body)
		if at.Y < from.Y-1 || at.Y+o.Size().Height > from.Y+p.body.Size().Height+1 {
			t.Errorf("%T at %.0f is not in view", o, at.Y)
		}
		x.press(fyne.KeyTab)
	}
	if fields < 25 {
		t.Errorf("%d fields by Tab", fields)
	}

	// The ways are chosen with the arrows.
	x.window.Canvas().Focus(p.reaching.ways)
	x.press(fyne.KeyRight, fyne.KeyRight)
	if p.values.reach != reachProxy {
		t.Errorf("chosen is %d", p.values.reach)
	}
}
