package talk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/neterr"
)

// answer is what came back for a request.
type answer struct {
	base   *url.URL
	path   string // that was asked for, below base
	status int    // what it means
	http   int    // status of HTTP
	header http.Header
	body   []byte
	said   bool            // Nextcloud said it, in the envelope of OCS
	data   json.RawMessage // in the envelope
	token  bridge.Secret   // the app token that we have
}

// newAnswer returns what came back for a request. Where OCS says that it failed
// and HTTP that all is well, the status is that of OCS.
func newAnswer(base *url.URL, path string, status int, header http.Header, body []byte) answer {
	a := answer{base: base, path: path, status: status, http: status, header: header, body: body}
	if !strings.HasPrefix(path, "/ocs/") { // a file can have anything in it
		return a
	}
	var o ocs
	if o, a.said = readOCS(body); a.said {
		a.data = o.data
		if o.failed && status/100 == 2 && status != http.StatusCreated {
			a.status = o.status
		}
	}
	return a
}

// ocs returns the data of a successful answer, and else an error that says what
// the answer means.
func (a answer) ocs() (json.RawMessage, error) {
	if a.said && a.status/100 == 2 {
		return a.data, nil
	}
	return nil, a.refusal()
}

// taken reports whether a says that a post was taken. Its status says so, unless
// it comes with a web page: then it is not Talk that speaks. But nothing else
// says that something was created.
func (a answer) taken() bool {
	return a.status == http.StatusCreated || a.status/100 == 2 && !a.isPage()
}

// lost reports whether a post may have been taken although a says nothing of the
// kind: a proxy did not wait any longer, or Nextcloud broke down on the way.
func (a answer) lost() bool {
	switch {
	case a.status == http.StatusBadGateway, a.status == http.StatusGatewayTimeout, a.status >= 520 && a.status <= 529:
		return true
	case a.status == http.StatusInternalServerError:
		return !a.said // Talk itself says it before it posts
	case a.status/100 == 2:
		return a.isPage() && (bytes.Contains(a.body, []byte("error</b>: ")) || bytes.Contains(a.body, []byte("<b>Warning</b>: ")))
	}
	return false
}

// fromTalk reports whether a is the answer of Talk (or of Nextcloud's own
// checks before it) to a request that it understood and refused. All else is
// about the server, the network or what stands between, and not about the request.
func (a answer) fromTalk() bool {
	switch {
	case a.status/100 != 4, a.status == http.StatusTooManyRequests, a.status == http.StatusRequestTimeout:
		return false
	case a.said, a.status == http.StatusRequestEntityTooLarge:
		return true
	}
	_, stopped := a.gate()
	return !stopped && !a.isPage() && !a.wantsHTTPS()
}

// wantsHTTPS reports whether a web server says that it was asked without TLS:
// Apache and nginx in a page, Go in a line.
func (a answer) wantsHTTPS() bool {
	return a.status == http.StatusBadRequest &&
		(bytes.Contains(a.body, []byte("plain HTTP")) || bytes.Contains(a.body, []byte("HTTP request to an HTTPS server")))
}

// refusal returns what an answer means that is not what was asked for.
func (a answer) refusal() error {
	status := strconv.Itoa(a.status)
	host := a.base.Host
	e := &bridge.Error{Code: bridge.CodeUnavailable, Cause: a.cause()}
	before, stopped := a.gate()
	switch {
	case a.status == http.StatusTooManyRequests:
		e.Code = bridge.CodeThrottled
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"))
		e.Text = bridge.Say("%s takes no more requests from this address for now", host)
		e.Hint = bridge.Say("Nextcloud does so after several wrong signatures or tokens. Sending goes on by itself. To end it at once, on the server, with the address of this machine as IP: occ security:bruteforce:reset IP")
	case stopped:
		before.explain(e, host)
	case a.header.Get("Location") != "" && a.status/100 == 3:
		e.Text = bridge.Say("%[1]s sends us elsewhere: %[2]s", host, quote(a.header.Get("Location")))
		e.Hint = bridge.Say("Is base_url the address at which you open Nextcloud? Here it is %s", strconv.Quote(a.base.String()))
		if to, ok := a.elsewhere(); ok {
			e.Hint = bridge.Say("Set base_url to the address that Nextcloud really has: base_url = %s", strconv.Quote(to))
		}
	case a.status == http.StatusServiceUnavailable && a.header.Get("X-Nextcloud-Maintenance-Mode") == "1":
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"))
		e.Text = bridge.Say("%s is in maintenance mode", host)
		e.Hint = bridge.Say("Sending goes on by itself afterwards. If it was forgotten, on the server: occ maintenance:mode --off")
	case a.status >= http.StatusInternalServerError:
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"))
		e.Text = bridge.Say("%[1]s failed with status %[2]s", host, status)
		e.Hint = bridge.Say("Nextcloud's log says why. Talk also answers so where a bot writes to a conversation that does not exist.")
		if a.isPage() {
			e.Text = bridge.Say("%[1]s, or a proxy before it, failed with status %[2]s and a web page", host, status)
			e.Hint = bridge.Say("The log of the web server or proxy says why.")
		}
	case a.wantsHTTPS():
		e.Text = bridge.Say("%s expects https", host)
		e.Hint = bridge.Say("Set base_url to an address with https: base_url = %s", strconv.Quote("https://"+host+a.base.Path))
	case a.status == http.StatusBadRequest && (a.isPage() || a.isUntrusted()):
		e.Text = bridge.Say("Nextcloud does not answer to the name %s: it is not among its trusted domains", host)
		name := a.base.Hostname()
		if strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		e.Hint = bridge.Say("On the server, look at the list with: occ config:system:get trusted_domains. Then add the name with the next free number as N: occ config:system:set trusted_domains N --value=%s", name)
		if name != host {
			e.Hint = bridge.Say("On the server, look at the list with: occ config:system:get trusted_domains. Then add the name with the next free number as N: occ config:system:set trusted_domains N --value=%[1]s, or, to trust this port alone, --value=%[2]s", name, host)
		}
	case a.fromTalk():
		e.Code = bridge.CodeRejected
		e.Text = bridge.Say("%[1]s refused with status %[2]s", host, status)
		if a.status == http.StatusUnauthorized {
			e.Code = bridge.CodeUnauthorized
			e.Text = bridge.Say("%s refused the app token", host)
			e.Hint = newAppToken(a.token)
		}
	case a.status == http.StatusUnauthorized || a.status == http.StatusProxyAuthRequired:
		e.Code = bridge.CodeUnauthorized // whoever it is: asking again makes it worse
		e.Text = bridge.Say("Something before %s, perhaps a proxy, asks for a password", host)
		e.Hint = bridge.Say("Let the paths /ocs/ and /status.php pass without it. Then send what is waiting: perch retry")
	default:
		e.Text = bridge.Say("What answers at %[1]s, with status %[2]s, is not Nextcloud", host, status)
		if title := a.title(); title != "" {
			e.Text = bridge.Say("What answers at %[1]s, with status %[2]s, is not Nextcloud, but the page %[3]s", host, status, quote(title))
		}
		e.Hint = bridge.Say("Is base_url the address at which you open Nextcloud? Here it is %s", strconv.Quote(a.base.String()))
	}
	return e
}

// cause returns a for the log.
func (a answer) cause() error {
	return fmt.Errorf("status %d with %s", a.http, quote(string(a.body[:min(len(a.body), 1000)])))
}

// isPage reports whether a is a web page.
func (a answer) isPage() bool {
	return !a.said && (bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")) ||
		strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html"))
}

// elsewhere returns the base URL that a redirection speaks of: one at which the
// same path is asked for, or a whole server.
func (a answer) elsewhere() (string, bool) {
	u, ok := a.location()
	if !ok {
		return "", false
	}
	path, same := strings.CutSuffix(u.Path, a.path)
	if !same && (strings.Trim(path, "/") != "" || u.RawQuery != "") || u.Scheme != "https" && u.Scheme != "http" {
		return "", false
	}
	base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(strings.TrimSuffix(path, "/index.php"), "/")}
	return base.String(), base.String() != a.base.String()
}

// retryAfter reads the header of that name: seconds or a date. It returns 0 for
// anything else, and a day at most.
func retryAfter(s string) time.Duration {
	const most = 24 * time.Hour
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(s, 10, 64); err == nil {
		wait = time.Duration(min(seconds, uint64(most/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), most)
}

// newAppToken says what to do where the app token does not serve, or is not there.
func newAppToken(token bridge.Secret) bridge.Text {
	return bridge.Say("Create an app password in Nextcloud (Settings, Security), then: %s\nThen send what is waiting: perch retry").With(token.HowTo(bridge.AppToken))
}

// refusedBot returns what it means that Talk refused a reply of the bot, signed
// with secret.
func refusedBot(r bridge.Reply, a answer, secret bridge.Secret) error {
	e := &bridge.Error{Code: bridge.CodeRejected, Cause: a.cause()}
	switch status := a.status; {
	case status == http.StatusUnauthorized:
		e.Code = bridge.CodeUnauthorized
		e.Text = bridge.Say("Talk refused the signature of a reply to %s", r.Room.String())
		e.Hint = bridge.Say("Sending has stopped, lest Nextcloud block this address. Check on the server, the likeliest first: 1. Is the bot enabled in this conversation? occ talk:bot:list shows its BOT-ID; enable it with: occ talk:bot:setup BOT-ID %s 2. Is it the secret that the bot was installed with? If not: %s 3. Does the list show the bot switched on, with the feature response? If not: occ talk:bot:state -f webhook -f response BOT-ID 1. Then send what is waiting: perch retry", r.Room.Token).With(secret.HowTo(bridge.WebhookSecret))
	case status == http.StatusNotFound && r.Reaction == "":
		e.Text = bridge.Say("Talk knows no conversation %s in which the bot is enabled", r.Room.String())
		e.Hint = bridge.Say("occ talk:bot:list shows the bot's BOT-ID; enable it with: occ talk:bot:setup BOT-ID %s", r.Room.Token)
	case status == http.StatusForbidden:
		e.Text = bridge.Say("The bot may not write to %s", r.Room.String())
	default:
		refused(e, r, status)
	}
	return e
}

// refusedUser returns what it means that Talk refused a reply of the user whose
// app token it took.
func refusedUser(r bridge.Reply, a answer) error {
	e := &bridge.Error{Code: bridge.CodeRejected, Cause: a.cause()}
	switch status := a.status; {
	case status == http.StatusUnauthorized, status == http.StatusNotFound && r.Reaction == "":
		e.Text = bridge.Say("The user of the app token is not in the conversation %s, or it is gone", r.Room.String())
		e.Hint = bridge.Say("Add the user to the conversation, in its list of participants.")
	case status == http.StatusForbidden:
		e.Text = bridge.Say("The user of the app token may not write to %s", r.Room.String())
		e.Hint = bridge.Say("A moderator can give the permission, in the list of participants, or unlock the conversation.")
	case status == http.StatusPreconditionFailed:
		e.Text = bridge.Say("The user of the app token still waits in the lobby of %s", r.Room.String())
		e.Hint = bridge.Say("A moderator can open the lobby, or make the user a moderator.")
	default:
		refused(e, r, status)
	}
	return e
}

// refused fills in e where it is the reply that Talk does not like.
func refused(e *bridge.Error, r bridge.Reply, status int) {
	switch {
	case r.Reaction != "" && status == http.StatusNotFound:
		e.Text = bridge.Say("The message to react to, %[1]s in %[2]s, is not there (any more)", r.ReplyTo, r.Room.String())
	case r.Reaction != "" && status == http.StatusBadRequest:
		e.Text = bridge.Say("Talk does not take %[1]s as a reaction to message %[2]s: it must be a single emoji, and not every message takes one", quote(r.Reaction), r.ReplyTo)
	case status == http.StatusBadRequest && r.ReplyTo != "":
		e.Text = bridge.Say("Talk refused the reply (400): perhaps the message that it quotes, %s, is gone, or the reply is blank", r.ReplyTo)
		e.Hint = badRequest()
	case status == http.StatusBadRequest:
		e.Text = bridge.Say("Talk refused the message (400): perhaps it is blank")
		e.Hint = badRequest()
	case status == http.StatusRequestEntityTooLarge:
		e.Text = bridge.Say("The message is longer than the server takes")
		e.Hint = bridge.Say("The limit is chat.max-length in the capabilities of Talk, or that of a proxy before the server.")
	default:
		e.Text = bridge.Say("Talk refused the reply with status %s", strconv.Itoa(status))
	}
}

// badRequest tells what else 400 can mean.
func badRequest() bridge.Text {
	return bridge.Say("It may stand there all the same: Talk also answers so if it posted the message and something failed afterwards, its signaling server for one. Nextcloud's log says what.")
}

// unclearAnswer returns the error of a post that a says nothing of.
func unclearAnswer(a answer) error {
	return &bridge.Error{
		Code:  bridge.CodeUnclear,
		Text:  bridge.Say("The reply was sent, but %[1]s answered with status %[2]s; it may stand there", a.base.Host, strconv.Itoa(a.http)),
		Hint:  bridge.Say("A proxy before Nextcloud did not wait, or Nextcloud broke down: the log of the web server or proxy says why."),
		Cause: a.cause(),
	}
}

// unclear returns the error of a request that was sent, but not answered.
func unclear(cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeUnclear,
		Text:  bridge.Say("The reply was sent, but the server's answer did not come"),
		Cause: cause,
	}
}

// unreachable returns the error of a request that did not reach the server, or
// that changed nothing there.
func unreachable(base *url.URL, cause error) error {
	return neterr.Target{URL: base, Setting: "base_url", Table: "[channels_config.nextcloud_talk]"}.Explain(cause)
}
