package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/google/jsonschema-go/jsonschema"

	"perch/bridge"
)

// Tool is something that a language model can use: a program, a web hook, or
// what an MCP server offers.
type Tool struct {
	Name    string   `json:"name"`
	About   string   `json:"description"` // for the model: what it does, and when to use it
	Command []string `json:"command"`     // the program, as Program finds it, and its arguments
	URL     string   `json:"url"`         // the web hook, in place of Command
	MCP     bool     `json:"mcp"`         // Command or URL is an MCP server, whose tools are those
	Schema  string   `json:"schema"`      // JSON schema of the arguments; empty: AnyObject
	Confirm bool     `json:"confirm"`     // who asked has to agree to each use, with a reaction
}

// AnyObject is the schema of arguments of which nothing is known.
const AnyObject = `{"type":"object"}`

// SchemaOrAny returns the schema of the arguments.
func (t Tool) SchemaOrAny() string {
	if strings.TrimSpace(t.Schema) == "" {
		return AnyObject
	}
	return t.Schema
}

// ResolveSchema returns what checks arguments by a JSON schema; nil for an empty
// one.
func ResolveSchema(text string) (*jsonschema.Resolved, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		return nil, err
	}
	return schema.Resolve(nil)
}

// tableValue is a value that can be a list of tables.
type tableValue interface {
	// read sets what v is, and reports whether it is that. The key in hand is the
	// value's.
	read(v any, at *reporter) (ok bool)
	write(b *bytes.Buffer, path toml.Key) error
	empty() bool
	// command is the program and its arguments, as a line shows it.
	command() []string
}

func (c *commandValue) empty() bool       { return len(c.Command)+len(c.Commands) == 0 }
func (c *commandValue) command() []string { return c.Command }

// toolsValue is the value of the key "tool".
type toolsValue struct{ *Handler }

func (t *toolsValue) empty() bool       { return len(t.Tools) == 0 }
func (t *toolsValue) command() []string { return nil }

// fields returns what the keys of a tool's table point to, in their order.
func (t *Tool) fields() (names []string, by map[string]any) {
	return []string{"name", "description", "command", "url", "mcp", "schema", "confirm"}, map[string]any{
		"name": &t.Name, "description": &t.About, "command": &t.Command, "url": &t.URL, "mcp": &t.MCP, "schema": &t.Schema,
		"confirm": &t.Confirm,
	}
}

func (t *toolsValue) read(v any, at *reporter) (ok bool) {
	tables, isTables := tableList(v)
	list := at.key
	if !isTables {
		at.fail(bridge.Say("must be tables: write [[%s]] on a line of its own, with its keys below", list), bridge.Text{})
		return false
	}
	ok = true
	for i, table := range tables {
		var one Tool
		names, by := one.fields()
		for _, name := range slices.Sorted(maps.Keys(table)) {
			wrong := suggest(toml.Key{name}.String(), names, nil)
			if p := by[name]; p != nil {
				wrong = read(p, table[name])
			}
			if !wrong.IsZero() {
				at.key = commandKey(list, i, name)
				at.fail(wrong, bridge.Text{})
				ok = false
			}
		}
		t.Tools = append(t.Tools, one)
	}
	return ok
}

func (t *toolsValue) write(b *bytes.Buffer, path toml.Key) error {
	for _, one := range t.Tools {
		b.WriteString("\n[[" + path.String() + "]]\n")
		names, by := one.fields()
		for _, name := range names {
			k := key{value: by[name], normal: new(bool)}
			switch v := by[name].(type) {
			case *string:
				if *v == "" {
					continue
				}
			case *bool:
				if !*v {
					continue
				}
			case *[]string:
				if len(*v) == 0 {
					continue
				}
			}
			if err := k.write(b, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTools(h *Handler, at *reporter) {
	list := at.key
	var names []string
	for i := range h.Tools {
		t := &h.Tools[i]
		fail := func(name string, text, hint bridge.Text) {
			at.key = commandKey(list, i, name)
			at.fail(text, hint)
		}
		t.Name, t.URL = strings.TrimSpace(t.Name), strings.TrimSpace(t.URL)
		switch {
		case !regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,31}$`).MatchString(t.Name):
			fail("name", bridge.Say("must have 1 to 32 letters of a to z, digits, - or _, and begin with a letter; %s does not", strconv.Quote(shorten(t.Name))), bridge.Text{})
		case slices.Contains(names, t.Name):
			fail("name", bridge.Say("there is another tool by the name of %s", t.Name), bridge.Text{})
		}
		names = append(names, t.Name)
		switch {
		case len(t.Command) > 0 == (t.URL != ""):
			fail("name", bridge.Say("needs either command, a program and its arguments, or url, the address of a web hook"), bridge.Text{})
		case t.URL != "":
			at.key = commandKey(list, i, "url")
			if u, ok := parseURL(t.URL, at); ok && inTheOpen(u) {
				at.warn(bridge.Say("plain http to a public address: everybody on the way can read the messages"), bridge.Text{})
			}
		default:
			at.key = commandKey(list, i, "command")
			checkProgram(&Handler{Command: t.Command}, at)
		}
		if t.Confirm && at.of.Talk.Receive != ByAccount {
			at.key = commandKey(list, i, "confirm")
			at.warn(bridge.Say("the tool is not offered to the model: a bot is not told who agrees"), bridge.Say("follow an account: %s", `receive = "account"`))
		}
		if t.MCP {
			continue // it tells the rest itself
		}
		if strings.TrimSpace(t.About) == "" {
			fail("description", bridge.Say("is required: the model decides by it when to use the tool"), bridge.Text{})
		}
		if _, err := ResolveSchema(t.Schema); err != nil {
			fail("schema", bridge.Say("is no JSON schema: %s", shorten(err.Error())),
				bridge.Say("write it between three single quotes, such as %s", `'''{"type": "object", "properties": {"room": {"type": "string"}}, "required": ["room"]}'''`))
		}
	}
}
