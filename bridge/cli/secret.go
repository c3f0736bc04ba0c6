package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
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
  app_token        app password of the user that Perch replies as, if reply_as = "user"

On a server without a keychain, set them in the environment instead:
PERCH_WEBHOOK_SECRET and PERCH_APP_TOKEN.`,
		Args: unknownCommand,
	}
	cmd.AddCommand(newSecretSet(env), newSecretDelete(env), newSecretGenerate(env), newSecretStatus(env))
	for _, sub := range cmd.Commands() {
		sub.ValidArgs = secret.Names()
	}
	return cmd
}

func newSecretSet(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME",
		Short: "Store a secret that is read from standard input",
		Example: `  perch secret set webhook_secret          asks for it
  perch secret set app_token < file        reads it`,
		Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := env.readSecret(args[0])
			if err != nil {
				return err
			}
			return env.storeSecret(cmd, args[0], value)
		},
	}
}

func newSecretGenerate(env Env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "generate webhook_secret",
		Short: "Make a new webhook secret and store it",
		Args:  exactly("webhook_secret"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != bridge.WebhookSecret {
				return usageError{fmt.Errorf("only webhook_secret can be made here; %s comes from your server", args[0])}
			}
			home, err := env.home()
			if err != nil {
				return err
			}
			if _, err := env.secrets(home).Get(cmd.Context(), args[0]); err == nil && !force {
				return &bridge.Error{
					Code: bridge.CodeConflict,
					Text: bridge.Say("There is a webhook secret already; a bot that was installed with it stops working with another"),
					Hint: bridge.Say("If that is what you want: perch secret generate webhook_secret --force"),
				}
			}
			if err := env.storeSecret(cmd, args[0], secret.Generate()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, "Next, the command for your server: perch occ")
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the one that is there")
	return cmd
}

func newSecretDelete(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a secret from the keychain",
		Args:  exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			if err := env.secrets(home).Delete(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s is deleted from the keychain.\n", args[0])
			return errors.Join(err, config.Touch(home.ConfigFile()))
		},
	}
}

func newSecretStatus(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say which secrets there are and where they come from",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			bad := false
			for _, name := range secret.Names() {
				s := env.secrets(home).Status(cmd.Context(), name)
				_, _ = fmt.Fprintf(env.Stdout, "%-15s %s\n", name, describe(s))
				if s.Err != nil {
					if hint := bridge.HintOf(s.Err); !hint.IsZero() {
						_, _ = fmt.Fprintf(env.Stdout, "%-15s %s\n", "", hint)
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

// describe says what there is to say of a secret, in a line.
func describe(s secret.Status) string {
	from := "in the keychain"
	if s.Variable != "" {
		from = "in the environment, as " + s.Variable
	}
	switch {
	case bridge.CodeOf(s.Err) == bridge.CodeNotFound:
		return "not set"
	case s.Length == 0:
		return bridge.TextOf(s.Err).String()
	case s.Err != nil:
		return from + ": " + bridge.TextOf(s.Err).String()
	}
	return from + ", " + strconv.Itoa(s.Length) + " characters"
}

// storeSecret checks a secret, puts it into the keychain and makes a running
// Perch read it.
func (env Env) storeSecret(cmd *cobra.Command, name string, value bridge.Secret) error {
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
	_, _ = fmt.Fprintf(env.Stdout, "%s is stored in the system's keychain.\n", name)
	if variable := store.Status(cmd.Context(), name).Variable; variable != "" {
		_, _ = fmt.Fprintf(env.Stderr, "Mind: %s is set in the environment and is used instead.\n", variable)
	}
	return config.Touch(home.ConfigFile())
}

// readSecret asks at a terminal, without showing what is typed, or reads
// standard input to its end. A line end after it is not part of the secret.
func (env Env) readSecret(name string) (bridge.Secret, error) {
	var data []byte
	var err error
	if f, ok := env.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprintf(env.Stderr, "%s (it is not shown): ", name)
		data, err = term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(env.Stderr)
	} else {
		data, err = io.ReadAll(io.LimitReader(env.Stdin, maxSecret+2))
	}
	if err != nil {
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
