package notify_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/notify"
)

const token = "0123456789-the-token-of-the-test"

// sent is what a handler posted.
type sent struct {
	room, text string
	silent     bool
}

// outbox keeps what is posted.
type outbox struct {
	all []sent
	err error
}

func (o *outbox) post(_ context.Context, room, text string, silent bool) ([]int64, error) {
	if o.err != nil {
		return nil, o.err
	}
	o.all = append(o.all, sent{room, text, silent})
	return []int64{int64(len(o.all)), 99}, nil
}

func request(body, kind string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/rooms/abcd1234/messages", strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func multi(t *testing.T, fields ...string) (body, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestBodies(t *testing.T) {
	const object, form = "application/json", "application/x-www-form-urlencoded"
	kumaForm, kumaKind := multi(t, "data", fixture(t, "uptimekuma.json"))
	parts, partsKind := multi(t, "message", "dinner", "title", "Kitchen", "silent", "true")
	long := strings.Repeat(`{"status":"firing","labels":{"alertname":"A"}},`, 30)
	for name, tt := range map[string]struct {
		r      *http.Request
		want   string
		silent bool
	}{
		"own":                  {request(`{"text": "hello **you**", "silent": true}`, object), "hello **you**", true},
		"own, templated":       {request(`{"text": "hello", "silent": "True"}`, object+"; charset=utf-8"), "hello", true},
		"own, not silent":      {request(`{"text": "hello", "silent": false}`, object), "hello", false},
		"silent in the query":  {query(request(`{"text": "hello"}`, object), "silent"), "hello", true},
		"loud in the query":    {query(request(`{"text": "hello", "silent": true}`, object), "silent=false"), "hello", false},
		"plain":                {request(" two\nlines \n", "text/plain"), "two\nlines", false},
		"plain, of no type":    {request("hello", ""), "hello", false},
		"plain that is JSON":   {request(`{"a": 1}`, "text/plain"), `{"a": 1}`, false},
		"form":                 {request("text=a+%26+b&silent=1", form), "a & b", true},
		"form of parts":        {request(parts, partsKind), "**Kitchen**\ndinner", true},
		"curl -d text":         {request("the backup is done", form), "the backup is done", false},
		"curl -d 100%":         {request("it is 100% done", form), "it is 100% done", false},
		"curl -d JSON":         {request(`{"text": "hello"}`, form), "hello", false},
		"Home Assistant, form": {request("message=The+door+is+open&title=Door", form), "**Door**\nThe door is open", false},
		"Home Assistant, JSON": {request(`{"message": "The door is open", "title": "Door", "target": null}`, object), "**Door**\nThe door is open", false},
		"Uptime Kuma":          {request(fixture(t, "uptimekuma.json"), object), "[Test] [🔴 Down] getaddrinfo ENOTFOUND test.example.com", false},
		"Uptime Kuma, form":    {request(kumaForm, kumaKind), "[Test] [🔴 Down] getaddrinfo ENOTFOUND test.example.com", false},
		"Uptime Kuma, test":    {request(`{"heartbeat": null, "monitor": null, "msg": "My Talk Testing"}`, object), "My Talk Testing", false},
		"Alertmanager": {
			request(fixture(t, "alertmanager.json"), object), "🔴 **[FIRING:1] ProbeFailure**\n" +
				"- Probe failure: https://server.example.org (job=http_checks, severity=critical) http://prometheus.example.org:9090/graph?g0.expr=probe_success+%3D%3D+0&g0.tab=1", false,
		},
		"Alertmanager, resolved": {
			request(strings.ReplaceAll(fixture(t, "alertmanager.json"), "firing", "resolved"), object), "🟢 **[RESOLVED] ProbeFailure**\n" +
				"- Probe failure: https://server.example.org (job=http_checks, severity=critical) http://prometheus.example.org:9090/graph?g0.expr=probe_success+%3D%3D+0&g0.tab=1", false,
		},
		"Alertmanager, many": {
			request(`{"version":"4","alerts":[`+strings.TrimSuffix(long, ",")+`],"truncatedAlerts":5}`, object),
			"🔴 **[FIRING:30] A**\n" + strings.Repeat("- 🔴 A\n", 20) + "- … and 15 more", false,
		},
		"Grafana": {
			request(fixture(t, "grafana.json"), object), "🔴 **[FIRING:1, RESOLVED:1] (blue)**\n" +
				"- 🔴 This alert was triggered for zone us-1 (team=blue) https://play.grafana.org/alerting/1afz29v7z/edit\n" +
				"- 🟢 This alert was triggered for zone eu-1 (team=blue) https://play.grafana.org/d/1?viewPanel=2", false,
		},
		"GitHub, ping": {
			request(`{"zen":"Speak like a human.","hook_id":1,"repository":{"full_name":"a/b","html_url":"https://github.com/a/b"},"sender":{"login":"a"}}`, object, "X-GitHub-Event", "ping"),
			"**a/b** the webhook works: Speak like a human. https://github.com/a/b", false,
		},
		"GitHub, push": {
			request(fixture(t, "github_push.json"), object, "X-GitHub-Event", "push"),
			"**Codertocat/Hello-World** Codertocat pushed 1 commit to `main` https://github.com/Codertocat/Hello-World/compare/6113728f27ae...0d1a26e67d8f\n" +
				"- `0d1a26e` Update README.md (Codertocat)", false,
		},
		"GitHub, issue, form": {
			request("payload="+escaped(fixture(t, "github_issues.json")), form, "X-GitHub-Event", "issues"),
			"**Codertocat/Hello-World** Codertocat opened issue #1: Spelling error in the README file, @\u200ball https://github.com/Codertocat/Hello-World/issues/1", false,
		},
		"GitHub, merged": {
			request(`{"action":"closed","pull_request":{"number":2,"title":"T","html_url":"https://github.com/a/b/pull/2","merged":true},"repository":{"full_name":"a/b"},"sender":{"login":"c"}}`, object, "X-GitHub-Event", "pull_request"),
			"**a/b** c merged pull request #2: T https://github.com/a/b/pull/2", false,
		},
		"GitHub, comment": {
			request(`{"action":"created","issue":{"number":2,"title":"T"},"comment":{"body":"I\nagree","html_url":"https://github.com/a/b/issues/2#c"},"repository":{"full_name":"a/b"},"sender":{"login":"c"}}`, object, "X-GitHub-Event", "issue_comment"),
			"**a/b** c commented on #2: T https://github.com/a/b/issues/2#c\n> I agree", false,
		},
		"GitHub, workflow": {
			request(`{"action":"completed","workflow_run":{"name":"CI","head_branch":"main","conclusion":"failure","html_url":"https://github.com/a/b/actions/runs/1"},"repository":{"full_name":"a/b"},"sender":{"login":"c"}}`, object, "X-GitHub-Event", "workflow_run"),
			"**a/b** workflow CI failure on `main` https://github.com/a/b/actions/runs/1", false,
		},
		"GitHub, another": {
			request(`{"action":"created","repository":{"full_name":"a/b","html_url":"https://github.com/a/b"},"sender":{"login":"c"}}`, object, "X-GitHub-Event", "star"),
			"**a/b** c star created https://github.com/a/b", false,
		},
		"Gitea, push": {
			request(fixture(t, "gitea_push.json"), object, "X-Gitea-Event", "push", "X-GitHub-Event", "push"),
			"**gitea/webhooks** gitea pushed 1 commit to `develop` http://localhost:3000/gitea/webhooks/compare/28e1879d029cb852e4844d9c718537df08844e03...bffeb74224043ba2feb48d137756c8a9331c449a\n" +
				"- `bffeb74` Webhooks Yay! (gitea)", false,
		},
	} {
		var o outbox
		w := httptest.NewRecorder()
		notify.NewHandler(o.post).ServeHTTP(w, tt.r)
		if w.Code != http.StatusAccepted || w.Body.String() != `{"id":1}`+"\n" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		if want := (sent{"abcd1234", tt.want, tt.silent}); o.all[0] != want {
			t.Errorf("%s: posted\n%+v, want\n%+v", name, o.all[0], want)
		}
	}
}

func query(r *http.Request, q string) *http.Request {
	r.URL.RawQuery = q
	return r
}

func escaped(s string) string {
	return strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B", "\n", "").Replace(s)
}

func TestRefused(t *testing.T) {
	const object = "application/json"
	at := func(method, path string) *http.Request {
		return httptest.NewRequest(method, path, strings.NewReader("x"))
	}
	for name, tt := range map[string]struct {
		r    *http.Request
		err  error
		code int
	}{
		"empty":             {request("", object), nil, 400},
		"blank":             {request(" \n", "text/plain"), nil, 400},
		"no text":           {request(`{"foo": "bar"}`, object), nil, 400},
		"text is a number":  {request(`{"text": 1}`, object), nil, 400},
		"cut off":           {request(`{"text": "x`, object), nil, 400},
		"a list":            {request(`[]`, object), nil, 400},
		"no such field":     {request("foo=bar", "application/x-www-form-urlencoded"), nil, 400},
		"bad parts":         {request("x", "multipart/form-data; boundary=y"), nil, 400},
		"not UTF-8":         {request("\xff", "text/plain"), nil, 400},
		"long text":         {request(strings.Repeat("x", 64<<10+1), "text/plain"), nil, 413},
		"large body":        {request(strings.Repeat("x", 1<<20+1), "text/plain"), nil, 413},
		"bad event":         {request("[]", object, "X-GitHub-Event", "push"), nil, 400},
		"get":               {at(http.MethodGet, "/v1/rooms/abcd1234/messages"), nil, 405},
		"elsewhere":         {at(http.MethodPost, "/v1/rooms/abcd1234"), nil, 404},
		"no token of Talk":  {at(http.MethodPost, "/v1/rooms/a%2fb/messages"), nil, 404},
		"nothing to send":   {request("x", ""), &bridge.Error{Code: bridge.CodeInvalid}, 400},
		"disk full":         {request("x", ""), &bridge.Error{Code: bridge.CodeUnavailable}, 503},
		"something unknown": {request("x", ""), errors.New("?"), 503},
	} {
		o := outbox{err: tt.err}
		w := httptest.NewRecorder()
		notify.NewHandler(o.post).ServeHTTP(w, tt.r)
		if w.Code != tt.code || len(o.all) > 0 || !strings.HasPrefix(w.Body.String(), `{"error":"`) {
			t.Errorf("%s: %d %s, posted %v", name, w.Code, w.Body, o.all)
		}
	}
}

// A conversation takes so many at once; the others are not touched by that.
func TestRate(t *testing.T) {
	var o outbox
	h := notify.NewHandler(o.post)
	now := time.Now()
	h.SetClock(func() time.Time { return now })
	post := func(room string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v1/rooms/"+url.PathEscape(room)+"/messages", strings.NewReader("x"))
		h.ServeHTTP(w, r)
		return w
	}
	for range 60 {
		if w := post("aaaa"); w.Code != http.StatusAccepted {
			t.Fatalf("after %d: %d", len(o.all), w.Code)
		}
	}
	if w := post("aaaa"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
		t.Errorf("the 61st: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := post("bbbb"); w.Code != http.StatusAccepted {
		t.Errorf("another conversation: %d", w.Code)
	}
	for i := range 2000 { // twice as many as are counted one by one
		post("room" + strconv.Itoa(i))
	}
	if w := post("one more"); w.Code != http.StatusNotFound {
		t.Errorf("no token: %d", w.Code)
	}
	if w := post("onemore"); w.Code != http.StatusTooManyRequests {
		t.Errorf("a conversation after too many others: %d", w.Code)
	}
	if w := post("aaaa"); w.Code != http.StatusTooManyRequests {
		t.Errorf("the first one, after many others: %d", w.Code)
	}
	now = now.Add(time.Second)
	if w := post("aaaa"); w.Code != http.StatusAccepted {
		t.Errorf("a second later: %d", w.Code)
	}
	now = now.Add(time.Hour)
	for i := range 2000 {
		if w := post("later" + strconv.Itoa(i)); w.Code != http.StatusAccepted && i < 900 {
			t.Fatalf("an hour later: %d, after %d", w.Code, i)
		}
	}
}

type sink struct{ events []bridge.Event }

func (s *sink) Publish(e bridge.Event) { s.events = append(s.events, e) }

func newServer(o *outbox, s *sink, secret string) *notify.Server {
	m := notify.NewMetrics("1.2.3", time.Now(), func(context.Context) (notify.Gauges, error) { return notify.Gauges{}, nil })
	return notify.NewServer(notify.Options{
		Token: func() bridge.Secret { return bridge.NewSecret(secret) }, Messages: notify.NewHandler(o.post), Metrics: m.Handler(),
		Sink: s, Log: slog.New(slog.DiscardHandler),
	})
}

func sign(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, body)
	return hex.EncodeToString(mac.Sum(nil))
}

func TestAuthorisation(t *testing.T) {
	const body = `{"text": "x", "zen": "y"}`
	basic := func(password string) *http.Request {
		r := request(body, "application/json")
		r.SetBasicAuth("whoever", password)
		return r
	}
	with := func(header, value string) *http.Request {
		return request(body, "application/json", header, value)
	}
	for name, tt := range map[string]struct {
		r    *http.Request
		code int
	}{
		"bearer":              {with("Authorization", "Bearer "+token), 202},
		"small letters":       {with("Authorization", "bearer  "+token), 202},
		"another":             {with("Authorization", "Bearer "+token+"x"), 401},
		"none":                {request(body, "application/json"), 401},
		"bare":                {with("Authorization", token), 401},
		"empty":               {with("Authorization", "Bearer "), 401},
		"password":            {basic(token), 202},
		"another password":    {basic("x"), 401},
		"signed":              {with("X-Hub-Signature-256", "sha256="+sign(token, body)), 202},
		"signed by Gitea":     {with("X-Gitea-Signature", sign(token, body)), 202},
		"signed otherwise":    {with("X-Hub-Signature-256", "sha256="+sign("x", body)), 401},
		"signed, other body":  {with("X-Hub-Signature-256", "sha256="+sign(token, "x")), 401},
		"not signed at all":   {with("X-Hub-Signature-256", "sha256=zz"), 401},
		"in the address":      {query(request(body, "application/json"), "token="+token), 401},
		"wrong and signed":    {request(body, "application/json", "Authorization", "Bearer x", "X-Gitea-Signature", sign(token, body)), 401},
		"signed, and too big": {request(strings.Repeat("x", 2<<20), "", "X-Gitea-Signature", "00"), 413},
	} {
		var o outbox
		w := httptest.NewRecorder()
		newServer(&o, &sink{}, token).ServeHTTP(w, tt.r)
		if w.Code != tt.code || len(o.all) > 0 != (tt.code == 202) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	for _, r := range []*http.Request{with("Authorization", "Bearer "), basic(""), with("X-Gitea-Signature", sign("", body)), request(body, "")} {
		w := httptest.NewRecorder()
		if newServer(&outbox{}, &sink{}, "").ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("without a token: %d", w.Code)
		}
	}
}

// Whoever guesses is locked out, with the right token too; whoever has one wrong
// token is not, nor is anybody elsewhere.
func TestGuessing(t *testing.T) {
	var o outbox
	var told sink
	s := newServer(&o, &told, token)
	try := func(from, token string) int {
		r := request("x", "", "Authorization", "Bearer "+token)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return w.Code
	}
	for range 100 {
		if code := try("192.0.2.1:1000", "the same"); code != 401 {
			t.Fatalf("one wrong token: %d", code)
		}
	}
	if code := try("192.0.2.1:1000", token); code != 202 {
		t.Errorf("then the right one: %d", code)
	}
	if len(told.events) != 1 || strings.Contains(fmt.Sprint(told.events), "the same") {
		t.Errorf("told %v", told.events)
	}
	last := 0
	for i := range 20 {
		last = try("[2001:db8::"+strconv.Itoa(i+1)+"]:1000", "guess "+strconv.Itoa(i))
	}
	if last != 429 {
		t.Errorf("the 20th guess: %d", last)
	}
	if code := try("[2001:db8::99]:1000", token); code != 429 {
		t.Errorf("the right one after that: %d", code)
	}
	if code := try("[2001:db8:1::99]:1000", token); code != 202 {
		t.Errorf("the right one from elsewhere: %d", code)
	}
}

func TestMetrics(t *testing.T) {
	m := notify.NewMetrics("1.2.3", time.Unix(1700000000, 0), func(context.Context) (notify.Gauges, error) {
		return notify.Gauges{Messages: 2, Replies: 3, Held: true, Tunnel: bridge.TunnelState{Phase: "online", Connections: 4}}, nil
	})
	m.Count(bridge.Event{Kind: bridge.EventMessageReceived})
	m.Count(bridge.Event{Kind: bridge.EventMessageReceived})
	m.Count(bridge.Event{Kind: bridge.EventMessageHandled, Duration: 2 * time.Second})
	m.Count(bridge.Event{Kind: bridge.EventReplySent, Duration: 200 * time.Millisecond, Waited: 3 * time.Second})
	m.Count(bridge.Event{Kind: bridge.EventWebhookRefused, Count: 7})
	m.Count(bridge.Event{Kind: bridge.EventStopped})
	m.Drop(5)
	o, told := &outbox{}, &sink{}
	s := notify.NewServer(notify.Options{
		Token: func() bridge.Secret { return bridge.NewSecret(token) }, Messages: notify.NewHandler(o.post), Metrics: m.Handler(),
		Sink: told, Log: slog.New(slog.DiscardHandler),
	})
	get := func(header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	if w := get(); w.Code != 401 {
		t.Errorf("without the token: %d", w.Code)
	}
	w := get("Authorization", "Bearer "+token, "Accept", "application/openmetrics-text; version=1.0.0")
	page := w.Body.String()
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(page, "# EOF\n") {
		t.Errorf("%s: %s", w.Header().Get("Content-Type"), page)
	}
	for _, line := range []string{
		`perch_messages_total{fate="received"} 2.0`, `perch_messages_total{fate="handled"} 1.0`, `perch_messages_total{fate="failed"} 0.0`,
		`perch_replies_total{fate="sent"} 1.0`, `perch_refused_total{fate="webhook"} 7.0`, `perch_events_dropped_total 5.0`,
		`perch_handler_seconds_sum 2.0`, `perch_send_seconds_sum 0.2`, `perch_reply_seconds_count 1`,
		`perch_backlog{of="messages"} 2.0`, `perch_backlog{of="replies"} 3.0`, `perch_held 1.0`,
		`perch_tunnel_state{state="online"} 1.0`, `perch_tunnel_state{state="off"} 0.0`, `perch_tunnel_connections 4.0`,
		`perch_build_info{version="1.2.3"} 1.0`, `perch_start_time_seconds 1.7e+09`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, page)
		}
	}
}

// A Server answers on a listener, and ends with its context.
func TestServe(t *testing.T) {
	var o outbox
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- newServer(&o, &sink{}, token).Serve(ctx, ln) }()
	r, err := http.NewRequest(http.MethodPost, "http://"+ln.Addr().String()+"/v1/rooms/abcd1234/messages", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", resp.StatusCode)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
