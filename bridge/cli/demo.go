package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/practice"
	"perch/bridge/secret"
)

func newDemo(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play a conversation with the bot on a practice server",
		Long: `Play a conversation with the bot on a practice server inside this process: real
signed webhooks and real replies over HTTP on this machine, and nothing of it
kept. On a terminal you can go on yourself afterwards.`,
		GroupID: use,
		Args:    exactly(),
	}
	format := addFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := env.demo(cmd.Context(), env.printer(format, slog.LevelInfo), format.value == "text")
		if cmd.Context().Err() != nil {
			return nil //nolint:nilerr // Whoever ends it wants no error.
		}
		return err
	}
	return cmd
}

// demo plays the conversation. With narrate it says what is about to happen.
func (env Env) demo(ctx context.Context, out printer, narrate bool) error {
	dir, err := os.MkdirTemp("", "perch-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	stage, err := setStage(ctx, dir)
	if err != nil {
		return err
	}
	stage.out = out
	if narrate {
		stage.narration = env.Stdout
		stage.translate = env.translate
		stage.colour = env.colour()
	}
	err = stage.play(ctx)
	if f, ok := env.Stdin.(*os.File); err == nil && narrate && ok && term.IsTerminal(int(f.Fd())) {
		err = stage.improvise(ctx, f)
	}
	err = errors.Join(err, stage.clear(ctx))
	if err == nil && narrate {
		_, err = io.WriteString(env.Stdout, env.say(demoEnd()))
	}
	return err
}

func demoEnd() bridge.Text {
	return bridge.Say(`
That was Perch with a practice server. To connect your own Nextcloud:

  perch setup
  perch run
`)
}

// stage is a practice server with a bot that runs on it.
type stage struct {
	server  *practice.Server
	app     *app.App
	events  *eventlog.Subscription
	stopApp context.CancelFunc
	stopped chan error

	bot     int
	kitchen string
	secret  bridge.Secret

	out       printer
	narration io.Writer // nil: none
	translate func(string) string
	colour    bool
}

// setStage starts a practice server and a bot with its home in dir.
func setStage(ctx context.Context, dir string) (*stage, error) {
	server, err := practice.Start(ctx, practice.Options{})
	if err != nil {
		return nil, err
	}
	s := &stage{server: server, stopped: make(chan error, 1)}
	if err := s.start(ctx, dir); err != nil {
		server.Close()
		return nil, err
	}
	return s, nil
}

func (s *stage) start(ctx context.Context, dir string) error {
	cfg := config.Default()
	cfg.Talk.BaseURL = s.server.URL()
	cfg.Talk.AllowedUsers = []string{"alice", "bob"}
	cfg.Webhook.Listen = "127.0.0.1:0"
	home := config.Home{ConfigDir: dir, DataDir: filepath.Join(dir, "data")}
	if _, err := config.Save(home.ConfigFile(), cfg); err != nil {
		return err
	}
	var err error
	s.secret = secret.Generate()
	secrets := secret.Memory()
	if err := secrets.Set(ctx, bridge.WebhookSecret, s.secret); err != nil {
		return err
	}
	bus := &eventlog.Bus{}
	s.app, err = app.Open(ctx, app.Options{Home: home, Secrets: secrets, Bus: bus, Version: Version()})
	if err != nil {
		return err
	}
	s.events = bus.Subscribe(shownEvents) // after Open, which warns of what is meant here: a port that changes
	running, stop := context.WithCancel(ctx)
	s.stopApp = stop
	go func() { s.stopped <- s.app.Run(running) }()

	s.server.AddUser("alice", "Alice")
	s.server.AddUser("bob", "Bob")
	s.server.AddUser("mallory", "Mallory")
	s.kitchen = s.server.AddRoom("Kitchen", "alice", "bob", "mallory")
	s.bot, err = s.server.InstallBot(practice.Bot{
		Name: "Perch", Secret: s.secret.Reveal(), URL: "http://" + s.app.Addr() + cfg.Webhook.Path,
	})
	if err != nil {
		return errors.Join(err, s.clear(ctx))
	}
	return nil
}

// clear stops the bot, prints its last events, and stops the server.
func (s *stage) clear(ctx context.Context) error {
	s.stopApp()
	err := <-s.stopped
	s.drain(ctx)
	s.server.Close()
	return errors.Join(err, s.app.Close())
}

func (s *stage) play(ctx context.Context) error {
	s.say(bridge.Say("A practice server on this machine: Alice, Bob and Mallory in the room Kitchen.\nThe administrator enables the bot there."))
	if _, err := s.server.EnableBot(ctx, s.kitchen, s.bot); err != nil {
		return err
	}
	if err := s.watch(ctx, intake); err != nil {
		return err
	}
	for _, scene := range []struct {
		narration bridge.Text
		who, text string
		until     func(bridge.Event) bool // the event that ends the scene
		before    func()
	}{
		{bridge.Say("Alice asks whether it is there."), "alice", "!ping", sent, nil},
		{bridge.Say("Bob lets it say something, with a mention."), "bob", "!echo Dinner at 7, @alice 🍲", sent, nil},
		{bridge.Say("Mallory is not on the list of allowed users."), "mallory", "!ping", intake, nil},
		{
			bridge.Say("The server goes into maintenance just when the bot answers. The reply is kept and sent later."),
			"alice", "!whoami", sent,
			func() {
				s.server.SetFaults(practice.Fault{Kind: practice.FaultMaintenance, On: practice.EndpointBot, Times: 1})
			},
		},
		{bridge.Say("Alice asks how it is."), "alice", "!status", sent, nil},
	} {
		s.say(scene.narration)
		if scene.before != nil {
			scene.before()
		}
		if err := s.post(ctx, scene.who, scene.text, scene.until); err != nil {
			return err
		}
	}
	return nil
}

func intake(e bridge.Event) bool { return e.Stage == bridge.StageIntake }

func sent(e bridge.Event) bool { return e.Kind == bridge.EventReplySent }

// concluded reports whether nothing more follows from a message.
func concluded(e bridge.Event) bool {
	switch e.Kind {
	case bridge.EventReplySent, bridge.EventMessageSilent, bridge.EventMessageNotForBot, bridge.EventMessageFailed, bridge.EventMessageTurnedAway:
		return true
	default:
		return false
	}
}

// post posts a text and prints events until the one that ends the scene.
func (s *stage) post(ctx context.Context, who, text string, until func(bridge.Event) bool) error {
	if _, err := s.server.Post(ctx, s.kitchen, who, text); err != nil {
		return err
	}
	return s.watch(ctx, until)
}

// watch prints events until there is one that ends it.
func (s *stage) watch(ctx context.Context, until func(bridge.Event) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		events, _, err := s.events.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			s.out.print(e)
		}
		if slices.ContainsFunc(events, until) {
			return nil
		}
	}
}

// improvise lets the person at the terminal write as Alice.
func (s *stage) improvise(ctx context.Context, in io.Reader) error {
	s.say(bridge.Say("Now you: write as Alice, !help shows what the bot knows. An empty line ends it."))
	lines := make(chan string)
	go func() { // ends with the input, at the latest with the process
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		_, _ = io.WriteString(s.narration, "Alice: ")
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if line = strings.TrimSpace(line); line == "" {
				return nil
			}
			if err := s.post(ctx, "alice", line, concluded); err != nil {
				return err
			}
		}
	}
}

// drain prints the events that are left.
func (s *stage) drain(ctx context.Context) {
	done, cancel := context.WithCancel(ctx)
	cancel()
	for {
		events, _, err := s.events.Next(done)
		if err != nil {
			return
		}
		for _, e := range events {
			s.out.print(e)
		}
	}
}

func (s *stage) say(t bridge.Text) {
	if s.narration == nil {
		return
	}
	text := t.In(s.translate)
	if s.colour {
		text = dim + text + reset
	}
	_, _ = fmt.Fprintf(s.narration, "\n%s\n", text)
}
