package config

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/creachadair/tomledit/parser"
	"github.com/creachadair/tomledit/scanner"
)

// revise returns a config.toml in which what differs from c is changed, and
// everything else is as the person wrote it: comments, order, spacing. Secrets
// are taken out. It reports false if it cannot do that, because old is not
// valid or is written in a way that it does not know.
func revise(old []byte, c Config) (revised []byte, ok bool) {
	var bom []byte
	if mark := []byte("\ufeff"); bytes.HasPrefix(old, mark) {
		bom, old = mark, old[len(mark):]
	}
	r := &revision{text: string(old), eol: "\n"}
	if strings.Contains(r.text, "\r\n") {
		r.eol = "\r\n"
	}
	if r.scan() != nil {
		return nil, false
	}
	for _, s := range r.statements {
		if !s.heading && secretAt(s.path) != "" {
			r.remove(s)
		}
	}
	if r.text = r.edited(); r.scan() != nil {
		return nil, false
	}
	was, _, err := Parse("", []byte(r.text))
	if err != nil {
		return nil, false
	}
	if _, err := c.Validate(); err != nil {
		return nil, false
	}
	if r.apply(was, c) != nil {
		return nil, false
	}
	revised = []byte(r.edited())
	is, _, err := Parse("", revised)
	return append(bom, revised...), err == nil && reflect.DeepEqual(is, c)
}

// revision is a config.toml that is being changed.
type revision struct {
	text       string
	eol        string
	statements []statement
	edits      []edit
}

// statement is what a file says on one line or more: a heading or the value of
// a key.
type statement struct {
	path          toml.Key // the table's, or with it the key's
	heading, list bool     // [path], [[path]]
	inList        int      // in which table of a list a key is, from 1; else 0
	comment       int      // where the comment right above begins; start if there is none
	start, end    int      // its lines
	value, behind int      // its value begins and ends there
}

type edit struct {
	start, end int
	text       string
}

// scan finds the statements.
func (r *revision) scan() error {
	r.statements, r.edits = nil, nil
	tokens := scanner.New(strings.NewReader(r.text))
	var table toml.Key
	inList, lists := 0, map[string]int{}
	var s *statement // the one under way
	comment := -1    // where the comment above it begins
	depth, equal, last := 0, -1, 0
	finish := func(end int) error {
		if s == nil {
			return nil
		}
		s.end = end
		head := r.text[s.start:last]
		if s.heading {
			head = strings.Trim(strings.TrimSpace(head), "[]")
		} else {
			if equal < 0 {
				return errors.New("a line without a value")
			}
			head, s.behind = r.text[s.start:equal], last
		}
		path, err := parser.ParseKey(strings.TrimSpace(head))
		if err != nil {
			return err
		}
		if s.path = toml.Key(path); s.heading {
			table, inList = s.path, 0
			if s.list {
				lists[table.String()]++
				inList = lists[table.String()]
			}
		} else {
			s.path = slices.Concat(table, s.path)
		}
		s.inList = inList
		r.statements = append(r.statements, *s)
		s, comment, equal = nil, -1, -1
		return nil
	}
	blank := true // nothing was on the line so far
	for {
		err := tokens.Next()
		if errors.Is(err, io.EOF) {
			return finish(len(r.text))
		}
		if err != nil {
			return err
		}
		token, span := tokens.Token(), tokens.Span()
		if token == scanner.Newline {
			if depth == 0 {
				if s == nil && blank {
					comment = -1
				}
				if err := finish(span.End); err != nil {
					return err
				}
			}
			blank = true
			continue
		}
		if token == scanner.Comment {
			if s == nil && comment < 0 {
				comment = r.lineStart(span.Pos)
			}
			if depth == 0 { // It has the end of its line with it.
				if err := finish(span.End); err != nil {
					return err
				}
			}
			blank = true
			continue
		}
		if s == nil {
			s = &statement{start: r.lineStart(span.Pos), heading: token == scanner.LBracket, value: -1}
			if s.comment = s.start; comment >= 0 {
				s.comment = comment
			}
			s.list = s.heading && strings.HasPrefix(r.text[span.Pos:], "[[")
		}
		switch token { //nolint:exhaustive // The others have no effect on the layout.
		case scanner.LBracket, scanner.LInline:
			depth++
		case scanner.RBracket, scanner.RInline:
			depth--
		case scanner.Equal:
			if equal < 0 {
				equal = span.Pos
				last = span.End
				continue
			}
		}
		if equal >= 0 && s.value < 0 {
			s.value = span.Pos
		}
		blank, last = false, span.End
	}
}

// lineStart returns where the line of a position begins.
func (r *revision) lineStart(pos int) int { return strings.LastIndexByte(r.text[:pos], '\n') + 1 }

func (r *revision) insert(at int, text string) { r.edits = append(r.edits, edit{at, at, text}) }

// remove takes a statement out. A comment above it that Perch wrote goes, too.
func (r *revision) remove(s statement) {
	start := s.start
	above := strings.TrimSpace(strings.TrimPrefix(r.text[s.comment:s.start], "#"))
	c := Default()
	if slices.ContainsFunc(newDraft(&c).keys(), func(k key) bool { return k.describe() == above }) {
		start = s.comment
	}
	r.edits = append(r.edits, edit{start, s.end, ""})
}

// edited returns the text with all edits.
func (r *revision) edited() string {
	slices.SortStableFunc(r.edits, func(a, b edit) int { return a.start - b.start })
	var b strings.Builder
	done := 0
	for _, e := range r.edits {
		if e.start > done {
			b.WriteString(r.text[done:e.start])
		}
		if e.text != "" && e.start == e.end && b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
			b.WriteString(r.eol) // The last line of the file had no end.
		}
		b.WriteString(e.text)
		done = max(done, e.end)
	}
	b.WriteString(r.text[done:])
	return b.String()
}

// find returns the statements of a key, and whether its table has a heading.
func (r *revision) find(path toml.Key) (found []statement) {
	for _, s := range r.statements {
		if !s.heading && s.inList == 0 && slices.Equal(s.path, path) {
			found = append(found, s)
		}
	}
	return found
}

// endOf returns where the keys of a table end: behind its last one, or its
// heading. It reports false if there is no such heading.
func (r *revision) endOf(table toml.Key) (at int, ok bool) {
	inside := len(table) == 0
	ok = inside
	for _, s := range r.statements {
		if s.heading {
			inside = !s.list && slices.Equal(s.path, table)
		}
		if inside {
			at, ok = s.end, true
		}
	}
	return at, ok
}

// apply changes what c says otherwise than was.
func (r *revision) apply(was, c Config) error {
	before := map[string]key{}
	for _, k := range newDraft(&was).keys() {
		before[k.name()] = k
	}
	r.removeTables(was, c)
	var tables []toml.Key // that are new, in their order
	added := map[string]string{}
	for _, k := range newDraft(&c).keys() {
		old, there := before[k.name()]
		if there && k.same(old) {
			continue
		}
		text, err := r.change(k, old)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		table := k.path[:len(k.path)-1]
		if _, ok := added[table.String()]; !ok {
			tables = append(tables, table)
		}
		added[table.String()] += text
	}
	for _, table := range tables {
		text := added[table.String()]
		if at, ok := r.endOf(table); ok {
			r.insert(at, text)
			continue
		}
		r.insert(len(r.text), r.eol+"["+table.String()+"]"+r.eol+text)
	}
	return nil
}

// same reports whether two configurations have the same value.
func (k key) same(other key) bool {
	if list, ok := k.value.(*commandValue); ok {
		was, _ := other.value.(*commandValue)
		return slices.Equal(list.Command, was.Command) && slices.Equal(list.Commands, was.Commands)
	}
	if list, ok := k.value.(*toolsValue); ok {
		was, _ := other.value.(*toolsValue)
		return list.empty() && was.empty() || reflect.DeepEqual(list.Tools, was.Tools)
	}
	return reflect.DeepEqual(k.value, other.value)
}

// removeTables takes out the handlers and rooms that are no more.
func (r *revision) removeTables(was, c Config) {
	gone := map[string]bool{}
	for name := range was.Handlers {
		if _, ok := c.Handlers[name]; !ok {
			gone[toml.Key{handlersTable, name}.String()] = true
		}
	}
	for token := range was.Rooms {
		if _, ok := c.Rooms[token]; !ok {
			gone[toml.Key{roomsTable, token}.String()] = true
		}
	}
	for _, s := range r.statements {
		if len(s.path) >= 2 && gone[s.path[:2].String()] {
			r.edits = append(r.edits, edit{s.comment, s.end, ""})
		}
	}
}

// change changes the value of a key in place. It returns what is to be added to
// its table if it is not there yet.
func (r *revision) change(k, old key) (added string, err error) {
	found := r.find(k.path)
	list, isList := k.value.(*commandValue)
	if isList {
		oldList, _ := old.value.(*commandValue)
		if added, done, err := r.changeCommands(k, list, oldList, found); done || err != nil {
			return added, err
		}
	}
	if tools, ok := k.value.(*toolsValue); ok {
		for _, block := range r.blocks(k.path) {
			r.edits = append(r.edits, edit{block[0].comment, r.endOfBlock(block[0]), ""})
		}
		var b bytes.Buffer
		err := tools.write(&b, k.path)
		return b.String(), err
	}
	nothing := false
	if users, ok := k.value.(*[]string); ok && k.path[0] == roomsTable {
		nothing = *users == nil // which no value says
	}
	if nothing || k.idle() && !k.set() {
		for _, s := range found {
			r.remove(s)
		}
		return "", nil
	}
	var b bytes.Buffer
	last := k.path[len(k.path)-1]
	if err := k.write(&b, last); err != nil {
		return "", err
	}
	line := strings.TrimSuffix(b.String(), "\n")
	if len(found) > 0 {
		s := found[0]
		value := line[strings.Index(line, "=")+1:]
		r.edits = append(r.edits, edit{s.value, s.behind, strings.TrimSpace(value)})
		return "", nil
	}
	if !k.set() && (!k.named() || last != "kind" && last != "enabled") { // which tables of their own begin with
		return "", nil
	}
	return line + r.eol, nil
}

// changeCommands changes the commands of a handler. It reports false if there
// are none, before and after.
func (r *revision) changeCommands(k key, list, old *commandValue, found []statement) (added string, done bool, err error) {
	if old == nil {
		old = &commandValue{&Handler{}}
	}
	if len(list.Commands)+len(old.Commands) == 0 {
		return "", false, nil
	}
	for _, s := range found { // in another form
		r.edits = append(r.edits, edit{s.comment, s.end, ""})
	}
	blocks := r.blocks(k.path)
	if len(blocks) > len(old.Commands) {
		return "", false, errors.New("more commands than were read")
	}
	for _, block := range blocks {
		r.edits = append(r.edits, edit{block[0].comment, r.endOfBlock(block[0]), ""})
	}
	var b strings.Builder
	for _, command := range list.Commands {
		i := slices.IndexFunc(old.Commands, func(c Command) bool { return c.Name == command.Name })
		var text string
		if i >= 0 && i < len(blocks) {
			text, err = r.block(blocks[i], command)
		} else {
			text, err = writeCommand(k.path, command)
		}
		if err != nil {
			return "", false, err
		}
		b.WriteString(text)
	}
	var at int
	if len(blocks) > 0 {
		at = blocks[0][0].comment
	} else {
		end, ok := r.endOf(k.path[:len(k.path)-1])
		if !ok {
			return b.String(), len(list.Commands) > 0, nil
		}
		at = end
	}
	r.insert(at, b.String())
	return "", k.handler.Kind == Commands, nil
}

func writeCommand(path toml.Key, command Command) (string, error) {
	var b bytes.Buffer
	err := (&commandValue{&Handler{Kind: Commands, Commands: []Command{command}}}).write(&b, path)
	return b.String(), err
}

// blocks returns the statements of each table of a list, the heading first.
func (r *revision) blocks(list toml.Key) (blocks [][]statement) {
	for _, s := range r.statements {
		switch {
		case s.heading && s.list && slices.Equal(s.path, list):
			blocks = append(blocks, []statement{s})
		case s.inList > 0 && len(s.path) == len(list)+1 && slices.Equal(s.path[:len(list)], list):
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], s)
		}
	}
	return blocks
}

// endOfBlock returns where the next heading begins, with the comment above it.
func (r *revision) endOfBlock(heading statement) int {
	for _, s := range r.statements {
		if s.heading && s.start > heading.start {
			return s.comment
		}
	}
	return len(r.text)
}

// block returns the text of a command's table, with the command as it is now.
func (r *revision) block(block []statement, command Command) (string, error) {
	start, end := block[0].comment, r.endOfBlock(block[0])
	inner := revision{text: r.text[start:end], eol: r.eol}
	last := block[len(block)-1].end
	for _, k := range []struct{ name, value string }{{"name", command.Name}, {"help", command.Help}, {"reply", command.Reply}} {
		var b bytes.Buffer
		if err := (key{value: &k.value}).write(&b, k.name); err != nil {
			return "", err
		}
		line := strings.TrimSuffix(b.String(), "\n")
		i := slices.IndexFunc(block[1:], func(s statement) bool { return s.path[len(s.path)-1] == k.name })
		var was string
		if i >= 0 {
			var said map[string]string
			_, _ = toml.Decode("x = "+r.text[block[i+1].value:block[i+1].behind], &said)
			was = said["x"]
		}
		switch {
		case was == k.value, k.name != "reply" && strings.TrimSpace(was) == k.value:
		case i >= 0:
			s := block[i+1]
			inner.edits = append(inner.edits, edit{s.value - start, s.behind - start, strings.TrimSpace(strings.TrimPrefix(line, k.name+" ="))})
		default:
			inner.insert(last-start, line+r.eol)
		}
	}
	text := inner.edited()
	if !strings.HasSuffix(text, "\n") {
		text += r.eol
	}
	return text, nil
}
