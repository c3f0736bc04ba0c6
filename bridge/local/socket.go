package local

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"perch/bridge"
	"perch/bridge/config"
)

// maxPath is how long the path of a socket can be on every system.
const maxPath = 103

// dialTimeout bounds how long it takes to reach a socket of this machine.
const dialTimeout = 5 * time.Second

// socket is a listener on the socket of a home. While it is open no other process
// can have one there: whoever holds the lock beside it may replace what a crash
// left.
type socket struct {
	*net.UnixListener

	path string
	lock *flock.Flock
}

// listen takes the socket of a home. The error is of CodeConflict if another
// process has it.
func listen(ctx context.Context, home config.Home) (_ *socket, err error) {
	path := home.SocketFile()
	failed := func(err error) error {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The socket %s cannot be made", path),
			Hint:  bridge.Say("Set PERCH_HOME to a folder on a local disk that you may write to."),
			Cause: err,
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, failed(err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	switch ok, err := lock.TryLock(); {
	case err != nil:
		return nil, failed(err)
	case !ok:
		return nil, home.Taken()
	}
	defer func() {
		if err != nil {
			_ = lock.Unlock()
		}
	}()
	if info, err := os.Lstat(path); err == nil && (info.Mode().IsRegular() || info.IsDir()) {
		return nil, failed(errors.New("something else is there by that name"))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err)
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, failed(err)
	}
	defer done()
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", short)
	if err != nil {
		return nil, failed(err)
	}
	s := &socket{path: path, lock: lock}
	s.UnixListener, _ = l.(*net.UnixListener)
	s.SetUnlinkOnClose(false) // it would be by the short name
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(failed(err), s.UnixListener.Close())
	}
	return s, nil
}

// Accept returns the next connection, with who is at its other end.
func (s *socket) Accept() (net.Conn, error) {
	c, err := s.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &peer{UnixConn: c, foreign: isForeign(c)}, nil
}

// Close gives the socket up.
func (s *socket) Close() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.UnixListener.Close(), s.lock.Unlock())
}

// peer is a connection, and whether its other end is another user's.
type peer struct {
	*net.UnixConn

	foreign bool
}

// dial connects to the engine at path. The error is of CodeNotFound if none
// listens there, and of CodeDenied if it is not ours to talk to.
func dial(ctx context.Context, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	short, done, err := shorten(path)
	if err != nil {
		return nil, absent(err)
	}
	defer done()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, foreign()
	case err != nil && ctx.Err() != nil:
		return nil, silent(err)
	case err != nil:
		return nil, absent(err)
	}
	if u, ok := c.(*net.UnixConn); ok && isForeign(u) {
		return nil, errors.Join(foreign(), c.Close())
	}
	return c, nil
}

// silent is the error of an engine that does not answer.
func silent(cause error) error {
	return &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The Perch that runs does not answer"), Cause: cause}
}

// absent is the error of a socket that nobody listens on.
func absent(cause error) error {
	return &bridge.Error{
		Code: bridge.CodeNotFound, Text: bridge.Say("Perch is not running"),
		Hint: bridge.Say("Start it: perch run"), Cause: cause,
	}
}
