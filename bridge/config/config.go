// Package config is Perch's config.toml: what it may say, how it is read,
// checked, written, watched and imported, and where it stands. It holds no
// secrets: they live in the keychain or the environment.
package config

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

// Config is everything that config.toml says.
type Config struct {
	Version int     // of the file's form; see migrations
	Talk    Talk    // [channels_config.nextcloud_talk], as PRX and ZeroClaw have it
	Webhook Webhook // [webhook]
	Handler Handler // [handler]
	Journal Journal // [journal]
}

// Talk is the Nextcloud server and who is answered there.
type Talk struct {
	BaseURL      string   // without a trailing slash and index.php
	AllowedUsers []string // "alice", "guests/<id>", "*" for everybody; nil denies all
	ReplyAs      ReplyAs
	CAFile       string // PEM file of a private CA or a self-signed certificate; empty: the system's CAs alone
}

// ReplyAs says in whose name Perch writes.
type ReplyAs string

// The values of ReplyAs.
const (
	Bot  ReplyAs = "bot"  // through the signed bot API
	User ReplyAs = "user" // through the chat API, as the user whose app token it is
)

// Webhook is where Perch listens for Talk.
type Webhook struct {
	Listen           string // host:port
	Path             string // begins with a slash
	RequireSignature bool
	PublicURL        string // where Nextcloud reaches Perch; empty: not known here
}

// Handler is what answers messages.
type Handler struct {
	Kind string // Commands
}

// Commands is the handler of the built-in commands.
const Commands = "commands"

// Journal is what Perch remembers, and for how long.
type Journal struct {
	Keep      Span
	StoreText bool // keep the text of messages that are done with
}

// Default returns the settings of a file that says nothing. They lack the
// server's address.
func Default() Config {
	return Config{
		Version: len(migrations()) + 1,
		Talk:    Talk{ReplyAs: Bot},
		Webhook: Webhook{Listen: "127.0.0.1:8460", Path: "/nextcloud-talk", RequireSignature: true},
		Handler: Handler{Kind: Commands},
		Journal: Journal{Keep: 30 * day, StoreText: true},
	}
}

// Span is a length of time in whole minutes, written as a number and a unit:
// "30d", "12h", "90m".
type Span time.Duration

const (
	minute  = Span(time.Minute)
	hour    = Span(time.Hour)
	day     = 24 * hour
	minKeep = hour
	maxKeep = 3650 * day
)

// MarshalText writes s in the largest unit in which it is whole.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns s as MarshalText writes it.
func (s Span) String() string {
	unit, name := minute, "m"
	switch {
	case s%day == 0:
		unit, name = day, "d"
	case s%hour == 0:
		unit, name = hour, "h"
	}
	return strconv.FormatInt(int64(s/unit), 10) + name
}

// UnmarshalText returns an error of CodeInvalid unless text is a whole number
// followed by d, h or m, from 1h to 3650d.
func (s *Span) UnmarshalText(text []byte) error {
	digits, name := string(text), ""
	if n := len(text); n > 0 {
		digits, name = string(text[:n-1]), string(text[n-1:])
	}
	unit := map[string]Span{"d": day, "h": hour, "m": minute}[name]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || unit == 0 || Span(n) > maxKeep/unit || Span(n)*unit < minKeep {
		return &bridge.Error{Code: bridge.CodeInvalid, Text: wrongSpan()}
	}
	*s = Span(n) * unit
	return nil
}

func wrongSpan() bridge.Text {
	return bridge.Say("must be a whole number of days, hours or minutes, from 1h to 3650d, such as %s", `"30d"`)
}

// Address returns the URL at which Nextcloud is to reach the webhook.
func (w Webhook) Address() string {
	if w.PublicURL == "" {
		return "http://" + w.Listen + w.Path
	}
	u, err := url.Parse(w.PublicURL)
	if err != nil {
		return w.PublicURL
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = w.Path
	}
	return u.String()
}
