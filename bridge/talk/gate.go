package talk

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"perch/bridge"
)

// gate is something before Nextcloud that lets browsers pass, and answers us in
// its place: a portal where a person logs in, or a check for bots.
type gate struct {
	login bool
	name  string // "Authelia", "Cloudflare", …; empty if it is not known
	at    string // address of the portal, or the title of the page
}

// gate returns the gate that answered; false if none did.
func (a answer) gate() (gate, bool) {
	if a.said || a.status == http.StatusTooManyRequests || a.status/100 == 1 {
		return gate{}, false
	}
	if location := a.header.Get("Location"); location != "" && (a.status/100 == 3 || a.status == http.StatusUnauthorized) {
		if u, ok := a.location(); ok {
			if name, ok := portal(u, a.path); ok {
				return gate{login: true, name: name, at: quote(location)}, true
			}
		}
		return gate{}, false
	}
	if !a.isPage() {
		return gate{}, false
	}
	title := a.title()
	if name, ok := a.challenge(title); ok {
		return gate{name: name, at: quote(title)}, true
	}
	if name, ok := loginPage(title); ok && a.status < http.StatusInternalServerError {
		return gate{login: true, name: name, at: quote(title)}, true
	}
	return gate{}, false
}

// explain fills in e.
func (g gate) explain(e *bridge.Error, host string) {
	e.Hint = bridge.Say("There, let /ocs/, /status.php and the webhook's path pass without log-in.")
	switch {
	case g.login && g.name != "":
		e.Text = bridge.Say("Before %[1]s, %[2]s asks for a log-in: %[3]s", host, g.name, g.at)
	case g.login:
		e.Text = bridge.Say("Before %[1]s, something asks for a log-in: %[2]s", host, g.at)
	case g.name != "":
		e.Text = bridge.Say("Before %[1]s, %[2]s lets nobody but browsers pass, and answers with its page %[3]s", host, g.name, g.at)
	default:
		e.Text = bridge.Say("Before %[1]s, a protection lets nobody but browsers pass, and answers with its page %[2]s", host, g.at)
	}
	if !g.login {
		e.Hint = bridge.Say("There, let /ocs/, /status.php and the webhook's path pass without this check.")
	}
}

// location returns where a redirection leads.
func (a answer) location() (*url.URL, bool) {
	asked := *a.base
	asked.Path += a.path
	u, err := asked.Parse(a.header.Get("Location"))
	return u, err == nil && u.Host != ""
}

// portal reports whether an address is one where people log in, and not the one
// of what was asked for. Its name can be empty.
func portal(u *url.URL, asked string) (name string, ok bool) {
	host, path, query := strings.ToLower(u.Hostname()), strings.ToLower(u.Path), u.Query()
	has := func(keys ...string) bool { return slices.ContainsFunc(keys, query.Has) }
	switch {
	case strings.HasSuffix(host, ".cloudflareaccess.com"), strings.Contains(path, "/cdn-cgi/access/"):
		return "Cloudflare Access", true
	case strings.Contains(path, "/outpost.goauthentik.io/"), strings.Contains(path, "/application/o/authorize"),
		strings.HasPrefix(path, "/if/flow/"), strings.Contains(host, "authentik"):
		return "authentik", true
	case strings.Contains(host, "authelia"), strings.Contains(path, "authelia"), has("rd") && (has("rm") || strings.Trim(path, "/") == ""):
		return "Authelia", true
	case strings.Contains(path, "/oauth2/start"), strings.Contains(path, "/oauth2/sign_in"):
		return "oauth2-proxy", true
	case strings.Contains(path, "/.pomerium/"):
		return "Pomerium", true
	case strings.Contains(path, "/realms/") && strings.Contains(path, "openid-connect"):
		return "Keycloak", true
	case strings.HasSuffix(u.Path, asked): // the server itself, by another name
		return "", false
	case has("client_id", "response_type", "SAMLRequest", "rd", "redirect_uri", "redirect_url", "return_to", "returnTo", "return_url"):
		return "", true
	}
	label, _, _ := strings.Cut(host, ".")
	return "", slices.ContainsFunc(append(strings.Split(path, "/"), label), func(word string) bool {
		return slices.Contains([]string{
			"account", "accounts", "auth", "authorize", "id", "idp", "login", "login.php", "oauth2", "oidc", "saml", "saml2",
			"sign-in", "sign_in", "signin", "sso",
		}, word)
	})
}

// loginPage reports whether a page of that title is one where people log in.
func loginPage(title string) (name string, ok bool) {
	title = strings.ToLower(title)
	for _, known := range []string{"Authelia", "authentik", "Cloudflare Access", "Keycloak", "Pomerium"} {
		if strings.Contains(title, strings.ToLower(known)) {
			return known, true
		}
	}
	return "", slices.ContainsFunc([]string{"log in", "login", "log-in", "sign in", "sign-in", "signin", "anmelde", "connexion", "single sign-on"},
		func(words string) bool { return strings.Contains(title, words) })
}

// challenge reports whether the page a, of that title, is to tell browsers from
// others.
func (a answer) challenge(title string) (name string, ok bool) {
	title = strings.ToLower(title)
	titled := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(title, part) })
	}
	if strings.EqualFold(a.header.Get("Cf-Mitigated"), "challenge") || titled("just a moment", "attention required! | cloudflare") {
		return "Cloudflare", true
	}
	if titled("making sure you're not a bot", "making sure you’re not a bot") {
		return "Anubis", true
	}
	if a.status >= http.StatusInternalServerError && a.status != http.StatusServiceUnavailable {
		return "", false
	}
	body := bytes.ToLower(a.body[:min(len(a.body), 64<<10)])
	for _, known := range []struct{ mark, name string }{
		{"techaro.lol/", "Anubis"},
		{"/.within.website/x/cmd/anubis", "Anubis"},
		{"cf-chl-", "Cloudflare"},
		{"_cf_chl_opt", "Cloudflare"},
		{"ddos-guard", "DDoS-Guard"},
		{"sucuri", "Sucuri"},
		{"incapsula", "Imperva"},
		{"crowdsec", "CrowdSec"},
		{"bunkerweb", "BunkerWeb"},
	} {
		if bytes.Contains(body, []byte(known.mark)) {
			return known.name, true
		}
	}
	return "", titled("checking your browser", "verify you are human", "are you a robot", "are you human", "one moment", "security check", "bot check", "captcha") ||
		bytes.Contains(body, []byte("captcha"))
}

// title returns the title of the page a.
func (a answer) title() string { return bridge.PageTitle(a.body) }
