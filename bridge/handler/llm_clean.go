package handler

import (
	"cmp"
	"regexp"
	"strings"
)

// clean returns the text of an answer as it is meant for the room: without what a
// model thinks aloud, without the marks of its prompt's template, and without
// its own name in front. What stands in code or between quotation marks is text.
func (l LLM) clean(text string) string {
	return l.withoutName(withoutMarks(withoutThoughts(finalChannel(text))))
}

// withoutThoughts returns the text without what a reasoning model thinks aloud.
func withoutThoughts(text string) string {
	text = regexp.MustCompile(`(?is)^\s*here(?:'s| is) my thought process:.*?\n\s*here(?:'s| is) my response:`).ReplaceAllString(text, "") // Granite
	const word = `(?:\w+:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|ant_?thinking|internal_monologue|longcat_think)`
	marks := regexp.MustCompile(`(?i)(` + // what ends one
		`</\s*` + word + `\s*>|\[/(?:think|thinking|thought)\]|◁/\s*think\s*▷|<\|end_(?:of_)?(?:thought|thinking)\|>|<\|/(?:think|thinking|thought)\|>|<channel\|>|<unused95>` +
		`)|` + // what begins one
		`<\s*` + word + `(?:\s[^<>]*)?>|\[(?:think|thinking|thought)\]|◁\s*think\s*▷|<\|(?:begin_of|start)_(?:thought|thinking)\|>|<\|(?:think|thinking|thought)\|>|<\|channel>thought|<unused94>(?:thought)?`)
	var said strings.Builder
	var code codeState
	from, seen := 0, 0 // what is not decided yet begins at from; code knows what is before seen
	thinks, closed := false, false
	all := marks.FindAllStringSubmatchIndex(text, -1)
	last := -1 // that ends a thought
	for i, at := range all {
		if at[2] >= 0 {
			last = i
		}
	}
	for i, at := range all {
		begin, end, closes := at[0], at[1], at[2] >= 0
		if !thinks {
			code.read(text[seen:begin])
			seen = begin
		}
		switch {
		case thinks && closes && (i == last || !isQuoted(text, begin, end)):
			thinks, closed, from, seen = false, true, end, end
		case thinks, isQuoted(text, begin, end), code.holds(text[end:]):
		case !closes:
			said.WriteString(text[from:begin])
			thinks = true
		case closed && strings.TrimSpace(text[end:]) == "": // one too many
			said.WriteString(text[from:begin])
			from, seen = end, end
		default: // the prompt's template began the thought
			closed, from, seen, code = true, end, end, codeState{}
		}
	}
	if !thinks {
		said.WriteString(text[from:])
	}
	return said.String()
}

// codeState tells where code stands in Markdown that is read from its beginning.
type codeState struct {
	fenced bool
	ticks  int // in this line
	begun  bool
}

func (c *codeState) read(text string) {
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); !c.begun && (strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~")) {
			c.fenced = !c.fenced
		} else if !c.fenced {
			c.ticks += strings.Count(line, "`")
		}
		if c.begun = !strings.HasSuffix(line, "\n"); !c.begun {
			c.ticks = 0
		}
	}
}

// holds reports whether what was read ends within code, that after goes on with.
func (c *codeState) holds(after string) bool {
	line, _, _ := strings.Cut(after, "\n")
	return c.fenced || c.ticks%2 == 1 && strings.Contains(line, "`")
}

// isQuoted reports whether a part of text stands between quotation marks.
func isQuoted(text string, begin, end int) bool {
	before, after := text[:begin], text[end:]
	for _, pair := range [][2]string{{"`", "`"}, {`"`, `"`}, {"'", "'"}, {"“", "”"}, {"„", "“"}, {"«", "»"}} {
		if strings.HasSuffix(before, pair[0]) && strings.HasPrefix(after, pair[1]) {
			return true
		}
	}
	return false
}

// finalChannel returns what an answer in the "harmony" form of gpt-oss says to
// its reader, and any other as it is.
func finalChannel(text string) string {
	const channel = "<|channel|>"
	first := regexp.MustCompile(`<\|channel\|>\s*(?:analysis|commentary|final)\b`).FindStringIndex(text)
	if first == nil || isCode(text, first[0]) {
		if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "analysis") { // the marks are gone, the words are not
			if at := strings.LastIndex(trimmed, "assistantfinal"); at > 0 {
				return trimmed[at+len("assistantfinal"):]
			}
		}
		return text
	}
	end := regexp.MustCompile(`<\|(?:end|return|call|start)\|>`)
	var final, comment string
	for part := range strings.SplitSeq(text[first[0]+len(channel):], channel) {
		head, body, _ := strings.Cut(part, "<|message|>")
		if at := end.FindStringIndex(body); at != nil {
			body = body[:at[0]]
		}
		switch head = strings.TrimSpace(head); {
		case strings.HasPrefix(head, "final"):
			final += body
		case strings.HasPrefix(head, "commentary") && !strings.Contains(head, "to="): // else it calls a tool
			comment += body
		}
	}
	return cmp.Or(final, comment)
}

func isCode(text string, at int) bool {
	var code codeState
	code.read(text[:at])
	return code.holds(text[at:])
}

// withoutMarks returns the text without marks of a prompt's template. One that
// ends a turn ends the answer: models go on with a turn of others after it.
func withoutMarks(text string) string {
	text = regexp.MustCompile(`^assistant\s*\n`).ReplaceAllString(strings.TrimSpace(text), "") // of a turn's header
	if inner, ok := strings.CutPrefix(text, "<s>"); ok && strings.TrimSuffix(inner, "</s>") == strings.ReplaceAll(inner, "</s>", "") {
		text = inner // else something is struck out
	}
	marks := regexp.MustCompile(`(?i)(` + // what ends a turn
		`<\|(?:im_end|im_start|eot_id|eom_id|eot|eos|end|end_of_text|endoftext|end_of_turn(?:_token)?|start_of_turn_token|end_of_sentence|start_header_id|return|call|start|user|system|assistant|chatbot_token|tool)\|>` +
		`|<｜(?:end▁of▁sentence|user|assistant)｜>|</s>|<(?:start|end)_of_turn>|<eot>|<turn\|>|\[/?INST\]` +
		`)(?:(?:assistant|model)\b)?\s*|` + // what is there besides
		`<\|[a-z0-9_▁/-]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<(?:bos|eos|pad|unk)>|<\|turn>(?:model|assistant)?\s*`)
	var said strings.Builder
	var code codeState
	from, seen := 0, 0
	for _, at := range marks.FindAllStringSubmatchIndex(text, -1) {
		begin, end := at[0], at[1]
		code.read(text[seen:begin])
		seen = begin
		mark := strings.TrimSpace(text[begin:end])
		if isQuoted(text, begin, begin+len(mark)) || code.holds(text[end:]) || mark == "</s>" && strings.Contains(text[:begin], "<s>") {
			continue
		}
		said.WriteString(text[from:begin])
		from, seen = end, end
		if at[2] >= 0 && strings.TrimSpace(said.String()) != "" {
			return said.String()
		}
	}
	return said.String() + text[from:]
}

// withoutName returns the text without the name of who says it in front, as
// models take it from the form of the messages of others.
func (l LLM) withoutName(text string) string {
	var names []string
	for _, name := range append([]string{l.Model, "Assistant"}, l.Names...) {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	front := regexp.MustCompile(`^(?i)(?:\s*[*_\[]{0,3}(?:` + strings.Join(names, "|") + `)[*_\]]{0,3}\s*(?::[*_]{0,3}(?:\s+|$)|：[*_]{0,3}\s*))+`)
	return front.ReplaceAllString(text, "")
}
