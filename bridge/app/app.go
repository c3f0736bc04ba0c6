// Package app is the composition root: it knows every part, joins them, starts
// and stops them, and swaps the settings under them while they run.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/thejerf/suture/v4"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/handler"
	"perch/bridge/journal"
	"perch/bridge/notify"
	"perch/bridge/pipeline"
	"perch/bridge/receive"
	"perch/bridge/talk"
	"perch/bridge/wake"
	"perch/bridge/webhook"
	"perch/tunnel"
)

const (
	// A stop takes 10 s at most: stopTimeout for the listener, drainTimeout for
	// what is under way or waiting, and stopTimeout for what has not ended then.
	drainTimeout = 4 * time.Second
	stopTimeout  = 3 * time.Second

	roomsAtOnce = 64
	sendsAtOnce = 4
	eventBuffer = 4096
)

// Options say where an App keeps its files, where its secrets come from and
// who hears of what it does. All are needed, but for Getenv.
type Options struct {
	Home    config.Home
	Secrets bridge.SecretStore
	Bus     *eventlog.Bus
	Version string
	Getenv  func(string) string // for another edge of the tunnel; see tunnel.EdgeFromEnvironment; nil: none
}

// App is one running bot.
type App struct {
	Options
	log      *slog.Logger // for libraries; its records become events
	lock     *flock.Flock
	journal  *journal.Journal
	recorder *eventlog.Subscription
	started  time.Time

	current   atomic.Pointer[settings]
	maxLength atomic.Int64           // of a message, as the server said
	server    atomic.Pointer[server] // as it answered last; nil: it was not asked yet
	reload    chan struct{}          // asks for the settings to be read again
	refresh   chan struct{}          // asks for the server's capabilities to be read again
	away      atomic.Bool            // messages may have been missed since they were last fetched
	fetch     chan struct{}          // asks for missed messages to be fetched

	tunnel     atomic.Pointer[tunnel.Tunnel]      // nil: none is open
	tunnelSeen atomic.Pointer[bridge.TunnelState] // as it was last heard of
	retunnel   chan struct{}                      // another tunnel may be wanted
	moved      chan struct{}                      // the tunnel's address may have changed

	renotify chan struct{} // other programs may be listened to elsewhere
	metrics  *notify.Metrics

	follower atomic.Pointer[receive.Follower] // nil: no account is followed
	refollow chan struct{}                    // another account may be wanted

	services *suture.Supervisor       // of what brings work; while Run runs
	listener atomic.Pointer[listener] // nil: none yet

	instance string // tells this process from any other
	mark     string // tells the tunnel's requests from all others

	notes    notes
	intake   *pipeline.Intake // of all ways in
	meter    *meter
	programs handler.Programs // that run for handlers
}

// Open takes the home and the port for this process, and reads the
// configuration, the secrets and the journal. Close must be called, also after
// Run. The error is a *bridge.Error of CodeConflict if another process has the
// home or the port, or says what is wrong with the configuration or the journal.
func Open(ctx context.Context, o Options) (*App, error) {
	a, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	first, err := a.bind(ctx, ListenAt(a.current.Load().config))
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.listener.Store(first)
	if err = a.journal.Note(ctx, noteInstance, a.instance+" "+strconv.Itoa(os.Getpid())); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// open is Open without the port.
func open(ctx context.Context, o Options) (_ *App, err error) {
	cfg, problems, err := config.Load(o.Home.ConfigFile())
	if err != nil {
		return nil, err
	}
	a := &App{
		Options:  o,
		log:      slog.New(eventlog.NewHandler(o.Bus, bridge.StageApp, slog.LevelDebug)),
		recorder: o.Bus.Subscribe(eventBuffer),
		started:  time.Now(),
		reload:   make(chan struct{}, 1),
		refresh:  make(chan struct{}, 1),
		fetch:    make(chan struct{}, 1),
		retunnel: make(chan struct{}, 1),
		moved:    make(chan struct{}, 1),
		refollow: make(chan struct{}, 1),
		renotify: make(chan struct{}, 1),
		instance: NewInstance(),
	}
	a.metrics = notify.NewMetrics(o.Version, a.started, a.gauges)
	defer func() {
		if err != nil {
			a.recorder.Close()
		}
	}()
	if a.Getenv == nil {
		a.Getenv = func(string) string { return "" }
	}
	a.maxLength.Store(talk.DefaultMaxLength)
	a.away.Store(true)
	if a.lock, err = takeHome(o.Home); err != nil {
		return nil, err
	}
	if err := handler.CleanTemp(tempDir(o.Home.DataDir)); err != nil {
		return nil, errors.Join(err, a.lock.Unlock())
	}
	if a.journal, err = journal.Open(ctx, o.Home.JournalFile(), journal.Options{Sink: o.Bus}); err != nil {
		return nil, errors.Join(err, a.lock.Unlock())
	}
	a.intake = &pipeline.Intake{Journal: a.journal, Sink: a.Bus}
	a.meter = &meter{app: a}
	if err := a.apply(ctx, cfg, problems); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if err := errors.Join(a.recount(ctx), a.spool().sweep(ctx, a.journal.Waits, 0)); err != nil { // no handler is at work
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// recount counts the messages of the last hour, as far as they are limited.
func (a *App) recount(ctx context.Context) error {
	limits := a.current.Load().limits()
	if limits == (pipeline.Limits{}) {
		return nil
	}
	const most = 50_000
	records, err := a.journal.Messages(ctx, journal.Filter{Since: time.Now().Add(-time.Hour), Limit: most})
	if err == nil {
		a.intake.Recount(limits, records)
	}
	return err
}

// Close closes the port and the journal and gives the home back.
func (a *App) Close() error {
	a.recorder.Close()
	if s := a.current.Load(); s != nil {
		s.retire()
		s.talk.Close()
	}
	if l := a.listener.Load(); l != nil {
		l.close()
	}
	a.programs.Kill() // those that waited for the next message
	return errors.Join(a.journal.Close(), a.lock.Unlock())
}

// Addr returns the address that the listener is bound to; empty if there is
// none, as messages come by an account.
func (a *App) Addr() string { return a.listener.Load().addr }

// Run listens and answers until ctx is done, then stops: it takes no more
// webhooks, finishes what is under way, and returns nil within 10 s. It does not
// watch config.toml: whoever does calls Reload.
func (a *App) Run(ctx context.Context) error {
	// Three circles, stopped from the outside in: what brings work, what does
	// it, and what writes down how it went.
	stopRecording := a.record(ctx)
	a.warnOfZone()
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	workers := a.supervisor("workers")
	workers.Add(service{"worker", a.worker().Run})
	workers.Add(service{"delivery", a.delivery().Run})
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		_ = workers.Serve(working) // until stopWorking
	}()

	a.services = a.supervisor("perch")
	a.serve(a.listener.Load())
	a.services.Add(service{"settings", a.keepSettings})
	a.services.Add(service{"journal", a.journal.Watch})
	a.services.Add(service{"retention", a.keepTidy})
	a.services.Add(service{"capabilities", a.keepCapabilities})
	a.services.Add(service{"missed", a.keepMissed})
	a.services.Add(service{"account", a.keepAccount})
	a.services.Add(service{"tunnel", a.keepTunnel})
	a.services.Add(service{"notify", a.keepNotify})
	a.services.Add(service{"wake", func(ctx context.Context) error {
		wake.Watch(ctx, func(why wake.Reason) { a.woke(string(why)) })
		return ctx.Err()
	}})
	_ = a.services.Serve(ctx) // returns when ctx is done

	a.drain()
	stopWorking()
	<-worked
	a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventStopped, Title: bridge.Say("Perch has stopped")})
	stopRecording()
	return nil
}

// Kill ends the programs of handlers, by force, in a process that ends at once.
func (a *App) Kill() { a.programs.Kill() }

// Reload reads the configuration and the secrets again, soon.
func (a *App) Reload() { request(a.reload) }

// Traffic counts the messages since the given time, and what became of them.
func (a *App) Traffic(ctx context.Context, since time.Time) (bridge.Traffic, error) {
	return a.journal.Traffic(ctx, since, 0)
}

func (a *App) worker() *pipeline.Worker {
	return &pipeline.Worker{Inbox: a.journal, Bots: inForce{a}, Rooms: roomsAtOnce, Sink: a.Bus}
}

func (a *App) delivery() *pipeline.Delivery {
	return &pipeline.Delivery{Outbox: a.journal, Servers: inForce{a}, Parallel: sendsAtOnce, Sink: a.Bus, Drop: a.spool().Drop}
}

// spool returns where the files of replies are kept.
func (a *App) spool() spool { return spool{filepath.Join(a.Home.DataDir, "outgoing")} }

// inForce gives the pipeline what the present settings say.
type inForce struct{ app *App }

// Bot implements pipeline.BotSource.
func (f inForce) Bot() pipeline.Bot {
	return bot{Handler: f.app.current.Load().router, maxLength: int(f.app.maxLength.Load())}
}

// Talk implements pipeline.TalkSource.
func (f inForce) Talk() pipeline.Talk { return f.app.current.Load().talk }

// bot answers messages with the settings of one moment.
type bot struct {
	bridge.Handler

	maxLength int // of a message, in characters
}

// Split implements pipeline.Bot.
func (b bot) Split(text string) []string { return talk.Split(text, b.maxLength) }

// listener is the port that webhooks come to. It is bound before it is served,
// so that nothing is lost between two listeners, and bound again if it breaks.
type listener struct {
	addr  string // empty: there is none
	ln    net.Listener
	token suture.ServiceToken
}

func (a *App) bind(ctx context.Context, addr string) (*listener, error) {
	if addr == "" {
		return &listener{}, nil
	}
	ln, err := webhook.Listen(ctx, addr, "webhook")
	if err != nil {
		return nil, err
	}
	return &listener{addr: ln.Addr().String(), ln: ln}, nil
}

func (l *listener) close() {
	if l.ln != nil {
		_ = l.ln.Close() // it may be closed already
	}
}

// serve begins to answer on l.
func (a *App) serve(l *listener) {
	if l.addr == "" {
		return
	}
	o := webhook.Options{
		Source:   a.receivers(),
		Instance: a.instance,
		Tunnel:   a.mark,
		Sink:     a.Bus,
		Log:      a.log,
	}
	a.Bus.Publish(bridge.Event{
		Stage: bridge.StageApp, Kind: bridge.EventListening,
		Title: bridge.Say("Listening for webhooks on %s", "http://"+l.addr+a.current.Load().config.Webhook.Path),
	})
	l.token = a.services.Add(service{"listener", func(ctx context.Context) error {
		if l.ln == nil {
			again, err := a.bind(ctx, l.addr)
			if err != nil {
				return err
			}
			l.ln = again.ln
		}
		err := webhook.New(o).Serve(ctx, l.ln)
		l.ln = nil
		return err
	}})
}

// move serves webhooks at addr instead of where it did before.
func (a *App) move(ctx context.Context, addr string, apply func() error) error {
	next, err := a.bind(ctx, addr)
	if err != nil {
		return err
	}
	if err := apply(); err != nil {
		next.close()
		return err
	}
	a.serve(next)
	old := a.listener.Swap(next)
	request(a.retunnel)
	request(a.moved)
	if old.addr == "" {
		return nil
	}
	return a.services.RemoveAndWait(old.token, drainTimeout)
}

// drain waits until nothing is under way or ready to be, for drainTimeout at most.
func (a *App) drain() {
	deadline := time.NewTimer(drainTimeout)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !a.journal.Idle() {
		select {
		case <-deadline.C:
			return
		case <-look.C:
		}
	}
}

// record begins to write the events to the journal. It goes on after ctx is
// done, until stop is called, which returns when all are written.
func (a *App) record(ctx context.Context) (stop func()) {
	recording, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.writeEvents(recording)
	}()
	return func() { cancel(); <-done }
}

func (a *App) writeEvents(ctx context.Context) {
	for {
		events, dropped, err := a.recorder.Next(ctx)
		if err != nil {
			return
		}
		if dropped > 0 {
			events = append(events, bridge.Event{
				Time: time.Now(), Stage: bridge.StageJournal, Kind: bridge.EventDropped, Level: slog.LevelWarn, Count: dropped,
				Title: bridge.Say("%s events came too fast to be written down", strconv.Itoa(dropped)),
			})
		}
		a.metrics.Drop(dropped)
		kept := events[:0]
		for _, e := range events {
			a.metrics.Count(e)
			if e.Level > slog.LevelDebug && !e.Kind.OfMessage() {
				kept = append(kept, e)
			}
		}
		if len(kept) > 0 {
			_ = a.journal.Record(context.WithoutCancel(ctx), kept) // where would it be said?
		}
	}
}

// keepTidy removes what is older than the configuration says, once an hour.
func (a *App) keepTidy(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		s := a.current.Load()
		if err := a.journal.Prune(ctx, time.Now().Add(-time.Duration(s.config.Journal.Keep))); err != nil && ctx.Err() == nil {
			a.Bus.Publish(bridge.Event{Stage: bridge.StageJournal, Kind: bridge.EventJournalFailed, Title: bridge.Say("Old messages could not be removed")}.Failed(err))
		}
		if err := a.spool().sweep(ctx, a.journal.Waits, orphanAge); err != nil && ctx.Err() == nil {
			a.Bus.Publish(bridge.Event{Stage: bridge.StageJournal, Kind: bridge.EventJournalFailed, Title: bridge.Say("Old messages could not be removed")}.Failed(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			s.remind(a.Bus)
		}
	}
}

// server is what the server said of itself, and why it did not the last time.
type server struct {
	caps talk.Capabilities
	err  error
}

// known returns what the server said of itself last.
func (a *App) known() talk.Capabilities {
	if s := a.server.Load(); s != nil {
		return s.caps
	}
	return talk.Capabilities{}
}

// keepCapabilities asks the server how long a message may be: at the start,
// after each change of the settings, and every six hours. When the server
// answers, what was missed meanwhile can be fetched.
func (a *App) keepCapabilities(ctx context.Context) error {
	const usual, soon = 6 * time.Hour, time.Minute
	for {
		next := usual
		asked, cancel := context.WithTimeout(ctx, 30*time.Second)
		caps, err := a.current.Load().talk.Capabilities(asked)
		cancel()
		if err == nil {
			a.maxLength.Store(int64(caps.MaxLength))
			request(a.fetch)
		} else if caps, next = a.known(), soon; ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			a.away.Store(true)
		}
		a.server.Store(&server{caps, err})
		a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventServerAsked, Level: slog.LevelDebug, Title: bridge.Say("The server was asked what it can do")})
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-a.refresh:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (a *App) supervisor(name string) *suture.Supervisor {
	return suture.New(name, suture.Spec{
		EventHook: func(e suture.Event) {
			if e.Type() == suture.EventTypeServiceTerminate || e.Type() == suture.EventTypeServicePanic || e.Type() == suture.EventTypeBackoff {
				a.Bus.Publish(bridge.Event{
					Stage: bridge.StageApp, Kind: bridge.EventPartFailed, Level: slog.LevelError,
					Title: bridge.Say("A part of Perch failed and is started again"),
					Cause: e.String(),
				})
			}
		},
		Timeout: stopTimeout,
	})
}

// service gives a function the name that it has in the log.
type service struct {
	name string
	run  func(ctx context.Context) error
}

func (s service) Serve(ctx context.Context) error { return s.run(ctx) }
func (s service) String() string                  { return s.name }

// takeHome locks the home for this process.
func takeHome(home config.Home) (*flock.Flock, error) {
	if err := os.MkdirAll(home.DataDir, 0o700); err != nil {
		return nil, &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The folder %s cannot be made", home.DataDir),
			Hint:  bridge.Say("Set PERCH_HOME to a folder that you may write to."),
			Cause: err,
		}
	}
	lock := flock.New(home.LockFile(), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The file %s cannot be locked", home.LockFile()),
			Hint:  bridge.Say("Set PERCH_HOME to a folder on a local disk that you may write to."),
			Cause: err,
		}
	}
	if !ok {
		return nil, home.Taken()
	}
	return lock, nil
}

// request asks for something to be done soon; once, however often it is asked.
func request(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
