package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
	"perch/bridge/neterr"
)

const (
	// maxShares is how many files an answer can have.
	maxShares = 10
	// MaxShared bounds each of them, in bytes.
	MaxShared = 16 << 20
	// maxAnswerWithFiles bounds a web hook's answer that can have files in it, in
	// bytes.
	maxAnswerWithFiles = 64 << 20
)

// Outgoing keeps files until the replies that they are part of were sent.
type Outgoing interface {
	// Keep returns when the content is on disk. A reply that has the file must
	// follow, or Drop. The error is of CodeRejected if it has more than MaxShared
	// bytes.
	Keep(name string, content io.Reader) (bridge.File, error)
	Drop(f bridge.File)
}

// share is a file that a handler answers with.
type share struct {
	name, caption string
	open          func() (io.ReadCloser, error)
}

// withFiles returns replies and those that share files. The first file that has
// no caption has the last text as its own. What cannot be shared is said.
func withFiles(out Outgoing, sink bridge.EventSink, m bridge.Message, replies []bridge.Reply, files []share) []bridge.Reply {
	if len(files) == 0 {
		return replies
	}
	var sorry []bridge.Reply
	refuse := func(what string, err error) {
		sorry = append(sorry, bridge.Reply{Text: what + ": " + bridge.TextOf(err).String() + "."})
		if sink == nil {
			return
		}
		e := bridge.Event{
			Time: time.Now(), Stage: bridge.StageHandler, Kind: bridge.EventHandlerNote, Room: m.Room, Actor: m.Author, MessageID: m.Key.ID,
			Title: bridge.Say("Not all files of an answer are shared"),
		}.Failed(err)
		e.Level = slog.LevelWarn
		sink.Publish(e)
	}
	if out == nil {
		refuse("I have a file for you and cannot share it", &bridge.Error{
			Code: bridge.CodeUnauthorized, Text: bridge.Say("There is no app token"),
			Hint: bridge.Say("Make an app password in Nextcloud (Settings, Security), then: %s").With(bridge.Secret{}.HowTo(bridge.AppToken)),
		})
		return append(replies, sorry...)
	}
	if surplus := len(files) - maxShares; surplus > 0 {
		refuse(strconv.Itoa(surplus)+" files are not shared", &bridge.Error{
			Code: bridge.CodeRejected, Text: bridge.Say("%s are the most that an answer can have", strconv.Itoa(maxShares)),
		})
		files = files[:maxShares]
	}
	var shared []bridge.Reply
	for _, f := range files {
		kept, err := keep(out, f)
		if err != nil {
			refuse("The file "+SharedName(f.name)+" is not shared", err)
			continue
		}
		shared = append(shared, bridge.Reply{File: &kept, Text: f.caption})
	}
	if last := len(replies) - 1; last >= 0 && len(shared) > 0 && shared[0].Text == "" && replies[last].Reaction == "" {
		shared[0].Text = replies[last].Text
		replies = replies[:last]
	}
	return append(append(replies, shared...), sorry...)
}

func keep(out Outgoing, f share) (bridge.File, error) {
	content, err := f.open()
	if err != nil {
		return bridge.File{}, err
	}
	defer content.Close()
	return out.Keep(f.name, content)
}

// SharedName returns a name for a file in a conversation: no path, nothing that
// is hidden or that servers keep for themselves, with at most about 100 bytes.
func SharedName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(`/\:*?"<>|`, r), r == utf8.RuneError, !unicode.IsPrint(r):
			return '_'
		}
		return r
	}, filepath.Base(filepath.ToSlash(strings.ReplaceAll(name, `\`, "/"))))
	name = strings.Trim(name, " .")
	ending := filepath.Ext(name)
	base := strings.TrimSuffix(name, ending)
	switch strings.ToLower(ending) {
	case ".part", ".filepart", ".ocTransferId": // of uploads under way
		base, ending = base+"_"+ending[1:], ""
	}
	const most, mostEnding = 80, 20
	if len(ending) > mostEnding {
		base, ending = base+ending, ""
	}
	base = strings.TrimSpace(clip(base, most))
	if base == "" {
		base = "file"
	}
	return base + ending
}

// filesIn returns the files in a folder, in the order of their names. What is no
// regular file is none, such as a link, wherever it points to.
func filesIn(dir string) (files []share) {
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, entry := range all {
		if !entry.Type().IsRegular() {
			continue
		}
		files = append(files, share{name: entry.Name(), open: func() (io.ReadCloser, error) {
			path := filepath.Join(dir, entry.Name())
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
				return nil, &bridge.Error{Code: bridge.CodeRejected, Text: bridge.Say("It is no file"), Cause: err}
			}
			f, err := os.Open(path)
			if err != nil {
				return nil, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("It cannot be read"), Cause: err}
			}
			return f, nil
		}})
	}
	return files
}

// filesOfJSON returns the files in a web hook's answer.
func (h HTTP) filesOfJSON(ctx context.Context, e endpoint, body []byte) ([]share, error) {
	fields, err := objectOf(body)
	raw, ok := fields["files"]
	if err != nil || !ok {
		return nil, nil //nolint:nilerr // it has no files
	}
	var list []struct {
		Name    string  `json:"name"`
		Caption string  `json:"caption"`
		Data    *string `json:"data"`
		URL     string  `json:"url"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return nil, wrongField("files", body[:min(len(body), maxCause)])
	}
	var files []share
	for _, f := range list {
		one := share{name: f.Name, caption: f.Caption}
		switch {
		case f.Data != nil:
			one.open = func() (io.ReadCloser, error) { return decoded(*f.Data) }
		default:
			if one.name == "" {
				one.name = f.URL
			}
			one.open = func() (io.ReadCloser, error) { return h.fetch(ctx, e, f.URL) }
		}
		files = append(files, one)
	}
	return files, nil
}

// decoded returns what is in a data URL, or base64 alone.
func decoded(data string) (io.ReadCloser, error) {
	if rest, isURL := strings.CutPrefix(data, "data:"); isURL {
		kind, encoded, ok := strings.Cut(rest, ",")
		if !ok {
			return nil, notBase64(nil)
		}
		if data = encoded; !strings.HasSuffix(kind, ";base64") {
			text, err := url.PathUnescape(encoded)
			if err != nil {
				return nil, notBase64(err)
			}
			return io.NopCloser(strings.NewReader(text)), nil
		}
	}
	plain, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(data), ""))
	if err != nil {
		return nil, notBase64(err)
	}
	return io.NopCloser(bytes.NewReader(plain)), nil
}

func notBase64(cause error) error {
	return &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("Its data is neither base64 nor a data URL"), Cause: cause}
}

// fetch gets a file from the server of the web hook, and from no other: what
// answers may itself be told what to say.
func (h HTTP) fetch(ctx context.Context, e endpoint, address string) (io.ReadCloser, error) {
	u, err := e.url.Parse(address)
	if err != nil || address == "" || u.Scheme != e.url.Scheme || u.Host != e.url.Host || u.User != nil {
		return nil, &bridge.Error{
			Code: bridge.CodeDenied, Text: bridge.Say("Its url is not one of %s", e.url.Host),
			Hint: bridge.Say("Files are fetched from the server of the web hook alone. Let it answer with their content, as data."),
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The request could not be made"), Cause: withoutURL(err)}
	}
	if !h.Token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+h.Token.Reveal())
	}
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext, TLSClientConfig: e.tls, TLSHandshakeTimeout: connectTimeout,
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	neterr.ThroughProxy(transport)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, e.unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, &bridge.Error{
			Code: bridge.CodeNotFound, Text: bridge.Say("%[1]s refused with status %[2]s", e.url.Host, strconv.Itoa(resp.StatusCode)),
			Cause: fmt.Errorf("status %d", resp.StatusCode),
		}
	}
	return resp.Body, nil
}
