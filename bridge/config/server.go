package config

import (
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"perch/bridge"
)

// Server is the address of a Nextcloud.
type Server struct {
	URL     string // "https://cloud.example.com/nextcloud": no slash at the end
	Room    string // the token, if the address was that of a conversation
	Guessed bool   // it is not only another form of what was given: a page of the server, or without https://
}

// ParseServer returns the server whose address, or that of any of its pages,
// somebody typed or pasted: with index.php, of an app, a conversation, the
// settings, WebDAV, or the host alone. A folder that Nextcloud is in stays. It
// says what is wrong if it is none.
func ParseServer(text string) (s Server, wrong bridge.Text) {
	text = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(bridge.Pasted(text), "<"), ">"))
	given := text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		switch strings.ToLower(scheme) {
		case "dav", "webdav":
			text = "http://" + rest
		case "davs", "webdavs", "nextcloud":
			text = "https://" + rest
		}
	} else if bare := bareHost(text); bare != "" {
		text = bare + text
	}
	// What follows the path of a page is about that page.
	path, behind := text, ""
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		path, behind = text[:i], text[i:]
	}
	scheme, rest, _ := strings.Cut(path, "://")
	authority, folder, _ := strings.Cut(rest, "/")
	folder, page := cutPage("/" + folder)
	if page != "" {
		behind = ""
	}
	if token := regexp.MustCompile(`/call/([A-Za-z0-9_-]+)`).FindStringSubmatch(page); token != nil {
		s.Room = token[1]
	}
	if scheme != path {
		path = scheme + "://" + authority + folder
	}
	u, wrong := parseAddress(path + behind)
	switch {
	case !wrong.IsZero():
		return Server{}, wrong
	case behind != "":
		return Server{}, bridge.Say("must be an address without ? and #")
	}
	if port := u.Port(); port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		authority = strings.TrimSuffix(authority, ":"+port)
	}
	s.URL = u.Scheme + "://" + strings.TrimSuffix(strings.ToLower(authority), ":") + folder
	s.Guessed = page != "" || !strings.HasPrefix(strings.ToLower(given), u.Scheme+"://")
	return s, bridge.Text{}
}

// cutPage splits the path of one of Nextcloud's pages into the folder that
// Nextcloud is in, without a slash at its end, and the rest.
func cutPage(path string) (folder, page string) {
	at := regexp.MustCompile(`/+(((index|status|remote|public|cron)\.php|call|login|logout|settings|dashboard|apps|ocs)(/|$)|[sfu]/+[^/])`).FindStringIndex(path)
	if at == nil {
		return strings.TrimRight(path, "/"), ""
	}
	return strings.TrimRight(path[:at[0]], "/"), path[at[0]:]
}

// bareHost returns the scheme for an address without one, and nothing if it
// does not begin with the name of a host: plain http where no public
// certificate is to be had.
func bareHost(text string) string {
	host, _, _ := strings.Cut(text, "/")
	name, port := host, ""
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, p
	}
	name = strings.Trim(name, "[]")
	if net.ParseIP(name) == nil && name != "localhost" && !regexp.MustCompile(`^[\pL\pN]([\pL\pN-]*\.)+[\pL\pN-]*\pL$`).MatchString(name) {
		return ""
	}
	if isPrivate(name) && port != "443" && port != "8443" {
		return "http://"
	}
	return "https://"
}

// parseAddress reads an http or https address, which can have a query.
func parseAddress(s string) (u *url.URL, wrong bridge.Text) {
	u, err := url.Parse(s)
	port := 1
	if err == nil && u.Port() != "" {
		port, err = strconv.Atoi(u.Port())
	}
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", port < 1, port > 65535:
		return nil, bridge.Say("must be an http or https address, such as %s", `"https://cloud.example.com"`)
	case u.User != nil:
		return nil, bridge.Say("must not contain a user name or a password")
	case strings.Contains(s, "#"):
		return nil, bridge.Say("must be an address without ? and #")
	}
	return u, bridge.Text{}
}
