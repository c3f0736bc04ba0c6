package practice

import (
	"crypto/hmac"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
)

// client returns the address of who asks, for the brute-force protection.
func (r *request) client() string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// wrongSignatures is how many of them an address may send.
const wrongSignatures = 10

// signer returns the bot of a room that signed data, or the answer to who did
// not: first all those that a bot gets whatever its signature.
func (s *Server) signer(r *request, data string) (*room, *bot, answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempts[r.client()] >= wrongSignatures {
		return nil, nil, r.throttled()
	}
	random, signature := r.Header.Get("X-Nextcloud-Talk-Bot-Random"), r.Header.Get("X-Nextcloud-Talk-Bot-Signature")
	if len(random) < 32 || signature == "" {
		return nil, nil, r.refusal(http.StatusBadRequest, nil)
	}
	here := s.room(r.PathValue("token"))
	bots := s.bots
	if here != nil {
		bots = s.enabled(here)
	}
	for _, b := range bots {
		right := hmac.Equal([]byte(sign(b.Secret, random, data)), []byte(strings.ToLower(signature)))
		switch {
		case !right || r.refused || b.Features&FeatureResponse == 0:
		case here == nil:
			return nil, nil, r.internalError()
		default:
			return here, b, answer{}
		}
	}
	if _, known := s.attempts[r.client()]; known || len(s.attempts) < keepAddresses {
		s.attempts[r.client()]++
	}
	return nil, nil, r.refusal(http.StatusUnauthorized, nil)
}

func (s *Server) botMessage(r *request) answer {
	d := r.draft()
	switch {
	case r.tooLarge:
		return r.refusal(http.StatusRequestEntityTooLarge, nil)
	case phpTrim(d.Text) == "" && !s.locked(r):
		return r.refusal(http.StatusBadRequest, nil)
	}
	here, b, refusal := s.signer(r, d.Text)
	if b == nil {
		return refusal
	}
	_, err := s.change(r.detached(), here.token, func(here *room) (int, []hook, error) {
		m, hooks, err := s.post(here, b.actor(), 0, d)
		if err != nil {
			return 0, nil, err
		}
		return m.id, hooks, nil
	})
	switch {
	case errors.Is(err, errTooLong):
		return r.refusal(http.StatusRequestEntityTooLarge, nil)
	case err != nil:
		return r.refusal(http.StatusBadRequest, nil)
	}
	return r.success(http.StatusCreated, nil)
}

// locked reports whether the address of r has sent too many wrong signatures.
func (s *Server) locked(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts[r.client()] >= wrongSignatures
}

func (s *Server) botReaction(r *request) answer {
	emoji, id := r.text("reaction"), r.pathNumber("id")
	here, b, refusal := s.signer(r, emoji)
	if b == nil {
		return refusal
	}
	status := http.StatusOK
	_, err := s.change(r.detached(), here.token, func(here *room) (int, []hook, error) {
		if r.Method == http.MethodDelete {
			return s.unreact(here, b.actor(), id, emoji)
		}
		_, fresh, hooks, err := s.react(here, b.actor(), id, emoji)
		if fresh {
			status = http.StatusCreated
		}
		return 0, hooks, err
	})
	switch {
	case errors.Is(err, errNoMessage):
		return r.refusal(http.StatusNotFound, nil)
	case err != nil:
		return r.refusal(http.StatusBadRequest, nil)
	}
	return r.success(status, nil)
}

func (s *Server) adminBots(r *request) answer {
	switch {
	case r.user == nil:
		return r.notLoggedIn()
	case !r.user.admin:
		return r.failure(http.StatusForbidden, http.StatusForbidden, "Logged in account must be an admin", list{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data := list{}
	for _, b := range s.bots {
		state := 1
		if b.off {
			state = 0
		}
		data = append(data, object{
			{"id", b.id},
			{"name", b.Name},
			{"url", b.URL},
			{"url_hash", b.hash()},
			{"description", b.Description},
			{"error_count", 0},
			{"last_error_date", 0},
			{"last_error_message", nil},
			{"state", state},
			{"features", int(b.Features)},
		})
	}
	return r.success(http.StatusOK, data)
}

// moderated returns the room that the path names, for its moderator, or the
// answer to anybody else. It needs s.mu.
func (s *Server) moderated(r *request) (*room, answer) {
	if r.user == nil {
		return nil, r.notLoggedIn()
	}
	here, p := s.member(r)
	switch {
	case here == nil:
		return nil, r.refusal(http.StatusNotFound, list{})
	case p.role != roleOwner:
		return nil, r.refusal(http.StatusForbidden, list{})
	}
	return here, answer{}
}

func (s *Server) roomBots(r *request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, refusal := s.moderated(r)
	if here == nil {
		return refusal
	}
	data := list{}
	for _, b := range s.bots {
		data = append(data, b.state(slices.Contains(here.bots, b.id)))
	}
	return r.success(http.StatusOK, data)
}

func (b *bot) state(enabled bool) object {
	state := 0
	if enabled {
		state = 1
	}
	return object{{"id", b.id}, {"name", b.Name}, {"description", b.Description}, {"state", state}}
}

// setBot enables or disables a bot in a room.
func (s *Server) setBot(r *request) answer {
	id, enable, status := r.pathNumber("bot"), r.Method == http.MethodPost, http.StatusOK
	s.mu.Lock()
	here, refusal := s.moderated(r)
	b := s.bot(id)
	s.mu.Unlock()
	if here == nil {
		return refusal
	}
	_, err := s.change(r.detached(), here.token, func(here *room) (int, []hook, error) {
		if !enable {
			hooks, err := s.disable(here, id)
			return 0, hooks, err
		}
		fresh, hooks, err := s.enable(here, id)
		if fresh {
			status = http.StatusCreated
		}
		return 0, hooks, err
	})
	if err != nil || b == nil {
		return r.refusal(http.StatusBadRequest, object{{"error", "bot"}})
	}
	return r.success(status, b.state(enable))
}
