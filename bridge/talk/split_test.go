package talk_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"perch/bridge/talk"
)

func TestSplit(t *testing.T) {
	const family = "👨\u200d👩\u200d👧" // 5 code points
	tests := []struct {
		name  string
		text  string
		limit int
		want  []string
	}{
		{"empty", "", 10, nil},
		{"blank", " \n\t ", 2, nil},
		{"short enough", "  as it is \n", 12, []string{"  as it is \n"}},
		{"exactly", "ääääää", 6, []string{"ääääää"}},
		{"code points, not bytes", "😀😀😀😀", 4, []string{"😀😀😀😀"}},
		{"paragraph before line", "one two\n\nthree\nfour. five six", 20, []string{"one two", "three\nfour. five six"}},
		{"line before sentence", "one two\nthree. four five", 20, []string{"one two", "three. four five"}},
		{"sentence before word", "one two. three four five six", 20, []string{"one two.", "three four five six"}},
		{"sentence in quotes", `"One two." three four five`, 20, []string{`"One two."`, "three four five"}},
		{"sentence without a space", "一二三四五。六七八九十一二三", 10, []string{"一二三四五。", "六七八九十一二三"}},
		{"number is no sentence", "aaaa 3.14159 bbbb", 14, []string{"aaaa 3.14159", "bbbb"}},
		{"word", "aaaa bbbb cccc", 10, []string{"aaaa bbbb", "cccc"}},
		{"word that just fits", "aaaa bbbbb cccc", 10, []string{"aaaa bbbbb", "cccc"}},
		{"a good place too early", "a\n\nbbbb cccc dddd", 13, []string{"a\n\nbbbb cccc", "dddd"}},
		{"any place before a cut word", "a\n\nbbbbbbbbbb", 11, []string{"a", "bbbbbbbbbb"}},
		{"no space", "aaaaaaaaaaaa", 5, []string{"aaaaa", "aaaaa", "aa"}},
		{"not at a no-break space", "aaa 10\u00a0km b", 8, []string{"aaa", "10\u00a0km b"}},
		{"much white space", "a" + strings.Repeat(" ", 50) + "b", 10, []string{"a", "b"}},
		{"many lines", "a" + strings.Repeat("\n", 50) + "b", 10, []string{"a", "b"}},
		{"carriage returns", "aaaa\r\n\r\nbbbb\r\ncccc", 12, []string{"aaaa", "bbbb\r\ncccc"}},
		{"indentation stays", "- aaaa\n  - bbbb\n  - cccc", 16, []string{"- aaaa\n  - bbbb", "  - cccc"}},
		{"indentation that does not fit", "aaaa\n" + strings.Repeat(" ", 20) + "bbbb", 8, []string{"aaaa", "bbbb"}},
		{"combining marks", "e\u0301e\u0301e\u0301", 3, []string{"e\u0301", "e\u0301", "e\u0301"}},
		{"family", "a" + family + "b", 5, []string{"a", family, "b"}},
		{"skin tone", "👍🏽👍🏽👍🏽", 3, []string{"👍🏽", "👍🏽", "👍🏽"}},
		{"variation selector", "❤️❤️❤️", 3, []string{"❤️", "❤️", "❤️"}},
		{"keycap", "1\ufe0f\u20e32\ufe0f\u20e3", 4, []string{"1\ufe0f\u20e3", "2\ufe0f\u20e3"}},
		{"flags", "🇩🇪🇫🇷🇮🇹", 3, []string{"🇩🇪", "🇫🇷", "🇮🇹"}},
		{"Hangul letters", "\u1112\u1161\u11ab\u1112\u1161\u11ab", 4, []string{"\u1112\u1161\u11ab", "\u1112\u1161\u11ab"}},
		{"Thai vowel", "กำกำกำ", 3, []string{"กำ", "กำ", "กำ"}},
		{"prefix", "\u0600ا\u0600ا\u0600ا", 3, []string{"\u0600ا", "\u0600ا", "\u0600ا"}},
		{"wide letters", "一二三四五六", 4, []string{"一二三四", "五六"}},
		{"mark on a space", "aaaa \u0301bbbb", 6, []string{"aaaa \u0301", "bbbb"}},
		{"limit 1", "ab c", 1, []string{"a", "b", "c"}},
		{"limit 0", "ab", 0, []string{"a", "b"}},
		{"limit below a character", "👨\u200d👩", 1, []string{"👨", "\u200d", "👩"}},
		{
			"fence is closed and opened", "```go\nfunc a() {\n\treturn\n}\nfunc b() {\n\treturn\n}\n```", 40,
			[]string{"```go\nfunc a() {\n\treturn\n}\n```", "```go\nfunc b() {\n\treturn\n}\n```"},
		},
		{
			"fence with two words", "~~~text  number=1\naaaaaaaaaa aaaaaaaaaa\nbbbbbbbbbb bbbbbbbbbb\ncccccccccc cccccccccc\n~~~\n", 72,
			[]string{"~~~text  number=1\naaaaaaaaaa aaaaaaaaaa\nbbbbbbbbbb bbbbbbbbbb\n~~~", "~~~text  number=1\ncccccccccc cccccccccc\n~~~"},
		},
		{
			"longer fence around a shorter", "`````\n```\naaaaaaaaaaaaaaaaaa\n```\nbbbbbbbbbbbbbbbbbb\n`````", 44,
			[]string{"`````\n```\naaaaaaaaaaaaaaaaaa\n```\n`````", "`````\nbbbbbbbbbbbbbbbbbb\n`````"},
		},
		{
			"not in a fence if there is a place before", "aaaa bbbb\ncccc\n```\ndddd\neeee\n```", 30,
			[]string{"aaaa bbbb\ncccc", "```\ndddd\neeee\n```"},
		},
		{
			"no empty fence before", "aaaaaaaaaaaaaaaaaaaa\n```\nbbbbbbbbbbbbbbbbbbbb\ncccc\n```", 30,
			[]string{"aaaaaaaaaaaaaaaaaaaa", "```\nbbbbbbbbbbbbbbbbbbbb\n```", "```\ncccc\n```"},
		},
		{
			"no empty fence after", "```\naaaaaaaaaa\nbbbbbbbbbb\n```\ncccccccccc", 30,
			[]string{"```\naaaaaaaaaa\nbbbbbbbbbb\n```", "cccccccccc"},
		},
		{
			"indented code keeps its indentation", "```py\nif a:\n    bbbbbbbb\n    cccccccc\n```", 34,
			[]string{"```py\nif a:\n    bbbbbbbb\n```", "```py\n    cccccccc\n```"},
		},
		{
			"long line in a fence", "```\naaaaaaaa bbbbbbbb cccccccc\n```", 26,
			[]string{"```\naaaaaaaa bbbbbbbb\n```", "```\ncccccccc\n```"},
		},
		{
			"not right after the start of a fence", "```long-name\naaaaaaaa bbbbbbbb cccccccc\n```", 36,
			[]string{"```long-name\naaaaaaaa bbbbbbbb\n```", "```\ncccccccc\n```"},
		},
		{
			"fence that is never closed", "```\naaaaaaaa\nbbbbbbbb\ncccccccc", 26,
			[]string{"```\naaaaaaaa\nbbbbbbbb\n```", "```\ncccccccc"},
		},
		{
			"code in a line is no fence", "```aaaa``` bbbb cccc dddd eeee", 20,
			[]string{"```aaaa``` bbbb cccc", "dddd eeee"},
		},
		{
			"code in a line does not become a fence", "aaaa bbbb cccc ``` dddd ``` eeee", 17,
			[]string{"aaaa bbbb", "cccc ``` dddd ```", "eeee"},
		},
		{
			"four spaces make no fence", "    ```\naaaa bbbb\ncccc dddd", 20,
			[]string{"    ```\naaaa bbbb", "cccc dddd"},
		},
		{
			"no room for the fence", "```\naaaa bbbb\n```", 8,
			[]string{"```\n```", "aaaa", "bbbb\n```"},
		},
		{
			"long info string is dropped", "```aaaaaaaaaaaaaaaaaaaa\nbbbbbbbb\ncccccccc\n```", 40,
			[]string{"```aaaaaaaaaaaaaaaaaaaa\nbbbbbbbb\n```", "```\ncccccccc\n```"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, talk.Split(tt.text, tt.limit)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSplitLargest(t *testing.T) {
	paragraph := strings.Repeat("A sentence of a long text. ", 400)
	text := strings.Repeat(paragraph+"\n\n", 100)
	for _, limit := range []int{1, 100, 32000} {
		checkParts(t, text, limit, talk.Split(text, limit))
	}
	if parts := talk.Split(text, 32000); len(parts) != 50 {
		t.Errorf("%d parts", len(parts))
	}
}

func FuzzSplit(f *testing.F) {
	for _, r := range webhooks(f) {
		f.Add(r.Body, 40)
	}
	f.Add("```go\nfunc main() {\n\tprintln(1)\n}\n```\n\ntext 👨‍👩‍👧 e\u0301 🇩🇪🇫🇷. more\n~~~\n```\n~~~\nend", 20)
	f.Add("a ``` b ``` c\n   ```` x\n```\n````\n \n\n\u00a0x", 17)
	f.Add("0\xc5 \x9d0\xff\n\xf0\x9f", 2)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		if len(text) > 1<<14 {
			return
		}
		limit %= 256
		checkParts(t, text, limit, talk.Split(text, limit))
	})
}

// TestSplitShuffled splits texts put together at random, always the same, from
// what is hard to split.
func TestSplitShuffled(t *testing.T) {
	pieces := []string{
		"\n", "\n", "\n\n", "\n```\n", "\n```go\n", "\n~~~\n", "\n`````\n", "\n  ```\n", "\n~~~~ x=1\n", "```", "~~~",
		" ", "  ", "\t", "\r\n", "\u00a0", "a", "bb", "ccc", "d.", "e! ", "界。", "`", "`f`", "**g**", "\"", "{file}", "123",
		"e\u0301", "👍🏽", "👨\u200d👩\u200d👧", "🇩🇪", "🇫🇷🇮🇹", "❤️", "\u1112\u1161\u11ab",
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		var b strings.Builder
		for range 1 + random.IntN(120) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		limit := 1 + random.IntN(200)
		checkParts(t, b.String(), limit, talk.Split(b.String(), limit))
		if t.Failed() {
			t.Fatalf("text %d", i)
		}
	}
}

// checkParts checks what is true of every split.
func checkParts(t *testing.T, text string, limit int, parts []string) {
	t.Helper()
	limit = max(limit, 1)
	valid := utf8.ValidString(text)
	for _, part := range parts {
		if n := utf8.RuneCountInString(part); n > limit {
			t.Errorf("a part has %d code points, more than %d: %q", n, limit, part)
		}
		if strings.TrimSpace(part) == "" {
			t.Errorf("a part is blank: %q", part)
		}
		if valid && !utf8.ValidString(part) {
			t.Errorf("a code point is cut: %q", part)
		}
	}
	if utf8.RuneCountInString(text) <= limit && strings.TrimSpace(text) != "" && (len(parts) != 1 || parts[0] != text) {
		t.Errorf("a text within the limit became %q", parts)
	}

	if !valid { // Bytes may become another character where they meet.
		return
	}
	whole, joined := withoutSpace(text), withoutSpace(strings.Join(parts, ""))
	if !strings.Contains(text, "```") && !strings.Contains(text, "~~~") {
		if whole != joined {
			t.Errorf("limit %d lost or added something:\n%q became\n%q", limit, whole, joined)
		}
	} else if !isWithin(whole, joined) {
		t.Errorf("limit %d lost something:\n%q became\n%q", limit, whole, joined)
	}
	if limit >= 40 && len(parts) > 1 {
		checkCharacters(t, text, parts)
	}

	// Where every line has room beside the fences, each cut is between lines,
	// and a reader sees the same lines, in and out of code.
	longest := 0
	for line := range strings.Lines(text) {
		longest = max(longest, utf8.RuneCountInString(strings.TrimSpace(line)))
		if indentation := len(line) - len(strings.TrimLeftFunc(line, unicode.IsSpace)); indentation > limit/16 {
			return
		}
	}
	if limit < 40 || longest > limit/8 {
		return
	}
	want, _ := commonMark(text)
	var got []string
	for i, part := range parts {
		lines, open := commonMark(part)
		if open && i < len(parts)-1 {
			t.Errorf("a part leaves a fence open: %q", part)
		}
		got = append(got, lines...)
	}
	if !slices.Equal(want, got) {
		t.Errorf("limit %d: a reader sees other lines: %s\n%q", limit, cmp.Diff(want, got), parts)
	}
}

// checkCharacters checks that no part starts with what belongs to the character
// before it: those of the text that are shorter than ten code points.
func checkCharacters(t *testing.T, text string, parts []string) {
	t.Helper()
	marks := 0
	for _, r := range text {
		if marks++; !unicode.Is(unicode.M, r) && r != '\u200d' && r != '\u200c' && (r < 0x1f3fb || r > 0x1f3ff) && (r < 0xe0020 || r > 0xe007f) {
			marks = 0
		}
		if marks > 10 || r == '\u200d' && strings.Count(text, "\u200d") > 5 {
			return
		}
	}
	for i, part := range parts[1:] {
		first, _ := utf8.DecodeRuneInString(part)
		last, _ := utf8.DecodeLastRuneInString(parts[i])
		if unicode.Is(unicode.Mn, first) && !startsLine(text, part) || last == '\u200d' && !endsWord(text, parts[i]) {
			t.Errorf("a character is cut between %q and %q", parts[i], part)
		}
	}
}

// startsLine reports whether the start of part stands at the start of a line of text.
func startsLine(text, part string) bool {
	start := part[:min(len(part), 8)]
	for !utf8.ValidString(start) && start != "" {
		start = start[:len(start)-1]
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimLeftFunc(line, unicode.IsSpace), start) {
			return true
		}
	}
	return false
}

// endsWord reports whether the end of part stands before white space in text.
func endsWord(text, part string) bool {
	end := part[max(0, len(part)-8):]
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, end)
		if !ok {
			return false
		}
		if next, _ := utf8.DecodeRuneInString(after); unicode.IsSpace(next) {
			return true
		}
		rest = after
	}
}

func withoutSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// isWithin reports whether all of s stands in whole, in order.
func isWithin(s, whole string) bool {
	i := 0
	for j := 0; i < len(s) && j < len(whole); j++ {
		if s[i] == whole[j] {
			i++
		}
	}
	return i == len(s)
}

// commonMark returns the lines of text that are not blank, those of code with
// the info string of their fence, and whether a fence is open at the end. It
// knows of fences only.
func commonMark(text string) (lines []string, open bool) {
	var marker, info string
	for line := range strings.Lines(text) {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		bare := strings.TrimLeft(line, " ")
		n := len(bare) - len(strings.TrimLeft(bare, "`"))
		if n == 0 {
			n = len(bare) - len(strings.TrimLeft(bare, "~"))
		}
		isFence := n >= 3 && len(line)-len(bare) < 4
		switch {
		case open && isFence && strings.HasPrefix(bare, marker) && len(bare) == n:
			open = false
		case open:
			if strings.TrimSpace(line) != "" {
				lines = append(lines, "code "+info+": "+line)
			}
		case isFence && (bare[0] == '~' || !strings.Contains(bare[n:], "`")):
			open, marker, info = true, bare[:n], strings.TrimSpace(bare[n:])
		case strings.TrimSpace(line) != "":
			lines = append(lines, "text: "+line)
		}
	}
	return lines, open
}

func BenchmarkSplit(b *testing.B) {
	text := strings.Repeat(strings.Repeat("A sentence of a long text. ", 20)+"\n\n", 200)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		talk.Split(text, 32000)
	}
}
