package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/control"
	"perch/bridge/eventlog"
	"perch/bridge/handler"
	"perch/bridge/journal"
	"perch/bridge/local"
)

func newRun(env Env) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the bot, without a window, until Ctrl-C or SIGTERM",
		Long: `Run the bot, without a window, until Ctrl-C, SIGTERM or SIGHUP. A stop finishes
what is under way, within 10 seconds; what then still waits is kept for the next
start. A second Ctrl-C ends it at once. It goes on when nobody reads its output.

Under systemd, with Type=notify, the service has started once the bot can work;
systemctl status says how it is, and WatchdogSec= ends one that is stuck. If a
person has to set something up first, it says what and ends with 78: see
RestartPreventExitStatus=.

What happens is printed to standard output. As JSON, a line is an object with
the keys time, level (DEBUG, INFO, WARN, ERROR), msg, kind (what happened:
message-received, reply-sent, …; the values are stable) and stage (app, webhook,
intake, handler, sender, journal, tunnel), and as far as they apply room,
room_name, actor, actor_name, message_id, text, code, reason, cause, hint, count
and duration_ms.
The first line also has version, config, listen, url, allowed_users and reply_as.`,
		GroupID: use,
		Args:    exactly(),
	}
	format := addFormat(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show every step")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		level := slog.LevelInfo
		if verbose {
			level = slog.LevelDebug
		}
		handler.Hide()
		home, err := env.home()
		if err != nil {
			return err
		}
		cfg, _, err := env.config()
		if err != nil {
			return env.asService(err)
		}
		bus := &eventlog.Bus{}
		events := bus.Subscribe(shownEvents)
		defer env.outliveOutput()()
		out := env.printer(format, level)
		r := &running{env: env, home: home, out: out, bus: bus, begun: make(chan struct{})}
		bot := control.New(control.Options{
			Home: home, Secrets: env.secrets(home), Bus: bus, Version: Version(), Getenv: env.Getenv, OnKill: env.OnKill, Opened: r.opened,
		})
		return r.run(cmd.Context(), bot, events, cfg)
	}
	return cmd
}

// outliveOutput lets the command go on when whoever reads its output has gone:
// without it, the next line would end the process in the middle of a request.
func (env Env) outliveOutput() (end func()) {
	if o, ok := env.Stdout.(*output); ok {
		o.aside = true
	}
	broken := make(chan os.Signal, 1) // and nobody waits for it; signal.Ignore would let programs of handlers inherit that
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}

func openingOf(home config.Home, cfg config.Config, listen string) opening {
	return opening{
		version: Version(),
		config:  home.ConfigFile(),
		listen:  listen,
		url:     app.Address(cfg, listen, ""),
		allowed: cfg.Talk.AllowedUsers,
		replyAs: cfg.Talk.Voice(),
	}
}

// shownEvents is how many events may wait for a slow terminal.
const shownEvents = 1024

// running is perch run at work.
type running struct {
	env   Env
	home  config.Home
	out   printer
	bus   *eventlog.Bus
	begun chan struct{} // closed when the first line is printed
}

// opened says what perch run begins with, once the bot can work.
func (r *running) opened(a *app.App) error {
	select {
	case <-r.begun:
		return nil // it was paused
	default:
	}
	if err := r.env.asService(a.Ready()); errors.As(err, new(setUpError)) {
		return err
	}
	r.begin(a.Facts().Config, a.Addr())
	return nil
}

func (r *running) begin(cfg config.Config, listen string) {
	r.out.begin(openingOf(r.home, cfg, listen))
	close(r.begun)
}

// run runs a bot until ctx is done and prints its events, the last ones too. Other
// programs of the user reach it at the socket of its home meanwhile.
func (r *running) run(ctx context.Context, bot *control.Bot, events *eventlog.Subscription, cfg config.Config) error {
	server, err := local.Serve(ctx, r.home, local.Options{Engine: bot, Version: Version()})
	if bridge.CodeOf(err) == bridge.CodeConflict {
		return err
	}
	if err != nil { // the bot is worth more
		r.bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventPartFailed, Title: bridge.Say("Other commands of perch cannot ask this one")}.Failed(err))
	}
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-r.begun:
			printEvents(beside, events, r.out)
		case <-beside.Done():
		}
	})
	wg.Go(func() { keepAlive(beside, bot) })
	wg.Go(func() { tellManager(beside, bot) })
	unhook := context.AfterFunc(ctx, func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) })
	if bot.Paused() {
		r.begin(cfg, "")
	}
	err = bot.Run(ctx)
	unhook()
	if server != nil {
		err = errors.Join(err, server.Close()) //nolint:contextcheck // It ends after ctx.
	}
	stop()
	wg.Wait()
	return err
}

// printEvents prints events until ctx is done.
func printEvents(ctx context.Context, events *eventlog.Subscription, out printer) {
	for {
		batch, dropped, err := events.Next(ctx)
		if err != nil {
			return
		}
		if dropped > 0 {
			out.print(bridge.Event{
				Time: batch[0].Time, Stage: bridge.StageApp, Kind: bridge.EventDropped, Level: slog.LevelWarn, Count: dropped,
				Title: bridge.Say("%s events came too fast to be shown", strconv.Itoa(dropped)),
			})
		}
		for _, e := range batch {
			out.print(e)
		}
	}
}

func newSend(env Env) *cobra.Command {
	var room string
	cmd := &cobra.Command{
		Use:   "send --room TOKEN TEXT",
		Short: "Post a text into a conversation",
		Long: `Post a text into a conversation, as the bot's replies are posted. The token is
the last part of the conversation's address, which can be given whole, too:
https://cloud.example.com/call/TOKEN.

If Perch is running, it sends the text; otherwise this command does. It ends
when the text is posted, or says why it is not yet.`,
		Example: `  perch send --room 3xgyvz8b "Dinner is ready"`,
		GroupID: use,
		Args:    exactly("TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if room == "" {
				return misuse(cmd, "say which conversation: --room TOKEN")
			}
			match := regexp.MustCompile(`^(?:https?://.*/call/)?([a-z0-9]{4,30})(?:[/?#].*)?$`).FindStringSubmatch(room)
			if match == nil {
				return misuse(cmd, "--room is a conversation's token, the last part of its address, such as 3xgyvz8b; %q is none", room)
			}
			if strings.TrimSpace(args[0]) == "" {
				return misuse(cmd, "there is nothing to send: TEXT is empty")
			}
			client, err := env.engine(cmd.Context())
			if err != nil {
				return err
			}
			if client != nil {
				if err := errors.Join(client.Send(cmd.Context(), match[1], args[0]), client.Close()); err != nil {
					return err
				}
				env.tell(env.Stdout, bridge.Say("Sent."))
				return nil
			}
			home, err := env.home()
			if err != nil {
				return err
			}
			err = app.Send(cmd.Context(), app.Options{Home: home, Secrets: env.secrets(home), Bus: &eventlog.Bus{}, Version: Version()}, match[1], args[0])
			if err != nil {
				return err
			}
			env.tell(env.Stdout, bridge.Say("Sent."))
			return nil
		},
	}
	cmd.Flags().StringVar(&room, "room", "", "`TOKEN` of the conversation")
	return cmd
}

func newRetry(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "retry",
		Short: "Send replies that are held back, after their cause was fixed",
		Long: `Send replies that are held back. Perch stops sending when the server refuses a
reply (401) or asks to slow down (429), so as not to be locked out. It goes on by
itself after a pause that the server asked for, and after its settings or secrets
were changed; after anything else, such as a change on the server, use this.`,
		GroupID: use,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			held, err := env.release(cmd.Context())
			if err != nil {
				return err
			}
			text := bridge.Say("No replies were held back; those that wait for their next attempt are tried now.")
			if held {
				text = bridge.Say("Replies are no longer held back.")
			}
			env.tell(env.Stdout, text)
			env.tell(env.Stdout, bridge.Say("A running Perch sends them now, else the next perch run. See: perch log --follow"))
			return nil
		},
	}
}

// release lets go what is held back, and says if anything was.
func (env Env) release(ctx context.Context) (held bool, err error) {
	client, err := env.engine(ctx)
	if err != nil {
		return false, err
	}
	if client != nil {
		held, err = client.Release(ctx)
		return held, errors.Join(err, client.Close())
	}
	j, err := env.journal(ctx)
	if err != nil {
		return false, err
	}
	if _, held, err = j.HeldUntil(ctx); err == nil {
		err = j.Resume(ctx) // in any case: what waits for its next attempt is due at once
	}
	return held, errors.Join(err, j.Close())
}

func newLog(env Env) *cobra.Command {
	var room string
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show what happened: messages, replies and errors",
		Long: `Show what happened: messages, replies and errors, the newest last. It can be used
while Perch is running and when it is not. The keys of the JSON form are told by
perch run --help.`,
		GroupID: use,
		Args:    exactly(),
	}
	format := addFormat(cmd)
	level := addChoice(cmd, "level", "only what is at least so grave", "info", "warn", "error")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on, until Ctrl-C")
	cmd.Flags().StringVar(&room, "room", "", "only the conversation with this `TOKEN` or name")
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "begin with the newest `N` entries")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if lines < 1 {
			return misuse(cmd, "--lines is a number from 1")
		}
		filter := bridge.LogFilter{Room: room, Limit: lines}
		if err := filter.Level.UnmarshalText([]byte(level.value)); err != nil {
			return err
		}
		p := &logPrinter{out: env.printer(format, slog.LevelDebug), level: filter.Level, printed: map[string]map[string]bool{}}
		if follow {
			return env.followLog(cmd.Context(), filter, p)
		}
		entries, err := env.log(cmd.Context(), filter)
		if err != nil {
			return err
		}
		p.print(entries)
		return nil
	}
	return cmd
}

// log returns entries of the log: from the Perch that runs with this home, else
// from its journal.
func (env Env) log(ctx context.Context, f bridge.LogFilter) ([]bridge.Entry, error) {
	running, err := env.engine(ctx)
	if err != nil {
		return nil, err
	}
	if running != nil {
		defer func() { _ = running.Close() }()
		return running.Log(ctx, f)
	}
	j, err := env.journal(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := j.Entries(ctx, journal.Filter{Room: f.Room, Level: f.Level, Limit: f.Limit})
	return entries, errors.Join(err, j.Close())
}

// followLog prints entries of the log, and what happens from then on until ctx
// is done, over stops and starts of the Perch that runs with this home.
func (env Env) followLog(ctx context.Context, f bridge.LogFilter, p *logPrinter) error {
	home, err := env.home()
	if err != nil {
		return err
	}
	lines := f.Limit
	f.Limit = max(lines, followed)
	entries, err := env.log(ctx, f)
	if err != nil {
		return err
	}
	older := max(0, len(entries)-lines)
	p.news(entries[:older])
	p.print(entries[older:])
	running := local.Await(ctx, home.SocketFile(), Version())
	defer func() { _ = running.Close() }()
	if err := running.WatchLog(ctx, f, p.print); ctx.Err() == nil {
		return err
	}
	return nil
}

// logPrinter prints entries of the log, step by step, and no step twice.
type logPrinter struct {
	out     printer
	level   slog.Level
	printed map[string]map[string]bool // steps by entry
	entries []string                   // of printed, the oldest first
}

// remembered is how many entries a logPrinter knows, to print their next steps.
const remembered = 10000

// followed is how many entries are looked at for what is new, after Perch was
// away.
const followed = 1000

func (p *logPrinter) print(entries []bridge.Entry) {
	for _, e := range p.news(entries) {
		p.out.print(e)
	}
}

// news returns the steps of entries that it has not returned before, in the
// order of their time.
func (p *logPrinter) news(entries []bridge.Entry) (events []bridge.Event) {
	for _, entry := range entries {
		id := nameOf(entry)
		if p.printed[id] == nil {
			p.printed[id] = map[string]bool{}
			p.entries = append(p.entries, id)
		}
		for _, e := range entry.Events(time.Now()) {
			step := fmt.Sprint(e.Kind, " ", e.Ref, " ", e.Count)
			if !p.printed[id][step] && e.Level >= p.level {
				events = append(events, e)
			}
			p.printed[id][step] = true
		}
	}
	for len(p.entries) > remembered {
		delete(p.printed, p.entries[0])
		p.entries = p.entries[1:]
	}
	slices.SortStableFunc(events, func(a, b bridge.Event) int { return a.Time.Compare(b.Time) })
	return events
}

// nameOf returns a name that no other entry has.
func nameOf(entry bridge.Entry) string {
	switch {
	case entry.Message != nil:
		return fmt.Sprint("message ", entry.Message.ID)
	case entry.Reply != nil:
		return fmt.Sprint("reply ", entry.Reply.ID)
	default:
		return fmt.Sprint("event ", entry.Event.ID)
	}
}

// journal opens the journal of a Perch that does not run.
func (env Env) journal(ctx context.Context) (*journal.Journal, error) {
	home, err := env.home()
	if err != nil {
		return nil, err
	}
	return journal.Open(ctx, home.JournalFile(), journal.Options{Guest: true})
}
