package bridge

import (
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CleanText returns s as text that can be stored and posted anywhere: line ends
// are \n, sequences that steer a terminal (colours, titles, links) are taken out
// whole, what a backspace overprints is gone, invalid UTF-8 is U+FFFD, and of
// control characters only \n and \t are left. There is no NUL, which databases
// refuse. Everything else stays as it is.
func CleanText(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return s
	}
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.NewReplacer("\r\r\n", "\n", "\r\n", "\n", "\r", "\n").Replace(s)
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		if n := sequence(s); n > 0 {
			s = s[n:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == '\b':
			if last, n := utf8.DecodeLastRune(out); last != '\n' {
				out = out[:len(out)-n]
			}
		case !unicode.IsControl(r) || r == '\n' || r == '\t':
			out = append(out, s[:size]...)
		}
		s = s[size:]
	}
	return string(out)
}

// sequence returns the length of the terminal sequence that s begins with, or 0.
func sequence(s string) int {
	first, n := utf8.DecodeRuneInString(s)
	var kind byte
	switch {
	case first == '\x1b' && len(s) > 1:
		kind = s[1]
		n = 2
	case first >= 0x80 && first < 0xa0: // the same in one character
		kind = byte(first) - 0x40
	default:
		return 0
	}
	skip := func(low, high byte) {
		for n < len(s) && s[n] >= low && s[n] <= high {
			n++
		}
	}
	switch {
	case kind == '[': // control sequence: parameters, intermediates, final
		skip(0x30, 0x3f)
		skip(0x20, 0x2f)
		if n < len(s) && s[n] >= 0x40 && s[n] <= 0x7e {
			n++
		}
	case strings.IndexByte("]PX^_", kind) >= 0: // a string, such as a title, until its terminator
		for ; n < len(s) && s[n] != '\n'; n++ {
			for _, end := range []string{"\a", "\x1b\\", "\u009c"} {
				if strings.HasPrefix(s[n:], end) {
					return n + len(end)
				}
			}
		}
	case first != '\x1b': // it has no more
	case kind >= 0x20 && kind <= 0x2f: // intermediates, final
		skip(0x20, 0x2f)
		if n < len(s) && s[n] >= 0x30 && s[n] <= 0x7e {
			n++
		}
	case kind < 0x30 || kind > 0x7e: // nothing that belongs to it
		n = 1
	}
	return n
}

var titlePattern = regexp.MustCompile(`(?i)<title[^>]*>([^<]*)<`)

// PageTitle returns the title of a web page, shortened; empty if it has none.
func PageTitle(page []byte) string {
	const most = 100
	found := titlePattern.FindSubmatch(page[:min(len(page), 64<<10)])
	if found == nil {
		return ""
	}
	words := strings.FieldsFunc(html.UnescapeString(strings.ToValidUTF8(string(found[1]), "")), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
	title := []rune(strings.Join(words, " "))
	return string(title[:min(len(title), most)])
}
