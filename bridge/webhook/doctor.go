package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"perch/bridge"
)

// TalkPatience is how long Talk waits for the answer to a webhook.
const TalkPatience = 5 * time.Second

// DiagnoseBusy says who holds the address that Perch cannot listen on.
func DiagnoseBusy(ctx context.Context, err error, addr, configFile string) bridge.Result {
	why := bridge.Say("Without its port Perch hears nothing of Talk.")
	if !errors.Is(err, syscall.EADDRINUSE) {
		return bridge.Failed(bridge.TextOf(err), why, bridge.Say("in %[1]s, in the table [webhook], write: listen = %[2]s", configFile, strconv.Quote("127.0.0.1:8460")))
	}
	host, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	other := strconv.Quote(net.JoinHostPort(host, strconv.Itoa(freePort(ctx, host, number+1))))
	pid, name := portHolder(number)
	if pid == 0 {
		return bridge.Failed(bridge.Say("%s is taken by a program of another user, or one that cannot be seen", addr), why,
			bridge.Say("see which: sudo ss -ltnp 'sport = :%[1]s'\nend it, or take another port: in %[2]s, in the table [webhook], write: listen = %[3]s", port, configFile, other))
	}
	return bridge.Failed(bridge.Say("%[1]s is taken by %[2]s (process %[3]s)", addr, name, strconv.Itoa(pid)), why,
		bridge.Say("end that program: kill %[1]s\nor take another port: in %[2]s, in the table [webhook], write: listen = %[3]s", strconv.Itoa(pid), configFile, other))
}

// freePort returns the first port from the given one on that can be listened on.
func freePort(ctx context.Context, host string, from int) int {
	const most = 100
	for port := from; port < min(from+most, 1<<16); port++ {
		if ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			_ = ln.Close()
			return port
		}
	}
	return 8461
}

// Holds reports whether the Perch with this id listens on the port of addr, which
// is taken. Where nobody can be seen there, as a Perch cannot that hides from
// other programs, it is so if the process runs and is a Perch.
func Holds(pid, addr string) bool {
	_, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	holder, _ := portHolder(number)
	return holder != 0 && strconv.Itoa(holder) == pid || holder == 0 && isLikeUs(pid)
}

// IsInstance reports whether the Perch of that name answers at url.
func (p Probe) IsInstance(ctx context.Context, url, name string) bool {
	if p.Secret.IsZero() {
		return false
	}
	answer, err := p.Ask(ctx, url, false)
	return err == nil && answer.Instance == name
}

// DiagnoseSelfPost says whether the listener takes a signed post and refuses
// one that was tampered with.
func (p Probe) DiagnoseSelfPost(ctx context.Context, url string, requireSignature bool, configFile string) bridge.Result {
	why := bridge.Say("It shows, without a network in between, that Perch knows Talk's messages from others.")
	restart := bridge.Say("end Perch and start it again: perch run")
	good, err := p.Ask(ctx, url, false)
	if err != nil {
		return bridge.Failed(bridge.Say("the own listener does not answer: %s", plain(err)), why, restart)
	}
	if good.Instance == "" {
		return bridge.Failed(bridge.Say("the own listener refused a signed post with status %s", strconv.Itoa(good.Status)), why,
			bridge.Say("it may have another secret than the doctor sees; make it read its secrets again: touch %s\nif it was started with another PERCH_WEBHOOK_SECRET, end it and start it again: perch run", configFile))
	}
	bad, err := p.Ask(ctx, url, true)
	switch {
	case err != nil:
		return bridge.Failed(bridge.Say("the own listener does not answer: %s", plain(err)), why, restart)
	case bad.Status != http.StatusUnauthorized:
		return bridge.Failed(bridge.Say("a tampered post was not refused: status %s", strconv.Itoa(bad.Status)), why, restart)
	case !requireSignature:
		return bridge.Warned(bridge.Say("signed posts are taken, and so are posts without a signature"),
			bridge.Say("Whoever reaches the webhook can write as anybody."),
			bridge.Say("in %s, in the table [webhook], write: require_signature = true", configFile))
	}
	return bridge.Passed(bridge.Say("a signed post is taken, a tampered one refused (401)"))
}

// PublicAddress is where Nextcloud is to reach the webhook, and what is known
// of it.
type PublicAddress struct {
	URL        string
	Instance   string // the process that is to answer
	Listen     string // where it listens
	ConfigFile string
	Local      func(host string) bool // whether a host is in a private network
	Patience   time.Duration          // 0: TalkPatience
}

// DiagnosePublicURL says whether a post to the public address reaches this very
// process, as Talk would need it, and else what is in the way.
func (p Probe) DiagnosePublicURL(ctx context.Context, a PublicAddress) bridge.Result {
	if a.Patience == 0 {
		a.Patience = TalkPatience
	}
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" {
		return bridge.Failed(bridge.Say("%s is no address", a.URL), whyPublic(), a.set("https://perch.example.com"))
	}
	asked, cancel := context.WithTimeout(ctx, a.Patience)
	defer cancel()
	answer, err := p.Ask(asked, a.URL, false)
	if err != nil {
		return a.unreached(u, err)
	}
	if answer.Instance != a.Instance || answer.Instance == "" {
		return a.misled(u, answer)
	}
	took := strconv.FormatInt(answer.Took.Milliseconds(), 10)
	switch {
	case answer.Took > a.Patience*3/5:
		return bridge.Warned(bridge.Say("a signed request came back, but took %s ms", took),
			bridge.Say("Talk waits 5 s, and the person who writes waits with it."),
			bridge.Say("look at what is between: the tunnel, the proxy, the line"))
	case u.Scheme == "http" && !a.Local(u.Host):
		return bridge.Warned(bridge.Say("a signed request came back in %s ms, over plain http through a public address", took),
			bridge.Say("Everybody on the way can read the messages."),
			a.set("https://"+u.Host))
	}
	return bridge.Passed(bridge.Say("a signed request came back in %[1]s ms: %[2]s", took, a.URL))
}

func whyPublic() bridge.Text {
	return bridge.Say("Talk sends every message to this address, once; what does not arrive is lost.")
}

// set returns the fix that writes a public_url.
func (a PublicAddress) set(address string) bridge.Text {
	return bridge.Say("in %[1]s, in the table [webhook], write: public_url = %[2]s", a.ConfigFile, strconv.Quote(address))
}

// unreached returns what it means that no answer came.
func (a PublicAddress) unreached(u *url.URL, err error) bridge.Result {
	host := u.Hostname()
	dns, isDNS := errors.AsType[*net.DNSError](err)
	wrongName, isWrongName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	failed := func(seen, fix bridge.Text) bridge.Result { return bridge.Failed(seen, whyPublic(), fix) }
	switch {
	case isDNS && dns.IsNotFound:
		return failed(bridge.Say("DNS: there is no name %s", host),
			bridge.Say("make a DNS record for %[1]s, or correct public_url in %[2]s; look it up: nslookup %[1]s", host, a.ConfigFile))
	case isDNS:
		return failed(bridge.Say("DNS: the name %s could not be looked up", host),
			bridge.Say("is this machine online? look it up: nslookup %s", host))
	case isWrongName:
		names := "another name"
		if c := wrongName.Certificate; c != nil && len(c.DNSNames) > 0 {
			names = strings.Join(c.DNSNames[:min(5, len(c.DNSNames))], ", ")
		}
		return failed(bridge.Say("TLS: the certificate there is for %[1]s, not for %[2]s", names, host),
			bridge.Say("let the proxy have a certificate for %[1]s: sudo certbot -d %[1]s\nor set public_url in %[2]s to a name that the certificate has", host, a.ConfigFile))
	case isInvalid && invalid.Reason == x509.Expired:
		return failed(bridge.Say("TLS: the certificate of %s has expired", host),
			bridge.Say("renew it where the proxy runs: sudo certbot renew"))
	case isUnknown, isInvalid:
		return failed(bridge.Say("TLS: the certificate of %s is signed by nobody that is known", host),
			bridge.Say("Nextcloud does not accept it either; get one: sudo certbot -d %[1]s\nor let the server trust its authority: occ security:certificates:import FILE", host))
	case errors.Is(err, syscall.ECONNREFUSED):
		return failed(bridge.Say("refused: nothing listens at %s", u.Host),
			bridge.Say("start what stands before Perch there (tunnel, proxy, port forwarding), and let it lead to http://%s", a.Listen))
	case isNet && timeout.Timeout():
		return failed(bridge.Say("too slow: no answer within %s, which is as long as Talk waits", a.Patience.String()),
			bridge.Say("does a firewall or router let it through to http://%[1]s? Some routers do not let a machine reach itself from inside; try from outside: curl -i -X POST %[2]s", a.Listen, a.URL)).InVain()
	case strings.Contains(err.Error(), "tls: first record") || strings.Contains(err.Error(), "server gave HTTP response"):
		return failed(bridge.Say("TLS: %s does not speak https", u.Host),
			a.set("http://"+u.Host))
	}
	return failed(bridge.Say("no answer from %[1]s: %[2]s", u.Host, plain(err)),
		bridge.Say("try it: curl -i -X POST %s", a.URL))
}

// misled returns what it means that something else answered.
func (a PublicAddress) misled(u *url.URL, answer Answer) bridge.Result {
	status := strconv.Itoa(answer.Status)
	ray := answer.Header.Get("Cf-Ray")
	location := answer.Header.Get("Location")
	title := bridge.PageTitle([]byte(answer.Body))
	failed := func(seen, fix bridge.Text) bridge.Result { return bridge.Failed(seen, whyPublic(), fix) }
	lead := bridge.Say("let the tunnel or proxy at %[1]s lead to http://%[2]s, path %[3]s included", u.Host, a.Listen, u.Path)
	switch {
	case answer.Instance != "":
		return failed(bridge.Say("another Perch with the same secret answers at %s", a.URL),
			bridge.Say("two Perches share this address: end the other one, or %s", lead.String()))
	case answer.Status/100 == 3 && isLogin(location):
		return failed(bridge.Say("a log-in page: %[1]s sends us to %[2]s", u.Host, trimQuery(location)), a.pass(u))
	case answer.Status/100 == 3:
		return failed(bridge.Say("a redirect (%[1]s) to %[2]s, which Talk does not follow with the message", status, trimQuery(location)),
			a.set(redirected(u, location)))
	case answer.Status == http.StatusForbidden && ray != "":
		return failed(bridge.Say("403 from Cloudflare (cf-ray %s): its rules took the webhook for an attack or a robot", ray),
			bridge.Say("in the Cloudflare dashboard: Security, WAF, Custom rules, Create rule: URI Path equals %[1]s, action Skip (all)\nand Security, Bots: Bot Fight Mode off. What was blocked: Security, Events, Ray ID %[2]s", u.Path, ray))
	case answer.Status == 530:
		return failed(bridge.Say("530: Cloudflare knows the tunnel, but it is not connected"),
			bridge.Say("start the tunnel: cloudflared tunnel run, or what starts yours; it is to lead to http://%s", a.Listen))
	case answer.Status == http.StatusBadGateway, answer.Status == http.StatusServiceUnavailable && answer.Body != "Service Unavailable\n",
		answer.Status == http.StatusGatewayTimeout, answer.Status > 519 && answer.Status < 530:
		return failed(bridge.Say("%[1]s: the proxy at %[2]s answers, but does not reach Perch", status, u.Host), lead)
	case answer.Status == http.StatusUnauthorized && answer.Header.Get("WWW-Authenticate") == "" && answer.Body == "Unauthorized\n",
		answer.Status == http.StatusServiceUnavailable:
		return failed(bridge.Say("another Perch answers at %[1]s: it has not our secret (%[2]s)", a.URL, status),
			bridge.Say("end the other one, or %s", lead.String()))
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusOK && isLogin(answer.Body):
		return failed(bridge.Say("a log-in page answers at %[1]s (%[2]s)", u.Host, status), a.pass(u))
	case title != "" && (answer.Status == http.StatusOK || answer.Status == http.StatusForbidden):
		return failed(bridge.Say("a page for browsers answers at %[1]s (%[2]s): %[3]s", u.Host, status, strconv.Quote(title)),
			bridge.Say("if it looks for robots, let POST %[1]s pass there without that check; Perch checks every post itself\notherwise %[2]s", u.Path).With(lead))
	case answer.Status == http.StatusForbidden:
		return failed(bridge.Say("403: what stands before Perch at %s forbids it", u.Host), a.pass(u))
	default:
		return failed(bridge.Say("another program answers at %[1]s, with status %[2]s", a.URL, status), lead)
	}
}

// pass returns the fix for what wants a log-in.
func (a PublicAddress) pass(u *url.URL) bridge.Text {
	return bridge.Say("let POST %[1]s at %[2]s pass without a log-in; Perch checks every post itself. Cloudflare: Zero Trust, Access, Applications, Add, path %[1]s, policy Bypass, Everyone", u.Path, u.Host)
}

func isLogin(s string) bool {
	return regexp.MustCompile(`(?i)log-?_?in|sign-?_?in|cloudflareaccess|oauth|/auth|type=.?password`).MatchString(s)
}

func trimQuery(s string) string {
	s, _, _ = strings.Cut(s, "?")
	return s
}

// redirected returns the public_url that a redirection speaks of.
func redirected(u *url.URL, location string) string {
	to, err := u.Parse(location)
	if err != nil {
		return "https://" + u.Host
	}
	to.RawQuery, to.Fragment = "", ""
	to.Path = strings.TrimSuffix(to.Path, "/")
	return to.String()
}

// plain returns the innermost words of an error: without the address again.
func plain(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || slices.Contains([]string{"EOF"}, inner.Error()) {
			return err.Error()
		}
		err = inner
	}
}
