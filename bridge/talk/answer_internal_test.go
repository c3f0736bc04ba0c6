package talk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"perch/bridge"
)

// Whatever a server answers, it is read without a panic, and means one thing: a
// post was taken, may have been taken, was refused, or something is wrong.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"ocs":{"meta":{"status":"failure","statuscode":404},"data":[]}}`, "\ufeff{ \"ocs\" : {}}",
		"<br />\n<b>Warning</b>: x in <b>y</b><br />{\"ocs\":{\"meta\":{},\"data\":{\"id\":1}}}", `"ocs" {"ocs" {"ocs":`,
		"<?xml version=\"1.0\"?><ocs><meta><status>ok</status><statuscode>200</statuscode></meta><data><element>1</element><a/></data></ocs>",
		"<ocs><meta><a><a><a><a><a>", "<html><head><title>Just a moment...</title></head></html>", "<title", "<TITLE>\xff&#0;</title>",
	} {
		f.Add(200, "", []byte(body))
		f.Add(404, "", []byte(body))
		f.Add(302, "https://auth.example.com/?rd=x", []byte(body))
	}
	base := &url.URL{Scheme: "https", Host: "cloud.example.com"}
	f.Fuzz(func(t *testing.T, status int, location string, body []byte) {
		header := http.Header{}
		if location != "" {
			header.Set("Location", location)
		}
		a := newAnswer(base, "/ocs/v2.php/x", status, header, body)
		if a.said && a.status/100 == 2 {
			var data any
			if raw, err := a.ocs(); err != nil || raw != nil && json.Unmarshal(raw, &data) != nil {
				t.Errorf("data %q, %v", raw, err)
			}
		} else if _, err := a.ocs(); bridge.TextOf(err).IsZero() {
			t.Errorf("no words for %d", status)
		}
		if a.taken() && a.lost() || a.taken() && a.fromTalk() || a.lost() && a.fromTalk() {
			t.Errorf("taken %t, lost %t, refused %t", a.taken(), a.lost(), a.fromTalk())
		}
		if to, ok := a.elsewhere(); ok {
			if u, err := parseBase(to); err != nil || u.Host == "" {
				t.Errorf("base_url %q: %v", to, err)
			}
		}
		e, ok := errors.AsType[*bridge.Error](a.refusal())
		if !ok || e.Text.IsZero() || len(e.Text.String()) > 2000 || !utf8.ValidString(e.Text.String()) {
			t.Errorf("refusal %v", e)
		}
	})
}

// TestUnreachableInWords has the failures of a network that loopback has not.
func TestUnreachableInWords(t *testing.T) {
	base := &url.URL{Scheme: "https", Host: "cloud.example.com"}
	tests := []struct {
		name       string
		cause      error
		text, hint string
	}{
		{"no such name", &net.DNSError{Name: "cloud.example.com", IsNotFound: true}, "no server by the name cloud.example.com", "base_url"},
		{"no resolver", &net.DNSError{Name: "cloud.example.com", IsTimeout: true}, "could not be looked up", "online"},
		{"proxy", &net.OpError{Op: "proxyconnect", Err: errors.New("refused")}, "proxy on the way", "HTTPS_PROXY"},
		{"proxy without a name", &net.OpError{Op: "proxyconnect", Err: &net.DNSError{IsNotFound: true}}, "proxy on the way", "HTTPS_PROXY"},
		{"timeout", context.DeadlineExceeded, "did not answer in time", "firewall"},
		{"another certificate error", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}}, "is not valid", ""},
		{"no TLS", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "encrypted connection", "port"},
		{"alert", tls.AlertError(40), "encrypted connection", "port"},
		{"name of an old certificate", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, "for another name", `""`},
		{"anything else", errors.New("broken"), "cannot be reached", "online"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cause := fmt.Errorf("in the transport: %w", tt.cause)
			err := unreachable(base, cause)
			e, ok := errors.AsType[*bridge.Error](err)
			if !ok || e.Code != bridge.CodeUnavailable || !errors.Is(err, cause) ||
				!strings.Contains(e.Text.String(), tt.text) || !strings.Contains(e.Hint.String(), tt.hint) {
				t.Errorf("got %s, %q, %q", e.Code, e.Text, e.Hint)
			}
		})
	}
}
