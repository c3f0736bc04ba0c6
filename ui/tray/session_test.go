//go:build !headless && linux

package tray

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/local"
	"perch/ui/desktop"
	"perch/ui/session"
	"perch/ui/session/sessiontest"
)

// The tray and the window need the main goroutine, and are processes of their own,
// so the tests start this binary again as what the variable says: tray, attached or
// engine. Their bot is changed over their standard input.
const (
	programVariable = "PERCH_TEST_PROGRAM"
	closeVariable   = "PERCH_TEST_ON_CLOSE" // what config.toml says of closing the window
	hidden          = "--hidden"
	version         = "1.2.3"
)

func TestMain(m *testing.M) {
	program := os.Getenv(programVariable)
	if program == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := runProgram(ctx, stop, program)
	stop()
	fmt.Println(program, "ended", err)
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// runProgram is a program under test. What happens is told on its standard output.
func runProgram(ctx context.Context, stop func(), program string) error {
	dir := os.Getenv("PERCH_HOME")
	home := config.Home{ConfigDir: dir, DataDir: dir}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	switch program {
	case session.Window:
		return runWindow(ctx, home, log)
	case "engine":
		return withEngine(ctx, stop, home, func(*bot) error {
			fmt.Println("engine runs")
			<-ctx.Done()
			return nil
		})
	}
	claim, err := session.Take(ctx, dir, session.Tray)
	if err != nil {
		return err
	}
	if claim == nil {
		fmt.Println("not the first")
		return session.Reach(ctx, dir, session.Tray, session.Raise)
	}
	defer claim.Release()
	o := Options{
		Log: log, DataDir: dir, Hidden: slices.Contains(os.Args, hidden), Calls: claim.Calls,
		Window: func(word string) *exec.Cmd {
			cmd := exec.Command(os.Args[0], word)
			cmd.Env = append(os.Environ(), programVariable+"="+session.Window)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			return cmd
		},
	}
	if program == "attached" {
		engine := local.Await(ctx, home.SocketFile(), version)
		defer engine.Close()
		o.Backend, o.Attached = engine, true
		return Run(ctx, o)
	}
	return withEngine(ctx, stop, home, func(bot *bot) error {
		o.Backend = bot
		return Run(ctx, o)
	})
}

// windowBackend is what the window asks.
type windowBackend struct{ *local.Client }

func (windowBackend) StartsAtLogin() bool         { return false }
func (windowBackend) SetStartsAtLogin(bool) error { return nil }

func runWindow(ctx context.Context, home config.Home, log *slog.Logger) error {
	claim, err := session.Take(ctx, home.DataDir, session.Window)
	if err != nil {
		return err
	}
	if claim == nil {
		return session.Reach(ctx, home.DataDir, session.Window, os.Args[1])
	}
	defer claim.Release()
	engine := local.Await(ctx, home.SocketFile(), version)
	defer engine.Close()
	return desktop.Run(ctx, desktop.Options{
		Backend: windowBackend{engine}, Log: log, Version: version, DataDir: home.DataDir, Show: os.Args[1], Calls: claim.Calls,
	})
}

// withEngine serves a bot as long as run runs. Each line of the standard input is a
// command for it.
func withEngine(ctx context.Context, stop func(), home config.Home, run func(*bot) error) error {
	bot := &bot{changed: make(chan struct{}), looked: make(chan struct{}), config: config.Default()}
	bot.config.Window.OnClose = os.Getenv(closeVariable)
	bot.to(bridge.StateRunning)
	server, err := local.Serve(ctx, home, local.Options{Engine: bot, Version: version})
	if err != nil {
		return err
	}
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
	return errors.Join(run(bot), server.Close()) //nolint:contextcheck // ctx is done
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

func (b *bot) ClearLog(context.Context) error                         { return nil }
func (b *bot) Save(context.Context, config.Config) error              { return nil }
func (b *bot) ConfigFile() string                                     { return "/etc/perch.toml" }
func (b *bot) SetSecret(context.Context, string, bridge.Secret) error { return nil }
func (b *bot) LocalAddresses() []string                               { return nil }
func (b *bot) WatchLog(ctx context.Context, _ bridge.LogFilter, _ func([]bridge.Entry)) error {
	<-ctx.Done()
	return ctx.Err()
}
func (b *bot) Secret(context.Context, string) (bridge.Secret, error) { return bridge.Secret{}, nil }
func (b *bot) SecretPlace(context.Context, string) (bridge.Text, bool, error) {
	return bridge.Text{}, false, nil
}

func (b *bot) Release(context.Context) (bool, error) { return false, nil }

func (b *bot) Post(context.Context, string, string, bool) ([]int64, error) { return nil, nil }

func (b *bot) Posted(context.Context, []int64) error { return nil }

func (b *bot) Examine(context.Context, doctor.Request, func(whole, shown doctor.Row)) (doctor.Report, error) {
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

var _ local.Engine = (*bot)(nil)

// program is a program under test.
type program struct{ *sessiontest.Program }

// start starts the tray; onClose is what config.toml says of closing the window.
func start(t *testing.T, s *sessiontest.Session, onClose string, args ...string) program {
	t.Helper()
	return startAs(s, "tray", onClose, args...)
}

func startAs(s *sessiontest.Session, what, onClose string, args ...string) program {
	return program{s.Start([]string{programVariable + "=" + what, closeVariable + "=" + onClose}, os.Args[0], args...)}
}

// asked and answered wait for a question in the window, and for its end.
func (p program) asked(t *testing.T, title string) {
	t.Helper()
	p.Says(`msg="question asked" title="` + title)
}

func (p program) answered(t *testing.T, title string) {
	t.Helper()
	p.Says(`msg="question answered" title="` + title)
}

func TestWindow(t *testing.T) {
	s := sessiontest.New(t)
	sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	if out, err := s.Command("xdotool", "getwindowname", s.Windows()[0]).Output(); err != nil || !strings.HasPrefix(string(out), "Perch") {
		t.Errorf("title %q, error %v", out, err)
	}
	if out, _ := s.Command("xprop", "-id", s.Windows()[0], "WM_CLASS").Output(); !strings.Contains(string(out), session.ID) && !strings.Contains(string(out), "Perch") {
		t.Errorf("class %s", out)
	}
	p.Tell("stop")
	p.Ended()
}

// A window that the user made larger is as large at the next start.
func TestWindowSize(t *testing.T) {
	s := sessiontest.New(t)
	size := func() string {
		out, _ := s.Command("xdotool", "getwindowgeometry", s.Windows()[0]).Output()
		_, geometry, _ := strings.Cut(string(out), "Geometry: ")
		return strings.TrimSpace(geometry)
	}
	p := start(t, s, config.CloseQuits)
	s.Visible(true)
	sessiontest.Eventually(t, "the size is the one at first", func() bool { return size() == "1080x700" })
	// Until the driver has settled, its own first size can override a request.
	sessiontest.Eventually(t, "it is smaller", func() bool {
		_ = s.Command("xdotool", "windowsize", s.Windows()[0], "900", "640").Run()
		return size() == "900x640"
	})
	s.CloseWindow()
	p.Ended()
	p = start(t, s, config.CloseQuits)
	s.Visible(true)
	sessiontest.Eventually(t, "it is as the user left it", func() bool { return size() == "900x640" })
	p.Tell("stop")
	p.Ended()
}

func TestCloseQuits(t *testing.T) {
	s := sessiontest.New(t)
	sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseQuits)
	s.Visible(true)
	s.CloseWindow()
	p.Ended()
}

func TestCloseHides(t *testing.T) {
	t.Parallel()
	s := sessiontest.New(t)
	told := sessiontest.NewNotifications(t, s)
	panel := sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	item := panel.Icon()
	sessiontest.Eventually(t, "the tray is known", func() bool { return strings.Contains(item.Labels(), "Open Perch") })
	for range 2 {
		s.CloseWindow()
		s.Visible(false)
		p.Running()
		item.Click("Open Perch")
		s.Visible(true)
	}
	told.Saw("Perch keeps running")
	if got := told.Titles(); len(got) != 1 {
		t.Errorf("notifications %q: the notice comes the first time only", got)
	}
	s.CloseWindow()
	s.Visible(false)
	item.Activate()
	s.Visible(true)

	// Without a panel, nothing else would bring it back.
	s.CloseWindow()
	s.Visible(false)
	panel.Leave()
	s.Visible(true)
	p.Running()
	p.Tell("stop")
	p.Ended()
}

const question = "Keep Perch running?"

func TestCloseAsks(t *testing.T) {
	s := sessiontest.New(t)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	s.CloseWindow()
	p.asked(t, question)
	s.CloseWindow() // does not ask twice
	s.Key("Escape")
	p.answered(t, question)
	s.Visible(true)
	s.CloseWindow()
	p.asked(t, question)
	s.Key("Return") // keeps running, minimised
	p.answered(t, question)
	s.Visible(false)
	p.Running()

	second := start(t, s, config.CloseHides)
	second.Says("not the first")
	<-second.Done
	s.Visible(true)

	s.CloseWindow()
	p.asked(t, question)
	s.Key("shift+Tab", "Return") // quits
	p.Ended()
}

func TestHiddenStart(t *testing.T) {
	s := sessiontest.New(t)
	panel := sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides, hidden)
	item := panel.Icon()
	sessiontest.Eventually(t, "the menu is there", func() bool { return strings.Contains(item.Labels(), "Open Perch") })
	if w := s.Windows(); len(w) > 0 || strings.Contains(p.Output(), "window") {
		t.Errorf("windows %v", w)
	}
	second := start(t, s, config.CloseHides)
	second.Says("not the first")
	s.Visible(true)
	p.Tell("stop")
	p.Ended()
}

func TestHiddenStartWithoutPanel(t *testing.T) {
	t.Parallel()
	s := sessiontest.New(t)
	p := start(t, s, config.CloseHides, hidden)
	s.Visible(true)
	p.Tell("stop")
	p.Ended()
}

func TestStop(t *testing.T) {
	s := sessiontest.New(t)
	panel := sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	i := panel.Icon()
	sessiontest.Eventually(t, "it has started", func() bool { return i.Labels() == menuOfRunning })
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.Ended()
}

// killWindow has the window crash.
func killWindow(t *testing.T, s *sessiontest.Session) {
	t.Helper()
	out, err := s.Command("xdotool", "getwindowpid", s.Windows()[0]).Output()
	pid, parsed := strconv.Atoi(strings.TrimSpace(string(out)))
	if err := errors.Join(err, parsed); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Visible(false)
}

// A window that crashes is told of, and can be opened again.
func TestWindowCrash(t *testing.T) {
	s := sessiontest.New(t)
	told := sessiontest.NewNotifications(t, s)
	panel := sessiontest.NewPanel(t, s)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	p.Says(`msg="window drawn"`)
	i := panel.Icon()
	for range 2 {
		killWindow(t, s)
		told.Saw("The window has stopped unexpectedly")
		becomes(t, i, "(It is running) | (The window has stopped unexpectedly) | - "+strings.SplitN(menuOfRunning, " - ", 2)[1])
		p.Running()
		i.Click("Open Perch")
		s.Visible(true)
		becomes(t, i, menuOfRunning)
	}
	p.Tell("stop")
	p.Ended()
	s.Visible(false)
}

// Where nothing else would show that the bot runs, the window comes back.
func TestWindowCrashWithoutPanel(t *testing.T) {
	t.Parallel()
	s := sessiontest.New(t)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	p.Says(`msg="window drawn"`)
	killWindow(t, s)
	s.Visible(true)
	p.Running()
	p.Tell("stop")
	p.Ended()
}

// A tray that crashes leaves its window, which the next one takes over, as it does
// the sockets.
func TestTrayCrash(t *testing.T) {
	s := sessiontest.New(t)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	p.Says(`msg="window drawn"`)
	window := s.Windows()[0]
	if err := p.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Done
	p = start(t, s, config.CloseHides)
	p.Says("window ended <nil>") // the second one, as there is one
	if got := s.Windows(); len(got) != 1 || got[0] != window {
		t.Errorf("windows %v, at first %s", got, window)
	}
	i := sessiontest.NewPanel(t, s).Icon()
	becomes(t, i, menuOfRunning)
	p.Says("msg=tray shown=true")
	s.CloseWindow()
	s.Visible(false)
	p.Running()
	i.Click("Open Perch")
	s.Visible(true)
	i.Click("Quit")
	p.Ended()
	s.Visible(false)
}

// What another process runs goes on without the tray.
func TestAttached(t *testing.T) {
	s := sessiontest.New(t)
	told := sessiontest.NewNotifications(t, s)
	engine := startAs(s, "engine", config.CloseHides)
	engine.Says("engine runs")
	p := startAs(s, "attached", config.CloseHides)
	s.Visible(true)
	p.Says(`msg="window drawn"`)
	s.CloseWindow() // there is no icon: it ends, and asks nothing
	p.Ended()
	engine.Running()

	panel := sessiontest.NewPanel(t, s)
	p = startAs(s, "attached", config.CloseHides)
	s.Visible(true)
	i := panel.Icon()
	becomes(t, i, menuOfRunning)
	engine.Tell("state degraded")
	becomes(t, i, strings.Replace(menuOfRunning, "running", "degraded", 1))
	if err := engine.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-engine.Done
	becomes(t, i, strings.Replace(menuOfRunning, "(It is running)", "(Stopped) | (Perch has stopped; waiting for it to come back)", 1))
	s.Visible(true)
	engine = startAs(s, "engine", config.CloseHides)
	engine.Says("engine runs")
	becomes(t, i, menuOfRunning)
	i.Click("Pause…")
	p.asked(t, "Pause Perch?")
	s.Key("Return")
	engine.Says("pause")
	i.Click("Quit")
	p.Ended()
	s.Visible(false)
	told.Saw("The bot goes on")
	engine.Running()
	engine.Tell("stop")
	engine.Ended()
}

// Two homes have nothing to do with one another.
func TestTwoHomes(t *testing.T) {
	s := sessiontest.New(t)
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	other := program{s.Start([]string{programVariable + "=tray", closeVariable + "=" + config.CloseHides, "PERCH_HOME=" + t.TempDir()}, os.Args[0])}
	sessiontest.Eventually(t, "there are two windows", func() bool { return len(s.Windows()) == 2 })
	p.Tell("stop")
	p.Ended()
	s.Visible(true)
	other.Running()
	other.Tell("stop")
	other.Ended()
	s.Visible(false)
}

// becomes waits for the menu of an icon to have these lines.
func becomes(t *testing.T, i sessiontest.Icon, labels string) {
	t.Helper()
	sessiontest.Eventually(t, "the menu is "+labels, func() bool { return i.Labels() == labels })
}

// Without a session bus there is no tray, and no bus is started.
func TestNoBus(t *testing.T) {
	s := sessiontest.New(t)
	launched := filepath.Join(s.Home, "launched")
	if err := os.WriteFile(filepath.Join(s.Home, "dbus-launch"), []byte("#!/bin/sh\ntouch "+launched+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", s.Home+":"+path)
	s.Bus = ""
	p := start(t, s, config.CloseHides)
	s.Visible(true)
	s.CloseWindow()
	p.asked(t, question)
	s.Key("shift+Tab", "Return")
	p.Ended()
	if _, err := os.Stat(launched); err == nil {
		t.Error("a stray bus was started")
	}
}

func TestNoDisplay(t *testing.T) {
	for name, display := range map[string]string{"none": "", "one that is not there": ":4711"} {
		t.Run(name, func(t *testing.T) {
			s := sessiontest.Bare(t, display)
			p := start(t, s, config.CloseHides)
			<-p.Done
			if out := p.Output(); p.Cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out, "tray ended") || strings.Contains(out, "panic") {
				t.Errorf("exit code %d\n%s", p.Cmd.ProcessState.ExitCode(), out)
			}
		})
	}
}
