package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/secret"
)

// maxSecret bounds what is read as a secret. No keychain takes more.
const maxSecret = 4096

func newSecret(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Set, make, look for or delete the secrets in the system's keychain",
		Long: `Perch keeps its secrets in the system's keychain, never in a file:

  webhook_secret   shared with Talk, given to occ talk:bot:install
  app_token        app password of a user: for replies as that user, the contents
                   of files, and the messages that were missed
  tunnel_token     of your Cloudflare tunnel, if [tunnel] has mode = "named"
  notify_token     of the programs that may post messages, if [notify] has listen
  handler_token    bearer token of a web hook, or key of a language model
  handler_secret   signs what is posted to a web hook, as Talk signs
  voice_token      key for a server that hears voice messages, if it asks for one

Those of a handler in [handlers.house] are handler_token_house and
handler_secret_house.

A server without a keychain gives them in another way. The first of these that
there is counts:

  1. the environment: PERCH_ and the name in capitals, PERCH_WEBHOOK_SECRET,
     PERCH_APP_TOKEN, PERCH_HANDLER_TOKEN_HOUSE
  2. a file: PERCH_WEBHOOK_SECRET_FILE=/run/secrets/webhook_secret
  3. systemd's credentials: LoadCredential=webhook_secret:/etc/perch/webhook_secret
  4. the keychain

A webhook secret has 40 to 128 characters; perch secret generate webhook_secret
--print makes one, and so does openssl rand -hex 32.`,
		GroupID: setUp,
		RunE:    helpOnly,
	}
	cmd.AddCommand(newSecretSet(env), newSecretDelete(env), newSecretGenerate(env), newSecretStatus(env))
	return cmd
}

// takesSecret makes cmd take the name of one of the secrets, and nothing else:
// what else is given may be the secret itself, and is never repeated. Only
// those that fits reports true for are taken.
func (env Env) takesSecret(cmd *cobra.Command, fits func(name string) bool) *cobra.Command {
	fitting := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !fits(name) })
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cfg, _, _ := env.config() // The names of its handlers, if it can be read.
		return fitting(secretsOf(cfg)), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch name := strings.Join(fitting(secret.Names()), " or "); {
		case len(args) == 0:
			return misuse(cmd, "say which secret: %s", name)
		case !secret.Known(args[0]) || !fits(args[0]):
			return misuse(cmd, "the secret is named by one of these words: %s", name)
		case len(args) > 1:
			return misuse(cmd, "a secret is never an argument, where others on this machine and the shell's history see it; it is read from standard input: %s %s", cmd.CommandPath(), args[0])
		}
		return nil
	}
	return cmd
}

func anySecret(string) bool { return true }

// secretsOf returns the names of the secrets that a configuration can use.
func secretsOf(cfg config.Config) []string {
	names := secret.Names()
	for _, name := range slices.Sorted(maps.Keys(cfg.Handlers)) {
		switch cfg.Handlers[name].Kind {
		case config.HTTP:
			names = append(names, bridge.SecretOf(bridge.HandlerToken, name), bridge.SecretOf(bridge.HandlerSecret, name))
		case config.LLM:
			names = append(names, bridge.SecretOf(bridge.HandlerToken, name))
		}
	}
	return names
}

func newSecretSet(env Env) *cobra.Command {
	return env.takesSecret(&cobra.Command{
		Use:   "set NAME",
		Short: "Store a secret that is read from standard input",
		Long: `Store a secret that is read from standard input. For tunnel_token the whole line
that the Cloudflare dashboard shows does as well.`,
		Example: `  perch secret set webhook_secret          asks for it
  perch secret set app_token < file        reads it`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := env.readSecret(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return env.storeSecret(cmd, args[0], value)
		},
	}, anySecret)
}

func newSecretGenerate(env Env) *cobra.Command {
	var force, print bool
	cmd := env.takesSecret(&cobra.Command{
		Use:   "generate NAME",
		Short: "Make a new webhook_secret, notify_token or handler_secret and store it",
		RunE: func(cmd *cobra.Command, args []string) error {
			if print {
				_, err := fmt.Fprintln(env.Stdout, secret.Generate().Reveal())
				return err
			}
			home, err := env.home()
			if err != nil {
				return err
			}
			_, err = env.secrets(home).Get(cmd.Context(), args[0])
			switch {
			case err == nil && !force:
				text := bridge.Say("There is a %s already; a web hook that was given it refuses what is signed with another", args[0])
				switch args[0] {
				case bridge.NotifyToken:
					text = bridge.Say("There is a %s already; programs that were given it cannot post any more with another", args[0])
				case bridge.WebhookSecret:
					text = bridge.Say("There is a webhook secret already; a bot that was installed with it stops working with another")
				}
				return &bridge.Error{
					Code: bridge.CodeConflict,
					Text: text,
					Hint: bridge.Say("If that is what you want: perch secret generate %s --force", args[0]),
				}
			case err != nil && bridge.CodeOf(err) != bridge.CodeNotFound:
				return err
			}
			if err := env.storeSecret(cmd, args[0], secret.Generate()); err != nil {
				return err
			}
			if args[0] == bridge.WebhookSecret {
				env.tell(env.Stdout, bridge.Say("Next, the command for your server: perch occ"))
			}
			return nil
		},
	}, secret.Random)
	cmd.Flags().BoolVar(&force, "force", false, "replace the one that is there")
	cmd.Flags().BoolVar(&print, "print", false, "print it instead, and store nothing")
	return cmd
}

func newSecretDelete(env Env) *cobra.Command {
	return env.takesSecret(&cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a secret from the keychain",
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			name, store := args[0], env.secrets(home)
			err = store.Delete(cmd.Context(), name)
			switch variable := store.Status(cmd.Context(), name).Variable; {
			case bridge.CodeOf(err) == bridge.CodeNotFound && variable != "":
				return &bridge.Error{
					Code:  bridge.CodeNotFound,
					Text:  bridge.Say("The keychain has no %s: it comes from the environment variable %s", name, variable),
					Hint:  bridge.Say("Unset %s where Perch is started.", variable),
					Cause: err,
				}
			case bridge.CodeOf(err) == bridge.CodeNotFound:
				return &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("The keychain has no %s", name)}
			case err != nil:
				return err
			}
			env.tell(env.Stdout, bridge.Say("%s is deleted from the system's keychain.", name))
			env.warnOfVariable(store.Status(cmd.Context(), name))
			return config.Touch(home.ConfigFile())
		},
	}, anySecret)
}

func newSecretStatus(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say which secrets there are and where they come from",
		Long: `Say which secrets there are and where they come from. The exit code is 1 if one
that is needed cannot be read or used.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			cfg, _, _ := env.config() // Without it none but the webhook secret is needed.
			names := secretsOf(cfg)
			width := 0
			for _, name := range names {
				width = max(width, len(name))
			}
			bad := false
			for _, name := range names {
				s := env.secrets(home).Status(cmd.Context(), name)
				why := needed(name, cfg)
				_, _ = fmt.Fprintf(env.Stdout, "%-*s  %s\n", width, name, env.say(env.describe(s, why)))
				if why.IsZero() && s.Err != nil {
					if hint := bridge.HintOf(s.Err); !hint.IsZero() {
						_, _ = fmt.Fprintf(env.Stdout, "%-*s  %s\n", width, "", strings.ReplaceAll(sentence(env.say(hint)), "\n", "\n"+strings.Repeat(" ", width+2)))
					}
					bad = bad || bridge.CodeOf(s.Err) != bridge.CodeNotFound
				}
			}
			if bad {
				return errSilent
			}
			return nil
		},
	}
}

// needed returns the zero Text if a configuration needs a secret, else what the
// secret would be for.
func needed(name string, cfg config.Config) bridge.Text {
	switch {
	case name == bridge.WebhookSecret,
		name == bridge.AppToken && cfg.Talk.Voice() == config.User,
		name == bridge.TunnelToken && cfg.Tunnel.Mode == config.TunnelNamed,
		name == bridge.NotifyToken && cfg.Notify.Listen != "":
		return bridge.Text{}
	case name == bridge.AppToken:
		return bridge.Say(`not set; needed for reply_as = "user" alone`)
	case name == bridge.TunnelToken:
		return bridge.Say(`not set; needed for a named tunnel alone`)
	case name == bridge.VoiceToken:
		return bridge.Say("not set; for a server that hears voice messages and asks for a key")
	case name == bridge.NotifyToken:
		return bridge.Say("not set; needed for other programs to post messages alone")
	case strings.HasPrefix(name, bridge.HandlerToken):
		return bridge.Say("not set; for a web hook or a language model that asks for one")
	default:
		return bridge.Say("not set; for a web hook that looks at signatures")
	}
}

// describe says what there is to say of a secret, in a line; unneeded, if it
// is not set and need not be.
func (env Env) describe(s secret.Status, unneeded bridge.Text) bridge.Text {
	switch {
	case s.Length > 0 && s.Err != nil:
		return bridge.Say("%s: %s", env.say(whence(s)), env.say(bridge.TextOf(s.Err)))
	case s.Length > 0:
		if s.Cleaned {
			return bridge.Say("%s, %s characters, without the quotes, the white space or the name around it", env.say(whence(s)), strconv.Itoa(s.Length))
		}
		return bridge.Say("%s, %s characters", env.say(whence(s)), strconv.Itoa(s.Length))
	case !unneeded.IsZero():
		return unneeded
	case bridge.CodeOf(s.Err) == bridge.CodeNotFound:
		return bridge.Say("not set")
	default:
		return bridge.TextOf(s.Err)
	}
}

// whence says where a secret comes from.
func whence(s secret.Status) bridge.Text {
	switch {
	case s.File != "":
		return bridge.Say("in the file %s", s.File)
	case s.Variable != "":
		return bridge.Say("in the environment, as %s", s.Variable)
	}
	return bridge.Say("in the keychain")
}

// storeSecret checks a secret, puts it into the keychain and makes a running
// Perch read it.
func (env Env) storeSecret(cmd *cobra.Command, name string, value bridge.Secret) error {
	value = secret.Normalize(name, value)
	if err := secret.Check(name, value); err != nil {
		return err
	}
	home, err := env.home()
	if err != nil {
		return err
	}
	store := env.secrets(home)
	if err := store.Set(cmd.Context(), name, value); err != nil {
		return err
	}
	env.tell(env.Stdout, bridge.Say("%s is stored in the system's keychain.", name))
	env.warnOfVariable(store.Status(cmd.Context(), name))
	return config.Touch(home.ConfigFile())
}

// warnOfVariable says so if a secret of the environment counts, not the keychain's.
func (env Env) warnOfVariable(s secret.Status) {
	if s.Variable != "" {
		env.tell(env.Stderr, bridge.Say("Mind: %s is set in the environment and is used instead.", s.Variable))
	}
}

// readSecret asks at a terminal, without showing what is typed, or reads
// standard input to its end. A line end after it is not part of the secret.
func (env Env) readSecret(ctx context.Context, name string) (bridge.Secret, error) {
	read, restore := func() ([]byte, error) { return io.ReadAll(io.LimitReader(env.Stdin, maxSecret+2)) }, func() {}
	if f, ok := env.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fd := int(f.Fd())
		before, err := term.GetState(fd)
		if err != nil {
			return bridge.Secret{}, err
		}
		read = func() ([]byte, error) { return term.ReadPassword(fd) }
		restore = func() { _ = term.Restore(fd, before) }
		_, _ = io.WriteString(env.Stderr, env.say(bridge.Say("%s (it is not shown): ", name)))
		defer func() { _, _ = fmt.Fprintln(env.Stderr) }()
	}
	var data []byte
	var err error
	done := make(chan struct{})
	go func() { // ends with the input, at the latest with the process
		defer close(done)
		data, err = read()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		restore()
		return bridge.Secret{}, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("No secret was given")}
	}
	if err != nil && !errors.Is(err, io.EOF) { // which says that nothing was typed
		return bridge.Secret{}, err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if len(text) > maxSecret {
		return bridge.Secret{}, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("What was given is too long for a secret"),
			Hint: bridge.Say("Give the secret alone on standard input."),
		}
	}
	return bridge.NewSecret(text), nil
}
