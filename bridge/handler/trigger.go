package handler

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
	"perch/bridge/config"
)

// trigger says which messages a handler is asked.
type trigger struct {
	on     config.Trigger
	prefix string
	names  []string
	quoted bool // OnMention: a reply to what a bot wrote counts too; not for Commands
}

// match reports whether a message is for the handler, and returns its text
// without what called it: a suffix of m.Text.
func (t trigger) match(m bridge.Message) (text string, ok bool) {
	switch t.on {
	case config.OnAll:
		return m.Text, true
	case config.OnAddressed:
		return t.addressed(m)
	default:
	}
	if !startsWithObject(m) {
		start := strings.TrimLeftFunc(m.Text, unicode.IsSpace)
		if t.on == config.OnPrefix {
			text, ok = cutPrefix(start, t.prefix)
		} else {
			text, ok = cutName(start, t.names)
		}
		if ok {
			return text, true
		}
	}
	if t.on == config.OnMention && t.quoted && m.InReplyTo != nil && m.InReplyTo.Author.Type == bridge.ActorBot {
		return m.Text, true
	}
	return "", false
}

// mayHear reports whether a voice message can be for the handler: nobody says a
// prefix, and who speaks to an account's user mentions or answers them.
func (t trigger) mayHear(m bridge.Message) bool {
	switch t.on {
	case config.OnPrefix:
		return false
	case config.OnAddressed:
		return m.Addressed != ""
	default:
		return true
	}
}

// addressed is match for OnAddressed: without the mention of the account at the
// start, and without the prefix that a command may have all the same.
func (t trigger) addressed(m bridge.Message) (text string, ok bool) {
	if m.Addressed == "" || startsWithObject(m) {
		return m.Text, m.Addressed != ""
	}
	text = strings.TrimLeftFunc(m.Text, unicode.IsSpace)
	raw, _ := strings.CutPrefix(strings.TrimSpace(m.RawText), "{")
	name, _, _ := strings.Cut(raw, "}")
	if p := m.Parameters[name]; p["type"] == "user" && p["id"] == m.Addressed && raw != m.RawText {
		if rest, ok := cutName(text, []string{p["name"], p["mention-id"], p["id"]}); ok {
			text = rest
		}
	}
	if !t.quoted {
		if rest, ok := cutPrefix(text, t.prefix); ok {
			text = rest
		}
	}
	return text, true
}

// startsWithObject reports whether a message begins with something shared,
// whose name is not what its author wrote: a file can be named "!help.txt".
func startsWithObject(m bridge.Message) bool {
	raw, ok := strings.CutPrefix(strings.TrimSpace(m.RawText), "{")
	if !ok {
		return false
	}
	name, _, ok := strings.Cut(raw, "}")
	_, known := m.Parameters[name]
	return ok && known && !strings.HasPrefix(name, "mention-")
}

// cutPrefix returns what follows a prefix. After a prefix that ends a sentence
// as well, such as "!", it must begin with something else than white space or
// another such mark: "!", "!!!" and "! so" are no commands. After a prefix that
// ends in a letter or a digit, the word must end.
func cutPrefix(text, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(text, prefix)
	if !ok || prefix == "" || strings.TrimSpace(rest) == "" {
		return "", false
	}
	last, _ := utf8.DecodeLastRuneInString(prefix)
	next, _ := utf8.DecodeRuneInString(rest)
	switch {
	case strings.ContainsRune("!?.,", last):
		ok = !unicode.IsSpace(next) && !strings.ContainsRune("!?.,", next)
	case isWord(last):
		ok = !isWord(next)
	}
	return strings.TrimLeftFunc(rest, unicode.IsSpace), ok
}

// cutName returns what follows the longest of the names that text begins with,
// in letters of either case, with or without an @: "Perch, ping" and
// "@perch: ping", but not "perchance", "perch-like" or "Perch's".
func cutName(text string, names []string) (rest string, ok bool) {
	text = strings.TrimPrefix(text, "@")
	for _, name := range names {
		after, found := cutFold(text, strings.TrimPrefix(strings.TrimSpace(name), "@"))
		if found && endsWord(after) && (!ok || len(after) < len(rest)) {
			rest, ok = after, true
		}
	}
	return strings.TrimLeftFunc(strings.TrimLeft(rest, ",:;.!?…，：；。！？、"), unicode.IsSpace), ok
}

// cutFold is strings.CutPrefix for letters of either case. Nothing begins with
// an empty prefix.
func cutFold(s, prefix string) (after string, found bool) {
	end := 0
	for range utf8.RuneCountInString(prefix) {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	if prefix == "" || !strings.EqualFold(s[:end], prefix) {
		return "", false
	}
	return s[end:], true
}

// endsWord reports whether a word that s follows has ended: neither a letter
// nor a digit comes next, nor one of the marks that join words and then one.
func endsWord(s string) bool {
	next, size := utf8.DecodeRuneInString(s)
	if strings.ContainsRune("-–_.@/\\&+'’", next) && size > 0 {
		next, _ = utf8.DecodeRuneInString(s[size:])
	}
	return !isWord(next)
}

// isWord reports whether r is part of a word.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '_'
}
