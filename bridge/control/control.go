package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
	"perch/bridge/secret"
)

const (
	// reopenAfter is how soon a bot that could not be started is tried again,
	// if nothing is changed before.
	reopenAfter = 10 * time.Second
	// lookAgain is how often the Desk looks at what no event tells.
	lookAgain = 5 * time.Second
)

// DeskOptions say what a Desk works with. All are needed, but for Getenv.
type DeskOptions struct {
	Home    config.Home
	Secrets *secret.Store
	Version string
	Getenv  func(string) string // see Options
}

// Desk is the bot as a person handles it: it runs whenever the settings let it,
// is paused and resumed, and tells how it is. It is what the window asks.
type Desk struct {
	DeskOptions
	bus     *eventlog.Bus
	reload  chan struct{} // the settings or secrets may let it start now
	pausing chan struct{} // paused has changed

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	app     *App          // nil: it does not run
	state   bridge.State  // without what view has to say
	failure error         // of StateFailed
	view    view
	tally   tally
	reader  *journal.Journal // nil: not opened yet
}

// view is what was found out about a running bot that no event tells.
type view struct {
	held      bool
	waiting   int
	installed string
}

// NewDesk returns a Desk. Run makes it work.
func NewDesk(o DeskOptions) *Desk {
	return &Desk{
		DeskOptions: o,
		bus:         &eventlog.Bus{},
		reload:      make(chan struct{}, 1),
		pausing:     make(chan struct{}, 1),
		changed:     make(chan struct{}),
		state:       bridge.StateStarting,
	}
}

// Run keeps the bot running until ctx is done, then stops it as App.Run does.
// The error says why the home cannot be watched.
func (d *Desk) Run(ctx context.Context) error {
	watcher, err := config.Watch(d.Home.ConfigFile())
	if err != nil {
		return err
	}
	d.seed(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { watcher.Run(ctx, func() { request(d.reload) }) })
	wg.Go(func() { d.observe(ctx, d.bus.Subscribe(eventBuffer)) })
	for ctx.Err() == nil {
		d.session(ctx)
	}
	wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader == nil {
		return nil
	}
	return d.reader.Close()
}

// session runs the bot until it is paused, or waits until it can be run.
func (d *Desk) session(ctx context.Context) {
	if d.isPaused() {
		d.become(bridge.StatePaused, nil, nil)
		select {
		case <-ctx.Done():
		case <-d.pausing:
		}
		return
	}
	a, err := Open(ctx, Options{Home: d.Home, Secrets: d.Secrets, Bus: d.bus, Version: d.Version, Getenv: d.Getenv})
	if err != nil {
		state := bridge.StateFailed
		if _, statErr := os.Stat(d.Home.ConfigFile()); errors.Is(statErr, os.ErrNotExist) {
			state = bridge.StateNew
		}
		d.become(state, err, nil)
		again := time.NewTimer(reopenAfter)
		defer again.Stop()
		select {
		case <-ctx.Done():
		case <-d.pausing:
		case <-d.reload:
		case <-again.C:
		}
		return
	}
	d.closeReader() // the journal may be a new one
	d.become(bridge.StateRunning, nil, a)
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	select {
	case err = <-ended:
	case <-d.pausing:
		d.become(bridge.StatePaused, nil, a)
		stop()
		err = <-ended
	}
	d.become(bridge.StateStarting, nil, nil)
	if err := errors.Join(err, a.Close()); err != nil {
		d.bus.Publish(bridge.Event{Stage: bridge.StageApp, Title: bridge.Say("Perch could not be stopped cleanly")}.Failed(err))
	}
}

// become puts the Desk into a state.
func (d *Desk) become(state bridge.State, failure error, a *App) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.failure, d.app = state, failure, a
	d.notify()
}

// notify says that something changed; d.mu is held.
func (d *Desk) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// seed counts what the journal has of the last hour.
func (d *Desk) seed(ctx context.Context) {
	j, err := d.guest(ctx)
	if err != nil {
		return // there is none yet
	}
	events, _ := j.Events(ctx, journal.Filter{Limit: 20_000}) // better fewer than none
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range events {
		d.tally.add(e)
	}
}

// observe counts events and looks at what they may have changed, until ctx is
// done.
func (d *Desk) observe(ctx context.Context, events *eventlog.Subscription) {
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
	for {
		var batch []bridge.Event
		var open bool
		select {
		case <-ctx.Done():
			return
		case batch, open = <-batches:
			if !open {
				return
			}
		case <-tick.C:
		}
		seen := d.look(ctx)
		d.mu.Lock()
		for _, e := range batch {
			d.tally.add(e)
		}
		if len(batch) > 0 || seen != d.view {
			d.view = seen
			d.notify()
		}
		d.mu.Unlock()
	}
}

// look finds out what no event tells.
func (d *Desk) look(ctx context.Context) view {
	d.mu.Lock()
	a, v := d.app, d.view
	d.mu.Unlock()
	if a == nil {
		return v
	}
	if _, held, err := a.journal.HeldUntil(ctx); err == nil {
		v.held = held
	}
	if installed, err := a.journal.Noted(ctx, noteInstalled); err == nil {
		v.installed = installed
	}
	_, v.waiting = a.journal.Backlog()
	return v
}

// guest returns a journal to read and to call Enqueue and Resume, whoever
// works on it; CodeNotFound if there is none yet.
func (d *Desk) guest(ctx context.Context) (*journal.Journal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader != nil {
		return d.reader, nil
	}
	j, err := journal.Open(context.WithoutCancel(ctx), d.Home.JournalFile(), journal.Options{Guest: true})
	if err != nil {
		return nil, err
	}
	d.reader = j
	return j, nil
}

func (d *Desk) closeReader() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader != nil {
		_ = d.reader.Close() // it was only read
		d.reader = nil
	}
}

// pausedFile stands while the bot is paused, so that it stays so over restarts.
func (d *Desk) pausedFile() string { return filepath.Join(d.Home.DataDir, "paused") }

func (d *Desk) isPaused() bool {
	_, err := os.Stat(d.pausedFile())
	return err == nil
}

// Pause takes the bot out of service, also after a restart: webhooks are
// refused, and Talk does not send them again.
func (d *Desk) Pause(context.Context) error {
	if err := os.MkdirAll(d.Home.DataDir, 0o700); err != nil {
		return cannotPause(err)
	}
	if err := os.WriteFile(d.pausedFile(), nil, 0o600); err != nil {
		return cannotPause(err)
	}
	request(d.pausing)
	return nil
}

// Resume takes the bot into service again.
func (d *Desk) Resume(context.Context) error {
	if err := os.Remove(d.pausedFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return cannotPause(err)
	}
	request(d.pausing)
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
func (d *Desk) Retry(ctx context.Context) error {
	j, err := d.guest(ctx)
	if err != nil {
		return err
	}
	if err := j.Resume(ctx); err != nil {
		return err
	}
	d.bus.Publish(bridge.Event{Stage: bridge.StageApp, Title: bridge.Say("Replies are no longer held back.")})
	return nil
}
