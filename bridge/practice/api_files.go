package practice

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// SetQuota bounds what a user can have uploaded, in bytes.
func (s *Server) SetQuota(userID string, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.addUser(userID, "")
	u.limited, u.quota = true, bytes
}

// Uploaded returns the content of a file that a user uploaded, by its path.
func (s *Server) Uploaded(userID, path string) (content []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(userID)
	if u == nil || u.files[path] == nil {
		return nil, false
	}
	return u.files[path].content, true
}

// davPath returns the path in the files of who asks.
func (r *request) davPath() (string, bool) {
	if r.user == nil || r.PathValue("user") != r.user.id {
		return "", false
	}
	return strings.Trim(r.PathValue("path"), "/"), true
}

func notFoundDAV(path string) answer {
	return davError(http.StatusNotFound, "NotFound", "File with name //"+path+" could not be located")
}

func davUnauthorized() answer {
	a := davError(http.StatusUnauthorized, "NotAuthenticated", "Cannot authenticate over ajax calls")
	a.header.Set("WWW-Authenticate", `Basic realm="Nextcloud", charset="UTF-8"`)
	return a
}

// makeFolder is MKCOL.
func (s *Server) makeFolder(r *request) answer {
	name, ok := r.davPath()
	if r.user == nil {
		return davUnauthorized()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	parent := path.Dir(name)
	switch {
	case !ok, parent != "." && !r.user.folders[parent]:
		return davError(http.StatusConflict, "Conflict", "Parent node does not exist")
	case r.user.folders[name]:
		return davError(http.StatusMethodNotAllowed, "MethodNotAllowed", "The resource you tried to create already exists")
	}
	if r.user.folders == nil {
		r.user.folders = map[string]bool{}
	}
	r.user.folders[name] = true
	return page(http.StatusCreated, "text/html; charset=UTF-8", "")
}

// putFile takes a file.
func (s *Server) putFile(r *request) answer {
	name, ok := r.davPath()
	if r.user == nil {
		return davUnauthorized()
	}
	content, err := io.ReadAll(io.LimitReader(r.Body, maxFile+1))
	if err != nil || len(content) > maxFile {
		return page(http.StatusRequestEntityTooLarge, "text/html; charset=UTF-8", "<h1>413 Request Entity Too Large</h1>")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, folder, base := r.user, path.Dir(name), path.Base(name)
	old := u.files[name]
	used := 0
	for _, f := range u.files {
		used += len(f.content)
	}
	switch {
	case !ok:
		return notFoundDAV(name)
	case folder != "." && !u.folders[folder]:
		return notFoundDAV(folder)
	case base == ".htaccess":
		return davError(http.StatusBadRequest, "InvalidPath", "Filename is a reserved word")
	case strings.HasSuffix(base, ".part"), strings.ContainsAny(base, `\`):
		return davError(http.StatusBadRequest, "InvalidPath", "File name contains at least one invalid character")
	case old != nil && r.Header.Get("If-None-Match") == "*":
		return davError(http.StatusPreconditionFailed, "PreconditionFailed", "An If-None-Match header was specified, but the ETag matched (or * was specified).")
	case u.limited && used+len(content) > u.quota:
		return davError(http.StatusInsufficientStorage, "InsufficientStorage", "Insufficient space in /"+name+", "+
			strconv.Itoa(len(content))+" required, "+strconv.Itoa(max(0, u.quota-used))+" available")
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "application/octet-stream"
	}
	s.lastFile++
	f := &file{
		id: strconv.Itoa(s.lastFile), name: base, mime: kind, content: content, etag: s.random(32, hexDigits),
		link: s.backend + "/index.php/s/" + s.random(15, alphanumeric), path: name,
	}
	if u.files == nil {
		u.files = map[string]*file{}
	}
	u.files[name] = f
	status := http.StatusCreated
	if old != nil {
		status = http.StatusNoContent
	}
	a := page(status, "text/html; charset=UTF-8", "")
	a.header.Set("ETag", `"`+f.etag+`"`)
	return a
}

// shareWithRoom is a share of the type that posts a file in a conversation.
const shareWithRoom = 10

// postShare shares an uploaded file in a room.
func (s *Server) postShare(r *request) answer {
	if r.user == nil {
		return r.notLoggedIn()
	}
	var meta struct {
		Caption  string `json:"caption"`
		ReplyTo  int    `json:"replyTo"`
		ThreadID int    `json:"threadId"`
		Silent   bool   `json:"silent"`
	}
	_ = json.Unmarshal([]byte(r.text("talkMetaData")), &meta)
	name, token := strings.Trim(r.text("path"), "/"), r.text("shareWith")
	s.mu.Lock()
	f := r.user.files[name]
	here := s.room(token)
	known := here != nil && here.participant(actorUser, r.user.id) != nil
	again := f != nil && f.sharedIn[token]
	s.mu.Unlock()
	switch {
	case r.number("shareType", 0) != shareWithRoom:
		return r.failure(http.StatusBadRequest, http.StatusBadRequest, "Unknown share type", list{})
	case f == nil:
		return r.failure(http.StatusNotFound, http.StatusNotFound, "Wrong path, file/folder does not exist", list{})
	case !known:
		return r.failure(http.StatusNotFound, http.StatusNotFound, "Conversation not found", list{})
	}
	d := Draft{Text: meta.Caption, ReplyTo: meta.ReplyTo, Silent: meta.Silent, ReferenceID: r.text("referenceId"), Thread: meta.ThreadID}
	_, err := s.share(context.WithoutCancel(r.Context()), token, r.user.id, d, func(*room) (object, *file) {
		if f.sharedIn == nil {
			f.sharedIn = map[string]bool{}
		}
		f.sharedIn[token] = true
		return object{{"file", nil}}, f
	})
	switch {
	case errors.Is(err, errNotAllowed):
		return r.failure(http.StatusForbidden, http.StatusForbidden, "", list{})
	case err != nil:
		return r.failure(http.StatusNotFound, http.StatusNotFound, "Conversation not found", list{})
	case again: // which posts it all the same
		return r.failure(http.StatusForbidden, http.StatusForbidden, "Path is already shared with this conversation", list{})
	}
	return r.success(http.StatusOK, object{
		{"id", f.id},
		{"share_type", shareWithRoom},
		{"uid_owner", r.user.id},
		{"displayname_owner", r.user.name},
		{"permissions", 19},
		{"path", "/" + name},
		{"item_type", "file"},
		{"mimetype", f.mime},
		{"file_target", "/{TALK_PLACEHOLDER}/" + f.name},
		{"share_with", token},
	})
}
