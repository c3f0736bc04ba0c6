package local

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
)

// Engine is what the server serves: control.Bot.
type Engine interface {
	Snapshot() (s bridge.Snapshot, changed <-chan struct{})
	Resume(ctx context.Context) error
	Pause(ctx context.Context) error
	Release(ctx context.Context) (held bool, err error)
	Post(ctx context.Context, room, text string, silent bool) (ids []int64, err error)
	Posted(ctx context.Context, ids []int64) error
	WatchLog(ctx context.Context, f bridge.LogFilter, show func(entries []bridge.Entry)) error
	ClearLog(ctx context.Context) error
	Config() (c config.Config, problems []config.Problem, exists bool)
	Save(ctx context.Context, c config.Config) error
	ConfigFile() string
	Secret(ctx context.Context, name string) (bridge.Secret, error)
	SecretPlace(ctx context.Context, name string) (place bridge.Text, fixed bool, err error)
	SetSecret(ctx context.Context, name string, s bridge.Secret) error
	TestServer(ctx context.Context, c config.Config, appToken bridge.Secret) (doctor.Report, error)
	Occ(ctx context.Context, c config.Config, secret bridge.Secret) ([]bridge.Commands, error)
	LocalAddresses() []string
	Models(ctx context.Context, h config.Handler, key bridge.Secret) ([]string, error)
	Examine(ctx context.Context, r doctor.Request, row func(whole, shown doctor.Row)) (doctor.Report, error)
	Practice(ctx context.Context) (bridge.Practice, error)
}

// Options say what is served.
type Options struct {
	Engine  Engine
	Version string
	// More has handlers for further paths, by their pattern; may be nil.
	More map[string]http.Handler
}

const (
	answerTimeout = 30 * time.Second       // for a client to take a line or an answer
	streamEvery   = 100 * time.Millisecond // lines of a stream, at most
	postTimeout   = 30 * time.Second       // for a text to stand in its conversation
	closeTimeout  = 2 * time.Second        // for requests to end
	maxRequests   = 64                     // at once, streams among them
	maxEntries    = 10000                  // of the log, in one answer
)

// Server answers on the socket of a home.
type Server struct {
	o        Options
	http     *http.Server
	end      context.CancelFunc
	served   chan error
	requests atomic.Int32
	handlers sync.WaitGroup

	mu        sync.Mutex
	practices map[string]*practiceServer
}

// Serve takes the socket of a home and answers there until Close. The error is
// of CodeConflict if another process does.
func Serve(ctx context.Context, home config.Home, o Options) (*Server, error) {
	socket, err := listen(ctx, home)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{o: o, end: end, served: make(chan error, 1), practices: map[string]*practiceServer{}}
	s.http = &http.Server{
		Handler:           s.guarded(s.routes()),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // a client that goes away is no news
		BaseContext:       func(net.Listener) context.Context { return life },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			p, ok := c.(*peer)
			return context.WithValue(ctx, foreignKey{}, !ok || p.foreign)
		},
	}
	go func() { s.served <- s.http.Serve(socket) }()
	return s, nil
}

// foreignKey is the key of whether the client is another user's.
type foreignKey struct{}

// Close ends all requests and gives the socket up.
func (s *Server) Close() error {
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.handlers.Wait()
	return err
}

// guarded lets in whom the engine talks to.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(versionHeader, s.o.Version)
		s.handlers.Add(1)
		defer s.handlers.Done()
		defer s.requests.Add(-1)
		if s.requests.Add(1) > maxRequests {
			fail(w, &bridge.Error{Code: bridge.CodeThrottled, Text: bridge.Say("Too many programs ask Perch at once")})
			return
		}
		if foreigner, ok := r.Context().Value(foreignKey{}).(bool); !ok || foreigner {
			fail(w, foreign())
			return
		}
		if version := r.Header.Get(versionHeader); version != "" && version != s.o.Version {
			fail(w, otherVersion(s.o.Version, version))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func (s *Server) routes() http.Handler {
	e := s.o.Engine
	mux := http.NewServeMux()
	for pattern, handler := range s.o.More {
		mux.Handle(pattern, handler)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("The local API has no %s", r.Method+" "+r.URL.Path)})
	})
	mux.Handle("GET /v1", answer(func(*http.Request, none) (helloDoc, error) {
		snapshot, _ := e.Snapshot()
		return helloDoc{Version: s.o.Version, ConfigFile: e.ConfigFile(), Snapshot: snapshot}, nil
	}))
	mux.HandleFunc("GET /v1/snapshot", s.snapshot)
	mux.Handle("POST /v1/pause", answer(func(r *http.Request, _ none) (none, error) { return none{}, e.Pause(r.Context()) }))
	mux.Handle("POST /v1/resume", answer(func(r *http.Request, _ none) (none, error) { return none{}, e.Resume(r.Context()) }))
	mux.Handle("POST /v1/retry", answer(func(r *http.Request, _ none) (retryDoc, error) {
		held, err := e.Release(r.Context())
		return retryDoc{held}, err
	}))
	mux.HandleFunc("POST /v1/rooms/{token}/messages", s.post)

	mux.HandleFunc("GET /v1/log", s.log)
	mux.Handle("DELETE /v1/log", answer(func(r *http.Request, _ none) (none, error) { return none{}, e.ClearLog(r.Context()) }))

	mux.Handle("GET /v1/config", answer(func(*http.Request, none) (configDoc, error) {
		c, problems, exists := e.Config()
		return configDoc{c, problems, exists}, nil
	}))
	mux.Handle("PUT /v1/config", answer(func(r *http.Request, c config.Config) (none, error) { return none{}, e.Save(r.Context(), c) }))

	mux.Handle("GET /v1/secrets/{name}", answer(func(r *http.Request, _ none) (secretDoc, error) {
		secret, err := e.Secret(r.Context(), r.PathValue("name"))
		return secretDoc{secret.Reveal()}, err
	}))
	mux.Handle("PUT /v1/secrets/{name}", answer(func(r *http.Request, d secretDoc) (none, error) {
		return none{}, e.SetSecret(r.Context(), r.PathValue("name"), bridge.NewSecret(d.Value))
	}))
	mux.Handle("GET /v1/secrets/{name}/place", answer(func(r *http.Request, _ none) (placeDoc, error) {
		place, fixed, err := e.SecretPlace(r.Context(), r.PathValue("name"))
		return placeDoc{place, fixed, packed(err)}, nil
	}))

	mux.Handle("GET /v1/addresses", answer(func(*http.Request, none) ([]string, error) { return e.LocalAddresses(), nil }))
	mux.Handle("POST /v1/models", answer(func(r *http.Request, d modelsDoc) ([]string, error) {
		return e.Models(r.Context(), d.Handler, bridge.NewSecret(d.Key))
	}))
	mux.Handle("POST /v1/occ", answer(func(r *http.Request, d occDoc) ([]bridge.Commands, error) {
		return e.Occ(r.Context(), d.Config, bridge.NewSecret(d.Secret))
	}))
	mux.Handle("POST /v1/test-server", answer(func(r *http.Request, d serverDoc) (doctor.Report, error) {
		return e.TestServer(r.Context(), d.Config, bridge.NewSecret(d.AppToken))
	}))
	mux.HandleFunc("POST /v1/doctor", s.doctor)

	mux.HandleFunc("POST /v1/practice", s.practice)
	mux.Handle("POST /v1/practice/{id}/messages", answer(s.practiceSay))
	mux.Handle("POST /v1/practice/{id}/clear", answer(s.practiceClear))
	return mux
}

// none is an empty body.
type none struct{}

// answer is a handler that reads a body of type In, if the request has one, and
// answers with what do returns.
func answer[In, Out any](do func(r *http.Request, in In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := read(r, &in); err != nil {
			fail(w, err)
			return
		}
		out, err := do(r, in)
		if err != nil {
			fail(w, err)
			return
		}
		reply(w, http.StatusOK, out)
	})
}

// read decodes the body of a request.
func read(r *http.Request, into any) error {
	if _, empty := into.(*none); empty {
		return nil
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return &bridge.Error{
			Code: bridge.CodeInvalid, Text: bridge.Say("The request has no body that can be understood"),
			Hint: bridge.Say("The local API is described in docs/local-api.md."), Cause: errors.New("not the JSON that is expected"), // the body can have secrets
		}
	}
	return nil
}

func reply(w http.ResponseWriter, status int, body any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone needs none
}

func fail(w http.ResponseWriter, err error) {
	d := packed(err)
	reply(w, d.status(), failureDoc{d})
}

// stream is a response of JSON lines.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/jsonl")
	return &stream{w, http.NewResponseController(w)}
}

// send writes a line; it fails if the client does not take it in time.
func (s *stream) send(line any) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if err := json.NewEncoder(s.w).Encode(line); err != nil {
		return err
	}
	return s.rc.Flush()
}

// pause waits until the next line may follow.
func pause(ctx context.Context) {
	timer := time.NewTimer(streamEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// snapshot answers with a snapshot, and with ?follow with one at every change.
// A client that is slow misses those between.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("follow") {
		snapshot, _ := s.o.Engine.Snapshot()
		reply(w, http.StatusOK, snapshot)
		return
	}
	out := newStream(w)
	for {
		snapshot, changed := s.o.Engine.Snapshot()
		if out.send(snapshot) != nil {
			return
		}
		pause(r.Context())
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

// log answers with the newest entries, and with ?follow with what comes after.
// For a client that is slow the engine begins anew.
func (s *Server) log(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f := bridge.LogFilter{Room: query.Get("room"), Level: slog.LevelDebug, Limit: 100}
	if value := query.Get("limit"); value != "" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			fail(w, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("%s is a number from 1", "limit")})
			return
		}
		f.Limit = min(n, maxEntries)
	}
	if value := query.Get("level"); value != "" && f.Level.UnmarshalText([]byte(value)) != nil {
		fail(w, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("%[1]s is one of %[2]s", "level", "debug, info, warn, error")})
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	follow := query.Has("follow")
	out := newStream(w)
	err := s.o.Engine.WatchLog(ctx, f, func(entries []bridge.Entry) {
		if entries == nil {
			entries = []bridge.Entry{}
		}
		if out.send(logDoc{entries}) != nil || !follow {
			stop()
		}
	})
	if err != nil && ctx.Err() == nil {
		_ = out.send(failureDoc{packed(err)})
	}
}

// post puts a text into a conversation: it answers when the text is on disk, and
// with ?wait when it was posted.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	var d messageDoc
	if err := read(r, &d); err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), postTimeout)
	defer cancel()
	ids, err := s.o.Engine.Post(ctx, r.PathValue("token"), d.Text, d.Silent)
	if err != nil {
		fail(w, err)
		return
	}
	status := http.StatusAccepted
	if r.URL.Query().Has("wait") {
		if err := s.o.Engine.Posted(ctx, ids); err != nil {
			fail(w, err)
			return
		}
		status = http.StatusOK
	}
	reply(w, status, postedDoc{ids[0], ids})
}

// doctorLine is a line of what the doctor answers: a row, twice, or the end.
type doctorLine struct {
	Row    *doctor.Row    `json:"row,omitempty"`   // as it is, but for secrets
	Shown  *doctor.Row    `json:"shown,omitempty"` // as others may see it
	Report *doctor.Report `json:"report,omitempty"`
	Error  *errorDoc      `json:"error,omitempty"`
}

func (s *Server) doctor(w http.ResponseWriter, r *http.Request) {
	var request doctor.Request
	if err := read(r, &request); err != nil {
		fail(w, err)
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	out := newStream(w)
	report, err := s.o.Engine.Examine(ctx, request, func(whole, shown doctor.Row) {
		if out.send(doctorLine{Row: &whole, Shown: &shown}) != nil {
			stop()
		}
	})
	if err != nil {
		_ = out.send(doctorLine{Error: packed(err)})
		return
	}
	_ = out.send(doctorLine{Report: &report})
}

// practiceServer is a practice bot that a client has.
type practiceServer struct {
	bridge.Practice

	mu   sync.Mutex
	last int // number of the last practiceDoc
}

// practiceDoc is how a practice server is at one moment.
type practiceDoc struct {
	ID     string                   `json:"id,omitempty"`
	Number int                      `json:"number"` // the higher is the newer
	People []bridge.Actor           `json:"people"`
	Rooms  []bridge.Room            `json:"rooms"`
	Lines  map[string][]bridge.Line `json:"lines"` // by room
}

func (p *practiceServer) state() practiceDoc {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	d := practiceDoc{Number: p.last, People: p.People(), Rooms: p.Rooms(), Lines: map[string][]bridge.Line{}}
	for _, room := range d.Rooms {
		d.Lines[room.Token] = p.Lines(room.Token)
	}
	return d
}

const maxPractices = 4

// practice starts a practice server, tells of every change, and ends it when the
// client goes away.
func (s *Server) practice(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	many := len(s.practices) >= maxPractices
	s.mu.Unlock()
	if many {
		fail(w, &bridge.Error{Code: bridge.CodeThrottled, Text: bridge.Say("Too many practice servers are open")})
		return
	}
	practice, err := s.o.Engine.Practice(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	defer practice.Close()
	p, id := &practiceServer{Practice: practice}, rand.Text()
	s.mu.Lock()
	s.practices[id] = p
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.practices, id)
	}()
	out := newStream(w)
	for {
		changed := p.Changed()
		d := p.state()
		d.ID = id
		if out.send(d) != nil {
			return
		}
		pause(r.Context())
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func (s *Server) practiceOf(r *http.Request) (*practiceServer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.practices[r.PathValue("id")]
	if p == nil {
		return nil, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("The practice server has ended")}
	}
	return p, nil
}

func (s *Server) practiceSay(r *http.Request, d sayDoc) (practiceDoc, error) {
	p, err := s.practiceOf(r)
	if err == nil && !slices.ContainsFunc(p.Rooms(), func(room bridge.Room) bool { return room.Token == d.Room }) {
		err = &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("There is no conversation %s", d.Room)}
	}
	if err == nil {
		err = p.Say(r.Context(), d.Room, d.Person, d.Text)
	}
	if err != nil {
		return practiceDoc{}, err
	}
	return p.state(), nil
}

func (s *Server) practiceClear(r *http.Request, _ none) (practiceDoc, error) {
	p, err := s.practiceOf(r)
	if err == nil {
		err = p.Clear(r.Context())
	}
	if err != nil {
		return practiceDoc{}, err
	}
	return p.state(), nil
}
