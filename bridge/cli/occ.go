package cli

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"perch/bridge"
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
	where := addChoice(cmd, "on", "how Nextcloud runs", "host", "docker", "aio", "snap")
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
		address := webhookAddress(cfg.Webhook, cfg.Webhook.Listen)
		if address == "" {
			return &bridge.Error{
				Code: bridge.CodeNotFound,
				Text: bridge.Say("It is not known at which address Nextcloud reaches Perch, which listens on %s", cfg.Webhook.Listen),
				Hint: bridge.Say("Set public_url in the table [webhook] of %s.", home.ConfigFile()),
			}
		}
		key, err := env.secrets(home).Get(cmd.Context(), bridge.WebhookSecret)
		if err != nil {
			return err
		}
		if err := secret.Check(bridge.WebhookSecret, key); err != nil {
			return err
		}
		if cfg.Webhook.PublicURL == "" && isLoopback(cfg.Webhook.Listen) {
			env.tell(env.Stderr, bridge.Say("Mind: %s can be reached from this machine alone.\n  If Nextcloud runs elsewhere or in a container, set public_url in the table [webhook] of %s first.", address, home.ConfigFile()))
		}
		env.printOcc(occPrefix(where.value), name, key, address)
		return nil
	}
	return cmd
}

// occPrefix returns how occ is called, by how Nextcloud runs.
func occPrefix(where string) string {
	return map[string]string{
		"host":   "sudo -u www-data php /var/www/nextcloud/occ",
		"docker": "docker exec -u www-data nextcloud php occ",
		"aio":    "sudo docker exec --user www-data -it nextcloud-aio-nextcloud php occ",
		"snap":   "sudo nextcloud.occ",
	}[where]
}

func (env Env) printOcc(prefix, name string, key bridge.Secret, address string) {
	comment := func(t bridge.Text) { env.tell(env.Stdout, bridge.Say("# %s", env.say(t))) }
	comment(bridge.Say("On your server, install the bot:"))
	_, _ = fmt.Fprintf(env.Stdout, "%s talk:bot:install -f webhook -f response -- %s %s %s\n",
		prefix, shellQuote(name), shellQuote(key.Reveal()), shellQuote(address))
	comment(bridge.Say("See its number, then enable it in a conversation (TOKEN is the last part of its address):"))
	_, _ = fmt.Fprintf(env.Stdout, "%[1]s talk:bot:list\n%[1]s talk:bot:setup BOT-ID TOKEN\n", prefix)
	comment(bridge.Say("Then, on this machine: perch run"))
}

// webhookAddress returns the URL at which Nextcloud reaches the webhook that
// listens on an address; empty if that is not known.
func webhookAddress(hook config.Webhook, listen string) string {
	if hook.PublicURL == "" {
		host, port, err := net.SplitHostPort(listen)
		ip, _ := netip.ParseAddr(host)
		if err != nil || host == "" || port == "0" || ip.IsUnspecified() {
			return ""
		}
		hook.Listen = listen
	}
	return hook.Address()
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
