package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/secret"
)

func newConfig(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Begin, look at, check or import the configuration",
		Long: `Begin, look at, check or import the configuration, config.toml. Each key in it
has a comment that says what it is for. A running Perch takes over what you
change there as soon as you save it.`,
		GroupID: setUp,
		RunE:    helpOnly,
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
					env.tell(env.Stdout, bridge.Say("The configuration is in order."))
					return nil
				}
				env.tell(env.Stdout, bridge.Say("The configuration can be used. Mind this:"))
				env.printProblems(env.Stdout, problems)
				return nil
			},
		},
	)
	return cmd
}

func newConfigInit(env Env) *cobra.Command {
	var allow []string
	cmd := &cobra.Command{
		Use:     "init SERVER-URL --allow USER-ID",
		Short:   "Begin a configuration for your server",
		Example: "  perch config init https://cloud.example.com --allow alice --allow bob",
		Args:    exactly("SERVER-URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			if err := vacant(home.ConfigFile(), bridge.Say("Edit that file; perch config check says whether it is in order.")); err != nil {
				return err
			}
			cfg := config.Default()
			cfg.Talk.BaseURL, cfg.Talk.AllowedUsers = args[0], allow
			if _, err := cfg.Validate(); err != nil {
				return misuse(cmd, "%s", wrongInit(err))
			}
			server, _ := config.ParseServer(args[0])
			if server.Guessed {
				env.tell(env.Stderr, bridge.Say("%[1]s is taken as %[2]s", args[0], server.URL))
			}
			if server.Room != "" {
				env.tell(env.Stderr, bridge.Say("The token of that conversation is %s.", server.Room))
			}
			if _, err := config.Save(home.ConfigFile(), cfg); err != nil {
				return err
			}
			_, problems, err := config.Load(home.ConfigFile())
			if err != nil {
				return err
			}
			env.printProblems(env.Stderr, problems)
			env.tell(env.Stdout, bridge.Say("The settings for %s are written to %s", cfg.Talk.BaseURL, home.ConfigFile()))
			key, err := env.secrets(home).Get(cmd.Context(), bridge.WebhookSecret)
			if err != nil {
				env.tell(env.Stdout, bridge.Say("Next, the webhook secret:\n%s").With(key.HowTo(bridge.WebhookSecret)))
				return nil //nolint:nilerr // it is the next thing to do
			}
			env.tell(env.Stdout, bridge.Say("Next: perch doctor"))
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "answer the Nextcloud user `USER-ID`; can be given again")
	return cmd
}

// vacant returns an error if there is a configuration already.
func vacant(file string, hint bridge.Text) error {
	if _, err := os.Lstat(file); err != nil {
		return nil //nolint:nilerr // Whatever else is wrong, writing the file will say.
	}
	return &bridge.Error{Code: bridge.CodeConflict, Text: bridge.Say("There is a configuration already: %s", file), Hint: hint}
}

// wrongInit returns what is wrong with the arguments of config init.
func wrongInit(err error) string {
	invalid, ok := errors.AsType[*config.InvalidError](err)
	if !ok {
		return err.Error()
	}
	p := invalid.Problems[0]
	if p.Key != config.KeyServer {
		return "--allow " + p.Text.String()
	}
	return "SERVER-URL " + p.Text.String()
}

func newConfigImport(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Take over the settings of PRX or ZeroClaw, and move secrets to the keychain",
		Long: `Take over the table of Nextcloud Talk from the config.toml of PRX or ZeroClaw.
Secrets in it go to the system's keychain, never to Perch's own file. FILE is
not changed, unless it is Perch's own config.toml with secrets in it: then they
are moved out of it, and it is written anew.

It is all or nothing: if a secret cannot be stored, nothing is written. On a
server without a keychain, set the same secrets in the environment first, see
perch secret --help.`,
		Args: exactly("FILE"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: env.importConfig,
	}
}

// maxImport bounds what is read of a file to be imported.
const maxImport = 1 << 20

func (env Env) importConfig(cmd *cobra.Command, args []string) error {
	ctx, file := cmd.Context(), args[0]
	home, err := env.home()
	if err != nil {
		return err
	}
	data, err := readFile(file)
	if err != nil {
		return &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("%s cannot be read", file), Cause: err}
	}
	own := sameFile(file, home.ConfigFile())
	if !own {
		err = vacant(home.ConfigFile(), bridge.Say("Move it away first if it is to be replaced."))
	} else if err = onlySecretsWrong(file, data); errors.Is(err, errInOrder) {
		env.tell(env.Stdout, bridge.Say("There is nothing to move: %s is in order and holds no secrets.", file))
		return nil
	}
	if err != nil {
		return err
	}
	imported, err := config.Import(file, data)
	if err != nil {
		return err
	}
	store := env.secrets(home)
	stored, err := env.storeImported(ctx, store, file, imported.Secrets)
	if err != nil {
		return err
	}
	kept, err := config.Save(home.ConfigFile(), imported.Config)
	if err != nil {
		return errors.Join(err, forget(ctx, store, stored))
	}
	if own && kept != "" { // all of it was taken over, and it holds the secrets
		if err := os.Remove(kept); err != nil {
			return &bridge.Error{
				Code:  bridge.CodeUnavailable,
				Text:  bridge.Say("The old configuration with the secrets in it cannot be removed"),
				Hint:  bridge.Say("Remove it: %s", "rm "+shellQuote(kept)),
				Cause: err,
			}
		}
	}
	for i, note := range imported.Notes {
		if note.Secret != "" {
			imported.Notes[i].Hint = store.HowTo(ctx, note.Secret)
		}
	}
	env.printProblems(env.Stderr, imported.Notes)
	env.tell(env.Stdout, bridge.Say("The settings of [%s] are written to %s", imported.Table, home.ConfigFile()))
	if !own && len(imported.Secrets) > 0 {
		env.tell(env.Stdout, bridge.Say("%s still holds the secrets; remove them there when the other program no longer needs them.", file))
	}
	return nil
}

// storeImported puts secrets into the keychain, all or none, but for those that
// are found already. It returns which it stored.
func (env Env) storeImported(ctx context.Context, store *secret.Store, file string, secrets map[string]bridge.Secret) (stored []string, err error) {
	var missing []string
	names := slices.Sorted(maps.Keys(secrets))
	for _, name := range names {
		secrets[name] = secret.Normalize(name, secrets[name])
		there, err := store.Get(ctx, name)
		switch {
		case bridge.CodeOf(err) == bridge.CodeNotFound:
			missing = append(missing, name)
		case err != nil:
			return nil, notImported(file, name, err)
		case there.Reveal() != secrets[name].Reveal():
			return nil, otherSecret(file, store.Status(ctx, name))
		}
	}
	for _, name := range missing {
		if err := store.Set(ctx, name, secrets[name]); err != nil {
			return nil, errors.Join(notImported(file, name, err), forget(ctx, store, stored))
		}
		stored = append(stored, name)
	}
	for _, name := range names {
		text := bridge.Say("%s is stored in the system's keychain.", name)
		if !slices.Contains(stored, name) {
			text = bridge.Say("%s is already %s.", name, env.say(whence(store.Status(ctx, name))))
		}
		env.tell(env.Stdout, text)
		if err := secret.Check(name, secrets[name]); err != nil {
			env.tell(env.Stderr, bridge.Say("Mind: %s", oneLine(env.say(bridge.TextOf(err)))))
		}
	}
	return stored, nil
}

// forget takes secrets out of the keychain again.
func forget(ctx context.Context, store *secret.Store, names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, store.Delete(context.WithoutCancel(ctx), name))
	}
	return errors.Join(errs...)
}

// notImported says that nothing was imported because of one secret.
func notImported(file, name string, err error) error {
	return &bridge.Error{
		Code:  bridge.CodeOf(err),
		Text:  bridge.Say("Nothing was imported: the %s in %s cannot be moved to the keychain", name, file),
		Hint:  bridge.HintOf(err),
		Cause: err,
	}
}

// otherSecret says that nothing was imported because there is another secret
// by that name.
func otherSecret(file string, s secret.Status) error {
	hint := bridge.Say("If the one in the file is right, delete the other first: perch secret delete %s", s.Name)
	switch {
	case s.File != "":
		hint = bridge.Say("If the one in the file is right, write it into %s first", s.File)
	case s.Variable != "":
		hint = bridge.Say("If the one in the file is right, unset %s first", s.Variable)
	}
	return &bridge.Error{
		Code: bridge.CodeConflict,
		Text: bridge.Say("Nothing was imported: the %s in %s is not the one %s", s.Name, file, whence(s).String()),
		Hint: hint,
	}
}

// errInOrder is a configuration that nothing is wrong with.
var errInOrder = errors.New("in order")

// onlySecretsWrong returns nil if nothing but secrets keep Perch from using its
// own configuration, so that nothing is lost when it is written anew.
func onlySecretsWrong(file string, data []byte) error {
	_, _, err := config.Parse(file, data)
	if err == nil {
		return errInOrder
	}
	invalid, ok := errors.AsType[*config.InvalidError](err)
	if !ok {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(invalid.Problems), func(p config.Problem) bool { return p.Secret != "" })
	if len(others) == 0 {
		return nil
	}
	others[len(others)-1].Hint = bridge.Say("Mend this first, or move the file and import it from there: mv %[1]s %[1]s.old; perch config import %[1]s.old", shellQuote(file))
	return &config.InvalidError{Problems: others}
}

func readFile(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxImport+1))
	if len(data) > maxImport {
		return nil, errors.New("too big to be a settings file")
	}
	return data, err
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
