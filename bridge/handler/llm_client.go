package handler

import (
	"bufio"
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
	"unicode"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/pagination"
	"github.com/openai/openai-go/v3/packages/ssestream"

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
	// chatRetries is how often a request is sent again after a 429, a 5xx or a
	// broken connection, retryWait how long is waited at most before that.
	chatRetries = 2
	retryWait   = 20 * time.Second
	// goingOn is what an answer ends with that goes on.
	goingOn = " […]"
)

var (
	errStalled   = errors.New("no data")
	errBrokenOff = errors.New("the stream ended before the answer")
	errNoChat    = errors.New("this is nothing that a model server says")
)

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

func (l LLM) models(ctx context.Context) ([]openai.Model, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	models, res, err := l.list(ctx)
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
	return nil, l.explain(ctx, res, err)
}

// list asks for the models. res is not nil where an answer came that is an
// error.
func (l LLM) list(ctx context.Context) (models []openai.Model, res *http.Response, err error) {
	options, done, err := l.options()
	if err != nil {
		return nil, nil, err
	}
	defer done()
	service := openai.NewModelService(options...)
	if _, err := service.List(ctx, option.WithMaxRetries(0), option.WithResponseBodyInto(&res)); err != nil {
		return nil, res, err
	}
	data, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, nil, err
	}
	var page pagination.Page[openai.Model]
	if err := json.Unmarshal(data, &page); err != nil || page.JSON.Data.Raw() == "" { // LM Studio says 200 wherever it knows nothing
		return nil, nil, errNoChat
	}
	return page.Data, nil, nil
}

// complete asks the model and returns its answer, without what it thought.
func (l LLM) complete(ctx context.Context, prompt []openai.ChatCompletionMessageParamUnion) (string, error) {
	params := openai.ChatCompletionNewParams{Model: l.Model, Messages: prompt}
	if l.Temperature >= 0 {
		params.Temperature = openai.Float(l.Temperature)
	}
	if l.MaxTokens > 0 {
		params.MaxTokens = openai.Int(int64(l.MaxTokens)) // local servers know no other name
	}
	text, err := l.send(ctx, params)
	if refused, ok := errors.AsType[*refusal](err); ok && l.MaxTokens > 0 && strings.Contains(refused.message, "max_completion_tokens") {
		params.MaxTokens = openai.ChatCompletionNewParams{}.MaxTokens
		params.MaxCompletionTokens = openai.Int(int64(l.MaxTokens))
		text, err = l.send(ctx, params)
	}
	return text, err
}

func (l LLM) send(ctx context.Context, params openai.ChatCompletionNewParams) (string, error) {
	options, done, err := l.options()
	if err != nil {
		return "", err
	}
	defer done()
	wait := retryWait
	if deadline, ok := ctx.Deadline(); ok { // what else is there to wait for
		wait = max(min(wait, time.Until(deadline)/2), time.Millisecond)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := l.stall()
	watchdog := time.AfterFunc(3*stall, func() { cancel(errStalled) })
	defer watchdog.Stop()

	var res *http.Response
	service := openai.NewChatCompletionService(options...)
	_, err = service.New(ctx, params, option.WithMaxRetries(chatRetries), option.WithMaxRetryDelay(wait),
		option.WithJSONSet("stream", true), option.WithResponseBodyInto(&res))
	if err != nil {
		return "", l.explain(ctx, res, err)
	}
	defer func() { _ = res.Body.Close() }()
	a, err := readAnswer(res, func() { watchdog.Reset(stall) })
	if err != nil {
		return "", l.explain(ctx, nil, err)
	}
	return a.final(l)
}

func (l LLM) stall() time.Duration { return cmp.Or(l.Stall, time.Minute) }

// options returns what every request needs. done ends its connections.
func (l LLM) options() (options []option.RequestOption, done func(), err error) {
	base, err := l.base()
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: l.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	neterr.ThroughProxy(transport)
	options = []option.RequestOption{
		option.WithHTTPClient(&http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		option.WithBaseURL(base.String()),
		option.WithHeader("User-Agent", cmp.Or(l.UserAgent, "Perch")),
		option.WithMiddleware(modest),
	}
	if key := l.key(); key != "" {
		options = append(options, option.WithAPIKey(key))
	}
	return options, transport.CloseIdleConnections, nil
}

func (l LLM) key() string { return strings.TrimSpace(l.Key.Reveal()) }

// base returns the address of the server.
func (l LLM) base() (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(l.BaseURL))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &bridge.Error{ // without err, which repeats a password in the address
			Code: bridge.CodeInvalid,
			Text: bridge.Say("base_url is not the address of a model server"),
			Hint: bridge.Say("Ollama on this machine has: base_url = %s", `"http://127.0.0.1:11434/v1"`),
		}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

// modest bounds what is read of an answer, follows nowhere else, and tells the
// server nothing about this machine.
func modest(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	for name := range req.Header {
		if strings.HasPrefix(name, "X-Stainless-") {
			req.Header.Del(name)
		}
	}
	res, err := next(req)
	if err != nil {
		return res, err
	}
	limit := int64(maxStream)
	switch {
	case res.StatusCode >= http.StatusBadRequest:
		limit = maxRefusal
	case res.StatusCode >= http.StatusMultipleChoices:
		_ = res.Body.Close()
		return res, &redirection{clip(res.Header.Get("Location"), maxSaid)}
	}
	res.Body = body{io.LimitReader(res.Body, limit), res.Body}
	return res, nil
}

type body struct {
	io.Reader
	io.Closer
}

// answer is what a model said.
type answer struct {
	text   strings.Builder
	reason string // why it ended: "stop", "length", "content_filter", …
}

// readAnswer reads an answer that comes in pieces, or as a whole though it was
// not asked for so. It calls alive for each piece.
func readAnswer(res *http.Response, alive func()) (*answer, error) {
	r := bufio.NewReader(res.Body)
	var first rune
	for first == 0 || unicode.IsSpace(first) {
		var err error
		if first, _, err = r.ReadRune(); errors.Is(err, io.EOF) {
			return nil, errNoChat
		} else if err != nil {
			return nil, err
		}
	}
	_ = r.UnreadRune() // never fails after ReadRune
	if first == '{' {
		return readWhole(r)
	}
	res.Body = body{r, res.Body}
	return readStream(ssestream.NewDecoder(res), alive)
}

func readWhole(r io.Reader) (*answer, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var c openai.ChatCompletion
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, errNoChat
	}
	if raw := c.JSON.ExtraFields["error"].Raw(); raw != "" && raw != "null" {
		return nil, newRefusal(http.StatusOK, []byte(raw))
	}
	if len(c.Choices) == 0 {
		return nil, errNoChat
	}
	a := &answer{reason: c.Choices[0].FinishReason}
	a.text.WriteString(c.Choices[0].Message.Content + c.Choices[0].Message.Refusal)
	return a, nil
}

func readStream(events ssestream.Decoder, alive func()) (*answer, error) {
	a := &answer{}
	var pieces int
	for events.Next() {
		alive()
		event := events.Event()
		data := bytes.TrimSpace(event.Data)
		if bytes.HasPrefix(data, []byte("[DONE]")) {
			a.reason = cmp.Or(a.reason, "stop")
			break
		}
		var c openai.ChatCompletionChunk
		switch err := json.Unmarshal(data, &c); {
		case event.Type == "error":
			return nil, newRefusal(http.StatusOK, data)
		case err != nil:
			return nil, errors.Join(errNoChat, err)
		}
		if raw := c.JSON.ExtraFields["error"].Raw(); raw != "" && raw != "null" {
			return nil, newRefusal(http.StatusOK, []byte(raw))
		}
		pieces++
		if len(c.Choices) == 0 {
			continue
		}
		a.text.WriteString(c.Choices[0].Delta.Content + c.Choices[0].Delta.Refusal)
		a.reason = cmp.Or(c.Choices[0].FinishReason, a.reason)
		if a.text.Len() > maxText {
			a.reason = "length"
			return a, nil
		}
	}
	switch {
	case events.Err() != nil:
		return nil, errors.Join(errBrokenOff, events.Err())
	case pieces == 0 && a.reason == "":
		return nil, errNoChat
	case a.reason == "":
		return nil, errBrokenOff
	}
	return a, nil
}

// final returns the answer as it is to be posted.
func (a *answer) final(l LLM) (string, error) {
	text := strings.TrimSpace(clip(withoutThoughts(strings.ToValidUTF8(a.text.String(), "�")), maxText))
	switch {
	case text == "":
		return "", l.silent(a.reason)
	case a.reason == "length":
		text += goingOn
	}
	return text, nil
}

// withoutThoughts returns the text without what a reasoning model thinks aloud.
func withoutThoughts(text string) string {
	const begin, end = "<think>", "</think>"
	if head, tail, ok := strings.Cut(text, end); ok && !strings.Contains(head, begin) &&
		(strings.HasSuffix(head, "\n") || strings.TrimSpace(head) == "") {
		text = tail // the prompt's template began the block
	}
	var b strings.Builder
	for {
		head, tail, ok := strings.Cut(text, begin)
		if !ok {
			break
		}
		_, rest, closed := strings.Cut(tail, end)
		if !closed {
			if strings.TrimSpace(b.String()+head) == "" {
				return "" // cut off while it thought
			}
			break
		}
		b.WriteString(head)
		text = rest
	}
	return b.String() + text
}
