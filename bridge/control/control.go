// Package control is the bot as a person handles it: it runs, pauses and resumes
// it, changes its settings, tells how it is, and has a practice server for it.
package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
	"perch/bridge/secret"
	"perch/bridge/webhook"
)

const (
	// reopenAfter is how soon a bot that could not be started is tried again,
	// if nothing is changed before.
	reopenAfter = 10 * time.Second
	// lookAgain is how often the Bot looks at what no event tells.
	lookAgain = time.Minute
	// lookMost is how often it looks at the journal at most, however much happens.
	lookMost = 500 * time.Millisecond
	// hourParts is how many bars the last hour has.
	hourParts = 30

	eventBuffer = 4096
)

// Options say what a Bot works with. All are needed, but for the
// last four.
type Options struct {
	Home    config.Home
	Secrets *secret.Store
	Version string
	Getenv  func(string) string // see app.Options
	OnKill  func(kill func())   // is given what to do before the process ends at once; may be nil
	Bus     *eventlog.Bus       // takes the events; nil: one of the Bot's own
	// Opened is given the bot before it runs, and again after each pause. With it,
	// Run ends with the error if the bot cannot be opened at first, or with what the
	// first call returns, and does not try again. May be nil.
	Opened func(*app.App) error
}

// Bot is the bot as a person handles it: it runs whenever the settings let it,
// is paused and resumed, and tells how it is. It is what the window asks.
type Bot struct {
	Options

	reload chan struct{} // the settings or secrets may have changed
	wished chan struct{} // the bot may have to be paused or resumed

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	app     *app.App      // nil: it does not run
	state   bridge.State  // without what view has to say
	failure error         // of StateFailed
	said    string        // the failure that the log has last
	view    view
	problem bridge.Event     // that nothing good came after; its Time is zero if there is none
	reader  *journal.Journal // nil: not opened yet
}

// view is what was found out about a running bot that no event tells.
type view struct {
	held      bool
	waiting   int
	installed string
	last      bridge.Message // that was taken; its ReceivedAt is zero if there is none
	hour      bridge.Traffic
}

// New returns a Bot. Run makes it work.
func New(o Options) *Bot {
	if o.Bus == nil {
		o.Bus = &eventlog.Bus{}
	}
	b := &Bot{
		Options: o,
		reload:  make(chan struct{}, 1),
		wished:  make(chan struct{}, 1),
		changed: make(chan struct{}),
		state:   bridge.StateStarting,
	}
	if o.OnKill != nil {
		o.OnKill(b.Kill)
	}
	return b
}

// Run keeps the bot running until ctx is done, then stops it as app.App.Run does.
// Whatever keeps the bot from running is its state, and no error of Run, but for
// what Options.Opened says.
func (b *Bot) Run(ctx context.Context) error {
	first := b.look(ctx, view{})
	b.mu.Lock()
	b.view = first
	b.mu.Unlock()
	watcher := config.Watch(b.Home.ConfigFile()) // the one of this process
	working, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { watcher.Run(working, b.reloadSoon) })
	wg.Go(func() { b.observe(working, b.Bus.Subscribe(eventBuffer)) })
	err := b.keep(ctx)
	stop()
	wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader == nil {
		return err
	}
	return errors.Join(err, b.reader.Close())
}

// keep runs the bot whenever it may until ctx is done.
func (b *Bot) keep(ctx context.Context) error {
	begun := b.Opened == nil
	opened := func(a *app.App) error {
		if b.Opened == nil {
			return nil
		}
		err := b.Opened(a)
		begun = begun || err == nil
		return err
	}
	for ctx.Err() == nil {
		if b.Paused() {
			begun = true
			b.bePaused(ctx)
			continue
		}
		err := b.runApp(ctx, opened)
		switch {
		case err == nil || ctx.Err() != nil:
		case !begun:
			return err
		default:
			b.fail(err)
			b.wait(ctx, time.After(reopenAfter))
		}
	}
	return nil
}

// bePaused returns when something happens that may let the bot run. Until then
// it says that the bot is paused, also where it listens otherwise, if that port is free.
func (b *Bot) bePaused(ctx context.Context) {
	serving, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	if cfg, _, err := config.Load(b.Home.ConfigFile()); err == nil && app.ListenAt(cfg) != "" {
		if ln, err := webhook.Listen(ctx, app.ListenAt(cfg), "webhook"); err == nil {
			wg.Go(func() { _ = webhook.ServePaused(serving, ln, slog.New(slog.DiscardHandler)) })
		}
	}
	b.become(bridge.StatePaused, nil, nil)
	b.Bus.Publish(bridge.Event{
		Stage: bridge.StageApp, Kind: bridge.EventPaused, Level: slog.LevelWarn,
		Title: bridge.Say("The bot is paused"), Reason: bridge.Say("Messages are not taken, and Talk does not send them again."),
		Hint: bridge.Say("Take it into service again: perch resume"),
	})
	b.wait(ctx, nil)
}

// Kill ends the programs of handlers, by force, in a process that ends at once.
func (b *Bot) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.app != nil {
		b.app.Kill()
	}
}

// reloadSoon has the settings and secrets read again.
func (b *Bot) reloadSoon() { request(b.reload) }

// wait returns when something happens that may let the bot run, or when it is
// time to try again.
func (b *Bot) wait(ctx context.Context, again <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-b.wished:
	case <-b.reload:
	case <-again:
	}
}

// App returns the running bot; nil if it does not run.
func (b *Bot) App() *app.App {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.app
}

// runApp runs the bot until it is paused or ctx is done. The error says why it
// does not run.
func (b *Bot) runApp(ctx context.Context, opened func(*app.App) error) error {
	select {
	case <-b.reload: // they are about to be read
	default:
	}
	a, err := app.Open(ctx, app.Options{Home: b.Home, Secrets: b.Secrets, Bus: b.Bus, Version: b.Version, Getenv: b.Getenv})
	if err != nil {
		return err
	}
	if err := opened(a); err != nil {
		return errors.Join(err, a.Close())
	}
	b.closeReader() // the journal may be a new one
	b.become(bridge.StateRunning, nil, a)
	b.mu.Lock()
	b.said = ""
	b.mu.Unlock()
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	for {
		select {
		case <-b.reload:
			a.Reload()
			continue
		case <-b.wished:
			if !b.Paused() {
				continue
			}
			b.become(bridge.StatePaused, nil, a)
			stop()
			err = <-ended
		case err = <-ended:
		}
		break
	}
	b.become(bridge.StateStarting, nil, nil)
	if closeErr := a.Close(); closeErr != nil {
		b.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventPartFailed, Title: bridge.Say("Perch could not be stopped cleanly")}.Failed(closeErr))
	}
	return err
}

// fail says why the bot does not run; in the log once, however often it is tried.
func (b *Bot) fail(err error) {
	state := bridge.StateFailed
	if _, statErr := os.Stat(b.Home.ConfigFile()); errors.Is(statErr, os.ErrNotExist) {
		state = bridge.StateNew
	}
	b.mu.Lock()
	said := b.said == err.Error()
	b.said = err.Error()
	b.mu.Unlock()
	b.become(state, err, nil)
	if state == bridge.StateFailed && !said {
		b.Bus.Publish(bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventPartFailed, Title: bridge.Say("The bot does not run; it is tried again"),
		}.Failed(err))
	}
}

// become puts the Bot into a state.
func (b *Bot) become(state bridge.State, failure error, a *app.App) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.failure, b.app = state, failure, a
	b.notify()
}

// notify says that something changed; b.mu is held.
func (b *Bot) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// observe looks at what events may have changed, until ctx is done.
func (b *Bot) observe(ctx context.Context, events *eventlog.Subscription) {
	defer events.Close()
	batches := make(chan []bridge.Event)
	go func() {
		defer close(batches)
		for {
			batch, _, err := events.Next(ctx)
			if err != nil {
				return
			}
			select {
			case batches <- batch:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	var looked time.Time
	var soon <-chan time.Time // there is something to look at
	for {
		select {
		case <-ctx.Done():
			return
		case batch, open := <-batches:
			if !open {
				return
			}
			b.judge(batch)
			if soon == nil {
				soon = time.After(max(0, lookMost-time.Since(looked)))
			}
			continue
		case <-soon:
		case <-tick.C:
		}
		soon, looked = nil, time.Now()
		b.mu.Lock()
		before := b.view
		b.mu.Unlock()
		seen := b.look(ctx, before)
		b.mu.Lock()
		if !reflect.DeepEqual(seen, b.view) {
			b.view = seen
			b.notify()
		}
		b.mu.Unlock()
	}
}

// judge remembers a problem until something good comes from where it was.
func (b *Bot) judge(events []bridge.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		switch e.Kind {
		case bridge.EventMessageFailed, bridge.EventReplyDelayed, bridge.EventReplyHeld, bridge.EventReplyGivenUp, bridge.EventLoop,
			bridge.EventJournalDamaged, bridge.EventJournalFailed, bridge.EventWebhookRefused, bridge.EventMessageTurnedAway:
			if e.Level >= slog.LevelWarn {
				b.problem = e
			}
		case bridge.EventMessageHandled, bridge.EventMessageSilent:
			if b.problem.Kind == bridge.EventMessageFailed {
				b.problem = bridge.Event{}
			}
		case bridge.EventJournalWorks:
			if b.problem.Kind == bridge.EventJournalFailed {
				b.problem = bridge.Event{}
			}
		case bridge.EventReplySent:
			if b.problem.Stage == bridge.StageSender {
				b.problem = bridge.Event{}
			}
		default:
		}
	}
	b.notify()
}

// look finds out what the journal knows. What cannot be read stays as it was.
func (b *Bot) look(ctx context.Context, v view) view {
	j, err := b.journal(ctx)
	if err != nil {
		return v // there is none yet
	}
	if last, err := j.Last(ctx); err == nil {
		v.last, v.waiting = last.Message.Message, last.Waiting
		v.last.Parameters, v.last.Attachments, v.last.InReplyTo, v.last.Webhook = nil, nil, nil, nil
		if last.Message.ID == 0 {
			v.last = bridge.Message{}
		}
	}
	now := time.Now()
	part := time.Hour / hourParts
	if hour, err := j.Traffic(ctx, now.Truncate(part).Add(part-time.Hour), part); err == nil {
		v.hour = hour
	}
	if _, held, err := j.HeldUntil(ctx); err == nil {
		v.held = held
	}
	if notes, err := app.ReadNotes(ctx, j); err == nil {
		v.installed = notes.Installed
	}
	return v
}

// journal returns the journal to read: that of the running bot, else one that is
// opened for it; CodeNotFound if there is none yet.
func (b *Bot) journal(ctx context.Context) (*journal.Journal, error) {
	b.mu.Lock()
	a := b.app
	b.mu.Unlock()
	if a != nil {
		return a.Journal(), nil
	}
	return b.guest(ctx)
}

// guest returns a journal to read and to call Enqueue and Resume, whoever
// works on it; CodeNotFound if there is none yet.
func (b *Bot) guest(ctx context.Context) (*journal.Journal, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader != nil {
		return b.reader, nil
	}
	j, err := journal.Open(context.WithoutCancel(ctx), b.Home.JournalFile(), journal.Options{Guest: true})
	if err != nil {
		return nil, err
	}
	b.reader = j
	return j, nil
}

func (b *Bot) closeReader() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reader != nil {
		_ = b.reader.Close() // it was only read
		b.reader = nil
	}
}

// pausedFile stands while the bot is paused, so that it stays so over restarts.
func (b *Bot) pausedFile() string { return filepath.Join(b.Home.DataDir, "paused") }

// Paused reports whether the bot is out of service because a person wants it so.
func (b *Bot) Paused() bool {
	_, err := os.Stat(b.pausedFile())
	return err == nil
}

// Pause takes the bot out of service, also after a restart: webhooks are
// refused, and Talk does not send them again. A paused bot stays paused.
func (b *Bot) Pause(context.Context) error {
	if err := os.MkdirAll(b.Home.DataDir, 0o700); err != nil {
		return cannotPause(err)
	}
	if err := os.WriteFile(b.pausedFile(), nil, 0o600); err != nil {
		return cannotPause(err)
	}
	request(b.wished)
	return nil
}

// Resume takes the bot into service again. A running bot goes on undisturbed.
func (b *Bot) Resume(context.Context) error {
	if err := os.Remove(b.pausedFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return cannotPause(err)
	}
	request(b.wished)
	return nil
}

func cannotPause(err error) error {
	return &bridge.Error{
		Code: bridge.CodeUnavailable, Cause: err,
		Text: bridge.Say("The bot cannot be paused or resumed, because its folder cannot be written to"),
		Hint: bridge.Say("See that the disk is not full and that the folder is yours."),
	}
}

// Retry sends what is held back.
func (b *Bot) Retry(ctx context.Context) error {
	_, err := b.Release(ctx)
	return err
}

// Release sends what is held back, and says if anything was.
func (b *Bot) Release(ctx context.Context) (held bool, err error) {
	j, err := b.journal(ctx)
	if err != nil {
		return false, err
	}
	if _, held, err = j.HeldUntil(ctx); err == nil {
		err = j.Resume(ctx) // in any case: what waits for its next attempt is due at once
	}
	if err != nil {
		return false, err
	}
	b.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventResumed, Title: bridge.Say("Replies are no longer held back.")})
	return held, nil
}

// Post puts a text into the outbox and returns the ids of its parts when they are
// on disk; a bot that does not run takes none.
func (b *Bot) Post(ctx context.Context, room, text string, silent bool) ([]int64, error) {
	a, err := b.running()
	if err != nil {
		return nil, err
	}
	return a.Post(ctx, room, text, silent)
}

// Posted waits until what Post returned stands in the conversation. The error
// says why it does not, or not yet, when ctx is done.
func (b *Bot) Posted(ctx context.Context, ids []int64) error {
	a, err := b.running()
	if err != nil {
		return err
	}
	return a.Posted(ctx, ids)
}

// running returns the bot that runs.
func (b *Bot) running() (*app.App, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.app != nil && b.state == bridge.StateRunning:
		return b.app, nil
	case b.state == bridge.StatePaused:
		return nil, &bridge.Error{
			Code: bridge.CodeUnavailable, Text: bridge.Say("The bot is paused"),
			Hint: bridge.Say("Take it into service again: perch resume"),
		}
	default:
		return nil, &bridge.Error{
			Code: bridge.CodeUnavailable, Text: bridge.Say("The bot does not work at the moment"),
			Hint: bridge.Say("See why: perch status"), Cause: b.failure,
		}
	}
}

// request asks for something to be done soon; once, however often it is asked.
func request(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
