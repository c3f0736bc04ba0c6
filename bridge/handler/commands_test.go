package handler_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/handler"
)

func status(context.Context) []string { return []string{"fine", "thanks"} }

// told returns what c answers to a text; empty for nothing.
func told(t *testing.T, c *handler.Commands, text string) string {
	t.Helper()
	replies, err := c.Handle(t.Context(), bridge.Message{
		Text:       text,
		Author:     bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: "*Alice* {text}"},
		Room:       bridge.Room{Token: "knzaftd5", Name: "Kitchen"},
		ReceivedAt: time.Date(2026, 11, 22, 18, 5, 0, 0, time.Local),
	})
	if err != nil || len(replies) > 1 {
		t.Fatalf("replies %+v, error %v", replies, err)
	}
	if len(replies) == 0 {
		return ""
	}
	return replies[0].Text
}

func TestCommands(t *testing.T) {
	c := handler.NewCommands(config.DefaultHandler(config.Commands), status)
	tests := []struct {
		name, say, want string // want "": no reply
	}{
		{"ping", "ping", "pong"},
		{"in any case, with space around", " \nPiNg \t", "pong"},
		{"with more behind it", "ping please", "pong"},
		{"echo", "echo  two  spaces\nand a line ", "two  spaces\nand a line"},
		{"echo on the next line", "echo\nhello", "hello"},
		{"echo of a command", "echo !ping", "!ping"},
		{"echo of nothing", "echo", "Nothing to echo. Try: `!echo hello`"},
		{"who am I", "whoami", "You are *Alice* {text} (`users/alice`) in Kitchen (`knzaftd5`)."},
		{"status", "status", "fine\nthanks"},
		{"unknown", "nonsense", "I do not know `!nonsense`. Try `!help`."},
		{"unknown, with an accent grave", "a`b", "I do not know `!a'b`. Try `!help`."},
		{"nothing", " ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := told(t, c, tt.say); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOwnCommands(t *testing.T) {
	h := config.DefaultHandler(config.Commands)
	h.Commands = []config.Command{
		{Name: "Who", Help: "who you are", Reply: "{author} ({author_id}) in {room}, {date} {time}: {text} {what}"},
		{Name: "ping", Help: "table tennis", Reply: "ping {text}"},
		{Name: "HELP", Help: "none", Reply: "no"},
		{Name: "quiet"},
	}
	c := handler.NewCommands(h, status)
	for say, want := range map[string]string{
		"who {room} is": "*Alice* {text} (alice) in Kitchen, 2026-11-22 18:05: {room} is {what}",
		"PING":          "ping ",
		"quiet":         "",
		"echo still":    "still",
	} {
		if got := told(t, c, say); got != want {
			t.Errorf("%s: %q, want %q", say, got, want)
		}
	}
	help := told(t, c, "help")
	want := "- `!help` – what I can do\n- `!ping TEXT` – table tennis\n- `!echo TEXT` – say TEXT\n" +
		"- `!whoami` – who you are to me\n- `!status` – how I am\n- `!Who TEXT` – who you are\n- `!quiet`"
	if help != want {
		t.Errorf("help:\n%s\nwant:\n%s", help, want)
	}
}

func TestCommandsAreNamedAsTheyAreCalled(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(h *config.Handler)
		want   string
	}{
		{"prefix", func(h *config.Handler) { h.Prefix = "/" }, "`/ping`"},
		{"word", func(h *config.Handler) { h.Prefix = "bot" }, "`bot ping`"},
		{"name", func(h *config.Handler) { h.Trigger = config.OnMention }, "`Perch, ping`"},
		{"no name", func(h *config.Handler) { h.Trigger, h.Names = config.OnMention, nil }, "`ping`"},
		{"all", func(h *config.Handler) { h.Trigger = config.OnAll }, "`ping`"},
	} {
		h := config.DefaultHandler(config.Commands)
		tt.change(&h)
		if got := told(t, handler.NewCommands(h, status), "help"); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s is not in:\n%s", tt.name, tt.want, got)
		}
	}
}

func TestCommandsAmongAllMessages(t *testing.T) {
	h := config.DefaultHandler(config.Commands)
	h.Trigger = config.OnAll
	c := handler.NewCommands(h, status)
	if got := told(t, c, "ping"); got != "pong" {
		t.Errorf("a command: %q", got)
	}
	if got := told(t, c, "good morning"); got != "" {
		t.Errorf("no command: %q", got)
	}
}
