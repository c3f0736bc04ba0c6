//go:build !notunnel

package tunnel

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/google/uuid"
)

// Token lets a machine serve a named tunnel. It is a secret, and prints as ***
// however it is formatted, logged or marshalled. It is behind a function because
// fmt looks into fields that are not exported.
type Token struct{ reveal func() connection.Credentials }

// ParseToken takes the token of a named tunnel, or any line with it that the
// Cloudflare dashboard shows: "cloudflared service install eyJ…", "cloudflared
// tunnel run --token eyJ…", the same for Windows or Docker, also where a terminal
// has broken the line. Its error is of the kind ErrBadToken.
func ParseToken(s string) (Token, error) {
	// A JSON object in base64 begins with eyJ.
	pattern := regexp.MustCompile(`eyJ[A-Za-z0-9+/_-]*=*`)
	whole := pattern.FindString(strings.Join(strings.Fields(s), ""))
	var err error
	for _, candidate := range []string{pattern.FindString(s), whole} {
		var token Token
		if token, err = decodeToken(candidate); err == nil {
			return token, nil
		}
	}
	return Token{}, err
}

func decodeToken(s string) (Token, error) {
	bad := func(reason string) (Token, error) {
		return Token{}, &Error{Kind: ErrBadToken, Reason: reason}
	}
	if s == "" {
		return bad("a token begins with eyJ")
	}
	s = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(s)
	data, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return bad("it is cut off or changed: it is not base64")
	}
	var token connection.TunnelToken
	if json.Unmarshal(data, &token) != nil {
		return bad("it is cut off or changed: it does not contain JSON")
	}
	switch {
	case token.AccountTag == "":
		return bad("it names no account")
	case token.TunnelID == uuid.Nil:
		return bad("it names no tunnel")
	case len(token.TunnelSecret) == 0:
		return bad("it contains no secret")
	}
	return Token{token.Credentials}, nil
}

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.reveal == nil }

// ID returns the id of the tunnel, which is no secret; empty: there is no token.
func (t Token) ID() string {
	if t.IsZero() {
		return ""
	}
	return t.reveal().TunnelID.String()
}

// String returns ***.
func (t Token) String() string { return "***" }

// Format prints *** for every verb and flag.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// MarshalText returns ***.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// LogValue returns ***.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
