package handler_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/handler"
	"perch/bridge/talk"
)

// received is a request as a server got it.
type received struct {
	Header http.Header
	Body   string
}

// serve returns a server that answers with h, and the requests that it gets, of
// which there may be 100.
func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, <-chan received) {
	t.Helper()
	got := make(chan received, 100)
	s := httptest.NewServer(recorder(got, h))
	t.Cleanup(s.Close)
	return s, got
}

func recorder(got chan<- received, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			http.Error(w, "a test posts", http.StatusTeapot)
			return
		}
		got <- received{r.Header.Clone(), string(body)}
		h(w, r)
	}
}

// quiet keeps refused connections out of the output of the tests.
func quiet(s *httptest.Server) {
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
}

func says(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // not what Go guesses
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		_, _ = io.WriteString(w, body)
	}
}

func greeting() bridge.Message {
	return bridge.Message{
		Key:        bridge.Key{Server: "https://cloud.example.com", Room: "knzaftd5", ID: "42"},
		Kind:       bridge.KindChat,
		Room:       bridge.Room{Token: "knzaftd5", Name: "Kitchen"},
		Author:     bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: `Alice "; DROP`},
		Text:       "hello\n\"bot\" 👋 $(reboot)",
		ReceivedAt: time.Now(),
	}
}

func TestHTTPTakesWhatAWebHookAnswers(t *testing.T) {
	text := func(texts ...string) (all []bridge.Reply) {
		for _, s := range texts {
			all = append(all, bridge.Reply{Text: s})
		}
		return all
	}
	tests := []struct {
		name, contentType, body string
		want                    []bridge.Reply
	}{
		{"a reply", "application/json", `{"reply": "hi **you**"}`, text("hi **you**")},
		{"with charset", "application/json; charset=utf-8", `{"reply":"hi"}`, text("hi")},
		{"of a type like JSON", "application/problem+json", `{"reply":"hi"}`, text("hi")},
		{"with a broken parameter", "application/json; charset", `{"reply":"hi"}`, text("hi")},
		{"replies", "application/json", `{"replies": ["one", "two"]}`, text("one", "two")},
		{"both", "application/json", `{"replies": ["two", "three"], "reply": "one"}`, text("one", "two", "three")},
		{"a reaction", "application/json", `{"reaction": " 👍 "}`, []bridge.Reply{{Reaction: "👍"}}},
		{"a reaction and a reply", "application/json", `{"reply": "done", "reaction": "👍"}`, []bridge.Reply{{Reaction: "👍"}, {Text: "done"}}},
		{"a number", "application/json", `{"reply": 21.50}`, text("21.50")},
		{"more than is known", "application/json", `{"reply": "hi", "debug": {"a": [1]}}`, text("hi")},
		{"a bare string", "application/json", `"hi"`, text("hi")},
		{"null", "application/json", `null`, nil},
		{"a null reply", "application/json", `{"reply": null}`, nil},
		{"an empty reply", "application/json", `{"reply": " \n"}`, nil},
		{"no replies", "application/json", `{"replies": []}`, nil},
		{"null for replies", "application/json", `{"replies": null, "reaction": null}`, nil},
		{"nothing, as JSON", "application/json", "", nil},
		{"plain text", "text/plain; charset=utf-8", "    code\n\n", text("    code")},
		{"plain text that looks like JSON", "text/plain", `{"reply":"hi"}`, text(`{"reply":"hi"}`)},
		{"blank text", "text/plain", " \n ", nil},
		{"text that is not UTF-8", "text/plain", "gr\xfcn \x80", text("grün €")},
		{"text that is not what it is said to be", "text/plain; charset=utf-8", "gr\xfcn", text("gr\ufffdn")},
		{"text in Latin-1", "text/plain; charset=ISO-8859-1", "gr\xfcn", text("grün")},
		{"text in another charset", "text/plain; charset='Shift_JIS'", "\x93\xfa\x96{", text("日本")},
		{"text in an unknown charset", "text/plain; charset=x-mine", "grün", text("grün")},
		{"JSON in Latin-1", "application/json; charset=iso-8859-1", "{\"reply\":\"gr\xfcn\"}", text("grün")},
		{"JSON that is not UTF-8", "application/json", "{\"reply\":\"gr\xfcn\"}", text("grün")},
		{"JSON in UTF-16", "application/json; charset=utf-16le", "\"\x00h\x00i\x00\"\x00", text("hi")},
		{"a byte order mark", "application/json", "\ufeff{\"reply\":\"hi\"}", text("hi")},
		{"a byte order mark in text", "text/plain; charset=utf-8", "\ufeffhi", text("hi")},
		{"a byte order mark of UTF-16", "text/plain", "\xff\xfeh\x00\xfc\x00", text("hü")},
		{"another byte order mark of UTF-16", "application/json", "\xfe\xff\x00\"\x00h\x00\"", text("h")},
		{"an item of n8n", "application/json; charset=utf-8", `[{"reply":"hi"}]`, text("hi")},
		{"an item of several keys", "application/json", `[{"replies":["hi"],"reaction":"👍","more":1}]`, []bridge.Reply{{Reaction: "👍"}, {Text: "hi"}}},
		{"an item that is called HTML", "text/html", `[{"reply":"hi"}]`, text("hi")},
		{"no item", "application/json", `[]`, nil},
		{"tags that are no page", "text/html", "<b>hi</b>", text("<b>hi</b>")},
		{"paragraphs that are no page", "text/html", "<p>it is <a href='x'>here</a></p>\n", text("<p>it is <a href='x'>here</a></p>")},
		{"tags without a type", "", "<3", text("<3")},
		{"words about a page", "text/html", "The <title> stands in the <head>.", text("The <title> stands in the <head>.")},
		{"a warning, and none of PHP", "text/html", "Warning: trains in Berlin on line 3 are late", text("Warning: trains in Berlin on line 3 are late")},
		{"nothing", "", "", nil},
		{"text that Express calls HTML", "text/html; charset=utf-8", "21.5 °C\n", text("21.5 °C")},
		{"JSON that PHP calls HTML", "text/html; charset=UTF-8", `{"reply":"hi"}`, text("hi")},
		{"text without a type", "", "hi", text("hi")},
		{"JSON without a type", "", `{"reply":"hi"}`, text("hi")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := serve(t, says(tt.contentType, tt.body))
			got, err := handler.HTTP{URL: s.URL}.Handle(t.Context(), greeting())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("status 204", func(t *testing.T) {
		s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		got, err := handler.HTTP{URL: s.URL}.Handle(t.Context(), greeting())
		if err != nil || got != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestHTTPSaysWhatIsWrongWithAnAnswer(t *testing.T) {
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	redirect := func(code int, to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, code) }
	}
	const n8n = `{"code":404,"message":"The requested webhook \"POST talk\" is not registered."}`
	tests := []struct {
		name        string
		answer      http.HandlerFunc
		code        bridge.Code
		text, hint  string // parts of them
		cause, none string // parts of the whole error: there, and not there
	}{
		{"a web page", says("text/html", "\n<!DOCTYPE html><title>Log in &amp; out</title>"), bridge.CodeInvalid, `web page "Log in & out"`, "204", "DOCTYPE", ""},
		{"a web page without a type", says("", "<html>"), bridge.CodeInvalid, "a web page", "204", "<html>", ""},
		{"a web page after a comment", says("text/html", "<!-- x -->\n<body>oops"), bridge.CodeInvalid, "a web page", "204", "oops", ""},
		{"a piece of a page", says("text/html; charset=utf-8", "<center><h2>502</h2></center><script>x()</script>"), bridge.CodeInvalid, "a web page", "204", "502", ""},
		{"a heading", says("text/html", "<h1>Bad Gateway</h1>"), bridge.CodeInvalid, "a web page", "204", "Bad Gateway", ""},
		{"a page in UTF-16", says("text/html", "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00"), bridge.CodeInvalid, "a web page", "204", "<html>", ""},
		{"an error of PHP", says("text/html; charset=UTF-8", "<br />\n<b>Fatal error</b>:  Uncaught Error: no\nStack trace:\n#0 {main}\n  thrown in <b>/srv/hook.php</b> on line <b>3</b><br />"), bridge.CodeInvalid, "PHP", "display_errors", "hook.php", ""},
		{"a warning of PHP before the answer", says("text/html; charset=UTF-8", "\nWarning: Undefined variable $x in C:\\srv\\hook.php on line 3\n{\"reply\":\"hi\"}"), bridge.CodeInvalid, "PHP", "display_errors", "hook.php", ""},
		{"a picture", says("image/png", "\x89PNG"), bridge.CodeInvalid, "image/png", "204", "PNG", ""},
		{"XML", says("application/xml", "<reply/>"), bridge.CodeInvalid, "application/xml", "204", "", ""},
		{"no JSON", says("application/json", `{"reply": "hi`), bridge.CodeInvalid, "JSON, and is not", "204", `{\"reply`, ""},
		{"JSON without a reply", says("application/json", `{"text": "hi"}`), bridge.CodeInvalid, "no reply", `"replies"`, "text", ""},
		{"many items of n8n", says("application/json", `[{"reply": "hi"}, {"reply": "ho"}]`), bridge.CodeInvalid, "a list of 2", "First Incoming Item", "ho", ""},
		{"many items that are called HTML", says("text/html", `[{"reply": "hi"}, {}]`), bridge.CodeInvalid, "a list of 2", "First Entry JSON", "hi", ""},
		{"an item without a reply", says("application/json", `[{"text": "hi"}]`), bridge.CodeInvalid, "no reply", `"replies"`, "text", ""},
		{"a list", says("application/json", `["hi"]`), bridge.CodeInvalid, "no reply", `"replies"`, "", ""},
		{"true", says("application/json", `true`), bridge.CodeInvalid, "no reply", `"replies"`, "true", ""},
		{"a reply of the wrong form", says("application/json", `{"reply": ["hi"]}`), bridge.CodeInvalid, `field "reply"`, `"replies"`, "", ""},
		{"replies of the wrong form", says("application/json", `{"replies": "hi"}`), bridge.CodeInvalid, `field "replies"`, `"replies"`, "", ""},
		{"one of the replies is", says("application/json", `{"replies": ["hi", {}]}`), bridge.CodeInvalid, `field "replies"`, "", "", ""},
		{"a reaction of the wrong form", says("application/json", `{"reaction": true}`), bridge.CodeInvalid, `field "reaction"`, "", "", ""},
		{"too many replies", says("application/json", `{"replies": ["a"`+strings.Repeat(`,"a"`, 50)+`]}`), bridge.CodeInvalid, "51 replies", "", "", ""},
		{"n8n that does not wait", says("application/json; charset=utf-8", `{"message":"Workflow was started"}`), bridge.CodeInvalid, "n8n", "Respond to Webhook", "started", ""},

		{"no token", status(401, ""), bridge.CodeUnauthorized, "401", "perch secret set handler_token_house", "401", ""},
		{"a wrong token", status(403, "wrong"), bridge.CodeUnauthorized, "403", "perch secret set handler_secret_house", "wrong", ""},
		{"a token that is repeated", status(403, "is t0ken the token?"), bridge.CodeUnauthorized, "403", "", "is *** the token?", "t0ken"},
		{"a token in a long answer", status(400, strings.Repeat("-", 198)+"t0ken"), bridge.CodeInvalid, "400", "", "--**…", "t0"},
		{"a token in an answer", says("application/json", `{"headers": "t0ken"}`), bridge.CodeInvalid, "no reply", "", "***", "t0ken"},
		{"a wrong path", status(404, n8n), bridge.CodeNotFound, "404", "production URL", "not registered", ""},
		{"gone", status(410, ""), bridge.CodeNotFound, "410", "production URL", "", ""},
		{"GET only", status(405, ""), bridge.CodeInvalid, "POST", "[handlers.house]", "405", ""},
		{"too large", status(413, ""), bridge.CodeInvalid, "larger", "limit", "413", ""},
		{"unprocessable", status(422, "no such field"), bridge.CodeInvalid, "422", "", "no such field", ""},
		{"too often", status(429, ""), bridge.CodeThrottled, "429", "", "", ""},
		{"a crash", status(500, strings.Repeat("ü", 10_000)), bridge.CodeUnavailable, "500", "log", "üü…", strings.Repeat("ü", 201)},
		{"a proxy without what is behind it", status(502, "<html>"), bridge.CodeUnavailable, "502", "log", "<html>", ""},

		{"sent to another host", redirect(307, "https://elsewhere.example/s3cret?s3cret"), bridge.CodeInvalid, "https://elsewhere.example", "[handlers.house]", "307", "s3cret"},
		{"sent to another host for good", redirect(308, "//elsewhere.example/"), bridge.CodeInvalid, "http://elsewhere.example", "curl", "", ""},
		{"sent to another path as a GET", redirect(301, "/path/"), bridge.CodeInvalid, "elsewhere", "curl", "", ""},
		{"sent to a login", redirect(302, "/login"), bridge.CodeInvalid, "elsewhere", "curl", "", ""},
		{"sent to and fro", redirect(307, "?"), bridge.CodeInvalid, "elsewhere", "curl", "", ""},

		{"too much", says("text/plain", strings.Repeat("x", 1<<20+1)), bridge.CodeInvalid, "1048576", "204", "", "xx"},
		{"much too much", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, bridge.CodeInvalid, "1048576", "", "", ""},
		{"a part of an answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"reply": "hi"}`)
		}, bridge.CodeUnavailable, "broke the connection off", "log", "EOF", ""},
		{"no answer at all", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, bridge.CodeUnavailable, "broke the connection off", "log", "EOF", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, got := serve(t, tt.answer)
			replies, err := handler.HTTP{Name: "house", URL: s.URL + "/p4th?s3cret", Token: bridge.NewSecret("t0ken")}.Handle(t.Context(), greeting())
			wantFailure(t, err, tt.code, tt.text, tt.hint)
			if replies != nil {
				t.Errorf("replies: %+v", replies)
			}
			if whole := err.Error() + bridge.HintOf(err).String(); !strings.Contains(whole, tt.cause) || tt.none != "" && strings.Contains(whole, tt.none) ||
				strings.Contains(whole, "s3cret") || strings.Contains(whole, "p4th") {
				t.Errorf("the error is %s", whole)
			}
			if n := len(got); n != 1 && tt.name != "sent to and fro" {
				t.Errorf("posted %d times", n)
			}
		})
	}
}

// wantFailure reports an error if err is not one for a person, of code, with text
// and hint in it.
func wantFailure(t *testing.T, err error, code bridge.Code, text, hint string) {
	t.Helper()
	if _, ok := errors.AsType[*bridge.Error](err); !ok {
		t.Fatalf("the error is %v", err)
	}
	if bridge.CodeOf(err) != code || !strings.Contains(bridge.TextOf(err).String(), text) || !strings.Contains(bridge.HintOf(err).String(), hint) {
		t.Errorf("code %s\ntext %s\nhint %s\ncause %v", bridge.CodeOf(err), bridge.TextOf(err), bridge.HintOf(err), err)
	}
}

func TestHTTPPostsTheDocument(t *testing.T) {
	s, requests := serve(t, says("", ""))
	m := greeting()
	if _, err := (handler.HTTP{URL: s.URL + "/webhook/talk?a=b", UserAgent: "Perch/1"}).Handle(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	want := http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/plain"}, "User-Agent": {"Perch/1"},
		"Accept-Encoding": {"gzip"}, "Connection": {"close"}, "Content-Length": r.Header["Content-Length"],
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Error(diff)
	}
	var posted, document any
	data, err := json.Marshal(handler.NewDocument(m))
	if err := errors.Join(err, json.Unmarshal(data, &document), json.Unmarshal([]byte(r.Body), &posted)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document, posted); diff != "" {
		t.Error(diff)
	}
}

// files is a Fetcher of one content.
type files string

func (f files) FetchFile(context.Context, bridge.Message, bridge.Attachment, int64) ([]byte, error) {
	if f == "" {
		return nil, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("no files today")}
	}
	return []byte(f), nil
}

func TestHTTPPostsFilesAsDataURLs(t *testing.T) {
	m := greeting()
	for _, mimeType := range []string{"image/png", "text/plain; charset=utf-8", "", "picture", "x,y;base64", "text/html\r\nX: y"} {
		m.Attachments = append(m.Attachments, bridge.Attachment{Type: "file", Name: "../../x", MIMEType: mimeType})
	}
	s, requests := serve(t, says("", ""))
	if _, err := (handler.HTTP{URL: s.URL, Files: files("ab\x00")}).Handle(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var document handler.Document
	if err := json.Unmarshal([]byte((<-requests).Body), &document); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range document.Attachments {
		got = append(got, a.Data)
	}
	want := []string{
		"data:image/png;base64,YWIA", "data:text/plain;charset=utf-8;base64,YWIA", "data:application/octet-stream;base64,YWIA",
		"data:application/octet-stream;base64,YWIA", "data:application/octet-stream;base64,YWIA", "data:application/octet-stream;base64,YWIA",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	_, err := handler.HTTP{URL: s.URL, Files: files("")}.Handle(t.Context(), m)
	wantFailure(t, err, bridge.CodeUnavailable, "no files today", "")
	if len(requests) != 0 {
		t.Error("posted without the files")
	}
}

func TestHTTPSendsTokenAndSignature(t *testing.T) {
	s, requests := serve(t, says("", ""))
	h := handler.HTTP{URL: s.URL, Token: bridge.NewSecret("t0ken"), Secret: bridge.NewSecret("s3cret"), Sign: talk.Sign}
	var randoms []string
	for range 2 {
		if _, err := h.Handle(t.Context(), greeting()); err != nil {
			t.Fatal(err)
		}
		r := <-requests
		if got := r.Header.Get("Authorization"); got != "Bearer t0ken" {
			t.Errorf("Authorization: %s", got)
		}
		if !signed(r, "s3cret") {
			t.Error("the signature is wrong")
		}
		randoms = append(randoms, r.Header.Get("X-Nextcloud-Talk-Random"))
	}
	if randoms[0] == randoms[1] || len(randoms[0]) < 32 {
		t.Errorf("random: %q", randoms)
	}
}

// signed verifies a request as a Talk bot does.
func signed(r received, secret string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, r.Header.Get("X-Nextcloud-Talk-Random")+r.Body)
	given, err := hex.DecodeString(r.Header.Get("X-Nextcloud-Talk-Signature"))
	return err == nil && hmac.Equal(mac.Sum(nil), given)
}

func TestHTTPFollowsRedirectsThatStay(t *testing.T) {
	for _, status := range []int{http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			s, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/end" {
					http.Redirect(w, r, "/end", status)
					return
				}
				says("text/plain", "here")(w, r)
			})
			got, err := handler.HTTP{URL: s.URL + "/begin", Token: bridge.NewSecret("t0ken")}.Handle(t.Context(), greeting())
			if err != nil || len(got) != 1 || got[0].Text != "here" {
				t.Fatalf("%+v, %v", got, err)
			}
			first, second := <-requests, <-requests
			if first.Body != second.Body || second.Header.Get("Authorization") != "Bearer t0ken" {
				t.Errorf("first %+v\nthen %+v", first, second)
			}
		})
	}
}

// The token must not go to another program on the same machine either.
func TestHTTPTellsNobodyElse(t *testing.T) {
	other, others := serve(t, says("text/plain", "gotcha"))
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	_, err := handler.HTTP{URL: s.URL, Token: bridge.NewSecret("t0ken")}.Handle(t.Context(), greeting())
	wantFailure(t, err, bridge.CodeInvalid, other.URL, "Set url")
	if len(others) != 0 {
		t.Errorf("it got %+v", <-others)
	}
}

func TestHTTPStopsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	slow, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := (handler.HTTP{URL: slow.URL}).Handle(ctx, greeting()); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestHTTPHasADeadline(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"before an answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"within an answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			slow, requests := serve(t, answer)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := handler.HTTP{URL: slow.URL}.Handle(ctx, greeting())
			wantFailure(t, err, bridge.CodeUnavailable, "did not answer in time", "timeout in [handler]")
			if !errors.Is(err, context.DeadlineExceeded) || len(requests) > 1 {
				t.Errorf("posted %d times: %v", len(requests), err)
			}
		})
	}
}

// closedPort returns the address of a port at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// endpoints are URLs that do not work, and one that does, with its CA.
func endpoints(t *testing.T) (good string, roots *x509.CertPool, bad map[string]struct{ url, text, hint string }) {
	t.Helper()
	secure := httptest.NewUnstartedServer(says("text/plain", "hi"))
	quiet(secure)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	roots = x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	plain, _ := serve(t, says("text/plain", "hi"))
	quiet(plain)
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangsUp.Close() })
	go func() {
		for {
			conn, err := hangsUp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	port := func(s *httptest.Server) string { _, p, _ := strings.Cut(s.Listener.Addr().String(), ":"); return p }
	return secure.URL, roots, map[string]struct{ url, text, hint string }{
		"nothing":                {"", "[handlers.house]", "http://"},
		"no URL":                 {"http://us er:p4ss@x", "[handlers.house]", "http://"},
		"no host":                {"http:///x", "[handlers.house]", "http://"},
		"another scheme":         {"ftp://127.0.0.1/x", "[handlers.house]", "http://"},
		"nobody listens":         {"http://u:p4ss@" + closedPort(t) + "/p4th", "refuses connections", "[handlers.house]"},
		"no such name":           {"http://perch.invalid/p4th", "perch.invalid", "online"},
		"https at a plain port":  {"https://127.0.0.1:" + port(plain), "does not speak https", "http://"},
		"no TLS":                 {"https://" + hangsUp.Addr().String(), "", ""},
		"another name":           {"https://localhost:" + port(secure), "for another name", "name in the certificate"},
		"an unknown certificate": {secure.URL + "/p4th", "nobody that this machine knows", "ca_file"},
	}
}

func TestHTTPSaysWhyItCannotConnect(t *testing.T) {
	good, roots, bad := endpoints(t)
	got, err := handler.HTTP{URL: good, RootCAs: roots}.Handle(t.Context(), greeting())
	if err != nil || len(got) != 1 || got[0].Text != "hi" {
		t.Errorf("with its CA: %+v, %v", got, err)
	}
	for name, tt := range bad {
		t.Run(name, func(t *testing.T) {
			h := handler.HTTP{Name: "house", URL: tt.url, RootCAs: roots}
			if name == "an unknown certificate" {
				h.RootCAs = nil
			}
			_, err := h.Handle(t.Context(), greeting())
			wantFailure(t, err, bridge.CodeOf(err), tt.text, tt.hint)
			if strings.Contains(err.Error(), "p4") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestDiagnoseConnectsAndPostsNothing(t *testing.T) {
	good, roots, bad := endpoints(t)
	plain, requests := serve(t, says("", ""))
	for name, diagnose := range map[string]func(url string, roots *x509.CertPool) bridge.Result{
		"HTTP": func(url string, roots *x509.CertPool) bridge.Result {
			return handler.HTTP{Name: "house", URL: url, RootCAs: roots}.Diagnose(t.Context())
		},
		"Relay": func(url string, roots *x509.CertPool) bridge.Result {
			return (&handler.Relay{Name: "house", URL: url, RootCAs: roots}).Diagnose(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			if r := diagnose(plain.URL, nil); r.Status != bridge.StatusOK || !strings.Contains(r.Seen.String(), "takes connections") {
				t.Errorf("%+v", r)
			}
			if r := diagnose(good, roots); r.Status != bridge.StatusOK || !strings.Contains(r.Seen.String(), "valid until 20") {
				t.Errorf("%+v", r)
			}
			for name, tt := range bad {
				roots := roots
				if name == "an unknown certificate" {
					roots = nil
				}
				r := diagnose(tt.url, roots)
				if r.Status != bridge.StatusFail || r.Why.IsZero() || !strings.Contains(r.Seen.String(), tt.text) || !strings.Contains(r.Fix.String(), tt.hint) {
					t.Errorf("%s: %+v", name, r)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if r := (handler.HTTP{URL: plain.URL}).Diagnose(ctx); r.Status != bridge.StatusFail {
				t.Errorf("canceled: %+v", r)
			}
		})
	}
	if len(requests) != 0 {
		t.Errorf("it posted %+v", <-requests)
	}
}

// net/http reads the environment once, hence a process of its own.
func TestProxy(t *testing.T) {
	const variable = "PERCH_TEST_PROXIED"
	if os.Getenv(variable) == "" {
		proxy, asked := serve(t, says("text/plain", "from the proxy"))
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxy$", "-test.v")
		cmd.Env = append(os.Environ(), variable+"=1", "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=", "http_proxy=")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestProxy") {
			t.Errorf("%v\n%s", err, out)
		}
		if len(asked) != 1 {
			t.Errorf("the proxy was asked %d times", len(asked))
		}
		return
	}
	s, _ := serve(t, says("text/plain", "here"))
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		s.URL: "here", "http://localhost:" + u.Port(): "here", "http://perch.invalid/x": "from the proxy",
	} {
		got, err := handler.HTTP{URL: address}.Handle(t.Context(), greeting())
		if err != nil || len(got) != 1 || got[0].Text != want {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	if r := (handler.HTTP{URL: "https://perch.invalid/x"}).Diagnose(t.Context()); r.Status != bridge.StatusFail {
		t.Errorf("without a proxy for https: %+v", r)
	}
	if r := (handler.HTTP{URL: "http://perch.invalid/x"}).Diagnose(t.Context()); r.Status != bridge.StatusOK || !strings.Contains(r.Seen.String(), "proxy") {
		t.Errorf("with a proxy: %+v", r)
	}
}

// counter counts requests and answers them as it is told.
type counter struct {
	n      atomic.Int64
	answer func(n int64, w http.ResponseWriter, r *http.Request)
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.answer(c.n.Add(1), w, r) }
