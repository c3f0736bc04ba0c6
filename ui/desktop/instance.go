package desktop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"perch/bridge"
)

// Claim makes this process the one that has the window of the data folder dir,
// which it creates if need be. Whoever is first gets a channel that says when
// the window is to be raised, and holds the claim until release or its end. For
// everyone else first is false: the window of the first one was raised, or err
// says why not. The error is a *bridge.Error.
func Claim(ctx context.Context, dir string) (first bool, raise <-chan struct{}, release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, nil, nil, unclaimed(dir, err)
	}
	// The lock says who is first, and ends with the process, however that ends.
	// The socket of one that crashed stays behind, so it says nothing.
	lock := flock.New(filepath.Join(dir, "window.lock"), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return false, nil, nil, unclaimed(dir, err)
	}
	path := ourSocketPath(dir)
	if !locked {
		if err := knock(ctx, path); err != nil {
			return false, nil, nil, &bridge.Error{
				Code:  bridge.CodeConflict,
				Text:  bridge.Say("Perch is already running, but its window cannot be reached"),
				Hint:  bridge.Say("open it from its icon in the panel, or end that process and try again"),
				Cause: err,
			}
		}
		return false, nil, nil, nil
	}
	listener, err := listen(ctx, path)
	if err != nil {
		return false, nil, nil, unclaimed(dir, errors.Join(err, lock.Unlock()))
	}
	raised := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		attend(listener, raised)
	}()
	return true, raised, func() {
		_ = listener.Close() // removes the socket, too
		<-done
		_ = lock.Unlock()
	}, nil
}

func unclaimed(dir string, cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("cannot tell whether Perch runs already"),
		Hint:  bridge.Say("make sure that you can write to the folder %s", dir),
		Cause: cause,
	}
}

const (
	knockTimeout = 5 * time.Second
	heard        = "perch\n" // what answers a knock
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

// attend passes on every knock until the listener is closed.
func attend(listener net.Listener, raise chan<- struct{}) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		select {
		case raise <- struct{}{}:
		default: // it will be raised anyway
		}
		_ = conn.SetDeadline(time.Now().Add(knockTimeout))
		_, _ = io.WriteString(conn, heard)
		_ = conn.Close()
	}
}

// knock asks who listens at path to raise its window. It waits for one that is
// just about to listen.
func knock(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, knockTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := knockOnce(ctx, path)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

func knockOnce(ctx context.Context, path string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, len(heard)))
	return err
}

// maxSocketPath is how long the path of a socket can be on every system; macOS
// has the least room.
const maxSocketPath = 103

// socketPath returns where the first one listens: in dir, or in a folder of the
// user's own with a shorter name if that would be too long. It is never in a
// folder that users share, where another could take the name.
func socketPath(dir, runtimeDir, cacheDir string) string {
	path := filepath.Join(dir, "window.sock")
	if len(path) <= maxSocketPath {
		return path
	}
	sum := sha256.Sum256([]byte(dir))
	name := "perch-" + hex.EncodeToString(sum[:8]) + ".sock"
	if path := filepath.Join(runtimeDir, name); filepath.IsAbs(path) && len(path) <= maxSocketPath {
		return path
	}
	return filepath.Join(cacheDir, name)
}

// ourSocketPath is socketPath for this user.
func ourSocketPath(dir string) string {
	cache, err := os.UserCacheDir()
	if err != nil || os.MkdirAll(cache, 0o700) != nil {
		cache = dir // too long, as the error will say
	}
	return socketPath(dir, os.Getenv("XDG_RUNTIME_DIR"), cache)
}
