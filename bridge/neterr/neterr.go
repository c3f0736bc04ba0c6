// Package neterr says, in words for a person, why a request got no answer. It is
// the one judgement of that for all that speak over the network.
package neterr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/http/httpproxy"

	"perch/bridge"
)

// Kind is why a request got no answer.
type Kind int

// The kinds.
const (
	Other          Kind = iota
	GivenUp             // by us
	NoName              // there is no such name
	NoLookup            // no name server answered
	DeadProxy           // the proxy on the way takes no connection
	ProxyRefused        // the proxy on the way lets nothing through to there
	UnknownIssuer       // of the certificate
	WrongName           // in the certificate
	Expired             // the certificate has, or is not valid yet
	BadCertificate      // in another way
	NoTLS               // http answers where https was asked for
	BadTLS              // something else does, or there is no agreement
	Refused             // nobody listens there
	Timeout             // no answer in time
	BrokenOff           // the connection ended before the answer
)

// KindOf returns the kind of an error of net/http, net or crypto/tls.
func KindOf(cause error) Kind {
	dns, isDNS := errors.AsType[*net.DNSError](cause)
	operation, isOperation := errors.AsType[*net.OpError](cause)
	_, isProxy := errors.AsType[proxyError](cause)
	_, isWrongName := errors.AsType[x509.HostnameError](cause)
	certificate, isCertificate := errors.AsType[x509.CertificateInvalidError](cause)
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](cause)
	_, isVerification := errors.AsType[*tls.CertificateVerificationError](cause)
	handshake, isHandshake := errors.AsType[tls.RecordHeaderError](cause)
	_, isAlert := errors.AsType[tls.AlertError](cause)
	timeout, isNet := errors.AsType[net.Error](cause)
	switch {
	case errors.Is(cause, context.Canceled):
		return GivenUp
	case isOperation && operation.Op == "proxyconnect":
		return DeadProxy
	case isProxy, isOperation && strings.HasPrefix(operation.Op, "socks "):
		return ProxyRefused
	case isDNS && dns.IsNotFound:
		return NoName
	case isDNS:
		return NoLookup
	case isUnknown:
		return UnknownIssuer
	case isWrongName:
		return WrongName
	case isCertificate && certificate.Reason == x509.Expired:
		return Expired
	case isVerification:
		return BadCertificate
	case errors.Is(cause, http.ErrSchemeMismatch), isHandshake && string(handshake.RecordHeader[:]) == "HTTP/":
		return NoTLS
	case isHandshake, isAlert:
		return BadTLS
	case errors.Is(cause, syscall.ECONNREFUSED):
		return Refused
	case isNet && timeout.Timeout():
		return Timeout
	case errors.Is(cause, io.EOF), errors.Is(cause, io.ErrUnexpectedEOF), errors.Is(cause, syscall.ECONNRESET), errors.Is(cause, syscall.EPIPE):
		return BrokenOff
	default:
		return Other
	}
}

// Target is an address of the settings that a request went to.
type Target struct {
	URL     *url.URL // of which nothing but host and port is repeated
	Setting string   // that holds it: "url"
	Table   string   // of that setting: "[handler]"
}

// Explain returns cause as an error of CodeUnavailable.
func (t Target) Explain(cause error) *bridge.Error {
	if e, ok := errors.AsType[*url.Error](cause); ok {
		cause = e.Err // without the address, in which there can be secrets
	}
	host := t.URL.Host
	e := &bridge.Error{Code: bridge.CodeUnavailable, Cause: cause}
	switch KindOf(cause) {
	case GivenUp:
		e.Text = bridge.Say("The request to %s was given up", host)
	case DeadProxy:
		e.Text = bridge.Say("The proxy on the way to %s cannot be reached", host)
		e.Hint = bridge.Say("Check the environment variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY.")
		if proxy := Proxy(t.URL); proxy != nil {
			e.Text = bridge.Say("The proxy %[1]s on the way to %[2]s cannot be reached", proxy.Host, host)
			e.Hint = t.proxyHint()
		}
	case ProxyRefused:
		e.Text = bridge.Say("The proxy on the way to %s does not let the request through", host)
		e.Hint = t.proxyHint()
	case NoName:
		dns, _ := errors.AsType[*net.DNSError](cause)
		e.Text = bridge.Say("There is no server by the name %s", dns.Name)
		e.Hint = bridge.Say("Check %[1]s in %[2]s, and whether this machine is online.", t.Setting, t.Table)
	case NoLookup:
		dns, _ := errors.AsType[*net.DNSError](cause)
		e.Text = bridge.Say("The name %s could not be looked up", dns.Name)
		e.Hint = bridge.Say("Is this machine online?")
	case UnknownIssuer:
		e.Text = bridge.Say("The certificate of %s is signed by nobody that this machine knows", host)
		e.Hint = bridge.Say("If it is one of your own, save it (or that of its authority) in PEM form and set in [channels_config.nextcloud_talk]: ca_file = FILE. Several can stand in one file.")
	case WrongName:
		wrong, _ := errors.AsType[x509.HostnameError](cause)
		e.Text = bridge.Say("The certificate at %s is for another name", host)
		e.Hint = bridge.Say("Set %[1]s in %[2]s to an address with a name in the certificate: %[3]s", t.Setting, t.Table, NamesOf(wrong.Certificate))
	case Expired:
		e.Text = bridge.Say("The certificate of %s has expired, or is not valid yet", host)
		e.Hint = bridge.Say("Renew it on the server. Is the clock of this machine right?")
	case BadCertificate:
		e.Text = bridge.Say("The certificate of %s is not valid", host)
	case NoTLS:
		e.Text = bridge.Say("%s does not speak https", host)
		e.Hint = bridge.Say("If there is no https, let %[1]s in %[2]s begin with http:// instead.", t.Setting, t.Table)
	case BadTLS:
		e.Text = bridge.Say("%s does not agree on an encrypted connection", host)
		e.Hint = bridge.Say("Is the port of %[1]s in %[2]s that of https?", t.Setting, t.Table)
	case Refused:
		e.Text = bridge.Say("%s refuses connections: no server is listening there", host)
		e.Hint = bridge.Say("Is the program started, and are name and port of %[1]s in %[2]s right?", t.Setting, t.Table)
	case Timeout:
		e.Text = bridge.Say("%s did not answer in time", host)
		e.Hint = t.throughProxy(bridge.Say("Is the server running, and does a firewall let this machine through?"))
	case BrokenOff:
		e.Text = bridge.Say("%s broke the connection off before it had answered", host)
		e.Hint = t.throughProxy(bridge.Say("Is %[1]s in %[2]s right? The log of the server there says more.", t.Setting, t.Table))
	default:
		e.Text = bridge.Say("%s cannot be reached", host)
		e.Hint = t.throughProxy(bridge.Say("Is this machine online, and is %[1]s in %[2]s right?", t.Setting, t.Table))
	}
	return e
}

// Answered returns hint, or one that names the proxy on the way, if it is likely
// to be the proxy that answered with this status.
func (t Target) Answered(status int, hint bridge.Text) bridge.Text {
	switch status {
	case http.StatusProxyAuthRequired, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusForbidden:
		if t.URL.Scheme == "http" { // else it sees a tunnel, and its refusal is an error
			return t.throughProxy(hint)
		}
	}
	return hint
}

// throughProxy returns hint, or where a proxy is on the way, that.
func (t Target) throughProxy(hint bridge.Text) bridge.Text {
	if Proxy(t.URL) != nil {
		return t.proxyHint()
	}
	return hint
}

func (t Target) proxyHint() bridge.Text {
	name := "HTTP_PROXY"
	if t.URL.Scheme == "https" {
		name = "HTTPS_PROXY"
	}
	return bridge.Say("Requests to %[1]s go through a proxy, as the environment variable %[2]s says. Correct it, or go there directly: NO_PROXY=%[1]s", t.URL.Hostname(), name)
}

// Proxy returns the proxy that the environment names for an address; nil: there
// is none, as for this machine itself.
func Proxy(u *url.URL) *url.URL {
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(u)
	if err != nil {
		return nil
	}
	return proxy
}

// ThroughProxy makes t use the proxies of the environment, so that Explain knows
// what they say.
func ThroughProxy(t *http.Transport) {
	t.Proxy = func(req *http.Request) (*url.URL, error) { return httpproxy.FromEnvironment().ProxyFunc()(req.URL) }
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
		if res.StatusCode != http.StatusOK {
			return proxyError(res.StatusCode)
		}
		return nil
	}
}

// proxyError is the status with which a proxy refused.
type proxyError int

func (e proxyError) Error() string { return "the proxy answered with status " + strconv.Itoa(int(e)) }

// NamesOf returns the names that a certificate is for.
func NamesOf(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return strconv.Quote(c.Subject.CommonName)
	}
	const most = 5
	return strings.Join(names[:min(len(names), most)], ", ")
}
