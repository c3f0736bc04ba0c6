//go:build !notunnel

package tunnel_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"perch/tunnel"
)

// A token like those that the dashboard shows, of a tunnel that does not exist.
const (
	validToken = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0IjoiN2QzZjVlMGMtNGIyYS00ZjAwLTgwMDAtMDAwMDAwMDAwMDAxIiwicyI6ImMyVmpjbVYwYzJWamNtVjBjMlZqY21WMGMyVmpjbVYwIn0="
	validID    = "7d3f5e0c-4b2a-4f00-8000-000000000001"
	validPart  = "c2VjcmV0c2VjcmV0"
)

func TestParseToken(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"alone":                 validToken,
		"with white space":      " \t" + validToken + "\r\n",
		"quoted":                `"` + validToken + `"`,
		"without padding":       strings.TrimRight(validToken, "="),
		"macOS":                 "sudo cloudflared service install " + validToken,
		"Windows":               "cloudflared.exe service install " + validToken,
		"Debian":                "curl -L https://pkg.cloudflare.com/x | sudo tee /x && sudo apt-get install cloudflared && sudo cloudflared service install " + validToken,
		"run":                   "cloudflared tunnel run --token " + validToken,
		"run with =":            "cloudflared tunnel run --token=" + validToken,
		"Docker":                "docker run cloudflare/cloudflared:latest tunnel --no-autoupdate run --token " + validToken,
		"broken by a terminal":  "cloudflared service install " + validToken[:60] + "\n" + validToken[60:],
		"broken and indented":   "cloudflared service install " + validToken[:60] + "\r\n    " + validToken[60:],
		"followed by something": validToken + " --loglevel debug",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := tunnel.ParseToken(line)
			if err != nil || token.ID() != validID || token.IsZero() {
				t.Errorf("%v, %v", token.ID(), err)
			}
		})
	}
}

func TestParseTokenRefuses(t *testing.T) {
	t.Parallel()
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct{ token, reason string }{
		"nothing":    {"", "a token begins with eyJ"},
		"words":      {"cloudflared service install", "a token begins with eyJ"},
		"no JSON":    {"eyJhIjoi", "it is cut off or changed: it does not contain JSON"},
		"cut off":    {validToken[:90], "it is cut off or changed: it does not contain JSON"},
		"empty":      {encode(`{}`), "a token begins with eyJ"},
		"no account": {encode(`{"t":"` + validID + `","s":"c2VjcmV0"}`), "it names no account"},
		"no tunnel":  {encode(`{"a":"account","s":"c2VjcmV0"}`), "it names no tunnel"},
		"bad tunnel": {encode(`{"a":"account","t":"x","s":"c2VjcmV0"}`), "it is cut off or changed: it does not contain JSON"},
		"no secret":  {encode(`{"a":"account","t":"` + validID + `"}`), "it contains no secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := tunnel.ParseToken(c.token)
			failure, ok := errors.AsType[*tunnel.Error](err)
			if !ok || !errors.Is(err, tunnel.ErrBadToken) || failure.Reason != c.reason || !token.IsZero() || token.ID() != "" {
				t.Errorf("%v, %v", token, err)
			}
		})
	}
}

func TestTokenPrintsAsStars(t *testing.T) {
	t.Parallel()
	token, err := tunnel.ParseToken(validToken)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", token, "options", tunnel.Options{Token: token})
	data, err := json.Marshal(struct{ Token tunnel.Token }{token})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	all.WriteString(log.String() + string(data))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&all, verb, token)
		fmt.Fprintf(&all, verb, struct{ token tunnel.Token }{token})
		fmt.Fprintf(&all, verb, []any{&token})
	}
	printed := all.String()
	for _, secret := range []string{validPart, "secretsecret", "73656372", "115 101 99", validToken[:20]} {
		if strings.Contains(printed, secret) {
			t.Errorf("%s is in %s", secret, printed)
		}
	}
	if !strings.Contains(printed, "***") {
		t.Error(printed)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(validToken)
	f.Add("cloudflared service install " + validToken)
	f.Add("eyJ9")
	f.Add(base64.StdEncoding.EncodeToString([]byte(`{"a":"a","t":"` + validID + `","s":"cw==","e":"us"}`)))
	f.Fuzz(func(t *testing.T, s string) {
		token, err := tunnel.ParseToken(s)
		switch {
		case err != nil && !errors.Is(err, tunnel.ErrBadToken):
			t.Errorf("an error of another kind: %v", err)
		case err == nil && (token.IsZero() || token.ID() == ""):
			t.Error("a token without a tunnel")
		}
	})
}
