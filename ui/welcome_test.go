package ui

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// newComer returns a bot that is not set up.
func newComer() *fakeBackend {
	b := newFake()
	b.config, b.exists = config.Default(), false
	b.secrets = map[string]bridge.Secret{}
	b.snapshot = bridge.Snapshot{State: bridge.StateNew, Title: bridge.Say("Not set up yet"), Detail: bridge.Say("Perch needs to know your Nextcloud and whom it may answer.")}
	return b
}

func (x *tested) welcome() *welcomePage {
	x.t.Helper()
	w, is := x.pages[PageWelcome].(*welcomePage)
	if !is {
		x.t.Fatal("no first steps")
	}
	return w
}

// running makes the bot run with what is saved, as the program does.
func (x *tested) running() {
	x.fake.change(func(b *fakeBackend) {
		b.snapshot.State, b.snapshot.Title = bridge.StateRunning, bridge.Say("Running")
		b.snapshot.Address = b.config.Webhook.Address()
	})
	x.tickNow()
	x.idle()
}

func (x *tested) hears() {
	x.fake.change(func(b *fakeBackend) { b.snapshot.Last = newFake().snapshot.Last })
	x.tickNow()
	x.idle()
}

func TestWelcomeByMouse(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x := openIn(t, newComer(), v)
		w := x.welcome()
		x.idle()
		x.reads("First steps", "Step 1 of 7", "The address of your Nextcloud, as in the browser.")
		x.looks("welcome")
		x.isDrawnIn(v)
		x.shoot("welcome-1-" + name)
		test.Tap(x.buttonOf("Next"))
		x.reads("Step 1 of 7", "Is required, such as https://cloud.example.com.")
		w.write(t, serverKey, "https://cloud.example.com")
		test.Tap(x.buttonOf("Test connection"))
		x.idle()
		x.reads("Server answers  status.php: Nextcloud 32.0.1, not in maintenance")
		x.shoot("welcome-tested-" + name)
		test.Tap(x.buttonOf("Next"))

		x.reads("Step 2 of 7", "https://cloud.example.com")
		test.Tap(x.buttonOf("Next"))
		x.reads("Step 2 of 7")
		w.write(t, usersKey, "alice")
		test.Tap(x.buttonOf("Next"))

		x.reads("Step 3 of 7", "alice")
		test.Tap(find(x, func(o *kit.Option) bool { return o.Title.Text == "Same network" }))
		x.shoot("welcome-3-" + name)
		test.Tap(x.buttonOf("Next"))

		x.reads("Step 4 of 7", "Same network · http://192.168.1.20:8460/nextcloud-talk")
		x.shoot("welcome-4-" + name)
		if len(x.fake.saved.Talk.BaseURL) > 0 {
			t.Error("saved before it was asked for")
		}
		test.Tap(x.buttonOf("Create the secret and start"))
		x.idle()
		x.running()

		if asked := x.fake.asked(); !slices.Equal(asked, []string{"TestServer", "SetSecret webhook_secret", "Save"}) {
			t.Errorf("asked for %v", asked)
		}
		x.reads("Step 5 of 7", "Stored in GNOME Keyring.")
		masked := "sudo -u www-data php occ talk:bot:install -f webhook -f response -- Perch '••••••' http://192.168.1.20:8460/nextcloud-talk\nsudo -u www-data php occ talk:bot:setup BOT-ID TOKEN"
		x.reads(masked)
		test.Tap(x.buttonOf("Copy with secret"))
		if got := x.app.Clipboard().Content(); got != strings.ReplaceAll(masked, "••••••", x.backend.NewSecret().Reveal()) {
			t.Errorf("copied %s", got)
		}
		if strings.Contains(x.markup(), x.backend.NewSecret().Reveal()) {
			t.Error("the secret can be read")
		}
		x.looks("welcome-install")
		x.isDrawnIn(v)
		x.shoot("welcome-5-" + name)
		test.Tap(x.buttonOf("I have typed it"))

		x.reads("Step 6 of 7")
		x.shoot("welcome-6-" + name)
		test.Tap(x.buttonOf("It is enabled"))

		x.reads("Step 7 of 7", "Write !ping in the conversation. Perch waits for it here.")
		x.shoot("welcome-7-" + name)
		x.hears()
		x.reads("All done: the bot has received its first message.", "Alice wrote in Kitchen at 14:35. The bot is working.")
		x.shoot("welcome-8-" + name)
		test.Tap(x.buttonOf("To the overview"))
		if x.current != PageOverview {
			t.Errorf("leads to page %d", x.current)
		}
	})
}

func TestWelcomeByKeyboard(t *testing.T) {
	x := open(t, newComer())
	w := x.welcome()
	x.idle()
	focused := func() fyne.Focusable { return x.window.Canvas().Focused() }
	tabTo := func(want fyne.Focusable) {
		t.Helper()
		for range 30 {
			if focused() == want {
				return
			}
			x.press(fyne.KeyTab)
		}
		t.Fatalf("Tab does not lead to %T", want)
	}
	server, users := w.rowOf(t, serverKey).entry, w.rowOf(t, usersKey).entry
	tabTo(server)
	test.Type(server, "https://cloud.example.com")
	x.press(fyne.KeyReturn)
	if focused() != fyne.Focusable(users) {
		t.Fatalf("Enter leads to %T", focused())
	}
	test.Type(users, "alice")
	x.press(fyne.KeyReturn)
	if focused() != fyne.Focusable(w.reaching.ways) {
		t.Fatalf("Enter leads to %T", focused())
	}
	x.press(fyne.KeyHome, fyne.KeyRight)
	tabTo(x.buttonOf("Next"))
	x.press(fyne.KeySpace)
	tabTo(w.starting)
	x.press(fyne.KeyReturn)
	x.idle()
	x.running()
	if x.fake.saved.Webhook.Listen != "192.168.1.20:8460" {
		t.Errorf("saved %+v", x.fake.saved.Webhook)
	}
	tabTo(x.buttonOf("Copy with secret"))
	x.press(fyne.KeyReturn)
	tabTo(x.buttonOf("I have typed it"))
	x.press(fyne.KeyReturn)
	if focused() != fyne.Focusable(x.buttonOf("It is enabled")) {
		t.Fatalf("Enter leads to %T", focused())
	}
	x.press(fyne.KeyReturn)
	x.hears()
	tabTo(x.buttonOf("To the overview"))
	x.press(fyne.KeyReturn)
	if x.current != PageOverview {
		t.Errorf("leads to page %d", x.current)
	}
}

// The steps can be left in the middle and found again, and what was typed is in
// the settings, too.
func TestWelcomeLeftAndFound(t *testing.T) {
	x := open(t, newComer())
	w := x.welcome()
	x.idle()
	w.write(t, serverKey, "https://cloud.example.com")
	test.Tap(x.buttonOf("Next"))
	test.Tap(x.buttonOf("Later"))
	x.reads("Not set up yet")
	if b := x.shell.badges[PageSettings]; b.Text == "" {
		t.Error("the rail says nothing of what is not saved")
	}
	x.Show(PageSettings)
	x.idle()
	if got := x.settings().rowOf(t, serverKey).entry.Text; got != "https://cloud.example.com" {
		t.Errorf("the settings have %q", got)
	}
	x.settings().write(t, usersKey, "alice")
	x.Show(PageOverview)
	test.Tap(x.buttonOf("Set up…"))
	x.idle()
	x.reads("Step 2 of 7", "https://cloud.example.com")
	if got := w.rowOf(t, usersKey).entry.Text; got != "alice" {
		t.Errorf("the user is %q", got)
	}
	test.Tap(x.buttonOf("Next"))
	x.reads("Step 3 of 7")

	// An earlier step can be changed.
	test.Tap(x.buttonOf("Change"))
	w.write(t, serverKey, "https://other.example.com")
	test.Tap(x.buttonOf("Next"))
	x.reads("Step 3 of 7", "https://other.example.com")
}

func TestWelcomeOfABotThatRuns(t *testing.T) {
	x := open(t, newFake())
	x.Show(PageSettings)
	x.idle()
	test.Tap(x.buttonOf("Show me the steps…"))
	x.idle()
	x.reads("All done: the bot has received its first message.", "https://cloud.example.com", "alice, bob", "Cloudflare tunnel · https://bot.example.com/nextcloud-talk")

	// What is changed now is to be saved.
	test.Tap(x.buttonOf("Change"))
	x.welcome().write(t, serverKey, "https://other.example.com")
	test.Tap(x.buttonOf("Next"))
	x.reads("Step 4 of 7")
	test.Tap(x.buttonOf("Save and start"))
	x.idle()
	x.reads("All done: the bot has received its first message.")
	if x.fake.saved.Talk.BaseURL != "https://other.example.com" {
		t.Errorf("saved %+v", x.fake.saved.Talk)
	}
}

func TestWelcomeTroubles(t *testing.T) {
	b := newComer()
	b.errs["SecretPlace"] = &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("the keychain is locked"), Hint: bridge.Say("unlock it")}
	x := open(t, b)
	w := x.welcome()
	x.idle()
	w.write(t, serverKey, "https://cloud.example.com")
	test.Tap(x.buttonOf("Next"))
	w.write(t, usersKey, "alice")
	test.Tap(x.buttonOf("Next"))
	test.Tap(x.buttonOf("Next"))
	x.reads("Step 4 of 7", "The keychain is locked.", "unlock it")
	if !w.starting.Disabled() {
		t.Error("it can be started without a keychain")
	}
	x.shoot("welcome-locked")
	delete(x.fake.errs, "SecretPlace")
	test.Tap(x.buttonOf("Try again"))
	x.idle()

	x.fake.errs["SetSecret"] = errors.New("no space in the keychain")
	test.Tap(x.buttonOf("Create the secret and start"))
	x.idle()
	x.reads("Step 4 of 7", "no space in the keychain")
	if slices.Contains(x.fake.asked(), "Save") {
		t.Error("saved without a secret")
	}
	delete(x.fake.errs, "SetSecret")
	w.takeKind(config.LLM) // as in the settings
	w.edited()
	x.reads("Something else in the settings needs attention first.")
	w.takeKind(config.Commands)
	w.edited()
	test.Tap(w.starting)
	x.idle()
	x.fake.change(func(b *fakeBackend) {
		b.snapshot.State, b.snapshot.Title = bridge.StateFailed, bridge.Say("Stopped")
		b.snapshot.Detail, b.snapshot.Fix = bridge.Say("the port is taken"), bridge.Say("choose another")
	})
	x.tickNow()
	x.idle()
	x.reads("Step 5 of 7", "Stopped. The port is taken.", "choose another")
	x.shoot("welcome-failed")
}

func TestProgress(t *testing.T) {
	all := [firstSteps]bool{true, true, true, true, true, true, true}
	heard := newFake().snapshot
	for name, tt := range map[string]struct {
		change func(f *form)
		bot    bridge.Snapshot
		passed [firstSteps]bool
		next   int
	}{
		"saved":                 {func(*form) {}, bridge.Snapshot{}, [firstSteps]bool{}, stepInstall},
		"typed":                 {func(*form) {}, bridge.Snapshot{}, [firstSteps]bool{stepInstall: true}, stepEnable},
		"enabled":               {func(*form) {}, bridge.Snapshot{}, all, stepMessage},
		"installed":             {func(*form) {}, bridge.Snapshot{Installed: "https://bot.example.com"}, [firstSteps]bool{}, stepEnable},
		"heard":                 {func(*form) {}, heard, [firstSteps]bool{}, firstSteps},
		"new":                   {func(f *form) { f.exists = false }, bridge.Snapshot{}, [firstSteps]bool{}, stepServer},
		"new, server typed":     {func(f *form) { f.exists = false }, bridge.Snapshot{}, [firstSteps]bool{stepServer: true}, stepUsers},
		"new, all typed":        {func(f *form) { f.exists = false }, bridge.Snapshot{}, all, stepStart},
		"wrong server":          {func(f *form) { f.set(serverKey, "x") }, heard, all, stepServer},
		"nobody":                {func(f *form) { f.set(usersKey, "") }, heard, all, stepUsers},
		"no proxy":              {func(f *form) { f.takeReach(reachProxy, nil) }, heard, all, stepReach},
		"tunnel without token":  {func(f *form) { named(f); f.secrets[bridge.TunnelToken].stored = false }, heard, all, stepReach},
		"not saved":             {func(f *form) { f.set(usersKey, "carol") }, heard, all, stepStart},
		"no secret":             {func(f *form) { f.secrets[bridge.WebhookSecret].stored = false }, heard, all, stepStart},
		"secret cannot be read": {func(f *form) { f.secrets[bridge.WebhookSecret].err = errors.New("locked") }, heard, all, stepStart},
		"secret not looked at":  {func(f *form) { f.secrets[bridge.WebhookSecret] = &secretValue{} }, heard, all, stepStart},
	} {
		f := formOf(saved())
		tt.change(f)
		if got := next(f.progress(f.check(noSecretErrors), tt.bot, tt.passed)); got != tt.next {
			t.Errorf("%s: next is step %d, want %d", name, got+1, tt.next+1)
		}
	}
}

func named(f *form) {
	f.takeReach(reachTunnel, nil)
	f.set(tunnelKey, string(config.TunnelNamed))
	f.set(hostnameKey, "bot.example.com")
}
