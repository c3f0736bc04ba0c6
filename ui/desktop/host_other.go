//go:build !headless && !linux

package desktop

import (
	"context"
	"log/slog"

	"fyne.io/fyne/v2"
)

// host is the desktop around the window. It always shows tray icons.
type host struct{}

func openHost(context.Context, *slog.Logger) *host { return &host{} }

func (*host) close() {}

func (*host) awaitIcon() {}

func (*host) hasTray(context.Context) bool { return true }

func (*host) watchTray(_ context.Context, changed func(bool)) { changed(true) }

func (*host) notify(_ context.Context, app fyne.App, title, body string) {
	app.SendNotification(fyne.NewNotification(title, body))
}
