// Package config is Perch's config.toml: what it may say, how it is read,
// checked, written, watched and imported, and where it stands. It holds no
// secrets: they live in the keychain or the environment.
package config

import (
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

// Config is everything that config.toml says.
type Config struct {
	Version int     `json:"version"` // of the file's form; see migrations
	Talk    Talk    `json:"talk"`    // [channels_config.nextcloud_talk], as PRX and ZeroClaw have it
	Webhook Webhook `json:"webhook"` // [webhook]
	Tunnel  Tunnel  `json:"tunnel"`  // [tunnel]
	Notify  Notify  `json:"notify"`  // [notify]
	Handler Handler `json:"handler"` // [handler]
	Voice   Voice   `json:"voice"`   // [voice]
	Limits  Limits  `json:"limits"`  // [limits]
	Journal Journal `json:"journal"` // [journal]
	Window  Window  `json:"window"`  // [window]

	Handlers map[string]Handler `json:"handlers"` // [handlers.<name>], beside the one in [handler]
	Rooms    map[string]Room    `json:"rooms"`    // [rooms.<token>]
}

// Talk is the Nextcloud server and who is answered there.
type Talk struct {
	BaseURL      string   `json:"base_url"`      // without a trailing slash and index.php
	AllowedUsers []string `json:"allowed_users"` // "alice", "guests/<id>", "*" for everybody; nil denies all
	Receive      Receive  `json:"receive"`
	MarkRead     bool     `json:"mark_read"` // ByAccount: what was received is marked as read
	ReplyAs      ReplyAs  `json:"reply_as"`
	CAFile       string   `json:"ca_file"` // PEM file of a private CA or a self-signed certificate; empty: the system's CAs alone
}

// Receive says how messages get to Perch.
type Receive string

// The values of Receive.
const (
	ByWebhook Receive = "webhook" // Talk sends them to the bot
	ByAccount Receive = "account" // Perch asks for them, as the user whose app token it is
)

// Voice returns in whose name Perch writes. An account writes as itself,
// whatever is said of a bot.
func (t Talk) Voice() ReplyAs {
	if t.Receive == ByAccount {
		return User
	}
	return t.ReplyAs
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
	Listen           string   `json:"listen"` // host:port
	Path             string   `json:"path"`   // begins with a slash
	RequireSignature bool     `json:"require_signature"`
	PublicURL        string   `json:"public_url"` // where Nextcloud reaches Perch; empty: not known here
	TrustedProxies   []string `json:"trusted_proxies"`
}

// Proxies returns the networks of TrustedProxies.
func (w Webhook) Proxies() []netip.Prefix {
	var all []netip.Prefix
	for _, entry := range w.TrustedProxies {
		if prefix, ok := parseNetwork(entry); ok {
			all = append(all, prefix)
		}
	}
	return all
}

// parseNetwork reads a network or a single address.
func parseNetwork(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err == nil
}

// Tunnel is the way from the Internet to the webhook through Cloudflare.
type Tunnel struct {
	Mode     TunnelMode `json:"mode"`
	Hostname string     `json:"hostname"` // TunnelNamed: the public host name, as the Cloudflare dashboard has it
	Protocol string     `json:"protocol"` // "auto", "quic" or "http2"
}

// TunnelMode says which tunnel is opened.
type TunnelMode string

// The values of TunnelMode.
const (
	TunnelOff   TunnelMode = "off"
	TunnelQuick TunnelMode = "quick" // without an account; another address now and then
	TunnelNamed TunnelMode = "named" // of the account that the secret tunnel_token is of
)

// Notify is where other programs post messages into conversations.
type Notify struct {
	Listen string `json:"listen"` // host:port; empty: nowhere
}

// Handler is what answers messages, and when.
type Handler struct {
	Kind string `json:"kind"` // Commands, Exec, HTTP, LLM or Relay

	Trigger Trigger  `json:"trigger"`     // empty: OnPrefix for Commands, OnAll for the others
	Prefix  string   `json:"prefix"`      // OnPrefix: what a message begins with
	Names   []string `json:"names"`       // OnMention: what the bot is called, at the start of a message
	Quote   bool     `json:"quote"`       // reply to the message, not just after it
	Silent  bool     `json:"silent"`      // notify nobody
	Ack     string   `json:"ack"`         // emoji on a message while it is worked on; empty: none
	OnError string   `json:"on_error"`    // what the room is told when the handler fails; empty: nothing
	Timeout Duration `json:"timeout"`     // of one message; for Relay of one attempt
	AtOnce  int      `json:"at_once"`     // how many messages of different rooms are worked on at once
	Queue   int      `json:"queue"`       // how many messages of one room can wait
	Files   Files    `json:"attachments"` // what Exec, HTTP and LLM get of a shared file

	OnReaction bool `json:"on_reaction"` // Exec and HTTP: it hears of reactions to its answers, with an account

	Commands []Command `json:"commands"` // Commands: those beside the built-in ones

	Command []string `json:"command"` // Exec: the program, as Program finds it, and its arguments

	URL string `json:"url"` // HTTP and Relay: where to post to

	Tools []Tool `json:"tool"` // LLM: what it can use

	BaseURL      string  `json:"base_url"`      // LLM: of an OpenAI-compatible server, with /v1
	Model        string  `json:"model"`         // LLM
	SystemPrompt string  `json:"system_prompt"` // LLM
	Temperature  float64 `json:"temperature"`   // LLM: 0 to 2; negative: what the server takes by itself
	History      int     `json:"history"`       // LLM: how many earlier messages and answers of a room it is shown
	MaxTokens    int     `json:"max_tokens"`    // LLM: of one answer; 0: what the server takes by itself
	Stream       bool    `json:"stream"`        // LLM: an answer is shown while it is written, where Perch writes as a user
}

// The kinds of handlers.
const (
	Commands = "commands" // the built-in commands, and more
	Exec     = "exec"     // a program
	HTTP     = "http"     // a web hook
	LLM      = "llm"      // a language model
	Relay    = "relay"    // another Talk bot
)

// Command is a command of the user's own: what "!name" is answered.
type Command struct {
	Name  string `json:"name"`
	Help  string `json:"help"`
	Reply string `json:"reply"` // Markdown with {text}, {author}, {author_id}, {room}, {date} and {time} to be filled in
}

// Trigger says which messages a handler is asked.
type Trigger string

// The values of Trigger.
const (
	OnAll     Trigger = "all"
	OnPrefix  Trigger = "prefix"  // those that begin with the prefix
	OnMention Trigger = "mention" // those that begin with one of the names
	// OnAddressed is what counts with an account where nothing else is said: those
	// that mention it or reply to it, or are for it alone.
	OnAddressed Trigger = "addressed"
)

// Files says what a handler gets of a shared file.
type Files string

// The values of Files.
const (
	FileLink Files = "link" // its name and link
	FileCopy Files = "file" // its content; needs an app token
)

// Room is what differs in one conversation.
type Room struct {
	Enabled      bool     `json:"enabled"`       // false: nobody is answered there
	Trigger      Trigger  `json:"trigger"`       // empty: as the handler has it
	AllowedUsers []string `json:"allowed_users"` // in place of Talk.AllowedUsers; nil: those
	Handler      string   `json:"handler"`       // name of one of Handlers; empty: the one in [handler]
}

// Voice is how voice messages are heard.
type Voice struct {
	BaseURL  string `json:"base_url"` // of a server that transcribes as OpenAI does, with /v1; empty: they are files like others
	Model    string `json:"model"`
	Language string `json:"language"` // that people speak, such as "de"; empty: the server finds out
}

// Limits are how much is answered. 0 is no limit.
type Limits struct {
	UserMessages int `json:"user_messages"` // of one person within an hour
	RoomMessages int `json:"room_messages"` // in one conversation within an hour
	UserTokens   int `json:"user_tokens"`   // that language models use for one person in a day
	RoomTokens   int `json:"room_tokens"`   // that language models use in one conversation in a day
}

// Window is how the desktop program behaves.
type Window struct {
	Language string `json:"language"` // "en", "fr", "de"; empty: the system's
	OnClose  string `json:"on_close"` // CloseHides or CloseQuits
}

// The values of Window.OnClose.
const (
	CloseHides = "hide" // into the tray, if there is one
	CloseQuits = "quit"
)

// Journal is what Perch remembers, and for how long.
type Journal struct {
	Keep      Span     `json:"keep"`
	StoreText bool     `json:"store_text"` // keep the text of messages that are done with
	CatchUp   Duration `json:"catch_up"`   // what was missed and is older is not answered
}

// Default returns the settings of a file that says nothing. They lack the
// server's address.
func Default() (c Config) {
	setNormal(configRows(), &c, "")
	c.Handler = DefaultHandler(Commands)
	return c
}

// DefaultHandler returns the settings of a handler of which only the kind is
// said.
func DefaultHandler(kind string) (h Handler) {
	setNormal(handlerRows(), &h, kind)
	h.Kind = kind
	return h
}

// As returns h as a handler of another kind: what is said of h and has an effect
// in the other stays. lost reports whether something else was said.
func (h Handler) As(kind string) (other Handler, lost bool) {
	if kind == h.Kind {
		return h, false
	}
	other = DefaultHandler(kind)
	values := handlerKeys(nil, &other)
	for i, k := range handlerKeys(nil, &h) {
		_, isCommand := k.value.(tableValue) // It is something else in each kind.
		switch {
		case !k.set() || k.value == any(&h.Kind):
		case isCommand || values[i].idle():
			lost = true
		default:
			reflect.ValueOf(values[i].value).Elem().Set(reflect.ValueOf(k.value).Elem())
		}
	}
	return other, lost
}

func defaultRoom() (r Room) {
	setNormal(roomRows(), &r, "")
	return r
}

// Asked returns when h is asked: its Trigger, or what its kind has by itself.
func (h Handler) Asked() Trigger {
	switch {
	case h.Trigger != "":
		return h.Trigger
	case h.Kind == Commands:
		return OnPrefix
	default:
		return OnAll
	}
}

// Duration is a length of time as Go reads it: "2s", "1m30s", "5m".
type Duration time.Duration

const (
	minDuration = Duration(100 * time.Millisecond)
	maxDuration = Duration(24 * time.Hour)
)

// String returns d as MarshalText writes it.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes d as Go does, without the units at its end of which there
// are none: "2s", "1m30s", "5m".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON takes any length of time: of settings that are not checked yet.
func (d *Duration) UnmarshalJSON(data []byte) error {
	text, err := strconv.Unquote(string(data))
	if err != nil {
		return err
	}
	v, err := time.ParseDuration(text)
	*d = Duration(v)
	return err
}

// UnmarshalText returns an error of CodeInvalid unless text is a length of
// time from 100ms to 24h.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || Duration(v) < minDuration || Duration(v) > maxDuration {
		return &bridge.Error{Code: bridge.CodeInvalid, Text: wrongDuration()}
	}
	*d = Duration(v)
	return nil
}

func wrongDuration() bridge.Text {
	return bridge.Say("must be a length of time from 100ms to 24h, such as %s", `"30s"`)
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
	if v, ok := parseSpan(string(text)); ok && v >= minKeep && v <= maxKeep {
		*s = v
		return nil
	}
	return &bridge.Error{Code: bridge.CodeInvalid, Text: wrongSpan()}
}

// UnmarshalJSON takes any length of time: of settings that are not checked yet.
func (s *Span) UnmarshalJSON(data []byte) error {
	text, err := strconv.Unquote(string(data))
	if v, ok := parseSpan(text); ok {
		*s = v
	} else if err == nil {
		err = &bridge.Error{Code: bridge.CodeInvalid, Text: wrongSpan()}
	}
	return err
}

// parseSpan reads a whole number of days, hours or minutes.
func parseSpan(text string) (_ Span, ok bool) {
	digits, name := text, ""
	if n := len(text); n > 0 {
		digits, name = text[:n-1], text[n-1:]
	}
	unit := map[string]Span{"d": day, "h": hour, "m": minute}[name]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || unit == 0 || Span(n) > math.MaxInt64/unit {
		return 0, false
	}
	return Span(n) * unit, true
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
