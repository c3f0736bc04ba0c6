package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"perch/bridge/cli"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// The scripts run the real program: this binary, by the name of perch.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"perch": func() { os.Exit(cli.Process(cli.Faces{})) }})
}

// Every script has a home of its own and no keychain, unless it starts one.
// Beside the commands of testscript it knows those of (*world).commands.
// PERCH_GOLDEN=update writes what is printed into the scripts.
func TestScripts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the scripts need a keychain and a shell as Linux has them")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"HOME":                     env.WorkDir + "/user",
				"XDG_CONFIG_HOME":          env.WorkDir + "/user/config",
				"XDG_DATA_HOME":            env.WorkDir + "/user/data",
				"XDG_RUNTIME_DIR":          env.WorkDir + "/user/run",
				"PERCH_HOME":               env.WorkDir + "/home",
				"DBUS_SESSION_BUS_ADDRESS": "unix:path=" + env.WorkDir + "/nowhere",
				"TZ":                       "UTC",
				"GORACE":                   "atexit_sleep_ms=0",
				"SECRET":                   "canary-of-the-webhook-secret-0123456789-ABCDEFGHIJ",
			} {
				env.Setenv(name, value)
			}
			env.Values[worldKey{}] = &world{processes: map[string]*process{}}
			return errors.Join(os.MkdirAll(env.WorkDir+"/user/run", 0o700), os.Mkdir(env.WorkDir+"/home", 0o700))
		},
		Condition: func(condition string) (bool, error) {
			if condition != "keychain" {
				return false, fmt.Errorf("no such condition: %s", condition)
			}
			for _, program := range []string{"dbus-daemon", "gnome-keyring-daemon", "secret-tool"} {
				if missing, err := testenv.Missing(program); missing {
					return false, err
				}
			}
			return true, nil
		},
		Cmds:                commands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("PERCH_GOLDEN") == "update",
	})
}

// world is what a script has around it.
type world struct {
	server    *practice.Server
	processes map[string]*process
	messages  int // posted with webhook
}

type worldKey struct{}

// commands returns the commands of the scripts. None can be negated.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]struct {
		usage string
		min   int
		run   func(w *world, ts *testscript.TestScript, args []string)
	}{
		"exits":      {"CODE PROGRAM ARG…: runs a program that must end with this code", 2, exits},
		"start":      {"NAME ARG…: runs perch in the background; its output is in NAME.out and NAME.err", 2, start},
		"await":      {"NAME REGEXP: waits until it prints this after what was awaited before; (?P<VAR>…) sets variables", 2, await},
		"end":        {"NAME: asks it to stop with SIGTERM; it must end with 0", 1, end},
		"keychain":   {": starts a keychain", 0, keychain},
		"manager":    {"MICROSECONDS: listens as systemd does, with this WATCHDOG_USEC; what it is told can be awaited from manager", 1, serviceManager},
		"practice":   {": starts a Talk server with the room $ROOM and the app token $APP_TOKEN of carol, at $TALK", 0, startPractice},
		"enable":     {": installs the bot that listens at $ADDR, with $SECRET, and enables it in $ROOM", 0, enable},
		"say":        {"WHO TEXT: posts in $ROOM and prints the reply", 2, say},
		"post":       {"WHO TEXT: posts in $ROOM", 2, post},
		"transcript": {": prints what stands in $ROOM", 0, transcript},
		"grant":      {"USER: waits for a log-in and grants it, as in a browser; the user is a new one in $ROOM", 1, grant},
		"token":      {"FILE: PERCH_APP_TOKEN is what is in the file, as a service has it", 1, loadToken},
		"fault":      {"[KIND ENDPOINT TIMES]: makes the Talk server fail, or well again; a delay is of 1 s", 0, fault},
		"webhook":    {"ROOM USER TEXT: posts a message to $ADDR, signed with $SECRET, and prints the status; TEXT can have escapes as in Go", 3, postWebhook},
		"notify":     {"TOKEN BODY TYPE: posts for $ROOM at $DOOR, as another program does, and prints the status and the answer", 3, notify},
		"crash":      {"NAME: kills it", 1, crash},
		"get":        {"PATH: gets a page of $ADDR and prints its status and text", 1, get},
		"unused":     {"VAR: VAR is an address that nobody listens on", 1, unused},
		"busy":       {"VAR: takes a port; VAR is its address", 1, busy},
		"edit":       {"FILE OLD NEW: replaces a text in a file", 3, edit},
		"mode":       {"PERMISSIONS FILE…: checks permissions, in octal", 2, mode},
		"absent":     {"TEXT FILE…: checks that a text is in no file, nor in those of a folder", 2, absent},
		"jsonlines":  {"FILE: checks that all lines are objects with the keys that perch run --help tells of", 1, jsonLines},
		"normalise":  {"FILE: makes times, durations, addresses and tokens in a file the same", 1, normalise},
		"shellwords": {"FILE REGEXP: prints the words that a shell makes of the line", 2, shellWords},
	}
	cmds := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range all {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < c.min {
				ts.Fatalf("it is: %s %s", name, c.usage)
			}
			w, _ := ts.Value(worldKey{}).(*world)
			c.run(w, ts, args)
		}
	}
	return cmds
}

func exits(_ *world, ts *testscript.TestScript, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

// process is a perch in the background.
type process struct {
	cmd      *exec.Cmd
	out, err *stream
	ended    chan struct{}
	seen     int // of out, by await
}

// stream is an output that can be waited for. It is written to a file, too.
type stream struct {
	mu      sync.Mutex
	file    *os.File
	text    []byte
	changed chan struct{}
}

func newStream(path string) (*stream, error) {
	f, err := os.Create(path)
	return &stream{file: f, changed: make(chan struct{})}, err
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	close(s.changed)
	s.changed = make(chan struct{})
	return s.file.Write(p)
}

func (s *stream) after(n int) (text string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text[n:]), s.changed
}

// environ returns the environment of a script, as far as perch looks at it.
func environ(ts *testscript.TestScript) (env []string) {
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "TZ", "GORACE", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
		"PERCH_HOME", "PERCH_WEBHOOK_SECRET", "PERCH_APP_TOKEN", "PERCH_NOTIFY_TOKEN", "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET", "GOCOVERDIR",
		"NOTIFY_SOCKET", "WATCHDOG_USEC",
	} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func start(w *world, ts *testscript.TestScript, args []string) {
	if w.processes[args[0]] != nil {
		ts.Fatalf("%s is running", args[0])
	}
	program, err := exec.LookPath("perch")
	ts.Check(err)
	p := &process{cmd: exec.Command(program, args[1:]...), ended: make(chan struct{})}
	p.out, err = newStream(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	p.err, err = newStream(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = environ(ts), p.out, p.err
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	w.processes[args[0]] = p
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		_ = p.out.file.Close()
		_ = p.err.file.Close()
	})
}

// running returns a process that start started.
func (w *world) running(ts *testscript.TestScript, name string) *process {
	p := w.processes[name]
	if p == nil {
		ts.Fatalf("%s is not running", name)
	}
	return p
}

func await(w *world, ts *testscript.TestScript, args []string) {
	p := w.running(ts, args[0])
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	giveUp := time.After(testenv.Patience)
	for {
		text, changed := p.out.after(p.seen)
		if match := want.FindStringSubmatchIndex(text); match != nil {
			for i, name := range want.SubexpNames() {
				if name != "" {
					ts.Setenv(name, text[match[2*i]:match[2*i+1]])
				}
			}
			p.seen += match[1]
			return
		}
		select {
		case <-changed:
			continue
		case <-p.ended:
			if more, _ := p.out.after(p.seen); more != text {
				continue
			}
		case <-giveUp:
		}
		errors, _ := p.err.after(0)
		ts.Fatalf("it does not print %s\n[stdout]\n%s\n[stderr]\n%s", args[1], text, errors)
	}
}

func end(w *world, ts *testscript.TestScript, args []string) {
	p := w.running(ts, args[0])
	delete(w.processes, args[0])
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // It may have ended.
	select {
	case <-p.ended:
	case <-time.After(testenv.Patience):
		ts.Fatalf("it does not stop")
	}
	out, _ := p.out.after(0)
	errors, _ := p.err.after(0)
	_, _ = io.WriteString(ts.Stdout(), out)
	_, _ = io.WriteString(ts.Stderr(), errors)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		ts.Fatalf("exit code %d", code)
	}
}

func keychain(_ *world, ts *testscript.TestScript, _ []string) {
	bus := exec.Command("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1")
	bus.Env = environ(ts)
	out, err := bus.StdoutPipe()
	ts.Check(err)
	ts.Check(bus.Start())
	ts.Defer(func() { // The keychain ends with its bus.
		_ = bus.Process.Kill()
		_ = bus.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	ts.Setenv("DBUS_SESSION_BUS_ADDRESS", strings.TrimSpace(address))
	keyring := exec.Command("gnome-keyring-daemon", "--unlock", "--components=secrets")
	keyring.Env = environ(ts)
	keyring.Stdin = strings.NewReader("pw")
	ts.Check(keyring.Run()) // It returns when the keychain is ready, and leaves it running.
}

func startPractice(w *world, ts *testscript.TestScript, _ []string) {
	var err error
	w.server, err = practice.Start(context.Background(), practice.Options{})
	ts.Check(err)
	ts.Defer(w.server.Close)
	w.server.AddUser("alice", "Alice")
	w.server.AddUser("bob", "Bob")
	w.server.AddUser("carol", "Carol")
	ts.Setenv("TALK", w.server.URL())
	ts.Setenv("ROOM", w.server.AddRoom("Kitchen", "alice", "bob", "carol"))
	ts.Setenv("APP_TOKEN", w.server.AppToken("carol"))
}

// talk returns the server, and a context for what is asked of it.
func (w *world) talk(ts *testscript.TestScript) (*practice.Server, context.Context) {
	if w.server == nil {
		ts.Fatalf("there is no Talk server; start it with practice")
	}
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	ts.Defer(cancel)
	return w.server, ctx
}

func enable(w *world, ts *testscript.TestScript, _ []string) {
	server, ctx := w.talk(ts)
	bot, err := server.InstallBot(practice.Bot{
		Name: "Perch", Secret: ts.Getenv("SECRET"), URL: "http://" + ts.Getenv("ADDR") + "/nextcloud-talk",
	})
	ts.Check(err)
	deliveries, err := server.EnableBot(ctx, ts.Getenv("ROOM"), bot)
	ts.Check(err)
	if len(deliveries) != 1 || !deliveries[0].OK() {
		ts.Fatalf("deliveries %v", deliveries)
	}
}

func grant(w *world, ts *testscript.TestScript, args []string) {
	server, ctx := w.talk(ts)
	for {
		changed := server.Changed()
		if server.GrantLogin(args[0]) == 1 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			ts.Fatalf("no log-in waits")
		}
	}
	_, err := server.AddParticipant(ctx, ts.Getenv("ROOM"), "alice", args[0])
	ts.Check(err)
}

func loadToken(_ *world, ts *testscript.TestScript, args []string) {
	ts.Setenv("PERCH_APP_TOKEN", ts.ReadFile(args[0]))
}

func say(w *world, ts *testscript.TestScript, args []string) {
	server, ctx := w.talk(ts)
	posted, err := server.Post(ctx, ts.Getenv("ROOM"), args[0], args[1])
	ts.Check(err)
	reply, err := server.WaitReply(ctx, ts.Getenv("ROOM"), posted.ID)
	ts.Check(err)
	_, _ = fmt.Fprintln(ts.Stdout(), reply.Text)
}

func post(w *world, ts *testscript.TestScript, args []string) {
	server, ctx := w.talk(ts)
	posted, err := server.Post(ctx, ts.Getenv("ROOM"), args[0], args[1])
	ts.Check(err)
	if len(posted.Deliveries) != 1 || !posted.Deliveries[0].OK() {
		ts.Fatalf("deliveries %v", posted.Deliveries)
	}
}

func transcript(w *world, ts *testscript.TestScript, _ []string) {
	server, _ := w.talk(ts)
	for _, entry := range server.Transcript(ts.Getenv("ROOM")) {
		if entry.System == "" {
			_, _ = fmt.Fprintf(ts.Stdout(), "%s: %s\n", entry.Actor.Name, entry.Text)
		}
	}
}

func fault(w *world, ts *testscript.TestScript, args []string) {
	server, _ := w.talk(ts)
	if len(args) == 0 {
		server.SetFaults()
		return
	}
	times, err := strconv.Atoi(args[2])
	ts.Check(err)
	var delay time.Duration
	if args[0] == string(practice.FaultDelay) {
		delay = time.Second
	}
	server.SetFaults(practice.Fault{Kind: practice.FaultKind(args[0]), On: practice.Endpoint(args[1]), Times: times, Delay: delay})
}

func postWebhook(w *world, ts *testscript.TestScript, args []string) {
	text, err := strconv.Unquote(`"` + args[2] + `"`)
	ts.Check(err)
	w.messages++
	content, err := json.Marshal(map[string]any{"message": text, "parameters": []any{}})
	ts.Check(err)
	body, err := json.Marshal(map[string]any{
		"type":   "Create",
		"actor":  map[string]any{"type": "Person", "id": "users/" + args[1], "name": strings.ToUpper(args[1][:1]) + args[1][1:]},
		"object": map[string]any{"type": "Note", "id": strconv.Itoa(1000 + w.messages), "name": "message", "content": string(content), "mediaType": "text/markdown"},
		"target": map[string]any{"type": "Collection", "id": args[0], "name": "Kitchen"},
	})
	ts.Check(err)
	random := fmt.Sprintf("%064d", w.messages)
	mac := hmac.New(sha256.New, []byte(ts.Getenv("SECRET")))
	mac.Write([]byte(random + string(body)))
	req, err := http.NewRequest(http.MethodPost, "http://"+ts.Getenv("ADDR")+"/nextcloud-talk", bytes.NewReader(body))
	ts.Check(err)
	req.Header.Set("X-Nextcloud-Talk-Random", random)
	req.Header.Set("X-Nextcloud-Talk-Signature", hex.EncodeToString(mac.Sum(nil)))
	req.Header.Set("X-Nextcloud-Talk-Backend", "https://cloud.example.com/")
	printAnswer(ts, req)
}

func notify(_ *world, ts *testscript.TestScript, args []string) {
	req, err := http.NewRequest(http.MethodPost, "http://"+ts.Getenv("DOOR")+"/v1/rooms/"+ts.Getenv("ROOM")+"/messages", strings.NewReader(args[1]))
	ts.Check(err)
	req.Header.Set("Content-Type", args[2])
	if args[0] != "" {
		req.Header.Set("Authorization", "Bearer "+args[0])
	}
	printAnswer(ts, req)
}

func crash(w *world, ts *testscript.TestScript, args []string) {
	p := w.running(ts, args[0])
	delete(w.processes, args[0])
	ts.Check(p.cmd.Process.Kill())
	<-p.ended
}

func get(_ *world, ts *testscript.TestScript, args []string) {
	req, err := http.NewRequest(http.MethodGet, "http://"+ts.Getenv("ADDR")+args[0], nil)
	ts.Check(err)
	printAnswer(ts, req)
}

func printAnswer(ts *testscript.TestScript, req *http.Request) {
	client := &http.Client{Timeout: testenv.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, _ = fmt.Fprintf(ts.Stdout(), "%d\n%s", resp.StatusCode, answer)
}

func busy(_ *world, ts *testscript.TestScript, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	ts.Setenv(args[0], listener.Addr().String())
}

func unused(_ *world, ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], testenv.FreeAddr(ts))
}

func edit(_ *world, ts *testscript.TestScript, args []string) {
	file, text := ts.MkAbs(args[0]), ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s is not in it", args[1])
	}
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

func mode(_ *world, ts *testscript.TestScript, args []string) {
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
			ts.Fatalf("%s has %s", file, got)
		}
	}
}

func absent(_ *world, ts *testscript.TestScript, args []string) {
	files := 0
	for _, path := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(path), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			files++
			data, err := os.ReadFile(path)
			for _, form := range []string{args[0], hex.EncodeToString([]byte(args[0])), base64.StdEncoding.EncodeToString([]byte(args[0]))} {
				if bytes.Contains(data, []byte(form)) {
					ts.Fatalf("it is in %s", path)
				}
			}
			return err
		}))
	}
	if files == 0 {
		ts.Fatalf("there are no files")
	}
}

func jsonLines(_ *world, ts *testscript.TestScript, args []string) {
	always := []string{"time", "level", "msg", "stage"}
	known := append([]string{
		"room", "room_name", "actor", "actor_name", "message_id", "text", "code", "reason", "cause", "hint", "duration_ms", "kind", "count",
		"version", "config", "listen", "url", "allowed_users", "reply_as",
	}, always...)
	lines := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		lines++
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("line %d: %v: %s", lines, err, line)
		}
		for _, key := range always {
			if object[key] == nil {
				ts.Fatalf("line %d has no %s: %s", lines, key, line)
			}
		}
		for key := range maps.Keys(object) {
			if !slices.Contains(known, key) {
				ts.Fatalf("line %d has the unknown key %s: %s", lines, key, line)
			}
		}
	}
	if lines == 0 {
		ts.Fatalf("it is empty")
	}
}

func normalise(_ *world, ts *testscript.TestScript, args []string) {
	text := ts.ReadFile(args[0])
	for _, r := range []struct{ pattern, with string }{
		{`(?m)^\d{4}-\d\d-\d\d\n`, ""}, // at midnight
		{`"time":"[^"]*"`, `"time":"TIME"`},
		{`"duration_ms":[0-9.]+`, `"duration_ms":0`},
		{`(?m)^\d\d:\d\d:\d\d`, "HH:MM:SS"},
		{`(?m)  \d+(\.\d)? m?s$`, "  0.0 ms"},
		{`running for \d+s`, "running for 1s"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`Perch \S+ on \S+,`, "Perch VERSION on SYSTEM,"},
		{"`[a-z0-9]{8}`", "`TOKEN`"},
		{`"room":"[a-z0-9]{8}"`, `"room":"TOKEN"`},
		{`bots/bot-[0-9a-f]{40}`, "bots/bot-HASH"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

func shellWords(_ *world, ts *testscript.TestScript, args []string) {
	line := regexp.MustCompile("(?m)^.*" + args[1] + ".*$").FindString(ts.ReadFile(args[0]))
	if line == "" {
		ts.Fatalf("there is no such line")
	}
	cmd := exec.Command("sh", "-c", `printf '%s\n' `+line)
	cmd.Env, cmd.Dir = environ(ts), ts.Getenv("WORK")
	words, err := cmd.Output()
	ts.Check(err)
	_, _ = ts.Stdout().Write(words)
}
