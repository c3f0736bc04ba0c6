package handler_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/handler"
)

// TestProgram is the program that the tests run: this binary with arguments.
func TestProgram(t *testing.T) {
	if flag.NArg() == 0 {
		t.Skip("the other tests run this")
	}
	syscall.Exit(program(flag.Arg(0), flag.Args()[1:])) // os.Exit takes a second with the race detector
}

// program does what its name says and returns its exit status.
func program(name string, args []string) int {
	switch name {
	case "echo":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "say": // hexadecimal bytes, without reading the input
		data, _ := hex.DecodeString(args[0])
		_, _ = os.Stdout.Write(data)
	case "arguments":
		_ = json.NewEncoder(os.Stdout).Encode(args)
	case "environment":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "folder":
		dir, _ := os.Getwd()
		fmt.Println(dir)
	case "fail":
		fmt.Println("not a reply")
		fmt.Fprintln(os.Stderr, "first words\nlast \xff words")
		status, _ := strconv.Atoi(args[0])
		return status
	case "noise": // on standard output and error, that many lines of 16 bytes
		out, errs := bufio.NewWriter(os.Stdout), bufio.NewWriter(os.Stderr)
		outLines, _ := strconv.Atoi(args[0])
		errLines, _ := strconv.Atoi(args[1])
		for i := range max(outLines, errLines) {
			if i < outLines {
				fmt.Fprintf(out, "output %08d\n", i)
			}
			if i < errLines {
				fmt.Fprintf(errs, "errors %08d\n", i)
			}
		}
		_ = errors.Join(out.Flush(), errs.Flush())
		return len(args) - 2
	case "flood":
		for line := []byte(strings.Repeat("x", 4095) + "\n"); ; {
			if _, err := os.Stdout.Write(line); err != nil {
				return 1
			}
		}
	case "files":
		return listFiles()
	case "litter": // leaves temporary files
		_ = os.WriteFile(filepath.Join(os.TempDir(), "left"), []byte("x"), 0o400)
		_ = os.MkdirAll(filepath.Join(os.TempDir(), "a", "b"), 0o700)
		fmt.Println(os.TempDir())
	case "polite": // ends when asked
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		conn := report(args[0], name)
		<-asked
		fmt.Fprintln(conn, "asked")
	case "hold": // ignores all requests to end, until the test lets it
		signal.Ignore(syscall.SIGTERM, os.Interrupt)
		_, _ = io.Copy(io.Discard, report(args[0], name))
	case "wait": // until the test lets it
		_, _ = io.Copy(io.Discard, report(args[0], name))
	case "fork": // starts a "hold" and ends when the test lets it, or is another program then
		fmt.Println("started")
		child := exec.Command(os.Args[0], os.Args[1], "hold", args[0])
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return 1
		}
		_, _ = io.Copy(io.Discard, report(args[0], name))
		if len(args) > 1 {
			return program(args[1], nil)
		}
	}
	return 0
}

// report tells the test at addr who runs.
func report(addr, name string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		os.Exit(99)
	}
	fmt.Fprintln(conn, name)
	return conn
}

// listFiles prints what the program sees of the files in its document.
func listFiles() int {
	var d handler.Document
	if err := json.NewDecoder(os.Stdin).Decode(&d); err != nil {
		return 1
	}
	all := d.Attachments
	if d.InReplyTo != nil {
		all = append(all, d.InReplyTo.Attachments...)
	}
	for _, a := range all {
		content, err := os.ReadFile(a.Path)
		if a.Path == "" {
			fmt.Printf("%q has no path\n", a.Name)
			continue
		}
		file, _ := os.Stat(a.Path)
		folder, _ := os.Stat(filepath.Dir(a.Path))
		fmt.Printf("%q %q %q %v", a.Name, filepath.Base(a.Path), content, err)
		if runtime.GOOS != "windows" {
			fmt.Print(" ", file.Mode(), " ", folder.Mode())
		}
		if filepath.Dir(a.Path) != filepath.Clean(os.TempDir()) {
			fmt.Print(" in a strange place: ", a.Path)
		}
		fmt.Println()
	}
	return 0
}

// newExec returns an Exec of program, in folders of its own.
func newExec(t *testing.T, args ...string) handler.Exec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return handler.Exec{
		Command: append([]string{self, "-test.run=^TestProgram$"}, args...),
		Dir:     filepath.Join(dir, "work"),
		Temp:    filepath.Join(dir, "temp"),
	}
}

func hello() bridge.Message {
	return bridge.Message{
		Key:        bridge.Key{Room: "knzaftd5", ID: "7"},
		Room:       bridge.Room{Token: "knzaftd5", Name: "Kitchen"},
		Author:     bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: "Alice"},
		Text:       "hello",
		ReceivedAt: time.Date(2026, 11, 22, 18, 30, 0, 0, time.UTC),
	}
}

// answerOf returns the text of the only reply; empty if there is none.
func answerOf(ctx context.Context, t *testing.T, e handler.Exec, m bridge.Message) (string, error) {
	t.Helper()
	replies, err := e.Handle(ctx, m)
	if left, _ := os.ReadDir(e.Temp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if len(replies) == 0 {
		return "", err
	}
	if diff := cmp.Diff([]bridge.Reply{{Text: replies[0].Text}}, replies); diff != "" || replies[0].Text == "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
	return replies[0].Text, err
}

func wantError(t *testing.T, err error, code bridge.Code, inText, inHint, inCause string) {
	t.Helper()
	e, ok := errors.AsType[*bridge.Error](err)
	if !ok {
		t.Fatalf("the error is %v, want %s", err, code)
	}
	if e.Code != code || !strings.Contains(e.Text.String(), inText) {
		t.Errorf("the error is %s %q, want %s with %q", e.Code, e.Text, code, inText)
	}
	if !strings.Contains(e.Hint.String(), inHint) || inHint == "" && !e.Hint.IsZero() {
		t.Errorf("the hint is %q, want %q in it", e.Hint, inHint)
	}
	if cause := fmt.Sprint(e.Cause); !strings.Contains(cause, inCause) {
		t.Errorf("the cause is %q, want %q in it", cause, inCause)
	}
	if strings.Contains(err.Error()+e.Hint.String(), "%!") {
		t.Errorf("a bad format in %q, %q", err, e.Hint)
	}
}

func TestExecReply(t *testing.T) {
	lines := strings.Repeat("output 01234567\n", 256<<10/16)
	tests := []struct{ name, printed, want string }{
		{"a line", "pong\n", "pong"},
		{"without line end", "pong", "pong"},
		{"as Windows ends lines", "a\r\nb\r\n", "a\nb"},
		{"Markdown keeps its shape", "\n\n    code\n\n- a\n  - b\t\n\n", "    code\n\n- a\n  - b"},
		{"nothing", "", ""},
		{"white space", " \r\n\t\n\u00a0", ""},
		{"control characters alone", "\x00\x1b", ""},
		{"colours", "\x1b]0;a title\a\x1b[1;31mred\x1b[0m\x00", "red"},
		{"Latin-1", "K\xfcche", "K\ufffdche"},
		{"UTF-8 with a byte order mark", "\ufeffKüche 🥚", "Küche 🥚"},
		{"UTF-16", "\xff\xfeh\x00i\x00", "\ufffdhi"},
		{"as long as can be", lines, lines[:len(lines)-1]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newExec(t, "say", hex.EncodeToString([]byte(tt.printed)))
			if len(tt.printed) > 1000 {
				e = newExec(t, "noise", strconv.Itoa(len(lines)/16), "0")
				var b strings.Builder
				for i := range len(lines) / 16 {
					fmt.Fprintf(&b, "output %08d\n", i)
				}
				tt.want = strings.TrimSpace(b.String())
			}
			got, err := answerOf(t.Context(), t, e, hello())
			if err != nil || got != tt.want {
				t.Errorf("got %.100q, %v; want %.100q", got, err, tt.want)
			}
		})
	}
}

// Whatever people write is data, for a program and for what is told of it.
func TestExecInjection(t *testing.T) {
	evil := []string{
		`"; touch pwned; "`, "$(touch pwned)", "`touch pwned`", "'; touch pwned #", "| touch pwned", "&& touch pwned",
		"a\ntouch pwned\n", "\r\n\x00", "--help", "-rf /", "%s%n %PATH% $HOME ${HOME}", `{"version":2}`, `\"}],"id":"8"`,
		"../../../etc/passwd", `..\..\x`, "</script>\u2028\u202e", "{{.}} {file}",
	}
	for _, s := range evil {
		m := hello()
		m.Text, m.RawText, m.Room.Name, m.Author.ID, m.Author.Name, m.Key.ID = s, s, s, s, s, s
		m.Attachments = []bridge.Attachment{{Type: "file", ID: s, Name: s, MIMEType: s, Path: s, Link: s}}
		m.InReplyTo = &bridge.Message{Text: s}
		e := newExec(t, "echo")
		got, err := answerOf(t.Context(), t, e, m)
		want, _ := json.Marshal(handler.NewDocument(m))
		if err != nil || got != string(want) {
			t.Errorf("%q: got %s, %v\nwant %s", s, got, err, want)
		}
		if made, _ := os.ReadDir(e.Dir); len(made) != 0 {
			t.Errorf("%q made %v", s, made)
		}
	}

	got, err := answerOf(t.Context(), t, newExec(t, append([]string{"arguments"}, evil[:6]...)...), hello())
	var args []string
	if err != nil || json.Unmarshal([]byte(got), &args) != nil || !slices.Equal(args, evil[:6]) {
		t.Errorf("the arguments are %s, %v", got, err)
	}
}

// A program need not read its input, however long it is.
func TestExecUnreadInput(t *testing.T) {
	m := hello()
	m.Text = strings.Repeat("long ", 200_000)
	got, err := answerOf(t.Context(), t, newExec(t, "say", "6f6b"), m)
	if err != nil || got != "ok" {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = answerOf(t.Context(), t, newExec(t, "files"), m)
	if err != nil || got != "" {
		t.Errorf("a program that reads it: %q, %v", got, err)
	}
}

func TestExecEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"PERCH_WEBHOOK_SECRET": "secret of the webhook", "PERCH_APP_TOKEN": "secret token", "PERCH_CONFIG": "secret place",
		"OPENAI_API_KEY": "secret key", "AWS_SECRET_ACCESS_KEY": "secret key", "HTTPS_PROXY": "http://user:secret@proxy",
		"SSH_AUTH_SOCK": "secret socket", "DBUS_SESSION_BUS_ADDRESS": "secret bus", "LD_PRELOAD": "",
		"LANG": "fr_FR.UTF-8", "TZ": "Europe/Paris", "USER": "perch", "TMPDIR": t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	e := newExec(t, "environment")
	got, err := answerOf(t.Context(), t, e, hello())
	if err != nil || strings.Contains(got, "secret") || strings.Contains(strings.Replace(got, "\nPERCH_OUT=", "", 1), "PERCH") {
		t.Fatalf("%v\n%s", err, got)
	}
	if runtime.GOOS == "windows" {
		return
	}
	var names []string
	for line := range strings.Lines(got) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		names = append(names, name)
		if name == "PERCH_OUT" {
			value = filepath.Dir(value)
		}
		ours := name == "TMPDIR" || name == "PERCH_OUT"
		if ours && filepath.Dir(value) != e.Temp || !ours && value != os.Getenv(name) {
			t.Errorf("%s is %q", name, value)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"HOME", "LANG", "PATH", "PERCH_OUT", "TMPDIR", "TZ", "USER"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExecFolders(t *testing.T) {
	e := newExec(t, "folder")
	got, err := answerOf(t.Context(), t, e, hello())
	want, _ := filepath.EvalSymlinks(e.Dir)
	if err != nil || got != want {
		t.Errorf("works in %q, %v; want %q", got, err, want)
	}
	e.Command = newExec(t, "litter").Command
	got, err = answerOf(t.Context(), t, e, hello()) // looks for what is left
	if err != nil || filepath.Dir(got) != e.Temp {
		t.Errorf("temporary files are in %q, %v; want them below %q", got, err, e.Temp)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, broken := range []handler.Exec{
		{Command: e.Command, Dir: file, Temp: e.Temp},
		{Command: e.Command, Dir: e.Dir, Temp: file},
		{Command: e.Command, Dir: filepath.Join(file, "below"), Temp: e.Temp},
		{Command: e.Command, Temp: e.Temp},
	} {
		_, err := broken.Handle(t.Context(), hello())
		wantError(t, err, bridge.CodeUnavailable, "cannot be used", "write there", "")
	}
}

func TestExecFails(t *testing.T) {
	log := "perch log"
	tests := []struct {
		name                    string
		args                    []string
		inText, inHint, inCause string
		notInCause              string
	}{
		{"exit status 3", []string{"fail", "3"}, "failed with exit status 3", log, "exit status 3; standard error: \"first words\\nlast \ufffd words\\n\"", ""},
		{"exit status 1, silent", []string{"noise", "1", "0", "1"}, "failed with exit status 1", log, "nothing on standard error", ""},
		{"noisy on standard error", []string{"noise", "10", "300000", "1"}, "exit status 1", log, `errors 00299999\n"`, "00000000"},
		{"a byte too much", []string{"noise", strconv.Itoa(256<<10/16 + 1), "0"}, "printed more than 256 KiB", "standard output", "standard error", ""},
		{"noisy on both", []string{"noise", "300000", "300000"}, "printed more than 256 KiB", "standard output", "standard error", ""},
		{"endless", []string{"flood"}, "printed more than 256 KiB", "standard output", "nothing on standard error", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := answerOf(t.Context(), t, newExec(t, tt.args...), hello())
			wantError(t, err, bridge.CodeInternal, tt.inText, tt.inHint, tt.inCause)
			if got != "" {
				t.Errorf("got %.100q", got)
			}
			if len(err.Error()) > 4<<10 || tt.notInCause != "" && strings.Contains(err.Error(), tt.notInCause) {
				t.Errorf("%d bytes of cause: %.200q", len(err.Error()), err)
			}
		})
	}

	got, err := answerOf(t.Context(), t, newExec(t, "noise", "2", "300000"), hello())
	if err != nil || got != "output 00000000\noutput 00000001" {
		t.Errorf("noisy, but well: %q, %v", got, err)
	}
}

// witness hears from the programs of a test, and sees their end.
type witness struct {
	t *testing.T
	net.Listener
}

func newWitness(t *testing.T) witness {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return witness{t, listener}
}

func (w witness) addr() string { return w.Listener.Addr().String() }

// process is a program of a test, at the other end of a connection.
type process struct {
	net.Conn
	*bufio.Reader
	name string
}

// running waits until n programs run, and returns them by name.
func (w witness) running(n int) map[string]process {
	w.t.Helper()
	all := map[string]process{}
	for range n {
		conn, err := w.Accept()
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute)) // a test that fails would hang
		p := process{Conn: conn, Reader: bufio.NewReader(conn)}
		p.name = p.says(w.t)
		all[p.name] = p
	}
	if len(all) != n {
		w.t.Fatalf("running: %v", all)
	}
	return all
}

func (p process) says(t *testing.T) string {
	t.Helper()
	line, err := p.ReadString('\n')
	if err != nil {
		t.Error(p.name, err)
	}
	return strings.TrimSpace(line)
}

// ended waits for the end of p.
func (p process) ended(t *testing.T) {
	t.Helper()
	_, err := p.ReadByte()
	if netError, ok := errors.AsType[net.Error](err); err == nil || ok && netError.Timeout() {
		t.Errorf("%s goes on: %v", p.name, err)
	}
}

// lateContext is past its deadline once done is closed.
type lateContext struct {
	context.Context
	done chan struct{}
}

func (c lateContext) Done() <-chan struct{} { return c.done }

func (c lateContext) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// handling is a call of Handle under way.
type handling struct {
	cancel context.CancelFunc // as if Perch stopped
	expire func()             // as if the deadline came
	answer func() (string, error)
}

func start(t *testing.T, e handler.Exec) handling {
	t.Helper()
	type result struct {
		text string
		err  error
	}
	late := lateContext{t.Context(), make(chan struct{})}
	ctx, cancel := context.WithCancel(late)
	t.Cleanup(cancel)
	answered := make(chan result, 1)
	go func() {
		text, err := answerOf(ctx, t, e, hello())
		answered <- result{text, err}
	}()
	return handling{cancel, sync.OnceFunc(func() { close(late.done) }), func() (string, error) {
		r := <-answered
		return r.text, r.err
	}}
}

// With the program ends what it started, whether or not that wants to.
func TestExecEndsAll(t *testing.T) {
	w := newWitness(t)
	t.Run("at the deadline", func(t *testing.T) {
		h := start(t, newExec(t, "hold", w.addr()))
		p := w.running(1)["hold"]
		h.expire()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long and was ended", "timeout", "context deadline exceeded; nothing on standard error")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error("the cause is not to be found in", err)
		}
		p.ended(t)
	})
	t.Run("when Perch stops", func(t *testing.T) {
		h := start(t, newExec(t, "hold", w.addr()))
		p := w.running(1)["hold"]
		h.cancel()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "was ended before it was ready", "", "context canceled")
		p.ended(t)
	})
	t.Run("a family at the deadline", func(t *testing.T) {
		h := start(t, newExec(t, "fork", w.addr()))
		all := w.running(2)
		h.expire()
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long and was ended", "timeout", "")
		all["fork"].ended(t)
		all["hold"].ended(t)
	})
	t.Run("a child that stays with the output", func(t *testing.T) {
		h := start(t, newExec(t, "fork", w.addr()))
		all := w.running(2)
		_ = all["fork"].Close() // it ends
		got, err := h.answer()
		if err != nil || got != "started" {
			t.Errorf("got %q, %v", got, err)
		}
		all["hold"].ended(t)
	})
	t.Run("a child of a program that printed too much", func(t *testing.T) {
		h := start(t, newExec(t, "fork", w.addr(), "flood"))
		all := w.running(2)
		_ = all["fork"].Close() // it floods
		_, err := h.answer()
		wantError(t, err, bridge.CodeInternal, "printed more than", "standard output", "")
		all["hold"].ended(t)
	})
	t.Run("asked first", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("Windows has no such request")
		}
		h := start(t, newExec(t, "polite", w.addr()))
		p := w.running(1)["polite"]
		h.expire()
		if said := p.says(t); said != "asked" {
			t.Errorf("the program said %q", said)
		}
		_, err := h.answer()
		wantError(t, err, bridge.CodeUnavailable, "took too long", "timeout", "")
	})
	t.Run("too late to start", func(t *testing.T) {
		late := lateContext{t.Context(), make(chan struct{})}
		close(late.done)
		_, err := newExec(t, "hold", w.addr()).Handle(late, hello())
		wantError(t, err, bridge.CodeUnavailable, "took too long", "timeout", "")
	})
}

func TestExecProgram(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	self := newExec(t).Command[0]
	tests := []struct {
		name       string
		command    []string
		unix       bool
		code       bridge.Code
		text, hint string
		diagnosed  bridge.Status // empty: StatusFail
	}{
		{"none", nil, false, bridge.CodeInvalid, "No program is set", "command = [", ""},
		{"an empty one", []string{""}, false, bridge.CodeInvalid, "No program is set", "command = [", ""},
		{"a relative path", []string{"./x/y"}, false, bridge.CodeNotFound, "There is no program " + strconv.Quote(filepath.Join(dir, "x", "y")), "Check the path", ""},
		{"a line for a shell", []string{self + " echo hello"}, false, bridge.CodeNotFound, "There is no program", "a string of its own", ""},
		{"missing", []string{filepath.Join(dir, "missing")}, false, bridge.CodeNotFound, "There is no program", "Check the path", ""},
		{"missing in PATH", []string{"no-such-program"}, false, bridge.CodeNotFound, `no program "no-such-program" in the folders of PATH`, "Install it", ""},
		{"a folder", []string{dir}, false, bridge.CodeInvalid, "is a folder", "a program in it", ""},
		{"not executable", []string{write("plain", "#!/bin/sh\n", 0o600)}, true, bridge.CodeDenied, "may not be run", "chmod +x", ""},
		{"no program", []string{write("text", "hello\n", 0o700)}, true, bridge.CodeUnavailable, "cannot be started", "#!/bin/sh", bridge.StatusOK},
		{"a zero byte", []string{"/bin/sh", "a\x00b"}, true, bridge.CodeUnavailable, "cannot be started", "", bridge.StatusOK},
		{"missing language", []string{write("snake", "#!/no/such/python -u\nhello\n", 0o700)}, true, bridge.CodeInvalid, `names the program "/no/such/python"`, "Install it, or correct the line", ""},
		{"missing language in PATH", []string{write("env", "#!/usr/bin/env no-such-language\n", 0o700)}, true, bridge.CodeInvalid, `names the program "no-such-language"`, "Install it", ""},
		{"the same with arguments", []string{write("envS", "#!/usr/bin/env -S no-such-language -u\n", 0o700)}, true, bridge.CodeInvalid, `names the program "no-such-language"`, "Install it", ""},
		{"a language without its path", []string{write("bare", "#!sh\n", 0o700)}, true, bridge.CodeInvalid, `names the program "sh"`, "correct the line", ""},
		{"a language that may not be run", []string{write("plainly", "#!"+filepath.Join(dir, "plain")+"\n", 0o700)}, true, bridge.CodeInvalid, "plain\", which may not be run", "Correct the line", ""},
		{"line ends of Windows", []string{write("dos", "#!/bin/sh\r\necho hello\r\n", 0o700)}, true, bridge.CodeInvalid, `has the line ends of Windows`, "line ends of Unix", ""},
		{"line ends of Windows, in PATH", []string{write("dosenv", "#!/usr/bin/env sh\r\necho hello\r\n", 0o700)}, true, bridge.CodeInvalid, `has the line ends of Windows`, "line ends of Unix", ""},
		{"line ends of Windows, with arguments", []string{write("dose", "#!/bin/sh -e\r\necho hello\r\n", 0o700)}, true, bridge.CodeInternal, "failed with exit status", "line ends of Unix", bridge.StatusOK},
		{"a byte order mark", []string{write("bom", "\ufeff#!/bin/sh\necho hello\n", 0o700)}, true, bridge.CodeInvalid, "byte order mark", "without", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.unix && runtime.GOOS == "windows" {
				t.Skip("Windows decides by the name")
			}
			e := newExec(t)
			e.Command, e.Base = tt.command, dir
			_, err := answerOf(t.Context(), t, e, hello())
			inHint := tt.hint
			if inHint == "" {
				inHint = "command = ["
			}
			wantError(t, err, tt.code, tt.text, inHint, "")

			r := e.Diagnose(t.Context())
			if tt.diagnosed == bridge.StatusOK {
				if r.Status != bridge.StatusOK {
					t.Errorf("the check says %+v", r)
				}
				return
			}
			if r.Status != bridge.StatusFail || r.Seen.String() != bridge.TextOf(err).String() ||
				r.Fix.String() != bridge.HintOf(err).String() || r.Why.IsZero() {
				t.Errorf("the check says %+v, Handle %v", r, err)
			}
		})
	}
}

// A check looks, and neither runs the program nor makes its folders.
func TestExecDiagnose(t *testing.T) {
	e := newExec(t, "fail", "1")
	if r := e.Diagnose(t.Context()); r.Status != bridge.StatusOK || !strings.Contains(r.Seen.String(), e.Command[0]) {
		t.Errorf("got %+v", r)
	}
	if _, err := os.Stat(e.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the check made a folder:", err)
	}
	if err := os.WriteFile(e.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := e.Diagnose(t.Context()); r.Status != bridge.StatusFail || !strings.Contains(r.Seen.String(), "is a file") || r.Fix.IsZero() {
		t.Errorf("got %+v", r)
	}
}

// fetcher has the content of files by their id.
type fetcher map[string]string

func (f fetcher) FetchFile(_ context.Context, m bridge.Message, a bridge.Attachment, limit int64) ([]byte, error) {
	content, ok := f[m.Key.ID+"/"+a.ID]
	switch {
	case !ok:
		return nil, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("gone"), Hint: bridge.Say("look for it")}
	case int64(len(content)) > limit:
		return nil, &bridge.Error{Code: bridge.CodeRejected, Text: bridge.Say("too big")}
	}
	return []byte(content), nil
}

func share(names ...string) []bridge.Attachment {
	var all []bridge.Attachment
	for i, name := range names {
		all = append(all, bridge.Attachment{Type: "file", ID: strconv.Itoa(i + 1), Name: name, Path: "/" + name})
	}
	return all
}

func TestExecFiles(t *testing.T) {
	modes := " -rw------- drwx------"
	if runtime.GOOS == "windows" {
		modes = ""
	}
	m := hello()
	m.Attachments = share("list.txt", "../../list.txt", "huge.iso", "-rf")
	m.Attachments = append(m.Attachments, bridge.Attachment{Type: "talk-poll", ID: "9", Name: "Pizza?"})
	m.InReplyTo = &bridge.Message{Key: bridge.Key{Room: "knzaftd5", ID: "6"}, Attachments: share("egg.png")}
	e := newExec(t, "files")

	e.Files = fetcher{
		"7/1": "eggs", "7/2": "", "7/3": strings.Repeat("x", 16<<20+1), "7/4": "\x00\xff", "6/1": "\x89PNG",
	}
	got, err := answerOf(t.Context(), t, e, m)
	want := strings.Join([]string{
		`"list.txt" "1_list.txt" "eggs" <nil>` + modes,
		`"../../list.txt" "2__.._list.txt" "" <nil>` + modes,
		`"huge.iso" has no path`,
		`"-rf" "3_-rf" "\x00\xff" <nil>` + modes,
		`"Pizza?" has no path`,
		`"egg.png" "4_egg.png" "\x89PNG" <nil>` + modes,
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}

	e.Files = nil
	got, err = answerOf(t.Context(), t, e, m)
	if err != nil || strings.Count(got, "has no path") != 6 {
		t.Errorf("without content: %v\n%s", err, got)
	}

	e.Files = fetcher{"7/1": "eggs"}
	_, err = answerOf(t.Context(), t, e, m)
	wantError(t, err, bridge.CodeNotFound, "gone", "look for it", "")

	many := fetcher{}
	m.Attachments, m.InReplyTo = nil, nil
	for i := range 12 {
		many["7/"+strconv.Itoa(i+1)] = "x"
		m.Attachments = append(m.Attachments, share("same.txt", "", "", "", "", "", "", "", "", "", "", "")[i])
	}
	e.Files = many
	got, err = answerOf(t.Context(), t, e, m)
	if err != nil || strings.Count(got, `"x" <nil>`) != 10 || strings.Count(got, "has no path") != 2 {
		t.Errorf("many: %v\n%s", err, got)
	}
}

func TestCleanTemp(t *testing.T) {
	parent := t.TempDir()
	left := filepath.Join(parent, "message-123", "a")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "b"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(parent, "another's"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{parent, parent, filepath.Join(parent, "missing")} {
		if err := handler.CleanTemp(dir); err != nil {
			t.Error(err)
		}
	}
	all, err := os.ReadDir(parent)
	if err != nil || len(all) != 1 || all[0].Name() != "another's" {
		t.Errorf("there is %v, %v", all, err)
	}
	err = handler.CleanTemp(filepath.Join(parent, "another's"))
	wantError(t, err, bridge.CodeUnavailable, "cannot be used", "write there", "")
}
