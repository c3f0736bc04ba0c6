// Package practice is a Nextcloud Talk server inside the process, on loopback:
// rooms, people, bots, signed webhooks and the parts of the OCS API that a bot
// needs. It behaves as Nextcloud 32.0.1 with Talk 21.1.7 was recorded to, down
// to the bytes of webhooks and answers.
//
// It shares no code with the Talk client of Perch, so that one can check the
// other:
//
//	srv, err := practice.Start(ctx, practice.Options{})
//	room := srv.AddRoom("Kitchen", "alice", "bob")
//	bot, err := srv.InstallBot(practice.Bot{Name: "Perch", URL: url, Secret: secret})
//	deliveries, err := srv.EnableBot(ctx, room, bot)
//	posted, err := srv.Post(ctx, room, "alice", "!ping")
//	reply, err := srv.WaitReply(ctx, room, posted.ID)
//
// Everything it keeps is bounded: the newest 1000 messages of a room and the
// newest 1000 requests. All methods are safe for concurrent use.
package practice

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what a Server keeps and takes.
const (
	keepMessages  = 1000     // in a room
	keepRequests  = 1000     // in the log
	keepReactions = 200      // on a message
	keepAddresses = 1000     // with wrong signatures
	keepLogins    = 20       // login flows that wait for their user
	maxBody       = 2 << 20  // bytes of a request
	maxFile       = 24 << 20 // bytes of a shared file
)

// Options are the settings of a Server. The zero value is a server on a free
// port of 127.0.0.1.
type Options struct {
	Addr           string        // where to listen, on loopback; "127.0.0.1:0" by default
	BackendURL     string        // what the server calls itself in webhooks and links; URL() by default
	MaxLength      int           // longest message, in characters; 32000 by default
	WebhookTimeout time.Duration // how long a bot may take to answer a webhook; 5 s by default, as in Talk
	TrustedDomains []string      // hosts besides localhost that requests may name
	// Talk23 tells bots of files, polls and locations as Talk 23 does, as a
	// message, and knows threads. What bots are told of threads is a guess: the
	// names are those of the chat API, and no such server was recorded.
	Talk23       bool
	Admin        bool          // the administrator "admin" exists
	ProxyTimeout time.Duration // how long a proxy before the server waits for it; 0: for ever

	Now func() time.Time // the server's clock; time.Now by default
}

// Server is a running practice server. Its goroutines end with Close.
type Server struct {
	opts    Options
	url     string
	backend string // without a trailing slash
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{} // closed when every goroutine has ended
	client  *http.Client  // for webhooks

	now    func() time.Time
	random func(n int, alphabet string) string

	mu           sync.Mutex
	changed      chan struct{} // closed and replaced at every change
	users        []*user
	tokens       map[string]*user // by app password
	rooms        []*room
	bots         []*bot
	logins       []*login
	faults       []*Fault
	requests     []Request
	attempts     map[string]int // wrong signatures by client address
	requestCount int
	polls        int // requests that wait for a message now
	lastMessage  int
	lastAttendee int
	lastFile     int
	lastPoll     int
	lastBot      int
}

type user struct {
	id, name string
	admin    bool

	files   map[string]*file // that the user uploaded, by path
	folders map[string]bool
	limited bool // quota counts
	quota   int  // bytes
}

// Kinds of conversation, as the room API numbers them.
const (
	oneToOne   = 1
	groupRoom  = 2
	publicRoom = 3 // a group that guests may join
)

// Roles of participants, likewise.
const (
	roleOwner  = 1
	roleMember = 3
	roleGuest  = 4
)

type room struct {
	id           int
	token        string
	name         string
	kind         int
	locked       bool // nobody may write
	participants []*participant
	messages     []*message // by id, ascending
	bots         []int      // ids of the enabled bots
}

type participant struct {
	actor
	role     int
	attendee int
	lastRead int // id of a message
}

// Start listens and serves until Close, or until ctx is done.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.MaxLength <= 0 {
		opts.MaxLength = 32000
	}
	if opts.WebhookTimeout <= 0 {
		opts.WebhookTimeout = 5 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	host, _, err := net.SplitHostPort(opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("practice: address %q: %w", opts.Addr, err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("practice: address %q is not on loopback", opts.Addr)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("practice: listen: %w", err)
	}

	s := &Server{
		opts: opts,
		url:  "http://" + listener.Addr().String(),
		done: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     30 * time.Second,
		}},
		now:      opts.Now,
		random:   randomText,
		changed:  make(chan struct{}),
		tokens:   map[string]*user{},
		attempts: map[string]int{},
		lastFile: 200,
	}
	s.backend = strings.TrimRight(opts.BackendURL, "/")
	if s.backend == "" {
		s.backend = s.url
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.ctx = ctx
	if opts.Admin {
		s.addUser("admin", "admin").admin = true
	}
	s.serve(ctx, listener)
	return s, nil
}

// serve starts the HTTP server and the goroutine that stops it when
// ctx is done.
func (s *Server) serve(ctx context.Context, listener net.Listener) {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // a long poll of 30 s, a slow bot, a delay
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // always http.ErrServerClosed, or the listener broke: nobody can ask any more
	}()
	go func() {
		defer close(s.done)
		<-ctx.Done() // handlers and deliveries end with it, too
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
		<-served
		s.client.CloseIdleConnections()
	}()
}

// Close stops the server and waits until its goroutines have ended. Whatever
// waits in a method of s returns an error.
func (s *Server) Close() {
	s.cancel()
	<-s.done
}

// URL returns the address of the server, without a trailing slash.
func (s *Server) URL() string { return s.url }

// Changed returns a channel that is closed at the next change of any room.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// AddUser adds a person by id, or renames the one who is there.
func (s *Server) AddUser(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addUser(id, name)
}

// addUser needs s.mu. An empty name keeps the present one, and is the id for
// somebody new.
func (s *Server) addUser(id, name string) *user {
	u := s.user(id)
	if u == nil {
		u = &user{id: id, name: id}
		s.users = append(s.users, u)
	}
	if name == "" {
		return u
	}
	u.name = name
	for _, r := range s.rooms {
		if p := r.participant(actorUser, id); p != nil {
			p.name = name
		}
	}
	return u
}

// user returns nil if there is nobody by that id.
func (s *Server) user(id string) *user {
	i := slices.IndexFunc(s.users, func(u *user) bool { return u.id == id })
	if i < 0 {
		return nil
	}
	return s.users[i]
}

// AppToken returns a new app password of a user, who is added if there is
// nobody by that id.
func (s *Server) AppToken(userID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appToken(s.addUser(userID, ""))
}

// appToken needs s.mu.
func (s *Server) appToken(u *user) string {
	groups := make([]string, 5)
	for i := range groups {
		groups[i] = s.random(5, alphanumeric)
	}
	token := strings.Join(groups, "-")
	s.tokens[token] = u
	return token
}

// RevokeAppToken makes an app password useless.
func (s *Server) RevokeAppToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// AddRoom adds a group conversation and returns its token. The first user is
// its owner; users who do not exist are added.
func (s *Server) AddRoom(name string, users ...string) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addRoom(s.random(8, lowerDigits), name, groupRoom, users).token
}

// AddOneToOne adds the conversation of two users, started by the first, and
// returns its token. Talk names it ["alice","bob"].
func (s *Server) AddOneToOne(a, b string) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addRoom(s.random(8, lowerDigits), "", oneToOne, []string{a, b}).token
}

// addRoom needs s.mu.
func (s *Server) addRoom(token, name string, kind int, users []string) *room {
	r := &room{id: len(s.rooms) + 1, token: token, name: name, kind: kind}
	s.rooms = append(s.rooms, r)
	for i, id := range users {
		u := s.addUser(id, "")
		role := roleMember
		if i == 0 || kind == oneToOne {
			role = roleOwner
		}
		s.join(r, actor{actorUser, u.id, u.name}, role)
	}
	if kind == oneToOne {
		pair := slices.Sorted(slices.Values(users))
		r.name = string(encode(list{pair[0], pair[1]}, false))
	}
	if len(users) > 0 {
		owner := r.participants[0].actor
		s.store(r, &message{actor: owner, system: "conversation_created", text: "{actor} created the conversation"})
		if kind != oneToOne {
			for _, p := range r.participants[1:] {
				s.store(r, &message{
					actor: owner, system: "user_added", text: "{actor} added {user}",
					objects: object{{"user", actorParameter(p.actor)}},
				})
			}
		}
	}
	for _, p := range r.participants {
		p.lastRead = s.lastMessage
	}
	return r
}

// join needs s.mu.
func (s *Server) join(r *room, a actor, role int) *participant {
	s.lastAttendee++
	p := &participant{actor: a, role: role, attendee: s.lastAttendee, lastRead: s.lastMessage}
	r.participants = append(r.participants, p)
	return p
}

// room returns nil if there is none with that token.
func (s *Server) room(token string) *room {
	i := slices.IndexFunc(s.rooms, func(r *room) bool { return r.token == token })
	if i < 0 {
		return nil
	}
	return s.rooms[i]
}

// participant returns nil if the actor is not in the room.
func (r *room) participant(kind, id string) *participant {
	i := slices.IndexFunc(r.participants, func(p *participant) bool { return p.kind == kind && p.id == id })
	if i < 0 {
		return nil
	}
	return r.participants[i]
}

// Features are what a bot may do, as bits.
type Features int

// The features of occ talk:bot:install.
const (
	FeatureWebhook  Features = 1 // is told of messages
	FeatureResponse Features = 2 // may post and react
	FeatureEvent    Features = 4 // is an app on the server; no webhooks
	FeatureReaction Features = 8 // is told of reactions
)

// Bot is what an administrator installs.
type Bot struct {
	Name        string
	URL         string // of the webhook
	Secret      string // 40 to 128 bytes
	Description string
	Features    Features // FeatureWebhook|FeatureResponse if 0, as in Talk
}

type bot struct {
	Bot

	id  int
	off bool // it is told nothing, and nothing is taken from it
}

func (b *bot) hash() string { return sha1Hex(b.URL) }

func (b *bot) actor() actor { return actor{actorBot, "bot-" + b.hash(), b.Name + " (Bot)"} }

// OccError is what occ says when it refuses, and its exit code.
type OccError struct {
	Exit int
	Text string
}

// Error returns Talk's own words.
func (e *OccError) Error() string { return e.Text }

// InstallBot does what occ talk:bot:install does, and returns the id of the
// bot or an *OccError.
func (s *Server) InstallBot(b Bot) (id int, err error) {
	if b.Features == 0 {
		b.Features = FeatureWebhook | FeatureResponse
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case b.Name == "" || len(b.Name) > 64:
		return 0, &OccError{1, "The provided name is too short or too long (min. 1 char, max. 64 chars)"}
	case len(b.Secret) < 40 || len(b.Secret) > 128:
		return 0, &OccError{1, "The provided secret is too short (min. 40 chars, max. 128 chars)"}
	case len(b.URL) > 4000 || !strings.HasPrefix(b.URL, "http://") && !strings.HasPrefix(b.URL, "https://"):
		return 0, &OccError{1, "The provided URL is not a valid URL"}
	case len(b.Description) > 4000:
		return 0, &OccError{1, "The provided description is too long (max. 4000 chars)"}
	case slices.ContainsFunc(s.bots, func(o *bot) bool { return o.URL == b.URL }):
		return 0, &OccError{2, "Bot with the same URL is already registered"}
	case slices.ContainsFunc(s.bots, func(o *bot) bool { return o.Secret == b.Secret }):
		return 0, &OccError{3, "Bot with the same secret is already registered"}
	}
	s.lastBot++
	s.bots = append(s.bots, &bot{Bot: b, id: s.lastBot})
	return s.lastBot, nil
}

// UninstallBot does what occ talk:bot:uninstall --url does: the bot is gone
// from every conversation.
func (s *Server) UninstallBot(url string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.bots, func(b *bot) bool { return b.URL == url })
	if i < 0 {
		return &OccError{1, "Bot not found"}
	}
	id := s.bots[i].id
	s.bots = slices.Delete(s.bots, i, i+1)
	for _, r := range s.rooms {
		r.bots = slices.DeleteFunc(r.bots, func(b int) bool { return b == id })
	}
	return nil
}

// SetBotState does what occ talk:bot:state does: it switches a bot on or off,
// and gives it other features unless these are 0. Its conversations stay.
func (s *Server) SetBotState(id int, on bool, features Features) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bot(id)
	if b == nil {
		return &OccError{1, "Bot could not be found by id: " + strconv.Itoa(id)}
	}
	b.off = !on
	if features != 0 {
		b.Features = features
	}
	return nil
}

// EnableBot enables a bot in a conversation and tells it. Nothing happens if
// it was enabled before.
func (s *Server) EnableBot(ctx context.Context, token string, id int) ([]Delivery, error) {
	result, err := s.change(ctx, token, func(r *room) (int, []hook, error) {
		_, hooks, err := s.enable(r, id)
		return 0, hooks, err
	})
	return result.Deliveries, err
}

// DisableBot disables a bot in a conversation and tells it.
func (s *Server) DisableBot(ctx context.Context, token string, id int) ([]Delivery, error) {
	result, err := s.change(ctx, token, func(r *room) (int, []hook, error) {
		hooks, err := s.disable(r, id)
		return 0, hooks, err
	})
	return result.Deliveries, err
}

// enable needs s.mu.
func (s *Server) enable(r *room, id int) (fresh bool, hooks []hook, err error) {
	b := s.bot(id)
	if b == nil {
		return false, nil, errNoBot
	}
	if slices.Contains(r.bots, id) {
		return false, nil, nil
	}
	r.bots = append(r.bots, id)
	return true, hookTo([]*bot{b}, FeatureWebhook, presence("Join", b, r)), nil
}

// disable needs s.mu.
func (s *Server) disable(r *room, id int) ([]hook, error) {
	b := s.bot(id)
	if b == nil {
		return nil, errNoBot
	}
	r.bots = slices.DeleteFunc(r.bots, func(o int) bool { return o == id })
	return hookTo([]*bot{b}, FeatureWebhook, presence("Leave", b, r)), nil
}

// bot returns nil if there is none with that id.
func (s *Server) bot(id int) *bot {
	i := slices.IndexFunc(s.bots, func(b *bot) bool { return b.id == id })
	if i < 0 {
		return nil
	}
	return s.bots[i]
}

// enabled returns the bots of a room.
func (s *Server) enabled(r *room) []*bot {
	var bots []*bot
	for _, id := range r.bots {
		if b := s.bot(id); b != nil && !b.off {
			bots = append(bots, b)
		}
	}
	return bots
}

// ResetBruteforce forgets all wrong signatures, as occ
// security:bruteforce:reset does for one address.
func (s *Server) ResetBruteforce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.attempts)
}

// notify wakes everybody who waits for a change. It needs s.mu.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait calls found, with s.mu held, now and after every change until it
// returns true.
func (s *Server) wait(ctx context.Context, found func() bool) error {
	return s.waitOr(ctx, nil, found)
}

// waitOr is wait that also ends at giveUp, without an error.
func (s *Server) waitOr(ctx context.Context, giveUp <-chan time.Time, found func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := found(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-giveUp:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return errClosed
		}
	}
}

// Alphabets of random texts.
const (
	lowerDigits  = "abcdefghijklmnopqrstuvwxyz0123456789"
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	base64Digits = alphanumeric + "+/"
	hexDigits    = "0123456789abcdef"
)

func randomText(n int, alphabet string) string {
	text := make([]byte, n)
	size := big.NewInt(int64(len(alphabet)))
	for i := range text {
		digit, _ := rand.Int(rand.Reader, size) // never fails
		text[i] = alphabet[digit.Int64()]
	}
	return string(text)
}

// What can go wrong with an action.
var (
	errClosed     = errors.New("practice: the server is closed")
	errNoRoom     = errors.New("practice: no such conversation")
	errNotInRoom  = errors.New("practice: not a participant of the conversation")
	errNotAllowed = errors.New("practice: not allowed")
	errNoBot      = errors.New("practice: no such bot")
	errNoMessage  = errors.New("practice: no such message in the conversation")
	errDeleted    = errors.New("practice: the message is deleted")
	errTooOld     = errors.New("practice: the message is too old to be edited")
	errNoThread   = errors.New("practice: no such thread")
	errNoParent   = errors.New("practice: no such message to reply to")
	errEmpty      = errors.New("practice: the message is empty")
	errTooLong    = errors.New("practice: the message is too long")
	errReaction   = errors.New("practice: not a reaction for this message")
)
