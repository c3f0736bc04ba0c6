package practice

import (
	"context"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a program needs that is logged in as a user, beside the chat.

// AddParticipant adds a user, who is added to the server if need be, to a
// conversation. Who must own it.
func (s *Server) AddParticipant(ctx context.Context, token, who, userID string) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		if p.role != roleOwner || r.kind == oneToOne || r.participant(actorUser, userID) != nil {
			return 0, nil, errNotAllowed
		}
		u := s.addUser(userID, "")
		added := s.join(r, actor{actorUser, u.id, u.name}, roleMember)
		m, hooks := s.system(r, &message{
			actor: p.actor, system: "user_added", text: "{actor} added {user}", objects: object{{"user", actorParameter(added.actor)}},
		})
		return m.id, hooks, nil
	})
}

// RemoveParticipant takes a user out of a conversation. Who must own it.
func (s *Server) RemoveParticipant(ctx context.Context, token, who, userID string) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		removed := r.participant(actorUser, userID)
		if p.role != roleOwner || removed == nil {
			return 0, nil, errNotAllowed
		}
		r.participants = slices.DeleteFunc(slices.Clone(r.participants), func(o *participant) bool { return o == removed })
		m, hooks := s.system(r, &message{
			actor: p.actor, system: "user_removed", text: "{actor} removed {user}", objects: object{{"user", actorParameter(removed.actor)}},
		})
		return m.id, hooks, nil
	})
}

// changedSince reports whether something happened in a room at the given second
// or later, as Talk counts.
func (r *room) changedSince(second int) bool {
	return len(r.messages) > 0 && int(r.messages[len(r.messages)-1].at.Unix()) >= second
}

// createRoom starts a one-to-one conversation; no other can be created.
func (s *Server) createRoom(r *request) answer {
	if r.user == nil {
		return r.notLoggedIn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	other := s.user(r.text("invite"))
	if r.number("roomType", 0) != oneToOne || other == nil || other == r.user {
		return r.refusal(http.StatusNotFound, object{{"error", "invite"}})
	}
	status := http.StatusOK
	i := slices.IndexFunc(s.rooms, func(o *room) bool {
		return o.kind == oneToOne && o.participant(actorUser, r.user.id) != nil && o.participant(actorUser, other.id) != nil
	})
	if i < 0 {
		status, i = http.StatusCreated, len(s.rooms)
		s.addRoom(s.random(8, lowerDigits), "", oneToOne, []string{r.user.id, other.id})
		s.notify()
	}
	return r.success(status, s.describe(s.rooms[i], s.rooms[i].participant(actorUser, r.user.id)))
}

func (s *Server) getParticipants(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, _ := s.member(r)
	if here == nil {
		return r.refusal(http.StatusNotFound, list{})
	}
	all := list{}
	for _, p := range here.participants {
		all = append(all, object{
			{"roomToken", here.token},
			{"inCall", 0},
			{"lastPing", 0},
			{"sessionIds", list{}},
			{"participantType", p.role},
			{"attendeeId", p.attendee},
			{"actorId", p.id},
			{"actorType", p.kind},
			{"displayName", p.name},
			{"permissions", p.permissions()},
			{"attendeePermissions", 0},
			{"attendeePin", ""},
			{"phoneNumber", ""},
			{"callId", ""},
		})
	}
	return r.success(http.StatusOK, all)
}

// permissions are those that a participant has by role: only owners may do
// without the lobby.
func (p *participant) permissions() int {
	if p.role == roleOwner {
		return 254
	}
	return 246
}

// setRead marks a conversation as read.
func (s *Server) setRead(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, p := s.member(r)
	if here == nil {
		return r.refusal(http.StatusNotFound, list{})
	}
	p.lastRead = r.number("lastReadMessage", s.lastMessage)
	s.notify()
	a := r.success(http.StatusOK, s.describe(here, p))
	a.header.Set("X-Chat-Last-Common-Read", strconv.Itoa(here.commonRead()))
	return a
}

// LastRead returns up to which message a user has read a conversation.
func (s *Server) LastRead(token, userID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.room(token); r != nil {
		if p := r.participant(actorUser, userID); p != nil {
			return p.lastRead
		}
	}
	return 0
}

// revoke makes the app password useless that it came with.
func (s *Server) revoke(r *request) answer {
	if r.user == nil {
		return r.notLoggedIn()
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, password, basic := r.BasicAuth(); basic {
		token = password
	}
	s.RevokeAppToken(token)
	return r.success(http.StatusOK, list{})
}

// loginPage is where a person grants a log-in. Here everybody is believed to be
// who they choose to be.
func (s *Server) loginPage(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.logins, func(l *login) bool { return l.flow == r.PathValue("flow") })
	if i < 0 {
		return page(http.StatusForbidden, "text/html; charset=UTF-8", loginFrame("<p>Your login token is invalid or has expired</p>"))
	}
	l := s.logins[i]
	if r.Method == http.MethodPost && r.text("user") != "" && l.user == nil {
		l.user = s.addUser(r.text("user"), "")
		s.notify()
	}
	if l.user != nil {
		return page(http.StatusOK, "text/html; charset=UTF-8", loginFrame("<p>Account connected</p>\n<p>Your client should now be connected! You can close this window.</p>"))
	}
	var who strings.Builder
	for _, u := range s.users {
		who.WriteString(`<option value="` + html.EscapeString(u.id) + `">` + html.EscapeString(u.name) + "</option>\n")
	}
	field := `<select name="user">` + "\n" + who.String() + "</select>"
	if who.Len() == 0 {
		field = `<input name="user" value="owl">`
	}
	return page(http.StatusOK, "text/html; charset=UTF-8", loginFrame("<p>You are about to grant "+
		html.EscapeString(l.program)+" access to the account:</p>\n<form method=\"post\">\n"+field+"\n"+
		"<button type=\"submit\" id=\"submit\">Grant access</button>\n</form>"))
}

func loginFrame(body string) string {
	return "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Nextcloud</title></head>\n<body>\n<h1>Connect to your account</h1>\n" + body + "\n</body>\n</html>\n"
}

// cutPoll returns how long a proxy before the server lets it think, and whether
// that is less than timeout.
func (s *Server) cutPoll(timeout time.Duration) (time.Duration, bool) {
	if cut := s.opts.ProxyTimeout; cut > 0 && cut < timeout {
		return cut, true
	}
	return timeout, false
}

// field returns a field of o, nil if there is none.
func (o object) field(name string) any {
	i := slices.IndexFunc(o, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return o[i].value
}

// polling counts a request that waits for a message until the returned function
// is called.
func (s *Server) polling() (done func()) {
	add := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.polls += n
		s.notify()
	}
	add(1)
	return func() { add(-1) }
}

// Polls returns how many requests wait for a message now.
func (s *Server) Polls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls
}
