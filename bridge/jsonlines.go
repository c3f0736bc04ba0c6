package bridge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"unicode"
)

// JSONLines writes events as lines of JSON, in English, for other programs.
type JSONLines struct{ handler slog.Handler }

// NewJSONLines returns JSONLines that leave out what is below level. Characters
// that are harmful to who looks at them are escaped.
func NewJSONLines(w io.Writer, level slog.Level) JSONLines {
	return JSONLines{slog.NewJSONHandler(escaper{w}, &slog.HandlerOptions{Level: level})}
}

// Event writes e, with the keys that perch run --help tells of.
func (l JSONLines) Event(e Event) error {
	actor := ""
	if e.Actor.ID != "" {
		actor = e.Actor.Ref()
	}
	var known []slog.Attr
	for _, a := range []slog.Attr{
		slog.String("stage", string(e.Stage)),
		slog.String("room", e.Room.Token),
		slog.String("room_name", e.Room.Name),
		slog.String("actor", actor),
		slog.String("actor_name", e.Actor.Name),
		slog.String("message_id", e.MessageID),
		slog.String("text", Excerpt(e.Text)),
		slog.String("code", string(e.Code)),
		slog.String("reason", e.Reason.String()),
		slog.String("cause", e.Cause),
		slog.String("hint", e.Hint.String()),
	} {
		if a.Value.String() != "" {
			known = append(known, a)
		}
	}
	if e.Duration > 0 {
		known = append(known, slog.Float64("duration_ms", float64(e.Duration.Microseconds())/1000))
	}
	if e.Count > 0 {
		known = append(known, slog.Int("count", e.Count))
	}
	if e.Kind != "" {
		known = append(known, slog.String("kind", string(e.Kind)))
	}
	r := slog.NewRecord(e.Time, e.Level, e.Title.String(), 0)
	r.AddAttrs(known...)
	return l.Record(r)
}

// Excerpt returns what a log shows of a text that somebody wrote: its first 500
// characters.
func Excerpt(text string) string {
	const most = 500
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "…"
		}
	}
	return text
}

// Record writes a line of another kind.
func (l JSONLines) Record(r slog.Record) error {
	ctx := context.Background()
	if !l.handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.handler.Handle(ctx, r)
}

// escaper writes JSON with the harmful characters escaped, so that it can be
// looked at in a terminal. Outside of strings JSON has none of them.
type escaper struct{ w io.Writer }

func (e escaper) Write(p []byte) (int, error) {
	var b bytes.Buffer
	for _, r := range string(p) {
		switch {
		case r <= unicode.MaxASCII && r != 0x7f || !IsHarmful(r) && !IsJoiner(r):
			b.WriteRune(r)
		default:
			_, _ = fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if _, err := e.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// IsHarmful reports whether a character steers the terminal, turns the
// direction of the text, or cannot be seen.
func IsHarmful(r rune) bool {
	switch {
	case unicode.IsControl(r),
		r == '\u2028', r == '\u2029', // end lines
		r == '\u061c', r >= '\u200e' && r <= '\u200f', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', // direction
		r == '\u00ad', r == '\u180e', r == '\u200b', r >= '\u2060' && r <= '\u2064', r >= '\u206a' && r <= '\u206f', r == '\ufeff', // not seen
		r >= '\ufff9' && r <= '\ufffb':
		return true
	}
	return false
}

// IsJoiner reports whether a character cannot be seen itself, but joins or
// parts emoji or the letters of some scripts. It has no such task after ASCII.
func IsJoiner(r rune) bool { return r == '\u200c' || r == '\u200d' }
