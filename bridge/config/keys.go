package config

import (
	"bytes"
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

const (
	talkTable     = "channels_config.nextcloud_talk"
	baseURL       = talkTable + ".base_url"
	caFile        = talkTable + ".ca_file"
	handlerTable  = "handler"
	handlersTable = "handlers"
	roomsTable    = "rooms"
)

// field is one key of a table of which T is the Go side. The lists of fields
// are what reading, checking, suggesting and writing go by.
type field[T any] struct {
	name    string                   // dotted, from the table
	comment string                   // above the key in a written file
	at      func(v *T) any           // points to its value in v
	check   func(v *T, at *reporter) // normalises and checks its value; can be nil
	kinds   []string                 // of handlers, in which it has an effect; nil: all
}

// key is a field of one table of one configuration.
type key struct {
	path          toml.Key
	comment       string
	value, normal any                // points to it, and to what it is if nothing is said
	check         func(at *reporter) // can be nil
	handler       *Handler           // that it is of; can be nil
	kinds         []string
}

func (k key) name() string { return k.path.String() }

// set reports whether something else than the normal is said.
func (k key) set() bool {
	if list, ok := k.value.(*commandValue); ok {
		return len(list.Command)+len(list.Commands) > 0
	}
	return !reflect.DeepEqual(k.value, k.normal)
}

// idle reports whether the key has no effect in a handler of that kind.
func (k key) idle() bool { return k.kinds != nil && !slices.Contains(k.kinds, k.handler.Kind) }

// named reports whether the key is in a table that has a name of the user's.
func (k key) named() bool { return k.path[0] == handlersTable || k.path[0] == roomsTable }

// draft is a Config whose named tables can be pointed into.
type draft struct {
	Config
	handlers map[string]*Handler
	rooms    map[string]*Room
}

func newDraft(c Config) *draft {
	d := &draft{Config: c, handlers: map[string]*Handler{}, rooms: map[string]*Room{}}
	for name, h := range c.Handlers {
		d.handlers[name] = &h
	}
	for token, r := range c.Rooms {
		d.rooms[token] = &r
	}
	return d
}

// finished returns the Config with the named tables as they are now.
func (d *draft) finished() Config {
	c := d.Config
	c.Handlers, c.Rooms = nil, nil
	for name, h := range d.handlers {
		if c.Handlers == nil {
			c.Handlers = map[string]Handler{}
		}
		c.Handlers[name] = *h
	}
	for token, r := range d.rooms {
		if c.Rooms == nil {
			c.Rooms = map[string]Room{}
		}
		c.Rooms[token] = *r
	}
	return c
}

// keys returns every key that d has, in the order in which they are written.
func (d *draft) keys() []key {
	normal := Default()
	keys := bind(nil, configFields(), &d.Config, &normal)
	keys = append(keys, handlerKeys(toml.Key{handlerTable}, &d.Handler)...)
	for _, name := range slices.Sorted(maps.Keys(d.handlers)) {
		keys = append(keys, handlerKeys(toml.Key{handlersTable, name}, d.handlers[name])...)
	}
	for _, token := range slices.Sorted(maps.Keys(d.rooms)) {
		keys = append(keys, bind(toml.Key{roomsTable, token}, d.roomFields(), d.rooms[token], &Room{Enabled: true})...)
	}
	return keys
}

func handlerKeys(table toml.Key, h *Handler) []key {
	normal := DefaultHandler(h.Kind)
	keys := bind(table, handlerFields(), h, &normal)
	for i := range keys {
		keys[i].handler = h
		if _, ok := keys[i].value.(*commandValue); ok && h.Kind == Commands {
			keys[i].comment = ownCommandsComment
		}
	}
	return keys
}

func bind[T any](table toml.Key, fields []field[T], value, normal *T) []key {
	keys := make([]key, len(fields))
	for i, f := range fields {
		keys[i] = key{
			path: slices.Concat(table, strings.Split(f.name, ".")), comment: f.comment,
			value: f.at(value), normal: f.at(normal), kinds: f.kinds,
		}
		if f.check != nil {
			keys[i].check = func(at *reporter) { f.check(value, at) }
		}
	}
	return keys
}

// configFields returns the keys outside of handlers and rooms.
func configFields() []field[Config] {
	return []field[Config]{
		{"version", "The form of this file. Perch writes it.", func(c *Config) any { return &c.Version }, nil, nil},

		{baseURL, "The address of your Nextcloud, as in the browser. Required.", func(c *Config) any { return &c.Talk.BaseURL }, checkBaseURL, nil},
		{talkTable + ".allowed_users", `Who is answered: user ids; "guests/<id>" for a guest; "*" for everybody; [] for nobody.`, func(c *Config) any { return &c.Talk.AllowedUsers }, checkAllowedUsers, nil},
		{talkTable + ".reply_as", `"bot": with the webhook secret; "user": as the user whose app token Perch has.`, func(c *Config) any { return &c.Talk.ReplyAs }, checkReplyAs, nil},
		{caFile, "PEM file of a private CA or a self-signed certificate. A relative path counts from this folder.", func(c *Config) any { return &c.Talk.CAFile }, nil, nil},

		{"webhook.listen", "Where Perch listens: host:port.", func(c *Config) any { return &c.Webhook.Listen }, checkListen, nil},
		{"webhook.path", "The path that Talk posts to.", func(c *Config) any { return &c.Webhook.Path }, checkPath, nil},
		{"webhook.require_signature", "false only for an old server with a custom webhook: then anybody can send messages.", func(c *Config) any { return &c.Webhook.RequireSignature }, checkSignature, nil},
		{"webhook.public_url", "Where Nextcloud reaches Perch, if you know it. Can be empty.", func(c *Config) any { return &c.Webhook.PublicURL }, checkPublicURL, nil},

		{"tunnel.mode", `The way in through Cloudflare: "off"; "quick": to try, without an account; "named": yours, with the secret tunnel_token.`, func(c *Config) any { return &c.Tunnel.Mode }, checkMode, nil},
		{"tunnel.hostname", `The public host name of a named tunnel, such as "bot.example.com".`, func(c *Config) any { return &c.Tunnel.Hostname }, checkHostname, nil},
		{"tunnel.protocol", `"auto", "quic" (UDP) or "http2" (TCP).`, func(c *Config) any { return &c.Tunnel.Protocol }, checkProtocol, nil},

		{"journal.keep", `How long messages and events are kept: "30d", "12h", "90m"; from 1h to 3650d.`, func(c *Config) any { return &c.Journal.Keep }, checkKeep, nil},
		{"journal.store_text", "false: forget the text of a message when it is done with.", func(c *Config) any { return &c.Journal.StoreText }, nil, nil},

		{"window.language", `"en", "fr" or "de"; "": the system's.`, func(c *Config) any { return &c.Window.Language }, checkLanguage, nil},
		{"window.on_close", `What closing the window does: "hide" it, or "quit" Perch.`, func(c *Config) any { return &c.Window.OnClose }, checkOnClose, nil},
	}
}

// split returns the table and the last part of a key.
func split(name string) (table, last string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// Bytes returns c as a config.toml with a comment above each key. Of the named
// handlers and rooms it has what they differ in. Parse reads it back as the
// same Config.
func (c Config) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Settings of Perch. Secrets are not kept here: see \"perch secret --help\".\n\n")
	table, kind := toml.Key{}, ""
	for _, k := range newDraft(c).keys() {
		if in := k.path[:len(k.path)-1]; !slices.Equal(in, table) {
			b.WriteString("\n")
			if k.named() && in[0] != kind {
				kind = in[0]
				b.WriteString(map[string]string{
					handlersTable: "# Handlers for some rooms, with the same keys.\n",
					roomsTable:    "# What differs in single conversations: enabled, trigger, allowed_users, handler.\n",
				}[kind])
			}
			table = in
			b.WriteString("[" + table.String() + "]\n")
		}
		last := k.path[len(k.path)-1]
		if (k.named() || k.idle()) && !k.set() && (last != "kind" || k.handler == nil) {
			continue
		}
		if !k.named() {
			b.WriteString("# " + strings.ReplaceAll(k.comment, "\n", "\n# ") + "\n")
		}
		if err := k.write(&b, last); err != nil {
			return nil, &bridge.Error{
				Code: bridge.CodeInternal, Text: bridge.Say("the setting %s cannot be written", k.name()), Cause: err,
			}
		}
	}
	return b.Bytes(), nil
}

// write writes the value of k under the given name.
func (k key) write(b *bytes.Buffer, name string) error {
	switch v := k.value.(type) {
	case *commandValue:
		return v.write(b, k.path)
	case *string:
		if strings.Contains(*v, "\n") {
			b.WriteString(name + " = " + multiline(*v) + "\n")
			return nil
		}
	case *[]string:
		if *v == nil {
			b.WriteString(name + " = []\n")
			return nil
		}
	}
	return toml.NewEncoder(b).Encode(map[string]any{name: k.value})
}

// multiline returns s as a TOML string over several lines.
func multiline(s string) string {
	var b strings.Builder
	quotes := 0
	for _, r := range s {
		switch {
		case r == '"' && quotes == 2:
			b.WriteString(`\"`)
			quotes = 0
			continue
		case r == '\\':
			b.WriteString(`\\`)
		case r < ' ' && r != '\n' && r != '\t', r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
		if quotes++; r != '"' {
			quotes = 0
		}
	}
	return "\"\"\"\n" + b.String() + "\"\"\""
}

// read sets the value at p to v. It returns what v must be if it is not that.
func read(p, v any) (wrong bridge.Text) {
	switch p := p.(type) {
	case *int:
		n, ok := v.(int64)
		if !ok || int64(int(n)) != n {
			return bridge.Say("must be a whole number, without quotes")
		}
		*p = int(n)
	case *float64:
		n, ok := v.(float64)
		if whole, isWhole := v.(int64); isWhole {
			n, ok = float64(whole), true
		}
		if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
			return bridge.Say("must be a number, without quotes")
		}
		*p = n
	case *bool:
		b, ok := v.(bool)
		if !ok {
			return bridge.Say("must be true or false, without quotes")
		}
		*p = b
	case *string:
		s, ok := v.(string)
		if !ok {
			return bridge.Say("must be a string, in quotes")
		}
		*p = s
	case *ReplyAs:
		return read((*string)(p), v)
	case *TunnelMode:
		return read((*string)(p), v)
	case *Trigger:
		return read((*string)(p), v)
	case *Files:
		return read((*string)(p), v)
	case *[]string:
		list, ok := stringList(v)
		if !ok {
			return bridge.Say("must be a list of strings, such as %s", `["alice", "bob"]`)
		}
		*p = list
	case encoding.TextUnmarshaler:
		s, _ := v.(string) // An empty text is refused.
		if err := p.UnmarshalText([]byte(s)); err != nil {
			return bridge.TextOf(err)
		}
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
	case last == bridge.WebhookSecret, last == bridge.AppToken, last == bridge.TunnelToken,
		strings.HasPrefix(last, bridge.HandlerToken+"_"), strings.HasPrefix(last, bridge.HandlerSecret+"_"):
		return last
	case table == talkTable && last == "bot_token":
		return bridge.WebhookSecret
	case table == "tunnel" && last == "token":
		return bridge.TunnelToken
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
