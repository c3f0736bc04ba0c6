package handler

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"perch/bridge"
)

// The reasons why an answer ends, as far as they are told apart.
const (
	reasonStop   = "stop"
	reasonLength = "length"
	reasonFilter = "content_filter"
)

// answer is what a model said.
type answer struct {
	text    strings.Builder
	reason  string // why it ended; empty: it has not
	thought bool   // there was something that it thought, apart from the text
	deltas  bool   // the text came in pieces
	pieces  int
	tokens  int // that the server counted, of question and answer; 0: it has not said
	said    func(text string)
	calls   []call             // what it wants of tools
	asks    []*bridge.Proposal // what a person has to agree to
}

// began reports whether the model has said or thought something.
func (a *answer) began() bool { return a.text.Len() > 0 || a.thought || len(a.calls) > 0 }

// read reads an answer that comes in pieces or as a whole, whichever was asked
// for. Its errors are a *refusal, errNoChat, errBrokenOff and those of r.
func (a *answer) read(r io.Reader) error {
	in := bufio.NewReader(r)
	first, err := firstRune(in)
	switch {
	case errors.Is(err, io.EOF):
		return errNoChat
	case err != nil:
		return err
	case first == '{' || first == '[':
		err = a.readWhole(in)
	default:
		err = a.readStream(in)
	}
	refused, isRefusal := errors.AsType[*refusal](err)
	switch {
	case isRefusal:
		refused.midway = a.began()
		return err
	case a.reason != "": // what comes after that, or does not, is not missed
		return nil
	case errors.Is(err, errNoChat):
		return err
	case err != nil && a.pieces > 0:
		return errors.Join(errBrokenOff, err)
	case err != nil:
		return err
	case a.pieces == 0:
		return errNoChat
	}
	return errBrokenOff
}

// firstRune returns the first character that says something, and leaves it there.
func firstRune(in *bufio.Reader) (rune, error) {
	for {
		c, _, err := in.ReadRune()
		if err != nil {
			return 0, err
		}
		if c != '\ufeff' && !unicode.IsSpace(c) {
			return c, in.UnreadRune()
		}
	}
}

func (a *answer) readWhole(in io.Reader) error {
	documents := json.NewDecoder(in)
	for {
		var raw json.RawMessage
		err := documents.Decode(&raw)
		switch {
		case errors.Is(err, io.EOF):
			if a.began() && !a.deltas {
				a.reason = cmp.Or(a.reason, reasonStop)
			}
			return nil
		case errors.As(err, new(*json.SyntaxError)):
			return errNoChat
		case err != nil:
			return err
		}
		if err := a.take(raw); err != nil || a.isLong() {
			return err
		}
	}
}

func (a *answer) readStream(in *bufio.Reader) error {
	stream := &events{r: in}
	for {
		e, err := stream.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case isError(e.name):
			return newRefusal(http.StatusOK, []byte(e.data))
		case e.name != "" && isLifeSign(e.name):
			continue
		}
		data := []string{e.data}
		if !json.Valid([]byte(e.data)) { // no empty line between the pieces
			data = strings.Split(e.data, "\n")
		}
		for _, d := range data {
			if isDone(d) {
				if a.pieces > 0 {
					a.reason = cmp.Or(a.reason, reasonStop)
				}
				return nil
			}
			if err := a.hear(d); err != nil || a.isLong() {
				return err
			}
		}
	}
}

// isLong reports whether no more is taken of an answer, and says so in it.
func (a *answer) isLong() bool {
	if a.text.Len() <= maxText {
		return false
	}
	a.reason = reasonLength
	return true
}

func isDone(data string) bool { return strings.HasPrefix(data, "[DONE]") || data == "DONE" }

// isLifeSign reports whether a text says no more than that somebody is there.
func isLifeSign(s string) bool {
	return !strings.ContainsFunc(s, unicode.IsLetter) || s[0] == ':' ||
		regexp.MustCompile(`(?i)\b(?:ping|pong|keep[-_ ]?alive|heart[-_ ]?beat|processing|waiting)\b`).MatchString(s) &&
			!regexp.MustCompile(`(?i)error|fail|time[d -]*out`).MatchString(s)
}

// hear takes the data of an event.
func (a *answer) hear(data string) error {
	switch {
	case json.Valid([]byte(data)) && strings.HasPrefix(data, "{"):
		return a.take([]byte(data))
	case strings.HasPrefix(data, "{"): // part of something
		if a.pieces > 0 {
			return errBrokenOff
		}
		return errNoChat
	case data == "null", isLifeSign(data):
		return nil
	case a.pieces > 0, regexp.MustCompile(`(?i)error|fail|time[d -]*out|exceeded|too many`).MatchString(data):
		return newRefusal(http.StatusOK, []byte(data))
	}
	return errNoChat
}

// document is a piece of an answer, or the whole of it. Fields of another type than
// this are as if they were not there.
type document struct {
	Choices []struct {
		Delta        *said           `json:"delta"`
		Message      *said           `json:"message"`
		Text         json.RawMessage `json:"text"`
		FinishReason string          `json:"finish_reason"`
		Error        json.RawMessage `json:"error"`
	} `json:"choices"`
	Error        json.RawMessage `json:"error"`
	Errors       json.RawMessage `json:"errors"`
	ErrorCode    json.RawMessage `json:"error_code"`
	ErrorMessage json.RawMessage `json:"error_message"`
	Detail       json.RawMessage `json:"detail"`
	Message      string          `json:"message"`
	Msg          string          `json:"msg"`
	BaseResp     struct {
		StatusCode json.RawMessage `json:"status_code"`
	} `json:"base_resp"` // MiniMax
	Usage struct {
		TotalTokens      int `json:"total_tokens"`
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
	Status string `json:"status"`
	Object string `json:"object"`
	Type   string `json:"type"`
}

type said struct {
	Content          json.RawMessage `json:"content"`
	Refusal          json.RawMessage `json:"refusal"`
	Reasoning        json.RawMessage `json:"reasoning"`
	ReasoningContent json.RawMessage `json:"reasoning_content"`
	ReasoningDetails json.RawMessage `json:"reasoning_details"`
	Thinking         json.RawMessage `json:"thinking"`
	ToolCalls        []wanted        `json:"tool_calls"`
}

// wanted is a call of a tool, or a piece of one.
type wanted struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a string with JSON, or the object itself
	} `json:"function"`
}

// want adds a call of a tool, or a piece of the last one.
func (a *answer) want(w wanted) {
	at := len(a.calls) - 1
	switch {
	case w.Index != nil && *w.Index >= 0 && *w.Index < len(a.calls):
		if at = *w.Index; w.ID != "" && a.calls[at].ID != w.ID && a.calls[at].Arguments != "" { // each has the index 0
			at = len(a.calls)
		}
	case w.Index != nil, w.ID != "", w.Function.Name != "", at < 0:
		at = len(a.calls)
	}
	if at == len(a.calls) {
		if at == maxCalls+1 { // one more than are made
			return
		}
		a.calls = append(a.calls, call{ID: cmp.Or(w.ID, "call_"+strconv.Itoa(at+1))})
	}
	c := &a.calls[at]
	c.Name += w.Function.Name
	if arguments := w.Function.Arguments; len(arguments) > 0 {
		var text string
		if json.Unmarshal(arguments, &text) != nil {
			text = string(arguments)
		}
		c.Arguments += text[:min(len(text), maxArguments+1)]
		c.Arguments = c.Arguments[:min(len(c.Arguments), maxArguments+1)]
	}
}

// take takes a JSON document. Gemini's errors are in a list.
func (a *answer) take(raw json.RawMessage) error {
	if list := []json.RawMessage(nil); json.Unmarshal(raw, &list) == nil {
		for _, inner := range list {
			if err := a.take(inner); err != nil {
				return err
			}
		}
		return nil
	}
	var p document
	if err := json.Unmarshal(raw, &p); err != nil && !errors.As(err, new(*json.UnmarshalTypeError)) {
		return errNoChat
	}
	if p.isError() {
		return newRefusal(http.StatusOK, raw)
	}
	if p.Choices == nil && p.Object != "chat.completion.chunk" {
		return nil
	}
	a.pieces++
	a.tokens = max(a.tokens, p.Usage.TotalTokens, p.Usage.PromptTokens+p.Usage.CompletionTokens)
	if len(p.Choices) == 0 {
		return nil
	}
	c := p.Choices[0]
	if bytesSay(c.Error) {
		return newRefusal(http.StatusOK, c.Error)
	}
	switch {
	case c.Delta != nil && a.add(c.Delta):
		a.deltas = true
	case c.Message != nil && !a.deltas: // else it is the pieces once more
		a.add(c.Message)
	case c.Delta == nil && c.Message == nil:
		a.text.WriteString(wordsOf(c.Text))
	}
	if a.said != nil {
		a.said(a.text.String())
	}
	switch reason := strings.ToLower(c.FinishReason); reason {
	case "", "null":
	case reasonLength, "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded":
		a.reason = reasonLength
	case reasonFilter, "safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "guardrail_intervened":
		a.reason = reasonFilter
	case "error", "abort", "cancelled", "network_error", "insufficient_system_resource":
		return newRefusal(http.StatusOK, []byte("finish_reason "+reason))
	default:
		a.reason = reasonStop
	}
	return nil
}

// isError reports whether p is an error, in any of the forms that are about.
func (p *document) isError() bool {
	switch {
	case bytesSay(p.Error), bytesSay(p.Errors), bytesSay(p.ErrorCode), bytesSay(p.ErrorMessage), bytesSay(p.BaseResp.StatusCode), isError(p.Object), isError(p.Type), isError(p.Status):
		return true
	case len(p.Choices) > 0:
		return false
	}
	message := cmp.Or(p.Message, p.Msg)
	return bytesSay(p.Detail) || message != "" && !isLifeSign(strings.Join([]string{p.Type, p.Status, message}, " "))
}

// bytesSay reports whether a value of JSON says something.
func bytesSay(raw json.RawMessage) bool {
	return !slices.Contains([]string{"", "null", "false", `""`, "{}", "[]", "0"}, string(raw))
}

// add adds what s says, and reports whether that was something.
func (a *answer) add(s *said) bool {
	words := wordsOf(s.Content) + wordsOf(s.Refusal)
	for _, w := range s.ToolCalls {
		a.want(w)
	}
	a.text.WriteString(words)
	a.thought = a.thought || bytesSay(s.Reasoning) || bytesSay(s.ReasoningContent) || bytesSay(s.ReasoningDetails) || bytesSay(s.Thinking) ||
		words == "" && bytesSay(s.Content)
	return words != "" || len(s.ToolCalls) > 0
}

// wordsOf returns the text in the content of a message: a string, or parts of
// several kinds. Thoughts and other kinds are no text.
func wordsOf(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		var text string
		_ = json.Unmarshal(raw, &text) // it was valid before
		return text
	case '[':
		var parts []json.RawMessage
		_ = json.Unmarshal(raw, &parts)
		var b strings.Builder
		for _, part := range parts {
			b.WriteString(wordsOf(part))
		}
		return b.String()
	case '{':
		var part struct {
			Type    string          `json:"type"`
			Text    json.RawMessage `json:"text"`
			Value   json.RawMessage `json:"value"`
			Content json.RawMessage `json:"content"`
			Refusal json.RawMessage `json:"refusal"`
			Thought bool            `json:"thought"`
		}
		_ = json.Unmarshal(raw, &part)
		if slices.Contains([]string{"", "text", "output_text", "refusal"}, part.Type) && !part.Thought {
			for _, inner := range []json.RawMessage{part.Text, part.Value, part.Content, part.Refusal} {
				if words := wordsOf(inner); words != "" {
					return words
				}
			}
		}
	}
	return ""
}
