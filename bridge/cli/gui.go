package cli

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"

	"perch/assets"
	"perch/bridge"
	"perch/bridge/control"
)

// Window opens the window on a bot and keeps both running until the person
// quits or ctx is done. It is called on the main goroutine. translate is nil
// for English; hidden asks for the tray alone.
type Window func(ctx context.Context, bot control.Options, translate func(string) string, hidden bool) error

func newGUI(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gui",
		Short: "Open the window: settings, live log, doctor and practice",
		Long: `Open the window: settings, live log, doctor and practice. The bot runs as long as
Perch does, also when the window is closed into the tray. perch without a command
does the same where there is a display.`,
		GroupID: use,
		Args:    exactly(),
	}
	hidden := cmd.Flags().Bool("hidden", false, "show only the tray icon, if there is a tray")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return env.gui(cmd.Context(), *hidden) }
	return cmd
}

func (env Env) gui(ctx context.Context, hidden bool) error {
	if env.Window == nil || !env.hasDisplay() {
		return &bridge.Error{
			Code: bridge.CodeUnavailable,
			Text: bridge.Say("There is no display to open a window on"),
			Hint: bridge.Say("Without a window Perch runs with: perch run"),
		}
	}
	home, err := env.home()
	if err != nil {
		return err
	}
	defer env.outliveOutput()()
	translate := env.translate
	if cfg, _, err := env.config(); err == nil && cfg.Window.Language != "" {
		translate = assets.Translator(cfg.Window.Language)
	}
	return env.Window(ctx, control.Options{Home: home, Secrets: env.secrets(home), Version: Version(), Getenv: env.Getenv, OnKill: env.OnKill}, translate, hidden)
}

// hasDisplay reports whether a window can be opened, as far as the environment
// tells.
func (env Env) hasDisplay() bool {
	return runtime.GOOS == "windows" || runtime.GOOS == "darwin" ||
		env.Getenv("DISPLAY") != "" || env.Getenv("WAYLAND_DISPLAY") != ""
}
