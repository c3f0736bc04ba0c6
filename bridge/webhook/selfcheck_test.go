package webhook_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/talk"
	"perch/bridge/webhook"
)

// listen puts a handler behind a real port and returns the webhook's address.
func listen(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL + "/nextcloud-talk"
}

func probe(t *testing.T) webhook.Probe {
	t.Helper()
	client := &http.Transport{}
	t.Cleanup(client.CloseIdleConnections)
	return webhook.Probe{Sign: talk.Sign, Secret: bridge.NewSecret(key), Client: client}
}

func selfCheckBody(at time.Time) string {
	return `{"type":"PerchSelfCheck","sent":` + strconv.FormatInt(at.Unix(), 10) + `}`
}

// Who has the secret learns which process answers; nothing is stored or logged.
func TestSelfCheck(t *testing.T) {
	for _, required := range []bool{true, false} {
		f := newFixture()
		f.settings.RequireSignature = required
		url := listen(t, f.handler)
		answer, err := probe(t).Ask(t.Context(), url, false)
		if err != nil || answer.Instance != "this-process" || answer.Status != http.StatusOK {
			t.Errorf("%+v, error %v", answer, err)
		}
		answer, err = probe(t).Ask(t.Context(), url, true)
		if err != nil || answer.Instance != "" || answer.Status != http.StatusUnauthorized {
			t.Errorf("tampered: %+v, error %v", answer, err)
		}
		if len(f.accepted)+len(f.events)+f.decoded != 0 {
			t.Errorf("accepted %v, events %v, decoded %d", f.accepted, f.events, f.decoded)
		}
	}
}

// A stranger learns nothing, and is logged and counted as anybody else whose
// signature is wrong.
func TestSelfCheckTellsStrangersNothing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *http.Request)
		body   string
		status int
		events int
	}{
		"another secret": {func(r *http.Request) {
			r.Header.Set(webhook.HeaderSignature, talk.Sign(bridge.NewSecret("other"), random, selfCheckBody(time.Now())))
		}, selfCheckBody(time.Now()), http.StatusUnauthorized, 1},
		"says that it is tampered with": {func(r *http.Request) {
			r.Header.Set(webhook.HeaderSignature, "00")
			r.Header.Set("X-Perch-Tampered", talk.Sign(bridge.NewSecret("other"), random, "X-Perch-Tampered"))
		}, selfCheckBody(time.Now()), http.StatusUnauthorized, 1},
		"overheard long ago": {func(*http.Request) {}, selfCheckBody(time.Now().Add(-time.Hour)), http.StatusBadRequest, 0},
		"of the future":      {func(*http.Request) {}, selfCheckBody(time.Now().Add(time.Hour)), http.StatusBadRequest, 0},
		"cut":                {func(*http.Request) {}, `{"type":"PerchSelfCheck","sent":`, http.StatusBadRequest, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture()
			r := request(test.body)
			test.change(r)
			w := f.do(r)
			if w.Code != test.status || len(f.events) != test.events || len(f.accepted) != 0 {
				t.Errorf("status %d, events %v", w.Code, f.events)
			}
			if strings.Contains(w.Body.String(), "this-process") {
				t.Errorf("it answers %s", w.Body)
			}
		})
	}
	f := newFixture()
	f.settings.HasSecret, f.key = false, ""
	f.settings.RequireSignature = false
	if w := f.do(request(selfCheckBody(time.Now()))); w.Code == http.StatusOK {
		t.Errorf("without a secret it answers %s", w.Body)
	}
}

// An answer without a proof over our nonce, or with an old one, is none.
func TestSelfCheckNeedsProof(t *testing.T) {
	var old string
	forge := func(proof func(r *http.Request) string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = json.NewEncoder(w).Encode(map[string]string{"instance": "this-process", "proof": proof(r)})
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for name, url := range map[string]string{
		"none":          forge(func(*http.Request) string { return "" }),
		"our signature": forge(func(r *http.Request) string { return r.Header.Get(webhook.HeaderSignature) }),
		"another secret": forge(func(r *http.Request) string {
			return talk.Sign(bridge.NewSecret("other"), r.Header.Get(webhook.HeaderRandom), "perch self-check of this-process")
		}),
		"replayed": forge(func(r *http.Request) string {
			if old == "" {
				old = talk.Sign(bridge.NewSecret(key), r.Header.Get(webhook.HeaderRandom)+"0", "perch self-check of this-process")
			}
			return old
		}),
	} {
		if answer, err := probe(t).Ask(t.Context(), url, false); err != nil || answer.Instance != "" {
			t.Errorf("%s: %+v, error %v", name, answer, err)
		}
	}
	right := forge(func(r *http.Request) string {
		return talk.Sign(bridge.NewSecret(key), r.Header.Get(webhook.HeaderRandom), "perch self-check of this-process")
	})
	if answer, err := probe(t).Ask(t.Context(), right, false); err != nil || answer.Instance != "this-process" {
		t.Errorf("%+v, error %v", answer, err)
	}
}

// A listener that lets tampered posts pass is found out.
func TestSelfPostFindsAListenerThatBelievesAll(t *testing.T) {
	url := listen(t, webhook.New(webhook.Options{Source: credulous{newFixture()}, Instance: "x", Sink: newFixture()}))
	r := probe(t).DiagnoseSelfPost(t.Context(), url, true, "config.toml")
	if r.Status != bridge.StatusFail || !strings.Contains(r.Seen.String(), "a tampered post was not refused") {
		t.Errorf("%s: %s", r.Status, r.Seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := probe(t).DiagnoseSelfPost(ctx, url, true, "config.toml"); r.Status != bridge.StatusFail {
		t.Errorf("%s: %s", r.Status, r.Seen)
	}
}

// credulous believes every signature.
type credulous struct{ *fixture }

func (c credulous) Current() webhook.Receiver { return c }

func (credulous) Verify(string, []byte, string) bool { return true }
