// Package handler has what answers messages.
package handler

import (
	"context"
	"slices"
	"strings"

	"perch/bridge"
)

// Prefix is what a command begins with.
const Prefix = "!"

// Commands answers the built-in commands and says nothing to anything else.
type Commands struct {
	// Status returns the lines that !status answers.
	Status func(ctx context.Context) []string
}

type command struct {
	name, usage, help string
	run               func(c Commands, ctx context.Context, m bridge.Message, rest string) string
}

func commands() []command {
	return []command{
		{"help", "!help", "what I can do", nil},
		{"ping", "!ping", "are you there?", func(Commands, context.Context, bridge.Message, string) string { return "pong" }},
		{"echo", "!echo TEXT", "say TEXT", func(_ Commands, _ context.Context, _ bridge.Message, rest string) string {
			if rest == "" {
				return "Nothing to echo. Try: `!echo hello`"
			}
			return rest
		}},
		{"whoami", "!whoami", "who you are to me", func(_ Commands, _ context.Context, m bridge.Message, _ string) string {
			return "You are " + m.Author.String() + " (`" + m.Author.Ref() + "`) in " + m.Room.String() + " (`" + m.Room.Token + "`)."
		}},
		{"status", "!status", "how I am", func(c Commands, ctx context.Context, _ bridge.Message, _ string) string {
			return strings.Join(c.Status(ctx), "\n")
		}},
	}
}

// Handle implements bridge.Handler.
func (c Commands) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	line, ok := strings.CutPrefix(strings.TrimSpace(m.Text), Prefix)
	if !ok {
		return nil, nil
	}
	name, rest := line, ""
	if i := strings.IndexAny(line, " \t\r\n"); i >= 0 {
		name, rest = line[:i], strings.TrimSpace(line[i:])
	}
	if name == "" || strings.ContainsAny(name[:1], "!?.,") {
		return nil, nil // "!", "!!!", "!?": not a command
	}
	all := commands()
	i := slices.IndexFunc(all, func(known command) bool { return strings.EqualFold(known.name, name) })
	var text string
	switch {
	case i < 0:
		text = "I do not know `!" + strings.ReplaceAll(name, "`", "'") + "`. Try `!help`."
	case all[i].run == nil:
		text = help(all)
	default:
		text = all[i].run(c, ctx, m, rest)
	}
	return []bridge.Reply{{Text: text}}, nil
}

func help(all []command) string {
	var b strings.Builder
	for _, c := range all {
		b.WriteString("- `" + c.usage + "` – " + c.help + "\n")
	}
	return strings.TrimSpace(b.String())
}
