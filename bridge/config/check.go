package config

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"perch/bridge"
)

func checkBaseURL(c *Config, at *reporter) {
	if c.Talk.BaseURL == "" {
		at.fail(bridge.Say("is required: the address of your Nextcloud, such as %s", `"https://cloud.example.com"`), bridge.Text{})
		return
	}
	server, wrong := ParseServer(c.Talk.BaseURL)
	if !wrong.IsZero() {
		at.fail(wrong, bridge.Text{})
		return
	}
	if c.Talk.BaseURL = server.URL; server.Guessed {
		at.warn(bridge.Say("is taken as %s", strconv.Quote(server.URL)), bridge.Say("write: base_url = %s", strconv.Quote(server.URL)))
	}
	if u, err := url.Parse(server.URL); err == nil && inTheOpen(u) {
		at.warn(bridge.Say("plain http to a public address: everybody on the way can read the messages and the app token"),
			bridge.Say("write https:// if the server has it"))
	}
}

func checkPublicURL(c *Config, at *reporter) {
	if c.Webhook.PublicURL = bridge.Pasted(c.Webhook.PublicURL); c.Webhook.PublicURL != "" {
		_, _ = checkURL(&c.Webhook.PublicURL, "", at)
	}
}

func checkProxies(c *Config, at *reporter) {
	var proxies []string // nil for none
	for _, entry := range c.Webhook.TrustedProxies {
		entry = strings.TrimSpace(entry)
		proxies = append(proxies, entry)
		network, ok := parseNetwork(entry)
		switch {
		case !ok:
			at.fail(bridge.Say("must be addresses or networks, such as %[1]s; %[2]s is none", `["127.0.0.1", "10.0.0.0/8"]`, strconv.Quote(entry)), bridge.Text{})
		case network.Bits() == 0:
			at.fail(bridge.Say("%s is every address: then anybody can say who they are", strconv.Quote(entry)), bridge.Text{})
		}
	}
	c.Webhook.TrustedProxies = proxies
}

// checkURL checks an address without a query and takes slashes and the given
// suffix off its end.
func checkURL(s *string, suffix string, at *reporter) (u *url.URL, ok bool) {
	if u, ok = parseURL(*s, at); !ok {
		return nil, false
	}
	if u.RawQuery != "" || u.ForceQuery {
		at.fail(bridge.Say("must be an address without ? and #"), bridge.Text{})
		return nil, false
	}
	authority, path, _ := strings.Cut((*s)[len(u.Scheme)+len("://"):], "/")
	for path = "/" + path; ; {
		cut := strings.TrimRight(path, "/")
		if suffix != "" {
			cut = strings.TrimSuffix(cut, suffix)
		}
		if cut == path {
			break
		}
		path = cut
	}
	*s = u.Scheme + "://" + strings.ToLower(authority) + path
	return u, true
}

// parseURL reads an http or https address, which can have a query.
func parseURL(s string, at *reporter) (u *url.URL, ok bool) {
	u, wrong := parseAddress(s)
	if !wrong.IsZero() {
		at.fail(wrong, bridge.Text{})
	}
	return u, wrong.IsZero()
}

// inTheOpen reports whether what is sent to u can be read on the public
// Internet.
func inTheOpen(u *url.URL) bool { return u.Scheme == "http" && !isPrivate(u.Hostname()) }

// isPrivate reports whether a host is by its name or address not on the
// public Internet.
func isPrivate(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() ||
			netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(ip)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(host, ".") ||
		slices.ContainsFunc([]string{".local", ".localhost", ".lan", ".internal", ".home.arpa"},
			func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}

func checkAllowedUsers(c *Config, at *reporter) {
	users := actors(c.Talk.AllowedUsers, at)
	c.Talk.AllowedUsers = users
	switch {
	case len(users) == 0:
		at.warn(bridge.Say("nobody is allowed: Perch answers no one"),
			bridge.Say("add the user ids of those it may answer, such as %s", `allowed_users = ["alice"]`))
	case slices.Contains(users, "*"):
		at.warn(bridge.Say("everybody is allowed who can write where the bot is, guests too"), bridge.Text{})
	}
}

// actors checks the entries of a list of people and returns them in their
// normal form, each once; nil for none.
func actors(entries []string, at *reporter) (users []string) {
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		actor := bridge.ParseActor(entry)
		switch {
		case actor.ID == "", actor.Type == "", actor.ID == "*" && entry != "*",
			actor.Type == bridge.ActorUser && strings.Contains(actor.ID, "/"):
			at.fail(bridge.Say(`must be user ids, "guests/<id>" or "*"; %s is none`, strconv.Quote(entry)), bridge.Text{})
			continue
		case actor.Type == bridge.ActorBot:
			at.fail(bridge.Say("bots are never answered: %s cannot be allowed", strconv.Quote(entry)), bridge.Text{})
			continue
		case actor.Type == bridge.ActorUser:
			entry = actor.ID
		}
		if !slices.Contains(users, entry) {
			users = append(users, entry)
		}
	}
	return users
}

func checkCAFile(c *Config, at *reporter) {
	if !isPath(c.Talk.CAFile) {
		at.fail(bridge.Say("has characters that cannot be typed, such as an end of line"), singleQuotes())
	}
}

func checkListen(c *Config, at *reporter) {
	c.Webhook.Listen = strings.TrimSpace(c.Webhook.Listen)
	host, port, ok := hostPort(c.Webhook.Listen, "127.0.0.1:8460", at)
	if !ok {
		return
	}
	if port == "0" {
		at.warn(bridge.Say("port 0 is another port at each start: Talk cannot know it"), bridge.Text{})
	}
	if isEverywhere(host) {
		at.warn(bridge.Say("Perch can be reached from every network that this machine is in"),
			bridge.Say("behind a tunnel or a proxy on this machine, %s is enough", "127.0.0.1:"+port))
	}
}

func checkNotify(c *Config, at *reporter) {
	c.Notify.Listen = strings.TrimSpace(c.Notify.Listen)
	if c.Notify.Listen == "" {
		return
	}
	host, port, ok := hostPort(c.Notify.Listen, "127.0.0.1:8461", at)
	if !ok {
		return
	}
	own, webhook, _ := net.SplitHostPort(c.Webhook.Listen)
	switch ip, err := netip.ParseAddr(host); {
	case c.Talk.Receive != ByAccount && port == webhook && port != "0" && (host == own || isEverywhere(host) || isEverywhere(own)):
		at.fail(bridge.Say("must not be the address of the webhook, which the Internet may reach: %s", strconv.Quote(c.Webhook.Listen)), bridge.Text{})
	case isEverywhere(host) || err == nil && !ip.IsLoopback() || err != nil && host != "localhost":
		at.warn(bridge.Say("plain http: whoever is in these networks can read the token and what is posted"),
			bridge.Say("for programs on this machine, %s is enough", "127.0.0.1:"+port))
	}
}

// hostPort checks and splits an address to listen at.
func hostPort(listen, example string, at *reporter) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(listen)
	_, bad := strconv.ParseUint(port, 10, 16)
	if err == nil && bad == nil {
		if _, err := netip.ParseAddr(host); err == nil || host == "" || regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`).MatchString(host) {
			return host, port, true
		}
	}
	at.fail(bridge.Say("must be host:port with a port up to 65535, such as %s", strconv.Quote(example)), bridge.Text{})
	return "", "", false
}

// isEverywhere reports whether a host stands for all addresses of this machine.
func isEverywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func checkPath(c *Config, at *reporter) {
	c.Webhook.Path = strings.TrimSpace(c.Webhook.Path)
	p := c.Webhook.Path
	switch {
	case p == "/healthz":
		at.fail(bridge.Say("%s is taken: it answers whether Perch runs", `"/healthz"`), bridge.Text{})
	case path.Clean(p) != p || !regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`).MatchString(p):
		at.fail(bridge.Say("must begin with a slash, have letters, digits, - . _ or ~ after each slash, and no ? or #, such as %s",
			`"/nextcloud-talk"`), bridge.Text{})
	}
}

func checkSignature(c *Config, at *reporter) {
	if !c.Webhook.RequireSignature {
		at.warn(bridge.Say("signatures are not required: whoever reaches the webhook can write as anybody"),
			bridge.Say("set require_signature = true; how Perch gets its secret, says: perch secret --help"))
	}
}

func checkSpeechServer(c *Config, at *reporter) {
	if c.Voice.BaseURL = bridge.Pasted(c.Voice.BaseURL); c.Voice.BaseURL == "" {
		return
	}
	u, ok := checkURL(&c.Voice.BaseURL, "/audio/transcriptions", at)
	switch {
	case !ok:
	case inTheOpen(u):
		at.warn(bridge.Say("plain http to a public address: everybody on the way can hear the voice messages"), bridge.Text{})
	case strings.Trim(u.Path, "/") == "":
		at.warn(bridge.Say("has no path; most servers want one"), bridge.Say("try: %s", c.Voice.BaseURL+"/v1"))
	}
}

func checkSpeechModel(c *Config, at *reporter) {
	if c.Voice.Model = strings.TrimSpace(c.Voice.Model); c.Voice.Model == "" || !printable(c.Voice.Model) {
		at.fail(bridge.Say("must be the model's name, as the server has it, such as %s", `"whisper-1"`), bridge.Text{})
	}
}

func checkSpeechLanguage(c *Config, at *reporter) {
	language, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(c.Voice.Language)), "-") // "de-AT"
	if c.Voice.Language = language; language != "" && !regexp.MustCompile(`^[a-z]{2,3}$`).MatchString(language) {
		at.fail(bridge.Say("must be a language in two letters, such as %s, or empty", `"de"`), bridge.Text{})
	}
}

func checkKeep(c *Config, at *reporter) {
	keep := c.Journal.Keep
	if keep < minKeep || keep > maxKeep || keep%minute != 0 {
		at.fail(wrongSpan(), bridge.Text{})
	}
}

func checkHostname(c *Config, at *reporter) {
	host := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(c.Tunnel.Hostname)), "https://"), "/")
	c.Tunnel.Hostname = host
	switch {
	case host == "" && c.Tunnel.Mode == TunnelNamed:
		at.fail(bridge.Say("is required with mode = %s: the public host name of the tunnel, such as %s", `"named"`, `"bot.example.com"`), bridge.Text{})
	case host == "":
	case len(host) > 253 || !regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:[0-9]{1,5})?$`).MatchString(host):
		at.fail(bridge.Say("must be a host name alone, such as %s", `"bot.example.com"`), bridge.Text{})
	case c.Tunnel.Mode != TunnelNamed:
		at.warn(bridge.Say("has no effect with %s", "mode = "+strconv.Quote(string(c.Tunnel.Mode))), bridge.Text{})
	}
}

// checkValue checks what the table says of values alone.
func (k key) checkValue(at *reporter) {
	switch v := reflect.ValueOf(k.value).Elem(); {
	case len(k.Choices) > 0:
		value := v.String()
		if slices.ContainsFunc(k.Choices, func(c Choice) bool { return c.Value == value }) {
			return
		}
		var quoted []string
		for _, c := range k.Choices {
			quoted = append(quoted, strconv.Quote(c.Value))
		}
		at.fail(bridge.Say("must be one of %s", strings.Join(quoted, ", ")), bridge.Text{})
	case k.Least != 0 || k.Most != 0:
		if n := v.Int(); n < int64(k.Least) || n > int64(k.Most) {
			at.fail(bridge.Say("must be a whole number from %s to %s", strconv.Itoa(k.Least), strconv.Itoa(k.Most)), bridge.Text{})
		}
	}
}
