package bridge

import (
	"context"
	"fmt"
	"log/slog"
)

// Mask is what every Secret prints as.
const Mask = "***"

// Secret is a string that prints as *** however it is formatted, logged or
// marshalled. Only Reveal gives it away. The value is behind a pointer, because
// fmt prints fields that are not exported without asking their methods. Two
// Secrets are not to be compared with ==.
//
// A Secret knows how a person sets it, even where it is empty.
type Secret struct {
	value *string
	howTo *Text // nil: as everywhere
}

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{value: &s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// SetBy returns s as one that a person sets in that way.
func (s Secret) SetBy(howTo Text) Secret {
	s.howTo = &howTo
	return s
}

// HowTo says how a person sets the secret of that name: what to type, or where
// to put it.
func (s Secret) HowTo(name string) Text {
	if s.howTo != nil {
		return *s.howTo
	}
	return Say("perch secret set %s", name)
}

// Elsewhere returns how a person sets the secret if not by typing it to Perch;
// false if that is the way.
func (s Secret) Elsewhere() (Text, bool) {
	if s.howTo == nil {
		return Text{}, false
	}
	return *s.howTo, true
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns Mask.
func (s Secret) String() string { return Mask }

// Format prints Mask for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Mask)) }

// MarshalText returns Mask; JSON, TOML and XML use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(Mask), nil }

// LogValue returns Mask.
func (s Secret) LogValue() slog.Value { return slog.StringValue(Mask) }

// Names of the secrets that Perch knows.
const (
	WebhookSecret = "webhook_secret" // shared with Talk; signs webhooks and replies as the bot
	AppToken      = "app_token"      // app password of a Nextcloud user; needed to reply as that user
	TunnelToken   = "tunnel_token"   // of a named Cloudflare tunnel
	NotifyToken   = "notify_token"   // of the programs that may post into conversations
	HandlerToken  = "handler_token"  // bearer token for a web hook, key for a language model
	HandlerSecret = "handler_secret" // signs what is posted to a web hook
	VoiceToken    = "voice_token"    // key for the server that hears voice messages
)

// SecretOf returns the name of a secret of a named handler; of the one in
// [handler] the name is empty: "handler_token", "handler_token_house".
func SecretOf(secret, handler string) string {
	if handler == "" {
		return secret
	}
	return secret + "_" + handler
}

// AppTokenUse says what an app token is for.
func AppTokenUse() Text {
	return Say("With an app token Perch can reply as a user, hand on the contents of files, and fetch messages that it missed.")
}

// SecretStore keeps secrets by name.
type SecretStore interface {
	// Get returns an error of CodeNotFound if nothing is stored as name.
	Get(ctx context.Context, name string) (Secret, error)
	Set(ctx context.Context, name string, s Secret) error
	// Delete returns an error of CodeNotFound if nothing is stored as name.
	Delete(ctx context.Context, name string) error
}
