package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"perch/bridge"
	"perch/bridge/config"
)

// Bounds of a program's output, in bytes.
const (
	maxReply = 256 << 10 // on standard output: more is an error
	maxCause = 2 << 10   // on standard error: the end is kept
)

// The time that the parts of an end may take. After the deadline they are
// together less than the second that a handler is then waited for.
const (
	exitGrace  = 500 * time.Millisecond // from the request to end to the kill
	errorGrace = 200 * time.Millisecond // from the kill to the end of the output
	pipeGrace  = 5 * time.Second        // from the end of a program that was not killed to that of its output
)

// Exec answers with a program. For each message it starts the program without a
// shell and writes the Document to its standard input; what the program prints
// on standard output is the reply, and no reply if that is blank. An exit status
// other than 0 is an error, with the end of standard error as its cause.
//
// The environment holds PATH, HOME, LANG, USER, TZ and TMPDIR (on Windows what
// programs need there), PERCH_OUT, and nothing else of Perch's.
//
// What the program started ends with it, and all of it when ctx is done: first
// on request, half a second later by force. On Windows they are in a job. On
// Linux and macOS they are a process group; who leaves it is found by its
// TMPDIR, which is another for each message. On macOS that does not find
// programs of the system (/bin, /usr/bin) which both left the group and are not
// ended by the end of their output; nor, anywhere, one that took TMPDIR out of
// its environment.
type Exec struct {
	Command []string  // the program, as config.FindProgram takes it, and its arguments
	Base    string    // the folder that a relative path of the program counts from
	Dir     string    // its working folder; made if missing
	Temp    string    // where folders for single messages are made and removed; see CleanTemp
	Files   Fetcher   // gets the files that were shared; nil: the program gets their links
	Running *Programs // has the program while it runs; may be nil
	// Outgoing keeps the files that the program leaves in its folder PERCH_OUT,
	// which are shared; nil: that is said in their place.
	Outgoing Outgoing
	Sink     bridge.EventSink // hears of files that are not shared; may be nil

	out string // PERCH_OUT; empty: none
}

// Exec is a Handler.
var _ bridge.Handler = Exec{}

// Handle implements bridge.Handler.
func (e Exec) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	path, err := e.program()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return nil, noFolder(e.Dir, err)
	}
	temp, err := newTemp(e.Temp)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)

	document, n := NewDocument(m), 0
	err = fetchFiles(ctx, e.Files, m, &document, func(a *Attachment, content []byte) error {
		n++
		a.Path = filepath.Join(temp, fileName(n, a.Name))
		if err := os.WriteFile(a.Path, content, 0o600); err != nil {
			return noFolder(temp, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	input, err := json.Marshal(document)
	if err != nil {
		return nil, &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The message could not be written as JSON"), Cause: err}
	}
	e.out = filepath.Join(temp, "out")
	if err := os.Mkdir(e.out, 0o700); err != nil {
		return nil, noFolder(e.out, err)
	}
	text, err := e.run(ctx, path, temp, append(input, '\n'))
	if err != nil {
		return nil, err
	}
	var replies []bridge.Reply
	if text != "" {
		replies = []bridge.Reply{{Text: text}}
	}
	return withFiles(e.Outgoing, e.Sink, m, replies, filesIn(e.out)), nil
}

// Diagnose looks whether the program can be run, and does not run it.
func (e Exec) Diagnose(context.Context) bridge.Result {
	why := bridge.Say("It answers the messages.")
	path, err := e.program()
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	if info, err := os.Stat(e.Dir); err == nil && !info.IsDir() {
		return bridge.Failed(
			bridge.Say("%s is a file", strconv.Quote(e.Dir)),
			bridge.Say("It should be the folder in which the program works."),
			bridge.Say("Move the file away. Perch makes the folder."),
		)
	}
	return bridge.Passed(bridge.Say("%s can be run", path))
}

// program returns the path of the program.
func (e Exec) program() (string, error) {
	name := ""
	if len(e.Command) > 0 {
		name = e.Command[0]
	}
	return config.FindProgram(name, e.Base)
}

// run runs the program at path and returns its reply.
func (e Exec) run(ctx context.Context, path, temp string, input []byte) (string, error) {
	limited, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(limited, path, e.Command[1:]...)
	cmd.Dir = e.Dir
	cmd.Env = environment(temp)
	if e.out != "" {
		cmd.Env = append(cmd.Env, "PERCH_OUT="+e.out)
	}
	cmd.WaitDelay = exitGrace

	family, err := newFamily(cmd, temp)
	if err != nil {
		return "", notStarted(path, err)
	}
	defer family.end()
	defer e.Running.forget(family)
	cmd.Cancel = family.ask
	streams, err := newStreams(cmd, stop)
	if err != nil {
		return "", notStarted(path, err)
	}
	defer streams.close()

	if err := e.Running.start(family); err != nil {
		if ctx.Err() != nil {
			return "", failed(ctx, path, ctx.Err(), "")
		}
		return "", notStarted(path, err)
	}
	if err := family.adopt(); err != nil {
		stop()
		_ = cmd.Wait()
		return "", notStarted(path, err)
	}
	streams.run(input)
	err = cmd.Wait()
	family.end()
	grace := pipeGrace
	if limited.Err() != nil {
		grace = errorGrace
	}
	streams.wait(grace)

	last := strings.ToValidUTF8(string(streams.errors.data), "\ufffd")
	switch {
	case streams.output.over:
		return "", &bridge.Error{
			Code:  bridge.CodeInternal,
			Text:  bridge.Say("The program %[1]s printed more than %[2]s KiB", strconv.Quote(path), strconv.Itoa(maxReply>>10)),
			Hint:  bridge.Say("All that it prints on standard output is posted. Print what is not for the room on standard error."),
			Cause: &programError{nil, last},
		}
	case err != nil:
		return "", failed(ctx, path, err, last)
	}
	return reply(streams.output.data), nil
}

// Programs are those that run for handlers now.
type Programs struct {
	mu      sync.Mutex
	running map[*family]struct{}
	killed  bool
}

// Kill ends all of them by force, with what they started. None is started
// after it: it is for a process that ends at once.
func (p *Programs) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	for f := range p.running {
		f.kill()
	}
}

func (p *Programs) start(f *family) error {
	Hide() // before the first one runs
	if p == nil {
		return f.cmd.Start()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return context.Canceled
	}
	err := f.cmd.Start()
	if err == nil {
		if p.running == nil {
			p.running = make(map[*family]struct{})
		}
		p.running[f] = struct{}{}
	}
	return err
}

func (p *Programs) forget(f *family) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, f)
}

// failed returns what it means that the program at path ended with err, or did
// not end before ctx did.
func failed(ctx context.Context, path string, err error, stderr string) error {
	e := &bridge.Error{
		Code: bridge.CodeInternal,
		Hint: bridge.Say("What the program printed last on standard error is in the log: perch log"),
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = ctx.Err()
		e.Code = bridge.CodeUnavailable
		e.Text = bridge.Say("The program %s took too long and was ended", strconv.Quote(path))
		e.Hint = bridge.Say("Set a longer timeout, or look in the log for what it printed last on standard error: perch log")
	case ctx.Err() != nil:
		err = ctx.Err()
		e.Code = bridge.CodeUnavailable
		e.Text = bridge.Say("The program %s was ended before it was ready", strconv.Quote(path))
		e.Hint = bridge.Text{}
	case exited && exit.Exited():
		e.Text = bridge.Say("The program %[1]s failed with exit status %[2]s", strconv.Quote(path), strconv.Itoa(exit.ExitCode()))
		if config.HasWindowsLineEnds(path) {
			e.Hint = config.UnixLineEnds(path)
		}
	default:
		e.Text = bridge.Say("The program %s crashed", strconv.Quote(path))
	}
	e.Cause = &programError{err, stderr}
	return e
}

// programError is why a program failed, with the end of its standard error.
type programError struct {
	err    error
	stderr string
}

func (e *programError) Error() string {
	text := fmt.Sprintf("standard error: %q", e.stderr)
	if e.stderr == "" {
		text = "nothing on standard error"
	}
	if e.err != nil {
		text = e.err.Error() + "; " + text
	}
	return text
}

func (e *programError) Unwrap() error { return e.err }

// notStarted returns what err means, for which the program at path, which is
// there, does not run.
func notStarted(path string, err error) error {
	e := &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("The program %s cannot be started", strconv.Quote(path)),
		Hint:  bridge.Say(`Is it for this system? A script needs a first line such as #!/bin/sh, or its language in command: command = ["python", "/full/path/to/script.py"]`),
		Cause: err,
	}
	if errors.Is(err, fs.ErrPermission) {
		e.Code = bridge.CodeDenied
		e.Text = bridge.Say("The system does not let Perch run %s", strconv.Quote(path))
		e.Hint = bridge.Say("May your user run the file, and enter its folder? Is its disk mounted without noexec?")
	}
	return e
}

// reply returns what a program printed as a message.
func reply(output []byte) string {
	text := bridge.CleanText(string(bytes.TrimPrefix(output, []byte("\ufeff"))))
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return strings.TrimRightFunc(strings.TrimLeft(text, "\n"), unicode.IsSpace)
}

// inherit returns those of the environment's variables that are set.
func inherit(names ...string) []string {
	var variables []string
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			variables = append(variables, name+"="+value)
		}
	}
	return variables
}

// streams are the standard input, output and error of a program. They are files
// for it, so that its end can be told from that of its output.
type streams struct {
	theirs, ours [3]*os.File
	output       head
	errors       tail
	busy         sync.WaitGroup
}

// newStreams sets those of cmd. It calls tooMuch where the program prints more
// than maxReply.
func newStreams(cmd *exec.Cmd, tooMuch func()) (*streams, error) {
	s := &streams{output: head{tooMuch: tooMuch}}
	for i := range s.ours {
		r, w, err := os.Pipe()
		if err != nil {
			s.close()
			return nil, err
		}
		if s.theirs[i], s.ours[i] = w, r; i == 0 {
			s.theirs[i], s.ours[i] = r, w
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.theirs[0], s.theirs[1], s.theirs[2]
	return s, nil
}

// run serves the program, which was started. A program need not read its input.
func (s *streams) run(input []byte) {
	closeAll(s.theirs)
	s.busy.Go(func() {
		_, _ = s.ours[0].Write(input)
		_ = s.ours[0].Close()
	})
	s.busy.Go(func() { _, _ = io.Copy(&s.output, s.ours[1]) })
	s.busy.Go(func() { _, _ = io.Copy(&s.errors, s.ours[2]) })
}

// wait waits for the end of the output. Only a process that outlived its family
// can hold it open; grace is how long it is waited for.
func (s *streams) wait(grace time.Duration) {
	timer := time.AfterFunc(grace, func() { closeAll(s.ours) })
	defer timer.Stop()
	s.busy.Wait()
}

func (s *streams) close() {
	closeAll(s.theirs)
	closeAll(s.ours)
}

func closeAll(files [3]*os.File) {
	for _, f := range files {
		_ = f.Close() // nil, or closed before, is an error and no more
	}
}

// head keeps the first maxReply bytes.
type head struct {
	data    []byte
	over    bool
	tooMuch func()
}

// Write never fails, so that the program is not blocked.
func (h *head) Write(p []byte) (int, error) {
	room := maxReply - len(h.data)
	h.data = append(h.data, p[:min(len(p), room)]...)
	if len(p) > room && !h.over {
		h.over = true
		h.tooMuch()
	}
	return len(p), nil
}

// tail keeps the last maxCause bytes.
type tail struct{ data []byte }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p[max(0, len(p)-maxCause):]...)
	t.data = append(t.data[:0], t.data[max(0, len(t.data)-maxCause):]...)
	return len(p), nil
}
