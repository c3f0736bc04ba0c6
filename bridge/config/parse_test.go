package config

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

const head = "[channels_config.nextcloud_talk]\nbase_url = \"https://cloud.example.com\"\nallowed_users = [\"alice\"]\n"

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
		},
		Webhook: Webhook{Listen: "127.0.0.1:9000", Path: "/hook", RequireSignature: true, PublicURL: "https://bot.example.com"},
		Handler: Handler{Kind: Commands},
		Journal: Journal{Keep: Span(12 * time.Hour), StoreText: false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
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
		{"unknown key, far", head + "[webhook]\ncolour = 1\n", `c.toml:5: webhook.colour: unknown key; known here are listen, path, require_signature, public_url`},
		{"unknown table", head + "[jornal]\nkeep = \"1d\"\n", `c.toml:4: jornal: unknown key; did you mean journal?`},
		{"unknown quoted key", head + "\"a b\" = 1\n", `c.toml:4: channels_config.nextcloud_talk."a b": unknown key; known here are base_url, allowed_users, reply_as, ca_file`},
		{"unknown dotted key", "a.b.c = 1\n" + head, `c.toml: a: unknown key; known here are version, channels_config, webhook, handler, journal`},
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
		{"reply_as", head + "reply_as = \"me\"\n", `c.toml:4: channels_config.nextcloud_talk.reply_as: must be "bot" or "user"`},
		{"kind", head + "[handler]\nkind = \"llm\"\n", `c.toml:5: handler.kind: must be "commands"`},
		{
			"several at once", "version = 1\ncolour = 1\n[webhook]\npath = \"x\"\nlisten = true\n[journal]\nkeep = \"1y\"\n",
			`c.toml: channels_config.nextcloud_talk.base_url: is required: the address of your Nextcloud, such as "https://cloud.example.com"
c.toml:2: colour: unknown key; known here are version, channels_config, webhook, handler, journal
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

func TestParseTellsHowToMoveASecret(t *testing.T) {
	_, _, err := Parse("/home/a b/config.toml", []byte(head+"app_token = \"hunter2\"\n"))
	want := "move it to the keychain: perch config import \"/home/a b/config.toml\"\n" +
		"or remove the line and type: perch secret set app_token"
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
		{"no scheme", `base_url = "cloud.example.com"`, bad},
		{"other scheme", `base_url = "ftp://cloud.example.com"`, bad},
		{"no host", `base_url = "https:///x"`, bad},
		{"user info", `base_url = "https://a:hunter2@cloud.example.com"`, bad},
		{"query", `base_url = "https://cloud.example.com/?a=b"`, bad},
		{"empty query", `base_url = "https://cloud.example.com/?"`, bad},
		{"fragment", `base_url = "https://cloud.example.com/#"`, bad},
		{"port too high", `base_url = "https://cloud.example.com:65536"`, bad},
		{"space", `base_url = " https://cloud.example.com"`, bad},

		{"nobody", `allowed_users = []`, "nobody is allowed: Perch answers no one"},
		{"everybody", `allowed_users = ["*"]`, "everybody is allowed who can write where the bot is, guests too"},
		{"empty user", `allowed_users = ["alice", ""]`, bad},
		{"blank user", `allowed_users = [" "]`, bad},
		{"user without id", `allowed_users = ["users/"]`, bad},
		{"guest without id", `allowed_users = ["guests/"]`, bad},
		{"every user", `allowed_users = ["users/*"]`, bad},
		{"guest in disguise", `allowed_users = ["users/guests/abc"]`, bad},
		{"bot", `allowed_users = ["bots/abc"]`, bad},

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

		{"days", `journal.keep = "3650d"`, ""},
		{"hours", `journal.keep = "1h"`, ""},
		{"minutes", `journal.keep = "90m"`, ""},
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
		"http://[fe80::1%25eth0]:80/index.php/index.php": "http://[fe80::1%25eth0]:80",
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

	c := Default()
	c.Talk.BaseURL = "https://a.example"
	c.Talk.AllowedUsers = []string{"users/alice", "alice", " bob ", "guests/x"}
	if _, err := c.Validate(); err != nil {
		t.Fatal(err)
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
		if len(warnings) != len(warnings2) {
			t.Errorf("%d warnings, then %d", len(warnings), len(warnings2))
		}
	})
}
