package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// documented is a table of config.toml as the documents show it.
type documented struct {
	heading string
	keys    []key
}

func documentedTables() []documented {
	c, room := Default(), defaultRoom()
	var tables []documented
	for _, k := range newDraft(&c).keys() {
		table, _ := split(k.Name)
		heading := "[" + table + "]"
		switch table {
		case "":
			heading = "Above the first table"
		case handlerTable:
			heading = "[handler] and [handlers.NAME]"
		}
		if len(tables) == 0 || tables[len(tables)-1].heading != heading {
			tables = append(tables, documented{heading: heading})
		}
		last := &tables[len(tables)-1]
		last.keys = append(last.keys, k)
	}
	return append(tables, documented{"[rooms.TOKEN]", bind(nil, roomRows(), &room, &room)})
}

// defaults returns the default of a key as TOML, and where kinds of handlers
// have another.
func (k key) defaults(t *testing.T) (text string, value any) {
	t.Helper()
	if k.Required {
		return "", nil
	}
	show := func(v any) string {
		var b bytes.Buffer
		if err := (key{value: v}).write(&b, "x"); err != nil {
			t.Fatal(err)
		}
		return "`" + strings.TrimPrefix(strings.TrimSpace(b.String()), "x = ") + "`"
	}
	texts := []string{show(k.normal)}
	_, name := split(k.Name)
	for _, r := range handlerRows() {
		if r.Name != name || k.handler == nil {
			continue
		}
		for _, kind := range handlerChoices("kind") {
			if _, ok := r.normals[kind.Value]; ok {
				h := DefaultHandler(kind.Value)
				texts = append(texts, "`"+kind.Value+"`: "+show(r.at(&h)))
			}
		}
	}
	return strings.Join(texts, "; "), reflect.ValueOf(k.normal).Elem().Interface()
}

// reference returns the tables of keys for docs/configuration.md.
func reference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, table := range documentedTables() {
		fmt.Fprintf(&b, "\n### %s\n\n| key | default | meaning |\n| --- | --- | --- |\n", table.heading)
		for _, k := range table.keys {
			_, name := split(k.Name)
			text, _ := k.defaults(t)
			if k.Required {
				text = "required"
			}
			meaning := strings.NewReplacer("|", `\|`, "<", `\<`).Replace(k.describe())
			if k.Kinds != nil {
				meaning += " Only with `" + strings.Join(k.Kinds, "`, `") + "`."
			}
			if _, ok := k.value.(*commandValue); ok {
				meaning += " With `commands`: `[[handler.command]]` tables of `name`, `help` and `reply`."
			}
			if _, ok := k.value.(*toolsValue); ok {
				meaning += " Each has `name`, `description`, `command` or `url`, `schema`, `mcp`, `confirm`."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, text, meaning)
		}
	}
	return b.String() + "\n"
}

// The documents say what the table of keys says; make golden writes them.
func TestConfigurationIsDocumented(t *testing.T) {
	const begin, end = "<!-- keys: written by make golden -->\n", "<!-- end of keys -->\n"
	path := filepath.Join("..", "..", "docs", "configuration.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks %q or %q", path, begin, end)
	}
	wantFile(t, path, []byte(before+begin+reference(t)+end+after))
}

// Editors check config.toml by docs/config.schema.json; make golden writes it.
func TestConfigurationHasASchema(t *testing.T) {
	type object = map[string]any
	closed := func(properties object) object {
		return object{"type": "object", "additionalProperties": false, "properties": properties}
	}
	root := object{}
	into := func(path []string) object {
		at := root
		for _, name := range path {
			if at[name] == nil {
				at[name] = closed(object{})
			}
			at = at[name].(object)["properties"].(object)
		}
		return at
	}
	property := func(k key) object {
		p := object{"description": k.describe()}
		if _, normal := k.defaults(t); normal != nil && !reflect.ValueOf(normal).IsZero() {
			p["default"] = normal
		}
		switch v := reflect.ValueOf(k.value).Elem(); k.value.(type) {
		case *toolsValue:
			text := object{"type": "string"}
			p["type"], p["items"] = "array", closed(object{
				"name": text, "description": text, "command": object{"type": "array", "items": text}, "url": text, "mcp": object{"type": "boolean"}, "schema": text, "confirm": object{"type": "boolean"},
			})
		case *commandValue:
			text := object{"type": "string"}
			command := closed(object{"name": text, "help": text, "reply": text})
			p["type"], p["items"] = "array", object{"anyOf": []any{text, command}}
		default:
			p["type"] = map[reflect.Kind]string{
				reflect.Bool: "boolean", reflect.Int: "integer", reflect.Float64: "number", reflect.String: "string", reflect.Slice: "array",
				reflect.Int64: "string", // a length of time
			}[v.Kind()]
			if v.Kind() == reflect.Slice {
				p["items"] = object{"type": "string"}
			}
		}
		for _, c := range k.Choices {
			values, _ := p["enum"].([]string)
			p["enum"] = append(values, c.Value)
		}
		if k.Least != 0 || k.Most != 0 {
			p["minimum"], p["maximum"] = k.Least, k.Most
		}
		return p
	}
	handler := object{}
	c, room := Default(), defaultRoom()
	for _, k := range newDraft(&c).keys() {
		if last := k.path[len(k.path)-1]; k.handler != nil {
			handler[last] = property(k)
		} else {
			into(k.path[:len(k.path)-1])[last] = property(k)
		}
	}
	rooms := object{}
	for _, k := range bind(nil, roomRows(), &room, &room) {
		rooms[k.Name] = property(k)
	}
	one := object{"$ref": "#/definitions/handler"}
	root[handlerTable] = one
	root[handlersTable] = object{"type": "object", "additionalProperties": one}
	root[roomsTable] = object{"type": "object", "additionalProperties": closed(rooms)}
	schema := closed(root)
	schema["definitions"] = object{"handler": closed(handler)}
	schema["$schema"], schema["title"] = "http://json-schema.org/draft-07/schema#", "config.toml of Perch"
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join("..", "..", "docs", "config.schema.json"), b.Bytes())
}

// wantFile compares a file with what it should be, or writes it.
func wantFile(t *testing.T, path string, want []byte) {
	t.Helper()
	if os.Getenv("PERCH_GOLDEN") == "update" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(want)); diff != "" {
		t.Errorf("%s (-is +should be; make golden writes it):\n%s", path, diff)
	}
}
