// Package secret is where Perch's secrets come from: the environment, else the
// keychain of the operating system.
package secret

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
)

// Names returns the names of the secrets that Perch knows, without those of
// named handlers; see Known.
func Names() []string {
	return []string{bridge.WebhookSecret, bridge.AppToken, bridge.TunnelToken, bridge.NotifyToken, bridge.HandlerToken, bridge.HandlerSecret, bridge.VoiceToken}
}

// Known reports whether Perch knows a secret by that name: one of Names, or
// that of a named handler, as bridge.SecretOf returns it.
func Known(name string) bool {
	return slices.Contains(Names(), name) || regexp.MustCompile(`^handler_(token|secret)_[a-z0-9_]{1,32}$`).MatchString(name)
}

// known returns an error of CodeInvalid unless Perch knows a secret by that
// name.
func known(name string) error {
	if Known(name) {
		return nil
	}
	return &bridge.Error{
		Code: bridge.CodeInvalid,
		Text: bridge.Say("there is no secret by the name of %s", strconv.Quote(name)),
		Hint: bridge.Say("the names are: %s; of [handlers.NAME]: %s", strings.Join(Names(), ", "),
			bridge.SecretOf(bridge.HandlerToken, "NAME")+", "+bridge.SecretOf(bridge.HandlerSecret, "NAME")),
	}
}

// Random reports whether a secret is one that Perch can make; the others come
// from somebody else.
func Random(name string) bool {
	return name == bridge.WebhookSecret || name == bridge.NotifyToken || is(name, bridge.HandlerSecret)
}

// is reports whether name is that of a handler's secret of that sort.
func is(name, sort string) bool { return name == sort || strings.HasPrefix(name, sort+"_") }

// Normalize returns a secret as it is meant by somebody who typed or pasted
// it: without white space, quotes and unseen characters around it, without the
// name that it is assigned to (export PERCH_APP_TOKEN=…), without the word
// Bearer, and a tunnel's token without the command line that Cloudflare shows it
// in. It is idempotent.
func Normalize(name string, s bridge.Secret) bridge.Secret {
	value := s.Reveal()
	for {
		was := value
		value = bridge.Pasted(value)
		if found := assignment().FindStringSubmatch(value); found != nil && strings.Trim(found[1], "=") != "" {
			value = found[1]
		}
		if found := bearer().FindStringSubmatch(value); found != nil {
			value = found[1]
		}
		if name == bridge.TunnelToken {
			for word := range strings.FieldsSeq(value) {
				word = bridge.Pasted(strings.TrimPrefix(word, "--token="))
				if isTunnelToken(word) {
					value = word
				}
			}
		}
		if value == was {
			return bridge.NewSecret(value)
		}
	}
}

// assignment finds what a secret is assigned in a shell, in a .env file, in TOML
// or in JSON.
func assignment() *regexp.Regexp {
	return regexp.MustCompile(`^(?:(?:export\s+|set\s+|\$env:)\w+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|["']?(?:webhook_secret|app_token|bot_token|tunnel_token|notify_token|voice_token|handler_(?:token|secret)\w*|api_key)["']?)\s*[=:]\s*(\S.*?),?$`)
}

func bearer() *regexp.Regexp {
	return regexp.MustCompile(`^(?i:(?:authorization\s*:\s*)?bearer)\s+(\S.*)$`)
}

// isTunnelToken reports whether s is what Cloudflare gives for a named tunnel:
// the account, the tunnel's id and its secret, as JSON in base64.
func isTunnelToken(s string) bool {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return false
	}
	var token struct {
		Account string `json:"a"`
		Tunnel  string `json:"t"`
		Secret  []byte `json:"s"` // in base64
	}
	return json.Unmarshal(data, &token) == nil && token.Account != "" && len(token.Secret) > 0 &&
		regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(token.Tunnel)
}

// Lengths of the webhook secret that Talk takes, in characters.
const (
	minWebhookSecret = 40
	maxWebhookSecret = 128
)

// minNotifyToken is how many characters the token of other programs has at least.
const minNotifyToken = 20

// Check returns an error of CodeInvalid, which does not reveal it, if a secret
// cannot be what its name says. What was typed goes through Normalize first.
func Check(name string, s bridge.Secret) error {
	if err := known(name); err != nil {
		return err
	}
	invalid := func(text, hint bridge.Text) error {
		return &bridge.Error{Code: bridge.CodeInvalid, Text: text, Hint: hint}
	}
	value := s.Reveal()
	length := utf8.RuneCountInString(value)
	switch {
	case value == "":
		return invalid(bridge.Say("the %s is empty", name), bridge.Text{})
	case strings.TrimSpace(value) != value:
		return invalid(bridge.Say("the %s begins or ends with white space", name),
			bridge.Say("copy it again without what is around it"))
	case strings.ContainsFunc(value, unicode.IsControl) || !utf8.ValidString(value):
		return invalid(bridge.Say("the %s has characters that cannot be typed, such as an end of line", name),
			bridge.Say("copy it again without what is around it"))
	case name == bridge.WebhookSecret && (length < minWebhookSecret || length > maxWebhookSecret):
		return invalid(bridge.Say("the %s has %s characters; Talk takes %s to %s",
			name, strconv.Itoa(length), strconv.Itoa(minWebhookSecret), strconv.Itoa(maxWebhookSecret)),
			anew(name, s))
	case name == bridge.TunnelToken && !isTunnelToken(value):
		return invalid(bridge.Say("the %s is not one that Cloudflare gives for a tunnel", name),
			bridge.Say("copy the whole line that the Cloudflare dashboard shows, such as %s", "cloudflared service install eyJ…"))
	case name == bridge.NotifyToken && length < minNotifyToken:
		return invalid(bridge.Say("the %s has %s characters; it needs %s, so that nobody guesses it", name, strconv.Itoa(length), strconv.Itoa(minNotifyToken)),
			anew(name, s))
	case (is(name, bridge.HandlerToken) || name == bridge.NotifyToken) && strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
		return invalid(bridge.Say("the %s has characters that no token has, such as a space", name),
			bridge.Say("copy it again without what is around it"))
	}
	return nil
}

// anew says how a person gives Perch a new secret in place of s.
func anew(name string, s bridge.Secret) bridge.Text {
	if how, elsewhere := s.Elsewhere(); elsewhere {
		return bridge.Say("make one: openssl rand -hex 32\nthen %s").With(how)
	}
	return bridge.Say("make one: perch secret generate %s", name)
}

// Generate returns a new secret, which Talk takes: 64 random letters and digits.
func Generate() bridge.Secret {
	const (
		letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
		fair    = 256 - 256%len(letters) // Bytes from here on would favour the first letters.
		length  = 64
	)
	value := make([]byte, 0, length)
	for random := make([]byte, 1); len(value) < length; {
		_, _ = rand.Read(random) // It never fails.
		if int(random[0]) < fair {
			value = append(value, letters[int(random[0])%len(letters)])
		}
	}
	return bridge.NewSecret(string(value))
}

// notStored says that there is no secret by that name anywhere.
func notStored(name string, cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeNotFound,
		Text:  bridge.Say("the %s is not set", name),
		Hint:  bridge.Say("perch secret set %s", name),
		Cause: cause,
	}
}

// Store takes secrets from the environment, else from a keychain, and puts
// them into the keychain.
type Store struct {
	env      Environment
	keychain bridge.SecretStore
}

// Open returns the store of the process's environment and the keychain of its
// user, in which its secrets are found under the name of service.
func Open(getenv func(string) string, service string) *Store {
	return Chain(getenv, Keychain(service))
}

// Chain returns a store of an environment and any keychain.
func Chain(env Environment, keychain bridge.SecretStore) *Store { return &Store{env, keychain} }

// Get returns the secret from the environment, else from the keychain. A file
// that the environment names and that cannot be read is an error. With an error
// too the Secret, which is empty then, knows how a person sets it.
func (s *Store) Get(ctx context.Context, name string) (bridge.Secret, error) {
	if err := known(name); err != nil {
		return bridge.Secret{}, err
	}
	if secret, err := s.env.Get(ctx, name); bridge.CodeOf(err) != bridge.CodeNotFound {
		return secret.SetBy(s.env.from(name).change(name)), err
	}
	secret, err := s.keychain.Get(ctx, name)
	if err != nil {
		secret = secret.SetBy(inKeychain(name, err))
	}
	return secret, err
}

// Set puts the secret, as Normalize returns it, into the keychain. One in the
// environment hides it.
func (s *Store) Set(ctx context.Context, name string, secret bridge.Secret) error {
	return s.keychain.Set(ctx, name, Normalize(name, secret))
}

// HowTo says how a person gives Perch this secret, here and now: where it comes
// from the environment, what to change there; else by the keychain; where there
// is none, how to make one and where to put it.
func (s *Store) HowTo(ctx context.Context, name string) bridge.Text {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	secret, _ := s.Get(ctx, name)
	return secret.HowTo(name)
}

// inKeychain says how a person gives Perch a secret by the keychain, which has
// just answered with err and not with a secret.
func inKeychain(name string, err error) bridge.Text {
	switch {
	case isAbsent(err):
		return withoutKeychain(name)
	case name == bridge.WebhookSecret:
		return bridge.Say("if the bot is installed already: perch secret set webhook_secret\nelse: perch secret generate webhook_secret")
	case Random(name):
		return bridge.Say("perch secret generate %s", name)
	default:
		return bridge.Say("perch secret set %s", name)
	}
}

// isAbsent reports whether err says that there is no keychain.
func isAbsent(err error) bool {
	return errors.Is(err, ErrNoSession) || errors.Is(err, ErrNoKeychain) || errors.Is(err, ErrNoCollection)
}

// withoutKeychain says how a person gives Perch a secret where there is no
// keychain.
func withoutKeychain(name string) bridge.Text {
	variable := variables(name)[0]
	if Random(name) {
		return bridge.Say("make one: openssl rand -hex 32\nand set %[1]s to it where Perch is started, or %[1]s_FILE to the path of a file with it", variable)
	}
	return bridge.Say("set %[1]s where Perch is started, or %[1]s_FILE to the path of a file with it", variable)
}

// Delete takes the secret out of the keychain, not out of the environment.
func (s *Store) Delete(ctx context.Context, name string) error { return s.keychain.Delete(ctx, name) }

// Place returns where a secret is or would be kept, for a person: "GNOME
// Keyring". If it comes from an environment variable it is fixed: it cannot be
// changed here. It answers within 2 s.
func (s *Store) Place(ctx context.Context, name string) (place bridge.Text, fixed bool) {
	switch from := s.env.from(name); {
	case from.file != "":
		return bridge.Say("the file %s", from.file), true
	case from.variable != "":
		return bridge.Say("the variable %s", from.variable), true
	}
	if program := s.program(ctx); program != "" {
		return bridge.Say("%s", program), false
	}
	return bridge.Say("the system's keychain"), false
}

// program returns the name of the keychain, empty if it is not known.
func (s *Store) program(ctx context.Context) string {
	if _, ok := s.keychain.(*keychain); !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return program(ctx)
}

// Status is what can be told of a secret.
type Status struct {
	Name     string
	Variable string // the environment variable that it comes from, or that names File or its folder; empty: from the keychain
	File     string // the file that it comes from; empty: none
	Cleaned  bool   // Normalize took something away
	Length   int    // in characters; 0 if there is none
	Err      error  // why there is none (CodeNotFound: it is not set), or what Check says about it
}

// Status returns what can be told of a secret without revealing it.
func (s *Store) Status(ctx context.Context, name string) Status {
	secret, err := s.Get(ctx, name)
	if err == nil {
		err = Check(name, secret)
	}
	from, given, _ := s.env.read(name)
	return Status{
		Name: name, Variable: from.variable, File: from.file,
		Cleaned: from.variable != "" && strings.TrimSpace(given) != secret.Reveal() && !secret.IsZero(),
		Length:  utf8.RuneCountInString(secret.Reveal()), Err: err,
	}
}

// Memory returns a store that forgets everything with the process, for
// practice and tests.
func Memory() bridge.SecretStore { return &memory{secrets: map[string]bridge.Secret{}} }

type memory struct {
	mu      sync.Mutex
	secrets map[string]bridge.Secret
}

func (m *memory) Get(_ context.Context, name string) (bridge.Secret, error) {
	if err := known(name); err != nil {
		return bridge.Secret{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	secret, ok := m.secrets[name]
	if !ok {
		return bridge.Secret{}, notStored(name, nil)
	}
	return secret, nil
}

func (m *memory) Set(_ context.Context, name string, secret bridge.Secret) error {
	if err := known(name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.secrets[name] = secret
	return nil
}

func (m *memory) Delete(ctx context.Context, name string) error {
	if _, err := m.Get(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.secrets, name)
	return nil
}
