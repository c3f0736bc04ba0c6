package practice

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // the longest answers
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

// The longest answers, as recorded, with {{marks}} for what differs.
var (
	//go:embed answers/capabilities_anonymous.json
	capabilitiesAnonymous string
	//go:embed answers/capabilities_user.json
	capabilitiesUser string
	//go:embed answers/user.json
	userDetails string
	//go:embed answers/room.json
	roomDetails string
)

// fill returns a recorded answer with its {{marks}} replaced by the values of
// the same name.
func fill(template string, values object) raw {
	marks := make([]string, 0, 2*len(values))
	for _, v := range values {
		marks = append(marks, "{{"+v.name+"}}", string(encode(v.value, true)))
	}
	return raw(strings.NewReplacer(marks...).Replace(template))
}

func (s *Server) statusPage(maintenance bool) answer {
	return page(http.StatusOK, "application/json", string(encode(object{
		{"installed", true},
		{"maintenance", maintenance},
		{"needsDbUpgrade", false},
		{"version", "32.0.1.2"},
		{"versionstring", "32.0.1"},
		{"edition", ""},
		{"productname", "Nextcloud"},
		{"extendedSupport", false},
	}, false)))
}

func (s *Server) getCapabilities(r *request) answer {
	s.mu.Lock()
	attempts := s.attempts[r.client()]
	s.mu.Unlock()
	delay := 0
	if attempts > 0 {
		delay = min(100<<min(attempts, 10), 25000) // milliseconds
	}
	version := "21.1.7"
	if s.opts.Talk23 {
		version = "23.0.0"
	}
	text := capabilitiesAnonymous
	if r.user != nil {
		text = capabilitiesUser
	}
	backend := encode(s.backend, true)
	a := r.success(http.StatusOK, fill(text, object{
		{"backend", raw(backend[1 : len(backend)-1])}, // within longer strings
		{"max-length", s.opts.MaxLength},
		{"delay", delay},
		{"talk", version},
	}))
	sum := sha256.Sum256(a.body)
	a.header.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	return a
}

func (s *Server) getUser(r *request) answer {
	if r.user == nil {
		return r.notLoggedIn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := list{}
	if r.user.admin {
		groups = list{"admin"}
	}
	return r.success(http.StatusOK, fill(userDetails, object{
		{"id", r.user.id}, {"name", r.user.name}, {"groups", groups},
	}))
}

// getFile answers a file from the files of a user: what that user shared, and
// under Talk/ what was shared with that user.
func (s *Server) getFile(r *request) answer {
	if r.user == nil {
		return davUnauthorized()
	}
	path := r.PathValue("path")
	if r.PathValue("user") == r.user.id {
		if f := s.sharedFile(r.user.id, path); f != nil {
			kind := f.mime
			if strings.HasPrefix(kind, "text/") {
				kind += ";charset=UTF-8"
			}
			a := page(http.StatusOK, kind, string(f.content))
			a.header.Set("ETag", `"`+f.etag+`"`)
			return a
		}
	}
	return notFoundDAV(path)
}

func (s *Server) sharedFile(userID, path string) *file {
	name, received := strings.CutPrefix(path, "Talk/")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, here := range s.rooms {
		if here.participant(actorUser, userID) == nil {
			continue
		}
		for _, m := range here.messages {
			if m.file == nil {
				continue
			}
			if m.actor.id == userID && cmp.Or(m.file.path, m.file.name) == path || m.actor.id != userID && received && m.file.name == name {
				return m.file
			}
		}
	}
	return nil
}

func davError(status int, exception, text string) answer {
	text = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
	return page(status, "application/xml; charset=utf-8", "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"+
		"<d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\">\n  <s:exception>Sabre\\DAV\\Exception\\"+exception+
		"</s:exception>\n  <s:message>"+text+"</s:message>\n</d:error>\n")
}

// login is a Login Flow v2 under way.
type login struct {
	poll    string // token of who polls
	flow    string // token of the page
	program string // that wants to log in
	user    *user  // who granted access; nil as long as nobody did
}

func (s *Server) startLogin(r *request) answer {
	l := &login{poll: s.random(128, alphanumeric), flow: s.random(128, alphanumeric), program: r.UserAgent()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.logins) == keepLogins {
		s.logins = slices.Delete(s.logins, 0, 1)
	}
	s.logins = append(s.logins, l)
	s.notify()
	return page(http.StatusOK, "application/json; charset=utf-8", string(encode(object{
		{"poll", object{{"token", l.poll}, {"endpoint", s.backend + "/index.php/login/v2/poll"}}},
		{"login", s.backend + "/index.php/login/v2/flow/" + l.flow},
	}, true)))
}

// GrantLogin grants access, as a user does in the browser, to every login flow
// that waits for it, and returns how many there were.
func (s *Server) GrantLogin(userID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	granted := 0
	for _, l := range s.logins {
		if l.user == nil {
			l.user = s.addUser(userID, "")
			granted++
		}
	}
	return granted
}

func (s *Server) pollLogin(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.logins, func(l *login) bool { return l.poll == r.text("token") })
	if i < 0 || s.logins[i].user == nil {
		return page(http.StatusNotFound, "application/json; charset=utf-8", "[]")
	}
	u := s.logins[i].user
	s.logins = slices.Delete(s.logins, i, i+1)
	return page(http.StatusOK, "application/json; charset=utf-8", string(encode(object{
		{"server", s.backend}, {"loginName", u.id}, {"appPassword", s.appToken(u)},
	}, true)))
}
