package cli

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"

	"perch/assets"
	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/control"
)

// Faces open what a person sees of a bot on a desktop. They are called on the
// main goroutine, and return when the person is done or ctx is.
type Faces struct {
	// Tray has a bot in the tray, and runs it unless another process does.
	Tray func(ctx context.Context, bot control.Options, f Face) error
	// Window is the window of a bot that another process runs.
	Window func(ctx context.Context, w WindowOptions, f Face) error
}

// Face is how it is seen.
type Face struct {
	Translate func(string) string // nil: English
	Hidden    bool                // in the tray alone
}

// WindowOptions say what a window shows.
type WindowOptions struct {
	Home    config.Home
	Socket  string // of the bot; empty: that of the home
	Version string
	Show    string // what of it, as a word of package session
}

func newGUI(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gui",
		Short: "Open the window: settings, live log, doctor and practice",
		Long: `Open the window: settings, live log, doctor and practice, with an icon in the
tray. If Perch is running, they show what runs; otherwise the bot runs as long as
the icon is there, also when the window is closed. perch without a command does
the same where there is a display.`,
		GroupID: use,
		Args:    exactly(),
	}
	hidden := cmd.Flags().Bool("hidden", false, "show only the tray icon, if there is a tray")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return env.gui(cmd.Context(), *hidden) }
	return cmd
}

func (env Env) gui(ctx context.Context, hidden bool) error {
	home, face, err := env.face()
	if err != nil {
		return err
	}
	defer env.outliveOutput()()
	face.Hidden = hidden
	return env.Faces.Tray(ctx, control.Options{Home: home, Secrets: env.secrets(home), Version: Version(), Getenv: env.Getenv, OnKill: env.OnKill}, face)
}

func newWindow(env Env) *cobra.Command {
	w := WindowOptions{Version: Version()}
	cmd := &cobra.Command{
		Use:   "window",
		Short: "Open a window on a Perch that runs, here or elsewhere",
		Long: `Open a window on a Perch that runs: perch run, or the icon in the tray, which
opens its window in this way. Closing the window ends this command alone. While
Perch does not run, the window waits for it.

With --socket it shows a Perch that keeps its files elsewhere. One of another
machine is brought here by ssh:

  ssh -N -L /tmp/pi.sock:/home/pi/.local/share/perch/perch.sock pi
  perch window --socket /tmp/pi.sock

Both have to be of the same version.`,
		GroupID: use,
		Args:    exactly(),
	}
	cmd.Flags().StringVar(&w.Socket, "socket", "", "the `PATH` of the socket of another Perch")
	_ = cmd.RegisterFlagCompletionFunc("socket", cobra.NoFileCompletions)
	cmd.Flags().StringVar(&w.Show, "show", "raise", "what the window shows first")
	_ = cmd.Flags().MarkHidden("show") // the tray uses it
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		var face Face
		if w.Home, face, err = env.face(); err != nil {
			return err
		}
		defer env.outliveOutput()()
		return env.Faces.Window(cmd.Context(), w, face)
	}
	return cmd
}

// face returns the home, and how a person sees it, where there is a display.
func (env Env) face() (config.Home, Face, error) {
	if env.Faces.Tray == nil || !env.hasDisplay() {
		return config.Home{}, Face{}, &bridge.Error{
			Code: bridge.CodeUnavailable,
			Text: bridge.Say("There is no display to open a window on"),
			Hint: bridge.Say("Without a window Perch runs with: perch run"),
		}
	}
	home, err := env.home()
	f := Face{Translate: env.translate}
	if cfg, _, err := env.config(); err == nil && cfg.Window.Language != "" {
		f.Translate = assets.Translator(cfg.Window.Language)
	}
	return home, f, err
}

// hasDisplay reports whether a window can be opened, as far as the environment
// tells.
func (env Env) hasDisplay() bool {
	return runtime.GOOS == "windows" || runtime.GOOS == "darwin" ||
		env.Getenv("DISPLAY") != "" || env.Getenv("WAYLAND_DISPLAY") != ""
}
