// Package talk speaks the protocol of Nextcloud Talk: it verifies and parses
// the webhooks that Talk sends to a bot, and asks the server through its OCS
// API. It keeps no state and logs nothing.
package talk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"perch/bridge"
)

// Sign returns the lower-case hex HMAC-SHA256 of random followed by body.
//
// A webhook is signed over its whole body; a request of a bot over the text of
// the message or the emoji of the reaction alone.
func Sign(secret bridge.Secret, random, body string) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte(random))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// Verify reports whether signature is that of random followed by body. It takes
// hex digits of either case, with or without "sha256=" before them, and compares
// in constant time. It is false if the secret, random or signature is empty.
func Verify(secret bridge.Secret, random string, body []byte, signature string) bool {
	const prefix = "sha256="
	if len(signature) > len(prefix) && strings.EqualFold(signature[:len(prefix)], prefix) {
		signature = signature[len(prefix):]
	}
	if secret.IsZero() || random == "" || len(signature) != hex.EncodedLen(sha256.Size) {
		return false
	}
	var digits [2 * sha256.Size]byte
	var given, computed [sha256.Size]byte
	copy(digits[:], signature)
	if _, err := hex.Decode(given[:], digits[:]); err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte(random))
	mac.Write(body)
	return hmac.Equal(given[:], mac.Sum(computed[:0]))
}
