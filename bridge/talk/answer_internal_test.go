package talk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"perch/bridge"
)

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
