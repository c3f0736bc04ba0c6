package handler

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"perch/bridge"
	"perch/bridge/neterr"
)

const (
	// connectTimeout bounds each part of connecting: the name and the
	// connection, and the agreement on TLS.
	connectTimeout = 10 * time.Second
	// diagnoseTimeout bounds a whole diagnosis.
	diagnoseTimeout = 4 * time.Second
	// maxRedirects is how many redirections are followed.
	maxRedirects = 3
	// maxStart is how much is shown of what came back, in characters.
	maxStart = 200
)

// endpoint is an address that messages are posted to. Nothing that it says
// repeats more of the address than host and port: the rest can be a secret.
type endpoint struct {
	url   *url.URL
	key   string // of the settings that holds the address: "url"
	table string // where that stands: "[handlers.house]"
	tls   *tls.Config
}

// newEndpoint returns the endpoint of a handler's setting url. The name is that
// of the handler, as in [handlers.<name>]; a nil roots stands for the
// authorities that the system trusts.
func newEndpoint(address, name string, roots *x509.CertPool) (endpoint, error) {
	e := endpoint{key: "url", table: "[handler]", tls: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	if name != "" {
		e.table = "[handlers." + name + "]"
	}
	var err error
	e.url, err = url.Parse(strings.TrimSpace(address))
	if err != nil || e.url.Scheme != "http" && e.url.Scheme != "https" || e.url.Hostname() == "" {
		return endpoint{}, &bridge.Error{ // without err, which repeats the address
			Code: bridge.CodeInvalid,
			Text: bridge.Say("url in %s is not the address of a web hook", e.table),
			Hint: bridge.Say("Set it to an address that begins with http:// or https://, such as %s", `url = "http://127.0.0.1:5678/webhook/talk"`),
		}
	}
	return e, nil
}

// response is what came back for a request.
type response struct {
	status int
	header http.Header
	body   []byte // in UTF-8, if it is text
	err    error  // why the body is not complete: an error of reading, or errTooLong
}

// errTooLong says that an answer has more bytes than are read.
var errTooLong = errors.New("the answer is too long")

// post sends a request and reads limit bytes of the answer at most. The error
// means that no answer came. Nothing is sent twice: each request has a
// connection of its own, so that none is written into one that the other side
// is about to close.
func (e endpoint) post(ctx context.Context, header http.Header, body []byte, limit int64) (response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(body))
	if err != nil {
		return response{}, &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The request could not be made"), Cause: withoutURL(err)}
	}
	req.Header = header
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:        e.tls,
		TLSHandshakeTimeout:    connectTimeout,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	neterr.ThroughProxy(transport)
	client := http.Client{CheckRedirect: mayFollow, Transport: transport}
	resp, err := client.Do(req)
	if err != nil {
		return response{}, e.unreachable(err)
	}
	defer resp.Body.Close()
	a := response{status: resp.StatusCode, header: resp.Header}
	a.body, a.err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if int64(len(a.body)) > limit {
		a.body, a.err = a.body[:limit], errTooLong
	}
	a.body = inUTF8(resp.Header.Get("Content-Type"), a.body, a.err == nil)
	return a, nil
}

// inUTF8 returns a body in UTF-8. How it is written says its byte order mark,
// else the charset in its content type. What says nothing is UTF-8, or if it is
// whole and cannot be that, Windows-1252, as browsers take it.
func inUTF8(contentType string, body []byte, whole bool) []byte {
	_, parameters, _ := mime.ParseMediaType(contentType)
	written, err := htmlindex.Get(strings.Trim(parameters["charset"], "'"))
	switch {
	case err == nil:
	case whole && !utf8.Valid(body):
		written = charmap.Windows1252
	default:
		written = encoding.Nop
	}
	decoded, _, err := transform.Bytes(unicode.BOMOverride(written.NewDecoder()), body)
	if err != nil { // no decoder of these says so
		return body
	}
	return decoded
}

// mayFollow lets a redirection pass that keeps the request a POST of the same
// body to the same host and port, or to the same host with https in place of
// http. Nobody else is shown the token, the signature and the message.
func mayFollow(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	upgraded := from.Scheme == "http" && to.Scheme == "https" && from.Hostname() == to.Hostname()
	same := from.Scheme == to.Scheme && from.Host == to.Host
	if req.Method != http.MethodPost || !same && !upgraded || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

// start returns the beginning of a text, to be shown.
func start(text []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(text), "\ufffd"))
	n := 0
	for i := range s {
		if n == maxStart {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// refused returns what it means that the answer is no success. The hint is not
// set for CodeUnauthorized (401, 403) and CodeNotFound (404, 410). With
// CodeUnavailable and CodeThrottled it may help to try again, after RetryAfter.
func (e endpoint) refused(a response) *bridge.Error {
	host, status := e.url.Host, strconv.Itoa(a.status)
	failure := &bridge.Error{
		Code:       bridge.CodeInvalid,
		Text:       bridge.Say("%[1]s refused with status %[2]s", host, status),
		Cause:      fmt.Errorf("status %d with %q", a.status, start(a.body)),
		RetryAfter: retryHeader(a.header.Get("Retry-After")),
	}
	switch {
	case a.status/100 == 3:
		failure.Text = bridge.Say("%[1]s sends us elsewhere: %[2]s", host, e.elsewhere(a))
		failure.Hint = bridge.Say("Set url in %s to the address that it has in the end. What it sends us to, with your address as URL: curl -si -X POST URL", e.table)
		failure.Cause = fmt.Errorf("status %d", a.status)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		failure.Code = bridge.CodeUnauthorized
	case a.status == http.StatusNotFound, a.status == http.StatusGone:
		failure.Code = bridge.CodeNotFound
		failure.Text = bridge.Say("%[1]s has nothing at the path in url (%[2]s)", host, status)
	case a.status == http.StatusMethodNotAllowed:
		failure.Text = bridge.Say("%[1]s takes no POST at the path in url (%[2]s)", host, status)
		failure.Hint = bridge.Say("Let it take POST there, or correct url in %s.", e.table)
	case a.status == http.StatusRequestEntityTooLarge:
		failure.Text = bridge.Say("The message is larger than %[1]s takes (%[2]s)", host, status)
		failure.Hint = bridge.Say("Raise the limit there for the size of a request.")
	case a.status == http.StatusTooManyRequests:
		failure.Code = bridge.CodeThrottled
		failure.Text = bridge.Say("%[1]s takes no more requests for now (%[2]s)", host, status)
	case a.status >= http.StatusInternalServerError, a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly:
		failure.Code = bridge.CodeUnavailable
		failure.Text = bridge.Say("%[1]s failed with status %[2]s", host, status)
		failure.Hint = bridge.Say("Its own log says why.")
	}
	failure.Hint = e.target().Answered(a.status, failure.Hint)
	return failure
}

// elsewhere returns where a redirection points to, without path and question.
func (e endpoint) elsewhere(a response) string {
	u, err := e.url.Parse(a.header.Get("Location"))
	if err != nil || u.Host == "" {
		return "?"
	}
	return u.Scheme + "://" + u.Host
}

// retryHeader reads the header of that name: seconds or a date. It returns 0 for
// anything else, and a day at most.
func retryHeader(s string) time.Duration {
	const most = 24 * time.Hour
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(s, 10, 64); err == nil {
		wait = time.Duration(min(seconds, uint64(most/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), most)
}

// withoutURL takes the address off an error of net/http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (e endpoint) target() neterr.Target {
	return neterr.Target{URL: e.url, Setting: e.key, Table: e.table}
}

// unreachable returns the error of a request that got no answer, of
// CodeUnavailable.
func (e endpoint) unreachable(cause error) *bridge.Error {
	failure := e.target().Explain(cause)
	if neterr.KindOf(cause) == neterr.Timeout && neterr.Proxy(e.url) == nil {
		failure.Hint = bridge.Say("If it needs longer, set a longer timeout in %s. If it never answers: does what runs there end with an answer?", e.table)
	}
	return failure
}

// diagnose connects to the endpoint, or to the proxy on the way, and sends
// nothing. A failure tells why the connection matters.
func (e endpoint) diagnose(ctx context.Context, why bridge.Text) bridge.Result {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	if proxy := neterr.Proxy(e.url); proxy != nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address(proxy))
		if err != nil {
			return bridge.FailedBy(e.unreachable(&net.OpError{Op: "proxyconnect", Err: err}), why)
		}
		_ = conn.Close()
		return bridge.Passed(bridge.Say("the proxy %[1]s takes connections; what is behind it, %[2]s, was not looked at", proxy.Host, e.url.Host))
	}
	if e.url.Scheme == "http" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address(e.url))
		if err != nil {
			return bridge.FailedBy(e.unreachable(err), why)
		}
		_ = conn.Close()
		return bridge.Passed(bridge.Say("%s takes connections", e.url.Host))
	}
	conn, err := (&tls.Dialer{Config: e.tls}).DialContext(ctx, "tcp", address(e.url))
	if err != nil {
		return bridge.FailedBy(e.unreachable(err), why)
	}
	defer conn.Close()
	until := ""
	if secure, ok := conn.(*tls.Conn); ok {
		until = secure.ConnectionState().PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly)
	}
	return bridge.Passed(bridge.Say("%[1]s takes connections; its certificate is valid until %[2]s", e.url.Host, until))
}

// address returns the host and port of u.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
