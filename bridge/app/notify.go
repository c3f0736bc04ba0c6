package app

import (
	"context"
	"log/slog"
	"time"

	"perch/bridge"
	"perch/bridge/notify"
	"perch/bridge/webhook"
)

const (
	// maxNotifications bounds what waits to be sent when more is to be taken from
	// other programs: nobody reads ten thousand alerts.
	maxNotifications = 10_000
	// listenAgain is how soon a port is tried again that could not be taken.
	listenAgain = 30 * time.Second
)

// postFor posts for another program, unless too much waits already.
func (a *App) postFor(ctx context.Context, room, text string, silent bool) ([]int64, error) {
	if _, waiting := a.journal.Backlog(); waiting >= maxNotifications {
		return nil, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("Too many messages wait to be sent"), Hint: bridge.Say("See why with: perch doctor")}
	}
	return a.Post(ctx, room, text, silent)
}

// notifyPlan is what decides where other programs are listened to.
type notifyPlan struct {
	listen   string // empty: nowhere
	hasToken bool
}

func (a *App) notifyPlan() notifyPlan {
	s := a.current.Load()
	return notifyPlan{s.config.Notify.Listen, !s.notifyToken.IsZero()}
}

// keepNotify listens to other programs where the settings say, until ctx is
// done.
func (a *App) keepNotify(ctx context.Context) error {
	for ctx.Err() == nil {
		plan := a.notifyPlan()
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.listenToPrograms(running, plan)
		}()
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				changed = true
			case <-a.renotify:
				changed = a.notifyPlan() != plan
			}
		}
		stop()
		<-ended
	}
	return ctx.Err()
}

// listenToPrograms listens as plan says. If it cannot, it says why, once, and
// tries again.
func (a *App) listenToPrograms(ctx context.Context, plan notifyPlan) {
	if plan.listen == "" {
		return
	}
	if !plan.hasToken {
		e := bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventSecretMissing, Level: slog.LevelError, Code: bridge.CodeNotFound,
			Title: bridge.Say("No notify_token is set: other programs cannot post at %s", plan.listen),
			Hint:  bridge.Say("Make one with: perch secret generate notify_token"),
		}
		if err := a.current.Load().notifyErr; err != nil {
			e = e.Failed(err)
		}
		a.Bus.Publish(e)
		return
	}
	o := notify.Options{
		Token:    func() bridge.Secret { return a.current.Load().notifyToken },
		Messages: notify.NewHandler(a.postFor), Metrics: a.metrics.Handler(), Sink: a.Bus, Log: a.log,
	}
	for said := false; ctx.Err() == nil; {
		ln, err := webhook.Listen(ctx, plan.listen, "notify")
		if err == nil {
			a.Bus.Publish(bridge.Event{
				Stage: bridge.StageApp, Kind: bridge.EventListening,
				Title: bridge.Say("Other programs can post at %s", "http://"+ln.Addr().String()+"/v1/rooms/TOKEN/messages"),
			})
			said = false
			err = notify.NewServer(o).Serve(ctx, ln)
		}
		if ctx.Err() != nil {
			return
		}
		if !said {
			a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventPartFailed, Title: bridge.Say("Other programs cannot post")}.Failed(err))
			said = true
		}
		timer := time.NewTimer(listenAgain)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// gauges returns how the bot is, for its metrics.
func (a *App) gauges(ctx context.Context) (g notify.Gauges, err error) {
	g.Messages, g.Replies = a.journal.Backlog()
	g.Tunnel = a.tunnelStateWith(a.current.Load())
	_, g.Held, err = a.journal.HeldUntil(ctx)
	return g, err
}
