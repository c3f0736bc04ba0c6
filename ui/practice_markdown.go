package ui

import (
	"bufio"
	"bytes"
	"html"
	"strconv"
	"strings"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"github.com/mattn/go-runewidth"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	writer "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"perch/ui/kit"
)

// What a bot says is Markdown. Fyne's own rendering of it loads pictures from
// any address in it, opens links at a tap, and loses line breaks and HTML. A
// message can come from anybody, so it is shown by the code here, which only
// ever makes text.

// block is a part of a text that begins on a line of its own.
type block struct {
	kind   blockKind
	marker string  // of a listItem: "•", "1."
	spans  []span  // of a paragraph or a heading
	text   string  // of code, as it is
	blocks []block // in a listItem or a quote
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

// span is a piece of text in one style.
type span struct {
	text string
	face fyne.TextStyle
}

// deepest is how deep lists and quotes can be in each other; what is deeper is
// shown there.
const deepest = 6

// parseMarkdown returns what a text consists of. HTML is text like any other,
// and so are the definitions of links: nothing that was written is lost.
func parseMarkdown(source string) []block {
	p := parser.NewParser(
		parser.WithBlockParsers(
			util.Prioritized(parser.NewSetextHeadingParser(), 100),
			util.Prioritized(parser.NewThematicBreakParser(), 200),
			util.Prioritized(parser.NewListParser(), 300),
			util.Prioritized(parser.NewListItemParser(), 400),
			util.Prioritized(parser.NewCodeBlockParser(), 500),
			util.Prioritized(parser.NewATXHeadingParser(), 600),
			util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
			util.Prioritized(parser.NewBlockquoteParser(), 800),
			util.Prioritized(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			util.Prioritized(parser.NewCodeSpanParser(), 100),
			util.Prioritized(parser.NewLinkParser(), 200),
			util.Prioritized(parser.NewAutoLinkParser(), 300),
			util.Prioritized(extension.NewStrikethroughParser(), 500),
			util.Prioritized(parser.NewEmphasisParser(), 500),
		),
		parser.WithParagraphTransformers(util.Prioritized(extension.NewTableParagraphTransformer(), 200)),
	)
	m := markdown{source: []byte(source)}
	return m.blocks(p.Parse(text.NewReader(m.source)), 0)
}

// markdown turns what goldmark has parsed into blocks.
type markdown struct{ source []byte }

func (m markdown) blocks(parent ast.Node, depth int) []block {
	var all []block
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Heading:
			all = append(all, block{kind: heading, spans: m.spans(n)})
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			all = append(all, block{kind: code, text: m.lines(n)})
		case *tables.Table:
			all = append(all, block{kind: code, text: m.table(n)})
		case *ast.ThematicBreak:
			all = append(all, block{kind: rule})
		case *ast.Blockquote:
			if depth == deepest {
				all = append(all, m.flat(n)...)
				continue
			}
			all = append(all, block{kind: quote, blocks: m.blocks(n, depth+1)})
		case *ast.List:
			if depth == deepest {
				all = append(all, m.flat(n)...)
				continue
			}
			number := n.Start
			for item := n.FirstChild(); item != nil; item = item.NextSibling() {
				marker := "•"
				if n.IsOrdered() {
					marker = strconv.Itoa(number) + string(n.Marker)
					number++
				}
				all = append(all, block{kind: listItem, marker: marker, blocks: m.blocks(item, depth+1)})
			}
		default:
			all = append(all, block{kind: paragraph, spans: m.spans(n)})
		}
	}
	return all
}

// flat returns the lines of all that is in parent as code.
func (m markdown) flat(parent ast.Node) []block {
	var lines []string
	_ = ast.Walk(parent, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering && n.Type() == ast.TypeBlock && n.Lines().Len() > 0 {
			lines = append(lines, m.lines(n))
			return ast.WalkSkipChildren, nil
		}
		return ast.WalkContinue, nil
	})
	return []block{{kind: code, text: strings.Join(lines, "\n")}}
}

// lines returns the lines of a block as they were written.
func (m markdown) lines(n ast.Node) string {
	return strings.TrimRight(string(n.Lines().Value(m.source)), "\n")
}

// table returns a table whose columns are as wide as their widest cell, in a
// font whose characters all have the same width.
func (m markdown) table(t *tables.Table) string {
	var rows [][]string
	var widths []int
	for row := t.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			if len(widths) == len(cells) {
				widths = append(widths, 1)
			}
			words := plain(m.spans(cell))
			widths[len(cells)] = max(widths[len(cells)], runewidth.StringWidth(words))
			cells = append(cells, words)
		}
		rows = append(rows, cells)
	}
	var lines []string
	for i, cells := range rows {
		for c, words := range cells {
			cells[c] = runewidth.FillRight(words, widths[c])
		}
		lines = append(lines, strings.TrimRight(strings.Join(cells, " │ "), " "))
		if i == 0 {
			under := make([]string, len(widths))
			for c, w := range widths {
				under[c] = strings.Repeat("─", w)
			}
			lines = append(lines, strings.Join(under, "─┼─"))
		}
	}
	return strings.Join(lines, "\n")
}

// spans returns the text of a block in pieces.
func (m markdown) spans(block ast.Node) []span {
	var s spans
	m.addSpans(&s, block, fyne.TextStyle{})
	return s
}

func (m markdown) addSpans(s *spans, parent ast.Node, face fyne.TextStyle) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		inside := face
		switch n := n.(type) {
		case *ast.Text:
			words := string(n.Segment.Value(m.source))
			if !n.IsRaw() && !face.Monospace {
				words = unescaped(words)
			}
			if n.SoftLineBreak() || n.HardLineBreak() {
				words += "\n"
			}
			s.add(words, face)
			continue
		case *ast.String:
			s.add(string(n.Value), face)
			continue
		case *ast.AutoLink:
			s.add(string(n.Label(m.source)), face)
			continue
		case *ast.Link:
			m.addLink(s, n, string(n.Destination), face)
			continue
		case *ast.Image:
			m.addLink(s, n, string(n.Destination), face)
			continue
		case *ast.CodeSpan:
			inside.Monospace = true
		case *ast.Emphasis:
			inside.Bold = inside.Bold || n.Level == 2
			inside.Italic = inside.Italic || n.Level == 1
		case *tables.Strikethrough:
			inside.Strikethrough = true
		}
		m.addSpans(s, n, inside)
	}
}

// addLink shows the words of a link or a picture and its address, once if they
// are the same.
func (m markdown) addLink(s *spans, n ast.Node, address string, face fyne.TextStyle) {
	var inner spans
	m.addSpans(&inner, n, face)
	for _, each := range inner {
		s.add(each.text, each.face)
	}
	switch words := plain(inner); {
	case words == "":
		s.add(address, face)
	case words != address && address != "":
		s.add(" ("+address+")", face)
	}
}

// unescaped returns the text that stands in Markdown as s: without backslashes
// before punctuation, and with the characters that entities like &lt; name.
func unescaped(s string) string {
	if !strings.ContainsAny(s, `\&`) {
		return s
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	writer.DefaultWriter.Write(w, []byte(s))
	_ = w.Flush() // into memory
	return html.UnescapeString(b.String())
}

// spans are the pieces of a text; neighbours differ in style.
type spans []span

func (s *spans) add(words string, face fyne.TextStyle) {
	if words == "" {
		return
	}
	if n := len(*s); n > 0 && (*s)[n-1].face == face {
		(*s)[n-1].text += words
		return
	}
	*s = append(*s, span{words, face})
}

// plain returns the text of spans without their styles.
func plain(all []span) string {
	var b strings.Builder
	for _, s := range all {
		b.WriteString(s.text)
	}
	return b.String()
}

// newMarkdown shows a text.
func newMarkdown(source string) *fyne.Container {
	return showBlocks(parseMarkdown(source), kit.Style{})
}

func showBlocks(blocks []block, style kit.Style) *fyne.Container {
	all, items := kit.Column(kit.Space1+2), kit.Column(1)
	for _, b := range blocks {
		var o fyne.CanvasObject
		switch b.kind {
		case listItem:
			if len(items.Objects) == 0 {
				all.Add(items)
			}
			items.Add(hanging(kit.NewFullLine(b.marker, style), showBlocks(b.blocks, style)))
			continue
		case heading:
			o = newSpans(b.spans, kit.Style{Size: kit.SizeTitle, Bold: true})
		case quote:
			o = hanging(kit.Strut(3, 0, kit.NewPanel(kit.ColorLine, "", 1.5)), showBlocks(b.blocks, kit.Style{Color: kit.ColorMuted}))
		case code:
			o = kit.Layers(kit.NewPanel(kit.ColorCard, "", kit.RadiusControl), kit.Inset(kit.Space2, 10, kit.NewProse(kit.NewPart(b.text, kit.Style{Size: kit.SizeSmall, Mono: true}))))
		case rule:
			o = kit.Strut(0, 1, kit.NewPanel(kit.ColorLine, "", 0))
		case paragraph:
			o = newSpans(b.spans, style)
		}
		items = kit.Column(1)
		all.Add(o)
	}
	return all
}

// hanging puts a mark at the left of an object; one without a height of its own
// is as high as that.
func hanging(mark, o fyne.CanvasObject) *fyne.Container {
	return container.New(hangingLayout{}, mark, o)
}

type hangingLayout struct{}

func (hangingLayout) left(mark fyne.CanvasObject) float32 {
	return mark.MinSize().Width + 6
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
	kit.Place(objects[0], 0, 0, mark.Width, mark.Height)
	kit.Place(objects[1], left, 0, max(0, size.Width-left), size.Height)
}

// MinSize implements fyne.Layout.
func (l hangingLayout) MinSize(objects []fyne.CanvasObject) fyne.Size {
	return objects[1].MinSize().AddWidthHeight(l.left(objects[0]), 0)
}

// newSpans shows the text of a block.
func newSpans(all []span, style kit.Style) *kit.Prose {
	parts := make([]kit.Part, len(all))
	for i, s := range all {
		own := style
		own.Bold = own.Bold || s.face.Bold
		own.Mono = own.Mono || s.face.Monospace
		own.Italic, own.Struck = s.face.Italic, s.face.Strikethrough
		parts[i] = kit.NewPart(s.text, own)
	}
	return kit.NewProse(parts...)
}
