// Package secret is where Perch's secrets come from: the environment, else the
// keychain of the operating system.
package secret

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
)

// Names returns the names of the secrets that Perch knows.
func Names() []string { return []string{bridge.WebhookSecret, bridge.AppToken} }

// known returns an error of CodeInvalid unless Perch knows a secret by that
// name.
func known(name string) error {
	if slices.Contains(Names(), name) {
		return nil
	}
	return &bridge.Error{
		Code: bridge.CodeInvalid,
		Text: bridge.Say("there is no secret by the name of %s", strconv.Quote(name)),
		Hint: bridge.Say("the names are: %s", strings.Join(Names(), ", ")),
	}
}

// Lengths of the webhook secret that Talk takes, in characters.
const (
	minWebhookSecret = 40
	maxWebhookSecret = 128
)

// Check returns an error of CodeInvalid, which does not reveal it, if a secret
// cannot be what its name says.
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
			bridge.Say("make one: perch secret generate %s", name))
	}
	return nil
}

// Generate returns a new webhook secret: 64 random letters and digits.
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
		Hint:  bridge.Say("set it: perch secret set %s", name),
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

// Get returns the secret from the environment, else from the keychain.
func (s *Store) Get(ctx context.Context, name string) (bridge.Secret, error) {
	if secret, err := s.env.Get(ctx, name); err == nil {
		return secret, nil
	}
	return s.keychain.Get(ctx, name)
}

// Set puts the secret into the keychain. One in the environment hides it.
func (s *Store) Set(ctx context.Context, name string, secret bridge.Secret) error {
	return s.keychain.Set(ctx, name, secret)
}

// Delete takes the secret out of the keychain, not out of the environment.
func (s *Store) Delete(ctx context.Context, name string) error { return s.keychain.Delete(ctx, name) }

// Status is what can be told of a secret.
type Status struct {
	Name     string
	Variable string // the environment variable that it comes from; empty: from the keychain
	Length   int    // in characters; 0 if there is none
	Err      error  // why there is none (CodeNotFound: it is not set), or what Check says about it
}

// Status returns what can be told of a secret without revealing it.
func (s *Store) Status(ctx context.Context, name string) Status {
	secret, err := s.Get(ctx, name)
	if err == nil {
		err = Check(name, secret)
	}
	return Status{Name: name, Variable: s.env.Variable(name), Length: utf8.RuneCountInString(secret.Reveal()), Err: err}
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
