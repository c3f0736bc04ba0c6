package ui

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/ui/kit/kittest"
)

const everything = `# A heading
Some **bold**, *italic*, ~~struck~~ and ` + "`code`" + `,
on two lines, and [a link](https://example.com/a_b_c).

1. one
2. two, which is so long that it goes on below: lorem ipsum dolor sit amet, consectetur adipiscing elit
   - deeper
   - deeper still

> A quote with **bold** words
> on two lines

` + "```go\nfunc main() {\n\tprintln(\"**not bold**\")\n}\n```" + `

| a | b |
|---|---|
| 1 | 2 |

---
<b>snake_case_name</b> 2 * 3 * 4 ![picture](https://example.com/p.png)`

func TestBlocks(t *testing.T) {
	want := []block{
		{kind: heading, text: "A heading"},
		{kind: paragraph, text: "Some **bold**, *italic*, ~~struck~~ and `code`,\non two lines, and [a link](https://example.com/a_b_c)."},
		{kind: listItem, marker: "1.", text: "one"},
		{kind: listItem, marker: "2.", text: "two, which is so long that it goes on below: lorem ipsum dolor sit amet, consectetur adipiscing elit"},
		{kind: listItem, level: 1, marker: "•", text: "deeper"},
		{kind: listItem, level: 1, marker: "•", text: "deeper still"},
		{kind: quote, text: "A quote with **bold** words\non two lines"},
		{kind: code, text: "func main() {\n\tprintln(\"**not bold**\")\n}"},
		{kind: code, text: "| a | b |\n|---|---|\n| 1 | 2 |"},
		{kind: rule},
		{kind: paragraph, text: "<b>snake_case_name</b> 2 * 3 * 4 ![picture](https://example.com/p.png)"},
	}
	if diff := cmp.Diff(want, blocksOf(everything), cmp.AllowUnexported(block{})); diff != "" {
		t.Error(diff)
	}
}

func TestSpans(t *testing.T) {
	type face = fyne.TextStyle
	bold, italic, mono := face{Bold: true}, face{Italic: true}, face{Monospace: true}
	for text, want := range map[string][]span{
		"plain":                 {{"plain", face{}}},
		"a **b** c":             {{"a ", face{}}, {"b", bold}, {" c", face{}}},
		"**b *bi* b**":          {{"b ", bold}, {"bi", face{Bold: true, Italic: true}}, {" b", bold}},
		"***both***":            {{"both", face{Bold: true, Italic: true}}},
		"_i_ and __b__":         {{"i", italic}, {" and ", face{}}, {"b", bold}},
		"~~gone~~":              {{"gone", face{Strikethrough: true}}},
		"`a ** b`":              {{"a ** b", mono}},
		"``a ` b``":             {{"a ` b", mono}},
		"**`b`**":               {{"b", face{Bold: true, Monospace: true}}},
		"snake_case_name":       {{"snake_case_name", face{}}},
		"2 * 3 * 4":             {{"2 * 3 * 4", face{}}},
		"an **open one":         {{"an **open one", face{}}},
		"a ` tick":              {{"a ` tick", face{}}},
		"****":                  {{"****", face{}}},
		`\*not italic\*`:        {{"*not italic*", face{}}},
		`C:\dir`:                {{`C:\dir`, face{}}},
		"[a](http://b)":         {{"a (http://b)", face{}}},
		"[http://b](http://b)":  {{"http://b", face{}}},
		"![a](http://b.png)":    {{"a (http://b.png)", face{}}},
		"a [b] (c) d! [e":       {{"a [b] (c) d! [e", face{}}},
		"<https://example.com>": {{"https://example.com", face{}}},
		"a < b > c":             {{"a < b > c", face{}}},
	} {
		t.Run(text, func(t *testing.T) {
			if diff := cmp.Diff(want, spansOf(text), cmp.AllowUnexported(span{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzMarkdown finds that nothing that is written is lost.
func FuzzMarkdown(f *testing.F) {
	f.Add(everything)
	f.Add("**a _b_ ~~c~~** `d` \\* 1. e\n- f\n> > g\n# h\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		var shown strings.Builder
		var read func(text string, quotes bool)
		read = func(text string, quotes bool) {
			for _, b := range blocksOf(text) {
				shown.WriteString(b.marker)
				switch {
				case b.kind == code:
					shown.WriteString(b.text)
				case b.kind == quote && quotes:
					read(b.text, false)
				default:
					for _, s := range spansOf(b.text) {
						shown.WriteString(s.text)
					}
				}
			}
		}
		read(text, true)
		for _, once := range []string{"```", "~~~", "]("} { // a language is not shown, an address only once
			if strings.Contains(text, once) {
				return
			}
		}
		if !utf8.ValidString(text) {
			return // no message is; halves of letters would make others
		}
		if diff := cmp.Diff(words(text), words(shown.String())); diff != "" {
			t.Error(diff)
		}
	})
}

// words returns the letters and digits of s.
func words(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}

// A text that is made to take long does not.
func TestMarkdownOfNothingButMarks(t *testing.T) {
	for _, mark := range []string{"*", "**a ", "_a ", "`", "[", "[a](", "![", "<", "> ", "\\", "~~~ ", "- ", "a*", "*a "} {
		text := strings.Repeat(mark, 32000/len(mark))
		for _, b := range blocksOf(text) {
			if got := spansOf(b.text); len(got) == 0 && b.text != "" {
				t.Errorf("%q is lost", mark)
			}
		}
	}
}

// What the bot says is text and nothing but: nothing is loaded, nothing opens.
func TestMarkdownIsShown(t *testing.T) {
	b := newFake()
	b.practice.lines = map[string][]bridge.Line{"knzaftd5": {
		{Time: atTime(), Author: alice(), Text: "**as it is**\nshow me everything"},
		{Time: atTime(), Author: bridge.Actor{Name: "Perch"}, Bot: true, Text: everything, Took: time.Second},
	}}
	x, p := practising(t, b, theme.VariantLight)
	x.golden("practice-markdown")
	x.shoot("practice-markdown")
	x.reads("**as it is**\nshow me everything")
	for _, o := range kittest.VisibleObjects(p.object()) {
		if rich, ok := o.(*widget.RichText); ok {
			for _, s := range rich.Segments {
				if _, ok := s.(*widget.TextSegment); !ok {
					t.Errorf("a %T is shown", s)
				}
			}
		}
		if h := o.MinSize().Height; h > 2000 {
			t.Errorf("%T is %v high", o, h)
		}
	}
}
