package cli

import (
	"fmt"
	"os"
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
	var asJSON, list, showPrivate, wait bool
	var options doctor.Options
	var room string
	cmd := &cobra.Command{
		Use:   name,
		Short: "Say what keeps the bot from working, and what to type",
		Long: `Check everything between Talk and the bot: the configuration, the keychain, the
server, the way of a message to Perch and that of a reply back. For whatever is
wrong it says what was seen, why it matters and what to type.

It changes nothing, posts nothing, takes less than 15 seconds, and can be run
beside perch run. With --wait it waits a minute for a webhook that you cause, by
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
			if _, token, ok := strings.Cut(room, "/call/"); ok { // the conversation's whole address
				room, _, _ = strings.Cut(strings.NewReplacer("?", "/", "#", "/").Replace(token), "/")
			}
			private := &doctor.Private{}
			examined := checks.Options{
				Getenv: env.Getenv,
				Home:   home, Secrets: env.secrets(home), Version: Version(), Private: private, Room: room,
			}
			if wait {
				examined.Wait = checks.WaitTime
			}
			all, end := checks.New(examined)
			defer end()
			if list {
				for _, c := range all {
					_, _ = fmt.Fprintf(env.Stdout, "%-14s %-18s %s\n", c.ID, env.say(c.Title), strings.Join(c.Needs, ", "))
				}
				return nil
			}
			if len(options.Only) == 0 {
				if options.Only = examined.First(); wait && options.Only == nil {
					options.Only = []string{"delivery"}
				}
			}
			options.Again = examined.Again()
			if wait && (options.Only == nil || slices.Contains(options.Only, "delivery")) {
				out := env.Stdout
				if asJSON {
					out = env.Stderr
				}
				env.tell(out, bridge.Say("Write anything in a conversation of the bot. The doctor waits %s for its webhook.", checks.WaitTime.String()))
			}
			table := doctor.Table{W: env.Stdout, Terminal: env.colour(), Rows: len(options.Only) > 0, Translate: env.translate}
			if room != "" {
				table.Again = " --room " + doctor.SomeRoom // the report may be shown to others
			}
			if f, ok := cmd.OutOrStdout().(*os.File); ok && table.Terminal {
				table.Width, _, _ = term.GetSize(int(f.Fd()))
			}
			var report doctor.Report
			report, err = doctor.Run(cmd.Context(), all, options, func(row doctor.Row) doctor.Row {
				row = private.Redact(row, showPrivate)
				if !asJSON {
					table.Row(row)
				}
				return row
			})
			if err != nil {
				return misuse(cmd, "%s; %s", env.say(bridge.TextOf(err)), env.say(bridge.HintOf(err)))
			}
			if asJSON {
				if err := report.WriteJSON(env.Stdout); err != nil {
					return err
				}
			} else {
				table.End(report, private.Hid() && !showPrivate)
			}
			if report.Verdict() == bridge.StatusFail {
				return errSilent
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print one JSON document")
	flags.BoolVar(&options.Strict, "strict", false, "let a warning count as a failure")
	flags.StringSliceVar(&options.Only, "only", nil, "run only the check with this `ID`, or several with commas between")
	flags.BoolVar(&wait, "wait", false, "wait a minute for a signed webhook: write anything in a conversation of the bot")
	flags.BoolVar(&list, "list", false, "list the checks and what they need, and run none")
	flags.StringVar(&room, "room", "", "`TOKEN` of the conversation to look at; by default the one last heard from")
	flags.BoolVar(&showPrivate, "show-private", false, "show conversation tokens and people's ids; secrets are never shown")
	return cmd
}
