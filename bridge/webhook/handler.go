// Package webhook is the HTTP side of receiving: a listener with limits, and a
// handler that checks who is calling before anything of the body is parsed.
package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"perch/bridge"
)

// Headers that Talk sends with a webhook.
const (
	HeaderRandom    = "X-Nextcloud-Talk-Random"
	HeaderSignature = "X-Nextcloud-Talk-Signature"
	HeaderBackend   = "X-Nextcloud-Talk-Backend"
)

const (
	// maxBody bounds one body. The largest that Talk was seen to send is 896 KB.
	maxBody = 2 << 20
	// maxUnverified bounds the bytes of all bodies that are held before their
	// signature was checked; half of it is for bodies of up to smallBody, as
	// nearly all are, so that large ones cannot keep those out.
	maxUnverified = 32 << 20
	smallBody     = 64 << 10
	// acceptTimeout bounds how long a verified message may take to become
	// durable. Talk itself gives up after 5 s.
	acceptTimeout = 10 * time.Second
)

// Settings are what of the configuration decides about a request.
type Settings struct {
	Path             string // of the webhook: "/nextcloud-talk"
	HasSecret        bool   // else no signature is right
	RequireSignature bool
}

// Request is a webhook whose signature was verified.
type Request struct {
	Header     http.Header
	Body       []byte
	Random     string
	Backend    string
	ReceivedAt time.Time
}

// Source says who receives webhooks now. It is asked once for each request, so
// that one state of the settings decides everything about it.
type Source interface {
	Current() Receiver
}

// Receiver receives a webhook with the settings of one moment.
type Receiver interface {
	Settings() Settings
	// Verify reports whether signature is that of random followed by body.
	Verify(random string, body []byte, signature string) bool
	// Sign returns what Verify accepts. It proves to a self-check who answers.
	Sign(random, body string) string
	// Decode returns what the webhook says. An error means that the payload is bad.
	Decode(Request) (bridge.Message, error)
	// Accept returns once m is durable or needs no keeping.
	Accept(ctx context.Context, m bridge.Message) error
}

// Options are the parts that a handler works with. All are needed.
type Options struct {
	Source   Source
	Instance string // tells this process from any other; for self-checks
	Sink     bridge.EventSink
}

// NewHandler returns the handler of the webhook's path and of GET /healthz.
//
// A webhook is answered with 200 when the receiver has accepted it, and with 400, 401,
// 404, 405, 413, 429 or 503 else. Talk takes all but 200 for a failure, and
// never sends again.
func NewHandler(o Options) http.Handler {
	return &handler{
		Options:  o,
		small:    semaphore.NewWeighted(maxUnverified / 2),
		large:    semaphore.NewWeighted(maxUnverified / 2),
		failures: newLimiter(),
	}
}

type handler struct {
	Options
	small, large *semaphore.Weighted // of the unverified bytes
	failures     *limiter
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	receiver := h.Source.Current()
	switch r.URL.Path {
	case receiver.Settings().Path:
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "This address takes webhooks of Nextcloud Talk, by POST only.", http.StatusMethodNotAllowed)
			return
		}
		h.receive(w, r, receiver)
	case "/healthz":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	default:
		http.NotFound(w, r)
	}
}

func (h *handler) receive(w http.ResponseWriter, r *http.Request, receiver Receiver) {
	settings := receiver.Settings()
	req := Request{
		Header:     r.Header,
		Random:     r.Header.Get(HeaderRandom),
		Backend:    r.Header.Get(HeaderBackend),
		ReceivedAt: time.Now(),
	}
	signature := r.Header.Get(HeaderSignature)
	if settings.RequireSignature {
		switch {
		case !settings.HasSecret:
			h.refuse(w, r, http.StatusServiceUnavailable, slog.LevelError, errNoSecret())
			return
		case req.Random == "" || signature == "":
			h.refuse(w, r, http.StatusBadRequest, slog.LevelWarn, errNoHeaders())
			return
		}
	}

	release, err := h.reserve(r)
	if err != nil {
		h.refuse(w, r, statusOf(err), slog.LevelWarn, err)
		return
	}
	req.Body, err = readBody(w, r)
	valid := err == nil && (!settings.RequireSignature || receiver.Verify(req.Random, req.Body, signature))
	release()
	switch {
	case err != nil:
		h.refuse(w, r, statusOf(err), slog.LevelWarn, err)
		return
	case isSelfCheck(req.Body):
		h.answerSelfCheck(w, r, receiver, req, signature)
		return
	case !valid:
		h.refuseSignature(w, r)
		return
	}

	m, err := receiver.Decode(req)
	if err != nil {
		h.refuse(w, r, http.StatusBadRequest, slog.LevelWarn, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), acceptTimeout)
	defer cancel()
	if err := receiver.Accept(ctx, m); err != nil {
		h.refuse(w, r, http.StatusServiceUnavailable, slog.LevelError, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// reserve waits for room for the body among the unverified bytes. release
// gives it back.
func (h *handler) reserve(r *http.Request) (release func(), err error) {
	size, share := r.ContentLength, h.large
	switch {
	case size > maxBody:
		return nil, errTooLarge(nil)
	case size < 0:
		size = maxBody
	case size <= smallBody:
		share = h.small
	}
	release = func() { share.Release(size) }
	if share.TryAcquire(size) {
		return release, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := share.Acquire(ctx, size); err != nil {
		return nil, &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("A webhook was refused: too many large ones came at once"),
			Cause: err,
		}
	}
	return release, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	if r.ContentLength >= 0 {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(limited, body); err != nil {
			return nil, errIncomplete(err)
		}
		return body, nil
	}
	body, err := io.ReadAll(limited)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge(err)
	}
	if err != nil {
		return nil, errIncomplete(err)
	}
	return body, nil
}

// refuseSignature answers 401, and 429 once an address has failed too often.
// A right signature is never held against earlier wrong ones: whoever mends
// the secret is heard at once.
func (h *handler) refuseSignature(w http.ResponseWriter, r *http.Request) {
	from := remoteAddr(r)
	wait, first := h.failures.fail(from, time.Now())
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		level := slog.LevelDebug
		if first {
			level = slog.LevelWarn
		}
		h.refuse(w, r, http.StatusTooManyRequests, level, errTooManyFailures(from.String()))
		return
	}
	h.refuse(w, r, http.StatusUnauthorized, slog.LevelWarn, errSignature(from.String()))
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, level slog.Level, err error) {
	if r.Context().Err() == nil || status >= http.StatusInternalServerError {
		h.Sink.Publish(bridge.Event{
			Stage: bridge.StageWebhook, Level: level,
			Title: bridge.TextOf(err),
			Code:  bridge.CodeOf(err),
			Cause: err.Error(),
			Hint:  bridge.HintOf(err),
		})
	}
	http.Error(w, http.StatusText(status), status)
}

func statusOf(err error) int {
	switch bridge.CodeOf(err) {
	case bridge.CodeRejected:
		return http.StatusRequestEntityTooLarge
	case bridge.CodeUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}
