package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

func valid() Config {
	c := Default()
	c.Talk.BaseURL = "https://cloud.example.com"
	c.Talk.AllowedUsers = []string{"alice", `b"o\b`, "guests/ü"}
	return c
}

func TestSaveWritesWhatLoadReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "perch", "config.toml")
	want := valid()
	kept, err := Save(path, want)
	if err != nil || kept != "" {
		t.Fatalf("kept %q, error %v", kept, err)
	}
	got, _, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	wantModes(t, path, 0o600)
	wantModes(t, filepath.Dir(path), os.ModeDir|0o700)
	wantModes(t, filepath.Dir(filepath.Dir(path)), os.ModeDir|0o700)
}

func wantModes(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("mode of %s is %v, want %v", path, info.Mode(), want)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in the folder (-want +got):\n%s", diff)
	}
}

// The form of the file is for people; see testdata/written.toml.
func TestSaveCommentsEveryKey(t *testing.T) {
	wantGolden(t, "written.toml", valid())
}

// Named handlers and rooms are written short; see testdata/written_full.toml.
func TestSaveWritesWhatDiffers(t *testing.T) {
	full := readFull(t)
	wantGolden(t, "written_full.toml", full)
	written, err := full.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := Parse("written.toml", written)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func readFull(t *testing.T) Config {
	t.Helper()
	data, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	full, _, err := Parse("full.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

func wantGolden(t *testing.T, name string, c Config) {
	t.Helper()
	got, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join("testdata", name), got)
}

func TestSaveReplacesInOneStep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if _, err := Save(path, valid()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	c := valid()
	c.Webhook.Listen = "127.0.0.1:9999"
	if kept, err := Save(path, c); err != nil || kept != "" {
		t.Fatalf("kept %q, error %v", kept, err)
	}
	wantNames(t, dir, "config.toml")
	wantModes(t, path, 0o600)
	// Whoever had the old file open still reads the old one, whole.
	buf := make([]byte, len(before)+1)
	if n, _ := old.Read(buf); string(buf[:n]) != string(before) {
		t.Error("the old file was written to")
	}
}

func TestSaveKeepsAFileThatItCannotParse(t *testing.T) {
	for name, data := range map[string]string{
		"no TOML":     "[channels_config\n",
		"bad value":   "[channels_config.nextcloud_talk]\nbase_url = 5\n",
		"unknown key": head + "colour = 1\n",
		"too big":     head + "# " + strings.Repeat("x", maxFile),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "config.toml")
			if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			kept, err := Save(path, valid())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(kept, path+".old-") {
				t.Fatalf("kept as %q", kept)
			}
			if got, err := os.ReadFile(kept); err != nil || string(got) != data {
				t.Errorf("kept %q, error %v", got, err)
			}
			wantModes(t, kept, 0o600)
			wantNames(t, dir, "config.toml", filepath.Base(kept))
			if _, _, err := Load(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSaveFollowsLinks(t *testing.T) {
	dir, dotfiles := t.TempDir(), t.TempDir()
	path, middle, target := filepath.Join(dir, "config.toml"), filepath.Join(dir, "middle"), filepath.Join(dotfiles, "perch.toml")
	for link, to := range map[string]string{path: "middle", middle: target} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // The target is missing, and then it is not.
		if _, err := Save(path, valid()); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Fatal("the link is gone")
		}
		if _, _, err := Load(target); err != nil {
			t.Error(err)
		}
		wantNames(t, dotfiles, "perch.toml")
	}
}

func TestSaveThatFailsLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if _, err := Save(path, valid()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The name leaves no room for that of a temporary file.
	long := filepath.Join(dir, strings.Repeat("x", 250))
	if err := os.WriteFile(long, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(long, Default()); bridge.CodeOf(err) != bridge.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	if after, err := os.ReadFile(long); err != nil || string(after) != string(before) {
		t.Errorf("the file changed, error %v", err)
	}
	wantNames(t, dir, "config.toml", filepath.Base(long))
}

func TestReplaceThatFailsLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken", "by a folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replace(dir, "taken", []byte("x")); err == nil {
		t.Error("no error")
	}
	wantNames(t, dir, "taken")
}

func TestLoadSaysThatThereIsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	_, _, err := Load(path)
	if bridge.CodeOf(err) != bridge.CodeNotFound || !strings.Contains(bridge.TextOf(err).String(), path) {
		t.Errorf("error %v", err)
	}
	for _, command := range []string{"perch setup", "perch demo"} {
		if hint := bridge.HintOf(err).String(); !strings.Contains(hint, command) {
			t.Errorf("hint %q", hint)
		}
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), os.DevNull} {
		if _, _, err := Load(path); bridge.CodeOf(err) != bridge.CodeUnavailable {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestLoadChecksTheCertificateFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	der, key := certificate(t)
	write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write("ca.der", der)
	tests := []struct{ name, file, text, hint string }{
		{"relative", "ca.pem", "", ""},
		{"absolute", filepath.Join(dir, "ca.pem"), "", ""},
		{"missing", "no.pem", "cannot be read", ""},
		{"a folder", ".", "cannot be read", ""},
		{"a key", "key.pem", "must be the path of a PEM file", "give the certificate, not the key"},
		{"not PEM", "ca.der", "must be the path of a PEM file", "openssl x509 -inform der"},
	}
	path := filepath.Join(dir, "config.toml")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := valid()
			c.Talk.CAFile = test.file
			if _, err := Save(path, c); err != nil {
				t.Fatal(err)
			}
			_, _, err := Load(path)
			if (err == nil) != (test.text == "") {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				text, hint := err.Error(), bridge.HintOf(err).String()
				if !strings.Contains(text, test.text) || !strings.HasPrefix(text, path+":14: channels_config.nextcloud_talk.ca_file: ") || !strings.Contains(hint, test.hint) {
					t.Errorf("error %q, hint %q", text, hint)
				}
			}
		})
	}
}

// A program that is not there yet is no reason not to run.
func TestLoadLooksForPrograms(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("programs are told by their names there")
	}
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bot.py": 0o700, "text.py": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "config.toml")
	for program, want := range map[string]string{
		"./bot.py": "", "sub/../bot.py": "", filepath.Join(dir, "bot.py"): "", "sh": "",
		"./text.py":                `"` + filepath.Join(dir, "text.py") + `" may not be run`,
		"./gone.py":                `There is no program "` + filepath.Join(dir, "gone.py") + `"`,
		"/no/such":                 `There is no program "/no/such"`,
		"no-such-program-anywhere": `There is no program "no-such-program-anywhere" in the folders of PATH`,
		dir:                        `"` + dir + `" is a folder, not a program`,
	} {
		c := valid()
		c.Handlers = map[string]Handler{"script": with(Exec, func(h *Handler) { h.Command = []string{program} })}
		if _, err := Save(path, c); err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(data), "\ncommand = ")
		line := strconv.Itoa(strings.Count(before, "\n") + 2)
		got := joined(warnings, Problem.String)
		if want != "" {
			want = path + ":" + line + ": handlers.script.command: " + want
		}
		if got != want {
			t.Errorf("%s: warning %q, want %q", program, got, want)
		}
	}
}

func TestCertPoolTrustsTheCertificate(t *testing.T) {
	der, _ := certificate(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool, err := Talk{CAFile: "ca.pem"}.CertPool(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		t.Error(err)
	}
	if pool, err := (Talk{}).CertPool(dir); pool != nil || err != nil {
		t.Errorf("without a file: %v, %v", pool, err)
	}
}

// certificate returns a certificate that signed itself, and its key.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"cloud.example.com"},
	}
	cert, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err = x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
