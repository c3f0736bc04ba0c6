package secret

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"

	"perch/bridge"
)

func TestCheck(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{bridge.WebhookSecret, strings.Repeat("x", 39), "the webhook_secret has 39 characters; Talk takes 40 to 128"},
		{bridge.WebhookSecret, strings.Repeat("x", 40), ""},
		{bridge.WebhookSecret, strings.Repeat("x", 128), ""},
		{bridge.WebhookSecret, strings.Repeat("x", 129), "the webhook_secret has 129 characters; Talk takes 40 to 128"},
		{bridge.WebhookSecret, strings.Repeat("ü", 128), ""},
		{bridge.WebhookSecret, "", "the webhook_secret is empty"},
		{bridge.WebhookSecret, strings.Repeat("x", 64) + " ", "the webhook_secret begins or ends with white space"},
		{bridge.WebhookSecret, "\n" + strings.Repeat("x", 64), "the webhook_secret begins or ends with white space"},
		{bridge.WebhookSecret, strings.Repeat("x", 64) + "\nx", "the webhook_secret has characters that cannot be typed, such as an end of line"},
		{bridge.WebhookSecret, strings.Repeat("x", 64) + "\xff", "the webhook_secret has characters that cannot be typed, such as an end of line"},
		{bridge.AppToken, "x", ""},
		{bridge.AppToken, "a b", ""},
		{bridge.AppToken, "", "the app_token is empty"},
		{bridge.AppToken, " x", "the app_token begins or ends with white space"},
		{"password", "x", `there is no secret by the name of "password"`},
		{bridge.TunnelToken, tunnelToken, ""},
		{bridge.TunnelToken, tunnelToken + "\n", "the tunnel_token begins or ends with white space"},
		{bridge.TunnelToken, "cloudflared service install " + tunnelToken, "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, tunnelToken[:len(tunnelToken)-4], "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, encoded(`{}`), "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, encoded(`{"a":"x","t":"0a0a0a0a-0b0b-4c4c-8d8d-0e0e0e0e0e0e","s":""}`), "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, encoded(`{"a":"x","t":"0a0a0a0a-0b0b-4c4c-8d8d-0e0e0e0e0e0e","s":"?"}`), "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, encoded(`{"a":"","t":"0a0a0a0a-0b0b-4c4c-8d8d-0e0e0e0e0e0e","s":"c2VjcmV0"}`), "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, encoded(`{"a":"x","t":"tunnel","s":"c2VjcmV0"}`), "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.TunnelToken, encoded(`[]`), "the tunnel_token is not one that Cloudflare gives for a tunnel"},
		{bridge.NotifyToken, strings.Repeat("x", 20), ""},
		{bridge.NotifyToken, strings.Repeat("x", 19), "the notify_token has 19 characters; it needs 20, so that nobody guesses it"},
		{bridge.NotifyToken, strings.Repeat("x y ", 20) + "z", "the notify_token has characters that no token has, such as a space"},
		{bridge.HandlerToken, "sk-x", ""},
		{bridge.HandlerToken, "", "the handler_token is empty"},
		{bridge.HandlerToken, "a b", "the handler_token has characters that no token has, such as a space"},
		{bridge.HandlerToken, "ä", "the handler_token has characters that no token has, such as a space"},
		{"handler_token_house", "a b", "the handler_token_house has characters that no token has, such as a space"},
		{bridge.HandlerSecret, "x", ""},
		{bridge.HandlerSecret, "a b", ""},
		{"handler_secret_house_2", "", "the handler_secret_house_2 is empty"},
		{"handler_secret_House", "x", `there is no secret by the name of "handler_secret_House"`},
		{"handler_secret_", "x", `there is no secret by the name of "handler_secret_"`},
		{"handler_token_" + strings.Repeat("x", 33), "x", `there is no secret by the name of "handler_token_` + strings.Repeat("x", 33) + `"`},
		{"app_token_house", "x", `there is no secret by the name of "app_token_house"`},
	}
	for _, test := range tests {
		err := Check(test.name, bridge.NewSecret(test.value))
		got := ""
		if err != nil {
			got = bridge.TextOf(err).String()
			if bridge.CodeOf(err) != bridge.CodeInvalid {
				t.Errorf("%s %q: code %s", test.name, test.value, bridge.CodeOf(err))
			}
		}
		if got != test.want {
			t.Errorf("%s %q: %q, want %q", test.name, test.value, got, test.want)
		}
	}
}

// tunnelToken has the form of one, and opens nothing.
const tunnelToken = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0IjoiMGEwYTBhMGEtMGIwYi00YzRjLThkOGQtMGUwZTBlMGUwZTBlIiwicyI6ImMyVmpjbVYwIn0="

func encoded(json string) string { return base64.StdEncoding.EncodeToString([]byte(json)) }

func TestNormalize(t *testing.T) {
	tests := []struct{ name, given, want string }{
		{bridge.TunnelToken, tunnelToken, tunnelToken},
		{bridge.TunnelToken, " " + tunnelToken + "\r\n", tunnelToken},
		{bridge.TunnelToken, "cloudflared service install " + tunnelToken, tunnelToken},
		{bridge.TunnelToken, "sudo cloudflared service install " + tunnelToken + "\n", tunnelToken},
		{bridge.TunnelToken, "cloudflared.exe service install " + tunnelToken, tunnelToken},
		{bridge.TunnelToken, "cloudflared tunnel run --token " + tunnelToken, tunnelToken},
		{bridge.TunnelToken, "cloudflared tunnel run --token=" + tunnelToken, tunnelToken},
		{bridge.TunnelToken, "docker run cloudflare/cloudflared:latest tunnel --no-autoupdate run --token '" + tunnelToken + "'", tunnelToken},
		{bridge.TunnelToken, " cloudflared tunnel run perch ", "cloudflared tunnel run perch"},
		{bridge.HandlerToken, " sk-x\n", "sk-x"},
		{bridge.HandlerToken, "Bearer sk-x", "sk-x"},
		{"handler_token_house", "bearer  sk-x", "sk-x"},
		{"handler_token_house", "two words", "two words"},
		{bridge.AppToken, " a b ", "a b"},
		{bridge.WebhookSecret, " a ", "a"},
		{bridge.HandlerSecret, " a ", "a"},
		{bridge.WebhookSecret, "\ufeff“abc”\u200b", "abc"},
		{bridge.WebhookSecret, "PERCH_WEBHOOK_SECRET=abc", "abc"},
		{bridge.WebhookSecret, "export PERCH_WEBHOOK_SECRET='abc'\n", "abc"},
		{bridge.WebhookSecret, "$env:PERCH_WEBHOOK_SECRET = \"abc\"", "abc"},
		{bridge.WebhookSecret, `"webhook_secret": "abc",`, "abc"},
		{bridge.AppToken, `app_token = "abc"`, "abc"},
		{bridge.WebhookSecret, "c2VjcmV0==", "c2VjcmV0=="},
		{bridge.WebhookSecret, "ABC_DEF==", "ABC_DEF=="},
		{bridge.HandlerToken, "Authorization: Bearer sk-x", "sk-x"},
		{bridge.HandlerToken, "PERCH_HANDLER_TOKEN=\"Bearer sk-x\"", "sk-x"},
		{bridge.HandlerToken, "Bearer", "Bearer"},
		{bridge.TunnelToken, "PERCH_TUNNEL_TOKEN=\"cloudflared service install " + tunnelToken + "\"", tunnelToken},
		{bridge.TunnelToken, " ", ""},
	}
	for _, test := range tests {
		if got := Normalize(test.name, bridge.NewSecret(test.given)).Reveal(); got != test.want {
			t.Errorf("%s %q becomes %q, want %q", test.name, test.given, got, test.want)
		}
	}
}

// What comes out of Normalize is as it should be.
func FuzzNormalize(f *testing.F) {
	f.Add(0, "export A_B='Bearer \"x\"'")
	f.Add(2, "--token="+tunnelToken)
	f.Fuzz(func(t *testing.T, i int, pasted string) {
		name := Names()[uint(i)%uint(len(Names()))]
		s := Normalize(name, bridge.NewSecret(pasted))
		if again := Normalize(name, s); again.Reveal() != s.Reveal() {
			t.Errorf("%q becomes %q, and that %q", pasted, s.Reveal(), again.Reveal())
		}
	})
}

// Whatever is pasted for a tunnel, it is told if the result can be a token.
func FuzzTunnelToken(f *testing.F) {
	f.Add(tunnelToken)
	f.Add("cloudflared tunnel run --token=" + tunnelToken)
	f.Add(encoded(`{"a":1,"t":null,"s":[]}`))
	f.Fuzz(func(t *testing.T, pasted string) {
		s := Normalize(bridge.TunnelToken, bridge.NewSecret(pasted))
		if again := Normalize(bridge.TunnelToken, s); again.Reveal() != s.Reveal() {
			t.Errorf("%q becomes %q, and that %q", pasted, s.Reveal(), again.Reveal())
		}
		if err := Check(bridge.TunnelToken, s); err != nil && bridge.CodeOf(err) != bridge.CodeInvalid {
			t.Errorf("error %v", err)
		}
	})
}

func TestRandom(t *testing.T) {
	for name, want := range map[string]bool{
		bridge.WebhookSecret: true, bridge.HandlerSecret: true, "handler_secret_house": true,
		bridge.AppToken: false, bridge.TunnelToken: false, bridge.HandlerToken: false, "handler_token_house": false,
	} {
		if Random(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
		if want && Check(name, Generate()) != nil {
			t.Errorf("%s cannot be what is generated", name)
		}
	}
}

func TestPlace(t *testing.T) {
	store := Chain(env("PERCH_HANDLER_TOKEN_HOUSE", "x", "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET", "y"), Memory())
	for name, want := range map[string]string{
		"handler_token_house": "the variable PERCH_HANDLER_TOKEN_HOUSE", bridge.WebhookSecret: "the variable ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET",
		bridge.HandlerToken: "the system's keychain",
	} {
		place, fixed := store.Place(t.Context(), name)
		if place.String() != want || fixed != strings.Contains(want, "variable") {
			t.Errorf("%s is in %s, fixed %v", name, place, fixed)
		}
	}
}

func TestGenerate(t *testing.T) {
	counts, seen := map[rune]int{}, map[string]bool{}
	const n = 1000
	for range n {
		s := Generate()
		if err := Check(bridge.WebhookSecret, s); err != nil {
			t.Fatal(err)
		}
		if len(s.Reveal()) != 64 || seen[s.Reveal()] {
			t.Fatal("not 64 characters, or not a new one")
		}
		seen[s.Reveal()] = true
		for _, r := range s.Reveal() {
			counts[r]++
		}
	}
	if len(counts) != 62 {
		t.Errorf("%d different characters", len(counts))
	}
	// Each is drawn 1032 times on average, with a standard deviation of 32; six
	// of them are never exceeded. The remainder of a byte alone would draw eight
	// characters 1250 times.
	const mean, most = n * 64 / 62, 6 * 32
	for r, count := range counts {
		if count < mean-most || count > mean+most {
			t.Errorf("%c was drawn %d times", r, count)
		}
	}
}

func env(pairs ...string) Environment {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestEnvironment(t *testing.T) {
	const perch, zeroclaw = "PERCH_WEBHOOK_SECRET", "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET"
	tests := []struct {
		name           string
		env            Environment
		secret         string
		value, varName string
	}{
		{"ours", env(perch, "a"), bridge.WebhookSecret, "a", perch},
		{"ZeroClaw's", env(zeroclaw, "b"), bridge.WebhookSecret, "b", zeroclaw},
		{"ours before ZeroClaw's", env(zeroclaw, "b", perch, "a"), bridge.WebhookSecret, "a", perch},
		{"ours empty", env(zeroclaw, "b", perch, ""), bridge.WebhookSecret, "b", zeroclaw},
		{"app token", env("PERCH_APP_TOKEN", "c"), bridge.AppToken, "c", "PERCH_APP_TOKEN"},
		{"tunnel token", env("PERCH_TUNNEL_TOKEN", "d"), bridge.TunnelToken, "d", "PERCH_TUNNEL_TOKEN"},
		{"of the handler", env("PERCH_HANDLER_SECRET", "e"), bridge.HandlerSecret, "e", "PERCH_HANDLER_SECRET"},
		{"of a named handler", env("PERCH_HANDLER_TOKEN", "f", "PERCH_HANDLER_TOKEN_HOUSE", "g"), "handler_token_house", "g", "PERCH_HANDLER_TOKEN_HOUSE"},
		{"one end of line", env(perch, "a\n"), bridge.WebhookSecret, "a", perch},
		{"one end of line of Windows", env(perch, "a\r\n"), bridge.WebhookSecret, "a", perch},
		{"other white space", env(perch, " a \n\n"), bridge.WebhookSecret, "a", perch},
		{"quotes", env(perch, "\ufeff\"a\"\u200b"), bridge.WebhookSecret, "a", perch},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.env.Get(t.Context(), test.secret)
			if err != nil || got.Reveal() != test.value || test.env.from(test.secret).variable != test.varName {
				t.Errorf("%q from %s, error %v", got.Reveal(), test.env.from(test.secret).variable, err)
			}
		})
	}
}

// A secret can be in a file that the environment names.
func TestEnvironmentNamesFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const variable = "PERCH_WEBHOOK_SECRET"
	file, credential := write("file", "from a file\n"), write(bridge.WebhookSecret, "from systemd")
	write(bridge.AppToken, "\n")
	ctx := t.Context()
	for _, test := range []struct {
		name  string
		env   Environment
		value string
		from  origin
	}{
		{"the variable first", env(variable, "a", variable+"_FILE", file, "CREDENTIALS_DIRECTORY", dir), "a", origin{variable, ""}},
		{"then the file", env(variable+"_FILE", file, "CREDENTIALS_DIRECTORY", dir), "from a file", origin{variable + "_FILE", file}},
		{"then the credential", env("CREDENTIALS_DIRECTORY", dir), "from systemd", origin{"CREDENTIALS_DIRECTORY", credential}},
		{"no credential", env("CREDENTIALS_DIRECTORY", t.TempDir()), "from the keychain", origin{}},
	} {
		keychain := Memory()
		if err := keychain.Set(ctx, bridge.WebhookSecret, bridge.NewSecret("from the keychain")); err != nil {
			t.Fatal(err)
		}
		store := Chain(test.env, keychain)
		got, err := store.Get(ctx, bridge.WebhookSecret)
		if err != nil || got.Reveal() != test.value {
			t.Errorf("%s: %q, error %v", test.name, got.Reveal(), err)
		}
		if s := store.Status(ctx, bridge.WebhookSecret); s.Variable != test.from.variable || s.File != test.from.file {
			t.Errorf("%s: %+v", test.name, s)
		}
		how := store.HowTo(ctx, bridge.WebhookSecret).String()
		if !strings.Contains(how, cmp.Or(test.from.name(), "perch secret set webhook_secret")) {
			t.Errorf("%s: %s", test.name, how)
		}
		if _, fixed := store.Place(ctx, bridge.WebhookSecret); fixed != (test.from != origin{}) {
			t.Errorf("%s: fixed is %v", test.name, fixed)
		}
	}
	e := env("CREDENTIALS_DIRECTORY", dir)
	if _, err := e.Get(ctx, bridge.AppToken); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("an empty file: %v", err)
	}
	if err := e.Set(ctx, bridge.WebhookSecret, bridge.NewSecret("x")); !strings.Contains(bridge.HintOf(err).String(), credential) {
		t.Errorf("error %v", err)
	}
	for name, path := range map[string]string{
		"missing": filepath.Join(dir, "no"), "a folder": dir, "too large": write("large", strings.Repeat("x", maxSecretFile+1)),
	} {
		store := Chain(env(variable+"_FILE", path), Memory())
		if _, err := store.Get(ctx, bridge.WebhookSecret); bridge.CodeOf(err) != bridge.CodeUnavailable || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Where there is no keychain, nobody is told to use it.
func TestHowToWithoutKeychain(t *testing.T) {
	store := Chain(env(), failing{ErrNoSession})
	for name, want := range map[string]string{bridge.WebhookSecret: "openssl rand -hex 32", bridge.AppToken: "PERCH_APP_TOKEN_FILE"} {
		if how := store.HowTo(t.Context(), name).String(); !strings.Contains(how, want) || strings.Contains(how, "perch secret") {
			t.Errorf("%s: %s", name, how)
		}
	}
}

// What the environment gives is not changed by a command of Perch, and where no
// keychain is, each secret has its own variable.
func TestHintsFitWhereSecretsComeFrom(t *testing.T) {
	ctx := t.Context()
	none := failing{ErrNoSession}
	short := Chain(env("PERCH_WEBHOOK_SECRET", "short", "PERCH_NOTIFY_TOKEN", "short"), none)
	for _, name := range []string{bridge.WebhookSecret, bridge.NotifyToken} {
		hint := bridge.HintOf(short.Status(ctx, name).Err).String()
		if !strings.Contains(hint, "openssl rand -hex 32") || !strings.Contains(hint, "PERCH_"+strings.ToUpper(name)) || strings.Contains(hint, "perch secret") {
			t.Errorf("%s: %s", name, hint)
		}
	}
	if hint := bridge.HintOf(Check(bridge.WebhookSecret, bridge.NewSecret("short"))).String(); !strings.Contains(hint, "perch secret generate") {
		t.Errorf("what was typed: %s", hint)
	}
	given := Chain(env("PERCH_WEBHOOK_SECRET", strings.Repeat("x", 64)), none)
	if how := given.WithoutKeychain().HowTo(ctx, bridge.NotifyToken).String(); !strings.Contains(how, "PERCH_NOTIFY_TOKEN") || strings.Contains(how, "perch secret") {
		t.Errorf("without a keychain: %s", how)
	}
	r := Chain(env("PERCH_WEBHOOK_SECRET", strings.Repeat("x", 64)), nameless{}).DiagnoseKeychain(ctx, []string{bridge.WebhookSecret, bridge.AppToken})
	if r.Status != bridge.StatusFail || !strings.Contains(r.Fix.String(), "PERCH_APP_TOKEN") || strings.Contains(r.Fix.String(), "WEBHOOK") {
		t.Errorf("%s, fix %q", r.Status, r.Fix)
	}
	if r := given.DiagnoseKeychain(ctx, []string{bridge.WebhookSecret}); r.Status != bridge.StatusWarn || strings.Contains(r.Fix.String(), "openssl") {
		t.Errorf("nothing lacks, but: %s", r.Fix)
	}
}

// nameless is a keychain that is not there, and says so of each secret.
type nameless struct{ bridge.SecretStore }

func (nameless) Get(_ context.Context, name string) (bridge.Secret, error) {
	return bridge.Secret{}, explain(name, ErrNoSession)
}

type failing struct{ err error }

func (f failing) Get(context.Context, string) (bridge.Secret, error) { return bridge.Secret{}, f.err }
func (f failing) Set(context.Context, string, bridge.Secret) error   { return f.err }
func (f failing) Delete(context.Context, string) error               { return f.err }

// Not every variable is a secret.
func TestEnvironmentOfOthers(t *testing.T) {
	e := env("PERCH_HOME", "/x", "PERCH_HANDLER_TOKEN", "x")
	if variable := e.from("home").variable; variable != "" {
		t.Errorf("a secret in %s", variable)
	}
	if _, err := e.Get(t.Context(), "handler_token_house"); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("the token of another handler is taken: %v", err)
	}
}

func TestEnvironmentIsReadOnly(t *testing.T) {
	ctx := t.Context()
	e := env("ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET", "hunter2")
	for _, err := range []error{e.Set(ctx, bridge.WebhookSecret, bridge.NewSecret("x")), e.Delete(ctx, bridge.WebhookSecret)} {
		if bridge.CodeOf(err) != bridge.CodeDenied || !strings.Contains(err.Error(), "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET") {
			t.Errorf("error %v", err)
		}
	}
	if err := e.Set(ctx, bridge.AppToken, bridge.NewSecret("x")); bridge.CodeOf(err) != bridge.CodeDenied {
		t.Errorf("error %v", err)
	}
	if err := e.Delete(ctx, bridge.AppToken); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("error %v", err)
	}
}

func TestMemory(t *testing.T) {
	testStore(t, Memory())
}

// testStore goes through everything that a store must do. It must be empty.
func testStore(t *testing.T, store bridge.SecretStore) {
	t.Helper()
	ctx := t.Context()
	want := func(name, value string) {
		t.Helper()
		got, err := store.Get(ctx, name)
		if value == "" {
			if bridge.CodeOf(err) != bridge.CodeNotFound || !strings.Contains(bridge.HintOf(err).String(), "perch secret set "+name) {
				t.Errorf("%s: error %v", name, err)
			}
		} else if err != nil || got.Reveal() != value {
			t.Errorf("%s is %q, want %q, error %v", name, got.Reveal(), value, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want(bridge.WebhookSecret, "")
	must(store.Set(ctx, bridge.WebhookSecret, bridge.NewSecret("one")))
	must(store.Set(ctx, bridge.AppToken, bridge.NewSecret("two ü\n'\"")))
	want(bridge.WebhookSecret, "one")
	want(bridge.AppToken, "two ü\n'\"")
	must(store.Set(ctx, bridge.WebhookSecret, bridge.NewSecret("three")))
	want(bridge.WebhookSecret, "three")
	must(store.Delete(ctx, bridge.WebhookSecret))
	want(bridge.WebhookSecret, "")
	want(bridge.AppToken, "two ü\n'\"")
	must(store.Set(ctx, "handler_token_house", bridge.NewSecret("four")))
	want("handler_token_house", "four")
	want(bridge.HandlerToken, "")
	must(store.Delete(ctx, "handler_token_house"))
	if err := store.Delete(ctx, bridge.WebhookSecret); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("deleted twice: error %v", err)
	}
	must(store.Delete(ctx, bridge.AppToken))

	_, err := store.Get(ctx, "password")
	for _, err := range []error{err, store.Set(ctx, "password", bridge.NewSecret("x")), store.Delete(ctx, "password")} {
		if bridge.CodeOf(err) != bridge.CodeInvalid || !strings.Contains(bridge.HintOf(err).String(), "webhook_secret, app_token") {
			t.Errorf("unknown name: error %v", err)
		}
	}
}

func TestChain(t *testing.T) {
	testStore(t, Chain(env(), Memory()))

	ctx := t.Context()
	keychain := Memory()
	store := Chain(env("PERCH_APP_TOKEN", "from the environment"), keychain)
	if err := store.Set(ctx, bridge.AppToken, bridge.NewSecret("from the keychain")); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Get(ctx, bridge.AppToken); err != nil || got.Reveal() != "from the environment" {
		t.Errorf("got %q, error %v", got.Reveal(), err)
	}
	if got, err := keychain.Get(ctx, bridge.AppToken); err != nil || got.Reveal() != "from the keychain" {
		t.Errorf("the keychain has %q, error %v", got.Reveal(), err)
	}
	if err := store.Delete(ctx, bridge.AppToken); err != nil {
		t.Fatal(err)
	}
	if _, err := keychain.Get(ctx, bridge.AppToken); bridge.CodeOf(err) != bridge.CodeNotFound {
		t.Errorf("still in the keychain: %v", err)
	}
}

// broken is a keychain that cannot be used.
type broken struct{ bridge.SecretStore }

func (broken) Get(context.Context, string) (bridge.Secret, error) {
	return bridge.Secret{}, explain(bridge.WebhookSecret, ErrLocked)
}

func TestStatus(t *testing.T) {
	ctx := t.Context()
	keychain := Memory()
	if err := keychain.Set(ctx, bridge.WebhookSecret, bridge.NewSecret(strings.Repeat("ü", 50))); err != nil {
		t.Fatal(err)
	}
	type result struct {
		variable string
		length   int
		code     bridge.Code
	}
	tests := []struct {
		name, secret string
		store        *Store
		want         result
	}{
		{"in the keychain", bridge.WebhookSecret, Chain(env(), keychain), result{"", 50, ""}},
		{"in the environment", bridge.WebhookSecret, Chain(env("PERCH_WEBHOOK_SECRET", strings.Repeat("x", 60)), keychain), result{"PERCH_WEBHOOK_SECRET", 60, ""}},
		{"not set", bridge.AppToken, Chain(env(), keychain), result{"", 0, bridge.CodeNotFound}},
		{"too short", bridge.WebhookSecret, Chain(env("PERCH_WEBHOOK_SECRET", "short"), keychain), result{"PERCH_WEBHOOK_SECRET", 5, bridge.CodeInvalid}},
		{"white space", bridge.AppToken, Chain(env("PERCH_APP_TOKEN", "token "), keychain), result{"PERCH_APP_TOKEN", 5, ""}},
		{"keychain fails", bridge.WebhookSecret, Chain(env(), broken{}), result{"", 0, bridge.CodeUnavailable}},
		{"keychain is not asked", bridge.WebhookSecret, Chain(env("PERCH_WEBHOOK_SECRET", strings.Repeat("x", 60)), broken{}), result{"PERCH_WEBHOOK_SECRET", 60, ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := test.store.Status(ctx, test.secret)
			got := result{s.Variable, s.Length, bridge.CodeOf(s.Err)}
			if got != test.want || s.Name != test.secret {
				t.Errorf("status %+v, want %+v (%v)", got, test.want, s.Err)
			}
		})
	}
}

// Every state of a keychain has a text and a hint of its own, which names the
// variable that does instead.
func TestExplain(t *testing.T) {
	exit := exec.CommandContext(t.Context(), "sh", "-c", "exit 36").Run()
	texts := map[string]bool{}
	for name, test := range map[string]struct {
		err  error
		code bridge.Code
		is   error
	}{
		"not stored":    {keyring.ErrNotFound, bridge.CodeNotFound, keyring.ErrNotFound},
		"too large":     {keyring.ErrSetDataTooBig, bridge.CodeInvalid, ErrTooLarge},
		"no session":    {ErrNoSession, bridge.CodeUnavailable, ErrNoSession},
		"no keychain":   {ErrNoKeychain, bridge.CodeUnavailable, ErrNoKeychain},
		"no collection": {ErrNoCollection, bridge.CodeUnavailable, ErrNoCollection},
		"locked":        {exit, bridge.CodeUnavailable, ErrLocked},
		"prompt":        {errors.Join(ErrTimeout, ErrLocked), bridge.CodeUnavailable, ErrTimeout},
		"timeout":       {ErrTimeout, bridge.CodeUnavailable, ErrTimeout},
		"other":         {errors.ErrUnsupported, bridge.CodeUnavailable, errors.ErrUnsupported},
	} {
		err := explain(bridge.AppToken, test.err)
		if bridge.CodeOf(err) != test.code || !errors.Is(err, test.is) || !errors.Is(err, test.err) {
			t.Errorf("%s: %v", name, err)
		}
		hint := bridge.HintOf(err).String()
		texts[bridge.TextOf(err).String()+hint] = true
		if test.code == bridge.CodeUnavailable && name != "prompt" && !strings.Contains(hint, "PERCH_APP_TOKEN") {
			t.Errorf("%s: hint %q", name, hint)
		}
	}
	if len(texts) != 9 {
		t.Errorf("%d different texts", len(texts))
	}
	if err := explain(bridge.AppToken, nil); err != nil {
		t.Error(err)
	}
}

// Wherever a secret has gone, it knows how it is set.
func TestSecretKnowsHowItIsSet(t *testing.T) {
	empty, full := Memory(), Memory()
	if err := full.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret("x")); err != nil {
		t.Fatal(err)
	}
	for want, store := range map[string]*Store{
		"change PERCH_WEBHOOK_SECRET": Chain(env("PERCH_WEBHOOK_SECRET", "x"), empty),
		"perch secret generate":       Chain(env(), empty),
		"perch secret set":            Chain(env(), full),
		"openssl rand -hex 32":        Chain(env(), failing{ErrNoKeychain}),
	} {
		s, _ := store.Get(t.Context(), bridge.WebhookSecret)
		if how := s.HowTo(bridge.WebhookSecret).String(); !strings.Contains(how, want) {
			t.Errorf("%s: %s", want, how)
		}
	}
}

func TestWithout(t *testing.T) {
	kept := []string{"PATH=/bin", "PERCH_HOME=/home/alice/perch", "PERCH_WEBHOOK_SECRET_FILE=/run/secret", "EMPTY", "PERCH_=x"}
	got := Without(append([]string{
		"PERCH_WEBHOOK_SECRET=a", "PERCH_APP_TOKEN=b", "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET=c", "PERCH_NOTIFY_TOKEN=d",
	}, kept...))
	if !slices.Equal(got, kept) {
		t.Errorf("%q", got)
	}
}
