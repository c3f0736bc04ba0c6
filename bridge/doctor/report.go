package doctor

import (
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"

	"perch/bridge"
)

// Escape sequences.
const (
	reset  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// Table prints a report for a person: a row for each check as it comes, then
// the verdict; if all is well, the verdict alone. The zero value of the other
// fields is a table for a pipe.
type Table struct {
	W        io.Writer
	Terminal bool // with colours, and rows that are taken back if all is well
	Width    int  // of the terminal; 0: not known
	Rows     bool // show the rows also if all is well
	// Translate translates what is shown; nil: English.
	Translate func(string) string
	Again     string // what the command that shows more is to end with; can be empty

	held  []Row // a pipe gets no row before it is known that not all is well
	lines int   // shown so far
	amiss bool
}

// Row prints a row.
func (t *Table) Row(row Row) {
	t.amiss = t.amiss || row.Status == bridge.StatusWarn || row.Status == bridge.StatusFail
	t.held = append(t.held, row)
	if !t.amiss && !t.Terminal && !t.Rows {
		return
	}
	for _, row := range t.held {
		t.print(row)
	}
	t.held = nil
}

// End prints the verdict, and how to see what was hidden, if anything was.
func (t *Table) End(r Report, hid bool) {
	if !t.amiss && !t.Rows {
		if t.Terminal && t.lines > 0 {
			t.write("\x1b[" + strconv.Itoa(t.lines) + "A\x1b[J") // up, and clear from there
		}
		t.write(t.paint(green, "✓") + " " + t.paint(bold, t.say(bridge.Say("All is well"))) + ": " + t.numbers(r) + "\n")
		return
	}
	glyph, colour := look(r.Verdict())
	t.write("\n" + t.paint(colour, glyph) + " " + t.paint(bold, t.say(r.Headline())) + "\n  " + t.paint(dim, t.numbers(r)) + "\n")
	if hid && t.amiss {
		t.write("  " + t.paint(dim, t.say(bridge.Say("Conversations and people are shown as %[1]s and %[2]s. As they are: perch doctor --show-private%[3]s", SomeRoom, Somebody, t.Again))) + "\n")
	}
}

const titleWidth = 20

func (t *Table) print(row Row) {
	glyph, colour := look(row.Status)
	title := padded(t.say(row.Title), titleWidth)
	seen := colour
	if row.Status == bridge.StatusOK || row.Status == bridge.StatusSkip {
		seen = ""
	} else {
		title = t.paint(bold, title)
	}
	indent := strings.Repeat(" ", titleWidth+2)
	var b strings.Builder
	b.WriteString(t.paint(colour, glyph) + " " + title + t.paint(seen, lines(t.say(row.Seen), indent)))
	if row.Status != bridge.StatusSkip {
		b.WriteString(t.paint(dim, "  "+strconv.FormatInt(row.Duration.Milliseconds(), 10)+" ms"))
	}
	b.WriteByte('\n')
	if row.Status == bridge.StatusWarn || row.Status == bridge.StatusFail {
		for _, more := range []struct {
			name, text bridge.Text
		}{{bridge.Say("Check"), bridge.Say("%s", row.ID)}, {bridge.Say("Why"), row.Why}, {bridge.Say("Fix"), row.Fix}} {
			if !more.text.IsZero() {
				name := "  " + padded(t.say(more.name), titleWidth)
				b.WriteString(t.paint(dim, name) + lines(t.say(more.text), indent) + "\n")
			}
		}
	}
	t.write(b.String())
}

func (t *Table) say(text bridge.Text) string { return text.In(t.Translate) }

// numbers returns the report in numbers: "17 checks in 2.3 s · 14 ok · 1
// failed · 2 skipped".
func (t *Table) numbers(r Report) string {
	seconds := strconv.FormatFloat(r.Duration.Round(100*time.Millisecond).Seconds(), 'f', 1, 64)
	all := bridge.Say("%s checks in %s s", strconv.Itoa(len(r.Rows)), seconds)
	if len(r.Rows) == 1 {
		all = bridge.Say("1 check in %s s", seconds)
	}
	parts := []string{t.say(all)}
	for _, part := range []struct {
		status bridge.Status
		name   bridge.Text
	}{
		{bridge.StatusOK, bridge.Say("ok")},
		{bridge.StatusWarn, bridge.Say("warned")},
		{bridge.StatusFail, bridge.Say("failed")},
		{bridge.StatusSkip, bridge.Say("skipped")},
	} {
		if n := r.Count(part.status); n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+t.say(part.name))
		}
	}
	return strings.Join(parts, " · ")
}

// padded returns s with spaces up to a width, one at least.
func padded(s string, width int) string {
	return s + strings.Repeat(" ", max(1, width-runewidth.StringWidth(s)))
}

func (t *Table) write(s string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		t.lines++
		if t.Width > 0 {
			plain := regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]").ReplaceAllString(line, "")
			t.lines += max(0, runewidth.StringWidth(plain)-1) / t.Width // those that it breaks into
		}
	}
	_, _ = io.WriteString(t.W, s)
}

func (t *Table) paint(sequence, text string) string {
	if !t.Terminal || sequence == "" {
		return text
	}
	return sequence + text + reset
}

// lines returns a text whose further lines begin below the first, without
// control characters: what servers answer must not steer the terminal.
func lines(text, indent string) string {
	s := strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return '·'
		}
		return r
	}, text)
	return strings.ReplaceAll(s, "\n", "\n"+indent)
}

// look returns what stands for a status: a shape and a colour.
func look(s bridge.Status) (glyph, colour string) {
	switch s {
	case bridge.StatusOK:
		return "✓", green
	case bridge.StatusWarn:
		return "!", yellow
	case bridge.StatusFail:
		return "✕", red
	default:
		return "–", dim
	}
}

// Headline returns the verdict in words: "One check failed: bot-secret".
func (r Report) Headline() bridge.Text {
	var failed, warned []string
	for _, row := range r.Rows {
		switch row.Status {
		case bridge.StatusFail:
			failed = append(failed, row.ID)
		case bridge.StatusWarn:
			warned = append(warned, row.ID)
		case bridge.StatusOK, bridge.StatusSkip:
		}
	}
	switch {
	case len(failed) == 1:
		return bridge.Say("One check failed: %s", failed[0])
	case len(failed) > 1:
		return bridge.Say("%s checks failed: %s", strconv.Itoa(len(failed)), strings.Join(failed, ", "))
	case len(warned) == 1:
		return bridge.Say("It works, with one warning: %s", warned[0])
	case len(warned) > 1:
		return bridge.Say("It works, with %s warnings: %s", strconv.Itoa(len(warned)), strings.Join(warned, ", "))
	default:
		return bridge.Say("All is well")
	}
}

// WriteJSON writes the report as one document.
func (r Report) WriteJSON(w io.Writer) error {
	type check struct {
		ID         string        `json:"id"`
		Status     bridge.Status `json:"status"`
		Seen       string        `json:"seen"`
		Why        string        `json:"why"`
		Fix        string        `json:"fix"`
		Needs      []string      `json:"needs"`
		DurationMS int64         `json:"duration_ms"`
	}
	doc := struct {
		Verdict bridge.Status `json:"verdict"`
		Checks  []check       `json:"checks"`
	}{r.Verdict(), []check{}}
	for _, row := range r.Rows {
		doc.Checks = append(doc.Checks, check{
			row.ID, row.Status, row.Seen.String(), row.Why.String(), row.Fix.String(), row.Needs, row.Duration.Milliseconds(),
		})
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(doc)
}
