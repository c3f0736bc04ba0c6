package notify

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"perch/bridge"
)

const (
	maxConns     = 128
	maxRequest   = 20 * time.Second // for a request to arrive
	drainTimeout = 2 * time.Second
	// An address may show failureBurst wrong tokens, then one each failureEvery.
	failureBurst = 10
	failureEvery = 6 * time.Second
	maxAddresses = 4096
)

// Options are the parts of a Server. All are needed.
type Options struct {
	Token    func() bridge.Secret // that is in force now; with an empty one everybody is refused
	Messages http.Handler         // for whoever has the token
	Metrics  http.Handler         // likewise, for GET /metrics
	Sink     bridge.EventSink
	Log      *slog.Logger // for what net/http has to say
}

// Server is a listener for other programs. Who has the token is let through to
// the Handler and to the metrics; others get 401, and 429 once too many wrong
// tokens came from their address.
//
// The token comes as Authorization: Bearer, or as the password of Basic. A
// webhook of GitHub, Gitea or Forgejo can instead be signed with it
// (X-Hub-Signature-256). It is never taken from the address, which others log.
type Server struct {
	options Options
	salt    []byte // so that what is kept of a wrong token tells nothing

	mu       sync.Mutex
	failures map[netip.Addr]*failure
}

// failure is what is known of an address that had a wrong token.
type failure struct {
	limit *rate.Limiter
	last  string // the latest, in a form that tells nothing of it
}

// NewServer returns a Server.
func NewServer(o Options) *Server {
	s := &Server{options: o, salt: make([]byte, 32), failures: map[netip.Addr]*failure{}}
	_, _ = rand.Read(s.salt) // never fails
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := source(r.RemoteAddr)
	if wait := s.locked(from); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		refuse(w, http.StatusTooManyRequests, "too many wrong tokens came from this address; see Retry-After")
		return
	}
	shown, right, err := s.authorise(w, r)
	switch {
	case err != nil:
		refuse(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	case !right:
		s.fail(from, shown, r)
		w.Header().Set("WWW-Authenticate", `Bearer realm="Perch"`)
		text := "the token is not the notify_token of this Perch"
		if shown == "" {
			text = "a token is needed: Authorization: Bearer TOKEN, with the notify_token of this Perch"
		}
		refuse(w, http.StatusUnauthorized, text)
		return
	}
	if r.URL.Path != "/metrics" {
		s.options.Messages.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "metrics are read: use GET")
		return
	}
	s.options.Metrics.ServeHTTP(w, r)
}

// authorise reports whether a request has the token, and what it showed instead.
func (s *Server) authorise(w http.ResponseWriter, r *http.Request) (shown string, right bool, err error) {
	token := s.options.Token().Reveal()
	if signature := signatureOf(r.Header); r.Header.Get("Authorization") == "" && signature != "" {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return "", false, errors.New("the body is too large, or did not arrive whole")
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		mac := hmac.New(sha256.New, []byte(token))
		_, _ = mac.Write(body)
		given, bad := hex.DecodeString(signature)
		return signature, bad == nil && token != "" && hmac.Equal(given, mac.Sum(nil)), nil
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if given = strings.TrimSpace(given); !strings.EqualFold(scheme, "Bearer") {
		_, given, _ = r.BasicAuth()
	}
	have, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	return given, token != "" && subtle.ConstantTimeCompare(have[:], want[:]) == 1, nil
}

// signatureOf returns the signature of a webhook of a forge, in hexadecimal; empty
// if there is none.
func signatureOf(h http.Header) string {
	if signature, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256="); ok {
		return signature
	}
	return h.Get("X-Gitea-Signature")
}

// locked returns how long nothing more is taken from an address; 0: it is.
func (s *Server) locked(from netip.Addr) time.Duration {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.failures[from]; f != nil && f.limit.TokensAt(now) < 1 {
		return time.Duration((1 - f.limit.TokensAt(now)) * float64(failureEvery))
	}
	return 0
}

// fail notes a wrong token. The same one again is a program that was set up
// wrong and tries on, not somebody who guesses: it counts once, and is told of
// once.
func (s *Server) fail(from netip.Addr, shown string, r *http.Request) {
	now := time.Now()
	mac := hmac.New(sha256.New, s.salt)
	_, _ = io.WriteString(mac, shown)
	this := string(mac.Sum(nil))
	s.mu.Lock()
	f := s.failures[from]
	if f == nil {
		s.forget(now)
		f = &failure{limit: rate.NewLimiter(rate.Every(failureEvery), failureBurst)}
		s.failures[from] = f
	}
	again := f.last == this
	f.last = this
	if !again {
		f.limit.AllowN(now, 1)
	}
	s.mu.Unlock()
	if again {
		return
	}
	s.options.Sink.Publish(bridge.Event{
		Stage: bridge.StageApp, Kind: bridge.EventNotifyRefused, Level: slog.LevelWarn, Code: bridge.CodeUnauthorized,
		Title: bridge.Say("A program at %s wanted to post without the right token", from.String()),
		Cause: r.Method + " with " + r.UserAgent()[:min(len(r.UserAgent()), 80)],
		Hint:  bridge.Say("If it is yours, give it the notify_token that Perch has, as Authorization: Bearer."),
	})
}

// forget makes room for one more address: by those that have all their failures
// left, else by any.
func (s *Server) forget(now time.Time) {
	if len(s.failures) < maxAddresses {
		return
	}
	for from, f := range s.failures {
		if f.limit.TokensAt(now) >= failureBurst {
			delete(s.failures, from)
		}
	}
	for from := range s.failures {
		if len(s.failures) < maxAddresses {
			return
		}
		delete(s.failures, from)
	}
}

// source returns what stands for everybody who can be at an address: whoever has
// one address of a /64 has them all.
func source(hostPort string) netip.Addr {
	at, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

// Serve answers requests on ln until ctx is done, then lets those under way end,
// within 2 s. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       maxRequest,
		WriteTimeout:      2 * maxRequest,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(ln, maxConns)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}
