package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/config"
)

func newConfig(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Begin, look at, check or import the configuration",
		Args:  unknownCommand,
	}
	cmd.AddCommand(
		newConfigInit(env), newConfigImport(env),
		&cobra.Command{
			Use:   "path",
			Short: "Print where config.toml is, or would be",
			Args:  exactly(),
			RunE: func(*cobra.Command, []string) error {
				home, err := env.home()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(env.Stdout, home.ConfigFile())
				return err
			},
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print the settings in force, those that the file leaves out too",
			Args:  exactly(),
			RunE: func(*cobra.Command, []string) error {
				cfg, _, err := env.config()
				if err != nil {
					return err
				}
				text, err := cfg.Bytes()
				if err != nil {
					return err
				}
				_, err = env.Stdout.Write(text)
				return err
			},
		},
		&cobra.Command{
			Use:   "check",
			Short: "Say what is wrong or unwise in config.toml",
			Args:  exactly(),
			RunE: func(*cobra.Command, []string) error {
				_, problems, err := env.config()
				if err != nil {
					return err
				}
				if len(problems) == 0 {
					_, err = fmt.Fprintln(env.Stdout, "The configuration is in order.")
					return err
				}
				_, _ = fmt.Fprintln(env.Stdout, "The configuration can be used. Mind this:")
				printProblems(env.Stdout, problems)
				return nil
			},
		},
	)
	return cmd
}

// config loads the configuration of the home.
func (env Env) config() (config.Config, []config.Problem, error) {
	home, err := env.home()
	if err != nil {
		return config.Config{}, nil, err
	}
	return config.Load(home.ConfigFile())
}

func newConfigInit(env Env) *cobra.Command {
	var allow []string
	cmd := &cobra.Command{
		Use:   "init SERVER-URL --allow USER-ID",
		Short: "Begin a configuration for your server",
		Args:  exactly("SERVER-URL"),
		RunE: func(_ *cobra.Command, args []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			if _, err := os.Lstat(home.ConfigFile()); err == nil {
				return &bridge.Error{
					Code: bridge.CodeConflict,
					Text: bridge.Say("There is a configuration already: %s", home.ConfigFile()),
					Hint: bridge.Say("Edit that file; perch config check says whether it is in order."),
				}
			}
			cfg := config.Default()
			cfg.Talk.BaseURL, cfg.Talk.AllowedUsers = args[0], allow
			problems, err := cfg.Validate()
			if err != nil {
				return err
			}
			if _, err := config.Save(home.ConfigFile(), cfg); err != nil {
				return err
			}
			printProblems(env.Stderr, problems)
			_, err = fmt.Fprintf(env.Stdout, "Written to %s\nNext: perch secret generate webhook_secret\n", home.ConfigFile())
			return err
		},
	}
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "Nextcloud user id that the bot answers; can be given again")
	return cmd
}

func newConfigImport(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Take over the settings of PRX or ZeroClaw, and move secrets to the keychain",
		Long: `Take over the table of Nextcloud Talk from the config.toml of PRX or ZeroClaw.
Secrets in it go to the system's keychain, never to Perch's own file. FILE is
not changed, unless it is Perch's own config.toml with secrets in it: then they
are moved out of it.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("%s cannot be read", args[0]), Hint: bridge.Say("%s", err.Error()), Cause: err}
			}
			own := sameFile(args[0], home.ConfigFile())
			if _, err := os.Lstat(home.ConfigFile()); err == nil && !own {
				return &bridge.Error{
					Code: bridge.CodeConflict,
					Text: bridge.Say("There is a configuration already: %s", home.ConfigFile()),
					Hint: bridge.Say("Move it away first if it is to be replaced."),
				}
			}
			imported, err := config.Import(args[0], data)
			if err != nil {
				return err
			}
			store := env.secrets(home)
			for _, name := range slices.Sorted(maps.Keys(imported.Secrets)) {
				if err := store.Set(cmd.Context(), name, imported.Secrets[name]); err != nil {
					return err
				}
				_, _ = fmt.Fprintf(env.Stdout, "%s is stored in the system's keychain.\n", name)
			}
			kept, err := config.Save(home.ConfigFile(), imported.Config)
			if err != nil {
				return err
			}
			if own && kept != "" { // all of it was taken over, and it holds the secrets
				if err := os.Remove(kept); err != nil {
					return err
				}
			}
			printProblems(env.Stdout, imported.Notes)
			_, err = fmt.Fprintf(env.Stdout, "The settings of [%s] are written to %s\n", imported.Table, home.ConfigFile())
			if err == nil && !own && len(imported.Secrets) > 0 {
				_, err = fmt.Fprintf(env.Stdout, "%s still holds the secrets; remove them there when the other program no longer needs them.\n", args[0])
			}
			return err
		},
	}
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func newOcc(env Env) *cobra.Command {
	var where, name string
	cmd := &cobra.Command{
		Use:   "occ",
		Short: "Print the commands that install the bot on your server",
		Long: `Print the commands that install the bot on your server. They contain the webhook
secret: paste them there, and nowhere else.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			prefix, ok := occPrefixes()[where]
			if !ok {
				return usageError{fmt.Errorf("--on is %s, not %q", strings.Join(slices.Sorted(maps.Keys(occPrefixes())), ", "), where)}
			}
			cfg, _, err := env.config()
			if err != nil {
				return err
			}
			home, err := env.home()
			if err != nil {
				return err
			}
			key, err := env.secrets(home).Get(cmd.Context(), bridge.WebhookSecret)
			if err != nil {
				return err
			}
			return printOcc(env.Stdout, prefix, name, key, cfg.Webhook)
		},
	}
	cmd.Flags().StringVar(&where, "on", "host", "how Nextcloud runs: host, docker, aio, snap")
	cmd.Flags().StringVar(&name, "name", "Perch", "name that people see in Talk")
	return cmd
}

// occPrefixes returns how occ is called, by how Nextcloud runs.
func occPrefixes() map[string]string {
	return map[string]string{
		"host":   "sudo -u www-data php /var/www/nextcloud/occ",
		"docker": "docker exec -u www-data nextcloud php occ",
		"aio":    "sudo docker exec --user www-data -it nextcloud-aio-nextcloud php occ",
		"snap":   "sudo nextcloud.occ",
	}
}

func printOcc(w io.Writer, prefix, name string, key bridge.Secret, hook config.Webhook) error {
	address, err := webhookAddress(hook)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `# On your server, install the bot:
%[1]s talk:bot:install -f webhook -f response -- %[2]s %[3]s %[4]s
# See its number, then enable it in a conversation (TOKEN is the last part of its address):
%[1]s talk:bot:list
%[1]s talk:bot:setup BOT-ID TOKEN
`, prefix, shellQuote(name), shellQuote(key.Reveal()), shellQuote(address))
	return err
}

// webhookAddress returns the URL at which Nextcloud reaches the webhook.
func webhookAddress(hook config.Webhook) (string, error) {
	if hook.PublicURL == "" {
		return "http://" + hook.Listen + hook.Path, nil
	}
	u, err := url.Parse(hook.PublicURL)
	if err != nil {
		return "", errors.New("public_url is no URL")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = hook.Path
	}
	return u.String(), nil
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
