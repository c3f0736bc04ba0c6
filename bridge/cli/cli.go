// Package cli is the command line: every command of perch, in words that a
// newcomer understands.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	_ "time/tzdata" // a container of this one file has no other

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"perch/assets"
	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/secret"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitKilled  = 130 // as a shell has it for Ctrl-C
)

// Env is what a command may use of its surroundings.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Faces  Faces // nothing: this build has none
	// OnKill is given what a command wants done before the process ends without
	// a clean stop. It may be nil.
	OnKill func(kill func())

	translate func(string) string // nil: English
}

// Process runs the command line of this process and returns its exit code;
// faces can have nothing. The first Ctrl-C, SIGTERM or SIGHUP (the terminal is gone)
// asks the command to stop; the second ends the process, and what it has started,
// at once.
func Process(faces Faces) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var kill atomic.Pointer[func()]
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() { // until the process ends
		<-signals
		stop()
		<-signals
		if kill := kill.Load(); kill != nil {
			(*kill)()
		}
		os.Exit(exitKilled)
	}()
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // it would be printed, and the tunnel works all the same
	return Main(ctx, os.Args[1:], Env{
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Getenv: os.Getenv,
		Faces:  faces,
		OnKill: func(f func()) { kill.Store(&f) },
	})
}

// Main runs one command and returns the exit code: 0 when it did what was
// asked, 1 when it could not, 2 when it did not understand. It returns soon
// after ctx is done.
func Main(ctx context.Context, args []string, env Env) int {
	out := &output{Writer: env.Stdout}
	env.Stdout = out
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // the first that is set counts
		if locale := env.Getenv(name); locale != "" {
			env.translate = assets.Translator(locale)
			break
		}
	}
	root := newRoot(env) //nolint:contextcheck // Its commands get ctx from ExecuteContext.
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if out.err != nil && (err == nil || errors.Is(err, out.err)) {
		err = &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The output cannot be written"), Cause: out.err}
	}
	usage, misunderstood := errors.AsType[usageError](err)
	switch {
	case err == nil:
		return exitOK
	case misunderstood:
		_, _ = fmt.Fprintf(env.Stderr, "perch: %s\n  Try: %s --help\n", oneLine(usage.text), usage.command)
		return exitUsage
	case !errors.Is(err, errSilent):
		env.printError(env.Stderr, err)
	}
	if errors.As(err, new(setUpError)) {
		return exitConfig
	}
	return exitFailure
}

// Command returns the command line, for manual pages and completions to be made
// of. It cannot be executed.
func Command() *cobra.Command {
	return newRoot(Env{Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
}

// say returns a text in the language of the person.
func (env Env) say(t bridge.Text) string { return t.In(env.translate) }

// tell prints a text in the language of the person, on lines of its own.
func (env Env) tell(w io.Writer, t bridge.Text) {
	_, _ = fmt.Fprintln(w, env.say(t))
}

// output is the standard output. It remembers the first error, so that no
// command needs to.
type output struct {
	io.Writer

	aside bool // it is not what the command is for: its errors do not count
	err   error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if o.err == nil && !o.aside {
		o.err = err
	}
	return n, err
}

// errSilent is a failure that was already told.
var errSilent = errors.New("failed")

// usageError is a command line that was not understood.
type usageError struct{ command, text string }

func (e usageError) Error() string { return e.text }

func misuse(cmd *cobra.Command, format string, args ...any) error {
	return usageError{cmd.CommandPath(), fmt.Sprintf(format, args...)}
}

// Groups of commands in the help.
const (
	setUp = "set up"
	use   = "use"
)

func newRoot(env Env) *cobra.Command {
	var hidden bool
	root := &cobra.Command{
		Use:   "perch",
		Short: "Run a Nextcloud Talk bot from a home machine",
		Long: `Perch runs a Nextcloud Talk bot from a home machine: it takes the messages that
Talk sends, keeps them safe, lets a handler answer, and posts the replies.

On a desktop, perch alone opens its window. Everything else is a command:

New here? See it work, without a server:   perch demo
Then connect your own:                     perch setup

A command ends with 0 when it did what was asked, 1 when it could not, and 2
when it did not understand. These environment variables count:

  PERCH_HOME             the folder for all files, in place of the system's own
  PERCH_WEBHOOK_SECRET   in place of the webhook_secret in the keychain
  PERCH_APP_TOKEN        in place of the app_token in the keychain; the others
                         alike, see perch secret --help
  NO_COLOR               any value turns colours off`,
		Version: Version(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && (hidden || env.Faces.Tray != nil && env.hasDisplay()) {
				return env.gui(cmd.Context(), hidden)
			}
			return helpOnly(cmd, args)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.Flags().BoolVar(&hidden, "hidden", false, "show only the tray icon, if there is a tray")
	root.AddGroup(&cobra.Group{ID: setUp, Title: "Set it up:"}, &cobra.Group{ID: use, Title: "Use it:"})
	root.AddCommand(
		newSetup(env), newConfig(env), newSecret(env), newOcc(env),
		newGUI(env), newWindow(env), newRun(env), newStatus(env), newPause(env), newResume(env),
		newDemo(env), newSend(env), newRetry(env), newLog(env),
		newDoctor(env), newChannel(env),
		newVersion(env), newCompletion(env),
	)
	root.SetHelpCommand(newHelp())
	root.SetFlagErrorFunc(wrongFlag)
	root.SetVersionTemplate("perch {{.Version}}\n")
	// A command with commands below does nothing of its own.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.CompletionOptions.DisableDefaultCmd = true
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, cmd := range append(root.Commands(), root) {
		if cmd.HasSubCommands() {
			cmd.Args, cmd.SuggestionsMinimumDistance = cobra.ArbitraryArgs, 2
		}
	}
	return root
}

// helpOnly is what a command does that only has commands below it.
func helpOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return misuse(cmd, "there is no command %q%s", cmd.CommandPath()+" "+args[0], didYouMean(cmd.SuggestionsFor(args[0])))
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say what a command does and takes",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return errors.Join(err, helpOnly(about, rest))
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, c := range about.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// wrongFlag returns what is said of a flag that cannot be parsed. It leaves out
// what else was in the argument: it may be a secret.
func wrongFlag(cmd *cobra.Command, err error) error {
	text, _, _ := strings.Cut(err.Error(), " in -")
	name, unknown := strings.CutPrefix(text, "unknown flag: --")
	if !unknown {
		return misuse(cmd, "%s", text)
	}
	flags := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, match := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
		flags.AddCommand(&cobra.Command{Use: match[1], Run: func(*cobra.Command, []string) {}})
	}
	var near []string
	for _, flag := range flags.SuggestionsFor(name) {
		near = append(near, "--"+flag)
	}
	return misuse(cmd, "there is no flag --%s%s", name, didYouMean(near))
}

func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(names, " or ") + "?"
}

// exactly is the Args of a command that takes the arguments that names lists.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return misuse(cmd, "%s is missing; it is: %s", names[len(args)], strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		case len(args) > len(names) && len(names) == 0:
			return misuse(cmd, "%s takes no arguments", cmd.CommandPath())
		case len(args) > len(names):
			return misuse(cmd, "only %s was expected; what has spaces in it goes in quotes", strings.Join(names, " "))
		}
		return nil
	}
}

// choice is the value of a flag that is one of a few words.
type choice struct {
	value string
	of    []string
}

// addChoice adds a flag that is one of the words; the first by default.
func addChoice(cmd *cobra.Command, name, usage string, words ...string) *choice {
	c := &choice{value: words[0], of: words}
	cmd.Flags().Var(c, name, usage+": "+anyOf(words))
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder))
	return c
}

// String returns the word.
func (c *choice) String() string { return c.value }

// Type returns what stands for the word in the help.
func (c *choice) Type() string { return "WORD" }

// Set chooses a word.
func (c *choice) Set(word string) error {
	if !slices.Contains(c.of, word) {
		return errors.New("it is " + anyOf(c.of))
	}
	c.value = word
	return nil
}

// anyOf returns "a, b or c".
func anyOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func newVersion(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Stdout, "perch", Version())
			return err
		},
	}
}

func newCompletion(env Env) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what makes your shell complete perch's commands",
		Long: `Print a script for your shell: bash, zsh, fish or powershell. With it, the Tab
key completes the commands, flags and names of perch.`,
		Example: `  bash         perch completion bash > ~/.local/share/bash-completion/completions/perch
               (it needs the package bash-completion)
  zsh          perch completion zsh > "${fpath[1]}/_perch"
  fish         perch completion fish > ~/.config/fish/completions/perch.fish
  powershell   perch completion powershell | Out-String | Invoke-Expression`,
		Args:      exactly("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(env.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(env.Stdout)
			case "fish":
				return root.GenFishCompletion(env.Stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(env.Stdout)
			}
			return misuse(cmd, "SHELL is %s, not %q", anyOf(shells), args[0])
		},
	}
}

// home returns where Perch keeps its files.
func (env Env) home() (config.Home, error) { return config.Locate(env.Getenv) }

// config loads the configuration of the home.
func (env Env) config() (config.Config, []config.Problem, error) {
	home, err := env.home()
	if err != nil {
		return config.Config{}, nil, err
	}
	return config.Load(home.ConfigFile())
}

// secrets returns where the secrets of home come from.
func (env Env) secrets(home config.Home) *secret.Store {
	return secret.Open(env.Getenv, home.KeychainService())
}

// colour reports whether the standard output is a terminal, and its colours
// are wanted.
func (env Env) colour() bool {
	w := env.Stdout
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb"
}
