package ui

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// Keys of settings that more than one place knows, as config.Problem has them.
const (
	serverKey = "channels_config.nextcloud_talk.base_url"
	usersKey  = "channels_config.nextcloud_talk.allowed_users"
)

// form is the settings as a person changes them: text as it is typed, and what
// is chosen. It has no widgets and asks nobody.
type form struct {
	base    config.Config    // as it is saved; what the form does not show stays as it is there
	exists  bool             // config.toml is there
	lost    []config.Problem // of config.toml: what could not be taken, and is not there after a Save
	saved   values           // of base
	values  values
	secrets map[string]*secretValue
}

// values are what the form shows of the settings. Their names are exported for
// reflection alone.
type values struct {
	Server, Users string // Users with commas between
	ReplyAs       config.ReplyAs

	Reach              reach
	Tunnel             config.TunnelMode // with reachTunnel: TunnelQuick or TunnelNamed
	Hostname, Protocol string
	PublicURL          string // with reachProxy
	Listen, Path       string

	Kind           string
	Trigger        config.Trigger // empty: what the kind has by itself
	Prefix, Names  string         // Names with commas between
	Quote, Silent  bool
	Ack, OnError   string
	Timeout        string
	Files          config.Files
	Commands       []config.Command
	Command        string // the program as a line, with quotes
	URL            string
	BaseURL, Model string
	SystemPrompt   string
	Temperature    string // empty: the server's own
	History        string
	MaxTokens      string // empty: the server's own

	Keep              string
	StoreText         bool
	Language, OnClose string
	Login             bool // start with the session; not of config.toml
}

// reach is how Nextcloud reaches this computer.
type reach int

const (
	reachTunnel reach = iota // through Cloudflare
	reachLocal               // in the same network
	reachProxy               // through a reverse proxy of the user's own
	reachSelf                // it is on this computer
)

// secretValue is a secret in the form.
type secretValue struct {
	known  bool        // what follows was looked at
	stored bool        // there is one
	place  bridge.Text // where it is or would be kept
	fixed  bool        // it can only be changed there
	err    error       // why it cannot be read

	typed  string // in place of the stored one; empty: that stays
	remove bool   // the stored one
}

func (s *secretValue) changed() bool { return s.typed != "" || s.remove }

// lacking reports whether there is surely none, and none is typed.
func (s *secretValue) lacking() bool {
	return s.known && s.typed == "" && s.err == nil && (!s.stored || s.remove)
}

// formSecrets returns the names of the secrets that the form shows.
func formSecrets() []string {
	return []string{bridge.WebhookSecret, bridge.AppToken, bridge.TunnelToken, bridge.HandlerToken, bridge.HandlerSecret}
}

// newForm returns a form with what Settings.Config and Settings.StartsAtLogin
// returned.
func newForm(c config.Config, problems []config.Problem, exists, login bool) *form {
	f := &form{secrets: map[string]*secretValue{}}
	for _, name := range formSecrets() {
		f.secrets[name] = &secretValue{}
	}
	f.rebase(c, problems, exists, login)
	return f
}

// rebase takes note of what is saved now. What a person has changed in the form
// stays, the rest follows.
func (f *form) rebase(c config.Config, problems []config.Problem, exists, login bool) {
	warnings, err := c.Validate() // brings it into its normal form
	f.base, f.exists = c, exists
	known := slices.Concat(warnings, problemsOf(err))
	f.lost = slices.DeleteFunc(slices.Clone(problems), func(p config.Problem) bool {
		return slices.ContainsFunc(known, func(k config.Problem) bool {
			return k.Key == p.Key && k.Text.String() == p.Text.String()
		})
	})

	next := valuesOf(c)
	next.Login = login
	from, to, value := reflect.ValueOf(&f.saved).Elem(), reflect.ValueOf(next), reflect.ValueOf(&f.values).Elem()
	for i := range value.NumField() {
		if reflect.DeepEqual(value.Field(i).Interface(), from.Field(i).Interface()) {
			value.Field(i).Set(to.Field(i))
		}
	}
	f.saved = next
}

// revert forgets what a person has changed.
func (f *form) revert() {
	f.values = f.saved
	for _, s := range f.secrets {
		s.typed, s.remove = "", false
	}
}

func problemsOf(err error) []config.Problem {
	if invalid, is := err.(*config.InvalidError); is { //nolint:errorlint // Validate returns no other
		return invalid.Problems
	}
	return nil
}

// valuesOf returns what the form shows of c.
func valuesOf(c config.Config) values {
	h := c.Handler
	v := values{
		Server: c.Talk.BaseURL, Users: strings.Join(c.Talk.AllowedUsers, ", "), ReplyAs: c.Talk.ReplyAs,
		Reach: reachOf(c), Tunnel: c.Tunnel.Mode, Hostname: c.Tunnel.Hostname, Protocol: c.Tunnel.Protocol,
		PublicURL: c.Webhook.PublicURL, Listen: c.Webhook.Listen, Path: c.Webhook.Path,
		Kind: h.Kind, Trigger: h.Trigger, Prefix: h.Prefix, Names: strings.Join(h.Names, ", "),
		Quote: h.Quote, Silent: h.Silent, Ack: h.Ack, OnError: h.OnError, Timeout: h.Timeout.String(), Files: h.Files,
		Commands: slices.Clone(h.Commands), Command: config.JoinCommand(h.Command), URL: h.URL, BaseURL: h.BaseURL, Model: h.Model,
		SystemPrompt: h.SystemPrompt, History: strconv.Itoa(h.History),
		Keep: c.Journal.Keep.String(), StoreText: c.Journal.StoreText,
		Language: c.Window.Language, OnClose: c.Window.OnClose,
	}
	if v.Tunnel == config.TunnelOff {
		v.Tunnel = config.TunnelQuick
	}
	if h.Temperature >= 0 {
		v.Temperature = strconv.FormatFloat(h.Temperature, 'f', -1, 64)
	}
	if h.MaxTokens > 0 {
		v.MaxTokens = strconv.Itoa(h.MaxTokens)
	}
	return v
}

// reachOf returns how Nextcloud reaches a Perch with these settings.
func reachOf(c config.Config) reach {
	switch {
	case c.Tunnel.Mode != config.TunnelOff:
		return reachTunnel
	case c.Webhook.PublicURL != "":
		return reachProxy
	case isLoopback(hostOf(c.Webhook.Listen)):
		return reachSelf
	default:
		return reachLocal
	}
}

// hostOf returns the host of host:port; empty if it is none.
func hostOf(listen string) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	return host
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

// takeReach chooses how Nextcloud reaches this computer, whose addresses in its
// networks are given. Perch listens in the network only with reachLocal.
func (f *form) takeReach(r reach, addresses []string) {
	f.values.Reach = r
	host := "127.0.0.1"
	switch {
	case r == f.saved.Reach:
		host = hostOf(f.saved.Listen)
	case r == reachLocal && len(addresses) > 0:
		host = addresses[0]
	}
	f.listenAt(host)
}

// listenAt changes where Perch listens, with the port as it is.
func (f *form) listenAt(host string) { f.values.Listen = f.listening(host) }

// listening returns host with the port that Perch listens at.
func (f *form) listening(host string) string {
	_, port, err := net.SplitHostPort(f.values.Listen)
	if err != nil {
		_, port, _ = net.SplitHostPort(f.saved.Listen)
	}
	return net.JoinHostPort(host, port)
}

// followListen keeps Reach true to an address that a person has typed.
func (f *form) followListen() {
	host := hostOf(f.values.Listen)
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return // not typed to its end
	}
	switch {
	case f.values.Reach == reachSelf && !isLoopback(host):
		f.values.Reach = reachLocal
	case f.values.Reach == reachLocal && isLoopback(host):
		f.values.Reach = reachSelf
	}
}

// takeKind chooses what answers. A time limit that was the old kind's own
// becomes the new one's.
func (f *form) takeKind(kind string) {
	v := &f.values
	if v.Timeout == config.DefaultHandler(v.Kind).Timeout.String() {
		v.Timeout = config.DefaultHandler(kind).Timeout.String()
	}
	v.Kind = kind
}

// asked returns when the handler is asked.
func (v values) asked() config.Trigger {
	return config.Handler{Kind: v.Kind, Trigger: v.Trigger}.Asked()
}

// takeTrigger chooses when the handler is asked.
func (f *form) takeTrigger(t config.Trigger) {
	v := &f.values
	v.Trigger = ""
	if t != v.asked() || t == f.saved.Trigger {
		v.Trigger = t
	}
}

// hasFiles reports whether handlers of a kind are given shared files.
func hasFiles(kind string) bool {
	return kind == config.Exec || kind == config.HTTP || kind == config.LLM
}

// config returns what would be saved, and, by key, what cannot be read of the
// values or does not go together; there, it has what is saved now.
func (f *form) config() (c config.Config, wrong map[string]bridge.Text) {
	v, wrong := f.values, map[string]bridge.Text{}
	c = f.base
	c.Talk.BaseURL = strings.TrimSpace(v.Server)
	c.Talk.AllowedUsers = splitList(v.Users, f.base.Talk.AllowedUsers)
	c.Talk.ReplyAs = v.ReplyAs

	c.Webhook.Listen, c.Webhook.Path = strings.TrimSpace(v.Listen), strings.TrimSpace(v.Path)
	if v.Reach != f.saved.Reach {
		c.Webhook.PublicURL = ""
	}
	mode := config.TunnelOff
	switch v.Reach {
	case reachTunnel:
		mode, c.Tunnel.Protocol = v.Tunnel, v.Protocol
	case reachProxy:
		c.Webhook.PublicURL = strings.TrimSpace(v.PublicURL)
		if c.Webhook.PublicURL == "" {
			wrong["webhook.public_url"] = bridge.Say("is required: where your proxy takes messages for Perch, such as %s", `"https://bot.example.com"`)
		}
	case reachLocal:
		if isLoopback(hostOf(c.Webhook.Listen)) {
			wrong["webhook.listen"] = bridge.Say("must be an address of this computer in your network: other computers cannot reach %s", c.Webhook.Listen)
		}
	case reachSelf:
	}
	if mode != c.Tunnel.Mode {
		c.Tunnel.Hostname = ""
	}
	if c.Tunnel.Mode = mode; mode == config.TunnelNamed {
		c.Tunnel.Hostname = strings.TrimSpace(v.Hostname)
	}

	c.Handler = f.handler(wrong)
	if v.Keep != f.saved.Keep {
		if err := c.Journal.Keep.UnmarshalText([]byte(strings.TrimSpace(v.Keep))); err != nil {
			wrong["journal.keep"] = unquoted(bridge.TextOf(err))
		}
	}
	c.Journal.StoreText = v.StoreText
	c.Window.Language, c.Window.OnClose = v.Language, v.OnClose
	return c, wrong
}

// handler is config for [handler]. What has no effect in a kind that is newly
// chosen is as in config.DefaultHandler.
func (f *form) handler(wrong map[string]bridge.Text) config.Handler {
	v, base := f.values, f.base.Handler
	h := base
	if v.Kind != base.Kind {
		h = config.DefaultHandler(v.Kind)
		h.Queue, h.Timeout = base.Queue, base.Timeout
		if base.AtOnce != config.DefaultHandler(base.Kind).AtOnce {
			h.AtOnce = base.AtOnce
		}
	}
	h.Trigger, h.Prefix, h.Names = v.Trigger, v.Prefix, splitList(v.Names, base.Names)
	h.Quote, h.Silent, h.Ack, h.OnError = v.Quote, v.Silent, v.Ack, v.OnError
	if v.Timeout != f.saved.Timeout {
		if err := h.Timeout.UnmarshalText([]byte(strings.ReplaceAll(v.Timeout, " ", ""))); err != nil {
			wrong["handler.timeout"] = unquoted(bridge.TextOf(err))
		}
	}
	if hasFiles(v.Kind) {
		h.Files = v.Files
	}
	switch v.Kind {
	case config.Commands:
		h.Commands = slices.Clone(v.Commands)
	case config.Exec:
		h.Command = base.Command
		if v.Command != f.saved.Command {
			var closed bool
			if h.Command, closed = config.SplitCommand(v.Command); !closed {
				wrong["handler.command"] = bridge.Say("has a quote that does not end")
			}
		}
	case config.HTTP, config.Relay:
		h.URL = v.URL
	case config.LLM:
		h.BaseURL, h.Model, h.SystemPrompt = v.BaseURL, v.Model, v.SystemPrompt
		f.modelNumbers(&h, wrong)
	}
	return h
}

func (f *form) modelNumbers(h *config.Handler, wrong map[string]bridge.Text) {
	v := f.values
	h.Temperature = -1
	if text := strings.ReplaceAll(strings.TrimSpace(v.Temperature), ",", "."); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if h.Temperature = n; err != nil {
			wrong["handler.temperature"] = bridge.Say("must be a number from 0 to 2; empty for the server's default")
		}
	}
	whole := func(n *int, text, key string) {
		var err error
		if *n, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
			wrong[key] = bridge.Say("must be a whole number")
		}
	}
	whole(&h.History, v.History, "handler.history")
	if h.MaxTokens = 0; strings.TrimSpace(v.MaxTokens) != "" {
		whole(&h.MaxTokens, v.MaxTokens, "handler.max_tokens")
	}
}

// forgets returns what kind of handler has settings that are not kept when the
// form is saved, because another kind is chosen; empty if there is none.
func (f *form) forgets() string {
	h, empty := f.base.Handler, config.DefaultHandler(f.base.Handler.Kind)
	has := h.URL != "" || h.BaseURL != "" || h.Model != "" || h.SystemPrompt != "" || len(h.Command) > 0 || len(h.Commands) > 0 ||
		h.Temperature != empty.Temperature || h.History != empty.History || h.MaxTokens != empty.MaxTokens
	if f.values.Kind == h.Kind || !has {
		return ""
	}
	return h.Kind
}

// checked is what the form would save, and what is wrong with it.
type checked struct {
	config   config.Config
	errors   map[string]bridge.Text // by the key of a setting or the name of a secret
	warnings map[string]bridge.Text
	changes  int // how many things differ from what is saved
}

// ready reports whether there is something to save and nothing wrong.
func (c checked) ready() bool { return c.changes > 0 && len(c.errors) == 0 }

// check looks at everything in the form; checkSecret is that of Settings.
func (f *form) check(checkSecret func(name string, s bridge.Secret) error) checked {
	c, wrong := f.config()
	r := checked{warnings: map[string]bridge.Text{}, errors: wrong}
	warnings, err := c.Validate()
	for _, p := range warnings {
		r.warnings[p.Key] = p.Text
	}
	for _, p := range problemsOf(err) {
		if _, ok := wrong[p.Key]; !ok {
			wrong[p.Key] = inForm(p, c)
		}
	}
	r.config = c

	// With all well, what has no effect does not count.
	now := f.values
	if len(wrong) == 0 {
		now = valuesOf(c)
		now.Login = f.values.Login
	}
	r.changes = differences(now, f.saved)
	if !f.exists || len(f.lost) > 0 {
		r.changes = max(r.changes, 1)
	}

	for name, s := range f.secrets {
		if s.changed() {
			r.changes++
		}
		if s.typed != "" {
			if err := checkSecret(name, bridge.NewSecret(s.typed)); err != nil {
				wrong[name] = bridge.TextOf(err)
			}
		}
	}
	if f.secrets[bridge.AppToken].lacking() && c.Talk.ReplyAs == config.User {
		wrong[bridge.AppToken] = bridge.Say("is required to reply as you: make one in Nextcloud under Settings › Security › Devices")
	}
	if f.secrets[bridge.TunnelToken].lacking() && c.Tunnel.Mode == config.TunnelNamed {
		wrong[bridge.TunnelToken] = bridge.Say("is required: the line with the token that the Cloudflare dashboard shows for the tunnel")
	}
	if f.secrets[bridge.WebhookSecret].lacking() && c.Webhook.RequireSignature {
		r.warnings[bridge.WebhookSecret] = bridge.Say("without one every message is refused: generate it")
	}
	return r
}

// inForm returns what a problem of c says in a form, where nothing is in quotes
// and nobody knows of keys.
func inForm(p config.Problem, c config.Config) bridge.Text {
	switch {
	case p.Key == "tunnel.hostname" && c.Tunnel.Hostname == "":
		return bridge.Say("is required: the public host name of the tunnel, such as %s", "bot.example.com")
	case p.Key == "handler.names" && len(c.Handler.Names) == 0:
		return bridge.Say("is required: what the bot is called, such as %s", "Perch")
	case p.Key == "handler.command" && len(c.Handler.Command) == 0:
		return bridge.Say("is required: a program and its arguments, such as %s", "python3 /home/alice/bot.py")
	case p.Key == "handler.command" && len(c.Handler.Command) == 1 && strings.Contains(c.Handler.Command[0], " "):
		return bridge.Say("is a single word as it is in quotes: leave them out")
	}
	return unquoted(p.Text)
}

// unquoted takes away the quotes that the example at the end of t has in
// config.toml.
func unquoted(t bridge.Text) bridge.Text {
	if n := len(t.Args); n > 0 && strings.HasSuffix(t.Format, "such as %s") {
		t.Args = slices.Clone(t.Args)
		t.Args[n-1] = strings.Trim(t.Args[n-1], `"`)
	}
	return t
}

// unreachable reports whether something is wrong with the address of the bot.
func (c checked) unreachable() bool {
	for key := range c.errors {
		if strings.HasPrefix(key, "webhook.") || strings.HasPrefix(key, "tunnel.") {
			return true
		}
	}
	return false
}

// differences returns how many fields of a and b differ.
func differences(a, b values) int {
	n, x, y := 0, reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if l := x.Field(i); l.Kind() == reflect.Slice && l.Len()+y.Field(i).Len() == 0 {
			continue // nil and empty are the same
		}
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			n++
		}
	}
	return n
}

// address returns the URL at which Nextcloud reaches the bot with the settings
// c, and whether it is another than now, as the bot runs; empty: it is not known
// before c is in force.
func (f *form) address(c config.Config, now string) (address string, moved bool) {
	was := f.base
	if f.exists && c.Webhook == was.Webhook && c.Tunnel.Mode == was.Tunnel.Mode && c.Tunnel.Hostname == was.Tunnel.Hostname {
		return now, false
	}
	switch hook := c.Webhook; {
	case c.Tunnel.Mode == config.TunnelQuick:
	case c.Tunnel.Mode == config.TunnelNamed:
		hook.PublicURL = "https://" + c.Tunnel.Hostname
		address = hook.Address()
	case hook.PublicURL != "":
		address = hook.Address()
	default:
		ip, err := netip.ParseAddr(hostOf(hook.Listen))
		if hostOf(hook.Listen) != "" && (err != nil || !ip.IsUnspecified()) {
			address = hook.Address()
		}
	}
	return address, address == "" || address != now
}

// installWords says how the bot that Talk has, at the address installed (empty:
// it is not known of any), fits to the one of the form, and what to do; moved
// and address are those of form.address. renewed: the secret is another than
// Talk has.
func installWords(installed, address string, moved, renewed bool) (words bridge.Text, t kit.Tone) {
	switch {
	case installed == "":
		return bridge.Say("Type this on the server. BOT-ID is the number that talk:bot:list shows; TOKEN is what follows /call/ in the address of a conversation."), kit.Neutral
	case moved && address == "":
		return bridge.Say("When you apply, the bot gets another address. Talk knows it at %s: install it again then, with the command that appears here.", installed), kit.Warn
	case moved && installed != address:
		return bridge.Say("When you apply, the bot moves to %[2]s. Talk knows it at %[1]s: install it again then, with this:", installed, address), kit.Warn
	case address != "" && installed != address:
		return bridge.Say("Talk sends messages to %[1]s, but the bot is at %[2]s now. Type this on the server:", installed, address), kit.Warn
	case renewed:
		return bridge.Say("Talk knows the bot by its old secret. Remove the bot and install it again, with this:"), kit.Warn
	default:
		return bridge.Say("Talk has the bot at %s. To install it on another server, type this there:", installed), kit.Neutral
	}
}

// withUninstall puts what takes the bot away from the server before what
// installs it: Talk takes no address twice, also with another secret.
func withUninstall(lines string) string {
	if strings.Contains(lines, " talk:bot:uninstall ") {
		return lines
	}
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if occ, words, ok := strings.Cut(line, " talk:bot:install "); ok {
			return occ + " talk:bot:uninstall --url=" + words[strings.LastIndex(words, " ")+1:] + "\n" + lines
		}
	}
	return lines
}

// splitList returns what stands between commas; was, if that is what the text
// says.
func splitList(text string, was []string) (list []string) {
	if text == strings.Join(was, ", ") {
		return was
	}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
