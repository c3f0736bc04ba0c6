package talk_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/talk"
)

const appToken = "app-password-of-alice"

// exchange is a recorded request and the answer of a real server.
type exchange struct {
	Request struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Headers map[string]string `json:"headers"`
		Body    *string           `json:"body"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	} `json:"response"`
}

func recorded(t *testing.T, name string) exchange {
	t.Helper()
	var e exchange
	readJSON(t, filepath.Join("testdata", "ocs", name+".json"), &e)
	return e
}

func (e exchange) answer(w http.ResponseWriter) {
	for name, value := range e.Response.Headers {
		if name != "Content-Length" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(e.Response.Status)
	_, _ = io.WriteString(w, e.Response.Body)
}

// check compares a request with the recorded one.
func (e exchange) check(t *testing.T, r *http.Request, body []byte) {
	t.Helper()
	if r.Method != e.Request.Method || r.RequestURI != e.Request.Path {
		t.Errorf("asked %s %s, recorded %s %s", r.Method, r.RequestURI, e.Request.Method, e.Request.Path)
	}
	for _, name := range []string{"OCS-APIRequest", "Accept", "Content-Type"} {
		if got, want := r.Header.Get(name), e.Request.Headers[name]; got != want && want != "" {
			t.Errorf("%s is %q, recorded %q", name, got, want)
		}
	}
	want := ""
	if strings.HasPrefix(e.Request.Headers["Authorization"], "Bearer ") {
		want = "Bearer " + appToken
	}
	if got := r.Header.Get("Authorization"); got != want {
		t.Errorf("Authorization is %q, want %q", got, want)
	}
	if _, ok := e.Request.Headers["X-Nextcloud-Talk-Bot-Signature"]; ok {
		checkSigned(t, r, body)
	}
	if e.Request.Body == nil || strings.Contains(*e.Request.Body, "(32001 characters)") {
		return
	}
	var got, recorded any
	if err := errors.Join(json.Unmarshal(body, &got), json.Unmarshal([]byte(*e.Request.Body), &recorded)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(recorded, got); diff != "" {
		t.Errorf("the body differs (-recorded +got):\n%s", diff)
	}
}

// checkSigned checks the signature of a request by the bot as the server does.
func checkSigned(t *testing.T, r *http.Request, body []byte) {
	t.Helper()
	var sent struct{ Message, Reaction string }
	if err := json.Unmarshal(body, &sent); err != nil {
		t.Error(err)
	}
	random := r.Header.Get("X-Nextcloud-Talk-Bot-Random")
	mac := hmac.New(sha256.New, []byte(recordedSecret(t).Reveal()))
	_, _ = io.WriteString(mac, random+sent.Message+sent.Reaction)
	if got := r.Header.Get("X-Nextcloud-Talk-Bot-Signature"); got != hex.EncodeToString(mac.Sum(nil)) || len(random) != 64 {
		t.Errorf("random %q, signature %q", random, got)
	}
}

// serve starts a server that answers as told, and fails the test for a request
// whose path starts with no key.
func serve(t *testing.T, handlers map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for path, handle := range handlers {
			if strings.HasPrefix(r.URL.Path, path) {
				handle(w, r)
				return
			}
		}
		t.Errorf("unexpected %s %s", r.Method, r.RequestURI)
	}))
	t.Cleanup(s.Close)
	return s
}

// always answers every request in the same way.
func always(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const (
	refusedJSON = `{"ocs":{"meta":{"status":"failure","statuscode":400,"message":""},"data":null}}`
	page        = `<!DOCTYPE html><html><body>A page</body></html>`
)

func options(t *testing.T, baseURL, replyAs string) talk.Options {
	t.Helper()
	return talk.Options{
		BaseURL:   baseURL,
		Secret:    recordedSecret(t),
		AppToken:  bridge.NewSecret(appToken),
		ReplyAs:   replyAs,
		UserAgent: "Perch/test",
	}
}

func newClient(t *testing.T, o talk.Options) *talk.Client {
	t.Helper()
	c, err := talk.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// wantError checks an error: its code, and what its text and hint speak of.
func wantError(t *testing.T, err error, code bridge.Code, inText, inHint string) {
	t.Helper()
	e, ok := errors.AsType[*bridge.Error](err)
	if !ok {
		t.Fatalf("the error is %v, want %s", err, code)
	}
	if e.Code != code {
		t.Errorf("the code is %s, want %s (%v)", e.Code, code, err)
	}
	if !strings.Contains(e.Text.String(), inText) {
		t.Errorf("the text is %q, want %q in it", e.Text, inText)
	}
	if !strings.Contains(e.Hint.String(), inHint) || inHint == "" && !e.Hint.IsZero() {
		t.Errorf("the hint is %q, want %q in it", e.Hint, inHint)
	}
	for _, s := range []string{e.Text.String(), e.Hint.String(), err.Error()} {
		if strings.Contains(s, "%!") || strings.Contains(s, appToken) || strings.Contains(s, recordedSecret(t).Reveal()) {
			t.Errorf("a bad format or a secret in %q", s)
		}
	}
}

// kitchen is the room of the recordings.
func kitchen() bridge.Room { return bridge.Room{Token: "knzaftd5", Name: "Kitchen"} }

func TestSendAsRecorded(t *testing.T) {
	long := strings.Repeat("x", 32001)
	eyes := bridge.Reply{Room: kitchen(), ReplyTo: "3", Reaction: "👀"}
	tests := []struct {
		recording string
		reply     bridge.Reply
		id        string
		code      bridge.Code
		text      string
		hint      string
	}{
		{
			recording: "bot_message",
			reply: bridge.Reply{
				Room: kitchen(), Text: "hello from the bot", ReplyTo: "3", Silent: true,
				Ref: "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
			},
		},
		{recording: "bot_message_bad_reply_to", reply: bridge.Reply{Room: kitchen(), Text: "x", ReplyTo: "99999"}, code: bridge.CodeRejected, text: "quotes, 99999, is gone", hint: "may stand there"},
		{recording: "bot_message_empty", reply: bridge.Reply{Room: kitchen(), Text: "  "}, code: bridge.CodeRejected, text: "blank", hint: "Nextcloud's log"},
		{recording: "bot_message_maintenance", reply: bridge.Reply{Room: kitchen(), Text: "x"}, code: bridge.CodeUnavailable, text: "maintenance", hint: "occ maintenance:mode --off"},
		{recording: "bot_message_throttled", reply: eyes, code: bridge.CodeThrottled, text: "no more requests", hint: "occ security:bruteforce:reset IP"},
		{recording: "bot_message_too_long", reply: bridge.Reply{Room: kitchen(), Text: long}, code: bridge.CodeRejected, text: "longer", hint: "chat.max-length"},
		{recording: "bot_message_unknown_room", reply: bridge.Reply{Room: bridge.Room{Token: "nosuchroom"}, Text: "x"}, code: bridge.CodeUnavailable, text: "500", hint: "does not exist"},
		{recording: "bot_message_wrong_secret", reply: bridge.Reply{Room: kitchen(), Text: "z"}, code: bridge.CodeUnauthorized, text: "signature of a reply to Kitchen", hint: "occ talk:bot:setup BOT-ID knzaftd5"},
		{recording: "bot_message_signed_over_body", reply: bridge.Reply{Room: kitchen(), Text: "y"}, code: bridge.CodeUnauthorized, text: "signature", hint: "perch secret set webhook_secret"},
		{recording: "bot_reaction", reply: eyes},
		{recording: "bot_reaction_again", reply: eyes},
		{recording: "bot_reaction_delete", reply: bridge.Reply{Room: kitchen(), ReplyTo: "3", Reaction: "👀", Remove: true}},
		{recording: "bot_reaction_not_emoji", reply: bridge.Reply{Room: kitchen(), ReplyTo: "3", Reaction: "abc"}, code: bridge.CodeRejected, text: `"abc" as a reaction`},
		{recording: "bot_reaction_unknown_message", reply: bridge.Reply{Room: kitchen(), ReplyTo: "99999", Reaction: "👀"}, code: bridge.CodeRejected, text: "99999 in Kitchen, is not there"},
		{
			recording: "chat_post_app_token", id: "31",
			reply: bridge.Reply{Room: kitchen(), Text: "posted as the user", Ref: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"},
		},
		{recording: "chat_post_too_long", reply: bridge.Reply{Room: kitchen(), Text: long}, code: bridge.CodeRejected, text: "longer", hint: "chat.max-length"},
	}
	for _, tt := range tests {
		t.Run(tt.recording, func(t *testing.T) {
			e := recorded(t, tt.recording)
			requests := 0
			s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
				requests++
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				e.check(t, r, body)
				if got := r.Header.Get("User-Agent"); got != "Perch/test" {
					t.Errorf("User-Agent is %q", got)
				}
				e.answer(w)
			}})
			replyAs := talk.ReplyAsBot
			if strings.HasPrefix(tt.recording, "chat_") {
				replyAs = talk.ReplyAsUser
			}
			id, err := newClient(t, options(t, s.URL, replyAs)).Send(t.Context(), tt.reply)
			if id != tt.id || requests != 1 {
				t.Errorf("id %q after %d requests, want %q after 1", id, requests, tt.id)
			}
			if tt.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tt.code, tt.text, tt.hint)
		})
	}
}

// TestRecordedBotSignatures proves what a bot signs: the text or emoji alone.
func TestRecordedBotSignatures(t *testing.T) {
	signed := map[string]string{
		"bot_message": "hello from the bot", "bot_message_empty": "  ", "bot_reaction": "👀",
		"bot_reaction_delete": "👀", "bot_message_signed_over_body": `{"message": "y"}`,
	}
	for name, text := range signed {
		h := recorded(t, name).Request.Headers
		if got := talk.Sign(recordedSecret(t), h["X-Nextcloud-Talk-Bot-Random"], text); got != h["X-Nextcloud-Talk-Bot-Signature"] {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestUnauthorizedNamesEveryCause(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		recorded(t, "bot_message_wrong_secret").answer(w)
	}})
	_, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"})
	hint := bridge.HintOf(err).String()
	for _, part := range []string{
		"Sending has stopped", "occ talk:bot:list", "occ talk:bot:setup BOT-ID knzaftd5",
		"perch secret set webhook_secret", "-f response", "perch retry",
	} {
		i := strings.Index(hint, part)
		if i < 0 {
			t.Fatalf("%q does not come, in its turn, in the hint", part)
		}
		hint = hint[i:]
	}
}

// TestSentJSON says what goes into a message, and what not.
func TestSentJSON(t *testing.T) {
	tests := []struct {
		name  string
		reply bridge.Reply
		want  string
	}{
		{"all", bridge.Reply{Text: "a", ReplyTo: "7", Ref: "r", Silent: true}, `{"message":"a","replyTo":7,"referenceId":"r","silent":true}`},
		{"text", bridge.Reply{Text: "a"}, `{"message":"a"}`},
		{"derived id", bridge.Reply{Text: "a", ReplyTo: "derived-12"}, `{"message":"a"}`},
		{"negative id", bridge.Reply{Text: "a", ReplyTo: "-7"}, `{"message":"a"}`},
		{"zero", bridge.Reply{Text: "a", ReplyTo: "0"}, `{"message":"a"}`},
		{"too large an id", bridge.Reply{Text: "a", ReplyTo: "99999999999999999999"}, `{"message":"a"}`},
		{"HTML and controls", bridge.Reply{Text: "<b>&\u2028\x00"}, `{"message":"<b>&\u2028\u0000"}`},
		{"invalid UTF-8", bridge.Reply{Text: "a\xffb"}, `{"message":"a\ufffdb"}`},
		{"invalid UTF-8 in a reaction", bridge.Reply{Reaction: "\xff", ReplyTo: "7"}, `{"reaction":"\ufffd"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var body []byte
			s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
				body, _ = io.ReadAll(r.Body)
				checkSigned(t, r, body)
				recorded(t, "bot_message").answer(w)
			}})
			tt.reply.Room = kitchen()
			if _, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), tt.reply); err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := errors.Join(json.Unmarshal(body, &got), json.Unmarshal([]byte(tt.want), &want)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReactionsAsUser(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/api/v1/reaction/knzaftd5/3": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != method || string(body) != `{"reaction":"👀"}` || r.Header.Get("Authorization") != "Bearer "+appToken {
				t.Errorf("%s %s with %s", r.Method, r.RequestURI, body)
			}
			always(200, "application/json", `{"ocs":{"meta":{},"data":{"👀":[{"actorId":"alice"}]}}}`)(w, r)
		}})
		r := bridge.Reply{Room: kitchen(), ReplyTo: "3", Reaction: "👀", Remove: method == http.MethodDelete}
		if id, err := newClient(t, options(t, s.URL, talk.ReplyAsUser)).Send(t.Context(), r); id != "" || err != nil {
			t.Errorf("%s: id %q, %v", method, id, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	const asBot, asUser = talk.ReplyAsBot, talk.ReplyAsUser
	const html, ocsJSON = "text/html; charset=UTF-8", "application/json; charset=utf-8"
	tests := []struct {
		name    string
		replyAs string
		handler http.HandlerFunc
		code    bridge.Code
		text    string
		hint    string
	}{
		{"bot: no such conversation", asBot, always(404, ocsJSON, refusedJSON), bridge.CodeRejected, "no conversation Kitchen", "talk:bot:setup BOT-ID knzaftd5"},
		{"bot: forbidden", asBot, always(403, ocsJSON, refusedJSON), bridge.CodeRejected, "may not write", ""},
		{"bot: another refusal", asBot, always(422, ocsJSON, refusedJSON), bridge.CodeRejected, "status 422", ""},
		{"user: bad request", asUser, always(400, ocsJSON, refusedJSON), bridge.CodeRejected, "blank", "may stand there"},
		{"user: forbidden", asUser, always(403, ocsJSON, refusedJSON), bridge.CodeRejected, "may not write to Kitchen", "moderator"},
		{"user: lobby", asUser, always(412, ocsJSON, refusedJSON), bridge.CodeRejected, "lobby of Kitchen", "moderator"},
		{"server error", asBot, always(500, ocsJSON, refusedJSON), bridge.CodeUnavailable, "failed with status 500", "log"},
		{"bad gateway", asBot, always(502, html, page), bridge.CodeUnclear, "answered with status 502; it may stand there", "proxy"},
		{"gateway time-out", asUser, always(504, "text/plain", ""), bridge.CodeUnclear, "answered with status 504", "proxy"},
		{"Cloudflare waits no longer", asBot, always(524, html, page), bridge.CodeUnclear, "answered with status 524", "proxy"},
		{"Cloudflare got nonsense", asBot, always(520, html, page), bridge.CodeUnclear, "answered with status 520", "proxy"},
		{"Nextcloud breaks down", asBot, always(500, html, page), bridge.CodeUnclear, "answered with status 500", "proxy"},
		{"PHP breaks down", asBot, always(200, html, "<br />\n<b>Fatal error</b>:  Maximum execution time exceeded"), bridge.CodeUnclear, "answered with status 200", "log"},
		{"a server error behind a warning", asBot, always(500, html, phpWarning+refusedJSON), bridge.CodeUnavailable, "failed with status 500", "log"},
		{"a proxy without a server", asBot, always(503, html, page), bridge.CodeUnavailable, "503", "log"},
		{"no tunnel", asBot, always(530, html, page), bridge.CodeUnavailable, "530", "log"},
		{"a refusal under status 200", asBot, always(200, ocsJSON, refused(404)), bridge.CodeRejected, "no conversation Kitchen", "talk:bot:setup"},
		{"a refused signature under status 200", asBot, always(200, ocsJSON, refused(997)), bridge.CodeUnauthorized, "refused the signature", "perch retry"},
		{"a failure under status 200", asBot, always(200, ocsJSON, refused(996)), bridge.CodeUnavailable, "failed with status 500", "log"},
		{"a refusal behind a warning", asBot, always(404, html, phpWarning+refusedJSON), bridge.CodeRejected, "no conversation Kitchen", "talk:bot:setup"},
		{"a refusal behind a byte order mark", asBot, always(404, html, "\ufeff"+refusedJSON), bridge.CodeRejected, "no conversation Kitchen", "talk:bot:setup"},
		{"a refusal in XML", asBot, always(401, "application/xml", refusedXML(401)), bridge.CodeUnauthorized, "refused the signature", "perch retry"},
		{"a refusal in XML under status 200", asBot, always(200, "text/xml", refusedXML(404)), bridge.CodeRejected, "no conversation Kitchen", "talk:bot:setup"},
		{"maintenance of something else", asUser, always(503, html, page), bridge.CodeUnavailable, "503", "log"},
		{"proxy refuses the length", asBot, always(413, html, page), bridge.CodeRejected, "longer", "proxy"},
		{"proxy throttles", asUser, always(429, html, page), bridge.CodeThrottled, "no more requests", "security:bruteforce:reset"},
		{"page instead of an answer", asBot, always(200, html, page), bridge.CodeUnavailable, "is not Nextcloud", "base_url"},
		{"bot: 401 without a word", asBot, always(401, "", ""), bridge.CodeUnauthorized, "refused the signature", "perch retry"},
		{"bot: 401 in plain text", asBot, always(401, "text/plain", "no"), bridge.CodeUnauthorized, "refused the signature", "perch retry"},
		{"bot: 404 without a word", asBot, always(404, "", ""), bridge.CodeRejected, "no conversation Kitchen", "talk:bot:setup"},
		{"no such page", asBot, always(404, html, page), bridge.CodeUnavailable, "status 404, is not Nextcloud", "base_url"},
		{"no such page for the user", asUser, always(404, html, page), bridge.CodeUnavailable, "status 404, is not Nextcloud", "base_url"},
		{"password of a proxy", asBot, always(401, html, page), bridge.CodeUnauthorized, "asks for a password", "perch retry"},
		{"untrusted domain", asBot, func(w http.ResponseWriter, _ *http.Request) { recorded(t, "status_untrusted_domain").answer(w) }, bridge.CodeUnavailable, "trusted domains", "occ config:system:set trusted_domains N --value=127.0.0.1"},
		{"http at an https port", asBot, always(400, html, "<html>The plain HTTP request was sent to HTTPS port</html>"), bridge.CodeUnavailable, "expects https", "https://127.0.0.1"},
		{"redirection without an address", asBot, always(302, html, page), bridge.CodeUnavailable, "status 302, is not Nextcloud", "base_url"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/": tt.handler})
			_, err := newClient(t, options(t, s.URL, tt.replyAs)).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"})
			wantError(t, err, tt.code, tt.text, tt.hint)
			if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), "status ") {
				t.Errorf("the cause is %v", cause)
			}
		})
	}
}

const phpWarning = "<br />\n<b>Warning</b>:  Undefined array key \"ocs\" in <b>/var/www/nextcloud/lib/x.php</b> on line <b>7</b><br />\n"

func refused(code int) string {
	return `{"ocs":{"meta":{"status":"failure","statuscode":` + strconv.Itoa(code) + `,"message":""},"data":[]}}`
}

func refusedXML(code int) string {
	return `<?xml version="1.0"?>` + "\n<ocs>\n <meta>\n  <status>failure</status>\n  <statuscode>" + strconv.Itoa(code) +
		"</statuscode>\n  <message/>\n </meta>\n <data/>\n</ocs>\n"
}

// What is posted is never posted again, whatever stands around the answer.
func TestPostedWhateverStandsAround(t *testing.T) {
	const posted = `{"ocs":{"meta":{"status":"ok","statuscode":201,"message":"OK"},"data":{"id":31}}}`
	const postedXML = "<?xml version=\"1.0\"?>\n<ocs><meta><status>ok</status><statuscode>201</statuscode></meta><data><id>31</id></data></ocs>"
	for name, body := range map[string]string{
		"nothing": posted, "a byte order mark": "\ufeff" + posted, "a warning before": phpWarning + posted, "a warning after": posted + phpWarning,
		"a whole page before": page + posted, "XML": postedXML, "a warning before XML": phpWarning + postedXML,
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range []int{200, 201} {
				s := serve(t, map[string]http.HandlerFunc{"/": always(status, "text/html", body)})
				if id, err := newClient(t, options(t, s.URL, talk.ReplyAsUser)).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"}); err != nil || id != "31" {
					t.Errorf("%d as the user: %q, %v", status, id, err)
				}
				if _, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"}); err != nil {
					t.Errorf("%d as the bot: %v", status, err)
				}
			}
		})
	}
	t.Run("a page alone", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/": always(201, "text/html", page)})
		if _, err := newClient(t, options(t, s.URL, talk.ReplyAsBot)).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"}); err != nil {
			t.Error(err)
		}
	})
}

// What stands before Nextcloud is named, and is never taken for its address.
func TestGates(t *testing.T) {
	titled := func(title, more string) string {
		return "<!doctype html><html><head><title>" + title + "</title>" + more + "</head></html>"
	}
	tests := []struct {
		name     string
		status   int
		location string
		header   string // name: value
		body     string
		text     []string
		hint     string
	}{
		{"Authelia", 302, "https://auth.example.com/?rd=https%3A%2F%2Fcloud.example.com%2F&rm=POST", "", "", []string{"Authelia", "auth.example.com"}, "without log-in"},
		{"Authelia, to a program", 401, "https://auth.example.com/?rd=https%3A%2F%2Fcloud.example.com%2F", "", "401 Unauthorized", []string{"Authelia"}, "without log-in"},
		{"authentik", 302, "/outpost.goauthentik.io/start?rd=x", "", "", []string{"authentik"}, "without log-in"},
		{"authentik itself", 302, "https://id.example.com/application/o/authorize/?client_id=x", "", "", []string{"authentik"}, "without log-in"},
		{"Cloudflare Access", 302, "https://team.cloudflareaccess.com/cdn-cgi/access/login/cloud.example.com?kid=x", "", "", []string{"Cloudflare Access"}, "without log-in"},
		{"Cloudflare Access, its page", 200, "", "", titled("Sign in ・ Cloudflare Access", ""), []string{"Cloudflare Access", "Sign in"}, "without log-in"},
		{"Keycloak", 302, "https://sso.example.com/realms/home/protocol/openid-connect/auth?client_id=x", "", "", []string{"Keycloak"}, "without log-in"},
		{"oauth2-proxy", 302, "/oauth2/start?rd=%2Focs%2F", "", "", []string{"oauth2-proxy"}, "without log-in"},
		{"any portal", 303, "https://portal.example.com/signin?x=1", "", "", []string{"something asks for a log-in", "portal.example.com"}, "without log-in"},
		{"any portal by its host", 302, "https://sso.example.com/x", "", "", []string{"something asks for a log-in"}, "without log-in"},
		{"the log-in of Nextcloud", 302, "/index.php/login", "", "", []string{"asks for a log-in", "/index.php/login"}, "without log-in"},
		{"a page to log in", 401, "", "", titled("Login - Authelia", ""), []string{"Authelia"}, "without log-in"},
		{"Anubis", 200, "", "", titled("Making sure you&#39;re not a bot!", ""), []string{"Anubis", "Making sure you're not a bot!"}, "without this check"},
		{"Anubis, translated", 200, "", "", titled("Mal sehen", `<script src="/.within.website/x/cmd/anubis/static/js/main.mjs">`), []string{"Anubis", "Mal sehen"}, "without this check"},
		{"Cloudflare", 403, "", "Cf-Mitigated: challenge", titled("Just a moment...", ""), []string{"Cloudflare", "Just a moment..."}, "without this check"},
		{"Cloudflare, translated", 403, "", "Cf-Mitigated: challenge", titled("Nur einen Moment…", ""), []string{"Cloudflare", "Nur einen Moment…"}, "without this check"},
		{"Cloudflare under 503", 503, "", "", titled("Just a moment...", ""), []string{"Cloudflare"}, "without this check"},
		{"any challenge", 403, "", "", titled("Checking your browser", ""), []string{"a protection", "Checking your browser"}, "without this check"},
		{"a page with a title", 403, "", "", titled(" \n403&nbsp;Forbidden\u202e ", ""), []string{`not Nextcloud, but the page "403 Forbidden"`}, "base_url"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
				if tt.location != "" {
					w.Header().Set("Location", tt.location)
				}
				if name, value, ok := strings.Cut(tt.header, ": "); ok {
					w.Header().Set(name, value)
				}
				always(tt.status, "text/html", tt.body)(w, r)
			}})
			c := newClient(t, options(t, s.URL, talk.ReplyAsBot))
			_, err := c.Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"})
			for _, text := range tt.text {
				wantError(t, err, bridge.CodeUnavailable, text, tt.hint)
			}
			d := talk.Doctor{Client: c, ConfigFile: "config.toml", Now: time.Now}
			if r := d.Status(t.Context()); r.Status != bridge.StatusFail || strings.Contains(r.Fix.String(), "write: base_url") {
				t.Errorf("the doctor says %s: %s; %s", r.Status, r.Seen, r.Fix)
			}
		})
	}
}

func TestReadsWhatStandsAround(t *testing.T) {
	const status = `{"installed":true,"maintenance":false,"needsDbUpgrade":false,"version":"32.0.1.2","versionstring":"32.0.1","productname":"Nextcloud"}`
	capabilities := recorded(t, "capabilities_anonymous").Response.Body
	for name, around := range map[string]func(string) string{
		"nothing":           func(s string) string { return s },
		"a byte order mark": func(s string) string { return "\ufeff" + s },
		"a warning":         func(s string) string { return phpWarning + s },
		"a notice after":    func(s string) string { return s + phpWarning },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{
				"/status.php": always(200, "text/html", around(status)), "/ocs/": always(200, "text/html", around(capabilities)),
			})
			c := newClient(t, options(t, s.URL, ""))
			if got, err := c.Status(t.Context()); err != nil || got.Version != "32.0.1" {
				t.Errorf("%+v, %v", got, err)
			}
			if got, err := c.Capabilities(t.Context()); err != nil || got.TalkVersion != "21.1.7" || got.MaxLength != 32000 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	t.Run("XML", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/ocs/": always(200, "application/xml", `<?xml version="1.0"?><ocs><meta><status>ok</status><statuscode>200</statuscode></meta>`+
			`<data><version><string>32.0.1</string></version><capabilities><spreed><features><element>audio</element><element>bots-v1</element></features>`+
			`<config><chat><max-length>1000</max-length></chat></config><version>21.1.7</version></spreed></capabilities></data></ocs>`)})
		got, err := newClient(t, options(t, s.URL, "")).Capabilities(t.Context())
		want := talk.Capabilities{ServerVersion: "32.0.1", Talk: true, TalkVersion: "21.1.7", Features: []string{"audio", "bots-v1"}, MaxLength: 1000}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("a failure under status 200", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/ocs/": always(200, "application/json", refused(997))})
		_, err := newClient(t, options(t, s.URL, "")).User(t.Context())
		wantError(t, err, bridge.CodeUnauthorized, "refused the app token", "perch")
	})
}

func TestTakenWhateverTheBody(t *testing.T) {
	for _, replyAs := range []string{talk.ReplyAsBot, talk.ReplyAsUser} {
		for _, handler := range []http.HandlerFunc{always(201, "", ""), always(200, "application/json", `{"ok":true}`), always(201, "text/plain", "fine")} {
			s := serve(t, map[string]http.HandlerFunc{"/ocs/v2.php/apps/spreed/": handler})
			if id, err := newClient(t, options(t, s.URL, replyAs)).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"}); err != nil || id != "" {
				t.Errorf("Send as %s: %q, %v", replyAs, id, err)
			}
		}
	}
}

func TestQuoteThatIsNotSentIsNotBlamed(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/": always(400, "application/json", refusedJSON)})
	_, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: " ", ReplyTo: "derived-00"})
	wantError(t, err, bridge.CodeRejected, "refused the message (400): perhaps it is blank", "may stand there")
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		header   string
		min, max time.Duration
	}{
		{"", 0, 0},
		{"120", 2 * time.Minute, 2 * time.Minute},
		{"0", 0, 0},
		{"-5", 0, 0},
		{"soon", 0, 0},
		{"99999999999999999999", 0, 0},
		{"9999999999", 24 * time.Hour, 24 * time.Hour},
		{time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), time.Minute, time.Hour},
		{"Mon, 02 Jan 2006 15:04:05 GMT", 0, 0},
	}
	for _, tt := range tests {
		s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", tt.header)
			always(429, "application/json", refusedJSON)(w, r)
		}})
		_, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"})
		e, ok := errors.AsType[*bridge.Error](err)
		if !ok || e.RetryAfter < tt.min || e.RetryAfter > tt.max {
			t.Errorf("Retry-After %q: %+v", tt.header, e)
		}
	}
}

func TestBadAppToken(t *testing.T) {
	tests := []struct {
		name       string
		chat, user func(t *testing.T) http.HandlerFunc
		code       bridge.Code
		text, hint string
	}{
		{"wrong token", replay("chat_post_bad_token"), replay("user_bad_token"), bridge.CodeUnauthorized, "refused the app token", "perch secret set app_token"},
		{"not in the conversation", replay("chat_post_not_in_room"), replay("user"), bridge.CodeRejected, "is not in the conversation Kitchen", "participants"},
		{"refused, though the token is right", replay("user_bad_token"), replay("user"), bridge.CodeRejected, "is not in the conversation Kitchen", "participants"},
		{"not to be found out", replay("chat_post_bad_token"), replay("capabilities_maintenance"), bridge.CodeUnavailable, "maintenance", "occ"},
		{"throttled meanwhile", replay("chat_post_bad_token"), replay("bot_message_throttled"), bridge.CodeThrottled, "no more requests", "occ"},
	}
	for _, tt := range tests {
		for _, action := range []string{"send", "find"} {
			t.Run(tt.name+"/"+action, func(t *testing.T) {
				asked := 0
				user := tt.user(t)
				s := serve(t, map[string]http.HandlerFunc{
					"/ocs/v2.php/apps/spreed/": tt.chat(t),
					"/ocs/v2.php/cloud/user": func(w http.ResponseWriter, r *http.Request) {
						asked++
						user(w, r)
					},
				})
				c := newClient(t, options(t, s.URL, talk.ReplyAsUser))
				var err error
				code, text := tt.code, tt.text
				if action == "send" {
					_, err = c.Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"})
				} else {
					_, _, err = c.FindByRef(t.Context(), "knzaftd5", "ref")
					if code == bridge.CodeRejected {
						code, text = bridge.CodeNotFound, "cannot read the conversation"
					}
				}
				wantError(t, err, code, text, tt.hint)
				if asked != 1 {
					t.Errorf("asked %d times whose token it is", asked)
				}
			})
		}
	}
}

func replay(name string) func(*testing.T) http.HandlerFunc {
	return func(t *testing.T) http.HandlerFunc {
		t.Helper()
		e := recorded(t, name)
		return func(w http.ResponseWriter, _ *http.Request) { e.answer(w) }
	}
}

func TestNothingIsSentInVain(t *testing.T) {
	s := serve(t, nil) // fails the test for every request
	without := func(change func(*talk.Options)) *talk.Client {
		o := options(t, s.URL, talk.ReplyAsBot)
		change(&o)
		return newClient(t, o)
	}
	noSecret := without(func(o *talk.Options) { o.Secret = bridge.Secret{} })
	noToken := without(func(o *talk.Options) { o.AppToken, o.ReplyAs = bridge.Secret{}, talk.ReplyAsUser })
	text := bridge.Reply{Room: kitchen(), Text: "x"}

	_, err := noSecret.Send(t.Context(), text)
	wantError(t, err, bridge.CodeUnauthorized, "no secret", "perch secret set webhook_secret")
	_, err = noToken.Send(t.Context(), text)
	wantError(t, err, bridge.CodeUnauthorized, "no app token", "perch secret set app_token")
	_, err = noToken.User(t.Context())
	wantError(t, err, bridge.CodeUnauthorized, "no app token", "perch secret set app_token")
	_, _, err = noToken.FindByRef(t.Context(), "abc", "ref")
	wantError(t, err, bridge.CodeUnauthorized, "no app token", "perch secret set app_token")

	all := without(func(*talk.Options) {})
	for _, token := range []string{"", "../bots", "a/b", "a?b", "ä"} {
		_, err = all.Send(t.Context(), bridge.Reply{Room: bridge.Room{Token: token}, Text: "x"})
		wantError(t, err, bridge.CodeRejected, "is not the token", "/call/TOKEN")
		_, _, err = all.FindByRef(t.Context(), token, "ref")
		wantError(t, err, bridge.CodeNotFound, "cannot read", "participants")
	}
	for _, id := range []string{"", "0", "-1", "derived-00", "3/../4"} {
		_, err = all.Send(t.Context(), bridge.Reply{Room: kitchen(), Reaction: "👀", ReplyTo: id})
		wantError(t, err, bridge.CodeRejected, "needs the number", "")
	}
}

func TestRedirectionsAreNotFollowed(t *testing.T) {
	var followed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	t.Cleanup(elsewhere.Close)
	tests := []struct{ name, location, base string }{
		{"another server", elsewhere.URL + "/ocs/v2.php/apps/spreed/api/v1/bot/knzaftd5/message", elsewhere.URL},
		{"another path", "/nextcloud/ocs/v2.php/apps/spreed/api/v1/bot/knzaftd5/message", "/nextcloud"},
		{"a server", elsewhere.URL + "/", elsewhere.URL},
		{"a page", elsewhere.URL + "/welcome?x=1", ""},
		{"no address", "http://[", ""},
		{"another kind of address", "mailto:admin@example.com", ""},
	}
	for _, tt := range tests {
		for _, status := range []int{301, 302, 303, 307, 308} {
			s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", tt.location)
				w.WriteHeader(status)
			}})
			base := tt.base
			if strings.HasPrefix(base, "/") {
				base = s.URL + base
			}
			_, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), bridge.Reply{Room: kitchen(), Text: "x"})
			inHint := "Is base_url the address"
			if base != "" {
				inHint = `base_url = "` + base + `"`
			}
			wantError(t, err, bridge.CodeUnavailable, tt.location, inHint)
		}
	}
	if followed.Load() {
		t.Error("a signed request went to another server")
	}
}

func TestUnclear(t *testing.T) {
	text := bridge.Reply{Room: kitchen(), Text: "x"}
	hangUp := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	}
	t.Run("hung up on a new connection", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/": hangUp})
		_, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), text)
		wantError(t, err, bridge.CodeUnclear, "answer did not come", "")
	})
	t.Run("hung up on a used connection", func(t *testing.T) {
		for _, r := range []bridge.Reply{text, {Room: kitchen(), Reaction: "👀", ReplyTo: "3", Remove: true}} {
			var requests atomic.Int32
			s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1) > 1 {
					hangUp(w, r)
					return
				}
				recorded(t, "bot_message").answer(w)
			}})
			c := newClient(t, options(t, s.URL, ""))
			if _, err := c.Send(t.Context(), text); err != nil {
				t.Fatal(err)
			}
			_, err := c.Send(t.Context(), r)
			wantError(t, err, bridge.CodeUnclear, "answer did not come", "")
			if n := requests.Load(); n != 2 {
				t.Errorf("%d requests arrived, want 2: the transport sent one again", n)
			}
		}
	})
	t.Run("hung up over HTTP/2", func(t *testing.T) {
		var requests atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if requests.Add(1); r.ProtoMajor != 2 {
				t.Errorf("the request came over %s", r.Proto)
			}
			panic(http.ErrAbortHandler)
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		o := options(t, s.URL, "")
		o.RootCAs = x509.NewCertPool()
		o.RootCAs.AddCert(s.Certificate())
		_, err := newClient(t, o).Send(t.Context(), text)
		wantError(t, err, bridge.CodeUnclear, "answer did not come", "")
		if n := requests.Load(); n != 1 {
			t.Errorf("%d requests arrived, want 1", n)
		}
	})
	t.Run("given up while waiting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := serve(t, map[string]http.HandlerFunc{"/": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		}})
		_, err := newClient(t, options(t, s.URL, "")).Send(ctx, text)
		wantError(t, err, bridge.CodeUnclear, "answer did not come", "")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the cause is %v", err)
		}
	})
	t.Run("half an answer", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"ocs":`)
		}})
		_, err := newClient(t, options(t, s.URL, talk.ReplyAsUser)).Send(t.Context(), text)
		wantError(t, err, bridge.CodeUnclear, "answer did not come", "")
		if _, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), text); err != nil {
			t.Errorf("a bot is told enough by the status, and yet: %v", err)
		}
	})
	t.Run("half a refusal is a refusal", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"ocs":`)
		}})
		_, err := newClient(t, options(t, s.URL, "")).Send(t.Context(), text)
		wantError(t, err, bridge.CodeThrottled, "no more requests", "occ")
	})
	t.Run("a question is never unclear", func(t *testing.T) {
		s := serve(t, map[string]http.HandlerFunc{"/": hangUp})
		_, err := newClient(t, options(t, s.URL, "")).User(t.Context())
		wantError(t, err, bridge.CodeUnavailable, "broke the connection off", "base_url")
	})
	t.Run("never sent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newClient(t, options(t, serve(t, nil).URL, "")).Send(ctx, text)
		wantError(t, err, bridge.CodeUnavailable, "given up", "")
	})
}

func TestUnreachable(t *testing.T) {
	text := bridge.Reply{Room: kitchen(), Text: "x"}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { recorded(t, "bot_message").answer(w) }))
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())

	send := func(baseURL string, roots *x509.CertPool) error {
		o := options(t, baseURL, talk.ReplyAsBot)
		o.RootCAs = roots
		_, err := newClient(t, o).Send(t.Context(), text)
		return err
	}
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_ = l.Close()
		wantError(t, send("http://"+address, nil), bridge.CodeUnavailable, "refuses connections", "port of base_url")
	})
	t.Run("unknown authority", func(t *testing.T) {
		wantError(t, send(secure.URL, nil), bridge.CodeUnavailable, "nobody that this machine knows", "ca_file = FILE")
	})
	t.Run("trusted by ca_file", func(t *testing.T) {
		if err := send(secure.URL, trusted); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong name", func(t *testing.T) {
		_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
		wantError(t, send("https://localhost:"+port, trusted), bridge.CodeUnavailable, "for another name", "example.com")
	})
	t.Run("http at https", func(t *testing.T) {
		plain := serve(t, nil)
		wantError(t, send(strings.Replace(plain.URL, "http:", "https:", 1), nil), bridge.CodeUnavailable, "does not speak https", "http://")
	})
	t.Run("https at http", func(t *testing.T) {
		wantError(t, send(strings.Replace(secure.URL, "https:", "http:", 1), nil), bridge.CodeUnavailable, "expects https", "base_url")
	})

	now := time.Now()
	for _, tt := range []struct {
		name     string
		from, to time.Time
		wantErr  bool
	}{
		{"self-signed", now.Add(-time.Hour), now.Add(time.Hour), false},
		{"expired", now.Add(-2 * time.Hour), now.Add(-time.Hour), true},
		{"not valid yet", now.Add(time.Hour), now.Add(2 * time.Hour), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			certificate := selfSigned(t, tt.from, tt.to)
			leaf, err := x509.ParseCertificate(certificate.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(leaf)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { recorded(t, "bot_message").answer(w) }))
			s.Config.ErrorLog = quiet
			s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
			s.StartTLS()
			t.Cleanup(s.Close)
			err = send(s.URL, roots)
			if !tt.wantErr {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, bridge.CodeUnavailable, "expired, or is not valid yet", "clock")
		})
	}
}

// selfSigned returns a certificate that is no authority, for 127.0.0.1.
func selfSigned(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    from,
		NotAfter:     to,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func TestNewClientRefuses(t *testing.T) {
	const base = "https://cloud.example.com"
	tests := []struct {
		name       string
		options    talk.Options
		text, hint string
	}{
		{"nothing", talk.Options{}, "base_url", "https://cloud.example.com"},
		{"no scheme", talk.Options{BaseURL: "cloud.example.com"}, "base_url", "https://"},
		{"another scheme", talk.Options{BaseURL: "ftp://cloud.example.com"}, "base_url", "https://"},
		{"no host", talk.Options{BaseURL: "https:///nextcloud"}, "base_url", "https://"},
		{"password", talk.Options{BaseURL: "https://a:" + appToken + "@cloud.example.com"}, "base_url", "https://"},
		{"password in an address that is none", talk.Options{BaseURL: "https://a:" + appToken + "@cloud.example.com:port"}, "base_url", "https://"},
		{"query", talk.Options{BaseURL: base + "?a=b"}, "base_url", "question mark"},
		{"reply_as", talk.Options{BaseURL: base, ReplyAs: "admin"}, `"admin"`, `"bot" or "user"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := talk.NewClient(tt.options)
			wantError(t, err, bridge.CodeInvalid, tt.text, tt.hint)
		})
	}
}

func TestBaseURL(t *testing.T) {
	for suffix, want := range map[string]string{
		"": "/status.php", "/": "/status.php", "/index.php": "/status.php", "/index.php/": "/status.php",
		"/nextcloud": "/nextcloud/status.php", "/nextcloud/": "/nextcloud/status.php", "/nextcloud/index.php//": "/nextcloud/status.php",
		"/a%20b/": "/a%20b/status.php",
	} {
		asked := ""
		s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
			asked = r.RequestURI
			recorded(t, "status").answer(w)
		}})
		if _, err := newClient(t, options(t, " "+s.URL+suffix, "")).Status(t.Context()); err != nil || asked != want {
			t.Errorf("%q: asked %s, want %s (%v)", suffix, asked, want, err)
		}
	}
}

func TestStatus(t *testing.T) {
	for name, maintenance := range map[string]bool{"status": false, "status_maintenance": true} {
		s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
			e := recorded(t, name)
			e.check(t, r, nil)
			e.answer(w)
		}})
		got, err := newClient(t, options(t, s.URL, "")).Status(t.Context())
		want := talk.Status{Installed: true, Maintenance: maintenance, Version: "32.0.1", Product: "Nextcloud"}
		if got != want || err != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, handler := range []http.HandlerFunc{always(200, "text/html", page), always(200, "application/json", `{}`), always(404, "text/html", page)} {
		s := serve(t, map[string]http.HandlerFunc{"/": handler})
		_, err := newClient(t, options(t, s.URL, "")).Status(t.Context())
		wantError(t, err, bridge.CodeUnavailable, "is not Nextcloud", "base_url")
	}
}

func TestCapabilities(t *testing.T) {
	ask := func(handler http.HandlerFunc) (talk.Capabilities, error) {
		t.Helper()
		s := serve(t, map[string]http.HandlerFunc{"/": handler})
		return newClient(t, options(t, s.URL, "")).Capabilities(t.Context())
	}
	got, err := ask(func(w http.ResponseWriter, r *http.Request) {
		e := recorded(t, "capabilities_anonymous")
		e.check(t, r, nil) // without Authorization
		e.answer(w)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Talk || got.ServerVersion != "32.0.1" || got.TalkVersion != "21.1.7" || got.MaxLength != 32000 ||
		len(got.Features) != 94 || got.Features[0] != "audio" {
		t.Errorf("got %d features, %+v", len(got.Features), got)
	}

	with := func(capabilities string) http.HandlerFunc {
		return always(200, "application/json", `{"ocs":{"meta":{},"data":{"version":{"string":"30.0.0"},"capabilities":`+capabilities+`}}}`)
	}
	tests := []struct {
		name, capabilities string
		want               talk.Capabilities
	}{
		{"none", `[]`, talk.Capabilities{ServerVersion: "30.0.0", MaxLength: 32000}},
		{"no Talk", `{"files":{}}`, talk.Capabilities{ServerVersion: "30.0.0", MaxLength: 32000}},
		{"old Talk", `{"spreed":{"features":["audio"],"config":[]}}`, talk.Capabilities{ServerVersion: "30.0.0", Talk: true, Features: []string{"audio"}, MaxLength: 32000}},
		{"short messages", `{"spreed":{"config":{"chat":{"max-length":1000}}}}`, talk.Capabilities{ServerVersion: "30.0.0", Talk: true, MaxLength: 1000}},
		{"no length", `{"spreed":{"config":{"chat":[]}}}`, talk.Capabilities{ServerVersion: "30.0.0", Talk: true, MaxLength: 32000}},
	}
	for _, tt := range tests {
		got, err := ask(with(tt.capabilities))
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}

	_, err = ask(replay("capabilities_maintenance")(t))
	wantError(t, err, bridge.CodeUnavailable, "maintenance", "occ")
	_, err = ask(replay("status_untrusted_domain")(t))
	wantError(t, err, bridge.CodeUnavailable, "trusted domains", "trusted_domains")
	_, err = ask(with(`{"spreed":{"features":5}}`))
	wantError(t, err, bridge.CodeUnavailable, "is not Nextcloud", "base_url")
	_, err = ask(func(w http.ResponseWriter, r *http.Request) {
		always(200, "application/json", `{"ocs":{"data":{"x":"`+strings.Repeat("x", 2<<20)+`"}}}`)(w, r)
	})
	wantError(t, err, bridge.CodeUnavailable, "cannot be reached", "online")
}

func TestEndlessAnswer(t *testing.T) {
	const enough = 64 << 20 // bytes; what the sockets hold comes on top of what is read
	s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range enough / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
		t.Error("the client read on and on")
	}})
	_, err := newClient(t, options(t, s.URL, "")).Status(t.Context())
	wantError(t, err, bridge.CodeUnavailable, "cannot be reached", "online")
}

func TestUser(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		e := recorded(t, "user")
		e.check(t, r, nil)
		e.answer(w)
	}})
	got, err := newClient(t, options(t, s.URL, "")).User(t.Context())
	if want := (bridge.Actor{Type: "users", ID: "alice", Name: "alice"}); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFindByRef(t *testing.T) {
	const ref = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
	tests := []struct {
		name, token, ref string
		id               string
		found            bool
	}{
		{"there", "knzaftd5", ref, "31", true},
		{"not there", "knzaftd5", strings.Repeat("0", 64), "", false},
		{"none asked for", "knzaftd5", "", "", false},
		{"empty conversation", "x727omrh", ref, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]http.HandlerFunc{
				"/ocs/v2.php/apps/spreed/api/v1/chat/knzaftd5": func(w http.ResponseWriter, r *http.Request) {
					want := url.Values{"format": {"json"}, "lookIntoFuture": {"0"}, "limit": {"100"}, "setReadMarker": {"0"}, "noStatusUpdate": {"1"}, "markNotificationsAsRead": {"0"}}
					if diff := cmp.Diff(want, r.URL.Query()); diff != "" || r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer "+appToken {
						t.Errorf("%s %s (-want +got):\n%s", r.Method, r.RequestURI, diff)
					}
					recorded(t, "chat_history").answer(w)
				},
				"/ocs/v2.php/apps/spreed/api/v1/chat/x727omrh": func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(http.StatusNotModified)
				},
			})
			id, found, err := newClient(t, options(t, s.URL, "")).FindByRef(t.Context(), tt.token, tt.ref)
			if id != tt.id || found != tt.found || err != nil {
				t.Errorf("%q, %t, %v", id, found, err)
			}
		})
	}
	t.Run("long messages", func(t *testing.T) {
		long := `{"id":1,"referenceId":"","message":"` + strings.Repeat("x", 3<<20) + `"}`
		s := serve(t, map[string]http.HandlerFunc{"/": always(200, "application/json", `{"ocs":{"data":[`+long+`,{"id":"2","referenceId":"`+ref+`"}]}}`)})
		id, found, err := newClient(t, options(t, s.URL, "")).FindByRef(t.Context(), "knzaftd5", ref)
		if id != "2" || !found || err != nil {
			t.Errorf("%q, %t, %v", id, found, err)
		}
	})
	t.Run("answers that are none", func(t *testing.T) {
		for _, handler := range []http.HandlerFunc{always(200, "application/json", `{"ocs":{"data":{"a":1}}}`), always(404, "text/html", page)} {
			s := serve(t, map[string]http.HandlerFunc{"/": handler})
			_, _, err := newClient(t, options(t, s.URL, "")).FindByRef(t.Context(), "knzaftd5", ref)
			wantError(t, err, bridge.CodeUnavailable, "is not Nextcloud", "base_url")
		}
	})
}
