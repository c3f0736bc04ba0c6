//go:build !headless && !linux

package tray

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// host is the desktop around the tray. It always shows tray icons.
type host struct{ log *slog.Logger }

func openHost(_ context.Context, log *slog.Logger) *host { return &host{log} }

func (*host) close() {}

func (*host) awaitIcon(context.Context) {}

func (*host) gone() <-chan struct{} { return nil }

func (*host) hasTray(context.Context) bool { return true }

func (*host) watchTray(_ context.Context, changed func(bool)) { changed(true) }

// The text comes in the environment, so that nothing in it is taken for a part of
// the script.
const (
	onMac     = `display notification (system attribute "PERCH_BODY") with title (system attribute "PERCH_TITLE")`
	onWindows = `[Windows.UI.Notifications.ToastNotificationManager, Windows.UI.Notifications, ContentType = WindowsRuntime] > $null
$toast = [xml] [Windows.UI.Notifications.ToastNotificationManager]::GetTemplateContent([Windows.UI.Notifications.ToastTemplateType]::ToastText02).GetXml()
$toast.GetElementsByTagName("text")[0].AppendChild($toast.CreateTextNode($env:PERCH_TITLE)) > $null
$toast.GetElementsByTagName("text")[1].AppendChild($toast.CreateTextNode($env:PERCH_BODY)) > $null
$xml = New-Object Windows.Data.Xml.Dom.XmlDocument
$xml.LoadXml($toast.OuterXml)
[Windows.UI.Notifications.ToastNotificationManager]::CreateToastNotifier("Perch").Show([Windows.UI.Notifications.ToastNotification]::new($xml))`
	notifyTimeout = 15 * time.Second
)

// notify shows a notification.
func (h *host) notify(ctx context.Context, title, body string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "osascript", "-e", onMac)
	if runtime.GOOS == "windows" {
		cmd = exec.CommandContext(ctx, "powershell", "-NoProfile", "-NonInteractive", "-WindowStyle", "Hidden", "-Command", onWindows)
	}
	cmd.Env = append(os.Environ(), "PERCH_TITLE="+title, "PERCH_BODY="+body)
	if err := cmd.Run(); err != nil {
		h.log.InfoContext(ctx, "the notification was not shown", "error", err)
	}
}
