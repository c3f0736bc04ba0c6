package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
		t.write(t.paint(green, "✓") + " " + t.paint(bold, "All is well") + ": " + r.Numbers() + "\n")
		return
	}
	glyph, colour := look(r.Verdict())
	t.write("\n" + t.paint(colour, glyph) + " " + t.paint(bold, r.Headline()) + "\n  " + t.paint(dim, r.Numbers()) + "\n")
	if hid && t.amiss {
		t.write("  " + t.paint(dim, "Conversations and people are shown as "+SomeRoom+" and "+Somebody+". As they are: perch doctor --show-private") + "\n")
	}
}

const titleWidth = 20

func (t *Table) print(row Row) {
	glyph, colour := look(row.Status)
	title := row.Title.String() + strings.Repeat(" ", max(1, titleWidth-utf8.RuneCountInString(row.Title.String())))
	seen := colour
	if row.Status == bridge.StatusOK || row.Status == bridge.StatusSkip {
		seen = ""
	} else {
		title = t.paint(bold, title)
	}
	indent := strings.Repeat(" ", titleWidth+2)
	var b strings.Builder
	b.WriteString(t.paint(colour, glyph) + " " + title + t.paint(seen, lines(row.Seen, indent)))
	if row.Status != bridge.StatusSkip {
		b.WriteString(t.paint(dim, "  "+strconv.FormatInt(row.Duration.Milliseconds(), 10)+" ms"))
	}
	b.WriteByte('\n')
	if row.Status == bridge.StatusWarn || row.Status == bridge.StatusFail {
		for _, more := range []struct {
			name string
			text bridge.Text
		}{{"Check", bridge.Say("%s", row.ID)}, {"Why", row.Why}, {"Fix", row.Fix}} {
			if !more.text.IsZero() {
				name := "  " + more.name + strings.Repeat(" ", titleWidth-len(more.name))
				b.WriteString(t.paint(dim, name) + lines(more.text, indent) + "\n")
			}
		}
	}
	t.write(b.String())
}

func (t *Table) write(s string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		t.lines++
		if t.Width > 0 {
			plain := regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]").ReplaceAllString(line, "")
			t.lines += max(0, utf8.RuneCountInString(plain)-1) / t.Width // those that it breaks into
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
func lines(text bridge.Text, indent string) string {
	s := strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return '·'
		}
		return r
	}, text.String())
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
func (r Report) Headline() string {
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
		return "One check failed: " + failed[0]
	case len(failed) > 1:
		return strconv.Itoa(len(failed)) + " checks failed: " + strings.Join(failed, ", ")
	case len(warned) == 1:
		return "It works, with one warning: " + warned[0]
	case len(warned) > 1:
		return "It works, with " + strconv.Itoa(len(warned)) + " warnings: " + strings.Join(warned, ", ")
	default:
		return "All is well"
	}
}

// Numbers returns the report in numbers: "17 checks in 2.3 s · 14 ok · 1
// failed · 2 skipped".
func (r Report) Numbers() string {
	checks := "checks"
	if len(r.Rows) == 1 {
		checks = "check"
	}
	parts := []string{fmt.Sprintf("%d %s in %.1f s", len(r.Rows), checks, r.Duration.Round(100*time.Millisecond).Seconds())}
	for _, part := range []struct {
		status bridge.Status
		name   string
	}{{bridge.StatusOK, "ok"}, {bridge.StatusWarn, "warned"}, {bridge.StatusFail, "failed"}, {bridge.StatusSkip, "skipped"}} {
		if n := r.Count(part.status); n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+part.name)
		}
	}
	return strings.Join(parts, " · ")
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
