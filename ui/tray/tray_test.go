//go:build !headless && linux

package tray

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"perch/bridge/config"
	"perch/bridge/testenv"
	"perch/ui/session/sessiontest"
)

const menuOfRunning = "(It is running) | - | Open Perch | Pause… | (Copy address) | - | Run doctor | Settings | - | Quit"

func TestTrayMenu(t *testing.T) {
	s := sessiontest.New(t)
	panel := sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	i := panel.Icon()
	becomes(t, i, menuOfRunning)
	if title, id := i.Property("Title"), i.Property("Id"); title != "Perch" || id != "Perch" {
		t.Errorf("title %q, id %q", title, id)
	}

	// It changes with the state, in shape too, and not with messages.
	now := i.Pixels()
	looks := map[string][]byte{"running": now}
	for _, state := range []string{"degraded", "failed", "paused"} {
		p.Tell("state " + state)
		turn := "Pause…"
		if state == "paused" {
			turn = "Resume"
		}
		becomes(t, i, strings.NewReplacer("running", state, "Pause…", turn).Replace(menuOfRunning))
		sessiontest.Eventually(t, "the icon is another one", func() bool { return !bytes.Equal(i.Pixels(), now) })
		now = i.Pixels()
		looks[state] = now
	}
	for a, x := range looks {
		for b, y := range looks {
			if a != b && bytes.Equal(x, y) {
				t.Errorf("%s and %s look the same", a, b)
			}
		}
	}
	p.Tell("state running")
	becomes(t, i, menuOfRunning)
	before := i.Revision()
	p.Tell("message hello")
	p.Says("messages seen")
	p.Tell("address https://perch.example.com/nextcloud-talk")
	becomes(t, i, strings.Replace(menuOfRunning, "(Copy address)", "Copy address", 1))
	once := i.Revision() - before
	p.Tell("message hello")
	p.Says("messages seen")
	p.Tell("address ")
	becomes(t, i, menuOfRunning)
	if twice := i.Revision() - before; twice != 2*once {
		t.Errorf("the menu changed %d times with an address, and %d times until it was gone", once, twice)
	}

	// A pause is asked about, as messages would be lost.
	const question = "Pause Perch?"
	i.Click("Pause…")
	p.asked(t, question)
	s.Key("Escape")
	p.answered(t, question)
	i.Click("Pause…")
	p.asked(t, question)
	s.Key("Return")
	p.Says("pause")
	if strings.Count(p.Output(), "pause\n") != 1 {
		t.Error("it was paused twice")
	}
	i.Click("Resume")
	p.Says("resume")
	s.CloseWindow()
	s.Visible(false)
	i.Click("Run doctor")
	p.Says("doctor")
	s.Visible(true)
	i.Click("Quit")
	p.Ended()
	s.Visible(false)
}

// The icon is there whenever a panel is.
func TestTrayHosts(t *testing.T) {
	s := sessiontest.New(t)
	p := start(t, s, config.CloseHides)
	s.Visible(true) // and there is no panel yet
	for range 3 {
		p.Says("msg=tray shown=false")
		panel := sessiontest.NewPanelWithoutHost(t, s)
		i := panel.Icon()
		sessiontest.Eventually(t, "the menu is there", func() bool { return i.Labels() == menuOfRunning })
		s.CloseWindow()
		p.asked(t, question) // as nobody shows the icon yet
		s.Key("Escape")
		p.answered(t, question)
		panel.ShowIcons()
		p.Says("msg=tray shown=true")
		s.CloseWindow()
		s.Visible(false)
		i.Click("Open Perch")
		s.Visible(true)
		panel.Leave()
	}
	p.Tell("stop")
	p.Ended()
}

// The keychain's prompt makes the driver deaf to panels that come.
func TestTrayAfterKeychainPrompt(t *testing.T) {
	testenv.NeedPrograms(t, "gnome-keyring-daemon", "secret-tool")
	s := sessiontest.New(t)
	keychain := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	keychain.Stdin = strings.NewReader("pw")
	s.Daemon(keychain)
	sessiontest.Eventually(t, "a secret is stored", func() bool {
		store := s.Command("secret-tool", "store", "--label=test", "service", "perch", "username", "webhook_secret")
		store.Stdin = strings.NewReader("a secret")
		return store.Run() == nil
	})
	panel := sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	panel.Icon()
	p.Tell("keychain")
	p.Says("keychain <nil>")
	refusePrompts(t, s)
	var locked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	err := s.Conn.Object("org.freedesktop.secrets", "/org/freedesktop/secrets").
		Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{"/org/freedesktop/secrets/collection/login"}).
		Store(&locked, &prompt)
	if err != nil || len(locked) != 1 {
		t.Fatalf("locked %v, error %v", locked, err)
	}
	p.Tell("keychain") // asks for the password, and is turned away
	p.Says("keychain failed to unlock")
	panel.Leave()
	i := sessiontest.NewPanel(t, s).Icon()
	sessiontest.Eventually(t, "the menu is there", func() bool { return i.Labels() == menuOfRunning })
	i.Click("Quit")
	p.Ended()
}

// refusePrompts takes the part of the desktop that asks for passwords.
func refusePrompts(t *testing.T, s *sessiontest.Session) {
	t.Helper()
	conn := s.Connect()
	if err := conn.Export(prompter{}, "/org/gnome/keyring/Prompter", "org.gnome.keyring.internal.Prompter"); err != nil {
		t.Fatal(err)
	}
	reply, err := conn.RequestName("org.gnome.keyring.SystemPrompter", dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("reply %v, error %v", reply, err)
	}
}

type prompter struct{}

// BeginPrompting is what the keychain calls to show a prompt.
func (prompter) BeginPrompting(dbus.ObjectPath) *dbus.Error {
	return dbus.MakeFailedError(dbus.ErrClosed)
}
