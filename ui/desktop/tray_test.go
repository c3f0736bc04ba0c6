//go:build !headless && linux

package desktop

import (
	"bytes"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/widget"
	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/testenv"
	"perch/ui"
	"perch/ui/kit"
)

// watcherDouble is a panel: what tray icons announce themselves to, and what
// shows them.
type watcherDouble struct {
	t     *testing.T
	s     *session
	conn  *dbus.Conn
	props *prop.Properties

	mu    sync.Mutex
	items []dbus.BusObject
}

// newWatcher has a panel come.
func newWatcher(t *testing.T, s *session) *watcherDouble {
	t.Helper()
	w := newWatcherWithoutHost(t, s)
	w.showIcons()
	return w
}

func newWatcherWithoutHost(t *testing.T, s *session) *watcherDouble {
	t.Helper()
	w := &watcherDouble{t: t, s: s, conn: s.connect()}
	if err := w.conn.Export(w, watcherPath, watcher); err != nil {
		t.Fatal(err)
	}
	props, err := prop.Export(w.conn, watcherPath, prop.Map{watcher: {
		"IsStatusNotifierHostRegistered": {Value: false, Emit: prop.EmitTrue},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.props = props
	if reply, err := w.conn.RequestName(watcher, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("reply %v, error %v", reply, err)
	}
	return w
}

// showIcons has somebody come who shows what the watcher knows.
func (w *watcherDouble) showIcons() {
	w.t.Helper()
	w.props.SetMust(watcher, "IsStatusNotifierHostRegistered", true)
	if err := w.conn.Emit(watcherPath, watcher+".StatusNotifierHostRegistered"); err != nil {
		w.t.Fatal(err)
	}
}

// leave has the panel go.
func (w *watcherDouble) leave() { _ = w.conn.Close() }

// RegisterStatusNotifierItem is what an icon calls. It says a path of its own
// connection, or the name of one.
func (w *watcherDouble) RegisterStatusNotifierItem(service string, sender dbus.Sender) *dbus.Error {
	name, path := service, dbus.ObjectPath("/StatusNotifierItem")
	if strings.HasPrefix(service, "/") {
		name, path = string(sender), dbus.ObjectPath(service)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.items {
		if i.Destination() == name && i.Path() == path {
			return nil
		}
	}
	w.items = append(w.items, w.s.conn.Object(name, path))
	return nil
}

// item waits for the one icon.
func (w *watcherDouble) item() item {
	w.t.Helper()
	var i item
	eventually(w.t, "the icon was announced", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.items) > 1 {
			w.t.Fatalf("there are %d icons", len(w.items))
		}
		if len(w.items) == 1 {
			i = item{w.t, w.items[0], nil}
		}
		return len(w.items) == 1
	})
	path, ok := i.property("Menu").(dbus.ObjectPath)
	if !ok {
		w.t.Fatal("there is no menu")
	}
	i.menu = w.s.conn.Object(i.object.Destination(), path)
	return i
}

// item is the icon, as the panel asks for it.
type item struct {
	t      *testing.T
	object dbus.BusObject
	menu   dbus.BusObject
}

func (i item) property(name string) any {
	i.t.Helper()
	v, err := i.object.GetProperty("org.kde.StatusNotifierItem." + name)
	if err != nil {
		i.t.Fatal(err)
	}
	return v.Value()
}

// pixels returns what the icon looks like.
func (i item) pixels() []byte {
	i.t.Helper()
	pictures, ok := i.property("IconPixmap").([][]any)
	if !ok || len(pictures) == 0 {
		i.t.Fatalf("icon %T", i.property("IconPixmap"))
	}
	pixels, _ := pictures[0][2].([]byte)
	return pixels
}

func (i item) activate() {
	i.t.Helper()
	if err := i.object.Call("org.kde.StatusNotifierItem.Activate", 0, int32(0), int32(0)).Err; err != nil {
		i.t.Fatal(err)
	}
}

// entry is a line of the menu.
type entry struct {
	id      int32
	label   string
	enabled bool
}

// layout reads the menu, as a panel does when it is opened: its numbers change
// whenever it does.
func (i item) layout() (entries []entry) {
	i.t.Helper()
	var revision uint32
	var root struct {
		ID         int32
		Properties map[string]dbus.Variant
		Children   []dbus.Variant
	}
	err := i.menu.Call("com.canonical.dbusmenu.GetLayout", 0, int32(0), int32(-1), []string{}).Store(&revision, &root)
	if err != nil {
		i.t.Fatal(err)
	}
	for _, c := range root.Children {
		fields, _ := c.Value().([]any)
		e := entry{enabled: true}
		e.id, _ = fields[0].(int32)
		properties, _ := fields[1].(map[string]dbus.Variant)
		e.label, _ = properties["label"].Value().(string)
		if enabled, ok := properties["enabled"].Value().(bool); ok {
			e.enabled = enabled
		}
		if kind, _ := properties["type"].Value().(string); kind == "separator" {
			e.label = "-"
		}
		entries = append(entries, e)
	}
	return entries
}

// labels returns the lines of the menu, those that cannot be chosen in
// brackets.
func (i item) labels() string {
	i.t.Helper()
	entries := i.layout()
	var labels []string
	for _, e := range entries {
		if e.enabled {
			labels = append(labels, e.label)
		} else {
			labels = append(labels, "("+e.label+")")
		}
	}
	return strings.Join(labels, " | ")
}

// click chooses a line of the menu, once it is there.
func (i item) click(label string) {
	i.t.Helper()
	eventually(i.t, label+" is in the menu", func() bool {
		entries := i.layout()
		for _, e := range entries {
			if e.label == label && e.enabled {
				err := i.menu.Call("com.canonical.dbusmenu.Event", 0, e.id, "clicked", dbus.MakeVariant(""), uint32(0)).Err
				if err != nil && label != "Quit" { // which may be too quick to answer
					i.t.Fatal(err)
				}
				return true
			}
		}
		return false
	})
}

// notifications is what shows them.
type notifications struct {
	t    *testing.T
	mu   sync.Mutex
	seen []string
}

func newNotifications(t *testing.T, s *session) *notifications {
	t.Helper()
	n := &notifications{t: t}
	conn := s.connect()
	if err := conn.Export(n, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.Notifications", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return n
}

// Notify is what a program calls.
func (n *notifications) Notify(_ string, _ uint32, _, title, _ string, _ []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, title)
	return 1, nil
}

func (n *notifications) titles() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.seen...)
}

func (n *notifications) saw(title string) {
	n.t.Helper()
	eventually(n.t, "the notification "+title, func() bool { return strings.Contains(strings.Join(n.titles(), "\n"), title) })
}

const menuOfRunning = "(It is running) | - | Open Perch | Pause… | (Copy address) | - | Run doctor | Settings | - | Quit"

func TestTrayMenu(t *testing.T) {
	s := newSession(t)
	tray := newWatcher(t, s)
	p := s.start(config.CloseHides)
	s.visible(true)
	i := tray.item()
	becomes := func(labels string) {
		t.Helper()
		eventually(t, "the menu is "+labels, func() bool { return i.labels() == labels })
	}
	becomes(menuOfRunning)
	if title, id := i.property("Title"), i.property("Id"); title != "Perch" || id != "Perch" {
		t.Errorf("title %q, id %q", title, id)
	}

	// It changes with the state, in shape too, and not with messages.
	now := i.pixels()
	looks := map[string][]byte{"running": now}
	for _, state := range []string{"degraded", "failed", "paused"} {
		p.say("state " + state)
		turn := "Pause…"
		if state == "paused" {
			turn = "Resume"
		}
		becomes(strings.NewReplacer("running", state, "Pause…", turn).Replace(menuOfRunning))
		eventually(t, "the icon is another one", func() bool { return !bytes.Equal(i.pixels(), now) })
		now = i.pixels()
		looks[state] = now
	}
	for a, x := range looks {
		for b, y := range looks {
			if a != b && bytes.Equal(x, y) {
				t.Errorf("%s and %s look the same", a, b)
			}
		}
	}
	p.say("state running")
	becomes(menuOfRunning)
	first := func() int32 { // number of the first line: a menu that is built anew has higher ones
		entries := i.layout()
		return entries[0].id
	}
	const with = "(It is running) | - | Open Perch | Pause… | Copy address | - | Run doctor | Settings | - | Quit"
	before := first()
	p.say("message hello")
	p.says("messages seen")
	p.say("address https://perch.example.com/nextcloud-talk")
	becomes(with)
	once := first() - before
	p.say("message hello")
	p.says("messages seen")
	p.say("address https://perch.example.com/other")
	eventually(t, "the menu is another one", func() bool { return first() != before+once && i.labels() == with })
	if twice := first() - before; twice != 2*once || once != int32(strings.Count(with, "|")+1) {
		t.Errorf("the menu was built more often than it changed: %d lines, then %d", once, twice)
	}

	// A pause is asked about, as messages would be lost.
	const question = "Pause Perch?"
	i.click("Pause…")
	p.asked(question)
	s.key("Escape")
	p.answered(question)
	i.click("Pause…")
	p.asked(question)
	s.key("Return")
	p.says("pause")
	if strings.Count(p.out.String(), "pause\n") != 1 {
		t.Error("it was paused twice")
	}
	i.click("Resume")
	p.says("resume")
	s.closeWindow()
	s.visible(false)
	i.click("Run doctor")
	p.says("doctor")
	s.visible(true)
	i.click("Quit")
	p.ended()
}

// The icon is there whenever a panel is.
func TestTrayHosts(t *testing.T) {
	s := newSession(t)
	p := s.start(config.CloseHides)
	s.visible(true) // and there is no panel yet
	for range 3 {
		p.says("msg=tray shown=false")
		tray := newWatcherWithoutHost(t, s)
		i := tray.item()
		eventually(t, "the menu is there", func() bool { return i.labels() == menuOfRunning })
		s.closeWindow()
		p.asked(question) // as nobody shows the icon yet
		s.key("Escape")
		p.answered(question)
		tray.showIcons()
		p.says("msg=tray shown=true")
		s.closeWindow()
		s.visible(false)
		i.click("Open Perch")
		s.visible(true)
		tray.leave()
	}
	p.say("stop")
	p.ended()
}

// The keychain's prompt makes the driver deaf to panels that come.
func TestTrayAfterKeychainPrompt(t *testing.T) {
	testenv.NeedPrograms(t, "gnome-keyring-daemon", "secret-tool")
	s := newSession(t)
	keychain := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets")
	keychain.Stdin = strings.NewReader("pw")
	s.daemon(keychain)
	eventually(t, "a secret is stored", func() bool {
		store := s.command("secret-tool", "store", "--label=test", "service", "perch", "username", "webhook_secret")
		store.Stdin = strings.NewReader("a secret")
		return store.Run() == nil
	})
	tray := newWatcher(t, s)
	p := s.start(config.CloseHides)
	s.visible(true)
	tray.item()
	p.say("keychain")
	p.says("keychain <nil>")
	refusePrompts(t, s)
	var locked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	err := s.conn.Object("org.freedesktop.secrets", "/org/freedesktop/secrets").
		Call("org.freedesktop.Secret.Service.Lock", 0, []dbus.ObjectPath{"/org/freedesktop/secrets/collection/login"}).
		Store(&locked, &prompt)
	if err != nil || len(locked) != 1 {
		t.Fatalf("locked %v, error %v", locked, err)
	}
	p.say("keychain") // asks for the password, and is turned away
	p.says("keychain failed to unlock")
	tray.leave()
	i := newWatcher(t, s).item()
	eventually(t, "the menu is there", func() bool { return i.labels() == menuOfRunning })
	i.click("Quit")
	p.ended()
}

// refusePrompts takes the part of the desktop that asks for passwords.
func refusePrompts(t *testing.T, s *session) {
	t.Helper()
	conn := s.connect()
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

// What the menu does without a bus: the address is copied, the window opens, and
// an error is told.
func TestMenuActions(t *testing.T) {
	b := &bot{changed: make(chan struct{}), config: config.Default()}
	p := &program{o: Options{Backend: b, Log: slog.New(slog.DiscardHandler)}, ctx: t.Context(), app: test.NewTempApp(t)}
	p.app.Settings().SetTheme(kit.NewTheme())
	p.window = p.app.NewWindow("Perch")
	p.content = ui.New(b, ui.Options{App: p.app, Window: p.window})
	p.window.SetContent(p.content.Content())
	p.window.Resize(fyne.NewSize(1080, 700))
	m := p.menu(face{status: "Running", address: "https://perch.example.com/nextcloud-talk", state: bridge.StatePaused})
	choose := func(label string) {
		t.Helper()
		for _, i := range m.Items {
			if i.Label == label && !i.Disabled {
				i.Action()
				return
			}
		}
		t.Errorf("%q is not in the menu", label)
	}
	choose("Copy address")
	if got := p.app.Clipboard().Content(); got != "https://perch.example.com/nextcloud-talk" {
		t.Errorf("copied %q", got)
	}
	p.hidden = true
	choose("Open Perch")
	if p.hidden {
		t.Error("the window stays hidden")
	}

	b.failure = &bridge.Error{Text: bridge.Say("it cannot"), Hint: bridge.Say("so wait")}
	choose("Resume")
	p.tasks.Wait()
	asked := p.window.Canvas().Overlays().Top()
	if asked == nil {
		t.Fatal("the error is not told")
	}
	if text := test.LaidOutObjects(asked); !says(text, "it cannot\n\nso wait") {
		t.Error("the error is told in other words")
	}
	test.Tap(p.window.Canvas().Focused().(*answer))
	if p.window.Canvas().Overlays().Top() != nil || p.asking {
		t.Error("the question stays")
	}
}

func says(objects []fyne.CanvasObject, text string) bool {
	return slices.ContainsFunc(objects, func(o fyne.CanvasObject) bool {
		l, ok := o.(*widget.Label)
		return ok && l.Text == text
	})
}
