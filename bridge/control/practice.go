package control

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/practice"
	"perch/bridge/secret"
)

// Practice starts a Talk server of its own with a copy of the bot, with the
// handler as it is configured. It never touches the real bot.
func (b *Bot) Practice(ctx context.Context) (bridge.Practice, error) {
	cfg, _, _ := b.Config()
	return startPractice(ctx, cfg, b.Secrets, b.Version)
}

// maxLines bounds what a practice conversation shows.
const maxLines = 200

// practiceBot is a practice server and a bot that runs on it.
type practiceBot struct {
	cfg     config.Config
	secrets bridge.SecretStore
	version string

	mu      sync.Mutex
	present *practiceRun
	changed chan struct{}
	ended   bool
}

// practiceRun is what Clear replaces: a server, and a bot that has heard nothing
// yet.
type practiceRun struct {
	server *practice.Server
	app    *app.App
	rooms  []bridge.Room
	dir    string
	stop   context.CancelFunc
	done   sync.WaitGroup
	notes  map[string][]bridge.Line // by room: what Perch did instead of answering
}

func startPractice(ctx context.Context, cfg config.Config, secrets bridge.SecretStore, version string) (*practiceBot, error) {
	p := &practiceBot{cfg: cfg, secrets: secrets, version: version, changed: make(chan struct{})}
	var err error
	p.present, err = p.start(ctx)
	return p, err
}

// start starts another run. It outlives ctx.
func (p *practiceBot) start(ctx context.Context) (_ *practiceRun, err error) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &practiceRun{stop: stop, notes: map[string][]bridge.Line{}}
	defer func() {
		if err != nil {
			s.clear()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "perch-practice-"); err != nil {
		return nil, err
	}
	if s.server, err = practice.Start(running, practice.Options{}); err != nil {
		return nil, err
	}
	cfg := p.cfg
	cfg.Talk = config.Talk{BaseURL: s.server.URL(), AllowedUsers: []string{"alice", "bob"}, Receive: config.ByWebhook, ReplyAs: config.Bot}
	cfg.Webhook = config.Default().Webhook
	cfg.Webhook.Listen = "127.0.0.1:0"
	cfg.Tunnel = config.Default().Tunnel
	cfg.Rooms = nil
	home := config.Home{ConfigDir: s.dir, DataDir: filepath.Join(s.dir, "data")}
	if _, err := config.Save(home.ConfigFile(), cfg); err != nil {
		return nil, err
	}
	key := secret.Generate()
	bus := &eventlog.Bus{}
	events := bus.Subscribe(eventBuffer)
	s.app, err = app.Open(ctx, app.Options{Home: home, Secrets: practiceSecrets{p.secrets, key}, Bus: bus, Version: p.version})
	if err != nil {
		return nil, err
	}
	s.done.Go(func() { _ = s.app.Run(running) }) // it says by events what goes wrong
	s.done.Go(func() { p.watch(running, s, events) })
	for id, name := range map[string]string{"alice": "Alice", "bob": "Bob", "mallory": "Mallory"} {
		s.server.AddUser(id, name)
	}
	bot, err := s.server.InstallBot(practice.Bot{Name: "Perch", Secret: key.Reveal(), URL: "http://" + s.app.Addr() + cfg.Webhook.Path})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Kitchen", "Family"} {
		token := s.server.AddRoom(name, "alice", "bob", "mallory")
		s.rooms = append(s.rooms, bridge.Room{Token: token, Name: name})
		if _, err := s.server.EnableBot(ctx, token, bot); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// practiceSecrets gives the practice bot the handlers' secrets, and none that opens
// the real server.
type practiceSecrets struct {
	bridge.SecretStore

	key bridge.Secret
}

func (r practiceSecrets) Get(ctx context.Context, name string) (bridge.Secret, error) {
	switch name {
	case bridge.WebhookSecret:
		return r.key, nil
	case bridge.AppToken, bridge.TunnelToken:
		return bridge.Secret{}, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("the %s is not set", name)}
	default:
		return r.SecretStore.Get(ctx, name)
	}
}

// watch notes what Perch does instead of answering, and every change.
func (p *practiceBot) watch(ctx context.Context, s *practiceRun, events *eventlog.Subscription) {
	defer events.Close()
	s.done.Go(func() {
		for {
			changed := s.server.Changed()
			p.notify()
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	})
	for {
		batch, _, err := events.Next(ctx)
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, e := range batch {
			if note := noteOf(e); !note.IsZero() {
				s.notes[e.Room.Token] = append(s.notes[e.Room.Token], bridge.Line{Time: e.Time, Author: e.Actor, Note: note})
			}
		}
		p.mu.Unlock()
		p.notify()
	}
}

// noteOf returns what an event says of a message that is not answered.
func noteOf(e bridge.Event) bridge.Text {
	switch {
	case e.Room.Token == "":
		return bridge.Text{}
	case e.Kind == bridge.EventMessageTurnedAway && e.Code == bridge.CodeDenied:
		return bridge.Say("not answered: %s is not among the allowed users", e.Actor.ID)
	case e.Stage == bridge.StageHandler && e.Code != "" && !e.Reason.IsZero():
		return e.Reason
	case e.Kind == bridge.EventMessageSilent, e.Kind == bridge.EventMessageNotForBot:
		return bridge.Say("the handler said nothing")
	case e.Stage == bridge.StageSender && e.Code != "":
		return e.Title
	default:
		return bridge.Text{}
	}
}

func (p *practiceBot) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Changed implements bridge.Practice.
func (p *practiceBot) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// People implements bridge.Practice.
func (p *practiceBot) People() []bridge.Actor {
	return []bridge.Actor{
		{Type: bridge.ActorUser, ID: "alice", Name: "Alice"},
		{Type: bridge.ActorUser, ID: "bob", Name: "Bob"},
		{Type: bridge.ActorUser, ID: "mallory", Name: "Mallory"},
	}
}

// Rooms implements bridge.Practice.
func (p *practiceBot) Rooms() []bridge.Room { return slices.Clone(p.current().rooms) }

func (p *practiceBot) current() *practiceRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.present
}

// Say implements bridge.Practice.
func (p *practiceBot) Say(ctx context.Context, room, person, text string) error {
	_, err := p.current().server.Post(ctx, room, person, text)
	return err
}

// Lines implements bridge.Practice.
func (p *practiceBot) Lines(room string) []bridge.Line {
	s := p.current()
	var lines []bridge.Line
	asked := map[int]time.Time{} // by message id
	var last time.Time           // of a person's message
	for _, e := range s.server.Transcript(room) {
		if e.System != "" {
			continue
		}
		line := bridge.Line{
			Time: e.Time, Text: e.Text, Bot: e.Actor.Type == bridge.ActorBot,
			Author: bridge.Actor{Type: e.Actor.Type, ID: e.Actor.ID, Name: e.Actor.Name},
		}
		if line.Bot {
			since, ok := asked[e.ReplyTo]
			if !ok {
				since = last
			}
			line.Author.Name = "Perch"
			if line.Took = e.Time.Sub(since); since.IsZero() {
				line.Took = 0
			}
		} else {
			asked[e.ID], last = e.Time, e.Time
		}
		if len(e.Reactions) > 0 {
			line.Reaction = e.Reactions[len(e.Reactions)-1].Emoji
		}
		lines = append(lines, line)
	}
	p.mu.Lock()
	lines = append(lines, s.notes[room]...)
	p.mu.Unlock()
	slices.SortStableFunc(lines, func(a, b bridge.Line) int { return a.Time.Compare(b.Time) })
	return lines[max(0, len(lines)-maxLines):]
}

// Clear implements bridge.Practice.
func (p *practiceBot) Clear(ctx context.Context) error {
	next, err := p.start(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	old, ended := p.present, p.ended
	if ended {
		old = next
	} else {
		p.present = next
	}
	p.mu.Unlock()
	old.clear()
	p.notify()
	return nil
}

// Close implements bridge.Practice.
func (p *practiceBot) Close() {
	p.mu.Lock()
	s, ended := p.present, p.ended
	p.ended = true
	p.mu.Unlock()
	if !ended {
		s.clear()
	}
}

// clear stops everything and removes what it left on the disk.
func (s *practiceRun) clear() {
	s.stop()
	s.done.Wait()
	if s.app != nil {
		_ = s.app.Close() // it is thrown away
	}
	if s.server != nil {
		s.server.Close()
	}
	_ = os.RemoveAll(s.dir)
}
