package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/handler"
)

// orphanAge is how old a file is that no reply will be made for any more.
const orphanAge = time.Hour

// spool keeps the files of replies from when a handler gave them until they were
// sent, beside the journal. What it keeps is on disk. It implements
// handler.Outgoing.
type spool struct{ dir string }

// Keep implements handler.Outgoing.
func (s spool) Keep(name string, content io.Reader) (_ bridge.File, err error) {
	f := bridge.File{Name: handler.SharedName(name)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return f, s.failed(err)
	}
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	f.Key = hex.EncodeToString(key)
	file, err := os.OpenFile(s.path(f), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return f, s.failed(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	f.Size, err = io.Copy(file, io.LimitReader(content, handler.MaxShared+1))
	head := make([]byte, 512)
	n := 0
	if err == nil {
		n, err = file.ReadAt(head, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return f, s.failed(err)
	}
	if f.Size > handler.MaxShared {
		return f, &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("The file %[1]s has more than %[2]s MiB and is not shared", f.Name, strconv.Itoa(handler.MaxShared>>20)),
		}
	}
	if f.MIMEType = mime.TypeByExtension(filepath.Ext(f.Name)); f.MIMEType == "" {
		f.MIMEType = http.DetectContentType(head[:n])
	}
	return f, syncFolder(s.dir)
}

// syncFolder makes the names in a folder durable, where that is possible.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil // Windows
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}

func (s spool) failed(err error) error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable, Text: bridge.Say("The folder %s cannot be used", strconv.Quote(s.dir)),
		Hint: bridge.Say("Is there space on the disk, and may your user write there?"), Cause: err,
	}
}

func (s spool) path(f bridge.File) string { return filepath.Join(s.dir, filepath.Base(f.Key)) }

// Open is a talk.Opener.
func (s spool) Open(f bridge.File) (io.ReadCloser, error) { return os.Open(s.path(f)) }

// Drop implements handler.Outgoing.
func (s spool) Drop(f bridge.File) { _ = os.Remove(s.path(f)) } // else sweep does it

// sweep removes the files that no reply waits with, and that are so old.
func (s spool) sweep(ctx context.Context, waiting func(ctx context.Context) ([]bridge.Reply, error), age time.Duration) error {
	all, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) || len(all) == 0 {
		return nil
	}
	replies, waitingErr := waiting(ctx)
	if err := errors.Join(err, waitingErr); err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, r := range replies {
		if r.File != nil {
			needed[r.File.Key] = true
		}
	}
	for _, entry := range all {
		info, err := entry.Info()
		if err == nil && !needed[entry.Name()] && !strings.HasPrefix(entry.Name(), ".") && time.Since(info.ModTime()) >= age {
			_ = os.Remove(filepath.Join(s.dir, entry.Name()))
		}
	}
	return nil
}
