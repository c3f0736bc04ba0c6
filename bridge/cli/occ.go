package cli

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/secret"
)

// maxBotName is the longest name of a bot that Talk takes, in bytes.
const maxBotName = 64

func newOcc(env Env) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "occ",
		Short: "Print the commands that install the bot on your server",
		Long: `Print the commands that install the bot on your server. They contain the webhook
secret: paste them there, and nowhere else.`,
		GroupID: setUp,
		Args:    exactly(),
	}
	where := addChoice(cmd, "on", "how Nextcloud runs", app.Servers()...)
	cmd.Flags().StringVar(&name, "name", "Perch", "the `NAME` that people see in Talk")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if name == "" || len(name) > maxBotName || strings.ContainsFunc(name, unicode.IsControl) {
			return misuse(cmd, "--name is 1 to %d bytes of text on one line", maxBotName)
		}
		cfg, _, err := env.config()
		if err != nil {
			return err
		}
		home, err := env.home()
		if err != nil {
			return err
		}
		installed, present, err := app.Addresses(cmd.Context(), home)
		if err != nil {
			return err
		}
		if cfg.Tunnel.Mode != config.TunnelQuick {
			present = ""
		}
		address := app.Address(cfg, cfg.Webhook.Listen, present)
		if address == "" {
			return &bridge.Error{
				Code: bridge.CodeNotFound,
				Text: bridge.Say("It is not known at which address Nextcloud reaches Perch, which listens on %s", cfg.Webhook.Listen),
				Hint: bridge.Say("Set public_url in the table [webhook] of %s, or a tunnel; a quick tunnel has an address once perch run has opened it.", home.ConfigFile()),
			}
		}
		key, err := env.secrets(home).Get(cmd.Context(), bridge.WebhookSecret)
		if err != nil {
			return err
		}
		if err := secret.Check(bridge.WebhookSecret, key); err != nil {
			return err
		}
		if cfg.Webhook.PublicURL == "" && cfg.Tunnel.Mode == config.TunnelOff && isLoopback(cfg.Webhook.Listen) {
			env.tell(env.Stderr, bridge.Say("Mind: %s can be reached from this machine alone.\n  If Nextcloud runs elsewhere or in a container, set public_url in the table [webhook] of %s first.", address, home.ConfigFile()))
		}
		bot := app.Installation{Name: name, Secret: key, Address: address}
		if installed != address {
			bot.Old = installed
		}
		token, err := env.secrets(home).Get(cmd.Context(), bridge.AppToken)
		if err == nil {
			bot.ID = app.BotID(cmd.Context(), home, cfg, token, address)
		}
		rooms, err := app.Seen(cmd.Context(), home, cfg.Talk.BaseURL)
		if err != nil {
			return err
		}
		var names []string
		for _, r := range rooms {
			bot.Rooms = append(bot.Rooms, r.Token)
			names = append(names, oneLine(r.String()))
		}
		env.printOcc(where.value, bot, names)
		return nil
	}
	return cmd
}

func (env Env) printOcc(server string, bot app.Installation, rooms []string) {
	comment := func(t bridge.Text) { env.tell(env.Stdout, bridge.Say("# %s", env.say(t))) }
	lines := bot.Commands(server)
	if bot.ID != 0 {
		comment(bridge.Say("The bot is installed already. On your server, see that it is switched on:"))
		_, _ = fmt.Fprintln(env.Stdout, lines[0])
		lines = lines[1:]
	} else if bot.Old != "" {
		comment(bridge.Say("Talk still has the bot at %s; take it away there first:", bot.Old))
		_, _ = fmt.Fprintln(env.Stdout, lines[0])
		lines = lines[1:]
	}
	if bot.ID == 0 {
		comment(bridge.Say("On your server, install the bot:"))
		_, _ = fmt.Fprintln(env.Stdout, lines[0])
		lines = lines[1:]
	}
	switch {
	case len(rooms) > 0:
		comment(bridge.Say("Enable it in the conversations that Perch has seen (BOT-ID is its number in the list): %s", strings.Join(rooms, ", ")))
	case bot.ID != 0:
		comment(bridge.Say("Enable it in a conversation (TOKEN is the last part of its address):"))
	default:
		comment(bridge.Say("See its number, then enable it in a conversation (TOKEN is the last part of its address):"))
	}
	_, _ = fmt.Fprintln(env.Stdout, strings.Join(lines, "\n"))
	comment(bridge.Say("Then, on this machine: perch run"))
}

// isLoopback reports whether an address can be reached from this machine alone.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip, _ := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || host == "localhost")
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
