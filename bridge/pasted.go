package bridge

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pasted returns what somebody meant who pasted s: without the white space and
// the quotes around it, and without characters that cannot be seen, such as a
// byte order mark.
func Pasted(s string) string {
	s = strings.Map(func(r rune) rune {
		if unseen(r) {
			return -1
		}
		return r
	}, s)
	for {
		s = strings.TrimFunc(s, unicode.IsSpace)
		first, width := utf8.DecodeRuneInString(s)
		last, end := utf8.DecodeLastRuneInString(s)
		if len(s) < width+end || !quotes(first, last) {
			return s
		}
		s = s[width : len(s)-end]
	}
}

// unseen reports whether a character has no width: a soft hyphen, zero width
// spaces and joiners, marks of direction, a byte order mark.
func unseen(r rune) bool {
	return r == 0x00ad || 0x200b <= r && r <= 0x200f || 0x202a <= r && r <= 0x202e || 0x2060 <= r && r <= 0x2064 || 0x2066 <= r && r <= 0x2069 || r == 0xfeff
}

// quotes reports whether two characters quote what is between them, in any of
// the ways of typography.
func quotes(first, last rune) bool {
	switch first {
	case '"', '\'', '`':
		return last == first
	case '“', '”', '„':
		return last == '“' || last == '”'
	case '‘', '’', '‚':
		return last == '‘' || last == '’'
	case '«', '»':
		return last == '«' || last == '»'
	case '‹', '›':
		return last == '‹' || last == '›'
	}
	return false
}
