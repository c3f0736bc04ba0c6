package bridge_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

const hunter2 = "hunter2"

// However a Secret is formatted, it is ***.
func TestSecretPrintsAsMask(t *testing.T) {
	secret := bridge.NewSecret(hunter2)
	type exported struct{ S bridge.Secret }
	values := map[string]any{
		"value":             secret,
		"pointer":           &secret,
		"struct":            exported{secret},
		"pointer to struct": &exported{secret},
		"nested":            struct{ E *exported }{&exported{secret}},
		"slice":             []bridge.Secret{secret},
		"array":             [1]bridge.Secret{secret},
		"map":               map[string]bridge.Secret{"k": secret},
		"map key":           map[bridge.Secret]int{secret: 1},
		"interface":         []any{secret},
		"error":             fmt.Errorf("wrapped %v", secret),
	}
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%e", "%c", "%U", "%20v", "%-9.1s", "%!"} {
			got := fmt.Sprintf(verb, value)
			leaks(t, name+" "+verb, got)
			if name == "value" && verb != "%!" && got != bridge.Mask {
				t.Errorf("%s is %q", verb, got)
			}
		}
		for verb, got := range map[string]string{
			"Sprint":       fmt.Sprint(value),
			"Sprintln":     fmt.Sprintln(value),
			"too many":     fmt.Sprintf("%s", []any{"x", value}...),
			"a bad width":  fmt.Sprintf("%*d", []any{value, 1}...),
			"a bad number": fmt.Sprintf("%[2]v", []any{value}...),
		} {
			leaks(t, name+" "+verb, got)
		}
	}
	if secret.String() != bridge.Mask {
		t.Errorf("String is %q", secret.String())
	}
}

// fmt asks no methods of fields that are not exported, nor for %p.
func TestSecretIsHiddenWhereItsMethodsAreNotAsked(t *testing.T) {
	secret := bridge.NewSecret(hunter2)
	type hidden struct{ s bridge.Secret }
	type pair struct {
		name string
		h    *hidden
	}
	for name, value := range map[string]any{
		"value":                secret,
		"pointer":              &secret,
		"field":                hidden{secret},
		"field behind pointer": &hidden{secret},
		"field of a field":     pair{"x", &hidden{secret}},
		"list":                 []hidden{{secret}},
		"map":                  map[string]hidden{"x": {secret}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T"} {
			leaks(t, name+" "+verb, fmt.Sprintf(verb, value))
		}
		for _, log := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(log(&b)).Info("x", "value", value)
			leaks(t, name+" in a log", b.String())
		}
	}
}

func TestSecretMarshalsAsMask(t *testing.T) {
	secret := bridge.NewSecret(hunter2)
	type document struct {
		S bridge.Secret            `json:"s" toml:"s" xml:"s"`
		P *bridge.Secret           `json:"p" toml:"p" xml:"p"`
		L []bridge.Secret          `json:"l" toml:"l" xml:"l"`
		M map[string]bridge.Secret `json:"m" toml:"m" xml:"-"`
	}
	doc := document{secret, &secret, []bridge.Secret{secret}, map[string]bridge.Secret{"k": secret}}
	for name, test := range map[string]struct {
		marshal func() ([]byte, error)
		want    string
	}{
		"JSON":     {func() ([]byte, error) { return json.Marshal(doc) }, `{"s":"***","p":"***","l":["***"],"m":{"k":"***"}}`},
		"TOML":     {func() ([]byte, error) { return toml.Marshal(doc) }, "s = \"***\"\np = \"***\"\nl = [\"***\"]\n\n[m]\n  k = \"***\"\n"},
		"XML":      {func() ([]byte, error) { return xml.Marshal(doc) }, `<document><s>***</s><p>***</p><l>***</l></document>`},
		"JSON key": {func() ([]byte, error) { return json.Marshal(map[bridge.Secret]int{secret: 1}) }, `{"***":1}`},
	} {
		got, err := test.marshal()
		if err != nil || string(got) != test.want {
			t.Errorf("%s is %q, error %v", name, got, err)
		}
	}
	var b bytes.Buffer
	_ = gob.NewEncoder(&b).Encode(secret)
	leaks(t, "gob", b.String())
}

func TestSecretLogsAsMask(t *testing.T) {
	secret := bridge.NewSecret(hunter2)
	for name, log := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(log(&b)).With("with", secret).Info("x", "value", secret, "pointer", &secret,
			slog.Group("group", "value", secret), "list", []bridge.Secret{secret}, "struct", struct{ S bridge.Secret }{secret})
		leaks(t, name, b.String())
		if n := strings.Count(b.String(), bridge.Mask); n != 6 {
			t.Errorf("%s: %d of 6 are masked: %s", name, n, b.String())
		}
	}
}

func TestSecretReveals(t *testing.T) {
	if got := bridge.NewSecret(hunter2).Reveal(); got != hunter2 {
		t.Errorf("revealed %q", got)
	}
	if (bridge.Secret{}).Reveal() != "" || !(bridge.Secret{}).IsZero() || !bridge.NewSecret("").IsZero() || bridge.NewSecret("x").IsZero() {
		t.Error("only an empty secret is zero")
	}
}

// leaks reports an error if the secret is in text, plainly or in hexadecimal.
func leaks(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range []string{hunter2, fmt.Sprintf("%x", hunter2), fmt.Sprintf("% x", hunter2)} {
		if strings.Contains(strings.ToLower(text), form) {
			t.Errorf("%s: %s", where, text)
		}
	}
}
