package doctor

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
)

// Private is what a report does not show: checks name it as they learn it. The
// zero Private hides nothing. It is safe for concurrent use.
type Private struct {
	mu     sync.Mutex
	values []hidden
	hid    bool
}

type hidden struct {
	value, as string
	secret    bool
}

// What hidden values are shown as.
const (
	SomeRoom = "TOKEN"   // a conversation token
	Somebody = "USER-ID" // a person's id
)

// Hide makes value, a person's id or a conversation's token, appear as what is
// given, except in a report that shows private things.
func (p *Private) Hide(value, as string) { p.add(hidden{value: value, as: as}) }

// HideSecret makes a secret appear as ***, always.
func (p *Private) HideSecret(s bridge.Secret) {
	p.add(hidden{value: s.Reveal(), as: bridge.Mask, secret: true})
}

func (p *Private) add(h hidden) {
	if h.value == "" || h.value == "*" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values = append(p.values, h)
	// A longer value first, lest a part of it be found in it.
	slices.SortStableFunc(p.values, func(a, b hidden) int { return cmp.Compare(len(b.value), len(a.value)) })
}

// Redact returns row without what is private; with show, only without secrets.
func (p *Private) Redact(row Row, show bool) Row {
	p.mu.Lock()
	values := slices.Clone(p.values)
	p.mu.Unlock()
	before := row
	redact := func(arg string) string {
		for _, h := range values {
			if h.secret || !show {
				arg = h.replace(arg)
			}
		}
		return arg
	}
	row.Seen, row.Why, row.Fix = row.Seen.Map(redact), row.Why.Map(redact), row.Fix.Map(redact)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hid = p.hid || row.Seen.String() != before.Seen.String() || row.Why.String() != before.Why.String() || row.Fix.String() != before.Fix.String()
	return row
}

// Hid reports whether Redact has hidden anything.
func (p *Private) Hid() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hid
}

// replace hides the value in s: a secret anywhere, anything else where it
// stands as a word of its own.
func (h hidden) replace(s string) string {
	if h.secret {
		return strings.ReplaceAll(s, h.value, h.as)
	}
	var b strings.Builder
	for rest, before := s, rune(0); ; {
		i := strings.Index(rest, h.value)
		if i < 0 {
			b.WriteString(rest)
			return b.String()
		}
		if i > 0 {
			before, _ = utf8.DecodeLastRuneInString(rest[:i])
		}
		after := rest[i+len(h.value):]
		b.WriteString(rest[:i])
		if isWord(before) || before == '.' || startsWord(after) {
			b.WriteString(h.value)
		} else {
			b.WriteString(h.as)
		}
		before, _ = utf8.DecodeLastRuneInString(h.value)
		rest = after
	}
}

func isWord(r rune) bool {
	return r != 0 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-' || r == '@')
}

// startsWord reports whether s goes on with a word, as ".example.com" does and
// the end of a sentence does not.
func startsWord(s string) bool {
	first, size := utf8.DecodeRuneInString(s)
	if first == '.' && size < len(s) {
		first, _ = utf8.DecodeRuneInString(s[size:])
	}
	return s != "" && isWord(first)
}
