package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"perch/bridge"
	"perch/bridge/config"
)

// printer prints what a running Perch says.
type printer interface {
	begin(o opening)
	print(e bridge.Event)
}

// opening is what perch run says first.
type opening struct {
	version string
	config  string // file
	listen  string // address
	url     string // that Nextcloud must reach; empty: unknown
	allowed []string
	replyAs config.ReplyAs
}

// addFormat adds the flag for the format of a printer.
func addFormat(cmd *cobra.Command) *choice {
	return addChoice(cmd, "log-format", "print for a person or as lines of JSON", "text", "json")
}

// printer returns a printer of the given format to standard output. It leaves
// out what is below level.
func (env Env) printer(format *choice, level slog.Level) printer {
	if format.value == "json" {
		return jsonPrinter{bridge.NewJSONLines(env.Stdout, level)}
	}
	return &textPrinter{w: env.Stdout, level: level, colour: env.colour(), day: time.Now().Format(time.DateOnly), say: env.say}
}

// textPrinter prints an event as a line for a person, and below it the reason
// and what to do, if it is a problem. Days other than today get a line.
type textPrinter struct {
	w      io.Writer
	level  slog.Level
	colour bool
	day    string // of the last event
	say    func(bridge.Text) string
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

// Columns of a printed event.
const (
	titleColumn = 12 // after the time and the sign
	maxColumn   = 40 // where the further lines of a text begin at the latest
)

func (p *textPrinter) begin(o opening) {
	reach := bridge.Say("Nextcloud must reach %s", o.url)
	if o.url == "" {
		reach = bridge.Say("Nextcloud cannot know where: set public_url")
	}
	who := bridge.Say("answers nobody")
	if len(o.allowed) > 0 {
		who = bridge.Say("answers %s", strings.Join(o.allowed, ", "))
	}
	if most := 8; len(o.allowed) > most {
		who = bridge.Say("answers %s and %s more", strings.Join(o.allowed[:most], ", "), strconv.Itoa(len(o.allowed)-most))
	}
	as := bridge.Say("replies as the bot")
	if o.replyAs == config.User {
		as = bridge.Say("replies as the user")
	}
	where := bridge.Say("settings in %s · listens on %s", o.config, o.listen)
	if o.listen == "" {
		where, reach = bridge.Say("settings in %s", o.config), bridge.Say("asks the server for messages")
	}
	_, _ = fmt.Fprintf(p.w, "%s · %s\n%s · %s · %s\n",
		p.paint(bold, "Perch "+o.version), oneLine(p.say(where)),
		oneLine(p.say(reach)), oneLine(p.say(who)), p.say(as))
}

func (p *textPrinter) print(e bridge.Event) {
	if e.Level < p.level {
		return
	}
	var b strings.Builder
	at := e.Time.Local()
	if day := at.Format(time.DateOnly); day != p.day {
		p.day = day
		b.WriteString(p.paint(dim, day) + "\n")
	}
	sign, colour := signOf(e)
	b.WriteString(p.paint(dim, at.Format(time.TimeOnly)) + "  " + p.paint(colour, sign) + " ")
	switch sign {
	case "→":
		p.chat(&b, e, oneLine(e.Actor.String())+": ")
	case "←":
		p.chat(&b, e, "")
	default:
		b.WriteString(p.paint(colour, oneLine(p.say(e.Title))))
		if e.Level < slog.LevelWarn && e.Cause != "" {
			b.WriteString(p.paint(dim, "  "+oneLine(e.Cause)))
		}
	}
	if e.Level >= slog.LevelWarn {
		for _, part := range p.explanation(e) {
			b.WriteString("\n" + strings.Repeat(" ", titleColumn) + indented(part, titleColumn))
		}
	}
	b.WriteByte('\n')
	_, _ = io.WriteString(p.w, b.String())
}

// signOf returns the sign before an event, and the colour of it and the title.
func signOf(e bridge.Event) (sign, colour string) {
	switch {
	case e.Level >= slog.LevelError:
		return "✕", red
	case e.Level >= slog.LevelWarn:
		return "!", yellow
	case e.Kind == bridge.EventRoomChanged: // its text is Talk's, and nobody's message
		return " ", ""
	case e.Stage == bridge.StageIntake && e.Text != "":
		return "→", ""
	case e.Stage == bridge.StageSender && e.Text != "":
		return "←", green
	default:
		return " ", ""
	}
}

// chat prints a text that was written or sent. Its further lines begin below
// the first.
func (p *textPrinter) chat(b *strings.Builder, e bridge.Event, author string) {
	room := oneLine(e.Room.String())
	b.WriteString(p.paint(bold, room) + "  " + author)
	column := titleColumn + runewidth.StringWidth(room+"  "+author)
	b.WriteString(indented(bridge.Excerpt(e.Text), min(column, maxColumn)))
	if e.Duration > 0 {
		b.WriteString(p.paint(dim, "  "+took(e.Duration)))
	}
}

// explanation returns why there is a problem and what to do, without saying
// twice what one says already.
func (p *textPrinter) explanation(e bridge.Event) []string {
	var parts []string
	reason, cause := e.Reason.String(), e.Cause
	if reason == e.Title.String() {
		reason = ""
	}
	if reason != "" {
		parts = append(parts, sentence(p.say(e.Reason)))
	}
	for _, said := range []string{e.Title.String(), e.Reason.String()} {
		if said != "" {
			cause = strings.TrimLeft(strings.TrimPrefix(cause, said), ":\n ")
		}
	}
	if cause != "" && (reason == "" || e.Level >= slog.LevelError) {
		parts = append(parts, cause)
	}
	if !e.Hint.IsZero() {
		parts = append(parts, sentence(p.say(e.Hint)))
	}
	return parts
}

func (p *textPrinter) paint(sequence, text string) string {
	if !p.colour || sequence == "" {
		return text
	}
	return sequence + text + reset
}

// took returns how long something took: "0.4 ms", "12 ms", "1.5 s".
func took(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// harmless returns s without what could steer a terminal or a reader's eye:
// what people write is not trusted. Lines end with \n alone.
func harmless(s string) string {
	var b strings.Builder
	before := ' '
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		if r == '\n' || r == '\t' || !bridge.IsHarmful(r) && (!bridge.IsJoiner(r) || before > unicode.MaxASCII) {
			b.WriteRune(r)
		} else {
			b.WriteRune('·')
		}
		before = r
	}
	return b.String()
}

// oneLine returns s as harmless does, on one line.
func oneLine(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(harmless(s))
}

// sentence returns s with a capital at its beginning, unless its first word is
// a name or a command.
func sentence(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if word == "" || word == "perch" || word == "occ" || strings.ContainsFunc(word, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// jsonPrinter prints an event as a line of JSON with the keys of slog.
type jsonPrinter struct{ lines bridge.JSONLines }

func (p jsonPrinter) begin(o opening) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "Perch starts", 0)
	r.AddAttrs(
		slog.String("stage", string(bridge.StageApp)),
		slog.String("version", o.version),
		slog.String("config", o.config),
		slog.String("listen", o.listen),
		slog.String("url", o.url),
		slog.Any("allowed_users", append([]string{}, o.allowed...)),
		slog.String("reply_as", string(o.replyAs)),
	)
	_ = p.lines.Record(r)
}

func (p jsonPrinter) print(e bridge.Event) { _ = p.lines.Event(e) }

// printError prints an error for a person: what happened, why, and what to do.
func (env Env) printError(w io.Writer, err error) {
	if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
		env.printProblems(w, invalid.Problems)
		return
	}
	text := bridge.TextOf(err).String()
	_, _ = fmt.Fprintf(w, "perch: %s\n", indented(sentence(env.say(bridge.TextOf(err))), 2))
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.Cause != nil && e.Code != bridge.CodeNotFound && !strings.Contains(text, e.Cause.Error()) {
		_, _ = fmt.Fprintf(w, "  %s\n", indented(e.Cause.Error(), 2))
	}
	if hint := bridge.HintOf(err); !hint.IsZero() {
		_, _ = fmt.Fprintf(w, "  %s\n", indented(sentence(env.say(hint)), 2))
	}
}

func (env Env) printProblems(w io.Writer, problems []config.Problem) {
	for _, p := range problems {
		place := p.Place()
		if place != "" {
			place += ": "
		}
		_, _ = fmt.Fprintln(w, oneLine(place+env.say(p.Text)))
		if !p.Hint.IsZero() {
			_, _ = fmt.Fprintf(w, "  %s\n", indented(sentence(env.say(p.Hint)), 2))
		}
	}
}

// indented returns s as harmless does, with further lines that begin in the
// given column.
func indented(s string, column int) string {
	lines := strings.Split(strings.TrimRight(harmless(s), "\n"), "\n")
	for i, line := range lines[1:] {
		if line != "" {
			lines[i+1] = strings.Repeat(" ", column) + line
		}
	}
	return strings.Join(lines, "\n")
}
