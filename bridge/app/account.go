package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
	"perch/bridge/receive"
)

// notePlace, and a room's token, is up to where a conversation of the account
// was read.
const notePlace = "place "

// accountPlan is what decides how the account is followed.
type accountPlan struct {
	receive  config.Receive
	server   string
	caFile   string
	token    string
	catchUp  config.Duration
	markRead bool
}

func (s *settings) accountPlan() accountPlan {
	if s.config.Talk.Receive != config.ByAccount {
		return accountPlan{}
	}
	t := s.config.Talk
	return accountPlan{t.Receive, t.BaseURL, t.CAFile, s.appToken.Reveal(), s.config.Journal.CatchUp, t.MarkRead}
}

// keepAccount follows the account that the settings name, if they do, until ctx
// is done.
func (a *App) keepAccount(ctx context.Context) error {
	for ctx.Err() == nil {
		s := a.current.Load()
		plan := s.accountPlan()
		running, stop := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for {
				select {
				case <-running.Done():
					return
				case <-a.refollow:
					if a.current.Load().accountPlan() != plan {
						stop()
					}
				}
			}
		}()
		a.follow(running, s)
		stop()
		<-watched
	}
	return ctx.Err()
}

// follow follows the account until ctx is done. When the server refuses it,
// nothing is asked until the settings change.
func (a *App) follow(ctx context.Context, s *settings) {
	defer a.follower.Store(nil)
	if s.config.Talk.Receive == config.ByAccount && !s.appToken.IsZero() {
		f := receive.New(receive.Options{
			Server: s.talk,
			Intake: inbox{a, a.intake},
			Places: places{a, s.config.Talk.BaseURL},
			Own: func(ctx context.Context, m bridge.Message) (bool, error) {
				return a.journal.Wrote(ctx, m.Room.Token, m.Key.ID, m.Ref)
			},
			Allowed: func(room string, who bridge.Actor) bool {
				access := a.current.Load().Access(room)
				return access.Enabled && access.Allowed.Allows(who)
			},
			CatchUp:  time.Duration(s.config.Journal.CatchUp),
			MarkRead: s.config.Talk.MarkRead,
			Sink:     a.Bus,
		})
		a.follower.Store(f)
		_ = f.Run(ctx) // it has said why
	}
	<-ctx.Done()
}

// inbox is the Intake of an account.
type inbox struct {
	app    *App
	intake *pipeline.Intake
}

// Accept implements bridge.Intake.
func (i inbox) Accept(ctx context.Context, m bridge.Message) error {
	_, _, err := i.intake.Accept(ctx, i.app.current.Load(), m)
	return err
}

// places keeps in the journal how far conversations of a server were read.
type places struct {
	app    *App
	server string
}

// Get implements receive.Places.
func (p places) Get(ctx context.Context, name string) (string, error) {
	return p.app.journal.Noted(ctx, notePlace+p.server+" "+name)
}

// Set implements receive.Places.
func (p places) Set(ctx context.Context, name, value string) error {
	return p.app.journal.Note(ctx, notePlace+p.server+" "+name, value)
}

// IgnoredFor returns who added the account to a conversation that is ignored,
// because they may not; nobody if it is not.
func IgnoredFor(ctx context.Context, j *journal.Journal, server, room string) (bridge.Actor, error) {
	value, err := j.Noted(ctx, notePlace+server+" "+room)
	if _, by, ok := strings.Cut(value, " "); ok {
		return bridge.ParseActor(by), err
	}
	return bridge.Actor{}, err
}

// AccountTrouble returns what went wrong last with the account, if it has not
// been well since.
func AccountTrouble(ctx context.Context, j *journal.Journal) (bridge.Event, bool) {
	events, err := j.Events(ctx, journal.Filter{})
	if err != nil {
		return bridge.Event{}, false
	}
	for _, e := range slices.Backward(events) {
		switch e.Kind {
		case bridge.EventServerLost, bridge.EventLoggedOut:
			return e, true
		case bridge.EventServerFound, bridge.EventLoggedIn:
			return bridge.Event{}, false
		default:
		}
	}
	return bridge.Event{}, false
}

// Account returns how the account is doing; false if none is followed.
func (a *App) Account() (receive.State, bool) {
	f := a.follower.Load()
	if f == nil {
		return receive.State{}, false
	}
	return f.State(), true
}

// ListenAt returns where to listen for webhooks; empty: nowhere.
func ListenAt(cfg config.Config) string {
	if cfg.Talk.Receive == config.ByAccount {
		return ""
	}
	return cfg.Webhook.Listen
}
