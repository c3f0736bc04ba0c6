package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

// Bytes returns c as a config.toml with a comment above each key. Of the named
// handlers and rooms it has what they differ in. Parse reads it back as the
// same Config.
func (c Config) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Settings of Perch. Secrets are not kept here: see \"perch secret --help\".\n\n")
	table, kind := toml.Key{}, ""
	for _, k := range newDraft(&c).keys() {
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
			b.WriteString("# " + strings.ReplaceAll(k.comment(), "\n", "\n# ") + "\n")
		}
		if err := k.write(&b, last); err != nil {
			return nil, &bridge.Error{
				Code: bridge.CodeInternal, Text: bridge.Say("the setting %s cannot be written", k.name()), Cause: err,
			}
		}
	}
	return b.Bytes(), nil
}

// comment returns what stands above the key in a written file.
func (k key) comment() string {
	if _, ok := k.value.(*commandValue); ok && k.handler.Kind == Commands {
		return ownCommands
	}
	if _, ok := k.value.(*toolsValue); ok {
		return ownTools
	}
	return k.describe()
}

// describe says in English what a key is for, and which values it can have.
func (k key) describe() string {
	text := k.Help.String()
	var choices []string
	for _, c := range k.Choices {
		switch {
		case c.Name.IsZero():
		case c.About.IsZero():
			choices = append(choices, fmt.Sprintf("%q: %s", c.Value, c.Name))
		default:
			choices = append(choices, fmt.Sprintf("%q: %s (%s)", c.Value, c.Name, c.About))
		}
	}
	if len(choices) > 0 {
		text += " " + strings.Join(choices, "; ") + "."
	}
	if k.Least != 0 || k.Most != 0 {
		text += fmt.Sprintf(" From %d to %d.", k.Least, k.Most)
	}
	if !k.Unset.IsZero() {
		text += fmt.Sprintf(" %v: %s.", reflect.ValueOf(k.normal).Elem(), k.Unset)
	}
	return text
}

// write writes the value of k under the given name.
func (k key) write(b *bytes.Buffer, name string) error {
	switch v := k.value.(type) {
	case tableValue:
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
