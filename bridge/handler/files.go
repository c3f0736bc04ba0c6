package handler

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
)

// The most of shared files that is handed on with one message.
const (
	maxFiles    = 10
	maxFileSize = 16 << 20 // bytes of one
)

// Fetcher gets the content of a file that was shared with m. The error is of
// CodeRejected if it has more than limit bytes.
type Fetcher interface {
	FetchFile(ctx context.Context, m bridge.Message, a bridge.Attachment, limit int64) ([]byte, error)
}

// fetchFiles hands the content of the files that were shared with m, and with
// the message that it quotes, to keep, one at a time, with their place in d,
// which is NewDocument(m). It leaves out those that are larger than maxFileSize
// and all after maxFiles; any other failure ends it. A nil Fetcher gets nothing.
func fetchFiles(ctx context.Context, from Fetcher, m bridge.Message, d *Document, keep func(a *Attachment, content []byte) error) error {
	if from == nil {
		return nil
	}
	left := maxFiles
	fetch := func(m bridge.Message, p *Post) error {
		for i, a := range m.Attachments {
			if a.Type != "file" || left == 0 {
				continue
			}
			left--
			content, err := from.FetchFile(ctx, m, a, maxFileSize)
			switch {
			case bridge.CodeOf(err) == bridge.CodeRejected:
				continue
			case err != nil:
				return err
			}
			if err := keep(&p.Attachments[i], content); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fetch(m, &d.Post); err != nil || m.InReplyTo == nil {
		return err
	}
	return fetch(*m.InReplyTo, d.InReplyTo)
}

// tempPrefix begins the names of the folders that newTemp makes.
const tempPrefix = "message-"

// newTemp makes a folder for what is needed during one message, and returns its
// absolute path.
func newTemp(parent string) (string, error) {
	parent, err := filepath.Abs(parent)
	if err == nil {
		err = os.MkdirAll(parent, 0o700)
	}
	dir := ""
	if err == nil {
		dir, err = os.MkdirTemp(parent, tempPrefix)
	}
	if err != nil {
		return "", noFolder(parent, err)
	}
	return dir, nil
}

// CleanTemp removes what a Perch that crashed left in parent, the Temp of an
// Exec, and ends programs that it left running. No Exec may be at work there.
func CleanTemp(parent string) error {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return noFolder(parent, err)
	}
	endStrays(filepath.Join(parent, tempPrefix))
	all, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return noFolder(parent, err)
	}
	for _, entry := range all {
		if strings.HasPrefix(entry.Name(), tempPrefix) {
			if err := os.RemoveAll(filepath.Join(parent, entry.Name())); err != nil {
				return noFolder(parent, err)
			}
		}
	}
	return nil
}

func noFolder(path string, cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("The folder %s cannot be used", strconv.Quote(path)),
		Hint:  bridge.Say("Is there space on the disk, and may your user write there?"),
		Cause: cause,
	}
}

// fileName returns a name for the n-th file in a folder, for the one that a
// person gave it. It begins with a digit, is no path on any system, has at most
// 120 bytes and keeps its ending.
func fileName(n int, name string) string {
	const (
		most       = 100
		mostEnding = 20
	)
	name = strings.Map(func(c rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, c) || c == utf8.RuneError || !unicode.IsPrint(c) {
			return '_'
		}
		return c
	}, name)
	name = strings.Trim(name, ". ")
	if len(name) > most {
		ending := filepath.Ext(name)
		if len(ending) > mostEnding {
			ending = ""
		}
		name = strings.ToValidUTF8(name[:most-len(ending)], "") + ending
	}
	return strings.TrimRight(strconv.Itoa(n)+"_"+name, ". ")
}
