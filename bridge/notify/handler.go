// Package notify lets other programs post into conversations: monitoring, home
// automation, a script with curl. What they send becomes a reply in the outbox
// that answers no message.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"perch/bridge"
)

const (
	maxBody = 1 << 20  // bytes; a push of many commits takes hundreds of KiB
	maxText = 64 << 10 // bytes of what is posted
	// A conversation takes roomBurst messages at once, then one each roomEvery.
	roomBurst = 60
	roomEvery = time.Second
	// maxRooms bounds the conversations that are counted one by one; the others
	// share what one may have.
	maxRooms = 1000
)

// Post puts a text into the outbox and returns the ids of its parts when they
// are on disk.
type Post func(ctx context.Context, room, text string, silent bool) (ids []int64, err error)

// Handler answers POST /v1/rooms/{token}/messages. It asks nobody who they are:
// whoever serves it does, or serves it where only the user gets.
//
// The answer is 202 with the message's id as JSON when it is on disk, and 400,
// 404, 405, 413, 429 (with Retry-After) or 503 with an error as JSON else. What a
// body can be is in docs/notify.md.
type Handler struct {
	post Post
	now  func() time.Time

	mu    sync.Mutex
	rooms map[string]*rate.Limiter
	rest  *rate.Limiter
}

// NewHandler returns a Handler that posts with post.
func NewHandler(post Post) *Handler {
	return &Handler{post: post, now: time.Now, rooms: map[string]*rate.Limiter{}, rest: newRoomLimiter()}
}

func newRoomLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(roomEvery), roomBurst) }

// accepted is the answer to a message that was taken.
type accepted struct {
	ID int64 `json:"id"` // in the journal; of its first part, if it is posted in several
}

// refusal is the answer to all else.
type refusal struct {
	Error string `json:"error"`
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found := regexp.MustCompile(`^/v1/rooms/([A-Za-z0-9_-]{1,64})/messages$`).FindStringSubmatch(r.URL.Path)
	if found == nil {
		refuse(w, http.StatusNotFound, "the address is /v1/rooms/TOKEN/messages; TOKEN is what follows /call/ in the address of a conversation")
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "messages are posted: use POST")
		return
	}
	room := found[1]
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge, "a body has at most "+strconv.Itoa(maxBody>>10)+" KiB")
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "the body did not arrive whole")
		return
	}
	m, err := read(r, body)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error())
		return
	case len(m.text) > maxText:
		refuse(w, http.StatusRequestEntityTooLarge, "a text has at most "+strconv.Itoa(maxText>>10)+" KiB")
		return
	case !utf8.ValidString(m.text):
		refuse(w, http.StatusBadRequest, "the text is not UTF-8")
		return
	}
	if wait := h.wait(room); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		refuse(w, http.StatusTooManyRequests, "too many messages for this conversation; see Retry-After")
		return
	}
	ids, err := h.post(r.Context(), room, m.text, m.silent)
	switch {
	case bridge.CodeOf(err) == bridge.CodeInvalid:
		refuse(w, http.StatusBadRequest, bridge.TextOf(err).String())
	case err != nil:
		w.Header().Set("Retry-After", "30")
		refuse(w, http.StatusServiceUnavailable, bridge.TextOf(err).String())
	default:
		answer(w, http.StatusAccepted, accepted{ids[0]})
	}
}

// wait takes one of the messages that a conversation may have, or returns how
// long until it may have one.
func (h *Handler) wait(room string) time.Duration {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.rooms[room]
	if l == nil {
		h.forget(now)
		if l = h.rest; len(h.rooms) < maxRooms {
			l = newRoomLimiter()
			h.rooms[room] = l
		}
	}
	if l.AllowN(now, 1) {
		return 0
	}
	missing := 1 - l.TokensAt(now)
	return time.Duration(missing * float64(roomEvery))
}

// forget makes room by those that may have all again.
func (h *Handler) forget(now time.Time) {
	if len(h.rooms) < maxRooms {
		return
	}
	for room, l := range h.rooms {
		if l.TokensAt(now) >= roomBurst {
			delete(h.rooms, room)
		}
	}
}

// seconds returns a time as in Retry-After: whole, and not too short.
func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))) }

func refuse(w http.ResponseWriter, status int, text string) { answer(w, status, refusal{text}) }

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}
