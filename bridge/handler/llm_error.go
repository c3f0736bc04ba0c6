package handler

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/neterr"
)

// maxSaid bounds what is repeated of a server's words, in bytes.
const maxSaid = 300

// refusal is an error that a model server reported.
type refusal struct {
	status  int    // of HTTP; 200 if it came with the answer
	message string // in one line, with codes
}

func (r *refusal) Error() string { return strconv.Itoa(r.status) + " " + r.message }

// newRefusal reads an error in any of the forms that are about: an object with
// "message", "code" and "type", such an object as "error", or a plain text.
func newRefusal(status int, data []byte) *refusal {
	var outer struct {
		Error  json.RawMessage `json:"error"`
		Detail json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(data, &outer) == nil {
		switch {
		case len(outer.Error) > 0:
			data = outer.Error
		case len(outer.Detail) > 0:
			data = outer.Detail
		}
	}
	var text string
	var inner map[string]any
	switch {
	case json.Unmarshal(data, &text) == nil:
	case json.Unmarshal(data, &inner) == nil:
		for _, key := range []string{"message", "code", "type"} {
			if s, ok := inner[key].(string); ok && s != "" && !strings.Contains(text, s) {
				text += " " + s
			}
		}
	default:
		text = string(data)
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, " ")), " ")
	return &refusal{status, clip(text, maxSaid)}
}

// has reports whether the server said one of the words.
func (r *refusal) has(words ...string) bool {
	said := strings.ToLower(r.message)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
}

// redirection is an answer that sends on to another address, to which neither
// messages nor the key are given.
type redirection struct{ to string }

func (r *redirection) Error() string { return "redirected to " + r.to }

// refusesPictures reports whether err can be because of the pictures. Not all
// servers say so.
func refusesPictures(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		return false
	}
	switch r.status {
	case http.StatusOK, http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return r.has("image", "picture", "multimodal", "vision")
	}
	return true
}

// explain turns an error of a request into one for a person. res is what came
// with it, or nil.
func (l LLM) explain(ctx context.Context, res *http.Response, err error) error {
	base, wrong := l.base()
	if wrong != nil {
		return wrong
	}
	if errors.Is(context.Cause(ctx), errStalled) {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The model %s fell silent", l.Model),
			Hint:  bridge.Say("It may be too large for its machine. With Ollama, see what runs with: ollama ps"),
			Cause: errStalled,
		}
	}
	if ctx.Err() != nil {
		return l.late(ctx)
	}
	if res != nil && res.StatusCode >= http.StatusBadRequest {
		data, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // what can be read of it will do
		_ = res.Body.Close()
		return l.refused(ctx, base, newRefusal(res.StatusCode, []byte(l.mask(string(data)))), retryHeader(res.Header.Get("Retry-After")))
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return l.refused(ctx, base, &refusal{r.status, l.mask(r.message)}, 0)
	}
	if errors.Is(err, errBrokenOff) {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The model server at %s broke off in the middle of the answer", base.Host),
			Hint:  bridge.Say("Its log should say why. Often the machine ran out of memory."),
			Cause: l.safe(err),
		}
	}
	if errors.Is(err, errNoChat) || res != nil {
		return notThere(base, l.safe(err))
	}
	return l.unreachable(base, err)
}

// late is the error of a context that is done.
func (l LLM) late(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("The model %s did not answer in time", l.Model),
		Hint:  bridge.Say("Give it more time with timeout, or choose a smaller model."),
		Cause: ctx.Err(),
	}
}

// refused explains what a server said.
func (l LLM) refused(ctx context.Context, base *url.URL, r *refusal, after time.Duration) error {
	e := &bridge.Error{Code: bridge.CodeUnavailable, Cause: r}
	unknownModel := r.has("model") && r.has("not found", "not_found", "does not exist", "not exist", "no such model", "unknown model", "invalid model")
	switch {
	case r.status == http.StatusUnauthorized && l.key() == "":
		e.Code = bridge.CodeUnauthorized
		e.Text = bridge.Say("The model server at %s wants a key", base.Host)
		e.Hint = bridge.Say("Set it in the settings, or: %s").With(l.Key.HowTo(bridge.SecretOf(bridge.HandlerToken, l.Name)))
	case r.status == http.StatusUnauthorized:
		e.Code = bridge.CodeUnauthorized
		e.Text = bridge.Say("The model server at %s refused the key", base.Host)
		e.Hint = bridge.Say("Set the right one in the settings, or: %s").With(l.Key.HowTo(bridge.SecretOf(bridge.HandlerToken, l.Name)))
	case r.has("context_length", "context length", "context size", "context window", "exceed_context", "too many tokens", "prompt is too long"):
		e.Code = bridge.CodeRejected
		e.Text = bridge.Say("The conversation is too long for the model %s", l.Model)
		e.Hint = bridge.Say("Write !forget in the room, set a lower history, or give the model a larger context. With Ollama: OLLAMA_CONTEXT_LENGTH=16384 ollama serve")
	case unknownModel && r.status < http.StatusInternalServerError:
		e.Code = bridge.CodeNotFound
		e.Text = bridge.Say("The model server at %s has no model %s", base.Host, l.Model)
		names, _ := Models(ctx, l.BaseURL, l.Key, l.RootCAs) // without them the hint is shorter
		e.Hint = l.pull(names)
	case r.status == http.StatusNotFound, r.status == http.StatusMethodNotAllowed, r.has("unexpected endpoint"):
		return notThere(base, r)
	case r.status == http.StatusTooManyRequests && r.has("quota", "billing", "credit"), r.status == http.StatusPaymentRequired:
		e.Code, e.RetryAfter = bridge.CodeThrottled, after
		e.Text = bridge.Say("What is paid for at %s is used up", base.Host)
		e.Hint = bridge.Say("See the plan and the limits of your account there.")
	case r.status == http.StatusTooManyRequests:
		e.Code, e.RetryAfter = bridge.CodeThrottled, after
		e.Text = bridge.Say("The model server at %s has too much to do (429)", base.Host)
		e.Hint = bridge.Say("Try again in a while. If it happens often, ask for fewer messages with trigger.")
	case r.status == http.StatusForbidden:
		e.Code = bridge.CodeDenied
		e.Text = bridge.Say("The model server at %s does not allow this: %s", base.Host, r.message)
	case r.status >= http.StatusInternalServerError, r.status == http.StatusOK:
		e.Text = bridge.Say("The model server at %s failed: %s", base.Host, r.message)
		e.Hint = l.target(base).Answered(r.status, bridge.Say("Its log should say why. Often the machine ran out of memory."))
	default:
		e.Code = bridge.CodeRejected
		e.Text = bridge.Say("The model server at %s refused the request: %s", base.Host, r.message)
		e.Hint = bridge.Say("Check model, temperature and max_tokens.")
	}
	return e
}

// pull returns how to get the model from a server that has others.
func (l LLM) pull(names []string) bridge.Text {
	if len(names) == 0 {
		return bridge.Say("Get it; with Ollama: ollama pull %s", l.Model)
	}
	const most = 10
	list := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		list += ", …"
	}
	return bridge.Say("Get it; with Ollama: ollama pull %[1]s\nor choose one that is there: %[2]s", l.Model, list)
}

// notThere explains that something else answers at base.
func notThere(base *url.URL, cause error) error {
	e := &bridge.Error{
		Code:  bridge.CodeNotFound,
		Text:  bridge.Say("There is no OpenAI-compatible model server at %s", base.String()),
		Hint:  bridge.Say("Check base_url. Ollama on this machine has: base_url = %s", `"http://127.0.0.1:11434/v1"`),
		Cause: cause,
	}
	sent, isSent := errors.AsType[*redirection](cause)
	switch {
	case isSent:
		e.Hint = bridge.Say("It sends on to %s. Set base_url to the address of the model server itself.", sent.to)
	case !regexp.MustCompile(`/v\d`).MatchString(base.Path):
		e.Hint = bridge.Say("The address usually ends with /v1: base_url = %s", strconv.Quote(base.String()+"/v1"))
	}
	return e
}

// silent explains an answer without a word.
func (l LLM) silent(reason string) error {
	e := &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The model %s gave an empty answer", l.Model)}
	switch reason {
	case "length":
		e.Hint = bridge.Say("It used up its tokens before it said something. Set a higher max_tokens, or 0.")
	case "content_filter":
		e.Hint = bridge.Say("The server's filter took the answer away.")
	default:
		e.Hint = bridge.Say("Is it a model for chats? Try another one.")
	}
	return e
}

func (l LLM) target(base *url.URL) neterr.Target {
	table := "[handler]"
	if l.Name != "" {
		table = "[handlers." + l.Name + "]"
	}
	return neterr.Target{URL: base, Setting: "base_url", Table: table}
}

// unreachable explains that no answer came.
func (l LLM) unreachable(base *url.URL, err error) error {
	e := l.target(base).Explain(err)
	if e.Cause = l.safe(e.Cause); neterr.KindOf(err) == neterr.Refused {
		e.Text = bridge.Say("Nothing answers at %s", base.Host)
		e.Hint = bridge.Say("Is the model server running, and base_url right? Ollama is started with: ollama serve")
	}
	return e
}

// mask returns s without the key.
func (l LLM) mask(s string) string {
	if key := l.key(); key != "" {
		return strings.ReplaceAll(s, key, bridge.Mask)
	}
	return s
}

// safe returns err, or what it says if it has the key in it.
func (l LLM) safe(err error) error {
	if masked := l.mask(err.Error()); masked != err.Error() {
		return errors.New(masked)
	}
	return err
}
