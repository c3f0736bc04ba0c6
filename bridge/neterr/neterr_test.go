package neterr_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/neterr"
)

// explain asks address by way of proxy, and returns what is said of the failure.
func explain(t *testing.T, address, proxy string) *bridge.Error {
	t.Helper()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		t.Setenv(name, proxy)
		t.Setenv(strings.ToLower(name), "")
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	neterr.ThroughProxy(transport)
	defer transport.CloseIdleConnections()
	target := neterr.Target{URL: u, Setting: "url", Table: "[handler]"}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return target.Explain(err)
	}
	defer res.Body.Close()
	return &bridge.Error{Hint: target.Answered(res.StatusCode, bridge.Say("its own hint"))}
}

func TestProxies(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	dead := httptest.NewServer(nil)
	dead.Close()
	t.Cleanup(refuses.Close)
	for name, tt := range map[string]struct{ address, proxy, text, hint string }{
		"dead":                  {"http://models.lan/v1?p4ss", strings.Replace(dead.URL, "//", "//u:p4ss@", 1), "The proxy 127.0.0.1:", "HTTP_PROXY"},
		"dead, for https":       {"https://models.lan/v1", dead.URL, "on the way to models.lan", "HTTPS_PROXY"},
		"refuses":               {"http://models.lan/v1", refuses.URL, "", "NO_PROXY=models.lan"},
		"refuses, for https":    {"https://models.lan/v1", refuses.URL, "does not let the request through", "NO_PROXY=models.lan"},
		"not for this machine":  {refuses.URL, dead.URL, "", "its own hint"},
		"dead, of another kind": {"http://models.lan/v1", strings.Replace(dead.URL, "http", "socks5", 1), "The proxy 127.0.0.1:", "HTTP_PROXY"},
	} {
		t.Run(name, func(t *testing.T) {
			e := explain(t, tt.address, tt.proxy)
			if !strings.Contains(e.Text.String(), tt.text) || !strings.Contains(e.Hint.String(), tt.hint) || strings.Contains(e.Error()+e.Hint.String(), "p4ss") {
				t.Errorf("%v, hint %q", e, e.Hint)
			}
		})
	}
}
