package config

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

// Problem is one thing in a configuration that is wrong, or that a person
// should know.
type Problem struct {
	File   string      `json:"file,omitempty"`   // as given to Parse; can be empty
	Line   int         `json:"line,omitempty"`   // from 1; 0 where it is not known
	Key    string      `json:"key,omitempty"`    // "webhook.listen", "handlers.house.url", "handler.command[2].name"; empty if the problem has none
	Text   bridge.Text `json:"text"`             // what is wrong and what is allowed, without the place
	Hint   bridge.Text `json:"hint,omitzero"`    // what to do; can be zero
	Secret string      `json:"secret,omitempty"` // name of the secret that stands there; empty: the problem is another one
}

// Place returns where the problem is, as compilers write it:
// "config.toml:7: webhook.listen".
func (p Problem) Place() string {
	place, key := p.File, shorten(p.Key)
	if p.Line > 0 {
		place += ":" + strconv.Itoa(p.Line)
	}
	switch {
	case place == "":
		return key
	case key == "":
		return place
	default:
		return place + ": " + key
	}
}

// String returns the problem with its place, in English.
func (p Problem) String() string { return p.asError().Error() }

func (p Problem) asError() *bridge.Error {
	text := p.Text
	if place := p.Place(); place != "" {
		text = bridge.Say("%s: %s", place, text.String())
	}
	return &bridge.Error{Code: bridge.CodeInvalid, Text: text, Hint: p.Hint}
}

// InvalidError is a configuration that cannot be used, with everything that is
// wrong with it in the order of its lines. It wraps a *bridge.Error of
// CodeInvalid for each problem.
type InvalidError struct{ Problems []Problem }

// Error returns one problem per line, in English.
func (e *InvalidError) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap returns a *bridge.Error for each problem.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p.asError()
	}
	return errs
}

// Parse reads a config.toml; file is its name in messages. What data does not
// say is as in Default. The warnings are for a Config that can be used all the
// same. The error is an *InvalidError.
func Parse(file string, data []byte) (c Config, warnings []Problem, err error) {
	c, at := parse(file, data, migrations())
	return c, at.warnings, at.err()
}

func parse(file string, data []byte, steps []func(tree map[string]any)) (Config, *reporter) {
	doc, at := decode(file, data)
	if doc == nil || !doc.migrate(at, steps) {
		return Config{}, at
	}
	return doc.config(at), at
}

// Validate brings c into its normal form (see Talk) and checks it as Parse
// does. The error is an *InvalidError.
func (c *Config) Validate() (warnings []Problem, err error) {
	at := &reporter{}
	at.checkAll(newDraft(c), nil)
	return at.warnings, at.err()
}

// migrations returns how to bring a file to the next version: the first makes
// a file of version 1 one of version 2, and so on, on its tables as decoded.
// The current version is one more than there are migrations.
func migrations() []func(tree map[string]any) { return nil }

// document is a decoded TOML file.
type document struct {
	text  string
	tree  map[string]any            // tables are map[string]any
	where map[string]toml.Primitive // by dotted key, for lines
	meta  *toml.MetaData
}

// decode reads TOML. The document is nil if data is none.
func decode(file string, data []byte) (*document, *reporter) {
	doc := &document{text: string(data), where: map[string]toml.Primitive{}}
	at := &reporter{file: file, line: doc.line}
	var top map[string]toml.Primitive
	meta, err := toml.Decode(doc.text, &top)
	if err != nil {
		at.syntax(data, err)
		return nil, at
	}
	doc.meta = &meta
	doc.tree = doc.table(top, nil)
	return doc, at
}

// migrate brings the document to the current version. It reports false if it
// cannot. A document without a version is of version 1.
func (d *document) migrate(at *reporter, steps []func(tree map[string]any)) bool {
	version, current := 1, len(steps)+1
	at.key = "version"
	if v, ok := d.tree["version"]; ok {
		if wrong := read(&version, v); !wrong.IsZero() {
			at.fail(wrong, bridge.Text{})
			return false
		}
	}
	switch {
	case version < 1:
		at.fail(bridge.Say("must be %s", strconv.Itoa(current)), bridge.Text{})
		return false
	case version > current:
		at.fail(bridge.Say("written by a newer Perch: this one knows versions up to %s", strconv.Itoa(current)),
			bridge.Say("install the newer Perch again, or move the file away and make a new one"))
		return false
	}
	for _, step := range steps[version-1:] {
		step(d.tree)
	}
	d.tree["version"] = int64(current)
	return true
}

func (d *document) table(prims map[string]toml.Primitive, parent toml.Key) map[string]any {
	tree := make(map[string]any, len(prims))
	for name, prim := range prims {
		path := append(slices.Clip(parent), name)
		d.where[path.String()] = prim
		var v any
		if err := d.meta.PrimitiveDecode(prim, &v); err != nil {
			continue // It decodes anything.
		}
		if _, ok := v.(map[string]any); ok {
			var inner map[string]toml.Primitive
			if err := d.meta.PrimitiveDecode(prim, &inner); err == nil {
				v = d.table(inner, path)
			}
		}
		tree[name] = v
	}
	return tree
}

// line returns the line of a key, or of its table if it is not there; 0 if
// that is not there either.
func (d *document) line(key string) int {
	if line := d.lineInList(key); line > 0 {
		return line
	}
	prim, ok := d.where[key]
	if !ok {
		table, _ := split(key)
		if prim, ok = d.where[table]; !ok {
			return 0
		}
	}
	// The positions of keys are not exported, but the errors of a value that
	// refuses to be decoded have them.
	parse, _ := errors.AsType[toml.ParseError](d.meta.PrimitiveDecode(prim, nowhere{}))
	return parse.Position.Line
}

// lineInList returns the line of a key in a list of tables: "a.b[2].c", or of
// the table's own; 0 if it cannot be found. The parser knows that of the last
// table alone.
func (d *document) lineInList(key string) int {
	parts := regexp.MustCompile(`^(.+)\[(\d+)\]\.([^.]+)$`).FindStringSubmatch(key)
	if parts == nil {
		return 0
	}
	header := regexp.MustCompile(`^\s*\[\[\s*` + strings.ReplaceAll(regexp.QuoteMeta(parts[1]), `\.`, `\s*\.\s*`) + `\s*\]\]`)
	left, _ := strconv.Atoi(parts[2])
	table := 0
	for i, line := range strings.Split(d.text, "\n") {
		name, _, _ := strings.Cut(line, "=")
		switch {
		case header.MatchString(line):
			if left--; left < 0 {
				return table
			}
			table = i + 1
		case left == 0 && strings.TrimSpace(name) == parts[3]:
			return i + 1
		}
	}
	if left > 0 {
		return 0
	}
	return table
}

type nowhere struct{}

func (nowhere) UnmarshalTOML(any) error { return errors.ErrUnsupported }

// config reads the tree, from which every key must be known.
func (d *document) config(at *reporter) Config {
	c := d.draft()
	keys := c.keys()
	bad := map[string]bool{}
	for _, k := range keys {
		v, ok := lookup(d.tree, k.path)
		if !ok {
			continue
		}
		at.key = k.name()
		if list, ok := k.value.(tableValue); ok {
			bad[k.name()] = !list.read(v, at)
		} else if wrong := read(k.value, v); !wrong.IsZero() {
			at.fail(wrong, bridge.Text{})
			bad[k.name()] = true
		}
	}
	d.strangers(d.tree, nil, keys, at)
	at.checkAll(c, bad)
	return *c.Config
}

// draft returns what is not said, with the named tables that the tree has. What
// a handler does not say depends on its kind.
func (d *document) draft() *draft {
	normal := Default()
	c := newDraft(&normal)
	c.Handler = DefaultHandler(kindOf(d.tree[handlerTable]))
	handlers, _ := d.tree[handlersTable].(map[string]any)
	for name, table := range handlers {
		h := DefaultHandler(kindOf(table))
		c.handlers[name] = &h
	}
	rooms, _ := d.tree[roomsTable].(map[string]any)
	for token := range rooms {
		room := defaultRoom()
		c.rooms[token] = &room
	}
	return c
}

// kindOf returns the kind that a handler's table says.
func kindOf(table any) string {
	t, _ := table.(map[string]any)
	if kind, ok := t["kind"].(string); ok && known(kind) {
		return kind
	}
	return Commands
}

// strangers reports what in the tree is not known, and values where tables
// should be.
func (d *document) strangers(tree map[string]any, parent toml.Key, keys []key, at *reporter) {
	known := map[string]bool{}
	tables := map[string]bool{handlersTable: true, roomsTable: true}
	for _, k := range keys {
		known[k.name()] = true
		for i := 1; i < len(k.path); i++ {
			tables[k.path[:i].String()] = true
		}
	}
	for name, v := range tree {
		path := append(slices.Clip(parent), name)
		at.key = path.String()
		inner, isTable := v.(map[string]any)
		switch secret := secretAt(path); {
		case secret != "":
			at.secret(secret)
		case tables[at.key] && isTable:
			d.strangers(inner, path, keys, at)
		case tables[at.key]:
			at.fail(bridge.Say("must be a table: write [%s] on a line of its own, and its keys below", at.key), bridge.Text{})
		case !known[at.key]:
			at.fail(unknown(at.key, keys), bridge.Text{})
		}
	}
}

// lookup returns the value of a key in a tree.
func lookup(tree map[string]any, path []string) (any, bool) {
	var v any = tree
	for _, part := range path {
		table, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = table[part]; !ok {
			return nil, false
		}
	}
	return v, true
}

// shellWord returns a file name as one word of a command line.
func shellWord(file string) string {
	if strings.ContainsAny(file, " \t'\"$&;()<>|*?[]`") {
		return `"` + file + `"`
	}
	return file
}

// reporter collects problems. Its key is the one in hand.
type reporter struct {
	file             string
	line             func(key string) int // nil: nothing is known of lines
	key              string
	of               *draft // that is checked
	errors, warnings []Problem
}

func (r *reporter) problem(text, hint bridge.Text) Problem {
	p := Problem{File: r.file, Key: r.key, Text: text, Hint: hint}
	if r.line != nil {
		p.Line = r.line(r.key)
	}
	return p
}

func (r *reporter) fail(text, hint bridge.Text) { r.add(r.problem(text, hint)) }

// secret reports a secret in the file.
func (r *reporter) secret(name string) {
	p := r.problem(bridge.Say("secrets do not live in files"),
		bridge.Say("move it to the keychain: perch config import %s\nor remove the line and give the secret to Perch as this says: perch secret --help", shellWord(r.file)))
	p.Secret = name
	r.add(p)
}

func (r *reporter) add(p Problem) {
	const most = 50
	if len(r.errors) < most {
		r.errors = append(r.errors, p)
	}
}

func (r *reporter) warn(text, hint bridge.Text) {
	r.warnings = append(r.warnings, r.problem(text, hint))
}

// checkAll runs the check of every key but those in skip, and finishes d.
func (r *reporter) checkAll(d *draft, skip map[string]bool) {
	r.of = d
	for _, k := range d.keys() {
		r.key = k.name()
		switch {
		case skip[r.key]:
		case k.idle() && !known(k.handler.Kind): // Nobody knows what is of use.
		case k.idle() && k.set():
			r.warn(bridge.Say("has no effect with %s", "kind = "+strconv.Quote(k.handler.Kind)), bridge.Text{})
		case !k.idle():
			k.checkValue(r)
			if k.check != nil {
				k.check(r)
			}
		}
	}
	d.checkNamed(r)
	d.finish()
}

// syntax reports what is not TOML. What the parser says is kept back where it
// could quote a secret.
func (r *reporter) syntax(data []byte, err error) {
	p := Problem{File: r.file, Text: bridge.Say("not valid TOML; strings need quotes")}
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		p.Line = max(parse.Position.Line, 1)
		lines := strings.Split(string(data), "\n")
		line := lines[min(p.Line, len(lines))-1]
		if !regexp.MustCompile(`(?i)secret|token|pass|key`).MatchString(line + parse.LastKey) {
			p.Key = parse.LastKey
			p.Text = bridge.Say("not valid TOML: %s", shorten(parse.Message))
		}
		if _, quoted, _ := strings.Cut(line, `"`); strings.Contains(quoted, `\`) {
			p.Hint = singleQuotes()
		}
	}
	r.errors = append(r.errors, p)
}

// singleQuotes says how to write a backslash, as in the paths of Windows.
func singleQuotes() bridge.Text {
	return bridge.Say("between double quotes a backslash begins a special character; write paths with backslashes between single quotes, such as %s", `'C:\Users\alice\bot.exe'`)
}

// err returns the errors as an *InvalidError in the order of their lines, or
// nil if there are none.
func (r *reporter) err() error {
	slices.SortStableFunc(r.warnings, compare)
	if len(r.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errors, compare)
	return &InvalidError{Problems: r.errors}
}

func compare(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) }

// shorten returns s for a message: on one line, and not long.
func shorten(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
