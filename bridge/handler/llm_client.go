package handler

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/neterr"
)

const (
	// maxText bounds an answer, in bytes; maxStream what carries it, and
	// maxRefusal what an error says.
	maxText    = 128 << 10
	maxStream  = 32 << 20
	maxRefusal = 64 << 10
	// maxModels bounds the list of models.
	maxModels = 1000
	// listTimeout is how long the list of models may take.
	listTimeout = 4 * time.Second
	// askTimeout is how long an answer may take where nobody says.
	askTimeout = time.Hour
	// chatRetries is how often a request is sent again after a 429, a 5xx or a
	// broken connection, retryWait how long is waited at most before that.
	chatRetries = 2
	retryWait   = 20 * time.Second
	// endWait is how long is waited for the end of a stream whose answer is there.
	endWait = 10 * time.Second
	// goingOn is what an answer ends with that goes on.
	goingOn = " […]"
)

var (
	errStalled   = errors.New("no data")
	errBrokenOff = errors.New("the stream ended before the answer")
	errNoChat    = errors.New("this is nothing that a model server says")
)

// The roles of those who take turns in a conversation.
const (
	systemRole = "system"
	personRole = "user"
	modelRole  = "assistant"
	toolRole   = "tool"
)

// turn is a message of the conversation that a model is shown.
type turn struct {
	role, text string
	pictures   []string // addresses
	calls      []call   // of the model: what it wants of tools
	of         string   // of a tool: the id of the call whose result it is
}

// MarshalJSON returns t as servers take it.
func (t turn) MarshalJSON() ([]byte, error) {
	var content any = t.text
	if len(t.pictures) > 0 {
		parts := []any{map[string]any{"type": "text", "text": t.text}}
		for _, address := range t.pictures {
			parts = append(parts, map[string]any{"type": "image_url", "image_url": map[string]any{"url": address}})
		}
		content = parts
	}
	said := map[string]any{"role": t.role, "content": content}
	if len(t.calls) > 0 {
		var calls []any
		for _, c := range t.calls {
			calls = append(calls, map[string]any{"id": c.ID, "type": "function", "function": map[string]any{"name": c.Name, "arguments": c.Arguments}})
		}
		said["tool_calls"] = calls
	}
	if t.of != "" {
		said["tool_call_id"] = t.of
	}
	return json.Marshal(said)
}

// inTurns returns a conversation in which nobody speaks twice in a row, which the
// templates of many models do not allow.
func inTurns(all []turn) []turn {
	var turns []turn
	for _, t := range all {
		if last := len(turns) - 1; last >= 0 && turns[last].role == t.role {
			turns[last].text += "\n\n" + t.text
			continue
		}
		turns = append(turns, t)
	}
	return turns
}

// request asks for an answer.
type request struct {
	Model               string   `json:"model"`
	Messages            []turn   `json:"messages"`
	Temperature         *float64 `json:"temperature,omitempty"`
	MaxTokens           int      `json:"max_tokens,omitempty"` // local servers know no other name
	MaxCompletionTokens int      `json:"max_completion_tokens,omitempty"`
	Stream              bool     `json:"stream"`
	Tools               []tool   `json:"tools,omitempty"`

	StreamOptions *streamOptions `json:"stream_options,omitempty"`
}

// streamOptions ask for more than the pieces of the answer.
type streamOptions struct {
	IncludeUsage bool `json:"include_usage"` // the tokens that were used, at the end
}

// tokens returns about how many tokens q has, for a server that does not count.
func (q *request) tokens() (n int) {
	for _, t := range q.Messages {
		n += len(t.text)
	}
	return (n + 3) / 4
}

// otherwise makes q ask for the same in another way, if err says that the server
// knows only that.
func (q *request) otherwise(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	switch {
	case !ok:
		return false
	case q.MaxTokens > 0 && r.has("max_completion_tokens"):
		q.MaxTokens, q.MaxCompletionTokens = 0, q.MaxTokens
	case q.StreamOptions != nil && r.has("stream_options", "include_usage", "extra input", "extra field", "unexpected", "unrecognized", "unknown"):
		q.StreamOptions = nil
	case q.Stream && r.has("stream") && r.has("not support", "unsupported", "not allowed", "verified"):
		q.Stream, q.StreamOptions = false, nil
	case len(q.Messages) > 1 && q.Messages[0].role == systemRole &&
		r.has("must alternate", "system role", "system message", "only user and assistant", `role 'system'`, `role "system"`):
		system := q.Messages[0].text
		q.Messages = slices.Clone(q.Messages[1:])
		q.Messages[0].text = system + "\n\n" + q.Messages[0].text
	default:
		return false
	}
	return true
}

// complete asks the model.
func (l LLM) complete(ctx context.Context, messages []turn, tools []tool) (*answer, error) {
	bases, err := l.bases()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := l.client()
	defer client.CloseIdleConnections()
	q := request{Model: l.Model, Messages: messages, MaxTokens: l.MaxTokens, Stream: true, Tools: tools, StreamOptions: &streamOptions{IncludeUsage: true}}
	if l.Temperature >= 0 {
		q.Temperature = &l.Temperature
	}
	var waited patience
	base := bases[0]
	for {
		a, err := l.send(ctx, client, base, q)
		last := bases[len(bases)-1]
		switch {
		case err == nil:
			if a.tokens == 0 {
				a.tokens = q.tokens() + (a.text.Len()+3)/4
			}
			return a, nil
		case isElsewhere(err) && base != last:
			base = last
		case isElsewhere(err):
			return nil, l.explain(ctx, bases[0], err)
		case !q.otherwise(err) && !waited.again(ctx, err):
			return nil, l.explain(ctx, base, err)
		}
	}
}

// send asks once.
func (l LLM) send(ctx context.Context, client *http.Client, base *url.URL, q request) (*answer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := l.do(ctx, client, http.MethodPost, base.JoinPath("chat/completions"), body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{said: l.said}
	pulse := time.AfterFunc(askTimeout, func() { cancel(errStalled) })
	defer pulse.Stop()
	err = a.read(io.LimitReader(&watched{res.Body, pulse, func() time.Duration { return l.pause(a) }}, maxStream))
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return nil, errStalled
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		r.message = l.mask(r.message)
	}
	return a, err
}

// pause is how long is waited for more of an answer: for the first word of a slow
// machine as long as it takes.
func (l LLM) pause(a *answer) time.Duration {
	stall := cmp.Or(l.Stall, time.Minute)
	switch {
	case a.reason != "":
		return min(stall, endWait)
	case a.began():
		return stall
	}
	return askTimeout
}

// watched is a stream that may be silent for so long.
type watched struct {
	stream io.Reader
	pulse  *time.Timer
	atMost func() time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	w.pulse.Reset(w.atMost())
	return w.stream.Read(p)
}

// patience is how often a request was sent again.
type patience struct{ loads, tries int }

// again waits until a request is to be sent again because of err, and reports
// whether it is. While a server loads its model, that is until ctx is done.
func (p *patience) again(ctx context.Context, err error) bool {
	left := askTimeout
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	const first = time.Second / 2
	var step time.Duration
	r, isRefusal := errors.AsType[*refusal](err)
	switch {
	case isRefusal && r.loading():
		step = min(max(first<<min(p.loads, 4), r.after), retryWait, max(left/2, first/2))
		p.loads++
	case p.tries == chatRetries || isRefusal && !r.passing() || !isRefusal && !isBroken(err):
		return false
	default:
		step = min(first<<p.tries, left/2)
		if isRefusal && r.after >= 0 {
			step = r.after
		}
		if step > min(retryWait, left/2) {
			return false
		}
		p.tries++
	}
	if step >= left {
		return false
	}
	timer := time.NewTimer(step)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isBroken reports whether err may be gone when a request is sent again.
func isBroken(err error) bool {
	kind := neterr.KindOf(err)
	return !errors.Is(err, errBrokenOff) && (kind == neterr.Refused || kind == neterr.BrokenOff)
}

// do sends a request. The body of the response is the caller's to close. An
// answer that is none is a *refusal or a *redirection.
func (l LLM) do(ctx context.Context, client *http.Client, method string, address *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", cmp.Or(l.UserAgent, "Perch"))
	req.Header.Set("Accept", "application/json, text/event-stream")
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if key := l.key(); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := client.Do(req)
	if err != nil || res.StatusCode < http.StatusMultipleChoices {
		return res, err
	}
	defer res.Body.Close()
	if res.StatusCode < http.StatusBadRequest {
		return nil, &redirection{clip(res.Header.Get("Location"), maxSaid)}
	}
	end := time.AfterFunc(endWait, func() { _ = res.Body.Close() })
	defer end.Stop()
	data, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // what can be read of it will do
	r := newRefusal(res.StatusCode, []byte(l.mask(string(data))))
	if after := res.Header.Get("Retry-After"); after != "" {
		r.after = retryHeader(after)
	}
	return nil, r
}

// client returns a client of its own for a message. It follows nowhere: neither
// messages nor the key are for others.
func (l LLM) client() *http.Client {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: l.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	neterr.ThroughProxy(transport)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (l LLM) key() string { return strings.TrimSpace(l.Key.Reveal()) }

// base returns the address of the server.
func (l LLM) base() (*url.URL, error) {
	bases, err := l.bases()
	if err != nil {
		return nil, err
	}
	return bases[0], nil
}

// bases returns the addresses of the server, the likeliest first. Ollama and
// others have an interface of their own at /api, next to this one at /v1; some
// have this one at /api.
func (l LLM) bases() ([]*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(l.BaseURL))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &bridge.Error{ // without err, which repeats a password in the address
			Code: bridge.CodeInvalid,
			Text: bridge.Say("base_url is not the address of a model server"),
			Hint: bridge.Say("Ollama on this machine has: base_url = %s", `"http://127.0.0.1:11434/v1"`),
		}
	}
	u.RawPath = ""
	u.Path = strings.TrimRight(u.Path, "/")
	for _, endpoint := range []string{"/chat/completions", "/models", "/chat", "/generate", "/tags"} {
		if base, ok := strings.CutSuffix(u.Path, endpoint); ok {
			u.Path = base
			break
		}
	}
	if before, ok := strings.CutSuffix(u.Path, "/api"); ok {
		usual := *u
		usual.Path = before + "/v1"
		return []*url.URL{&usual, u}, nil
	}
	return []*url.URL{u}, nil
}

// final returns the answer as it is to be posted.
func (a *answer) final(l LLM) (string, error) {
	text := strings.TrimSpace(clip(strings.ToValidUTF8(a.text.String(), "�"), maxText))
	cleaned := strings.TrimSpace(l.clean(text))
	switch {
	case cleaned == "":
		return "", l.silent(a.reason, a.thought || text != "")
	case a.reason == reasonLength, a.reason == reasonFilter:
		cleaned += goingOn
	}
	return cleaned, nil
}

// model is a model that a server has.
type model struct {
	ID      string `json:"id"`
	OwnedBy string `json:"owned_by"`
}

// Models returns the names of the models that the server at baseURL offers, in
// order. Its errors are as those of LLM.
func Models(ctx context.Context, baseURL string, key bridge.Secret, pool *x509.CertPool) ([]string, error) {
	models, err := LLM{BaseURL: baseURL, Key: key, RootCAs: pool}.models(ctx)
	var names []string
	for _, m := range models[:min(len(models), maxModels)] {
		names = append(names, m.ID)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

func (l LLM) models(ctx context.Context) ([]model, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	bases, err := l.bases()
	if err != nil {
		return nil, err
	}
	client := l.client()
	defer client.CloseIdleConnections()
	models, err := l.list(ctx, client, bases[0])
	if len(bases) > 1 && isElsewhere(err) {
		models, err = l.list(ctx, client, bases[1])
	}
	switch {
	case err == nil:
		return models, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The model server at %s did not answer in time", l.BaseURL),
			Hint:  bridge.Say("Is the server running, and does a firewall let this machine through?"),
			Cause: ctx.Err(),
		}
	}
	return nil, l.explain(ctx, bases[0], err)
}

// list asks for the models.
func (l LLM) list(ctx context.Context, client *http.Client, base *url.URL) ([]model, error) {
	res, err := l.do(ctx, client, http.MethodGet, base.JoinPath("models"), nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxEvent))
	if err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var page struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &page); err != nil { // Together has the list alone
		page.Data = data
	}
	var models []model
	if err := json.Unmarshal(page.Data, &models); err != nil { // LM Studio says 200 wherever it knows nothing
		return nil, errNoChat
	}
	return models, nil
}
