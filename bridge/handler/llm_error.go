package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	status  int           // of HTTP, or what the server says in its place; 200 if it came with the answer
	message string        // in one line, with codes
	after   time.Duration // in which it may be asked again; negative: it did not say
	midway  bool          // the answer had begun
}

func (r *refusal) Error() string { return strconv.Itoa(r.status) + " " + r.message }

// newRefusal reads an error in any of the forms that are about: an object with
// "message", "code" and "type", such an object as "error" or in a list, or a
// plain text.
func newRefusal(status int, data []byte) *refusal {
	r := &refusal{status: status, after: -1}
	var document any
	if json.Unmarshal(data, &document) == nil {
		r.read(document)
	}
	if r.message == "" {
		r.say(string(data))
	}
	return r
}

// read adds what a JSON document says.
func (r *refusal) read(document any) {
	switch d := document.(type) {
	case string:
		r.say(d)
	case []any:
		if len(d) > 0 {
			r.read(d[0])
		}
	case map[string]any:
		for _, key := range []string{"error", "errors", "detail", "message", "error_message", "msg", "base_resp", "status_msg", "text", "code", "type", "metadata", "raw"} {
			if word, ok := d[key].(string); !ok || word != "error" {
				r.read(d[key])
			}
		}
		for _, key := range []string{"code", "status", "status_code", "error_code"} {
			status, err := strconv.Atoi(fmt.Sprint(d[key]))
			if err == nil && r.status == http.StatusOK && status >= http.StatusBadRequest && status < 600 {
				r.status = status
			}
		}
	}
}

// say adds a text.
func (r *refusal) say(text string) {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, " ")), " ")
	if !strings.Contains(r.message, text) {
		r.message = clip(strings.TrimSpace(r.message+" "+text), maxSaid)
	}
}

// loading reports whether the server will answer when it has loaded its model.
func (r *refusal) loading() bool {
	return r.status == http.StatusServiceUnavailable && !r.has("fail", "error loading") &&
		r.has("loading", "starting", "warming up", "not ready", "being loaded") ||
		r.status >= http.StatusInternalServerError && r.has("currently loading", "still loading", "is loading", "loading model", "being loaded") && !r.has("fail", "error loading")
}

// passing reports whether it may help to ask again.
func (r *refusal) passing() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return !r.midway
	}
	return !r.midway && r.status >= http.StatusInternalServerError
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

// refusesTools reports whether err is because of the tools.
func refusesTools(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.has("tool", "function call")
}

// isElsewhere reports whether err means that the server is not at this address.
func isElsewhere(err error) bool {
	if r, ok := errors.AsType[*refusal](err); ok {
		return (r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed) && !r.has("model") || r.has("unexpected endpoint")
	}
	return errors.Is(err, errNoChat)
}

// explain turns an error of a request to base into one for a person.
func (l LLM) explain(ctx context.Context, base *url.URL, err error) error {
	if errors.Is(err, errStalled) {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The model %s fell silent", l.Model),
			Hint:  bridge.Say("It may be too large for its machine. With Ollama, see what runs with: ollama ps"),
			Cause: errStalled,
		}
	}
	r, isRefusal := errors.AsType[*refusal](err)
	if ctx.Err() != nil && (!isRefusal || !r.loading() || errors.Is(ctx.Err(), context.Canceled)) {
		return l.late(ctx)
	}
	if isRefusal {
		return l.refused(ctx, base, r)
	}
	if errors.Is(err, errBrokenOff) {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("The model server at %s broke off in the middle of the answer", base.Host),
			Hint:  bridge.Say("Its log should say why. Often the machine ran out of memory."),
			Cause: l.safe(err),
		}
	}
	if _, isSent := errors.AsType[*redirection](err); isSent || errors.Is(err, errNoChat) || errors.Is(err, errTooLong) {
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
func (l LLM) refused(ctx context.Context, base *url.URL, r *refusal) error {
	e := &bridge.Error{Code: bridge.CodeUnavailable, Cause: r}
	unknownModel := r.has("model") && r.has("not found", "not_found", "does not exist", "not exist", "no such model", "unknown model", "invalid model")
	switch {
	case r.loading():
		e.Text = bridge.Say("The model server at %s is still loading its model", base.Host)
		e.Hint = bridge.Say("Wait until it is ready, or give it more time with timeout.")
		e.RetryAfter = max(r.after, 0)
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
		e.Code, e.RetryAfter = bridge.CodeThrottled, max(r.after, 0)
		e.Text = bridge.Say("What is paid for at %s is used up", base.Host)
		e.Hint = bridge.Say("See the plan and the limits of your account there.")
	case r.status == http.StatusTooManyRequests:
		e.Code, e.RetryAfter = bridge.CodeThrottled, max(r.after, 0)
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

// silent explains an answer without a word. thought says that there were words,
// none of which was for the room.
func (l LLM) silent(reason string, thought bool) error {
	e := &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The model %s gave an empty answer", l.Model)}
	switch {
	case reason == reasonLength:
		e.Hint = bridge.Say("It used up its tokens before it said something. Set a higher max_tokens, or 0.")
	case reason == reasonFilter:
		e.Hint = bridge.Say("The server's filter took the answer away.")
	case thought:
		e.Text = bridge.Say("The model %s only thought, and gave no answer", l.Model)
		e.Hint = bridge.Say("If it happens often, turn its reasoning off on the server, or take another model.")
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
