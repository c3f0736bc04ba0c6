package ui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/widget"

	"perch/ui/kit"
)

// What a bot says is Markdown. Fyne's own rendering of it loads pictures from
// wherever it is told to, opens links at a tap, and loses line breaks and HTML;
// a message from anywhere is shown by what is here, which only ever makes text.

// block is a part of a text that begins on a line of its own.
type block struct {
	kind   blockKind
	level  int    // of a listItem: how far it is indented
	marker string // of a listItem: "•", "1."
	text   string // with Markdown in it, but for code; of a quote with blocks in it
}

type blockKind int

const (
	paragraph blockKind = iota
	heading
	listItem
	quote
	code // and tables
	rule
)

// blocksOf splits a text into its blocks.
func blocksOf(text string) []block {
	var all []block
	var fence string // that the code under way ends with
	open := false    // the last block goes on with the next line
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		last := len(all) - 1
		trimmed := strings.TrimSpace(line)
		if fence != "" {
			if strings.HasPrefix(trimmed, fence) && strings.Trim(trimmed, fence[:1]) == "" {
				fence, open = "", false
				continue
			}
			if open {
				line = all[last].text + "\n" + line
			}
			all[last].text, open = line, true
			continue
		}
		b := blockOf(line, trimmed)
		switch {
		case trimmed == "":
			open = false
		case strings.HasPrefix(trimmed, "```"), strings.HasPrefix(trimmed, "~~~"):
			fence = trimmed[:len(trimmed)-len(strings.TrimLeft(trimmed, trimmed[:1]))]
			all, open = append(all, block{kind: code}), false
		case open && b.kind == paragraph && (all[last].kind == paragraph || all[last].kind == listItem),
			open && b.kind == all[last].kind && (b.kind == quote || b.kind == code):
			all[last].text += "\n" + b.text
		default:
			all, open = append(all, b), b.kind != heading && b.kind != rule
		}
	}
	return all
}

// blockOf returns the block that a line begins, or goes on with.
func blockOf(line, trimmed string) block {
	if rest := strings.TrimLeft(trimmed, "#"); len(rest) < len(trimmed) && len(trimmed)-len(rest) <= 6 && strings.HasPrefix(rest, " ") {
		return block{kind: heading, text: strings.TrimSpace(rest)}
	}
	if len(trimmed) >= 3 && strings.Trim(trimmed, trimmed[:1]) == "" && strings.ContainsAny(trimmed[:1], "-*_") {
		return block{kind: rule}
	}
	if rest, ok := strings.CutPrefix(trimmed, ">"); ok {
		return block{kind: quote, text: strings.TrimPrefix(rest, " ")}
	}
	if strings.HasPrefix(trimmed, "|") {
		return block{kind: code, text: line}
	}
	if marker, rest, ok := strings.Cut(trimmed, " "); ok {
		const deepest = 6
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		item := block{kind: listItem, level: min(indent/2, deepest), text: strings.TrimSpace(rest)}
		number := strings.TrimRight(marker, ".)")
		switch {
		case marker == "-", marker == "*", marker == "+":
			item.marker = "•"
			return item
		case len(number) == len(marker)-1 && number != "" && len(number) < 10 && strings.Trim(number, "0123456789") == "":
			item.marker = marker
			return item
		}
	}
	return block{kind: paragraph, text: trimmed}
}

// span is a piece of text that looks the same.
type span struct {
	text string
	face fyne.TextStyle
}

// spansOf splits the text of a block into pieces: **bold**, *italic*, ~~struck~~,
// `code`; of [a link](address) both are shown.
func spansOf(text string) []span {
	p := &spanner{}
	p.parse(text, fyne.TextStyle{})
	return p.spans
}

type spanner struct{ spans []span }

func (p *spanner) put(text string, face fyne.TextStyle) {
	if text == "" {
		return
	}
	if n := len(p.spans); n > 0 && p.spans[n-1].face == face {
		p.spans[n-1].text += text
		return
	}
	p.spans = append(p.spans, span{text, face})
}

// parse splits s, all of which looks like face at least.
func (p *spanner) parse(s string, face fyne.TextStyle) {
	unclosed := map[string]bool{} // what does not end in the rest of s
	from := 0                     // where the plain text begins that was not put yet
	for i := 0; i < len(s); {
		inner, length, inside := special(s, i, face, unclosed)
		if length == 0 {
			i++
			continue
		}
		p.put(s[from:i], face)
		if inside == (fyne.TextStyle{}) || inside.Monospace {
			p.put(inner, merged(face, inside))
		} else {
			p.parse(inner, merged(face, inside))
		}
		i += length
		from = i
	}
	p.put(s[from:], face)
}

// longestAddress bounds what is looked for in a text that has many beginnings
// of addresses and no end.
const longestAddress = 2000

// special returns what stands at s[i:] that is more than plain text: what is to
// be shown of it, how long it is, and how it looks.
func special(s string, i int, face fyne.TextStyle, unclosed map[string]bool) (inner string, length int, inside fyne.TextStyle) {
	rest := s[i:]
	switch s[i] {
	case '\\':
		if len(rest) > 1 && strings.ContainsRune("\\`*_{}[]()<>#+-.!~|", rune(rest[1])) {
			return rest[1:2], 2, inside
		}
	case '`':
		ticks := rest[:len(rest)-len(strings.TrimLeft(rest, "`"))]
		if end := closing(rest, ticks, unclosed, func(int) bool { return true }); end > 0 {
			return strings.TrimSpace(rest[len(ticks):end]), end + len(ticks), fyne.TextStyle{Monospace: true}
		}
		return rest[:len(ticks)], len(ticks), inside
	case '*', '_', '~':
		for _, e := range [...]struct {
			mark string
			face fyne.TextStyle
		}{
			{"***", fyne.TextStyle{Bold: true, Italic: true}},
			{"**", fyne.TextStyle{Bold: true}},
			{"__", fyne.TextStyle{Bold: true}},
			{"~~", fyne.TextStyle{Strikethrough: true}},
			{"*", fyne.TextStyle{Italic: true}},
			{"_", fyne.TextStyle{Italic: true}},
		} {
			if !strings.HasPrefix(rest, e.mark) || merged(face, e.face) == face || !opens(s, i, e.mark) {
				continue
			}
			end := closing(rest, e.mark, unclosed, func(at int) bool { return closes(rest, at, e.mark) })
			if end > len(e.mark) {
				return rest[len(e.mark):end], end + len(e.mark), e.face
			}
		}
	case '[', '!':
		name, address, length := link(rest, unclosed)
		if length > 0 && name != address && name != "" {
			name += " (" + address + ")"
		} else if name == "" {
			name = address
		}
		return name, length, inside
	case '<':
		rest = rest[:min(len(rest), longestAddress)]
		if end := strings.IndexAny(rest, "> \n"); end > 0 && rest[end] == '>' && strings.Contains(rest[:end], "://") {
			return rest[1:end], end + 1, inside
		}
	}
	return "", 0, inside
}

// closing returns where in s the mark with which it begins stands again and
// right says so; 0 if it does not.
func closing(s, mark string, unclosed map[string]bool, right func(at int) bool) int {
	if unclosed[mark] {
		return 0
	}
	for at := len(mark); ; {
		next := strings.Index(s[at:], mark)
		if next < 0 {
			unclosed[mark] = true
			return 0
		}
		at += next
		run := len(s[at:]) - len(strings.TrimLeft(s[at:], mark[:1]))
		if run == len(mark) && right(at) {
			return at
		}
		at += run
	}
}

// opens says if the mark at s[i:] can be the beginning of something: there is no
// space behind it, and if it is an underscore, no letter before it.
func opens(s string, i int, mark string) bool {
	behind, _ := utf8.DecodeRuneInString(s[i+len(mark):])
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	return i+len(mark) < len(s) && !unicode.IsSpace(behind) && (mark[0] != '_' || !wordly(before))
}

// closes says if the mark at s[at:] can be the end of something.
func closes(s string, at int, mark string) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:at])
	behind, _ := utf8.DecodeRuneInString(s[at+len(mark):])
	return !unicode.IsSpace(before) && (mark[0] != '_' || !wordly(behind))
}

func wordly(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// link returns the parts of the link or picture with which s begins, and how
// long it is; 0 if it is none.
func link(s string, unclosed map[string]bool) (name, address string, length int) {
	const middle = "]("
	text := strings.TrimPrefix(s, "!")
	if !strings.HasPrefix(text, "[") || unclosed[middle] {
		return "", "", 0
	}
	end := strings.Index(text, middle)
	if end < 0 {
		unclosed[middle] = true
		return "", "", 0
	}
	rest := text[end+len(middle):]
	stop := strings.IndexAny(rest[:min(len(rest), longestAddress)], ")\n")
	if stop <= 0 || rest[stop] != ')' || strings.Contains(text[:end], "\n") {
		return "", "", 0
	}
	return text[1:end], rest[:stop], len(s) - len(rest) + stop + 1
}

// merged returns a face with all that a and b have.
func merged(a, b fyne.TextStyle) fyne.TextStyle {
	a.Bold = a.Bold || b.Bold
	a.Italic = a.Italic || b.Italic
	a.Monospace = a.Monospace || b.Monospace
	a.Strikethrough = a.Strikethrough || b.Strikethrough
	return a
}

// newMarkdown shows a text. Quotes in quotes are shown as text.
func newMarkdown(text string) *fyne.Container { return blocks(text, true) }

func blocks(text string, quotes bool) *fyne.Container {
	all, items := kit.Column(kit.Space1+2), kit.Column(1)
	for _, b := range blocksOf(text) {
		var o fyne.CanvasObject
		switch b.kind {
		case listItem:
			if len(items.Objects) == 0 {
				all.Add(items)
			}
			items.Add(hanging(float32(b.level)*kit.Space4, kit.NewFullLine(b.marker, kit.Style{}), newSpans(b.text, kit.Style{})))
			continue
		case heading:
			o = newSpans(b.text, kit.Style{Size: kit.SizeTitle, Bold: true})
		case quote:
			o = newSpans(b.text, kit.Style{Color: kit.ColorMuted})
			if quotes {
				o = blocks(b.text, false)
			}
			o = hanging(0, kit.Strut(3, 0, kit.NewPanel(kit.ColorLine, "", 1.5)), o)
		case code:
			o = kit.Layers(kit.NewPanel(kit.ColorCard, "", kit.RadiusControl), kit.Inset(kit.Space2, 10, kit.NewProse(kit.NewPart(b.text, kit.Style{Size: kit.SizeSmall, Mono: true}))))
		case rule:
			o = kit.Strut(0, 1, kit.NewPanel(kit.ColorLine, "", 0))
		case paragraph:
			o = newSpans(b.text, kit.Style{})
		}
		items = kit.Column(1)
		all.Add(o)
	}
	return all
}

// hanging puts a mark at the left of an object; one without a height of its own
// is as high as that.
func hanging(indent float32, mark, o fyne.CanvasObject) *fyne.Container {
	return container.New(hangingLayout{indent}, mark, o)
}

type hangingLayout struct{ indent float32 }

func (l hangingLayout) left(mark fyne.CanvasObject) float32 {
	return l.indent + mark.MinSize().Width + 6
}

func (l hangingLayout) HeightFor(objects []fyne.CanvasObject, width float32) float32 {
	return kit.HeightFor(objects[1], width-l.left(objects[0]))
}

// Layout implements fyne.Layout.
func (l hangingLayout) Layout(objects []fyne.CanvasObject, size fyne.Size) {
	mark, left := objects[0].MinSize(), l.left(objects[0])
	if mark.Height == 0 {
		mark.Height = size.Height
	}
	kit.Place(objects[0], l.indent, 0, mark.Width, mark.Height)
	kit.Place(objects[1], left, 0, max(0, size.Width-left), size.Height)
}

// MinSize implements fyne.Layout.
func (l hangingLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	return objects[1].MinSize().AddWidthHeight(l.left(objects[0]), 0)
}

// newSpans shows the text of a block.
func newSpans(text string, s kit.Style) *kit.Prose {
	p := kit.NewProse()
	for _, each := range spansOf(text) {
		p.Parts = append(p.Parts, kit.Part{Text: each.text})
		p.Rich.Segments = append(p.Rich.Segments, &widget.TextSegment{Text: each.text, Style: widget.RichTextStyle{
			ColorName: s.ColorName(), SizeName: s.SizeName(), TextStyle: merged(s.Face(), each.face), Inline: true,
		}})
	}
	p.Rich.Refresh()
	return p
}
