package talk

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"perch/bridge"
	"perch/bridge/neterr"
)

// Doctor examines a server step by step, as the configuration names it.
type Doctor struct {
	Client     *Client
	ConfigFile string // for fixes
	SaveCAAs   string // file for a certificate that the system does not know
	Address    string // URL of our webhook
	Again      string // what a command that runs a check again ends with: " --room TOKEN", or nothing
	Lookup     func(ctx context.Context, host string) ([]string, error)
	Now        func() time.Time
}

// stepTimeout bounds the steps before anything is said.
const stepTimeout = 4 * time.Second

// The oldest server and what bots need of it.
const (
	minMajor, minMinor = 27, 1
	botsFeature        = "bots-v1"
	askFeature         = "bot-features-api"
)

func whyServer() bridge.Text { return bridge.Say("Perch posts its replies there.") }

// baseURL returns the fix that writes another base_url.
func (d Doctor) baseURL(address string) bridge.Text {
	return bridge.Say("in %[1]s, write: base_url = %[2]s", d.ConfigFile, strconv.Quote(address))
}

// failedBy is bridge.FailedBy for what the server does not answer at a path,
// with a command that shows what it answers.
func (d Doctor) failedBy(err error, path string) bridge.Result {
	r := bridge.FailedBy(err, whyServer())
	try := d.Client.base.String() + path
	if r.Fix.IsZero() {
		r.Fix = bridge.Say("see what it answers: curl -i -H OCS-APIRequest:true %s", try)
	} else {
		r.Fix = bridge.Say("%[2]s\nsee what it answers: curl -i -H OCS-APIRequest:true %[1]s", try).With(r.Fix)
	}
	return r
}

// next returns the host and port to connect to, which are those of a proxy
// where the environment names one.
func (d Doctor) next() (u *url.URL, viaProxy bool) {
	u = d.Client.base
	if req, err := http.NewRequest(http.MethodGet, u.String(), nil); err == nil { //nolint:noctx // it is never sent
		if proxy, err := d.Client.transport.Proxy(req); err == nil && proxy != nil {
			return proxy, true
		}
	}
	return u, false
}

// DNS looks up the name of the server.
func (d Doctor) DNS(ctx context.Context) bridge.Result {
	u, viaProxy := d.next()
	host := u.Hostname()
	if net.ParseIP(host) != nil {
		return bridge.Passed(bridge.Say("%s is an address; there is no name to look up", host))
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	addresses, err := d.Lookup(ctx, host)
	if err == nil && len(addresses) > 0 {
		if viaProxy {
			return bridge.Passed(bridge.Say("the proxy %[1]s is %[2]s", host, strings.Join(addresses[:min(3, len(addresses))], ", ")))
		}
		return bridge.Passed(bridge.Say("%[1]s is %[2]s", host, strings.Join(addresses[:min(3, len(addresses))], ", ")))
	}
	if dns, ok := errors.AsType[*net.DNSError](err); err == nil || ok && dns.IsNotFound {
		return bridge.Failed(bridge.Say("there is no name %s", host), whyServer(),
			bridge.Say("is base_url in %[1]s the address at which you open Nextcloud? look the name up: nslookup %[2]s", d.ConfigFile, host))
	}
	return bridge.Failed(bridge.Say("the name %s could not be looked up: no name server answered", host), whyServer(),
		bridge.Say("is this machine online? look the name up: nslookup %s", host)).InVain()
}

// TCP connects to the server.
func (d Doctor) TCP(ctx context.Context) bridge.Result {
	u, viaProxy := d.next()
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "socks5": "1080"}[u.Scheme]
	}
	if port == "" {
		port = "443"
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	conn, err := d.Client.options.Dial(ctx, "tcp", addr)
	if err == nil {
		_ = conn.Close()
		return bridge.Passed(bridge.Say("%s takes connections", addr))
	}
	timeout, isNet := errors.AsType[net.Error](err)
	fix := bridge.Say("on the server, see what listens: sudo ss -ltnp 'sport = :%[1]s'\nor correct base_url in %[2]s", port, d.ConfigFile)
	if viaProxy {
		fix = bridge.Say("correct the proxy in HTTPS_PROXY or HTTP_PROXY, or go without: unset HTTPS_PROXY HTTP_PROXY")
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return bridge.Failed(bridge.Say("%s refuses connections: nothing listens there", addr), whyServer(), fix)
	case isNet && timeout.Timeout():
		return bridge.Failed(bridge.Say("%[1]s did not answer within %[2]s", addr, stepTimeout.String()), whyServer(),
			bridge.Say("is the server on, and does its firewall let this machine through? try: nc -vz %[1]s %[2]s", u.Hostname(), port)).InVain()
	default:
		return bridge.Failed(bridge.Say("%s cannot be reached", addr), whyServer(), fix)
	}
}

// TLS looks at the certificate of the server.
func (d Doctor) TLS(ctx context.Context) bridge.Result {
	base := d.Client.base
	if base.Scheme == "http" {
		return bridge.Passed(bridge.Say("plain http: there is no certificate"))
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	var leaf *x509.Certificate
	transport := d.Client.transport.Clone()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
		leaf = s.PeerCertificates[0]
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base.String()+"/status.php", nil)
	if err != nil {
		return bridge.Failed(bridge.Say("base_url is not the address of a server"), whyServer(), d.baseURL("https://cloud.example.com"))
	}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if leaf == nil {
		if err == nil { // never with https
			return bridge.Passed(bridge.Say("no certificate was shown"))
		}
		return d.badTLS(err)
	}
	const soon = 14 * 24 * time.Hour
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	issuer := leaf.Issuer.CommonName
	if len(leaf.Issuer.Organization) > 0 {
		issuer = leaf.Issuer.Organization[0]
	}
	if left := leaf.NotAfter.Sub(d.Now()); left < soon {
		return bridge.Warned(bridge.Say("valid for %[1]s more days, until %[2]s", strconv.Itoa(int(left.Hours()/24)), until),
			bridge.Say("When it has expired, no reply goes out. Certificates are usually renewed 30 days before."),
			bridge.Say("on the server, see why it was not renewed: sudo certbot renew"))
	}
	return bridge.Passed(bridge.Say("valid until %[1]s, %[2]s", until, issuer))
}

func (d Doctor) badTLS(err error) bridge.Result {
	e := unreachable(d.Client.base, err)
	why := bridge.Say("Without a certificate that is right, anybody on the way could read and change everything.")
	host, port := d.Client.base.Hostname(), d.Client.base.Port()
	if port == "" {
		port = "443"
	}
	wrongName, isWrongName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	handshake, isHandshake := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case isUnknown:
		return bridge.Failed(bridge.TextOf(e), why, bridge.Say(
			"if the server has a certificate of its own, save it: openssl s_client -connect %[1]s:%[2]s -servername %[1]s </dev/null | openssl x509 -out %[3]s\nthen in %[4]s, under [channels_config.nextcloud_talk], write: ca_file = %[5]s",
			host, port, d.SaveCAAs, d.ConfigFile, strconv.Quote(d.SaveCAAs)))
	case isWrongName:
		name := host
		if c := wrongName.Certificate; c != nil && len(c.DNSNames) > 0 {
			name = c.DNSNames[0]
		}
		if port != "443" {
			name = net.JoinHostPort(name, port)
		}
		return bridge.Failed(bridge.Say("the certificate is for %[1]s, not for %[2]s", neterr.NamesOf(wrongName.Certificate), host), why,
			d.baseURL("https://"+name+d.Client.base.Path))
	case isInvalid && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if d.Now().Before(invalid.Cert.NotBefore) {
			return bridge.Failed(bridge.Say("the certificate is not valid before %s", invalid.Cert.NotBefore.UTC().Format(time.DateOnly)), why,
				bridge.Say("is the clock of this machine right? set it: sudo timedatectl set-ntp true"))
		}
		return bridge.Failed(bridge.Say("the certificate has expired on %s", invalid.Cert.NotAfter.UTC().Format(time.DateOnly)), why,
			bridge.Say("renew it on the server: sudo certbot renew\nif it is not expired there, set the clock of this machine: sudo timedatectl set-ntp true"))
	case isHandshake && string(handshake.RecordHeader[:]) == "HTTP/":
		return bridge.Failed(bridge.TextOf(e), why, d.baseURL("http://"+d.Client.base.Host+d.Client.base.Path))
	}
	return bridge.FailedBy(e, why)
}

// Status asks status.php.
func (d Doctor) Status(ctx context.Context) bridge.Result {
	a, err := d.Client.do(ctx, request{method: http.MethodGet, path: "/status.php"})
	if err != nil {
		return d.failedBy(err, "/status.php")
	}
	var s Status
	if a.status != http.StatusOK || json.Unmarshal(within(a.body, "installed"), &s) != nil || s.Version == "" {
		r := d.failedBy(a.refusal(), "/status.php")
		if _, stopped := a.gate(); a.status/100 == 3 && !stopped {
			if to, ok := a.elsewhere(); ok {
				r.Fix = d.baseURL(to)
			}
		}
		return r
	}
	seen := bridge.Say("status.php: Nextcloud %s", s.Version)
	switch {
	case !s.Installed:
		return bridge.Failed(bridge.Say("status.php: Nextcloud is not installed yet"), whyServer(),
			bridge.Say("finish its installation in the browser: %s", d.Client.base.String()))
	case s.NeedsDBUpgrade:
		return bridge.Failed(bridge.Say("status.php: Nextcloud %s waits for its upgrade to be finished", s.Version), whyServer(),
			bridge.Say("on the server: occ upgrade && occ maintenance:mode --off"))
	case s.Maintenance:
		return bridge.Failed(bridge.Say("status.php: Nextcloud %s is in maintenance mode", s.Version),
			bridge.Say("Until it ends, no message comes and no reply goes; replies are kept and sent afterwards."),
			bridge.Say("on the server, if it was forgotten: occ maintenance:mode --off"))
	case older(s.Version, minMajor, minMinor):
		return bridge.Failed(seen, bridge.Say("Talk has bots since Nextcloud 27.1."),
			bridge.Say("update Nextcloud: Administration settings, Overview, Open updater\nor on the server: php /var/www/nextcloud/updater/updater.phar"))
	}
	return bridge.Passed(bridge.Say("status.php: Nextcloud %s, not in maintenance", s.Version))
}

// older reports whether a version such as "27.0.2" is before major.minor.
func older(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	a, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	b := 0
	if len(parts) > 1 {
		b, _ = strconv.Atoi(parts[1])
	}
	return a < major || a == major && b < minor
}

// Capabilities asks what Talk can do.
func (d Doctor) Capabilities(ctx context.Context) (Capabilities, bridge.Result) {
	c, err := d.Client.Capabilities(ctx)
	why := bridge.Say("Bots are a part of Talk.")
	switch {
	case err != nil:
		return c, d.failedBy(err, "/ocs/v2.php/cloud/capabilities")
	case !c.Talk:
		return c, bridge.Failed(bridge.Say("Talk is not enabled on this server"), why,
			bridge.Say("on the server: occ app:install spreed || occ app:enable spreed"))
	case !slices.Contains(c.Features, botsFeature):
		return c, bridge.Failed(bridge.Say("Talk %s is too old: it has no bots (bots-v1)", c.TalkVersion), why,
			bridge.Say("on the server: occ app:update spreed"))
	}
	return c, bridge.Passed(bridge.Say("Talk %[1]s with bots-v1, %[2]s characters a message", c.TalkVersion, strconv.Itoa(c.MaxLength)))
}

// Clock compares the server's clock with that of this machine.
func (d Doctor) Clock(ctx context.Context) bridge.Result {
	asked := d.Now()
	a, err := d.Client.do(ctx, request{method: http.MethodGet, path: "/status.php"})
	if err != nil {
		return bridge.FailedBy(err, whyServer())
	}
	there, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return bridge.Skipped(bridge.Say("the server does not say what time it is"))
	}
	const fine, bad = 30 * time.Second, 5 * time.Minute
	answered := d.Now()
	off := asked.Add(answered.Sub(asked) / 2).Sub(there.Add(500 * time.Millisecond)) // Date is in whole seconds
	off = off.Round(time.Second)
	why := bridge.Say("With a wrong clock certificates look expired and the times in the log mislead.")
	fix := bridge.Say("on this machine: sudo timedatectl set-ntp true\nif it is right here, the same on the server")
	direction := "ahead of"
	if off < 0 {
		direction = "behind"
	}
	seen := bridge.Say("this clock is %[1]s %[2]s the server's", off.Abs().String(), direction)
	switch {
	case off.Abs() > bad:
		return bridge.Failed(seen, why, fix)
	case off.Abs() > fine:
		return bridge.Warned(seen, why, fix)
	}
	return bridge.Passed(bridge.Say("within %s s of the server's", strconv.Itoa(max(1, int(off.Abs().Seconds())))))
}

// nobody is the number of a message that no server has.
const nobody = "9007199254740991"

// BotSecret shows the server our signature once, by a reaction to a message
// that cannot exist, so that nothing is posted whatever the answer.
func (d Doctor) BotSecret(ctx context.Context, room bridge.Room, c Capabilities) bridge.Result {
	if !validToken(room.Token) {
		return bridge.Failed(bridge.Say("%s is not the token of a conversation", room.Token), whySecret(),
			bridge.Say("give the last part of the conversation's address: perch doctor --room TOKEN"))
	}
	const emoji = "👀"
	a, err := d.Client.do(ctx, d.signed(spreed+"/bot/"+room.Token+"/reaction/"+nobody, emoji, map[string]string{"reaction": emoji}))
	if bridge.CodeOf(err) == bridge.CodeUnclear {
		return bridge.Failed(bridge.Say("the server did not answer our signature in time"), whySecret(),
			bridge.Say("is it busy? try again later: perch doctor --only %s", "bot-secret"+d.Again))
	}
	if err != nil {
		return bridge.FailedBy(err, whySecret())
	}
	switch {
	case a.status == http.StatusNotFound && a.fromTalk():
		if slices.Contains(c.Features, askFeature) {
			return d.askFeatures(ctx, room)
		}
		return bridge.Passed(bridge.Say("the server took our signature in %s (404 for a message that cannot exist)", room.String()))
	case a.status == http.StatusUnauthorized && a.fromTalk():
		return d.refusedSecret(ctx, room)
	case a.status == http.StatusTooManyRequests:
		return bridge.Failed(bridge.Say("the server refuses this address, right signatures too (429)"),
			bridge.Say("Nextcloud locks an address out after about ten wrong signatures. Whether the secret is right cannot be seen until that ends."),
			bridge.Say("wait half an hour, or on the server: occ security:bruteforce:reset %[1]s\nthen: perch doctor --only %[2]s", d.ownAddress(ctx), "bot-secret"+d.Again))
	case a.status == http.StatusInternalServerError && !a.isPage():
		return bridge.Failed(bridge.Say("the server took our signature, but has no conversation %s (500)", room.Token), whySecret(),
			bridge.Say("take the last part of the conversation's address: perch doctor --room TOKEN"))
	case a.status == http.StatusBadRequest && a.fromTalk():
		return bridge.Failed(bridge.Say("the signature did not arrive (400)"), whySecret(),
			bridge.Say("let the proxy before the server pass the headers X-Nextcloud-Talk-Bot-Random and X-Nextcloud-Talk-Bot-Signature"))
	}
	return bridge.FailedBy(a.refusal(), whySecret())
}

func whySecret() bridge.Text {
	return bridge.Say("Talk takes replies of the bot only with a signature by the secret that it was installed with.")
}

// signed returns a request signed as the bot.
func (d Doctor) signed(path, over string, body any) request {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	random := hex.EncodeToString(nonce)
	return request{method: http.MethodPost, path: path, body: body, headers: map[string]string{
		"X-Nextcloud-Talk-Bot-Random":    random,
		"X-Nextcloud-Talk-Bot-Signature": Sign(d.Client.options.Secret, random, over),
	}}
}

// askFeatures asks with a signature that was taken what the bot may do.
func (d Doctor) askFeatures(ctx context.Context, room bridge.Room) bridge.Result {
	var data struct {
		Features *Features `json:"features"`
	}
	a, err := d.Client.do(ctx, d.signed(spreed+"/bot/ask-features", room.Token, map[string]string{"token": room.Token}))
	if err == nil {
		var raw json.RawMessage
		if raw, err = a.ocs(); err == nil {
			err = json.Unmarshal(raw, &data)
		}
	}
	if err != nil || data.Features == nil {
		return bridge.Passed(bridge.Say("the server took our signature in %s (404 for a message that cannot exist)", room.String()))
	}
	number := "BOT-ID"
	if entry, err := d.ownBot(ctx); err == nil && entry != nil {
		number = strconv.Itoa(entry.ID)
	}
	if r, wrong := d.wrongFeatures(number, *data.Features); wrong {
		return r
	}
	return bridge.Passed(bridge.Say("the server took our signature in %[1]s; features: %[2]s", room.String(), data.Features.String()))
}

// ownAddress returns the address of this machine as the server sees it, as far
// as that can be known here.
func (d Doctor) ownAddress(ctx context.Context) string {
	u, _ := d.next()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(u.Hostname(), port)) // sends nothing
	if err != nil {
		return "IP"
	}
	defer func() { _ = conn.Close() }()
	host, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	if there, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); !isPrivateIP(there) {
		return "IP, with the public address of this machine for IP"
	}
	return host
}

func isPrivateIP(s string) bool {
	ip := net.ParseIP(s)
	return ip != nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast())
}

// refusedSecret returns what a refused signature means: of three causes the
// one that an app token lets us see, or all in order of likelihood.
func (d Doctor) refusedSecret(ctx context.Context, room bridge.Room) bridge.Result {
	number := "BOT-ID"
	if entry, err := d.ownBot(ctx); err == nil && entry != nil {
		number = strconv.Itoa(entry.ID)
		refused := bridge.Say("the server refused our signature in %s (401)", room.String())
		if entry.State == 0 {
			return bridge.Failed(refused, bridge.Say("Bot %[1]s, %[2]s, is switched off on the server.", number, entry.Name), switchOn(number, entry.Features))
		}
		if r, wrong := d.wrongFeatures(number, entry.Features); wrong {
			return r
		}
	} else if bots, err := d.Client.RoomBots(ctx, room.Token); err == nil && len(bots) == 1 {
		number = strconv.Itoa(bots[0].ID)
	}
	return bridge.Failed(
		bridge.Say("the server refused our signature in %s (401)", room.String()),
		bridge.Say("Most likely the bot is not enabled in this conversation; else it is switched off on the server, or has not the feature response; else it was installed with another secret. The doctor tries once, since Nextcloud locks an address out after about ten."),
		bridge.Say("1. enable it: occ talk:bot:setup %[1]s %[2]s\n   (or in Talk: Conversation settings, Bots, Enable; occ talk:bot:list shows BOT-ID)\n2. switch it on, with its features: occ talk:bot:state -f webhook -f response %[1]s 1\n3. give Perch the secret that the bot was installed with: %[3]s\nthen: perch doctor --only bot-secret --room %[2]s && perch retry",
			number, room.Token).With(d.Client.options.Secret.HowTo(bridge.WebhookSecret)))
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// AppToken says whether the app token works, whose it is, and whether that
// user is in the conversation; its token can be empty. needed says that replies go
// out as that user.
func (d Doctor) AppToken(ctx context.Context, room bridge.Room, needed bool) (bridge.Actor, bridge.Result) {
	why := bridge.Say("Replies go out as the user of the app token.")
	if !needed {
		why = bridge.AppTokenUse()
	}
	renew := bridge.Say("in Nextcloud: Settings, Security, Devices & sessions, Create new app password\nthen: %s").With(d.Client.options.AppToken.HowTo(bridge.AppToken))
	if d.Client.options.AppToken.IsZero() {
		if needed {
			return bridge.Actor{}, bridge.Failed(bridge.Say("no app token is set"), why, renew)
		}
		return bridge.Actor{}, bridge.Skipped(bridge.Say("none is set: replies go out as the bot, files come as links, and missed messages are not fetched"))
	}
	who, err := d.Client.User(ctx)
	if bridge.CodeOf(err) == bridge.CodeUnauthorized {
		return who, bridge.Failed(bridge.Say("the server does not know the app token (401; in a conversation it would answer 404)"), why, renew)
	}
	if err != nil {
		return who, bridge.FailedBy(err, why)
	}
	if room.Token == "" {
		return who, bridge.Passed(bridge.Say("of %s", who.ID))
	}
	q := request{
		method: http.MethodGet, path: spreed + "/chat/" + room.Token, bearer: true, most: maxHistory,
		query: url.Values{"format": {"json"}, "lookIntoFuture": {"0"}, "limit": {"1"}, "setReadMarker": {"0"}, "noStatusUpdate": {"1"}},
	}
	a, err := d.Client.do(ctx, q)
	switch {
	case err != nil:
		return who, bridge.FailedBy(err, why)
	case a.status == http.StatusNotModified || a.status == http.StatusOK:
		return who, bridge.Passed(bridge.Say("of %[1]s, who is in %[2]s", who.ID, room.String()))
	case a.status == http.StatusNotFound && a.fromTalk():
		seen := bridge.Say("of %[1]s, who is not in %[2]s (404)", who.ID, room.String())
		fix := bridge.Say("in Talk, open the conversation, Participants, and add %s", who.ID)
		if needed {
			return who, bridge.Failed(seen, why, fix)
		}
		return who, bridge.Warned(seen, why, fix)
	}
	return who, bridge.FailedBy(a.refusal(), why)
}

// Features are what a bot may do, as bits.
type Features int

// The features of occ talk:bot:install.
const (
	FeatureWebhook  Features = 1 // is told of messages
	FeatureResponse Features = 2 // may post and react
	FeatureEvent    Features = 4 // is an app on the server; no webhooks
	FeatureReaction Features = 8 // is told of reactions
)

// String returns the features as occ talk:bot:list does.
func (f Features) String() string {
	var names []string
	for i, name := range []string{"webhook", "response", "event", "reaction"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// BotEntry is a bot as the server lists it. What only administrators are told
// is zero for others.
type BotEntry struct {
	ID         int      `json:"id"`
	Name       string   `json:"name"`
	State      int      `json:"state"` // 0 disabled, 1 enabled, 2 enabled, and cannot be changed by moderators
	URL        string   `json:"url"`
	ErrorCount int      `json:"error_count"`
	LastError  string   `json:"last_error_message"`
	Features   Features `json:"features"`
}

// Bots lists the installed bots for an administrator's app token. The error is
// of CodeRejected for any other user's.
func (c *Client) Bots(ctx context.Context) (bots []BotEntry, err error) {
	return bots, c.read(ctx, request{path: spreed + "/bot/admin", bearer: true}, &bots)
}

// RoomBots lists the bots with their state in a conversation for the app token
// of a moderator. The error is of CodeRejected for anybody else's.
func (c *Client) RoomBots(ctx context.Context, room string) (bots []BotEntry, err error) {
	return bots, c.read(ctx, request{path: spreed + "/bot/" + room, bearer: true}, &bots)
}

// ownBot returns the entry of the bot with our webhook; nil if there is none.
func (d Doctor) ownBot(ctx context.Context) (*BotEntry, error) {
	bots, err := d.Client.Bots(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range bots {
		if strings.TrimSuffix(b.URL, "/") == strings.TrimSuffix(d.Address, "/") {
			return &b, nil
		}
	}
	return nil, nil
}

// reinstall returns the fix that installs the bot anew in place of an old one.
func reinstall(old string) bridge.Text {
	return bridge.Say("on the server: occ talk:bot:uninstall --url=%s\nthen what this prints: perch occ", shellQuote(old))
}

// switchOn returns the fix that switches a bot on and gives it the features that
// it needs beside those it has. Its id and its conversations stay.
func switchOn(number string, f Features) bridge.Text {
	flags := "-f webhook -f response"
	if f&FeatureReaction != 0 {
		flags += " -f reaction"
	}
	return bridge.Say("on the server: occ talk:bot:state %[1]s %[2]s 1", flags, number)
}

// wrongFeatures returns the result for features with which the bot of that
// number does not work.
func (d Doctor) wrongFeatures(number string, f Features) (bridge.Result, bool) {
	switch {
	case f&FeatureEvent != 0:
		return bridge.Failed(bridge.Say("the bot has the feature event (%s)", f.String()),
			bridge.Say("A bot with event is an app on the server: Talk sends it no webhooks, even if it has the feature webhook too."), switchOn(number, f)), true
	case f&FeatureWebhook == 0:
		return bridge.Failed(bridge.Say("the bot lacks the feature webhook (%s)", f.String()),
			bridge.Say("Without it Talk sends it no messages."), switchOn(number, f)), true
	case f&FeatureResponse == 0 && d.Client.options.ReplyAs == ReplyAsBot:
		return bridge.Failed(bridge.Say("the bot lacks the feature response (%s)", f.String()),
			bridge.Say("Without it Talk refuses its replies with 401, as if the secret were wrong."), switchOn(number, f)), true
	}
	return bridge.Result{}, false
}

// BotEntry looks at the bot as the administrator sees it. installed is the
// address at which Talk was last known to have it; it can be empty. The id is 0
// if it is not known.
func (d Doctor) BotEntry(ctx context.Context, who bridge.Actor, installed string) (id int, r bridge.Result) {
	why := bridge.Say("Talk sends its webhooks to the address that the bot was installed with, and to no other.")
	moved := bridge.Say("The address has changed since Talk last used it; Talk goes on with the old one.")
	if d.Client.options.AppToken.IsZero() {
		if installed != "" && installed != d.Address {
			return 0, bridge.Warned(bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", installed, d.Address), moved, reinstall(installed))
		}
		return 0, bridge.Skipped(bridge.Say("needs an administrator's app token"))
	}
	bots, err := d.Client.Bots(ctx)
	switch {
	case bridge.CodeOf(err) == bridge.CodeRejected && installed != "" && installed != d.Address:
		return 0, bridge.Warned(bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", installed, d.Address), moved, reinstall(installed))
	case bridge.CodeOf(err) == bridge.CodeRejected:
		return 0, bridge.Skipped(bridge.Say("needs an administrator's app token; %s is none", who.ID))
	case err != nil:
		return 0, bridge.FailedBy(err, why)
	}
	own, err := d.ownBot(ctx)
	if err != nil {
		return 0, bridge.FailedBy(err, why)
	}
	if own == nil {
		var others []string
		for _, b := range bots {
			others = append(others, b.URL)
		}
		if slices.Contains(others, installed) {
			return 0, bridge.Failed(bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", installed, d.Address), moved, reinstall(installed))
		}
		for _, b := range bots { // the same path elsewhere is most likely an address that we had before
			if old, err := url.Parse(b.URL); err == nil && strings.HasSuffix(d.Address, old.Path) && len(old.Path) > 1 {
				return 0, bridge.Failed(bridge.Say("no bot is installed at %[1]s, but %[2]s is at %[3]s", d.Address, b.Name, b.URL), why, reinstall(b.URL))
			}
		}
		return 0, bridge.Failed(bridge.Say("no bot is installed at %[1]s (%[2]s others are)", d.Address, strconv.Itoa(len(bots))), why,
			bridge.Say("on the server, what this prints: perch occ"))
	}
	if own.State == 0 {
		return own.ID, bridge.Failed(bridge.Say("bot %[1]s, %[2]s, is switched off", strconv.Itoa(own.ID), own.Name), why,
			switchOn(strconv.Itoa(own.ID), own.Features))
	}
	if r, wrong := d.wrongFeatures(strconv.Itoa(own.ID), own.Features); wrong {
		return own.ID, r
	}
	if own.ErrorCount > 0 {
		return own.ID, bridge.Warned(
			bridge.Say("bot %[1]s, %[2]s: %[3]s webhooks failed, the last with: %[4]s", strconv.Itoa(own.ID), own.Name, strconv.Itoa(own.ErrorCount), own.LastError), why,
			bridge.Say("see what stands in the way: perch doctor --only %s", "public-url"+d.Again))
	}
	return own.ID, bridge.Passed(bridge.Say("bot %[1]s, %[2]s, features: %[3]s", strconv.Itoa(own.ID), own.Name, own.Features.String()))
}

// RoomBot says whether the bot is enabled in a conversation; id is 0 if it is
// not known.
func (d Doctor) RoomBot(ctx context.Context, room bridge.Room, id int, who bridge.Actor) bridge.Result {
	why := bridge.Say("Talk tells a bot only of conversations in which it is enabled.")
	if d.Client.options.AppToken.IsZero() {
		return bridge.Skipped(bridge.Say("needs a moderator's app token"))
	}
	bots, err := d.Client.RoomBots(ctx, room.Token)
	switch {
	case bridge.CodeOf(err) == bridge.CodeRejected:
		return bridge.Skipped(bridge.Say("needs a moderator's app token; %[1]s is none in %[2]s", who.ID, room.String()))
	case err != nil:
		return bridge.FailedBy(err, why)
	}
	var here []string
	number := "BOT-ID"
	for _, b := range bots {
		if b.ID == id {
			number = strconv.Itoa(id)
		}
		if b.State == 0 {
			continue
		}
		here = append(here, b.Name)
		if b.ID == id {
			return bridge.Passed(bridge.Say("bot %[1]s, %[2]s, is enabled in %[3]s", strconv.Itoa(id), b.Name, room.String()))
		}
	}
	fix := bridge.Say("in Talk: Conversation settings, Bots, Enable\nor on the server: occ talk:bot:setup %[1]s %[2]s", number, room.Token)
	switch {
	case id == 0 && len(here) > 0:
		return bridge.Passed(bridge.Say("enabled in %[1]s: %[2]s", room.String(), strings.Join(here, ", ")))
	case id == 0:
		return bridge.Failed(bridge.Say("no bot is enabled in %s", room.String()), why, fix)
	}
	return bridge.Failed(bridge.Say("bot %[1]s is not enabled in %[2]s", strconv.Itoa(id), room.String()), why, fix)
}

// Backend compares what the server called itself in its last webhook with
// base_url.
func (d Doctor) Backend(header string) bridge.Result {
	if header == "" {
		return bridge.Skipped(bridge.Say("no webhook has come yet"))
	}
	there, err := parseBase(header)
	if err == nil && strings.EqualFold(there.String(), d.Client.base.String()) {
		return bridge.Passed(bridge.Say("the last webhook came from %s, as base_url says", there.String()))
	}
	return bridge.Warned(bridge.Say("the last webhook came from %[1]s; base_url is %[2]s", header, d.Client.base.String()),
		bridge.Say("Either another server has this bot too, or the server goes by two names; replies go to base_url."),
		bridge.Say("in %[1]s, write: base_url = %[2]s\nor on the server: occ config:system:set overwrite.cli.url --value=%[3]s", d.ConfigFile,
			strconv.Quote(strings.TrimSuffix(header, "/")), shellQuote(d.Client.base.String())))
}

// isUntrusted reports whether a is Nextcloud's answer to a name that it does
// not go by.
func (a answer) isUntrusted() bool {
	return a.status == http.StatusBadRequest && bytes.Contains(a.body, []byte("Trusted domain error"))
}
