package talk_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/talk"
)

// recording is a webhook of a real server: Nextcloud 32.0.1 with Talk 21.1.7.
type recording struct {
	Name    string            `json:"-"` // "02_message_mention"
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func (r recording) random() string    { return r.Headers["X-Nextcloud-Talk-Random"] }
func (r recording) signature() string { return r.Headers["X-Nextcloud-Talk-Signature"] }

func webhooks(tb testing.TB) []recording {
	tb.Helper()
	files, err := filepath.Glob("testdata/webhooks/*.json")
	if err != nil || len(files) != 42 {
		tb.Fatalf("found %d recorded webhooks, want 42 (%v)", len(files), err)
	}
	all := make([]recording, 0, len(files))
	for _, file := range files {
		r := recording{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
		readJSON(tb, file, &r)
		all = append(all, r)
	}
	return all
}

func readJSON(tb testing.TB, file string, v any) {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
}

func recordedSecret(tb testing.TB) bridge.Secret {
	tb.Helper()
	data, err := os.ReadFile("testdata/webhook_secret.txt")
	if err != nil {
		tb.Fatal(err)
	}
	return bridge.NewSecret(strings.TrimSpace(string(data)))
}

func TestRecordedSignatures(t *testing.T) {
	secret := recordedSecret(t)
	for _, r := range webhooks(t) {
		t.Run(r.Name, func(t *testing.T) {
			body := []byte(r.Body)
			if !talk.Verify(secret, r.random(), body, r.signature()) {
				t.Error("the recorded signature is refused")
			}
			if got := talk.Sign(secret, r.random(), r.Body); got != r.signature() {
				t.Errorf("Sign = %s, want %s", got, r.signature())
			}
			for _, i := range []int{0, len(body) / 2, len(body) - 1} {
				body[i] ^= 1
				if talk.Verify(secret, r.random(), body, r.signature()) {
					t.Errorf("accepted with a bit of byte %d changed", i)
				}
				body[i] ^= 1
			}
			raw, err := hex.DecodeString(r.signature())
			if err != nil {
				t.Fatal(err)
			}
			for bit := range 8 * len(raw) {
				raw[bit/8] ^= 1 << (bit % 8)
				if talk.Verify(secret, r.random(), body, hex.EncodeToString(raw)) {
					t.Errorf("accepted with bit %d of the signature changed", bit)
				}
				raw[bit/8] ^= 1 << (bit % 8)
			}
			if talk.Verify(secret, r.random()+"x", body, r.signature()) {
				t.Error("accepted with another random")
			}
			if talk.Verify(bridge.NewSecret(secret.Reveal()+"x"), r.random(), body, r.signature()) {
				t.Error("accepted with another secret")
			}
		})
	}
}

func TestVerifyForms(t *testing.T) {
	secret, none := bridge.NewSecret("s3cret"), bridge.NewSecret("")
	body := []byte(`{"type":"Create"}`)
	signed := talk.Sign(secret, "random", string(body))
	tests := []struct {
		name      string
		secret    bridge.Secret
		random    string
		signature string
		want      bool
	}{
		{"lower case", secret, "random", signed, true},
		{"upper case", secret, "random", strings.ToUpper(signed), true},
		{"prefix", secret, "random", "sha256=" + signed, true},
		{"prefix in upper case", secret, "random", "SHA256=" + strings.ToUpper(signed), true},
		{"two prefixes", secret, "random", "sha256=sha256=" + signed, false},
		{"another prefix", secret, "random", "sha512=" + signed, false},
		{"prefix alone", secret, "random", "sha256=", false},
		{"empty signature", secret, "random", "", false},
		{"too short", secret, "random", signed[:62], false},
		{"too long", secret, "random", signed + "00", false},
		{"not hex", secret, "random", "zz" + signed[2:], false},
		{"empty secret", none, "random", talk.Sign(none, "random", string(body)), false},
		{"empty random", secret, "", talk.Sign(secret, "", string(body)), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := talk.Verify(tt.secret, tt.random, body, tt.signature); got != tt.want {
				t.Errorf("Verify = %t, want %t", got, tt.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	secret := recordedSecret(f)
	for _, r := range webhooks(f) {
		f.Add(secret.Reveal(), r.random(), []byte(r.Body), r.signature())
	}
	f.Fuzz(func(t *testing.T, key, random string, body []byte, signature string) {
		secret := bridge.NewSecret(key)
		right := talk.Sign(secret, random, string(body))
		usable := key != "" && random != ""
		if talk.Verify(secret, random, body, right) != usable {
			t.Errorf("own signature: accepted is not %t", usable)
		}
		digits := strings.ToLower(signature)
		if talk.Verify(secret, random, body, signature) && strings.TrimPrefix(digits, "sha256=") != right {
			t.Errorf("accepted %q, the signature is %q", signature, right)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	secret := recordedSecret(b)
	r := webhooks(b)[1]
	body := []byte(r.Body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if !talk.Verify(secret, r.random(), body, r.signature()) {
			b.Fatal("refused")
		}
	}
}
