package config

import (
	"bytes"
	"encoding"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

const (
	talkTable = "channels_config.nextcloud_talk"
	baseURL   = talkTable + ".base_url"
	caFile    = talkTable + ".ca_file"
)

// key is one key of config.toml. The table of all keys is what reading,
// checking, suggesting and writing go by.
type key struct {
	name    string
	comment string                        // above the key in a written file
	at      func(c *Config) any           // points to its value in c
	check   func(c *Config, at *reporter) // normalises and checks its value; can be nil
}

// keys returns every key, in the order in which they are written.
func keys() []key {
	return []key{
		{"version", "The form of this file. Perch writes it.", func(c *Config) any { return &c.Version }, nil},

		{baseURL, "The address of your Nextcloud, as in the browser. Required.", func(c *Config) any { return &c.Talk.BaseURL }, checkBaseURL},
		{talkTable + ".allowed_users", `Who is answered: user ids; "guests/<id>" for a guest; "*" for everybody; [] for nobody.`, func(c *Config) any { return &c.Talk.AllowedUsers }, checkAllowedUsers},
		{talkTable + ".reply_as", `"bot": with the webhook secret; "user": as the user whose app token Perch has.`, func(c *Config) any { return &c.Talk.ReplyAs }, checkReplyAs},
		{caFile, "PEM file of a private CA or a self-signed certificate. A relative path counts from this folder.", func(c *Config) any { return &c.Talk.CAFile }, nil},

		{"webhook.listen", "Where Perch listens: host:port.", func(c *Config) any { return &c.Webhook.Listen }, checkListen},
		{"webhook.path", "The path that Talk posts to.", func(c *Config) any { return &c.Webhook.Path }, checkPath},
		{"webhook.require_signature", "false only for an old server with a custom webhook: then anybody can send messages.", func(c *Config) any { return &c.Webhook.RequireSignature }, checkSignature},
		{"webhook.public_url", "Where Nextcloud reaches Perch, if you know it. Can be empty.", func(c *Config) any { return &c.Webhook.PublicURL }, checkPublicURL},

		{"handler.kind", `What answers messages: "commands".`, func(c *Config) any { return &c.Handler.Kind }, checkKind},

		{"journal.keep", `How long messages and events are kept: "30d", "12h", "90m"; from 1h to 3650d.`, func(c *Config) any { return &c.Journal.Keep }, checkKeep},
		{"journal.store_text", "false: forget the text of a message when it is done with.", func(c *Config) any { return &c.Journal.StoreText }, nil},
	}
}

// split returns the table and the last part of a key.
func split(name string) (table, last string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// Bytes returns c as a config.toml with a comment above each key. Parse reads
// it back as the same Config.
func (c Config) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Settings of Perch. Secrets are not kept here: see \"perch secret --help\".\n\n")
	table := ""
	for _, k := range keys() {
		in, last := split(k.name)
		if in != table {
			table = in
			b.WriteString("\n[" + table + "]\n")
		}
		b.WriteString("# " + k.comment + "\n")
		if err := toml.NewEncoder(&b).Encode(map[string]any{last: written(k.at(&c))}); err != nil {
			return nil, &bridge.Error{
				Code: bridge.CodeInternal, Text: bridge.Say("the setting %s cannot be written", k.name), Cause: err,
			}
		}
	}
	return b.Bytes(), nil
}

// written returns the value at p as the encoder wants it.
func written(p any) any {
	if list, ok := p.(*[]string); ok && *list == nil {
		return []string{}
	}
	return p
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
	case *[]string:
		list, ok := v.([]any)
		if !ok {
			return bridge.Say("must be a list of strings, such as %s", `["alice", "bob"]`)
		}
		*p = nil
		for _, e := range list {
			s, ok := e.(string)
			if !ok {
				return bridge.Say("must be a list of strings, such as %s", `["alice", "bob"]`)
			}
			*p = append(*p, s)
		}
	case encoding.TextUnmarshaler:
		s, _ := v.(string) // An empty text is refused.
		if err := p.UnmarshalText([]byte(s)); err != nil {
			return bridge.TextOf(err)
		}
	}
	return bridge.Text{}
}

// unknown says that name is no key, and which was perhaps meant.
func unknown(name string) bridge.Text {
	table, last := split(name)
	var here []string
	best, suggestion := 1+len(last)/3, ""
	for _, k := range keys() {
		for known := k.name; known != ""; known, _ = split(known) {
			in, known := split(known)
			if in == table && !slices.Contains(here, known) {
				here = append(here, known)
			}
			d := distance(strings.ToLower(last), known)
			if d <= best && (d < best || suggestion == "") {
				best, suggestion = d, known
				if in != table && in != "" {
					suggestion = in + "." + known
				}
			}
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
