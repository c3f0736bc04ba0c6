package cli

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"perch/bridge"
	"perch/bridge/checks"
	"perch/bridge/doctor"
)

func newDoctor(env Env) *cobra.Command {
	cmd := env.doctorCommand("doctor")
	cmd.Args = exactly()
	return cmd
}

// newChannel is the doctor under the name that it has in PRX and ZeroClaw.
func newChannel(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:    "channel",
		Short:  "The doctor, as PRX and ZeroClaw call it",
		RunE:   helpOnly,
		Hidden: true,
	}
	examine := env.doctorCommand("doctor nextcloud_talk")
	examine.GroupID = ""
	examine.ValidArgs = []string{"nextcloud_talk"}
	examine.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] == "nextcloud_talk" {
			return nil
		}
		return misuse(cmd, "it is: perch channel doctor nextcloud_talk")
	}
	cmd.AddCommand(examine)
	return cmd
}

func (env Env) doctorCommand(name string) *cobra.Command {
	var asJSON, strict, list, showPrivate bool
	var asked doctor.Request
	cmd := &cobra.Command{
		Use:   name,
		Short: "Say what keeps the bot from working, and what to type",
		Long: `Check everything between Talk and the bot: the configuration, the keychain, the
server, the way of a message to Perch and that of a reply back. For whatever is
wrong it says what was seen, why it matters and what to type.

It changes nothing, posts nothing and takes less than 15 seconds. If a Perch runs,
that one is examined, with the secrets that it has. With --wait it waits a minute for a webhook that you cause, by
writing in a conversation of the bot, and says whether it came. It ends with 0
when no check failed, 1 when one did, and 2 when it could not run.`,
		Example: `  perch doctor                        is all well?
  perch doctor --room TOKEN           look at this conversation (the last part of its address)
  perch doctor --only public-url      one check, with those that it needs
  perch doctor --wait                 do messages from Talk arrive?`,
		GroupID: use,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := env.home()
			if err != nil {
				return misuse(cmd, "%s; %s", env.say(bridge.TextOf(err)), env.say(bridge.HintOf(err)))
			}
			if _, token, ok := strings.Cut(asked.Room, "/call/"); ok { // the conversation's whole address
				asked.Room, _, _ = strings.Cut(strings.NewReplacer("?", "/", "#", "/").Replace(token), "/")
			}
			o := checks.Options{Home: home, Secrets: env.secrets(home), Version: Version(), Getenv: env.Getenv}
			if list {
				o.Private = &doctor.Private{}
				all, end := checks.New(o)
				defer end()
				for _, c := range all {
					_, _ = fmt.Fprintf(env.Stdout, "%-14s %-18s %s\n", c.ID, env.say(c.Title), strings.Join(c.Needs, ", "))
				}
				return nil
			}
			if len(asked.Only) == 0 {
				if asked.Only = o.First(); asked.Wait && asked.Only == nil {
					asked.Only = []string{"delivery"}
				}
			}
			if asked.Wait && slices.Contains(asked.Only, "delivery") {
				out := env.Stdout
				if asJSON {
					out = env.Stderr
				}
				env.tell(out, bridge.Say("Write anything in a conversation of the bot. The doctor waits %s for its webhook.", checks.WaitTime.String()))
			}
			table := doctor.Table{W: env.Stdout, Terminal: env.colour(), Rows: len(asked.Only) > 0, Translate: env.translate}
			if asked.Room != "" {
				table.Again = " --room " + doctor.SomeRoom // the report may be shown to others
			}
			if f, ok := cmd.OutOrStdout().(*os.File); ok && table.Terminal {
				table.Width, _, _ = term.GetSize(int(f.Fd()))
			}
			hid := false
			var rows []doctor.Row
			report, err := env.examine(cmd.Context(), o, asked, func(whole, shown doctor.Row) {
				if hid = hid || !reflect.DeepEqual(whole, shown); showPrivate {
					shown = whole
				}
				if rows = append(rows, shown); !asJSON {
					table.Row(shown)
				}
			})
			report.Rows, report.Strict = rows, strict
			switch {
			case bridge.CodeOf(err) != bridge.CodeInvalid && err != nil:
				return err
			case err != nil:
				return misuse(cmd, "%s; %s", env.say(bridge.TextOf(err)), env.say(bridge.HintOf(err)))
			}
			if asJSON {
				if err := report.WriteJSON(env.Stdout); err != nil {
					return err
				}
			} else {
				table.End(report, hid && !showPrivate)
			}
			if report.Verdict() == bridge.StatusFail {
				return errSilent
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print one JSON document")
	flags.BoolVar(&strict, "strict", false, "let a warning count as a failure")
	flags.StringSliceVar(&asked.Only, "only", nil, "run only the check with this `ID`, or several with commas between")
	flags.BoolVar(&asked.Wait, "wait", false, "wait a minute for a signed webhook: write anything in a conversation of the bot")
	flags.BoolVar(&list, "list", false, "list the checks and what they need, and run none")
	flags.StringVar(&asked.Room, "room", "", "`TOKEN` of the conversation to look at; by default the one last heard from")
	flags.BoolVar(&showPrivate, "show-private", false, "show conversation tokens and people's ids; secrets are never shown")
	return cmd
}

// examine runs the doctor's checks: in the Perch that runs with this home, which
// knows its own secrets and how it is; else here.
func (env Env) examine(ctx context.Context, o checks.Options, r doctor.Request, row func(whole, shown doctor.Row)) (doctor.Report, error) {
	if running, err := env.engine(ctx); err == nil && running != nil {
		defer func() { _ = running.Close() }()
		return running.Examine(ctx, r, row)
	}
	return checks.Examine(ctx, o, r, row)
}
