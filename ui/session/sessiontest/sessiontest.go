//go:build !headless && linux

// Package sessiontest has desktop sessions for tests: a screen, a bus, a panel,
// and programs of a person who uses them.
package sessiontest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"perch/bridge/testenv"
)

// Eventually waits until done is true.
func Eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(testenv.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still not so after %v: %s", testenv.Patience, what)
		}
	}
}

const (
	watcher     = "org.kde.StatusNotifierWatcher"
	watcherPath = "/StatusNotifierWatcher"
)

// Session is a desktop session of its own: a screen with a window manager, a
// bus and a home.
type Session struct {
	t       *testing.T
	Display string
	Bus     string
	Home    string
	Conn    *dbus.Conn // to the bus
}

// New starts a session, which ends with the test.
func New(t *testing.T) *Session {
	t.Helper()
	testenv.NeedPrograms(t, "Xvfb", "openbox", "xdotool", "dbus-daemon")
	s := &Session{t: t, Home: t.TempDir()}
	life := context.WithoutCancel(t.Context()) // they end after what needs them
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	screen := exec.CommandContext(life, "Xvfb", "-displayfd", "3", "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset")
	screen.ExtraFiles = []*os.File{w}
	s.Daemon(screen)
	_ = w.Close()
	s.Display = ":" + firstLine(t, r)

	bus := exec.CommandContext(life, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Daemon(bus)
	s.Bus = firstLine(t, out)
	s.Conn = s.Connect()
	s.Daemon(exec.CommandContext(life, "openbox", "--sm-disable"))
	Eventually(t, "the window manager is there", func() bool {
		out, err := s.Command("xprop", "-root", "_NET_SUPPORTING_WM_CHECK").Output()
		return err == nil && strings.Contains(string(out), "window id")
	})
	return s
}

// Bare is a session without a bus, at a display that need not be there.
func Bare(t *testing.T, display string) *Session {
	t.Helper()
	return &Session{t: t, Home: t.TempDir(), Display: display, Bus: "unix:path=/nonexistent"}
}

// Daemon starts what runs until the end of the test.
func (s *Session) Daemon(cmd *exec.Cmd) {
	s.t.Helper()
	cmd.Env = s.Environment()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// Environment is that of the programs of the session.
func (s *Session) Environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.Home, "XDG_RUNTIME_DIR=" + s.Home, "PERCH_HOME=" + s.Home,
		"DISPLAY=" + s.Display, "DBUS_SESSION_BUS_ADDRESS=" + s.Bus, "LIBGL_ALWAYS_SOFTWARE=1", "LANG=C.UTF-8",
	}
}

// Command returns a program of the session, which ends with the test.
func (s *Session) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), name, args...)
	cmd.Env = s.Environment()
	return cmd
}

// Connect returns a connection to the bus.
func (s *Session) Connect() *dbus.Conn {
	s.t.Helper()
	conn, err := dbus.Connect(s.Bus)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func firstLine(t *testing.T, r io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// Windows returns the visible windows whose title begins with Perch.
func (s *Session) Windows() []string {
	out, _ := s.Command("xdotool", "search", "--onlyvisible", "--name", "^Perch").Output() // 1 if there is none
	return strings.Fields(string(out))
}

// Visible waits until there is one window, or none.
func (s *Session) Visible(yes bool) {
	s.t.Helper()
	what := "the window is hidden"
	if yes {
		what = "the window is visible"
	}
	Eventually(s.t, what, func() bool { return (len(s.Windows()) == 1) == yes })
}

// Key presses keys in the window.
func (s *Session) Key(keys ...string) {
	s.t.Helper()
	window := s.Windows()
	if len(window) != 1 {
		s.t.Fatalf("windows %v", window)
	}
	args := append([]string{"windowactivate", "--sync", window[0], "key", "--clearmodifiers"}, keys...)
	if out, err := s.Command("xdotool", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// CloseWindow does what a click on the window's cross does.
func (s *Session) CloseWindow() {
	s.t.Helper()
	s.Key("alt+F4")
}

// Program is a program under test, with what it starts.
type Program struct {
	*Session

	Cmd  *exec.Cmd
	Done chan struct{} // it ended
	in   io.Writer
	out  string // the file that it writes to
	read int    // how much of that was waited for
}

// Start starts a program with more in its environment.
func (s *Session) Start(environment []string, name string, args ...string) *Program {
	s.t.Helper()
	out, err := os.CreateTemp(s.t.TempDir(), "output")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	p := &Program{Session: s, Cmd: s.Command(name, args...), out: out.Name(), Done: make(chan struct{})}
	p.Cmd.Dir = s.Home
	p.Cmd.Env = append(append(p.Cmd.Env, "GORACE=exitcode=0"), environment...) // see races
	p.Cmd.Stdout, p.Cmd.Stderr = out, out
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.in, err = p.Cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := p.Cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait()
		close(p.Done)
	}()
	s.t.Cleanup(func() {
		_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
		<-p.Done
		p.races()
		if s.t.Failed() {
			s.t.Logf("the program wrote:\n%s", p.Output())
		}
	})
	return p
}

// Output returns what the program has written.
func (p *Program) Output() string {
	p.t.Helper()
	data, err := os.ReadFile(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

// races looks at what the race detector saw. The driver's tray has some of its
// own, when a panel asks for the menu, or for the icon while it changes.
func (p *Program) races() {
	for report := range strings.SplitSeq(p.Output(), "==================") {
		own := slices.ContainsFunc([]string{"systray.(*tray).GetLayout.func1()", "systray.argbForImage()", "systray.SetIcon()"}, func(f string) bool {
			return strings.Contains(report, "fyne.io/"+f)
		})
		if strings.Contains(report, "DATA RACE") && !own {
			p.t.Error(report)
		}
	}
}

// Tell writes a line to the program.
func (p *Program) Tell(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// Says waits for a line of the program that begins so, after those that were
// waited for before.
func (p *Program) Says(line string) {
	p.t.Helper()
	Eventually(p.t, fmt.Sprintf("it says %q", line), func() bool {
		_, after, ok := strings.Cut("\n"+p.Output()[p.read:], "\n"+line)
		if ok {
			p.read = len(p.Output()) - len(after)
		}
		return ok
	})
}

// Ended waits for the orderly end of the program.
func (p *Program) Ended() {
	p.t.Helper()
	select {
	case <-p.Done:
	case <-time.After(testenv.Patience):
		p.t.Fatal("it does not end")
	}
	if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("exit code %d", code)
	}
}

// Running says that the program has not ended.
func (p *Program) Running() {
	p.t.Helper()
	select {
	case <-p.Done:
		p.t.Fatal("it ended")
	default:
	}
}

// Panel is a panel: what tray icons announce themselves to, and what
// shows them.
type Panel struct {
	t     *testing.T
	s     *Session
	conn  *dbus.Conn
	props *prop.Properties

	mu    sync.Mutex
	items []dbus.BusObject
}

// NewPanel has a panel come.
func NewPanel(t *testing.T, s *Session) *Panel {
	t.Helper()
	w := NewPanelWithoutHost(t, s)
	w.ShowIcons()
	return w
}

// NewPanelWithoutHost has a panel come that shows no icons yet.
func NewPanelWithoutHost(t *testing.T, s *Session) *Panel {
	t.Helper()
	w := &Panel{t: t, s: s, conn: s.Connect()}
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

// ShowIcons has somebody come who shows what the watcher knows.
func (w *Panel) ShowIcons() {
	w.t.Helper()
	w.props.SetMust(watcher, "IsStatusNotifierHostRegistered", true)
	if err := w.conn.Emit(watcherPath, watcher+".StatusNotifierHostRegistered"); err != nil {
		w.t.Fatal(err)
	}
}

// Leave has the panel go.
func (w *Panel) Leave() { _ = w.conn.Close() }

// RegisterStatusNotifierItem is what an icon calls. It says a path of its own
// connection, or the name of one.
func (w *Panel) RegisterStatusNotifierItem(service string, sender dbus.Sender) *dbus.Error {
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
	w.items = append(w.items, w.s.Conn.Object(name, path))
	return nil
}

// Icon waits for the one icon.
func (w *Panel) Icon() Icon {
	w.t.Helper()
	var i Icon
	Eventually(w.t, "the icon was announced", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.items) > 1 {
			w.t.Fatalf("there are %d icons", len(w.items))
		}
		if len(w.items) == 1 {
			i = Icon{w.t, w.items[0], nil}
		}
		return len(w.items) == 1
	})
	path, ok := i.Property("Menu").(dbus.ObjectPath)
	if !ok {
		w.t.Fatal("there is no menu")
	}
	i.menu = w.s.Conn.Object(i.object.Destination(), path)
	return i
}

// Icon is the icon, as the panel asks for it.
type Icon struct {
	t      *testing.T
	object dbus.BusObject
	menu   dbus.BusObject
}

// Property returns a property of the icon.
func (i Icon) Property(name string) any {
	i.t.Helper()
	v, err := i.object.GetProperty("org.kde.StatusNotifierItem." + name)
	if err != nil {
		i.t.Fatal(err)
	}
	return v.Value()
}

// Pixels returns what the icon looks like.
func (i Icon) Pixels() []byte {
	i.t.Helper()
	pictures, ok := i.Property("IconPixmap").([][]any)
	if !ok || len(pictures) == 0 {
		i.t.Fatalf("icon %T", i.Property("IconPixmap"))
	}
	pixels, _ := pictures[0][2].([]byte)
	return pixels
}

// Activate does what a click on the icon does.
func (i Icon) Activate() {
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
func (i Icon) layout() (entries []entry, revision uint32) {
	i.t.Helper()
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
		if shown, ok := properties["visible"].Value().(bool); ok && !shown {
			continue
		}
		e.label, _ = properties["label"].Value().(string)
		if enabled, ok := properties["enabled"].Value().(bool); ok {
			e.enabled = enabled
		}
		if kind, _ := properties["type"].Value().(string); kind == "separator" {
			e.label = "-"
		}
		entries = append(entries, e)
	}
	return entries, revision
}

// Revision returns a number that changes whenever the menu does.
func (i Icon) Revision() uint32 {
	i.t.Helper()
	_, revision := i.layout()
	return revision
}

// Labels returns the lines of the menu, those that cannot be chosen in
// brackets.
func (i Icon) Labels() string {
	i.t.Helper()
	entries, _ := i.layout()
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

// Click chooses a line of the menu, once it is there.
func (i Icon) Click(label string) {
	i.t.Helper()
	Eventually(i.t, label+" is in the menu", func() bool {
		entries, _ := i.layout()
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

// Notifications is what shows notifications.
type Notifications struct {
	t    *testing.T
	mu   sync.Mutex
	seen []string
}

// NewNotifications has something come that shows notifications.
func NewNotifications(t *testing.T, s *Session) *Notifications {
	t.Helper()
	n := &Notifications{t: t}
	conn := s.Connect()
	if err := conn.Export(n, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.Notifications", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return n
}

// Notify is what a program calls.
func (n *Notifications) Notify(_ string, _ uint32, _, title, _ string, _ []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, title)
	return 1, nil
}

// Titles returns those of the notifications that were shown.
func (n *Notifications) Titles() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.seen...)
}

// Saw waits for a notification.
func (n *Notifications) Saw(title string) {
	n.t.Helper()
	Eventually(n.t, "the notification "+title, func() bool { return strings.Contains(strings.Join(n.Titles(), "\n"), title) })
}
