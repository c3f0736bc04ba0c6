package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/control"
	"perch/bridge/local"
)

// engine returns a client of the Perch that runs with this home; nil if none does.
// It must be closed.
func (env Env) engine(ctx context.Context) (*local.Client, error) {
	home, err := env.home()
	if err != nil {
		return nil, err
	}
	client, err := local.Dial(ctx, home.SocketFile(), Version())
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return nil, nil
	}
	return client, err
}

// statusDoc is what perch status --json prints.
type statusDoc struct {
	State    bridge.State `json:"state"` // or "stopped"
	Title    string       `json:"title"`
	Detail   string       `json:"detail,omitempty"`
	Fix      string       `json:"fix,omitempty"`
	Address  string       `json:"address"` // that Nextcloud must reach
	Listen   string       `json:"listen"`
	Server   string       `json:"server"`
	Tunnel   string       `json:"tunnel,omitempty"`
	Received *int         `json:"received"` // in the last hour, like those below; null: not known
	Answered *int         `json:"answered"`
	Failed   *int         `json:"failed"`
	Refused  *int         `json:"refused"`
	Waiting  *int         `json:"waiting"` // replies
	Held     bool         `json:"held"`
}

// stateStopped is the state of a Perch that does not run.
const stateStopped bridge.State = "stopped"

func newStatus(env Env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the running bot is",
		Long: `Say how the running bot is: its state and why, its address, its server, the
messages of the last hour, and the replies that wait. It ends with 0 if a Perch
runs with this home, however it is, and with 1 if none does.

As JSON: state (running, degraded, paused, failed, starting, new or stopped),
title, detail, fix, address, listen, server, tunnel, received, answered, failed
and refused (messages of the last hour), waiting (replies) and held. The numbers
are null if no Perch runs.`,
		GroupID: use,
		Args:    exactly(),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := env.engine(cmd.Context())
		if err != nil {
			return err
		}
		doc := statusDoc{State: stateStopped, Title: env.say(bridge.Say("Perch does not run here")), Fix: env.say(bridge.Say("Start it: perch run"))}
		if client != nil {
			snapshot, _ := client.Snapshot()
			doc = env.statusOf(snapshot)
			err = client.Close()
		}
		if asJSON {
			out := json.NewEncoder(env.Stdout)
			out.SetEscapeHTML(false)
			err = errors.Join(err, out.Encode(doc))
		} else {
			env.printStatus(doc)
		}
		if doc.State == stateStopped {
			return errors.Join(err, errSilent)
		}
		return err
	}
	return cmd
}

func (env Env) statusOf(s bridge.Snapshot) statusDoc {
	return statusDoc{
		State: s.State, Title: env.say(s.Title), Detail: env.say(s.Detail), Fix: env.say(s.Fix),
		Address: s.Address, Listen: s.Local, Server: s.Server, Tunnel: s.Tunnel.Phase,
		Received: &s.Hour.Received, Answered: &s.Hour.Answered, Failed: &s.Hour.Failed, Refused: &s.Hour.Refused,
		Waiting: &s.Waiting, Held: s.Held,
	}
}

// printStatus prints at most five lines.
func (env Env) printStatus(d statusDoc) {
	lines := []string{d.Title}
	if d.Detail != "" {
		lines[0] += ": " + d.Detail
	}
	if d.Fix != "" {
		lines = append(lines, d.Fix)
	}
	var where []string
	if d.Server != "" {
		where = append(where, env.say(bridge.Say("Server %s", d.Server)))
	}
	if d.Address != "" {
		where = append(where, env.say(bridge.Say("reached at %s", d.Address)))
	}
	if len(where) > 0 {
		lines = append(lines, strings.Join(where, ", "))
	}
	if d.Received != nil {
		lines = append(lines,
			env.say(bridge.Say("Last hour: %[1]s received, %[2]s answered, %[3]s failed, %[4]s refused",
				strconv.Itoa(*d.Received), strconv.Itoa(*d.Answered), strconv.Itoa(*d.Failed), strconv.Itoa(*d.Refused))),
			env.say(bridge.Say("Replies that wait: %s", strconv.Itoa(*d.Waiting))))
	}
	for _, line := range lines {
		env.tell(env.Stdout, bridge.Say("%s", oneLine(line)))
	}
}

func newPause(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "pause",
		Short: "Take the bot out of service, also after a restart",
		Long: `Take the bot out of service, also after a restart: messages are not taken, and
Talk does not send them again. Perch goes on running, and perch resume takes the
bot into service again.`,
		GroupID: use,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.wish(cmd.Context(), func(ctx context.Context, bot pausable) error { return bot.Pause(ctx) },
				bridge.Say("The bot is paused. Take it into service again: perch resume"),
				bridge.Say("Perch does not run here. When it starts, the bot stays paused until: perch resume"))
		},
	}
}

func newResume(env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Short:   "Take a paused bot into service again",
		GroupID: use,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.wish(cmd.Context(), func(ctx context.Context, bot pausable) error { return bot.Resume(ctx) },
				bridge.Say("The bot is in service again."),
				bridge.Say("The bot is no longer paused, but Perch does not run here. Start it: perch run"))
		},
	}
}

// pausable is a bot, or a client of one.
type pausable interface {
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
}

// wish has the bot paused or resumed: the running one, else the one that starts next.
func (env Env) wish(ctx context.Context, do func(context.Context, pausable) error, running, stopped bridge.Text) error {
	client, err := env.engine(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		if err := errors.Join(do(ctx, client), client.Close()); err != nil {
			return err
		}
		env.tell(env.Stdout, running)
		return nil
	}
	home, err := env.home()
	if err != nil {
		return err
	}
	if err := do(ctx, control.New(control.Options{Home: home})); err != nil {
		return err
	}
	env.tell(env.Stdout, stopped)
	return nil
}
