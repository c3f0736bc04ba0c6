package session

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"perch/bridge"
)

// Who there is one of for each home.
const (
	Tray   = "tray"
	Window = "window"
)

// What they are asked, and what they answer.
const (
	Raise    = "raise"    // both: show the window
	Doctor   = "doctor"   // the window: show the doctor at work
	Settings = "settings" // the window: show the settings
	Pause    = "pause"    // the window: ask if the bot shall be paused
	Copy     = "copy"     // the window: show the address, and copy it
	Quit     = "quit"     // both: end
	Opened   = "opened"   // the tray: the window is drawn
	Closing  = "closing"  // the tray: what becomes of the window that a person closes?

	Yes = "yes" // it is done
	Go  = "go"  // to Closing: it goes
	Ask = "ask" // to Closing: it asks if Perch shall go on, as nothing else would show that it does
)

// Claim is a process's right to be the one of its kind for a home.
type Claim struct {
	Calls <-chan Call // from other processes, one after the other; to be answered soon

	lock     *flock.Flock
	listener net.Listener
	end      chan struct{}
	ended    chan struct{}
}

// Call is something that another process asks.
type Call struct {
	Word   string
	answer chan<- string
}

// Answer answers the call. One that is not answered before the claim is given up
// has failed, and can be made again.
func (c Call) Answer(word string) { c.answer <- word }

// Take makes this process the one of its kind, Tray or Window, for the data
// folder dir, which it creates if need be. The claim is nil if another process
// is; that can be called. Release must be called. The error is a *bridge.Error.
func Take(ctx context.Context, dir, kind string) (*Claim, error) {
	unclaimed := func(cause error) error {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("cannot tell whether Perch runs already"),
			Hint:  bridge.Say("make sure that you can write to the folder %s", dir),
			Cause: cause,
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unclaimed(err)
	}
	// The lock says who is first, and ends with the process, however that ends.
	// The socket of one that crashed stays behind, so it says nothing.
	lock := flock.New(filepath.Join(dir, kind+".lock"), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, unclaimed(err)
	}
	if !locked {
		return nil, nil //nolint:nilnil // As its documentation says.
	}
	listener, err := listen(ctx, ourSocketPath(dir, kind))
	if err != nil {
		return nil, unclaimed(errors.Join(err, lock.Unlock()))
	}
	calls := make(chan Call)
	c := &Claim{Calls: calls, lock: lock, listener: listener, end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		c.attend(calls)
	}()
	return c, nil
}

// Release gives the claim up.
func (c *Claim) Release() {
	close(c.end)
	_ = c.listener.Close() // removes the socket, too
	<-c.ended
	_ = c.lock.Unlock()
}

const (
	callTimeout = 5 * time.Second
	maxWord     = 64
)

// listen listens at path, where a crash may have left a socket behind.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// attend passes on every call until the listener is closed.
func (c *Claim) attend(calls chan<- Call) {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(callTimeout))
		c.hear(conn, calls)
		_ = conn.Close()
	}
}

// hear passes on one call, and its answer.
func (c *Claim) hear(conn net.Conn, calls chan<- Call) {
	word, err := bufio.NewReader(io.LimitReader(conn, maxWord)).ReadString('\n')
	if err != nil {
		return
	}
	answer := make(chan string, 1)
	select {
	case calls <- Call{strings.TrimSpace(word), answer}:
	case <-c.end:
		return
	}
	select {
	case word = <-answer:
	case <-c.end:
		select {
		case word = <-answer:
		default:
			return
		}
	}
	_, _ = io.WriteString(conn, word+"\n") // one that has gone needs none
}

// Tell calls the process of a kind and returns its answer. The error matches
// fs.ErrNotExist if there is none.
func Tell(ctx context.Context, dir, kind, word string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", ourSocketPath(dir, kind))
	if err != nil {
		return "", errors.Join(fs.ErrNotExist, err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, word+"\n"); err != nil {
		return "", err
	}
	answer, err = bufio.NewReader(io.LimitReader(conn, maxWord)).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// Reach is Tell for a process that has the claim: it waits for one that is just
// about to listen. The error is a *bridge.Error.
func Reach(ctx context.Context, dir, kind, word string) error {
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := Tell(within, dir, kind, word)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-within.Done():
			return &bridge.Error{
				Code:  bridge.CodeConflict,
				Text:  bridge.Say("Perch is already running, but its window cannot be reached"),
				Hint:  bridge.Say("open it from its icon in the panel, or end that process and try again"),
				Cause: err,
			}
		}
	}
}

// maxSocketPath is how long the path of a socket can be on every system; macOS
// has the least room.
const maxSocketPath = 103

// socketPath returns where the first one listens: in dir, or in a folder of the
// user's own with a shorter name if that would be too long. It is never in a
// folder that users share, where another could take the name.
func socketPath(dir, kind, runtimeDir, cacheDir string) string {
	path := filepath.Join(dir, kind+".sock")
	if len(path) <= maxSocketPath {
		return path
	}
	sum := sha256.Sum256([]byte(dir))
	name := "perch-" + kind + "-" + hex.EncodeToString(sum[:8]) + ".sock"
	if path := filepath.Join(runtimeDir, name); filepath.IsAbs(path) && len(path) <= maxSocketPath {
		return path
	}
	return filepath.Join(cacheDir, name)
}

// ourSocketPath is socketPath for this user.
func ourSocketPath(dir, kind string) string {
	cache, err := os.UserCacheDir()
	if err != nil || os.MkdirAll(cache, 0o700) != nil {
		cache = dir // too long, as the error will say
	}
	return socketPath(dir, kind, os.Getenv("XDG_RUNTIME_DIR"), cache)
}
