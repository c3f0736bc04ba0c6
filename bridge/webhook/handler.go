// Package webhook is the HTTP side of receiving: a listener with limits, and a
// handler that checks who is calling before anything of the body is parsed.
package webhook

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

// Headers that Talk sends with a webhook.
const (
	HeaderRandom    = "X-Nextcloud-Talk-Random"
	HeaderSignature = "X-Nextcloud-Talk-Signature"
	HeaderBackend   = "X-Nextcloud-Talk-Backend"
)

// HeaderTunnel is a header with which our own tunnel shows that it is that.
const HeaderTunnel = "X-Perch-Tunnel"

const (
	// maxBody bounds one body. The largest that Talk was seen to send is 896 KB.
	maxBody = 2 << 20
	// firstRead is what is held of a body before any of it came.
	firstRead = 4 << 10
	// acceptTimeout bounds how long a verified message may take to become
	// durable. Talk itself gives up after 5 s.
	acceptTimeout = 10 * time.Second
)

// Settings are what of the configuration decides about a request.
type Settings struct {
	Path             string      // of the webhook: "/nextcloud-talk"
	HasSecret        bool        // else no signature is right
	SecretHowTo      bridge.Text // how a person sets the secret
	RequireSignature bool
	TrustedProxies   []netip.Prefix // whose word counts for whom a request comes from
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
	// Trouble returns why nothing can be accepted, in one word; empty if it can.
	Trouble() string
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
	Tunnel   string // what HeaderTunnel has in requests of our own tunnel; only it and this process know it; empty: there is none
	Sink     bridge.EventSink
	Log      *slog.Logger // for what net/http has to say
}

// Server takes webhooks.
type Server struct {
	options  Options
	gate     gate
	failures *limiter
	refused  tally
}

// New returns a Server. Serve lets it answer requests.
func New(o Options) *Server {
	return &Server{
		options:  o,
		failures: newLimiter(),
		refused:  tally{sink: o.Sink},
	}
}

// ServeHTTP answers the webhook's path and, but not through the tunnel, GET
// /healthz: 200, or 503 with one word while nothing can be accepted.
//
// A webhook is answered with 200 when the receiver has accepted it, and with 400, 401,
// 404, 405, 408, 413, 429 or 503 else. Talk takes all but 200 for a failure, and
// never sends again.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	receiver := s.options.Source.Current()
	settings := receiver.Settings()
	mark := r.Header.Get(HeaderTunnel)
	tunnel := s.options.Tunnel != "" && subtle.ConstantTimeCompare([]byte(mark), []byte(s.options.Tunnel)) == 1
	r.Header.Del(HeaderTunnel) // nobody else is to see it
	r.RemoteAddr = source(r, tunnel, settings.TrustedProxies).String()
	switch path := settings.Path; {
	case r.URL.Path == path:
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "This address takes webhooks of Nextcloud Talk, by POST only.", http.StatusMethodNotAllowed)
			return
		}
		s.receive(w, r, receiver)
	case r.URL.Path == "/healthz" && !tunnel:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		word := "ok"
		if trouble := receiver.Trouble(); trouble != "" {
			word = trouble
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, word+"\n")
	default:
		s.misled(w, r, path)
	}
}

// misled answers a request to another path than the webhook's.
func (s *Server) misled(w http.ResponseWriter, r *http.Request, path string) {
	const most = 80 // of a path in the log
	came := r.URL.EscapedPath()
	if len(came) > most {
		came = came[:most] + "…"
	}
	if r.Header.Get(HeaderSignature) != "" {
		s.refuse(w, r, s.refused.misled(came), http.StatusNotFound, slog.LevelWarn, errMisled(came, path))
		return
	}
	s.refuse(w, r, noisePath, http.StatusNotFound, slog.LevelInfo, errPath(came, path))
}

func (s *Server) receive(w http.ResponseWriter, r *http.Request, receiver Receiver) {
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
			s.refuse(w, r, noiseNoSecret, http.StatusServiceUnavailable, slog.LevelError, errNoSecret(settings.SecretHowTo))
			return
		case req.Random == "" || signature == "":
			s.refuse(w, r, noiseUnsigned, http.StatusBadRequest, slog.LevelWarn, errNoHeaders())
			return
		}
	}

	c, leave := s.gate.enter(r, addrOf(r.RemoteAddr))
	defer leave()
	var err error
	req.Body, err = s.readBody(w, r, c)
	valid := err == nil && (!settings.RequireSignature || receiver.Verify(req.Random, req.Body, signature))
	if valid {
		s.gate.prove(c)
	}
	switch {
	case err != nil:
		s.refuseBody(w, r, err)
		return
	case isSelfCheck(req.Body):
		s.answerSelfCheck(w, r, receiver, req, signature)
		return
	case !valid:
		s.refuseSignature(w, r, settings.SecretHowTo)
		return
	}

	m, err := receiver.Decode(req)
	if err != nil {
		s.refuse(w, r, noiseUnread, http.StatusBadRequest, slog.LevelWarn, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), acceptTimeout)
	defer cancel()
	if err := receiver.Accept(ctx, m); err != nil {
		s.refuse(w, r, noiseNotStored, http.StatusServiceUnavailable, slog.LevelError, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// readBody reads a body as it comes, and takes memory for what came, not for what
// was announced. It ends what comes too slowly.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, c *client) ([]byte, error) {
	size := maxBody + 1 // to see that it is larger
	if r.ContentLength > maxBody {
		return nil, errTooLarge(nil)
	}
	if r.ContentLength >= 0 {
		size = int(r.ContentLength)
	}
	began, conn := time.Now(), http.NewResponseController(w)
	var body []byte
	for len(body) < size {
		if len(body) == cap(body) {
			next := min(max(2*cap(body), firstRead), size)
			if err := s.gate.hold(r.Context(), c, int64(next-cap(body))); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, next), body...)
		}
		pace := minRateGrace + time.Duration(len(body))*time.Second/minRate
		_ = conn.SetReadDeadline(began.Add(min(pace, maxRequestTime)))
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == nil, len(body) == size:
		case errors.Is(err, io.EOF) && r.ContentLength < 0:
			size = len(body)
		case errors.Is(err, os.ErrDeadlineExceeded), s.gate.cutOff(c):
			return nil, errTooSlow(err)
		default:
			return nil, errIncomplete(err)
		}
	}
	if len(body) > maxBody {
		return nil, errTooLarge(nil)
	}
	_ = conn.SetReadDeadline(time.Now().Add(maxRequestTime))
	return body, nil
}

// refuseSignature answers 401, and 429 once an address has failed too often.
// A right signature is never held against earlier wrong ones: whoever corrects
// the secret is heard at once.
func (s *Server) refuseSignature(w http.ResponseWriter, r *http.Request, howTo bridge.Text) {
	from := addrOf(r.RemoteAddr)
	if wait := s.failures.fail(from, time.Now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		s.refuse(w, r, noisePersists, http.StatusTooManyRequests, slog.LevelWarn, errTooManyFailures(from.String()))
		return
	}
	s.refuse(w, r, noiseForged, http.StatusUnauthorized, slog.LevelWarn, errSignature(from.String(), howTo))
}

// refuseBody answers a request whose body was not read to its end.
func (s *Server) refuseBody(w http.ResponseWriter, r *http.Request, err error) {
	kind, status := noiseCutShort, http.StatusBadRequest
	switch bridge.CodeOf(err) {
	case bridge.CodeRejected:
		kind, status = noiseLarge, http.StatusRequestEntityTooLarge
	case bridge.CodeThrottled:
		kind, status = noiseSlow, http.StatusRequestTimeout
	case bridge.CodeUnavailable:
		kind, status = noiseCrowd, http.StatusServiceUnavailable
	default:
	}
	s.refuse(w, r, kind, status, slog.LevelWarn, err)
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, kind noise, status int, level slog.Level, err error) {
	const most = 500 // of a cause in the log; some of it can come from the request
	cause := err.Error()
	if len(cause) > most {
		cause = strings.ToValidUTF8(cause[:most], "") + "…"
	}
	s.refused.add(kind, addrOf(r.RemoteAddr), bridge.Event{
		Stage: bridge.StageWebhook, Kind: bridge.EventWebhookRefused, Level: level,
		Title: bridge.TextOf(err),
		Code:  bridge.CodeOf(err),
		Cause: cause,
		Hint:  bridge.HintOf(err),
	})
	http.Error(w, http.StatusText(status), status)
}
