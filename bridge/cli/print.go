package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"perch/bridge"
)

// printer prints events.
type printer interface{ print(e bridge.Event) }

// printer returns a printer of the given format to standard output. It leaves
// out what is below level.
func (env Env) printer(format string, level slog.Level) (printer, error) {
	switch format {
	case "text":
		return textPrinter{w: env.Stdout, level: level, colour: env.colour(env.Stdout)}, nil
	case "json":
		return jsonPrinter{slog.NewJSONHandler(env.Stdout, &slog.HandlerOptions{Level: level})}, nil
	}
	return nil, usageError{fmt.Errorf("--log-format is text or json, not %q", format)}
}

// textPrinter prints an event as a line for a person, and below it the reason
// and what to do, if it is a problem.
type textPrinter struct {
	w      io.Writer
	level  slog.Level
	colour bool
}

// Escape sequences.
const (
	reset  = "\x1b[0m"
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	green  = "\x1b[32m"
)

func (p textPrinter) print(e bridge.Event) {
	if e.Level < p.level {
		return
	}
	glyph, colour := " ", ""
	switch {
	case e.Level >= slog.LevelError:
		glyph, colour = "✕", red
	case e.Level >= slog.LevelWarn:
		glyph, colour = "!", yellow
	case e.Stage == bridge.StageIntake && e.Text != "":
		glyph = "→"
	case e.Stage == bridge.StageSender && e.Text != "":
		glyph, colour = "←", green
	}
	var b strings.Builder
	b.WriteString(p.paint(dim, e.Time.Local().Format(time.TimeOnly)))
	b.WriteString("  " + p.paint(colour, glyph) + " ")
	if e.Level < slog.LevelWarn && (glyph == "→" || glyph == "←") {
		b.WriteString(p.paint(bold, printable(e.Room.String())) + "  ")
		if glyph == "→" {
			b.WriteString(printable(e.Actor.String()) + ": ")
		}
		b.WriteString(printable(e.Text))
		if e.Duration > 0 {
			b.WriteString(p.paint(dim, "  "+e.Duration.Round(time.Millisecond).String()))
		}
	} else {
		b.WriteString(p.paint(colour, printable(e.Title.String())))
		if e.Level < slog.LevelWarn && e.Cause != "" {
			b.WriteString(p.paint(dim, "  "+printable(e.Cause)))
		}
	}
	if e.Level >= slog.LevelWarn {
		for _, line := range []string{e.Reason.String(), e.Cause, e.Hint.String()} {
			if line != "" && line != e.Title.String() && !(line == e.Cause && strings.HasPrefix(line, e.Reason.String()) && e.Level < slog.LevelError) {
				b.WriteString("\n            " + printable(line))
			}
		}
	}
	b.WriteByte('\n')
	_, _ = io.WriteString(p.w, b.String())
}

func (p textPrinter) paint(sequence, text string) string {
	if !p.colour || sequence == "" {
		return text
	}
	return sequence + text + reset
}

// printable returns s on one line, without control characters: what people
// write must not steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return '⏎'
		case r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0:
			return '·'
		}
		return r
	}, s)
}

// jsonPrinter prints an event as a line of JSON with the keys of slog.
type jsonPrinter struct{ handler slog.Handler }

func (p jsonPrinter) print(e bridge.Event) {
	ctx := context.Background()
	if !p.handler.Enabled(ctx, e.Level) {
		return
	}
	r := slog.NewRecord(e.Time, e.Level, e.Title.String(), 0)
	r.AddAttrs(slog.String("stage", string(e.Stage)))
	for _, a := range []slog.Attr{
		slog.String("room", e.Room.Token),
		slog.String("room_name", e.Room.Name),
		slog.String("actor_name", e.Actor.Name),
		slog.String("message_id", e.MessageID),
		slog.String("text", e.Text),
		slog.String("code", string(e.Code)),
		slog.String("reason", e.Reason.String()),
		slog.String("cause", e.Cause),
		slog.String("hint", e.Hint.String()),
	} {
		if a.Value.String() != "" {
			r.AddAttrs(a)
		}
	}
	if e.Actor.ID != "" {
		r.AddAttrs(slog.String("actor", e.Actor.Ref()))
	}
	if e.Duration > 0 {
		r.AddAttrs(slog.Float64("duration_ms", float64(e.Duration.Microseconds())/1000))
	}
	_ = p.handler.Handle(ctx, r)
}
