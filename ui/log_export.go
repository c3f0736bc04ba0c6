package ui

import (
	"bytes"
	"cmp"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"perch/bridge"
	"perch/ui/kit"
)

// eventsOf returns what rows are made of, oldest first.
func eventsOf(rows []*logRow) []logEvent {
	all := make([]logEvent, 0, len(rows))
	for _, r := range rows {
		all = append(all, r.event)
		all = append(all, r.later...)
	}
	slices.SortStableFunc(all, func(x, y logEvent) int {
		return cmp.Or(cmp.Compare(x.ID, y.ID), x.Time.Compare(y.Time))
	})
	return all
}

// writeJSON writes events as lines of JSON, with the keys that perch run and
// perch log have, in English.
func writeJSON(w io.Writer, events []logEvent) error {
	lines := bridge.NewJSONLines(w, slog.LevelDebug)
	for _, e := range events {
		if err := lines.Event(e.whole()); err != nil {
			return err
		}
	}
	return nil
}

// writeText writes events for a person, in local time: a line for each, and
// below it why and what to do, if it is a problem.
func writeText(w io.Writer, events []logEvent, say func(bridge.Text) string) error {
	var b bytes.Buffer
	for _, e := range events {
		writeEvent(&b, e, say)
		if b.Len() > 1<<16 {
			if _, err := b.WriteTo(w); err != nil {
				return err
			}
		}
	}
	_, err := b.WriteTo(w)
	return err
}

// signInText stands for the shape of a row.
func signInText(s sign) string {
	switch s {
	case signIn:
		return "→"
	case signOut:
		return "←"
	case signRefused:
		return "⊘"
	case signWarn:
		return "!"
	case signError:
		return "✕"
	default:
		return "●"
	}
}

const textColumn = 23 // where the words begin, after "2006-01-02 15:04:05  → "

func writeEvent(b *bytes.Buffer, e logEvent, say func(bridge.Text) string) {
	r := &logRow{event: e}
	s := r.sign()
	b.WriteString(e.Time.Local().Format(time.DateTime) + "  " + signInText(s) + " ")
	if s == signIn || s == signOut {
		b.WriteString(excerpt(e.Room.String(), 100) + "  ")
		if s == signIn {
			b.WriteString(excerpt(e.Actor.String(), 100) + ": ")
		}
	}
	b.WriteString(indented(r.words(say)))
	if e.Duration > 0 && s == signOut {
		b.WriteString("  (" + kit.FormatDuration(e.Duration) + ")")
	}
	if e.Level >= slog.LevelWarn {
		for _, part := range explanation(e, say) {
			b.WriteString("\n" + strings.Repeat(" ", textColumn) + indented(part))
		}
	}
	b.WriteByte('\n')
}

// indented returns s with its further lines below the first.
func indented(s string) string {
	return strings.ReplaceAll(strings.TrimRight(harmless(s, 1<<16), "\n"), "\n", "\n"+strings.Repeat(" ", textColumn))
}

// explanation returns why something is wrong, the technical cause and what to
// do, without what is said already.
func explanation(e logEvent, say func(bridge.Text) string) []string {
	var parts []string
	if reason := e.Reason.String(); reason != "" && reason != e.Title.String() {
		parts = append(parts, kit.Sentence(say(e.Reason)))
	}
	if cause := technical(e); cause != "" {
		parts = append(parts, cause)
	}
	if !e.Hint.IsZero() {
		parts = append(parts, kit.Sentence(say(e.Hint)))
	}
	return parts
}

// technical returns the cause of a problem without what its title and reason say
// already.
func technical(e logEvent) string {
	cause := e.Cause
	for _, said := range []string{e.Title.String(), e.Reason.String()} {
		if said != "" {
			cause = strings.TrimLeft(strings.TrimPrefix(cause, said), ":\n ")
		}
	}
	return cause
}

// describe returns all that is known of a row, for another person who is to
// help.
func describe(r *logRow, say func(bridge.Text) string) string {
	var b bytes.Buffer
	for _, e := range r.events() {
		writeEvent(&b, e, say)
		b.WriteString(strings.Repeat(" ", textColumn) + strings.Join(facts(e), " · ") + "\n")
	}
	return b.String()
}

// facts returns what programs know of an event: ids, code, how long it took.
func facts(e logEvent) []string {
	var list []string
	add := func(name, value string) {
		if value != "" {
			list = append(list, name+"="+excerpt(value, 100))
		}
	}
	add("stage", string(e.Stage))
	add("code", string(e.Code))
	add("message", e.MessageID)
	add("answers", e.Answers)
	add("room", e.Room.Token)
	if e.Actor.ID != "" {
		add("actor", e.Actor.Ref())
	}
	if e.Duration > 0 {
		add("took", kit.FormatDuration(e.Duration))
	}
	if e.Waited > 0 {
		add("waited", kit.FormatDuration(e.Waited))
	}
	return list
}
