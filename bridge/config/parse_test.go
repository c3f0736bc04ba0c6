package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

const head = "[channels_config.nextcloud_talk]\nbase_url = \"https://cloud.example.com\"\nallowed_users = [\"alice\"]\n"

const llm = "[handler]\nkind = \"llm\"\nbase_url = \"http://127.0.0.1/v1\"\nmodel = \"m\"\n"

func TestParseReadsEveryKey(t *testing.T) {
	data, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, warnings, err := Parse("config.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Version: 1,
		Talk: Talk{
			BaseURL:      "https://cloud.example.com/nextcloud",
			AllowedUsers: []string{"admin", "alice", "guests/abc", "federated_users/bob@https://other.example"},
			ReplyAs:      User,
			CAFile:       "ca.pem",
			Receive:      ByAccount,
			MarkRead:     true,
		},
		Webhook: Webhook{Listen: "127.0.0.1:9000", Path: "/hook", RequireSignature: true, PublicURL: "https://bot.example.com"},
		Tunnel:  Tunnel{Mode: TunnelNamed, Hostname: "bot.example.com", Protocol: "http2"},
		Handler: Handler{
			Kind: Commands, Trigger: OnPrefix, Prefix: "?", Names: []string{"Perch", "Percy"}, Quote: false, Silent: true,
			Ack: "👀", OnError: "That did not work.", Timeout: Duration(90 * time.Second), AtOnce: 2, Queue: 10, Files: FileLink,
			Temperature: -1, History: 20,
			Commands: []Command{
				{"wifi", "how to get online", "The network is **guests**,\nthe password is on the fridge, {author}."},
				{"bins", "", "Thursday"},
			},
		},
		Handlers: map[string]Handler{
			"house": with(HTTP, func(h *Handler) {
				h.URL, h.Files = "http://homeassistant.local:8123/api/webhook/perch?a=b", FileCopy
			}),
			"script": with(Exec, func(h *Handler) {
				h.Command, h.Timeout = []string{"./bot.py", "--room", "a b"}, Duration(2*time.Second)
			}),
			"model": with(LLM, func(h *Handler) {
				h.BaseURL, h.Model, h.SystemPrompt = "http://127.0.0.1:11434/v1", "llama3.2", "You are \"Perch\".\nBe brief."
				h.Temperature, h.History, h.MaxTokens, h.Stream = 1, 4, 500, true
				h.Tools = []Tool{
					{Name: "light", About: "Switches the light", Command: []string{"./light.py", "--once"}, Schema: `{"type": "object"}`},
					{Name: "house", URL: "http://127.0.0.1:9000/mcp", MCP: true, Confirm: true},
				}
			}),
			"other": with(Relay, func(h *Handler) { h.URL = "http://127.0.0.1:9999/nextcloud-talk" }),
		},
		Rooms: map[string]Room{
			"knzaftd5": {Enabled: true, Trigger: OnMention, AllowedUsers: []string{"alice", "*"}, Handler: "model"},
			"quiet123": {AllowedUsers: []string{}},
		},
		Limits:  Limits{UserMessages: 30, RoomMessages: 100, UserTokens: 50000, RoomTokens: 200000},
		Voice:   Voice{BaseURL: "http://127.0.0.1:8080/v1", Model: "small", Language: "de"},
		Journal: Journal{Keep: Span(12 * time.Hour), StoreText: false, CatchUp: Duration(2 * time.Hour)},
		Window:  Window{Language: "fr", OnClose: CloseQuits},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.String())
	}
	if diff := cmp.Diff([]string{
		`config.toml:4: channels_config.nextcloud_talk.base_url: is taken as "https://cloud.example.com/nextcloud"`,
		"config.toml:90: rooms.knzaftd5.allowed_users: everybody is allowed who can write in this conversation, guests too",
		"config.toml:95: rooms.quiet123.allowed_users: nobody is allowed: Perch answers no one in this conversation",
	}, texts); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// with returns the handler of a kind, changed.
func with(kind string, change func(h *Handler)) Handler {
	h := DefaultHandler(kind)
	change(&h)
	return h
}

func TestParseFillsInDefaults(t *testing.T) {
	got, _, err := Parse("config.toml", []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Talk.BaseURL, want.Talk.AllowedUsers = "https://cloud.example.com", []string{"alice"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

// Every problem is named with file, line and key, and says what is allowed.
func TestParseNamesEveryProblem(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"empty file", "", `c.toml: channels_config.nextcloud_talk.base_url: is required: the address of your Nextcloud, such as "https://cloud.example.com"`},
		{"no base_url", "version = 1\n\n[channels_config.nextcloud_talk]\n", `c.toml:3: channels_config.nextcloud_talk.base_url: is required: the address of your Nextcloud, such as "https://cloud.example.com"`},
		{"unknown key, near", head + "[webhook]\nlisten = \"127.0.0.1:1\"\nlistn = 1\n", `c.toml:6: webhook.listn: unknown key; did you mean listen?`},
		{"unknown key, other case", head + "[webhook]\nLISTEN = \"127.0.0.1:1\"\n", `c.toml:5: webhook.LISTEN: unknown key; did you mean listen?`},
		{"unknown key, of another table", head + "[journal]\nlisten = \"127.0.0.1:1\"\n", `c.toml:5: journal.listen: unknown key; did you mean webhook.listen?`},
		{"unknown key, far", head + "[webhook]\ncolour = 1\n", `c.toml:5: webhook.colour: unknown key; known here are listen, path, require_signature, public_url, trusted_proxies`},
		{"unknown table", head + "[jornal]\nkeep = \"1d\"\n", `c.toml:4: jornal: unknown key; did you mean journal?`},
		{"unknown quoted key", head + "\"a b\" = 1\n", `c.toml:4: channels_config.nextcloud_talk."a b": unknown key; known here are base_url, allowed_users, reply_as, ca_file, receive, mark_read`},
		{"unknown dotted key", "a.b.c = 1\n" + head, `c.toml: a: unknown key; known here are version, channels_config, webhook, tunnel, notify, voice, limits, journal, window, handler, handlers, rooms`},
		{"list of tables", head + "[[webhook]]\nlisten = 1\n", `c.toml:4: webhook: must be a table: write [webhook] on a line of its own, and its keys below`},
		{"value for a table", "webhook = 5\n" + head, `c.toml:1: webhook: must be a table: write [webhook] on a line of its own, and its keys below`},
		{"inline table", "webhook = {listen = \"x\"}\n" + head, `c.toml:1: webhook.listen: must be host:port with a port up to 65535, such as "127.0.0.1:8460"`},
		{"secret", head + "app_token = \"hunter2\"\n", `c.toml:4: channels_config.nextcloud_talk.app_token: secrets do not live in files`},
		{"secret of another table", head + "[webhook]\nwebhook_secret = \"hunter2\"\n", `c.toml:5: webhook.webhook_secret: secrets do not live in files`},

		{"string wanted", head + "[webhook]\nlisten = 8460\n", `c.toml:5: webhook.listen: must be a string, in quotes`},
		{"string wanted for the address", "[channels_config.nextcloud_talk]\nbase_url = 5\n", `c.toml:2: channels_config.nextcloud_talk.base_url: must be a string, in quotes`},
		{"boolean wanted", head + "[webhook]\nrequire_signature = \"yes\"\n", `c.toml:5: webhook.require_signature: must be true or false, without quotes`},
		{"list wanted", "[channels_config.nextcloud_talk]\nbase_url = \"https://a.example\"\nallowed_users = \"alice\"\n", `c.toml:3: channels_config.nextcloud_talk.allowed_users: must be a list of strings, such as ["alice", "bob"]`},
		{"list of strings wanted", "[channels_config.nextcloud_talk]\nbase_url = \"https://a.example\"\nallowed_users = [\n  \"alice\",\n  5,\n]\n", `c.toml:3: channels_config.nextcloud_talk.allowed_users: must be a list of strings, such as ["alice", "bob"]`},
		{"span wanted", head + "[journal]\nkeep = 30\n", `c.toml:5: journal.keep: must be a whole number of days, hours or minutes, from 1h to 3650d, such as "30d"`},
		{"number wanted", "version = \"1\"\n" + head, `c.toml:1: version: must be a whole number, without quotes`},
		{"version 0", "version = 0\n" + head, `c.toml:1: version: must be 1`},
		{"newer version", "version = 2\nwhat = 1\n" + head, `c.toml:1: version: written by a newer Perch: this one knows versions up to 1`},

		{"not TOML", head + "x = \n", `c.toml:4: channels_config.nextcloud_talk.x: not valid TOML: expected value but found '\n' instead`},
		{"key twice", head + "base_url = \"x\"\n", `c.toml:4: channels_config.nextcloud_talk.base_url: not valid TOML: Key 'channels_config.nextcloud_talk.base_url' has already been defined.`},
		{"not TOML beside a secret", head + "app_token = 12345_\n", `c.toml:4: not valid TOML; strings need quotes`},
		{"not text", "\xff\xfe\x00", `c.toml:1: not valid TOML: files cannot contain NULL bytes; probably using UTF-16; TOML files must be UTF-8`},
		{"reply_as", head + "reply_as = \"me\"\n", `c.toml:4: channels_config.nextcloud_talk.reply_as: must be one of "bot", "user"`},
		{"kind", head + "[handler]\nkind = \"ollama\"\nmodel = \"x\"\n", `c.toml:5: handler.kind: must be one of "commands", "exec", "http", "llm", "relay"`},
		{"other programs at the webhook", head + "[notify]\nlisten = \":8460\"\n", `c.toml:5: notify.listen: must not be the address of the webhook, which the Internet may reach: "127.0.0.1:8460"`},
		{"token of other programs", head + "[notify]\ntoken = \"hunter2\"\n", `c.toml:5: notify.token: secrets do not live in files`},
		{"secret of the tunnel", head + "[tunnel]\ntoken = \"hunter2\"\n", `c.toml:5: tunnel.token: secrets do not live in files`},
		{"secret of a handler", head + "[handlers.house]\nkind = \"http\"\nurl = \"http://house\"\napi_key = \"hunter2\"\n", `c.toml:7: handlers.house.api_key: secrets do not live in files`},

		{"no program", head + "[handler]\nkind = \"exec\"\n", `c.toml:4: handler.command: is required: a program and its arguments, such as ["/home/alice/bot.py"]`},
		{"program and arguments in one", head + "[handler]\nkind = \"exec\"\ncommand = \"/bin/cat -\"\n", `c.toml:6: handler.command: must be a list of strings with kind = "exec": a program and its arguments, such as ["/home/alice/bot.py"]`},
		{"commands for a program", head + "[handler]\nkind = \"exec\"\n[[handler.command]]\nname = \"x\"\n", `c.toml:6: handler.command: must be a list of strings with kind = "exec": a program and its arguments, such as ["/home/alice/bot.py"]`},
		{"program for commands", head + "[handler]\ncommand = [\"/bin/cat\"]\n", `c.toml:5: handler.command: must be tables with kind = "commands": write [[handler.command]] on a line of its own, with name, help and reply below; a program needs kind = "exec"`},
		{"program for named commands", head + "[handlers.a]\nkind = \"commands\"\ncommand = [\"/bin/cat\"]\n", `c.toml:6: handlers.a.command: must be tables with kind = "commands": write [[handlers.a.command]] on a line of its own, with name, help and reply below; a program needs kind = "exec"`},
		{"no value for a command", head + "[handler]\nkind = \"relay\"\nurl = \"http://x\"\ncommand = 5\n", `c.toml:7: handler.command: must be a list of strings with kind = "exec": a program and its arguments, such as ["/home/alice/bot.py"]`},
		{
			"commands", head + "[handler]\nquote = true\n[[handler.command]]\nname = \"a\"\nreply = \"x\"\n[[ handler . command ]]\nname = \"A\"\nreply = 5\nhepl = \"\"\n[[handler.command]]\nname = \"!b\"\n",
			`c.toml:11: handler.command[2].reply: must be a string, in quotes
c.toml:12: handler.command[2].hepl: unknown key; did you mean help?`,
		},
		{
			"commands that are read", head + "[[handlers.x.command]]\nname = \"a\"\nreply = \"x\"\n[[handlers.x.command]]\nname = \"A\"\nreply = \"y\"\n[[handlers.x.command]]\nname = \"!b\"\n",
			`c.toml:8: handlers.x.command[2].name: there is another command by the name of A
c.toml:10: handlers.x.command[3].reply: is required: what the command is answered
c.toml:11: handlers.x.command[3].name: must have 1 to 32 letters, digits, - or _, without the prefix; "!b" is none`,
		},
		{"no url", head + "[handlers.house]\nkind = \"http\"\n", `c.toml:4: handlers.house.url: is required: the address that messages are posted to, such as "http://127.0.0.1:5678/webhook/perch"`},
		{
			"no model", head + "[handlers.house]\nkind = \"llm\"\n", `c.toml:4: handlers.house.base_url: is required: the address of an OpenAI-compatible server, such as "http://127.0.0.1:11434/v1"
c.toml:4: handlers.house.model: is required: the model's name, as the server has it, such as "llama3.2"`,
		},
		{"unknown key of a named handler", head + "[handlers.house]\nkind = \"http\"\nulr = \"x\"\nurl = \"http://x\"\n", `c.toml:6: handlers.house.ulr: unknown key; did you mean url?`},
		{"unknown key of a room", head + "[rooms.abc]\ntriger = \"x\"\n", `c.toml:5: rooms.abc.triger: unknown key; did you mean trigger?`},
		{"unknown key of a room, far", head + "[rooms.abc]\ncolour = \"x\"\n", `c.toml:5: rooms.abc.colour: unknown key; known here are enabled, trigger, allowed_users, handler`},
		{"near the named handlers", head + "[handlrs.house]\nkind = \"http\"\n", `c.toml: handlrs: unknown key; did you mean handlers?`},
		{"no table", head + "[handlers]\nhouse = \"http\"\n", `c.toml:5: handlers.house: must be a table: write [handlers.house] on a line of its own, and its keys below`},
		{"no tables", "rooms = 5\n" + head, `c.toml:1: rooms: must be a table: write [rooms] on a line of its own, and its keys below`},
		{"name of a handler", head + "[handlers.\"My House\"]\nkind = \"commands\"\n", `c.toml:4: handlers."My House": the name of a handler has 1 to 32 small letters, digits or _`},
		{"token of a room", head + "[rooms.\"a.b\"]\nenabled = false\n", `c.toml:4: rooms."a.b": this is no conversation's token: it is what follows /call/ in the conversation's address`},
		{"handler of a room, of none", head + "[rooms.abc]\nhandler = \"house\"\n", `c.toml:5: rooms.abc.handler: there is no handler by the name of "house"`},
		{"handler of a room", head + "[handlers.b]\n[handlers.a]\n[rooms.abc]\nhandler = \"house\"\n", `c.toml:7: rooms.abc.handler: there is no handler by the name of "house"; there are: a, b`},
		{"a room without a name to mention", head + "[handlers.a]\nnames = []\n[rooms.abc]\nhandler = \"a\"\ntrigger = \"mention\"\n", `c.toml:8: rooms.abc.trigger: its handler has no name to be mentioned by: set handlers.a.names`},
		{"people of a room", head + "[rooms.abc]\nallowed_users = [\"bots/x\"]\n", `c.toml:5: rooms.abc.allowed_users: bots are never answered: "bots/x" cannot be allowed`},
		{"a path that begins at home", head + "[handler]\nkind = \"exec\"\ncommand = [\"~bob/bin/x\"]\n", `c.toml:6: handler.command: there is no shell that fills in ~bob: write the whole path of the program`},
		{"a path with a variable", head + "[handler]\nkind = \"exec\"\ncommand = [\"$HOME/bin/x\"]\n", `c.toml:6: handler.command: there is no shell that fills in $HOME: write the whole path of the program`},
		{"no hostname", head + "[tunnel]\nmode = \"named\"\n", `c.toml:4: tunnel.hostname: is required with mode = "named": the public host name of the tunnel, such as "bot.example.com"`},
		{"number wanted for a temperature", head + "[handler]\ntemperature = \"1\"\n", `c.toml:5: handler.temperature: must be a number, without quotes`},
		{"tool without a description", head + llm + "[[handler.tool]]\nname = \"a\"\ncommand = [\"/bin/a\"]\n", `c.toml:8: handler.tool[1].description: is required: the model decides by it when to use the tool`},
		{"tool of both kinds", head + llm + "[[handler.tool]]\nname = \"a\"\nmcp = true\nurl = \"http://127.0.0.1\"\ncommand = [\"/bin/a\"]\n", `c.toml:9: handler.tool[1].name: needs either command, a program and its arguments, or url, the address of a web hook`},
		{"tool without a schema", head + llm + "[[handler.tool]]\nname = \"a\"\ndescription = \"x\"\ncommand = [\"/bin/a\"]\nschema = \"x\"\n", `c.toml:12: handler.tool[1].schema: is no JSON schema: invalid character 'x' looking for beginning of value`},
		{"tool with an unknown key", head + llm + "[[handler.tool]]\nnam = \"a\"\n", `c.toml:9: handler.tool[1].nam: unknown key; did you mean name?`},
		{"tool that is no table", head + "[handler]\nkind = \"llm\"\nbase_url = \"http://127.0.0.1/v1\"\nmodel = \"m\"\ntool = \"x\"\n", `c.toml:8: handler.tool: must be tables: write [[handler.tool]] on a line of its own, with its keys below`},
		{
			"several at once", "version = 1\ncolour = 1\n[webhook]\npath = \"x\"\nlisten = true\n[journal]\nkeep = \"1y\"\n",
			`c.toml: channels_config.nextcloud_talk.base_url: is required: the address of your Nextcloud, such as "https://cloud.example.com"
c.toml:2: colour: unknown key; known here are version, channels_config, webhook, tunnel, notify, voice, limits, journal, window, handler, handlers, rooms
c.toml:4: webhook.path: must begin with a slash, have letters, digits, - . _ or ~ after each slash, and no ? or #, such as "/nextcloud-talk"
c.toml:5: webhook.listen: must be a string, in quotes
c.toml:7: journal.keep: must be a whole number of days, hours or minutes, from 1h to 3650d, such as "30d"`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Parse("c.toml", []byte(test.data))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if code := bridge.CodeOf(err); code != bridge.CodeInvalid {
				t.Errorf("code %q", code)
			}
			if strings.Contains(err.Error()+bridge.HintOf(err).String(), "hunter2") {
				t.Error("a secret is in the error")
			}
		})
	}
}

// Between double quotes, some backslashes are errors and some are characters.
func TestParseTellsHowToWriteABackslash(t *testing.T) {
	exec := "[handler]\nkind = \"exec\"\ncommand = "
	for name, data := range map[string]string{
		"an error":            head + exec + `["C:\Users\me\bot.exe"]`,
		"another":             head + exec + `["C:\programs\bot.exe"]`,
		"a line feed":         head + exec + `["C:\new\bot.exe"]`,
		"a line feed later":   head + exec + `["D:\bin\new.exe"]`,
		"an argument":         head + exec + `["python", "C:\new\bot.py"]`,
		"of several lines":    head + exec + "[\n\t\"python\",\n\t\"C:\\Users\\me\\bot.py\",\n]",
		"a certificate":       head + `ca_file = "C:\tls\new.pem"`,
		"a certificate's end": head + `ca_file = "C:\tls\"`,
		"beside a secret":     head + `# token` + "\n" + `ca_file = "C:\Users\token.pem"`,
	} {
		_, _, err := Parse("c.toml", []byte(data+"\n"))
		if hint := bridge.HintOf(err).String(); !strings.Contains(hint, "single quotes") {
			t.Errorf("%s: %v, hint %q", name, err, hint)
		}
	}
	for name, data := range map[string]string{
		"single quotes": head + exec + `['C:\Users\me\bot.exe', 'C:\new']`,
		"an argument":   head + exec + `["printf", "hello\n"]`,
	} {
		if _, _, err := Parse("c.toml", []byte(data+"\n")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err := Parse("c.toml", []byte(head+"reply_as = bot\n"))
	if hint := bridge.HintOf(err).String(); hint != "" {
		t.Errorf("without a backslash: hint %q", hint)
	}
}

func TestParseTellsHowToMoveASecret(t *testing.T) {
	_, _, err := Parse("/home/a b/config.toml", []byte(head+"app_token = \"hunter2\"\n"))
	want := "move it to the keychain: perch config import \"/home/a b/config.toml\"\n" +
		"or remove the line and give the secret to Perch as this says: perch secret --help"
	if got := bridge.HintOf(err).String(); got != want {
		t.Errorf("hint %q, want %q", got, want)
	}
}

func TestParseBoundsTheProblems(t *testing.T) {
	_, _, err := Parse("c.toml", []byte("\"\\u0001a\" = 1\n"+manyKeys(200)+head))
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok || len(invalid.Problems) != 50 {
		t.Fatalf("%d problems", len(invalid.Problems))
	}
	if strings.Contains(err.Error(), "\x01") {
		t.Error("a control character is in the error")
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Repeat("x", i) + " = 1\n")
	}
	return b.String()
}

func TestValues(t *testing.T) {
	const bad = "bad"
	tests := []struct{ name, line, want string }{ // want: the warning, or "", or bad
		{"https", `base_url = "https://cloud.example.com"`, ""},
		{"https, private", `base_url = "https://192.168.1.5:8443/nextcloud"`, ""},
		{"http, private address", `base_url = "http://192.168.1.5"`, ""},
		{"http, loopback", `base_url = "http://127.0.0.1:8080"`, ""},
		{"http, IPv6 loopback", `base_url = "http://[::1]:8080"`, ""},
		{"http, IPv6 unique local", `base_url = "http://[fd00::1]"`, ""},
		{"http, link local", `base_url = "http://169.254.1.1"`, ""},
		{"http, carrier NAT", `base_url = "http://100.101.102.103"`, ""},
		{"http, mapped", `base_url = "http://[::ffff:10.0.0.1]"`, ""},
		{"http, carrier NAT, mapped", `base_url = "http://[::ffff:100.64.0.1]"`, ""},
		{"http, .local", `base_url = "http://cloud.local"`, ""},
		{"http, .lan", `base_url = "http://cloud.lan"`, ""},
		{"http, .internal", `base_url = "http://cloud.internal."`, ""},
		{"http, .home.arpa", `base_url = "http://cloud.home.arpa"`, ""},
		{"http, one label", `base_url = "http://nextcloud"`, ""},
		{"http, public name", `base_url = "http://cloud.example.com"`, "plain http to a public address: everybody on the way can read the messages and the app token"},
		{"http, public address", `base_url = "http://8.8.8.8"`, "plain http to a public address: everybody on the way can read the messages and the app token"},
		{"http, beside the carrier NAT", `base_url = "http://100.128.0.1"`, "plain http to a public address: everybody on the way can read the messages and the app token"},
		{"http, lookalike", `base_url = "http://cloud.notlan"`, "plain http to a public address: everybody on the way can read the messages and the app token"},
		{"no scheme", `base_url = "cloud.example.com"`, `is taken as "https://cloud.example.com"`},
		{"other scheme", `base_url = "ftp://cloud.example.com"`, bad},
		{"no host", `base_url = "https:///x"`, bad},
		{"user info", `base_url = "https://a:hunter2@cloud.example.com"`, bad},
		{"query", `base_url = "https://cloud.example.com/?a=b"`, bad},
		{"empty query", `base_url = "https://cloud.example.com/?"`, bad},
		{"fragment", `base_url = "https://cloud.example.com/#"`, bad},
		{"port too high", `base_url = "https://cloud.example.com:65536"`, bad},
		{"space", `base_url = " https://cloud.example.com"`, ""},

		{"nobody", `allowed_users = []`, "nobody is allowed: Perch answers no one"},
		{"everybody", `allowed_users = ["*"]`, "everybody is allowed who can write where the bot is, guests too"},
		{"empty user", `allowed_users = ["alice", ""]`, bad},
		{"blank user", `allowed_users = [" "]`, bad},
		{"user without id", `allowed_users = ["users/"]`, bad},
		{"guest without id", `allowed_users = ["guests/"]`, bad},
		{"every user", `allowed_users = ["users/*"]`, bad},
		{"guest in disguise", `allowed_users = ["users/guests/abc"]`, bad},
		{"bot", `allowed_users = ["bots/abc"]`, bad},

		{"other programs", `notify.listen = " 127.0.0.1:8461 "`, ""},
		{"other programs, by name", `notify.listen = "localhost:8461"`, ""},
		{"no other programs", `notify.listen = ""`, ""},
		{"other programs of the network", `notify.listen = "192.0.2.1:8461"`, "plain http: whoever is in these networks can read the token and what is posted"},
		{"other programs of every network", `notify.listen = ":8461"`, "plain http: whoever is in these networks can read the token and what is posted"},
		{"other programs at no port", `notify.listen = "127.0.0.1"`, bad},
		{"other programs at the webhook", `notify.listen = "127.0.0.1:8460"`, bad},
		{"other programs at the webhook, everywhere", `notify.listen = ":8460"`, bad},
		{"any port", `webhook.listen = "127.0.0.1:0"`, "port 0 is another port at each start: Talk cannot know it"},
		{"IPv6", `webhook.listen = "[::1]:8460"`, ""},
		{"host name", `webhook.listen = "localhost:8460"`, ""},
		{"all interfaces", `webhook.listen = ":8460"`, "Perch can be reached from every network that this machine is in"},
		{"all of IPv4", `webhook.listen = "0.0.0.0:8460"`, "Perch can be reached from every network that this machine is in"},
		{"all of IPv6", `webhook.listen = "[::]:8460"`, "Perch can be reached from every network that this machine is in"},
		{"no port", `webhook.listen = "127.0.0.1"`, bad},
		{"high port", `webhook.listen = "127.0.0.1:65536"`, bad},
		{"named port", `webhook.listen = "127.0.0.1:http"`, bad},
		{"no host", `webhook.listen = "a b:80"`, bad},

		{"deep path", `webhook.path = "/a/b-c_d.e~f"`, ""},
		{"health", `webhook.path = "/healthz"`, bad},
		{"root", `webhook.path = "/"`, bad},
		{"no slash", `webhook.path = "x"`, bad},
		{"slash at the end", `webhook.path = "/x/"`, bad},
		{"query", `webhook.path = "/x?y"`, bad},
		{"pattern", `webhook.path = "/{x}"`, bad},
		{"dots", `webhook.path = "/a/../b"`, bad},
		{"no path", `webhook.path = ""`, bad},

		{"no signature", `webhook.require_signature = false`, "signatures are not required: whoever reaches the webhook can write as anybody"},
		{"no public URL", `webhook.public_url = ""`, ""},
		{"public URL", `webhook.public_url = "https://bot.example.com/x"`, ""},
		{"bad public URL", `webhook.public_url = "bot.example.com"`, bad},
		{"proxies", `webhook.trusted_proxies = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]`, ""},
		{"a proxy by its name", `webhook.trusted_proxies = ["proxy.example.com"]`, bad},
		{"everybody is a proxy", `webhook.trusted_proxies = ["0.0.0.0/0"]`, bad},

		{"days", `journal.keep = "3650d"`, ""},
		{"hours", `journal.keep = "1h"`, ""},
		{"minutes", `journal.keep = "90m"`, ""},
		{"off", `tunnel.mode = "off"`, ""},
		{"quick", `tunnel.mode = "quick"`, ""},
		{"other mode", `tunnel.mode = "on"`, bad},
		{"hostname without a tunnel", `tunnel.hostname = "bot.example.com"`, `has no effect with mode = "off"`},
		{"protocol", `tunnel.protocol = "quic"`, ""},
		{"other protocol", `tunnel.protocol = "udp"`, bad},
		{"language", `window.language = "de"`, ""},
		{"other language", `window.language = "it"`, bad},
		{"close", `window.on_close = "quit"`, ""},
		{"other close", `window.on_close = ""`, bad},

		{"trigger", `handler.trigger = "mention"`, ""},
		{"trigger of the kind", `handler.trigger = ""`, ""},
		{"other trigger", `handler.trigger = "always"`, bad},
		{"prefix", `handler.prefix = "hey bot,"`, ""},
		{"no prefix", `handler.prefix = ""`, bad},
		{"prefix and space", `handler.prefix = "! "`, bad},
		{"long prefix", `handler.prefix = "0123456789012345678901234567890123"`, bad},
		{"no names", `handler.names = []`, ""},
		{"empty name", `handler.names = [""]`, bad},
		{"name with a line end", `handler.names = ["a\nb"]`, bad},
		{"ack", `handler.ack = "⏳"`, ""},
		{"ack of several code points", `handler.ack = "👩🏽‍🚀"`, ""},
		{"ack that is a key", `handler.ack = "1️⃣"`, ""},
		{"ack in letters", `handler.ack = "ok"`, bad},
		{"ack that is a digit", `handler.ack = "1"`, bad},
		{"ack in other letters", `handler.ack = "är"`, bad},
		{"timeout", `handler.timeout = "100ms"`, ""},
		{"short timeout", `handler.timeout = "99ms"`, bad},
		{"long timeout", `handler.timeout = "24h1s"`, bad},
		{"timeout without a unit", `handler.timeout = "5"`, bad},
		{"number as timeout", `handler.timeout = 5`, bad},
		{"none at once", `handler.at_once = 0`, bad},
		{"many at once", `handler.at_once = 65`, bad},
		{"no queue", `handler.queue = 0`, bad},
		{"key of another kind", `handler.url = "http://x"`, `has no effect with kind = "commands"`},
		{"bad value of another kind", `handler.url = "x"`, `has no effect with kind = "commands"`},
		{"files", `handler.attachments = "file"`, `has no effect with kind = "commands"`},
		{"what it is anyway, of another kind", `handler.attachments = "link"`, ""},

		{"too long", `journal.keep = "3651d"`, bad},
		{"too short", `journal.keep = "59m"`, bad},
		{"overflow", `journal.keep = "9999999999999999999d"`, bad},
		{"overflow of the product", `journal.keep = "213504d"`, bad},
		{"negative", `journal.keep = "-1d"`, bad},
		{"sign", `journal.keep = "+1d"`, bad},
		{"fraction", `journal.keep = "1.5d"`, bad},
		{"no unit", `journal.keep = "30"`, bad},
		{"no number", `journal.keep = "d"`, bad},
		{"empty", `journal.keep = ""`, bad},
	}
	for _, test := range tests {
		t.Run(test.name+" "+test.line, func(t *testing.T) {
			data := []byte(head)
			name, _, _ := strings.Cut(test.line, " ")
			if strings.Contains(name, ".") {
				data = append([]byte(test.line+"\n"), data...)
			} else {
				lines := strings.Split(string(data), "\n")
				for i := range lines {
					if strings.HasPrefix(lines[i], name+" ") {
						lines[i] = test.line
					}
				}
				data = []byte(strings.Join(lines, "\n"))
				name = talkTable + "." + name
			}
			_, warnings, err := Parse("", data)
			if (err != nil) != (test.want == bad) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				invalid, _ := errors.AsType[*InvalidError](err)
				if len(invalid.Problems) != 1 || invalid.Problems[0].Key != name || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("problems %v", invalid.Problems)
				}
				return
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.Text.String())
				if w.Key != name || w.Line == 0 {
					t.Errorf("warning at %q", w.Place())
				}
			}
			if got := strings.Join(got, "\n"); got != test.want {
				t.Errorf("warnings %q, want %q", got, test.want)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{
		"2s": "2s", "90s": "1m30s", "60s": "1m", "5m": "5m", "3600s": "1h", "24h": "24h", "61m": "1h1m", "3601s": "1h0m1s", "0.1s": "100ms", "100ms": "100ms",
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("%s is written %s, error %v", text, d, err)
		}
		var back Duration
		if err := back.UnmarshalText([]byte(d.String())); err != nil || back != d {
			t.Errorf("%s is read back as %s, error %v", d, back, err)
		}
	}
	for _, text := range []string{"", "5", "99ms", "-1s", "24h1ms", "1d"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); bridge.CodeOf(err) != bridge.CodeInvalid || d != 0 {
			t.Errorf("%q is %s, error %v", text, d, err)
		}
	}
}

// What a handler does not say is as its kind has it.
func TestKindSetsTheRest(t *testing.T) {
	c, _, err := Parse("c.toml", []byte(head+"[handlers.m]\nmodel = \"x\"\nbase_url = \"http://x/v1\"\nkind = \"llm\"\n"+
		"[handler]\nkind = \"exec\"\ncommand = [\"/bin/cat\"]\ntimeout = \"2s\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := with(LLM, func(h *Handler) { h.Model, h.BaseURL = "x", "http://x/v1" })
	if diff := cmp.Diff(map[string]Handler{"m": want}, c.Handlers); diff != "" {
		t.Errorf("named (-want +got):\n%s", diff)
	}
	want = with(Exec, func(h *Handler) { h.Command, h.Timeout = []string{"/bin/cat"}, Duration(2*time.Second) })
	if diff := cmp.Diff(want, c.Handler); diff != "" {
		t.Errorf("handler (-want +got):\n%s", diff)
	}
	if c.Handler.Asked() != OnAll {
		t.Errorf("asked %s", c.Handler.Asked())
	}
	c, _, err = Parse("c.toml", []byte(head+"[handler]\nmodel = \"x\"\nbase_url = \"http://x/v1\"\nkind = \"llm\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(with(LLM, func(h *Handler) { h.Model, h.BaseURL = "x", "http://x/v1" }), c.Handler); diff != "" {
		t.Errorf("handler (-want +got):\n%s", diff)
	}
	if _, warnings, _ := Parse("c.toml", []byte(head+"[handler]\nmodel = \"x\"\nkind = \"ollama\"\n")); len(warnings) != 0 {
		t.Errorf("of a kind that nobody knows: %v", warnings)
	}
}

func TestHandlers(t *testing.T) {
	const bad = "bad"
	tests := []struct{ name, kind, line, key, want string }{ // want: the warning, or "", or bad
		{"program", Exec, `command = ["/bin/cat", "-"]`, "", ""},
		{"program with a space", Exec, `command = ["/opt/my bot"]`, "", ""},
		{"program with a space, in the folder", Exec, `command = ["./my bot"]`, "", ""},
		{"program in PATH", Exec, `command = ["python3", "x.py"]`, "", ""},
		{"program in the folder", Exec, `command = ["./bot.py"]`, "", ""},
		{"a command line", Exec, `command = ["python3 /home/alice/bot.py"]`, "command", bad},
		{"home", Exec, `command = ["~/bot.py"]`, "command", bad},
		{"nothing", Exec, `command = []`, "command", bad},
		{"empty", Exec, `command = [""]`, "command", bad},
		{"zero", Exec, `command = ["/bin/cat", "\u0000"]`, "command", bad},
		{"numbers", Exec, `command = ["/bin/cat", 5]`, "command", bad},

		{"url", HTTP, `url = "https://n8n.example.com/webhook/x/?a=b"`, "", ""},
		{"url, local", Relay, `url = "http://192.168.1.5:5678/"`, "", ""},
		{"url, public", HTTP, `url = "http://n8n.example.com/"`, "url", "plain http to a public address: everybody on the way can read the messages"},
		{"url, fragment", HTTP, `url = "https://n8n.example.com/#x"`, "url", bad},
		{"url, password", HTTP, `url = "https://a:hunter2@n8n.example.com/"`, "url", bad},
		{"url, no address", Relay, `url = "n8n.example.com"`, "url", bad},
		{"no url", Relay, `url = " "`, "url", bad},

		{"model", LLM, "base_url = \"https://api.example.com/v1\"\nmodel = \"x\"", "", ""},
		{"model, public", LLM, "base_url = \"http://api.example.com/v1\"\nmodel = \"x\"", "base_url", "plain http to a public address: everybody on the way can read the messages"},
		{"model, no path", LLM, "base_url = \"http://127.0.0.1:11434\"\nmodel = \"x\"", "base_url", "has no path; most servers want one"},
		{"model, query", LLM, "base_url = \"http://127.0.0.1:11434/v1?x\"\nmodel = \"x\"", "base_url", bad},
		{"no model", LLM, "base_url = \"http://127.0.0.1:11434/v1\"\nmodel = \"\"", "model", bad},
		{"cold", LLM, "base_url = \"http://x/v1\"\nmodel = \"x\"\ntemperature = 0", "", ""},
		{"hot", LLM, "base_url = \"http://x/v1\"\nmodel = \"x\"\ntemperature = 2.1", "temperature", bad},
		{"not a number", LLM, "base_url = \"http://x/v1\"\nmodel = \"x\"\ntemperature = nan", "temperature", bad},
		{"history", LLM, "base_url = \"http://x/v1\"\nmodel = \"x\"\nhistory = -1", "history", bad},
		{"tokens", LLM, "base_url = \"http://x/v1\"\nmodel = \"x\"\nmax_tokens = -1", "max_tokens", bad},
		{"files", LLM, "base_url = \"http://x/v1\"\nmodel = \"x\"\nattachments = \"all\"", "attachments", bad},
		{"model of a program", Exec, "command = [\"x\"]\nmodel = \"x\"", "model", `has no effect with kind = "exec"`},
		{"program of a web hook", HTTP, "url = \"http://x\"\ncommand = [\"x\"]", "command", `has no effect with kind = "http"`},

		{"mention without a name", Commands, "trigger = \"mention\"\nnames = []", "names", bad},
		{"placeholder", Commands, "command = [{name = \"a\", reply = \"{text} {author} {author_id} {room} {date} {time} {} {A}\"}]", "", ""},
		{"unknown placeholder", Commands, "command = [{name = \"a\", reply = \"{user}\"}]", "command[1].reply", "{user} is answered as it stands; filled in are {text}, {author}, {author_id}, {room}, {date}, {time}"},
		{"name of a command", Commands, "command = [{name = \"é-1_x\", reply = \"x\"}]", "", ""},
		{"two words as a name", Commands, "command = [{name = \"a b\", reply = \"x\"}]", "command[1].name", bad},
		{"no reply", Commands, "command = [{name = \"a\", reply = \" \"}]", "command[1].reply", bad},
	}
	for _, test := range tests {
		for _, table := range []string{"handler", "handlers.h_1"} {
			t.Run(test.name+" of "+table, func(t *testing.T) {
				_, warnings, err := Parse("", []byte(head+"["+table+"]\nkind = \""+test.kind+"\"\n"+test.line+"\n"))
				problems := warnings
				if invalid, ok := errors.AsType[*InvalidError](err); ok {
					problems = invalid.Problems
				}
				switch {
				case (err != nil) != (test.want == bad) || strings.Contains(fmt.Sprint(err), "hunter2"):
					t.Errorf("error %v", err)
				case len(problems) > 1 || len(problems) == 0 != (test.want == ""):
					t.Errorf("problems %v", problems)
				case len(problems) == 1 && problems[0].Key != table+"."+test.key:
					t.Errorf("problem of %s", problems[0].Key)
				case len(problems) == 1 && err == nil && problems[0].Text.String() != test.want:
					t.Errorf("warning %q", problems[0].Text)
				}
			})
		}
	}
}

// The form asks while somebody types: each problem has its whole key.
func TestValidateNamesKeys(t *testing.T) {
	c := valid()
	c.Tunnel = Tunnel{Mode: TunnelNamed, Hostname: "https://bot.example.com/x", Protocol: "auto"}
	c.Handlers = map[string]Handler{
		"house": with(HTTP, func(h *Handler) { h.URL = "house" }),
		"model": {Kind: LLM},
		"Bad":   with(Commands, func(h *Handler) { h.Commands = []Command{{Name: "a"}} }),
	}
	c.Rooms = map[string]Room{"knzaftd5": {Trigger: "x", Handler: "no"}, "a/b": {Enabled: true}}
	_, err := c.Validate()
	invalid, _ := errors.AsType[*InvalidError](err)
	if invalid == nil {
		t.Fatal("no error")
	}
	var got []string
	for _, p := range invalid.Problems {
		got = append(got, p.Key)
	}
	if diff := cmp.Diff([]string{
		"handlers.Bad", "handlers.Bad.command[1].reply",
		"handlers.house.url",
		"handlers.model.at_once", "handlers.model.attachments", "handlers.model.base_url", "handlers.model.model",
		"handlers.model.prefix", "handlers.model.queue", "handlers.model.timeout",
		`rooms."a/b"`, "rooms.knzaftd5.handler", "rooms.knzaftd5.trigger",
		"tunnel.hostname",
	}, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]struct {
		span Span
		text string
	}{
		"30d":   {30 * day, "30d"},
		"24h":   {day, "1d"},
		"36h":   {36 * hour, "36h"},
		"60m":   {hour, "1h"},
		"90m":   {90 * minute, "90m"},
		"007d":  {7 * day, "7d"},
		"3650d": {3650 * day, "3650d"},
	} {
		var got Span
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want.span || got.String() != want.text {
			t.Errorf("%s is %d, written %s, error %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "d", "1", "1w", "1D", "59m", "0d", "3651d", "-1d", "1 d", "99999999999d"} {
		var got Span
		if err := got.UnmarshalText([]byte(text)); bridge.CodeOf(err) != bridge.CodeInvalid || got != 0 {
			t.Errorf("%q is %s, error %v", text, got, err)
		}
	}
}

func TestValuesAreNormalised(t *testing.T) {
	urls := map[string]string{
		"https://cloud.example.com/":                     "https://cloud.example.com",
		"https://cloud.example.com/index.php":            "https://cloud.example.com",
		"https://cloud.example.com//index.php/":          "https://cloud.example.com",
		"HTTPS://Cloud.Example.com:8443/Nextcloud/":      "https://cloud.example.com:8443/Nextcloud",
		"https://wölke.example/a%20b":                    "https://wölke.example/a%20b",
		"http://index.php":                               "http://index.php",
		"http://[fe80::1%25eth0]:80/index.php/index.php": "http://[fe80::1%25eth0]",
	}
	for given, want := range urls {
		c := Default()
		c.Talk.BaseURL = given
		if _, err := c.Validate(); err != nil {
			t.Error(err)
		}
		if c.Talk.BaseURL != want {
			t.Errorf("%s became %s, want %s", given, c.Talk.BaseURL, want)
		}
	}

	for given, want := range map[string]string{
		"bot.example.com": "bot.example.com", "https://Bot.Example.com/": "bot.example.com", "\tbot.example.com\n": "bot.example.com", "a-b.c1.example": "a-b.c1.example",
		"bot": "", "http://bot.example.com": "", "bot.example.com:443": "bot.example.com:443", "bot.example.com/x": "", "-a.example.com": "", "127.0.0.1:8443": "127.0.0.1:8443", "": "",
	} {
		c := valid()
		c.Tunnel = Tunnel{Mode: TunnelNamed, Hostname: given, Protocol: "auto"}
		if _, err := c.Validate(); (err == nil) != (want != "") || err == nil && c.Tunnel.Hostname != want {
			t.Errorf("hostname %q became %q, error %v", given, c.Tunnel.Hostname, err)
		}
	}

	c := Default()
	c.Talk.BaseURL = "https://a.example"
	c.Talk.AllowedUsers = []string{"users/alice", "alice", " bob ", "guests/x"}
	c.Handler = with(LLM, func(h *Handler) {
		h.BaseURL, h.Model, h.Temperature = "https://api.example.com/v1/chat/completions/", " m ", -0.5
		h.Names, h.Ack = []string{" @Perch ", "perch"}, " 👀 "
	})
	c.Handlers = map[string]Handler{
		"exec":     with(Exec, func(h *Handler) { h.Command, h.Commands = []string{"x"}, []Command{{Name: "a", Reply: "b"}} }),
		"commands": with(Commands, func(h *Handler) { h.Command, h.Commands = []string{"x"}, []Command{{Name: " a ", Reply: "b"}} }),
	}
	c.Rooms = map[string]Room{"all": {}, "none": {AllowedUsers: []string{}}, "one": {AllowedUsers: []string{"users/alice", "alice"}}}
	if _, err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	want := with(LLM, func(h *Handler) {
		h.BaseURL, h.Model, h.Temperature, h.Names, h.Ack = "https://api.example.com/v1", "m", -1, []string{"Perch"}, "👀"
	})
	if diff := cmp.Diff(want, c.Handler); diff != "" {
		t.Errorf("handler (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]Handler{
		"exec":     with(Exec, func(h *Handler) { h.Command = []string{"x"} }),
		"commands": with(Commands, func(h *Handler) { h.Commands = []Command{{Name: "a", Reply: "b"}} }),
	}, c.Handlers); diff != "" {
		t.Errorf("handlers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]Room{"all": {}, "none": {AllowedUsers: []string{}}, "one": {AllowedUsers: []string{"alice"}}}, c.Rooms); diff != "" {
		t.Errorf("rooms (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"alice", "bob", "guests/x"}, c.Talk.AllowedUsers); diff != "" {
		t.Errorf("allowed users (-want +got):\n%s", diff)
	}
}

func TestValidateChecksWhatParseCannotRead(t *testing.T) {
	c := Default()
	c.Talk.BaseURL = "https://a.example"
	c.Journal.Keep = Span(90 * time.Second * 60 * 60 / 7)
	_, err := c.Validate()
	want := `journal.keep: must be a whole number of days, hours or minutes, from 1h to 3650d, such as "30d"`
	if err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
	c.Journal.Keep = math.MaxInt64
	if _, err := c.Validate(); err == nil {
		t.Error("no error for a span of 292 years")
	}
}

func TestMigrationsBringAFileToTheCurrentVersion(t *testing.T) {
	steps := []func(map[string]any){
		func(tree map[string]any) { // The journal was called log.
			tree["journal"] = tree["log"]
			delete(tree, "log")
		},
		func(tree map[string]any) { tree["handler"] = map[string]any{"kind": "commands"} },
	}
	for version, data := range map[string]string{
		"none": "[log]\nkeep = \"7d\"\n" + head,
		"1":    "version = 1\n[log]\nkeep = \"7d\"\n" + head,
		"2":    "version = 2\n[journal]\nkeep = \"7d\"\n" + head,
		"3":    "version = 3\n[journal]\nkeep = \"7d\"\n" + head,
	} {
		c, at := parse("c.toml", []byte(data), steps)
		if err := at.err(); err != nil {
			t.Errorf("version %s: %v", version, err)
		}
		if c.Version != 3 || c.Journal.Keep != 7*day {
			t.Errorf("version %s became version %d, keep %s", version, c.Version, c.Journal.Keep)
		}
	}
	if _, at := parse("c.toml", []byte("version = 4\n"+head), steps); at.err() == nil {
		t.Error("version 4 of 3 was read")
	}
}

// Only problems come out, and what parses is written and read back the same.
func FuzzParse(f *testing.F) {
	full, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(head))
	f.Add([]byte("version = 9\n"))
	f.Add([]byte("webhook = {listen = \":1\", path = '/x'}\n[[journal]]\nkeep=1979-05-27\n"))
	f.Add([]byte("a.\"b\\u0000\".c = [[1.5], {x = 0x1F}]\nversion = inf\n"))
	f.Add([]byte(head + "[handler]\nkind = 'exec'\ncommand = ['a', 'b']\nmodel = ''' x\\n'''\ntemperature = nan\n[rooms.x]\n[rooms.y]\nallowed_users = []\nhandler = 'h'\n[handlers.h]\n"))
	f.Add([]byte(head + "[handler]\nkind = 'llm'\nbase_url = 'http://x/'\nmodel = 'm'\nsystem_prompt = \"\\n\\\"\\\"\\\"\\\"\\r\\u0000\\\\\\\"\\\"\"\ncommand = ['x']\ntemperature = -7\n"))
	f.Add([]byte("handler.names = []\nhandlers.h.names = []\nhandlers.h.kind = 'commands'\n" + head))
	f.Add([]byte("handler = {command = [{name = 'a', reply = \"x\\ny\"}, {name = 'b', reply = '{x}'}], names = []}\n" + head))
	f.Add([]byte(head + "[[handlers.h.command]]\nname = 'a'\nreply = 'b'\n[handlers.\"ü.\"]\n[handlers.g]\nkind = 'relay'\nurl = 'http://x?y'\ncommand = []\nattachments = ''\nhistory = 9999\n"))
	f.Add([]byte("channels_config.nextcloud_talk = {base_url = 'http://ü/index.php/', allowed_users = ['users/x', '*']}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, warnings, err := Parse("config.toml", data)
		if err != nil {
			invalid, ok := err.(*InvalidError) //nolint:errorlint // It must be that and nothing else.
			if !ok || len(invalid.Problems) == 0 || bridge.CodeOf(err) != bridge.CodeInvalid {
				t.Fatalf("error %T: %v", err, err)
			}
			for _, p := range invalid.Problems {
				if p.Text.IsZero() || p.File == "" || strings.ContainsAny(p.String(), "\n\x00") {
					t.Errorf("problem %+v", p)
				}
			}
			return
		}
		again, err := c.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		back, warnings2, err := Parse("config.toml", again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
		warnings = slices.DeleteFunc(warnings, func(p Problem) bool { return strings.HasPrefix(p.Text.String(), "is taken as") })
		if len(warnings) != len(warnings2) {
			t.Errorf("%d warnings, then %d", len(warnings), len(warnings2))
		}
	})
}
