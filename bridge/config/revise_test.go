package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A person's file: comments everywhere, odd spacing and order, nothing that
// need not be said.
const byHand = `# Our bot.

[rooms.knzaftd5] # the kitchen
  handler   =  "house"   # with the lights

# ---- who and where ----

[channels_config.nextcloud_talk]
allowed_users = [
  "alice", # at home
  # not yet: "bob",
  'carol',
]
base_url='https://cloud.example.com/'   # ours

[handler]
kind = "commands"
# Slow on the old machine.
timeout = "2m"

# The guests ask for this.
[[handler.command]]
name = "wifi"
reply = "On the fridge." # for now

[[handler.command]]
# Every second week.
name = "bins"
help = "when they come"
reply = """
Thursday"""

[handlers.house]
kind = "http"
url = "http://127.0.0.1:5678/webhook/talk"
# the end`

func TestSaveKeepsWhatAPersonWrote(t *testing.T) {
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(byHand) }
	for name, tt := range map[string]struct {
		change func(c *Config)
		want   string
	}{
		"nothing": {func(*Config) {}, byHand},
		"a string": {
			func(c *Config) { c.Talk.BaseURL = "https://other.example.com" },
			replace(`'https://cloud.example.com/'`, `"https://other.example.com"`),
		},
		"a list": {
			func(c *Config) { c.Talk.AllowedUsers = []string{"alice", "bob"} },
			replace("[\n  \"alice\", # at home\n  # not yet: \"bob\",\n  'carol',\n]", `["alice", "bob"]`),
		},
		"a duration": {func(c *Config) { c.Handler.Timeout *= 2 }, replace(`"2m"`, `"4m"`)},
		"a key that is not there": {
			func(c *Config) { c.Handler.Ack = "👀" },
			replace("timeout = \"2m\"\n", "timeout = \"2m\"\nack = \"👀\"\n"),
		},
		"a table that is not there": {func(c *Config) { c.Webhook.Path = "/hook" }, byHand + "\n\n[webhook]\npath = \"/hook\"\n"},
		"another handler": {
			func(c *Config) {
				c.Handlers["lights"] = with(Exec, func(h *Handler) { h.Command = []string{"./lights"} })
			},
			byHand + "\n\n[handlers.lights]\nkind = \"exec\"\ncommand = [\"./lights\"]\n",
		},
		"another room": {func(c *Config) { c.Rooms["abc"] = Room{Enabled: true} }, byHand + "\n\n[rooms.abc]\nenabled = true\n"},
		"no room": {
			func(c *Config) { c.Rooms = nil },
			replace("[rooms.knzaftd5] # the kitchen\n  handler   =  \"house\"   # with the lights\n", ""),
		},
		"an answer": {func(c *Config) { c.Handler.Commands[0].Reply = "On the door." }, replace(`"On the fridge."`, `"On the door."`)},
		"a help": {
			func(c *Config) { c.Handler.Commands[0].Help = "for guests" },
			replace("# for now\n", "# for now\nhelp = \"for guests\"\n"),
		},
		"one command less": {
			func(c *Config) { c.Handler.Commands = c.Handler.Commands[1:] },
			replace("# The guests ask for this.\n[[handler.command]]\nname = \"wifi\"\nreply = \"On the fridge.\" # for now\n\n", ""),
		},
		"one command more": {
			func(c *Config) { c.Handler.Commands = append(c.Handler.Commands, Command{Name: "new", Reply: "Yes."}) },
			replace("Thursday\"\"\"\n\n", "Thursday\"\"\"\n\n\n[[handler.command]]\nname = \"new\"\nreply = \"Yes.\"\n"),
		},
		"another kind": {
			func(c *Config) {
				c.Handler = with(LLM, func(h *Handler) {
					h.BaseURL, h.Model, h.Timeout = "http://127.0.0.1:11434/v1", "llama3.2", c.Handler.Timeout
				})
			},
			replace(
				`kind = "commands"`, `kind = "llm"`,
				"timeout = \"2m\"\n", "timeout = \"2m\"\nbase_url = \"http://127.0.0.1:11434/v1\"\nmodel = \"llama3.2\"\n",
				byHand[strings.Index(byHand, "# The guests"):strings.Index(byHand, "[handlers.house]")], "",
			),
		},
	} {
		for _, form := range []struct{ name, prefix, eol string }{{"", "", "\n"}, {" from Windows", "\ufeff", "\r\n"}} {
			t.Run(name+form.name, func(t *testing.T) {
				if form.eol != "\n" && slices.Contains([]string{"an answer", "one command less", "one command more", "another kind", "a help", "another handler"}, name) {
					t.Skip("an answer of several lines has the ends of lines of its file")
				}
				path := filepath.Join(t.TempDir(), "config.toml")
				if err := os.WriteFile(path, []byte(form.prefix+strings.ReplaceAll(byHand, "\n", form.eol)), 0o600); err != nil {
					t.Fatal(err)
				}
				c, _, err := Load(path)
				if err != nil {
					t.Fatal(err)
				}
				tt.change(&c)
				if kept, err := Save(path, c); err != nil || kept != "" {
					t.Errorf("kept %q, error %v", kept, err)
				}
				got, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(form.prefix+strings.ReplaceAll(tt.want, "\n", form.eol), string(got)); diff != "" {
					t.Errorf("written (-want +got):\n%s", diff)
				}
				again, _, err := Load(path)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = c.Validate()
				if diff := cmp.Diff(c, again); diff != "" {
					t.Errorf("read back (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// What is written in a way that cannot be changed in place is kept beside.
func TestSaveKeepsWhatItCannotChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	data := "webhook = {path = \"/a\"} # mine\n" + head
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Webhook.Path = "/b"
	kept, err := Save(path, c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(kept); err != nil || string(got) != data {
		t.Errorf("kept %q as %q, error %v", got, kept, err)
	}
	if again, _, err := Load(path); err != nil || again.Webhook.Path != "/b" {
		t.Errorf("path %q, error %v", again.Webhook.Path, err)
	}
}

// Secrets are taken out, and nothing else.
func TestReviseTakesSecretsOut(t *testing.T) {
	c, _, err := Parse("", []byte(byHand))
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(byHand, "kind = \"http\"\n", "kind = \"http\"\ntoken = \"hunter2\"\n", 1)
	if got, ok := revise([]byte(with), c); !ok || string(got) != byHand {
		t.Errorf("%v: %s", ok, got)
	}
}

// Whatever changes, what is written reads as it should, and the comments stay.
func FuzzRevise(f *testing.F) {
	full, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		f.Fatal(err)
	}
	written, err := valid().Bytes()
	if err != nil {
		f.Fatal(err)
	}
	for _, a := range [][]byte{full, written, []byte(byHand), []byte(head), []byte("handler.names = [] # x\nhandlers.h.kind = 'commands'\n" + head)} {
		for _, b := range [][]byte{full, written, []byte(byHand), []byte(head + "[handler]\nkind='relay'\nurl='http://x'\n")} {
			f.Add(a, b)
		}
	}
	const top, bottom = "# by hand", "# the end"
	f.Fuzz(func(t *testing.T, data, other []byte) {
		data = []byte(top + "\n\n" + string(data) + "\n\n" + bottom)
		was, _, err := Parse("", data)
		if err != nil {
			return
		}
		if same, ok := revise(data, was); ok && string(same) != string(data) {
			t.Errorf("nothing changed, but %q became %q", data, same)
		}
		c, _, err := Parse("", other)
		if err != nil {
			return
		}
		revised, ok := revise(data, c)
		if !ok {
			return
		}
		is, _, err := Parse("", revised)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, is); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, comment := range []string{top, bottom} {
			if !strings.Contains(string(revised), comment) {
				t.Errorf("%q is gone", comment)
			}
		}
	})
}

// Tools stay as a person wrote them, until they are others or the handler is of
// another kind.
func TestSaveKeepsTools(t *testing.T) {
	const file = head + llm + `
# The lamp in the hall.
[[handler.tool]]
name = "light" # on or off
description = "Switches the light"
command = ["/bin/light"]

[window]
on_close = "quit" # always
`
	save := func(change func(c *Config)) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := Parse(path, []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := Save(path, c); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		read, _, err := Parse(path, data)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, data)
		}
		if diff := cmp.Diff(c.Handler, read.Handler); diff != "" {
			t.Errorf("(-saved +read):\n%s", diff)
		}
		return string(data)
	}
	if got := save(func(c *Config) { c.Handler.Model = "other" }); got != strings.Replace(file, `"m"`, `"other"`, 1) {
		t.Errorf("another model:\n%s", got)
	}
	house := Tool{Name: "house", MCP: true, URL: "http://127.0.0.1:1/mcp"}
	if got := save(func(c *Config) { c.Handler.Tools = append(c.Handler.Tools, house) }); !strings.Contains(got, "# always") || strings.Count(got, "[[handler.tool]]") != 2 {
		t.Errorf("another tool:\n%s", got)
	}
	if got := save(func(c *Config) { c.Handler, _ = c.Handler.As(Commands) }); strings.Contains(got, "tool") || !strings.Contains(got, "# always") {
		t.Errorf("another kind:\n%s", got)
	}
}
