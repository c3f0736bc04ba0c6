package ui

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

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

// outline returns blocks as a person sees them, one a line: what they are, and
// their text with <b>, <i>, <s> and <c> around what is bold, italic, struck or
// code.
func outline(blocks []block) []string {
	var all []string
	for _, b := range blocks {
		kind := map[blockKind]string{paragraph: "", heading: "# ", listItem: b.marker + " ", quote: "> ", code: "code ", rule: "---"}[b.kind]
		var text strings.Builder
		for _, s := range b.spans {
			var names strings.Builder
			for _, tag := range []struct {
				has  bool
				name string
			}{{s.face.Bold, "b"}, {s.face.Italic, "i"}, {s.face.Strikethrough, "s"}, {s.face.Monospace, "c"}} {
				if tag.has {
					names.WriteString(tag.name)
				}
			}
			tags := ""
			if names.Len() > 0 {
				tags = "<" + names.String() + ">"
			}
			text.WriteString(tags + s.text + strings.Replace(tags, "<", "</", 1))
		}
		inner := outline(b.blocks)
		if len(inner) == 0 {
			all = append(all, kind+text.String()+b.text)
		}
		for i, line := range inner {
			if i > 0 {
				kind = "  "
			}
			all = append(all, kind+line)
		}
	}
	return all
}

func TestMarkdownBlocks(t *testing.T) {
	want := []string{
		"# A heading",
		"Some <b>bold</b>, <i>italic</i>, <s>struck</s> and <c>code</c>,\non two lines, and a link (https://example.com/a_b_c).",
		"1. one",
		"2. two, which is so long that it goes on below: lorem ipsum dolor sit amet, consectetur adipiscing elit",
		"  • deeper",
		"  • deeper still",
		"> A quote with <b>bold</b> words\non two lines",
		"code func main() {\n\tprintln(\"**not bold**\")\n}",
		"code a │ b\n──┼──\n1 │ 2",
		"---",
		"<b>snake_case_name</b> 2 * 3 * 4 picture (https://example.com/p.png)",
	}
	if diff := cmp.Diff(want, outline(parseMarkdown(everything))); diff != "" {
		t.Error(diff)
	}
}

func TestMarkdown(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                  nil,
		"plain":                             {"plain"},
		"a **b** c":                         {"a <b>b</b> c"},
		"**b *bi* b**":                      {"<b>b </b><bi>bi</bi><b> b</b>"},
		"***both***":                        {"<bi>both</bi>"},
		"_i_ and __b__":                     {"<i>i</i> and <b>b</b>"},
		"~~gone~~":                          {"<s>gone</s>"},
		"`a ** b`":                          {"<c>a ** b</c>"},
		"``a ` b``":                         {"<c>a ` b</c>"},
		"**`b`**":                           {"<bc>b</bc>"},
		"`\\*&lt;`":                         {"<c>\\*&lt;</c>"},
		"snake_case_name":                   {"snake_case_name"},
		"2 * 3 * 4":                         {"2 * 3 * 4"},
		"an **open one":                     {"an **open one"},
		"a ` tick":                          {"a ` tick"},
		`\*not italic\*`:                    {"*not italic*"},
		`C:\dir`:                            {`C:\dir`},
		"a &lt; b &amp;& c":                 {"a < b && c"},
		`\&lt;`:                             {"&lt;"},
		"[a](http://b)":                     {"a (http://b)"},
		"[http://b](http://b)":              {"http://b"},
		"[**a**](http://b)":                 {"<b>a</b> (http://b)"},
		"![a](http://b.png)":                {"a (http://b.png)"},
		"![](http://b.png)":                 {"http://b.png"},
		"[a]: http://b":                     {"[a]: http://b"},
		"a [b] (c) d! [e":                   {"a [b] (c) d! [e"},
		"<https://example.com>":             {"https://example.com"},
		"a < b > c":                         {"a < b > c"},
		"<div>\n*a*\n</div>":                {"<div>\n<i>a</i>\n</div>"},
		"one\ntwo  \nthree":                 {"one\ntwo\nthree"},
		"- a\n\n  b\n- c":                   {"• a", "  b", "• c"},
		"3) c\n4) d":                        {"3) c", "4) d"},
		"    one\n\n      two":              {"code one\n\n  two"},
		"```\n\n a\n\n\nb\n```":             {"code \n a\n\n\nb"},
		"- a\n  ```\n  b\n   c\n  ```":      {"• a", "  code b\n c"},
		"> > > > > > > > > a":               {"> > > > > > code a"},
		"| 名 | b |\n|-|-|\n| 1 | **2** |\n": {"code 名 │ b\n───┼──\n1  │ 2"},
	} {
		t.Run(text, func(t *testing.T) {
			if diff := cmp.Diff(want, outline(parseMarkdown(text))); diff != "" {
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
		var read func([]block)
		read = func(blocks []block) {
			for _, b := range blocks {
				shown.WriteString(b.marker + plain(b.spans) + b.text)
				read(b.blocks)
			}
		}
		read(parseMarkdown(text))
		// A language is not shown, nor the title of a link, an address only once;
		// an entity is a character; lists count on from their first number.
		if regexp.MustCompile("```|~~~|\\]\\(|&|[0-9][.)]|\\|").MatchString(text) {
			return
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
	for _, mark := range []string{"*", "**a ", "_a ", "`", "[", "[a](", "![", "<", "> ", "\\", "~~~ ", "- ", "1. ", "a*", "*a ", "|", "| a |\n|-|\n", "&", "&#"} {
		text := strings.Repeat(mark, 32000/len(mark))
		if len(outline(parseMarkdown(text))) == 0 {
			t.Errorf("%q is lost", mark)
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
	x.looks("practice-markdown")
	x.fits()
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
