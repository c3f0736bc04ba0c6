package talk

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// Split cuts a Markdown text into parts of at most limit Unicode code points,
// which is how Talk counts (chat.max-length). It cuts at the end of a
// paragraph, else of a line, a sentence or a word, and drops the white space
// there; nothing else is lost. A code fence that is cut is closed at the end of
// its part and opened again, with its info string, at the start of the next.
//
// No part is blank, so a blank text has none. A text within the limit is
// returned as it is. A word is cut only if it is longer than a part, and then
// between characters as a reader sees them. Only a limit too small for that, or
// for the fences, breaks a character or leaves a fence open. A limit below 1
// counts as 1.
func Split(text string, limit int) []string {
	limit = max(limit, 1)
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if fits(text, limit) {
		return []string{text}
	}
	text = strings.TrimRightFunc(text, unicode.IsSpace)
	var parts []string
	var open fence
	for rest, atLine := text, true; ; {
		head := open.head(limit)
		if head == "" {
			open = fence{}
		}
		room := limit - utf8.RuneCountInString(head)
		rest = skipBlank(rest, atLine, room/2)
		if fits(rest, room) {
			return append(parts, head+rest)
		}
		at := cut(rest, open, room)
		part := head + strings.TrimRightFunc(rest[:at.index], unicode.IsSpace)
		if at.open.marker != "" {
			part += "\n" + at.open.marker
		}
		parts = append(parts, part)
		rest, open, atLine = rest[at.index:], at.open, at.atLine
	}
}

// fits reports whether s has at most limit code points. It reads no further.
func fits(s string, limit int) bool {
	if len(s) <= limit {
		return true
	}
	for range s {
		if limit--; limit < 0 {
			return false
		}
	}
	return true
}

// skipBlank returns s without the white space at its start. At the start of a
// line it keeps the indentation, if that is at most so many code points.
func skipBlank(s string, atLine bool, indentation int) string {
	text := strings.TrimLeftFunc(s, unicode.IsSpace)
	blank := s[:len(s)-len(text)]
	newline := strings.LastIndexByte(blank, '\n')
	if text == "" || newline < 0 && !atLine || !fits(blank[newline+1:], indentation) {
		return text
	}
	return s[newline+1:]
}

// fence is a code fence, or none if its marker is empty.
type fence struct {
	marker string // "```", or longer, or of tildes
	line   string // the whole opening line: "```go"
}

// head returns what opens f again at the start of a part: without its info
// string if that takes more than a quarter of the part, and nothing if the part
// has no room for f and at least as much text.
func (f fence) head(limit int) string {
	switch marker := utf8.RuneCountInString(f.marker); {
	case marker == 0 || 4*(marker+1) > limit:
		return ""
	case 4*utf8.RuneCountInString(f.line) > limit:
		return f.marker + "\n"
	default:
		return f.line + "\n"
	}
}

// tail returns how many code points it takes to close f.
func (f fence) tail() int {
	if f.marker == "" {
		return 0
	}
	return len(f.marker) + 1
}

// line is what a line does to code fences, as CommonMark defines them.
type line struct {
	before, after fence
	// solid is how many bytes of the line must stay together, lest it do
	// something else to the fence.
	solid int
}

func (l line) opens() bool  { return l.before.marker == "" && l.after.marker != "" }
func (l line) closes() bool { return l.before.marker != "" && l.after.marker == "" }

// readLine reads the line at the start of s, given the fence it stands in.
func readLine(s string, open fence) line {
	plain := line{before: open, after: open}
	indented := strings.TrimLeft(s, " ")
	indentation := len(s) - len(indented)
	if indentation > 3 || indented == "" || indented[0] != '`' && indented[0] != '~' {
		return plain
	}
	char := indented[:1]
	info := strings.TrimLeft(indented, char)
	marker := indented[:len(indented)-len(info)]
	if len(marker) < 3 {
		return plain
	}
	info, _, _ = strings.Cut(info, "\n")
	whole := strings.TrimRightFunc(s[:indentation+len(marker)+len(info)], unicode.IsSpace)
	switch tick := strings.IndexByte(info, '`'); {
	case open.marker != "":
		if char != open.marker[:1] || len(marker) < len(open.marker) || strings.TrimSpace(info) != "" {
			// A cut right after the marker would make it close the fence.
			plain.solid = len(whole)
			return plain
		}
		return line{before: open, solid: len(whole)}
	case char == "`" && tick >= 0: // code within a line
		plain.solid = indentation + len(marker) + tick + 1
		return plain
	default:
		return line{after: fence{marker: marker, line: whole}, solid: len(whole)}
	}
}

// place is where a text can be cut.
type place struct {
	index  int   // in bytes; text before it has no white space at its end
	filled int   // code points before it
	open   fence // to be closed there
	atLine bool  // what follows starts a line
}

// The kinds of places, from bad to good. Beside those that readers know: a
// fenced line is one in a code fence; a seam is the line at the edge of a code
// fence, where a cut leaves an empty one behind.
const (
	character = iota
	seam
	word
	sentence
	fencedLine
	freeLine
	paragraph
	kinds
)

// cut returns where to cut s, which starts a line within the fence open, so
// that the part before, with what closes its fence, has at most room code
// points: at the best kind of place in the last three quarters, else at the
// last place that cuts no word, else anywhere.
func cut(s string, open fence, room int) place {
	var best [kinds]place
	try := func(kind int, p place) {
		if p.filled+p.open.tail() <= room {
			best[kind] = p
		}
	}

	current := readLine(s, open)
	lineStart, filled := 0, 0
	characters := boundaries{clusters: graphemes.FromString(s)}
	var previous rune
	blank := true
	for i := 0; i < len(s) && filled <= room; {
		r, size := utf8.DecodeRuneInString(s[i:])
		if unicode.IsSpace(r) {
			gap := readGap(s[i:])
			p := place{index: i, filled: filled, open: current.after, atLine: gap.newlines > 0}
			if gap.newlines > 0 {
				lineStart = i + gap.lastLine
				ended := current
				current = readLine(s[lineStart:], ended.after)
				if !blank {
					try(lineKind(ended, current, gap.newlines), p)
				}
			} else if !blank && gap.breaks && i-lineStart >= current.solid && characters.endAt(i+gap.size) && !startsFence(s[i+gap.size:]) {
				kind := word
				if current.after.marker == "" && endsSentence(s[:i], ".!?…。！？｡") {
					kind = sentence
				}
				try(kind, p)
			}
			i += gap.size
			filled += gap.runes
			previous = ' '
			continue
		}
		if !blank && i-lineStart >= current.solid && !unicode.IsSpace(previous) && characters.endAt(i) && !startsFence(s[i:]) {
			kind := character
			if current.after.marker == "" && endsSentence(s[:i], "。！？｡") {
				kind = sentence
			}
			try(kind, place{index: i, filled: filled, open: current.after})
		}
		blank = false
		previous = r
		filled++
		i += size
	}

	for kind := kinds - 1; kind >= word; kind-- {
		if p := best[kind]; p.index > 0 && 4*p.filled >= room {
			return p
		}
	}
	last := place{}
	for kind := seam; kind < kinds; kind++ {
		if best[kind].index > last.index {
			last = best[kind]
		}
	}
	if last.index > 0 {
		return last
	}
	if best[character].index > 0 {
		return best[character]
	}
	return cutAnywhere(s, current.after, room)
}

// lineKind returns the kind of place between two lines with so many newlines between.
func lineKind(ended, next line, newlines int) int {
	switch {
	case ended.after.marker != "" && (ended.opens() || next.closes()):
		return seam
	case ended.after.marker != "":
		return fencedLine
	case newlines > 1:
		return paragraph
	default:
		return freeLine
	}
}

// cutAnywhere returns the last place within room, closing the fence if that
// leaves room for more than the indentation.
func cutAnywhere(s string, open fence, room int) place {
	indentation := utf8.RuneCountInString(s[:len(s)-len(strings.TrimLeftFunc(s, unicode.IsSpace))])
	if room-open.tail() <= indentation {
		open = fence{}
	}
	filled := 0
	for i := range s {
		if filled == room-open.tail() {
			return place{index: i, filled: filled, open: open}
		}
		filled++
	}
	return place{index: len(s), filled: filled, open: open}
}

// gap is a run of white space.
type gap struct {
	size, runes int
	newlines    int
	lastLine    int  // bytes up to and with the last newline
	breaks      bool // has white space at which a line may be broken
}

func readGap(s string) gap {
	var g gap
	for i, r := range s {
		if !unicode.IsSpace(r) {
			break
		}
		g.size = i + utf8.RuneLen(r)
		g.runes++
		if r == '\n' {
			g.newlines++
			g.lastLine = g.size
		}
		if r != '\u00a0' && r != '\u2007' && r != '\u202f' {
			g.breaks = true
		}
	}
	return g
}

func startsFence(s string) bool {
	return strings.HasPrefix(s, "```") || strings.HasPrefix(s, "~~~")
}

// endsSentence reports whether s ends with one of marks, perhaps followed by
// quotes, brackets or emphasis.
func endsSentence(s, marks string) bool {
	const most = 4
	for range most {
		r, size := utf8.DecodeLastRuneInString(s)
		if size == 0 || strings.ContainsRune(marks, r) {
			return size > 0
		}
		if !strings.ContainsRune(`"')]*_`+"`”’»」』）】", r) {
			return false
		}
		s = s[:len(s)-size]
	}
	return false
}

// boundaries finds where characters end as a reader sees them: Unicode's
// extended grapheme clusters.
type boundaries struct {
	clusters graphemes.Iterator[string]
}

// endAt reports whether a character ends before the byte with index i. It must
// be asked in ascending order, and reads no further than it must.
func (b boundaries) endAt(i int) bool {
	for b.clusters.End() < i && b.clusters.Next() {
	}
	return b.clusters.End() == i
}
