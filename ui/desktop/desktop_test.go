//go:build !headless && linux

package desktop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/testenv"
	"perch/ui"
)

// The window needs the main goroutine, so the tests start this binary again as
// the program itself, with a bot that they change over its standard input.
const programVariable = "PERCH_TEST_DESKTOP"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(runProgram())
	}
	os.Exit(m.Run())
}

// runProgram is the program under test. Each line of its standard input is a
// command; what happens is told on its standard output.
func runProgram() int {
	const dir = "." // the home
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	first, raise, release, err := Claim(ctx, dir)
	if err != nil || !first {
		fmt.Println("not the first", err)
		return 0
	}
	defer release()
	bot := &bot{changed: make(chan struct{}), looked: make(chan struct{}), config: config.Default()}
	bot.config.Window.OnClose = os.Getenv(programVariable)
	bot.to(bridge.StateRunning)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			command, argument, _ := strings.Cut(lines.Text(), " ")
			switch command {
			case "state":
				bot.to(bridge.State(argument))
			case "message":
				for range 4 {
					bot.change(func(s *bridge.Snapshot) { s.Last.ReceivedAt, s.Detail = time.Now(), bridge.Say("%s", argument) })
					for range 2 { // the window and the tray look
						<-bot.looked
					}
				}
				fmt.Println("messages seen")
			case "address":
				bot.change(func(s *bridge.Snapshot) { s.Address = argument })
			case "keychain":
				_, err := keyring.Get("perch", "webhook_secret")
				fmt.Println("keychain", err)
			case "stop":
				stop()
			}
		}
	}()
	err = Run(ctx, Options{
		Backend: bot, Log: log, Version: "1.2.3", DataDir: dir, Raise: raise, Hidden: slices.Contains(os.Args, hidden),
	})
	fmt.Println("ended", err)
	if err != nil {
		return 1
	}
	return 0
}

// bot is the bot of the program under test.
type bot struct {
	mu       sync.Mutex
	snapshot bridge.Snapshot
	changed  chan struct{}
	looked   chan struct{} // somebody asked for the snapshot
	config   config.Config
	failure  error // of Resume
}

func (b *bot) change(f func(*bridge.Snapshot)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.snapshot)
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *bot) to(s bridge.State) {
	b.change(func(now *bridge.Snapshot) { now.State, now.Title = s, bridge.Say("It is %s", string(s)) })
}

func (b *bot) Snapshot() (bridge.Snapshot, <-chan struct{}) {
	select {
	case b.looked <- struct{}{}:
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshot, b.changed
}

func (b *bot) Pause(context.Context) error {
	fmt.Println("pause")
	b.to(bridge.StatePaused)
	return nil
}

func (b *bot) Resume(context.Context) error {
	if b.failure != nil {
		return b.failure
	}
	fmt.Println("resume")
	b.to(bridge.StateRunning)
	return nil
}

func (b *bot) Config() (config.Config, []config.Problem, bool) { return b.config, nil, true }

func (b *bot) Retry(context.Context) error                            { return nil }
func (b *bot) ClearLog(context.Context) error                         { return nil }
func (b *bot) Save(context.Context, config.Config) error              { return nil }
func (b *bot) ConfigFile() string                                     { return "/etc/perch.toml" }
func (b *bot) SetSecret(context.Context, string, bridge.Secret) error { return nil }
func (b *bot) CheckSecret(string, bridge.Secret) error                { return nil }
func (b *bot) NewSecret() bridge.Secret                               { return bridge.NewSecret("new") }
func (b *bot) LocalAddresses() []string                               { return nil }
func (b *bot) StartsAtLogin() bool                                    { return false }
func (b *bot) SetStartsAtLogin(bool) error                            { return nil }
func (b *bot) WatchLog(ctx context.Context, _ int, _ func([]bridge.Entry)) error {
	<-ctx.Done()
	return ctx.Err()
}
func (b *bot) Secret(context.Context, string) (bridge.Secret, error) { return bridge.Secret{}, nil }
func (b *bot) SecretPlace(context.Context, string) (bridge.Text, bool, error) {
	return bridge.Text{}, false, nil
}

func (b *bot) Doctor(context.Context, func(doctor.Row)) (doctor.Report, error) {
	fmt.Println("doctor")
	return doctor.Report{}, nil
}

func (b *bot) Practice(context.Context) (bridge.Practice, error) {
	return nil, errors.New("no practice")
}

func (b *bot) Models(context.Context, config.Handler, bridge.Secret) ([]string, error) {
	return nil, nil
}

func (b *bot) Occ(context.Context, config.Config, bridge.Secret) ([]bridge.Commands, error) {
	return nil, nil
}

func (b *bot) TestServer(context.Context, config.Config, bridge.Secret) (doctor.Report, error) {
	return doctor.Report{}, nil
}

var _ ui.Backend = (*bot)(nil)

// session is a desktop session of its own: a screen with a window manager, a
// bus and a home.
type session struct {
	t       *testing.T
	display string
	bus     string
	home    string
	conn    *dbus.Conn // to the bus
}

func newSession(t *testing.T) *session {
	t.Helper()
	testenv.NeedPrograms(t, "Xvfb", "openbox", "xdotool", "dbus-daemon")
	s := &session{t: t, home: t.TempDir()}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	screen := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset")
	screen.ExtraFiles = []*os.File{w}
	s.daemon(screen)
	_ = w.Close()
	s.display = ":" + firstLine(t, r)

	bus := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	out, err := bus.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.daemon(bus)
	s.bus = firstLine(t, out)
	s.conn = s.connect()
	s.daemon(exec.Command("openbox", "--sm-disable"))
	eventually(t, "the window manager is there", func() bool {
		out, err := s.command("xprop", "-root", "_NET_SUPPORTING_WM_CHECK").Output()
		return err == nil && strings.Contains(string(out), "window id")
	})
	return s
}

// daemon starts what runs until the end of the test.
func (s *session) daemon(cmd *exec.Cmd) {
	s.t.Helper()
	cmd.Env = s.environment()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (s *session) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "XDG_RUNTIME_DIR=" + s.home, "PERCH_HOME=" + s.home,
		"DISPLAY=" + s.display, "DBUS_SESSION_BUS_ADDRESS=" + s.bus, "LIBGL_ALWAYS_SOFTWARE=1", "LANG=C.UTF-8",
	}
}

func (s *session) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), name, args...)
	cmd.Env = s.environment()
	return cmd
}

func (s *session) connect() *dbus.Conn {
	s.t.Helper()
	conn, err := dbus.Connect(s.bus)
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

// windows returns the visible windows whose title begins with Perch.
func (s *session) windows() []string {
	out, _ := s.command("xdotool", "search", "--onlyvisible", "--name", "^Perch").Output() // 1 if there is none
	return strings.Fields(string(out))
}

func (s *session) visible(yes bool) {
	s.t.Helper()
	what := "the window is hidden"
	if yes {
		what = "the window is visible"
	}
	eventually(s.t, what, func() bool { return (len(s.windows()) == 1) == yes })
}

// key presses keys in the window.
func (s *session) key(keys ...string) {
	s.t.Helper()
	window := s.windows()
	if len(window) != 1 {
		s.t.Fatalf("windows %v", window)
	}
	args := append([]string{"windowactivate", "--sync", window[0], "key", "--clearmodifiers"}, keys...)
	if out, err := s.command("xdotool", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// closeWindow does what a click on the window's cross does.
func (s *session) closeWindow() {
	s.t.Helper()
	s.key("alt+F4")
}

// started is the program under test.
type started struct {
	*session
	cmd  *exec.Cmd
	in   io.Writer
	out  *lines
	read int           // how much of out was waited for
	done chan struct{} // it ended
}

// lines is what a program wrote.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// start starts the program; onClose is what config.toml says of closing the
// window.
func (s *session) start(onClose string, args ...string) *started {
	s.t.Helper()
	p := &started{session: s, cmd: s.command(os.Args[0], args...), out: &lines{}, done: make(chan struct{})}
	p.cmd.Dir = s.home
	p.cmd.Env = append(p.cmd.Env, programVariable+"="+onClose, "GORACE=exitcode=0") // see races
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	s.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		p.races()
		if s.t.Failed() {
			s.t.Logf("the program wrote:\n%s", p.out)
		}
	})
	return p
}

// races looks at what the race detector saw. The driver's tray has some of its
// own, when a panel asks for the menu, or for the icon while it changes.
func (p *started) races() {
	for report := range strings.SplitSeq(p.out.String(), "==================") {
		own := slices.ContainsFunc([]string{"systray.(*tray).GetLayout.func1()", "systray.argbForImage()", "systray.SetIcon()"}, func(f string) bool {
			return strings.Contains(report, "fyne.io/"+f)
		})
		if strings.Contains(report, "DATA RACE") && !own {
			p.t.Error(report)
		}
	}
}

func (p *started) say(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// says waits for a line of the program that begins so, after those that were
// waited for before.
func (p *started) says(line string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("it says %q", line), func() bool {
		_, after, ok := strings.Cut("\n"+p.out.String()[p.read:], "\n"+line)
		if ok {
			p.read = len(p.out.String()) - len(after)
		}
		return ok
	})
}

// asked and answered wait for a question in the window, and for its end.
func (p *started) asked(title string) { p.t.Helper(); p.says(`msg="question asked" title="` + title) }

func (p *started) answered(title string) {
	p.t.Helper()
	p.says(`msg="question answered" title="` + title)
}

// ended waits for the orderly end of the program.
func (p *started) ended() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(testenv.Patience):
		p.t.Fatal("it does not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(p.out.String(), "ended <nil>") {
		p.t.Errorf("exit code %d", code)
	}
}

func (p *started) running() {
	p.t.Helper()
	select {
	case <-p.done:
		p.t.Fatal("it ended")
	default:
	}
}

func TestWindow(t *testing.T) {
	s := newSession(t)
	newWatcher(t, s)
	p := s.start(config.CloseHides)
	s.visible(true)
	if out, err := s.command("xdotool", "getwindowname", s.windows()[0]).Output(); err != nil || !strings.HasPrefix(string(out), "Perch") {
		t.Errorf("title %q, error %v", out, err)
	}
	if out, _ := s.command("xprop", "-id", s.windows()[0], "WM_CLASS").Output(); !strings.Contains(string(out), ID) && !strings.Contains(string(out), "Perch") {
		t.Errorf("class %s", out)
	}
	p.say("stop")
	p.ended()
}

// A window that the user made larger is as large at the next start.
func TestWindowSize(t *testing.T) {
	s := newSession(t)
	size := func() string {
		out, _ := s.command("xdotool", "getwindowgeometry", s.windows()[0]).Output()
		_, geometry, _ := strings.Cut(string(out), "Geometry: ")
		return strings.TrimSpace(geometry)
	}
	p := s.start(config.CloseQuits)
	s.visible(true)
	eventually(t, "the size is the one at first", func() bool { return size() == "1080x700" })
	// Until the driver has settled, its own first size can override a request.
	eventually(t, "it is smaller", func() bool {
		_ = s.command("xdotool", "windowsize", s.windows()[0], "900", "640").Run()
		return size() == "900x640"
	})
	s.closeWindow()
	p.ended()
	p = s.start(config.CloseQuits)
	s.visible(true)
	eventually(t, "it is as the user left it", func() bool { return size() == "900x640" })
	p.say("stop")
	p.ended()
}

func TestCloseQuits(t *testing.T) {
	s := newSession(t)
	newWatcher(t, s)
	p := s.start(config.CloseQuits)
	s.visible(true)
	s.closeWindow()
	p.ended()
}

func TestCloseHides(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	told := newNotifications(t, s)
	tray := newWatcher(t, s)
	p := s.start(config.CloseHides)
	s.visible(true)
	item := tray.item()
	eventually(t, "the tray is known", func() bool { return strings.Contains(item.labels(), "Open Perch") })
	for range 2 {
		s.closeWindow()
		s.visible(false)
		p.running()
		item.click("Open Perch")
		s.visible(true)
	}
	told.saw("Perch keeps running")
	if got := told.titles(); len(got) != 1 {
		t.Errorf("notifications %q: the notice comes the first time only", got)
	}
	s.closeWindow()
	s.visible(false)
	item.activate()
	s.visible(true)

	// Without a panel, nothing else would bring it back.
	s.closeWindow()
	s.visible(false)
	tray.leave()
	s.visible(true)
	p.running()
	p.say("stop")
	p.ended()
}

const question = "Keep Perch running?"

func TestCloseAsks(t *testing.T) {
	s := newSession(t)
	p := s.start(config.CloseHides)
	s.visible(true)
	s.closeWindow()
	p.asked(question)
	s.closeWindow() // does not ask twice
	s.key("Escape")
	p.answered(question)
	s.visible(true)
	s.closeWindow()
	p.asked(question)
	s.key("Return") // keeps running, minimised
	p.answered(question)
	s.visible(false)
	p.running()

	second := s.start(config.CloseHides)
	second.says("not the first <nil>")
	<-second.done
	s.visible(true)

	s.closeWindow()
	p.asked(question)
	s.key("shift+Tab", "Return") // quits
	p.ended()
}

func TestHiddenStart(t *testing.T) {
	s := newSession(t)
	tray := newWatcher(t, s)
	p := s.start(config.CloseHides, hidden)
	item := tray.item()
	eventually(t, "the menu is there", func() bool { return strings.Contains(item.labels(), "Open Perch") })
	if w := s.windows(); len(w) > 0 {
		t.Errorf("windows %v", w)
	}
	second := s.start(config.CloseHides)
	second.says("not the first <nil>")
	s.visible(true)
	p.say("stop")
	p.ended()
}

func TestHiddenStartWithoutPanel(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	p := s.start(config.CloseHides, hidden)
	s.visible(true)
	p.say("stop")
	p.ended()
}

func TestStop(t *testing.T) {
	s := newSession(t)
	tray := newWatcher(t, s)
	p := s.start(config.CloseHides)
	s.visible(true)
	i := tray.item()
	eventually(t, "it has started", func() bool { return i.labels() == menuOfRunning })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.ended()
}

// Without a session bus there is no tray, and no bus is started.
func TestNoBus(t *testing.T) {
	s := newSession(t)
	if bus := sessionBus(func(string) string { return "" }); bus != noBus {
		t.Skipf("this machine has a bus at %s", bus)
	}
	launched := filepath.Join(s.home, "launched")
	if err := os.WriteFile(filepath.Join(s.home, "dbus-launch"), []byte("#!/bin/sh\ntouch "+launched+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", s.home+":"+path)
	s.bus = ""
	p := s.start(config.CloseHides)
	s.visible(true)
	s.closeWindow()
	p.asked(question)
	s.key("shift+Tab", "Return")
	p.ended()
	if _, err := os.Stat(launched); err == nil {
		t.Error("a stray bus was started")
	}
}

func TestNoDisplay(t *testing.T) {
	for name, display := range map[string]string{"none": "", "one that is not there": ":4711"} {
		t.Run(name, func(t *testing.T) {
			s := &session{t: t, home: t.TempDir(), display: display, bus: "unix:path=/nonexistent"}
			p := s.start(config.CloseHides)
			<-p.done
			if out := p.out.String(); p.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out, "ended ") || strings.Contains(out, "panic") {
				t.Errorf("exit code %d\n%s", p.cmd.ProcessState.ExitCode(), out)
			}
		})
	}
}
