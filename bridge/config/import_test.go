package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

func TestImport(t *testing.T) {
	type result struct {
		Table, BaseURL string
		AllowedUsers   []string
		ReplyAs        ReplyAs
		Secrets        map[string]string
		Notes          string
	}
	tests := []struct {
		file string
		want result
	}{
		{"prx.toml", result{
			talkTable, "https://cloud.example.com",
			[]string{"admin", "alice"},
			User,
			map[string]string{"app_token": "hunter2"},
			"",
		}},
		{"zeroclaw.toml", result{
			talkTable, "https://cloud.example.com/nextcloud",
			[]string{"*"},
			Bot,
			map[string]string{"app_token": "hunter2", "webhook_secret": "hunter3"},
			"zeroclaw.toml:17: channels_config.nextcloud_talk.base_url: is taken as \"https://cloud.example.com/nextcloud\"\nzeroclaw.toml:20: channels_config.nextcloud_talk.allowed_users: everybody is allowed who can write where the bot is, guests too\n",
		}},
		{"zeroclaw-flat.toml", result{
			"channels.nextcloud_talk", "http://192.168.1.5",
			[]string{"alice"},
			Bot,
			map[string]string{},
			"zeroclaw-flat.toml:5: channels.nextcloud_talk.app_token: is encrypted with a key of ZeroClaw's, and was left out\n" +
				"zeroclaw-flat.toml:6: channels.nextcloud_talk.webhook_secret: is encrypted with a key of ZeroClaw's, and was left out\n",
		}},
		{"zeroclaw-alias.toml", result{
			"channels.nextcloud_talk.default", "https://cloud.example.com", nil, Bot,
			map[string]string{"webhook_secret": "hunter2"},
			"zeroclaw-alias.toml:3: channels.nextcloud_talk.default.allowed_users: nobody is allowed: Perch answers no one\n",
		}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			data, err := os.ReadFile("testdata/" + test.file)
			if err != nil {
				t.Fatal(err)
			}
			in, err := Import(test.file, data)
			if err != nil {
				t.Fatal(err)
			}
			got := result{in.Table, in.Config.Talk.BaseURL, in.Config.Talk.AllowedUsers, in.Config.Talk.ReplyAs, map[string]string{}, ""}
			for name, secret := range in.Secrets {
				got.Secrets[name] = secret.Reveal()
			}
			for _, note := range in.Notes {
				got.Notes += note.String() + "\n"
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("imported (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(Default().Webhook, in.Config.Webhook); diff != "" {
				t.Errorf("their webhook was taken for ours (-want +got):\n%s", diff)
			}
		})
	}
}

// Perch's own file with secrets in it keeps everything else.
func TestImportOwnFile(t *testing.T) {
	full, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := Parse("config.toml", full)
	if err != nil {
		t.Fatal(err)
	}
	in, err := Import("config.toml", []byte(strings.Replace(string(full), "ca_file", "app_token = \"hunter2\"\nca_file", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, in.Config); diff != "" {
		t.Errorf("imported (-want +got):\n%s", diff)
	}
	if in.Secrets[bridge.AppToken].Reveal() != "hunter2" || len(in.Secrets) != 1 {
		t.Errorf("%d secrets", len(in.Secrets))
	}
}

// Secrets are found in every table of Perch's own file, and nothing else is lost.
func TestImportOwnFileWithSecretsEverywhere(t *testing.T) {
	const rest = "[handlers.house]\nkind = \"http\"\nurl = \"http://house\"\n%s[handler]\n%s[tunnel]\n%s[webhook]\npath = \"/x\"\n%s"
	want, _, err := Parse("c.toml", fmt.Appendf(nil, head+rest, "", "", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	in, err := Import("c.toml", fmt.Appendf(nil, head+"bot_token = \"a\"\n"+rest,
		"token = \"b\"\nhandler_secret = \"c\"\n", "api_key = \"d\"\nsecret = \"\"\n", "tunnel_token = \"e\"\n", "webhook_secret = \"a\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, in.Config); diff != "" {
		t.Errorf("imported (-want +got):\n%s", diff)
	}
	got := map[string]string{}
	for name, s := range in.Secrets {
		got[name] = s.Reveal()
	}
	if diff := cmp.Diff(map[string]string{
		"webhook_secret": "a", "handler_token_house": "b", "handler_secret_house": "c", "handler_token": "d", "tunnel_token": "e",
	}, got); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}

	for text, data := range map[string]string{
		"c.toml:6: tunnel.token: must be a string, in quotes":                                         head + "[tunnel]\n\ntoken = 5\n",
		"c.toml:6: webhook.webhook_secret: there are two different ones of the secret webhook_secret": head + "webhook_secret = \"hunter2\"\n[webhook]\nwebhook_secret = \"hunter3\"\n",
	} {
		if _, err := Import("c.toml", []byte(data)); err == nil || err.Error() != text {
			t.Errorf("error %v, want %s", err, text)
		}
	}

	// Those of another program's other tables are not Perch's.
	in, err = Import("z.toml", []byte(head+"[gateway]\nwebhook_secret = \"hunter2\"\n"))
	if err != nil || len(in.Secrets) != 0 {
		t.Errorf("%d secrets, error %v", len(in.Secrets), err)
	}
}

// Without a secret to sign with, the app token is what replies are sent with.
func TestImportRepliesAsWhatTheSecretsAllow(t *testing.T) {
	for secrets, want := range map[string]ReplyAs{
		``:                      Bot,
		`app_token = "hunter2"`: User,
		"app_token = \"hunter2\"\nreply_as = \"bot\"":           Bot,
		"app_token = \"hunter2\"\nwebhook_secret = \"hunter3\"": Bot,
		"app_token = \"hunter2\"\nwebhook_secret = \"enc2:00\"": Bot,
		"app_token = \"hunter2\"\nwebhook_secret = \"\"":        User,
	} {
		for _, rest := range []string{"", "[gateway]\nport = 1\n"} {
			in, err := Import("z.toml", []byte(head+secrets+"\n"+rest))
			if err != nil {
				t.Fatal(err)
			}
			if in.Config.Talk.ReplyAs != want {
				t.Errorf("%q replies as %s, want %s", secrets, in.Config.Talk.ReplyAs, want)
			}
		}
	}
}

func TestImportRefuses(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"not TOML", "x", "z.toml:1: not valid TOML: unexpected EOF; expected key separator '='"},
		{"not TOML beside a secret", "api_key = hunter2", "z.toml:1: not valid TOML; strings need quotes"},
		{"nothing", "", "z.toml has no table for Nextcloud Talk: it is empty"},
		{
			"other channels", "default_model = \"x\"\n[channels_config.telegram]\nbot_token = \"hunter2\"\n[channels_config]\ncli = true\n[gateway]\nport = 3000\n",
			"z.toml has no table for Nextcloud Talk; it has channels_config.cli, channels_config.telegram, default_model, gateway",
		},
		{"two bots", "[channels.nextcloud_talk.a]\nbase_url = \"https://a.example\"\n[channels.nextcloud_talk.b]\nbase_url = \"https://b.example\"\n", "z.toml has several bots for Nextcloud Talk: a, b"},
		{"no address", "[channels.nextcloud_talk]\nallowed_users = [\"*\"]\n", `z.toml:1: channels.nextcloud_talk.base_url: is required: the address of your Nextcloud, such as "https://cloud.example.com"`},
		{"bad address", "[channels.nextcloud_talk.x]\n\nbase_url = \"cloud\"\n", `z.toml:3: channels.nextcloud_talk.x.base_url: must be an http or https address, such as "https://cloud.example.com"`},
		{"bad secret", "[channels_config.nextcloud_talk]\napp_token = 5\n", `z.toml:2: channels_config.nextcloud_talk.app_token: must be a string, in quotes`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Import("z.toml", []byte(test.data))
			if bridge.CodeOf(err) != bridge.CodeInvalid {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzImport(f *testing.F) {
	for _, name := range []string{"prx.toml", "zeroclaw.toml", "zeroclaw-flat.toml", "zeroclaw-alias.toml", "full.toml"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := Import("z.toml", data)
		if err != nil {
			if bridge.CodeOf(err) != bridge.CodeInvalid {
				t.Errorf("error %v", err)
			}
			return
		}
		out, err := in.Config.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err := Parse("config.toml", out); err != nil || !cmp.Equal(back, in.Config) {
			t.Errorf("imported %+v, read back %+v, error %v", in.Config, back, err)
		}
	})
}
