package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
)

func newRun(env Env) *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the bot, without a window, until Ctrl-C or SIGTERM",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			out, err := env.printer(format, level)
			if err != nil {
				return err
			}
			home, err := env.home()
			if err != nil {
				return err
			}
			bus := &eventlog.Bus{}
			events := bus.Subscribe(shownEvents)
			a, err := app.Open(cmd.Context(), app.Options{Home: home, Secrets: env.secrets(home), Bus: bus, Version: Version()})
			if err != nil {
				return err
			}
			return errors.Join(runPrinting(cmd.Context(), a, events, out), a.Close())
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show every step")
	return cmd
}

// shownEvents is how many events may wait for a slow terminal.
const shownEvents = 1024

// runPrinting runs a until ctx is done and prints its events, the last ones too.
func runPrinting(ctx context.Context, a *app.App, events *eventlog.Subscription, out printer) error {
	printing, stop := context.WithCancel(context.WithoutCancel(ctx))
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		printEvents(printing, events, out)
	}()
	err := a.Run(ctx)
	stop()
	<-printed
	return err
}

func printEvents(ctx context.Context, events *eventlog.Subscription, out printer) {
	for {
		batch, dropped, err := events.Next(ctx)
		if err != nil {
			return
		}
		if dropped > 0 {
			out.print(bridge.Event{
				Time: batch[0].Time, Stage: bridge.StageApp, Level: slog.LevelWarn,
				Title: bridge.Say("%s events came too fast to be shown", fmt.Sprint(dropped)),
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
the last part of the conversation's address: https://cloud.example.com/call/TOKEN.

If Perch is running, it sends the text; otherwise this command does. It ends
when the text is posted, or says why it is not yet.`,
		Args: exactly("TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			if room == "" {
				return usageError{errors.New("say which conversation: --room TOKEN")}
			}
			err = app.Send(cmd.Context(), app.Options{Home: home, Secrets: env.secrets(home), Bus: &eventlog.Bus{}, Version: Version()}, room, args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, "Sent.")
			return err
		},
	}
	cmd.Flags().StringVar(&room, "room", "", "token of the conversation")
	return cmd
}

func newRetry(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "retry",
		Short: "Send replies that are held back, after their cause was mended",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			j, err := env.journal(cmd.Context())
			if err != nil {
				return err
			}
			_, replies := j.Backlog()
			if err := errors.Join(j.Resume(cmd.Context()), j.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "Replies are sent again; %d are waiting. See: perch log --follow\n", replies)
			return err
		},
	}
}

func newLog(env Env) *cobra.Command {
	var format, level, room string
	var follow bool
	var number int
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show what happened: messages, replies and errors",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := journal.Filter{Room: room, Limit: number}
			if err := filter.Level.UnmarshalText([]byte(level)); err != nil {
				return usageError{fmt.Errorf("--level is debug, info, warn or error, not %q", level)}
			}
			if number < 1 {
				return usageError{errors.New("--lines is a number from 1")}
			}
			out, err := env.printer(format, slog.LevelDebug)
			if err != nil {
				return err
			}
			j, err := env.journal(cmd.Context())
			if err != nil {
				return err
			}
			err = printLog(cmd.Context(), j, filter, follow, out)
			return errors.Join(err, j.Close())
		},
	}
	addFormat(cmd, &format)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().StringVar(&level, "level", "info", "only what is at least so grave: info, warn, error")
	cmd.Flags().StringVar(&room, "room", "", "only the conversation with this token or name")
	cmd.Flags().IntVarP(&number, "lines", "n", 100, "how many lines to begin with")
	return cmd
}

func printLog(ctx context.Context, j *journal.Journal, filter journal.Filter, follow bool, out printer) error {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		events, err := j.Events(ctx, filter)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, e := range events {
			out.print(e)
			filter.After = e.ID
		}
		if !follow {
			return nil
		}
		filter.Limit = 1000
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// journal opens the journal beside a Perch that may be running.
func (env Env) journal(ctx context.Context) (*journal.Journal, error) {
	home, err := env.home()
	if err != nil {
		return nil, err
	}
	return journal.Open(ctx, home.JournalFile(), journal.Options{Guest: true})
}

func addFormat(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "log-format", "text", "how to print: text or json")
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}
