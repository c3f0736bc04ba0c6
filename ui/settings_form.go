package ui

import (
	"maps"
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

// Keys of settings that the form does more with than show them.
const (
	serverKey    = config.KeyServer
	usersKey     = config.KeyAllowedUsers
	listenKey    = "webhook.listen"
	publicKey    = "webhook.public_url"
	tunnelKey    = "tunnel.mode"
	hostnameKey  = "tunnel.hostname"
	protocolKey  = "tunnel.protocol"
	kindKey      = "handler.kind"
	triggerKey   = "handler.trigger"
	prefixKey    = "handler.prefix"
	namesKey     = "handler.names"
	commandKey   = "handler.command"
	modelKey     = "handler.model"
	modelHostKey = "handler.base_url"
)

// form is the settings as a person changes them: text as it is typed, and what
// is chosen. It has no widgets and asks nobody.
type form struct {
	keys    []config.Key
	base    config.Config    // as it is saved; what the form does not show stays as it is there
	exists  bool             // config.toml is there
	lost    []config.Problem // of config.toml: what could not be read, and is not there after a Save
	saved   values           // of base
	values  values
	secrets map[string]*secretValue
}

// values are what the form shows of the settings.
type values struct {
	texts    map[string]string // by key, as config.Config.Texts has them
	reach    reach
	commands []config.Command // of the handler
	login    bool             // start with the session; not of config.toml
}

func (v values) clone() values {
	v.texts, v.commands = maps.Clone(v.texts), slices.Clone(v.commands)
	return v
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
	return []string{bridge.WebhookSecret, bridge.AppToken, bridge.TunnelToken, bridge.NotifyToken, bridge.HandlerToken, bridge.HandlerSecret, bridge.VoiceToken}
}

// newForm returns a form with what Settings.Config and Settings.StartsAtLogin
// returned.
func newForm(c config.Config, problems []config.Problem, exists, login bool) *form {
	f := &form{keys: config.Keys(), secrets: map[string]*secretValue{}}
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

	next, v := valuesOf(c, login), &f.values
	if v.texts == nil {
		*v = next.clone()
	}
	for name, text := range next.texts {
		if v.texts[name] == f.saved.texts[name] {
			v.texts[name] = text
		}
	}
	if v.reach == f.saved.reach {
		v.reach = next.reach
	}
	if v.login == f.saved.login {
		v.login = login
	}
	if slices.Equal(v.commands, f.saved.commands) {
		v.commands = slices.Clone(next.commands)
	}
	f.saved = next
}

// revert forgets what a person has changed.
func (f *form) revert() {
	f.values = f.saved.clone()
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
func valuesOf(c config.Config, login bool) values {
	return values{c.Texts(), reachOf(c), slices.Clone(c.Handler.Commands), login}
}

// setting returns what config says of a key.
func (f *form) setting(name string) config.Key {
	return f.keys[slices.IndexFunc(f.keys, func(k config.Key) bool { return k.Name == name })]
}

func (f *form) text(name string) string { return f.values.texts[name] }

func (f *form) set(name, text string) { f.values.texts[name] = text }

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
	f.values.reach = r
	host := "127.0.0.1"
	switch {
	case r == f.saved.reach:
		host = hostOf(f.saved.texts[listenKey])
	case r == reachLocal && len(addresses) > 0:
		host = addresses[0]
	}
	f.listenAt(host)
}

// listenAt changes where Perch listens, with the port as it is.
func (f *form) listenAt(host string) { f.set(listenKey, f.listening(host)) }

// listening returns host with the port that Perch listens at.
func (f *form) listening(host string) string {
	_, port, err := net.SplitHostPort(f.text(listenKey))
	if err != nil {
		_, port, _ = net.SplitHostPort(f.saved.texts[listenKey])
	}
	return net.JoinHostPort(host, port)
}

// followListen keeps Reach true to an address that a person has typed.
func (f *form) followListen() {
	host := hostOf(f.text(listenKey))
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return // not typed to its end
	}
	switch {
	case f.values.reach == reachSelf && !isLoopback(host):
		f.values.reach = reachLocal
	case f.values.reach == reachLocal && isLoopback(host):
		f.values.reach = reachSelf
	}
}

// tunnelMode returns which tunnel is opened, with reachTunnel.
func (f *form) tunnelMode() config.TunnelMode {
	if mode := config.TunnelMode(f.text(tunnelKey)); mode != config.TunnelOff {
		return mode
	}
	return config.TunnelQuick
}

func (f *form) kind() string { return f.text(kindKey) }

// takeKind chooses what answers. What nobody has typed is as that kind has it.
func (f *form) takeKind(kind string) {
	before, _ := f.ofKind(f.kind())
	after, _ := f.ofKind(kind)
	from, to := before.Texts(), after.Texts()
	for name, text := range f.values.texts {
		if text == from[name] {
			f.set(name, to[name])
		}
	}
	f.set(kindKey, kind)
}

// ofKind returns base with another kind of handler, and whether that loses
// settings.
func (f *form) ofKind(kind string) (c config.Config, lost bool) {
	c = f.base
	c.Handler, lost = c.Handler.As(kind)
	return c, lost
}

// asked returns when the handler is asked.
func (f *form) asked() config.Trigger {
	return config.Handler{Kind: f.kind(), Trigger: config.Trigger(f.text(triggerKey))}.Asked()
}

// takeTrigger chooses when the handler is asked. What the kind has by itself is
// not written down.
func (f *form) takeTrigger(t config.Trigger) {
	f.set(triggerKey, "")
	if t != f.asked() || t == f.base.Handler.Trigger {
		f.set(triggerKey, string(t))
	}
}

// counts reports whether a key has an effect with what is chosen.
func (f *form) counts(k config.Key) bool {
	switch k.Name {
	case kindKey, tunnelKey:
		return false // They are chosen otherwise.
	case protocolKey:
		return f.values.reach == reachTunnel
	case hostnameKey:
		return f.values.reach == reachTunnel && f.tunnelMode() == config.TunnelNamed
	case publicKey:
		return f.values.reach == reachProxy
	case commandKey:
		return f.kind() == config.Exec
	default:
		return k.Kinds == nil || slices.Contains(k.Kinds, f.kind())
	}
}

// ground returns base with the kind of handler and the way to this computer that
// are chosen, and how many of them are others than before.
func (f *form) ground() (c config.Config, changes int) {
	c, _ = f.ofKind(f.kind())
	if c.Handler.Kind != f.base.Handler.Kind {
		changes++
	}
	mode := config.TunnelOff
	if f.values.reach == reachTunnel {
		mode = f.tunnelMode()
	}
	if f.values.reach != f.saved.reach || mode != c.Tunnel.Mode {
		changes++
	}
	if f.values.reach != f.saved.reach {
		c.Webhook.PublicURL = ""
	}
	if mode != c.Tunnel.Mode {
		c.Tunnel.Mode, c.Tunnel.Hostname = mode, ""
	}
	return c, changes
}

// forgets returns what kind of handler has settings that are not kept when the
// form is saved, because another kind is chosen; empty if there is none.
func (f *form) forgets() string {
	if _, lost := f.ofKind(f.kind()); lost {
		return f.base.Handler.Kind
	}
	return ""
}

// checked is what the form would save, and what is wrong with it.
type checked struct {
	config   config.Config
	errors   map[string]bridge.Text // by the key of a setting or the name of a secret
	warnings map[string]bridge.Text
	edits    int // how many things a person has changed
	changes  int // how many things a Save changes
}

// ready reports whether there is something to save and nothing wrong.
func (c checked) ready() bool { return c.changes > 0 && len(c.errors) == 0 }

// check looks at everything in the form; checkSecret is that of Settings.
func (f *form) check(checkSecret func(name string, s bridge.Secret) error) checked {
	r := checked{errors: map[string]bridge.Text{}, warnings: map[string]bridge.Text{}}
	c, chosen := f.ground()
	before := c.Texts()
	for _, k := range f.keys {
		if text := f.text(k.Name); f.counts(k) && text != before[k.Name] {
			if wrong := c.SetText(k.Name, text); !wrong.IsZero() {
				r.errors[k.Name] = f.unquoted(wrong)
			}
		}
	}
	if f.kind() == config.Commands {
		c.Handler.Commands = slices.Clone(f.values.commands)
	}
	warnings, err := c.Validate()
	r.config = c
	texts := c.Texts()
	for _, p := range warnings {
		r.warnings[p.Key] = p.Text
	}
	for _, p := range problemsOf(err) {
		if _, known := r.errors[p.Key]; !known {
			r.errors[p.Key] = f.inForm(p, texts[p.Key])
		}
	}
	switch f.values.reach {
	case reachTunnel, reachSelf:
	case reachProxy:
		if c.Webhook.PublicURL == "" {
			r.errors[publicKey] = required(f.setting(publicKey))
		}
	case reachLocal:
		if isLoopback(hostOf(c.Webhook.Listen)) {
			r.errors[listenKey] = bridge.Say("must be an address of this computer in your network: other computers cannot reach %s", c.Webhook.Listen)
		}
	}

	if len(r.errors) > 0 {
		texts = f.values.texts
	}
	r.edits = chosen
	for _, k := range f.keys {
		if f.counts(k) && texts[k.Name] != before[k.Name] {
			r.edits++
		}
	}
	if f.kind() == config.Commands && !slices.Equal(f.values.commands, f.saved.commands) {
		r.edits++
	}
	if f.values.login != f.saved.login {
		r.edits++
	}
	f.checkSecrets(&r, checkSecret)
	if r.changes = r.edits; !f.exists || len(f.lost) > 0 {
		r.changes = max(r.changes, 1)
	}
	return r
}

func (f *form) checkSecrets(r *checked, check func(name string, s bridge.Secret) error) {
	for name, s := range f.secrets {
		if s.changed() {
			r.edits++
		}
		if s.typed != "" {
			if err := check(name, bridge.NewSecret(s.typed)); err != nil {
				r.errors[name] = bridge.TextOf(err)
			}
		}
	}
	if f.secrets[bridge.AppToken].lacking() && r.config.Talk.ReplyAs == config.User {
		r.errors[bridge.AppToken] = bridge.Say("is required to reply as you: make one in Nextcloud under Settings › Security › Devices")
	}
	if f.secrets[bridge.TunnelToken].lacking() && r.config.Tunnel.Mode == config.TunnelNamed {
		r.errors[bridge.TunnelToken] = bridge.Say("is required: the line with the token that the Cloudflare dashboard shows for the tunnel")
	}
	if f.secrets[bridge.NotifyToken].lacking() && r.config.Notify.Listen != "" {
		r.errors[bridge.NotifyToken] = bridge.Say("is required for other programs to post: generate it")
	}
	if f.secrets[bridge.WebhookSecret].lacking() && r.config.Webhook.RequireSignature {
		r.warnings[bridge.WebhookSecret] = bridge.Say("without one every message is refused: generate it")
	}
}

// inForm returns what a problem says in a form, where nothing is in quotes and
// nobody knows of keys.
func (f *form) inForm(p config.Problem, text string) bridge.Text {
	i := slices.IndexFunc(f.keys, func(k config.Key) bool { return k.Name == p.Key })
	if i >= 0 && text == "" {
		return required(f.keys[i])
	}
	return f.unquoted(p.Text)
}

func required(k config.Key) bridge.Text { return bridge.Say("is required, such as %s", k.Example) }

// unquoted takes away the quotes that examples have in config.toml.
func (f *form) unquoted(t bridge.Text) bridge.Text {
	return t.Map(func(arg string) string {
		if slices.ContainsFunc(f.keys, func(k config.Key) bool { return strconv.Quote(k.Example) == arg }) {
			return strings.Trim(arg, `"`)
		}
		return arg
	})
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

// address returns the URL at which Nextcloud reaches the bot with the settings
// c, and whether it is another than now, as the bot runs; empty: it is not known
// before c is in force.
func (f *form) address(c config.Config, now string) (address string, moved bool) {
	was := f.base
	if f.exists && reflect.DeepEqual(c.Webhook, was.Webhook) && c.Tunnel.Mode == was.Tunnel.Mode && c.Tunnel.Hostname == was.Tunnel.Hostname {
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
