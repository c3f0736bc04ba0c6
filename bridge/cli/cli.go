// Package cli is the command line: every command of perch, in words that a
// newcomer understands.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/secret"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// Env is what a command may use of its surroundings.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
}

// Main runs one command and returns the exit code: 0 when it did what was
// asked, 1 when it could not, 2 when it did not understand. It returns soon
// after ctx is done.
func Main(ctx context.Context, args []string, env Env) int {
	root := newRoot(env)
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var usage usageError
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintf(env.Stderr, "perch: %v\nTry: perch --help\n", err)
		return exitUsage
	}
	if !errors.Is(err, errSilent) {
		printError(env.Stderr, err)
	}
	return exitFailure
}

// errSilent is a failure that was already told.
var errSilent = errors.New("failed")

// usageError is a command line that was not understood.
type usageError struct{ error }

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "perch",
		Short: "Run a Nextcloud Talk bot from a home machine",
		Long: `Perch runs a Nextcloud Talk bot from a home machine: it takes the messages that
Talk sends, keeps them safe, lets a handler answer, and posts the replies.

New here? See it work, without a server:   perch demo
Then connect your own:                     perch config init https://cloud.example.com --allow YOU`,
		Version:       Version(),
		Args:          unknownCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetVersionTemplate("perch {{.Version}}\n")
	root.AddCommand(
		newRun(env), newDemo(env), newSend(env), newRetry(env), newLog(env),
		newConfig(env), newSecret(env), newOcc(env), newVersion(),
	)
	return root
}

// unknownCommand is the Args of a command that only has subcommands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

// exactly is the Args of a command that takes the arguments that names lists.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		if len(names) == 0 {
			return usageError{fmt.Errorf("%s takes no argument", cmd.CommandPath())}
		}
		return usageError{fmt.Errorf("it is: %s %s", cmd.CommandPath(), strings.Join(names, " "))}
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "perch", Version())
			return err
		},
	}
}

// Version returns the version of this build: the module's, or the commit it
// was built from, or "dev".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

// home returns where Perch keeps its files.
func (env Env) home() (config.Home, error) { return config.Locate(env.Getenv) }

// secrets returns where the secrets of home come from.
func (env Env) secrets(home config.Home) *secret.Store {
	return secret.Open(env.Getenv, home.KeychainService())
}

// terminal reports whether w is a terminal, and its colours are wanted.
func (env Env) colour(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb"
}

// printError prints an error for a person: what happened, why, and what to do.
func printError(w io.Writer, err error) {
	var invalid *config.InvalidError
	if errors.As(err, &invalid) {
		printProblems(w, invalid.Problems)
		return
	}
	text := bridge.TextOf(err).String()
	_, _ = fmt.Fprintf(w, "perch: %s\n", text)
	if cause := errors.Unwrap(err); cause != nil && bridge.CodeOf(err) != bridge.CodeNotFound && !strings.Contains(text, cause.Error()) {
		_, _ = fmt.Fprintf(w, "  %s\n", cause)
	}
	if hint := bridge.HintOf(err); !hint.IsZero() {
		_, _ = fmt.Fprintf(w, "  %s\n", hint)
	}
}

func printProblems(w io.Writer, problems []config.Problem) {
	for _, p := range problems {
		_, _ = fmt.Fprintln(w, p)
		if !p.Hint.IsZero() {
			_, _ = fmt.Fprintf(w, "  %s\n", p.Hint)
		}
	}
}
