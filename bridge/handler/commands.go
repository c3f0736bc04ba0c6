// Package handler has what answers messages.
package handler

import (
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
	"perch/bridge/config"
)

// Prefix is what a command to Perch itself begins with, unless the settings say
// otherwise.
const Prefix = "!"

// Commands answers the built-in commands and the user's own. A message is the
// name of a command and what it is given: Router takes off the prefix. Where
// every message is a command, it says nothing to one that is none.
type Commands struct {
	config   config.Handler
	status   func(ctx context.Context) []string
	commands []command
}

type command struct {
	name, takes, help string
	run               func(ctx context.Context, m bridge.Message, rest string) string
}

// NewCommands returns a Commands with the given settings. status returns the
// lines that the command status answers.
func NewCommands(h config.Handler, status func(ctx context.Context) []string) *Commands {
	c := &Commands{config: h, status: status}
	c.commands = c.builtIn()
	for _, own := range h.Commands {
		next := command{name: own.Name, help: own.Help, run: func(_ context.Context, m bridge.Message, rest string) string {
			return fill(own.Reply, m, rest)
		}}
		if strings.Contains(own.Reply, "{text}") {
			next.takes = "TEXT"
		}
		switch i := c.find(own.Name); {
		case i < 0:
			c.commands = append(c.commands, next)
		case i > 0: // help is the first, and stays: it is how all others are found
			c.commands[i] = next
		}
	}
	return c
}

func (c *Commands) builtIn() []command {
	return []command{
		{"help", "", "what I can do", func(context.Context, bridge.Message, string) string { return c.help() }},
		{"ping", "", "are you there?", func(context.Context, bridge.Message, string) string { return "pong" }},
		{"echo", "TEXT", "say TEXT", func(_ context.Context, _ bridge.Message, rest string) string {
			if rest == "" {
				return "Nothing to echo. Try: " + code(c.call("echo hello"))
			}
			return rest
		}},
		{"whoami", "", "who you are to me", func(_ context.Context, m bridge.Message, _ string) string {
			return "You are " + m.Author.String() + " (" + code(m.Author.Ref()) + ") in " + m.Room.String() + " (" + code(m.Room.Token) + ")."
		}},
		{"status", "", "how I am", func(ctx context.Context, _ bridge.Message, _ string) string {
			return strings.Join(c.status(ctx), "\n")
		}},
	}
}

// find returns the index of a command, or -1.
func (c *Commands) find(name string) int {
	return slices.IndexFunc(c.commands, func(known command) bool { return strings.EqualFold(known.name, name) })
}

// Handle implements bridge.Handler.
func (c *Commands) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	name, rest := strings.TrimSpace(m.Text), ""
	if i := strings.IndexFunc(name, unicode.IsSpace); i >= 0 {
		name, rest = name[:i], strings.TrimSpace(name[i:])
	}
	i := c.find(name)
	switch {
	case i >= 0:
		return []bridge.Reply{{Text: c.commands[i].run(ctx, m, rest)}}, nil
	case name == "" || c.config.Asked() == config.OnAll:
		return nil, nil
	default:
		return []bridge.Reply{{Text: "I do not know " + code(c.call(name)) + ". Try " + code(c.call("help")) + "."}}, nil
	}
}

// call returns what to write to give a command.
func (c *Commands) call(line string) string {
	switch c.config.Asked() {
	case config.OnPrefix:
		if last, _ := utf8.DecodeLastRuneInString(c.config.Prefix); isWord(last) {
			return c.config.Prefix + " " + line
		}
		return c.config.Prefix + line
	case config.OnMention:
		if len(c.config.Names) > 0 {
			return c.config.Names[0] + ", " + line
		}
	case config.OnAll, config.OnAddressed:
	}
	return line
}

func (c *Commands) help() string {
	lines := make([]string, 0, len(c.commands))
	for _, known := range c.commands {
		line := "- " + code(strings.TrimSpace(c.call(known.name)+" "+known.takes))
		if known.help != "" {
			line += " – " + known.help
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// fill puts what is known of a message into the reply of a user's own command.
// What it puts in is not looked at again.
func fill(reply string, m bridge.Message, rest string) string {
	now := m.ReceivedAt.Local()
	return strings.NewReplacer(
		"{text}", rest,
		"{author}", m.Author.String(),
		"{author_id}", m.Author.ID,
		"{room}", m.Room.String(),
		"{date}", now.Format("2006-01-02"),
		"{time}", now.Format("15:04"),
	).Replace(reply)
}

// code returns s as code in Markdown.
func code(s string) string { return "`" + strings.ReplaceAll(s, "`", "'") + "`" }
