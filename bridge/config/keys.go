package config

import (
	"encoding"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

// Key describes one key of config.toml. What reads, checks, suggests, writes,
// documents and shows a key goes by it: a new one is a field of Config and a
// row in table.go.
type Key struct {
	Name     string      // "webhook.listen"; that of a handler is as in [handler]
	Label    bridge.Text // what the settings form calls it; zero: the form has other words, or does not show it
	Help     bridge.Text // what it is for
	Example  string      // what a form shows in an empty field
	Sample   bridge.Text // that, in words; can be zero
	Choices  []Choice    // all of its values, if it has a list of them
	Kinds    []string    // of handlers, in which it has an effect; nil: all
	Required bool        // it has no default
	Unset    bridge.Text // what an empty field stands for, of a number; zero: it must not be empty
	Lines    int         // how many lines a form gives it; 0: one
	Bool     bool        // it is "true" or "false"

	Least, Most int // of a whole number, unless both are 0
}

// Choice is one of the values of a key.
type Choice struct {
	Value string
	Name  bridge.Text // zero: a form does not offer it
	About bridge.Text // more about it; can be zero
}

// row is a Key of a table whose Go side is a T.
type row[T any] struct {
	Key
	at      func(v *T) any           // points to its value in v
	normal  any                      // its value if nothing is said; nil: the zero value
	normals map[string]any           // and the kinds of handlers that have another
	check   func(v *T, at *reporter) // normalises and checks its value; can be nil
}

// setNormal makes v what it is if nothing is said but the kind of a handler.
func setNormal[T any](rows []row[T], v *T, kind string) {
	for _, r := range rows {
		normal, ok := r.normals[kind]
		if !ok {
			normal = r.normal
		}
		if normal != nil {
			reflect.ValueOf(r.at(v)).Elem().Set(reflect.ValueOf(normal))
		}
	}
}

// key is a Key of one table of one configuration.
type key struct {
	Key
	path          toml.Key
	value, normal any                // points to it, and to what it is if nothing is said
	check         func(at *reporter) // can be nil
	handler       *Handler           // that it is of; can be nil
}

func (k key) name() string { return k.path.String() }

// set reports whether something else than the normal is said.
func (k key) set() bool {
	if list, ok := k.value.(tableValue); ok {
		return !list.empty()
	}
	return !reflect.DeepEqual(k.value, k.normal)
}

// idle reports whether the key has no effect in a handler of that kind.
func (k key) idle() bool { return k.Kinds != nil && !slices.Contains(k.Kinds, k.handler.Kind) }

// named reports whether the key is in a table that has a name of the user's.
func (k key) named() bool { return k.path[0] == handlersTable || k.path[0] == roomsTable }

// draft is a Config whose named tables can be pointed into.
type draft struct {
	*Config
	handlers map[string]*Handler
	rooms    map[string]*Room
}

func newDraft(c *Config) *draft {
	d := &draft{Config: c, handlers: map[string]*Handler{}, rooms: map[string]*Room{}}
	for name, h := range c.Handlers {
		d.handlers[name] = &h
	}
	for token, r := range c.Rooms {
		d.rooms[token] = &r
	}
	return d
}

// finish puts the named tables as they are now into the Config.
func (d *draft) finish() {
	d.Handlers, d.Rooms = nil, nil
	for name, h := range d.handlers {
		if d.Handlers == nil {
			d.Handlers = map[string]Handler{}
		}
		d.Handlers[name] = *h
	}
	for token, r := range d.rooms {
		if d.Rooms == nil {
			d.Rooms = map[string]Room{}
		}
		d.Rooms[token] = *r
	}
}

// keys returns every key that d has, in the order in which they are written.
func (d *draft) keys() []key {
	normal, room := Default(), defaultRoom()
	keys := bind(nil, configRows(), d.Config, &normal)
	keys = append(keys, handlerKeys(toml.Key{handlerTable}, &d.Handler)...)
	for _, name := range slices.Sorted(maps.Keys(d.handlers)) {
		keys = append(keys, handlerKeys(toml.Key{handlersTable, name}, d.handlers[name])...)
	}
	for _, token := range slices.Sorted(maps.Keys(d.rooms)) {
		keys = append(keys, bind(toml.Key{roomsTable, token}, roomRows(), d.rooms[token], &room)...)
	}
	return keys
}

func handlerKeys(table toml.Key, h *Handler) []key {
	normal := DefaultHandler(h.Kind)
	keys := bind(table, handlerRows(), h, &normal)
	for i := range keys {
		keys[i].Name, keys[i].handler = handlerTable+"."+keys[i].Name, h
	}
	return keys
}

func bind[T any](table toml.Key, rows []row[T], value, normal *T) []key {
	keys := make([]key, len(rows))
	for i, r := range rows {
		keys[i] = key{
			Key: r.Key, path: slices.Concat(table, strings.Split(r.Name, ".")),
			value: r.at(value), normal: r.at(normal),
		}
		_, keys[i].Bool = keys[i].value.(*bool)
		if r.check != nil {
			keys[i].check = func(at *reporter) { r.check(value, at) }
		}
	}
	return keys
}

// Keys returns every key but those of handlers and rooms with a name, in the
// order in which they are written.
func Keys() []Key {
	c := Default()
	var keys []Key
	for _, k := range newDraft(&c).keys() {
		keys = append(keys, k.Key)
	}
	return keys
}

// find returns one of Keys; ok is false if there is none by that name.
func (c *Config) find(name string) (k key, ok bool) {
	keys := newDraft(c).keys()
	i := slices.IndexFunc(keys, func(k key) bool { return k.Name == name && !k.named() })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

// Texts returns the values of Keys, by name, as a form shows them: a list with
// commas, a program as a line, "true" or "false"; empty for what Key.Unset says.
func (c *Config) Texts() map[string]string {
	texts := map[string]string{}
	for _, k := range newDraft(c).keys() {
		if !k.named() {
			texts[k.Name] = k.text()
		}
	}
	return texts
}

func (k key) text() string {
	if !k.Unset.IsZero() && !k.set() {
		return ""
	}
	switch p := k.value.(type) {
	case tableValue:
		return JoinCommand(p.command())
	case *[]string:
		return strings.Join(*p, ", ")
	case *float64:
		return strconv.FormatFloat(*p, 'f', -1, 64)
	case encoding.TextMarshaler:
		text, _ := p.MarshalText()
		return string(text)
	default:
		v := reflect.ValueOf(p).Elem()
		switch v.Kind() {
		case reflect.Bool:
			return strconv.FormatBool(v.Bool())
		case reflect.Int:
			return strconv.FormatInt(v.Int(), 10)
		default:
			return v.String()
		}
	}
}

// SetText takes over what somebody typed as the value of one of Keys, as Texts
// returns it. It says what is wrong if that cannot be read; then the value
// stays as it is. Validate says whether the value is right.
func (c *Config) SetText(name, text string) (wrong bridge.Text) {
	k, ok := c.find(name)
	if !ok {
		return bridge.Say("unknown key")
	}
	trimmed := strings.TrimSpace(text)
	if !k.Unset.IsZero() && trimmed == "" {
		reflect.ValueOf(k.value).Elem().Set(reflect.ValueOf(k.normal).Elem())
		return bridge.Text{}
	}
	var v any = text
	switch p := k.value.(type) {
	case *toolsValue: // no line says all of it
		return bridge.Text{}
	case *commandValue:
		words, closed := SplitCommand(text)
		switch {
		case !closed:
			return bridge.Say("has a quote that does not end")
		case len(words) == 1 && oneWord(words[0]):
			return bridge.Say("is a single word as it is in quotes: leave them out")
		}
		p.Command = words
		return bridge.Text{}
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
		return bridge.Text{}
	case *bool:
		v = text == "true"
	case *int:
		n, err := strconv.ParseInt(trimmed, 10, 64)
		if err != nil {
			return bridge.Say("must be a whole number")
		}
		v = n
	case *float64:
		n, err := strconv.ParseFloat(strings.ReplaceAll(trimmed, ",", "."), 64)
		if err != nil {
			return bridge.Say("must be a number")
		}
		v = n
	case encoding.TextUnmarshaler:
		v = strings.ReplaceAll(trimmed, " ", "")
	}
	return read(k.value, v)
}

// split returns the table and the last part of a key.
func split(name string) (table, last string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// read sets the value at p to v. It returns what v must be if it is not that.
func read(p, v any) (wrong bridge.Text) {
	switch p := p.(type) {
	case *float64:
		n, ok := v.(float64)
		if whole, isWhole := v.(int64); isWhole {
			n, ok = float64(whole), true
		}
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return bridge.Say("must be a number, without quotes")
		}
		*p = n
		return bridge.Text{}
	case *[]string:
		list, ok := stringList(v)
		if !ok {
			return bridge.Say("must be a list of strings, such as %s", `["alice", "bob"]`)
		}
		*p = list
		return bridge.Text{}
	case encoding.TextUnmarshaler:
		s, _ := v.(string) // An empty text is refused.
		if err := p.UnmarshalText([]byte(s)); err != nil {
			return bridge.TextOf(err)
		}
		return bridge.Text{}
	}
	to := reflect.ValueOf(p).Elem()
	switch to.Kind() {
	case reflect.Int:
		n, ok := v.(int64)
		if !ok || int64(int(n)) != n {
			return bridge.Say("must be a whole number, without quotes")
		}
		to.SetInt(n)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			return bridge.Say("must be true or false, without quotes")
		}
		to.SetBool(b)
	default:
		s, ok := v.(string)
		if !ok {
			return bridge.Say("must be a string, in quotes")
		}
		to.SetString(s)
	}
	return bridge.Text{}
}

// stringList returns a list of strings, which is never nil.
func stringList(v any) (list []string, ok bool) {
	values, ok := v.([]any)
	list = []string{}
	for _, e := range values {
		s, isString := e.(string)
		ok = ok && isString
		list = append(list, s)
	}
	return list, ok
}

// secretAt returns the name of the secret that is kept under a key where none
// should be, by the name that it has in Perch or elsewhere; empty if it is none.
func secretAt(path toml.Key) string {
	table, last := path[:len(path)-1].String(), path[len(path)-1]
	handler, inHandler := "", table == handlerTable
	if len(path) == 3 && path[0] == handlersTable {
		handler, inHandler = path[1], true
	}
	switch {
	case last == bridge.WebhookSecret, last == bridge.AppToken, last == bridge.TunnelToken, last == bridge.NotifyToken, last == bridge.VoiceToken,
		strings.HasPrefix(last, bridge.HandlerToken+"_"), strings.HasPrefix(last, bridge.HandlerSecret+"_"):
		return last
	case table == talkTable && last == "bot_token":
		return bridge.WebhookSecret
	case table == "tunnel" && last == "token":
		return bridge.TunnelToken
	case table == "voice" && slices.Contains([]string{"token", "api_key", "bearer"}, last):
		return bridge.VoiceToken
	case table == "notify" && (last == "token" || last == "secret"):
		return bridge.NotifyToken
	case last == bridge.HandlerToken, inHandler && slices.Contains([]string{"token", "api_key", "bearer"}, last):
		return bridge.SecretOf(bridge.HandlerToken, handler)
	case last == bridge.HandlerSecret, inHandler && last == "secret":
		return bridge.SecretOf(bridge.HandlerSecret, handler)
	default:
		return ""
	}
}

// unknown says that name is none of the keys, and which was perhaps meant.
func unknown(name string, keys []key) bridge.Text {
	table, last := split(name)
	var here, elsewhere []string
	for _, k := range keys {
		for known := k.name(); known != ""; known, _ = split(known) {
			in, name := split(known)
			switch {
			case in != table && in != "" && !slices.Contains(elsewhere, known):
				elsewhere = append(elsewhere, known)
			case in == table && !slices.Contains(here, name):
				here = append(here, name)
			}
		}
	}
	if table == "" {
		for _, tables := range []string{handlersTable, roomsTable} { // which can have none
			if !slices.Contains(here, tables) {
				here = append(here, tables)
			}
		}
	}
	return suggest(last, here, elsewhere)
}

// suggest says that a key is unknown and which was perhaps meant, of those in
// its own table, here, or of those with others before them.
func suggest(name string, here, elsewhere []string) bridge.Text {
	best, suggestion := 1+len(name)/3, ""
	for _, known := range slices.Concat(here, elsewhere) {
		_, last := split(known)
		if d := distance(strings.ToLower(name), last); d <= best && (d < best || suggestion == "") {
			best, suggestion = d, known
		}
	}
	switch {
	case suggestion != "":
		return bridge.Say("unknown key; did you mean %s?", suggestion)
	case len(here) > 0:
		return bridge.Say("unknown key; known here are %s", strings.Join(here, ", "))
	default:
		return bridge.Say("unknown key")
	}
}

// distance returns how many letters of a must be changed, added or left out
// to make it b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
