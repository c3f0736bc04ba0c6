package handler

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"perch/bridge"
)

const (
	// maxAnswer bounds what is read of a web hook's answer, in bytes.
	maxAnswer = 1 << 20
	// maxReplies bounds how many replies one answer can have.
	maxReplies = 50
)

// HTTP posts the Document of a message to a web hook, once, and takes what it
// answers:
//
//   - status 204, or nothing: no reply;
//   - application/json: {"reply": "…"}, {"replies": ["…", …]}, {"reaction": "👍"},
//     {"files": [{"name": "…", "data": "…" or "url": "…"}, …]},
//     {"ask": "…", "choices": ["👍", "👎"]}, whose choices come back as reactions,
//     or several of them, or just a string;
//   - text/plain: the reply;
//   - text/html or no type at all, which is what many servers say by themselves:
//     as one of the above, unless it is a web page or PHP tells of an error.
//
// A list of one such object is taken as the object: n8n answers with its items.
// Anything else is an error that says what came.
type HTTP struct {
	Name    string         // of the handler, as in [handlers.<name>]; empty: that in [handler]
	URL     string         // http or https
	Token   bridge.Secret  // sent as Authorization: Bearer; empty: none
	Secret  bridge.Secret  // signs what is posted, as Talk signs its webhooks; empty: nothing is signed
	RootCAs *x509.CertPool // who is trusted to name servers; nil: those that the system trusts
	Files   Fetcher        // gets the content of shared files, posted as data URLs; nil: they are not posted

	// Sign returns the signature of random followed by body. It is needed with
	// a Secret.
	Sign      func(secret bridge.Secret, random, body string) string
	UserAgent string // empty: that of Go

	Outgoing Outgoing         // keeps the files that it answers with; nil: that is said in their place
	Sink     bridge.EventSink // hears of files that are not shared; may be nil
}

// HTTP is a Handler.
var _ bridge.Handler = HTTP{}

// Handle posts m and returns the replies that came back. How long it may take
// is up to ctx. Its errors are *bridge.Error and never name more of the URL than
// the host.
func (h HTTP) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	e, err := newEndpoint(h.URL, h.Name, h.RootCAs)
	if err != nil {
		return nil, err
	}
	document := NewDocument(m)
	err = fetchFiles(ctx, h.Files, m, &document, func(a *Attachment, content []byte) error {
		a.Data = dataURL(a.MIMEType, content)
		return nil
	})
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(document)
	if err != nil {
		return nil, &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The request could not be written as JSON"), Cause: err}
	}
	limit := int64(maxAnswer)
	if h.Outgoing != nil {
		limit = maxAnswerWithFiles
	}
	a, err := e.post(ctx, h.header(body), body, limit)
	if err != nil {
		return nil, err
	}
	if !h.Token.IsZero() { // whoever repeats it: neither the log nor the room is told
		a.body = bytes.ReplaceAll(a.body, []byte(h.Token.Reveal()), []byte(bridge.Mask))
	}
	switch {
	case a.status/100 != 2:
		return nil, h.refused(e, a)
	case errors.Is(a.err, errTooLong):
		return nil, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("%[1]s answered with more than %[2]s bytes", e.url.Host, strconv.FormatInt(limit, 10)),
			Hint: howToAnswer(),
		}
	case a.err != nil:
		return nil, e.unreachable(a.err)
	}
	replies, err := repliesOf(a.header.Get("Content-Type"), a.body)
	if err != nil {
		return nil, err
	}
	files, err := h.filesOfJSON(ctx, e, a.body)
	if err != nil {
		return nil, err
	}
	return withFiles(h.Outgoing, h.Sink, m, replies, files), nil
}

func (h HTTP) header(body []byte) http.Header {
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json, text/plain")
	if h.UserAgent != "" {
		header.Set("User-Agent", h.UserAgent)
	}
	if !h.Token.IsZero() {
		header.Set("Authorization", "Bearer "+h.Token.Reveal())
	}
	if !h.Secret.IsZero() {
		nonce := make([]byte, 32)
		_, _ = rand.Read(nonce) // never fails
		random := hex.EncodeToString(nonce)
		header.Set("X-Nextcloud-Talk-Random", random)
		header.Set("X-Nextcloud-Talk-Signature", h.Sign(h.Secret, random, string(body)))
	}
	return header
}

func (h HTTP) refused(e endpoint, a response) error {
	failure := e.refused(a)
	switch failure.Code {
	case bridge.CodeUnauthorized:
		failure.Hint = bridge.Say("Give Perch the bearer token that it asks for: %[1]s\nIf it checks signatures, the secret for them: %[2]s").
			With(h.Token.HowTo(bridge.SecretOf(bridge.HandlerToken, h.Name)), h.Secret.HowTo(bridge.SecretOf(bridge.HandlerSecret, h.Name)))
	case bridge.CodeNotFound:
		failure.Hint = bridge.Say("Correct url in %s. In n8n, publish the workflow (before version 2: activate it), let its Webhook node take POST, and use the production URL, with /webhook/ in it.", e.table)
	default:
	}
	return failure
}

// Diagnose connects to the web hook and posts nothing.
func (h HTTP) Diagnose(ctx context.Context) bridge.Result {
	why := bridge.Say("Messages are posted there to be answered.")
	e, err := newEndpoint(h.URL, h.Name, h.RootCAs)
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	return e.diagnose(ctx, why)
}

// dataURL returns content as a data URL.
func dataURL(mimeType string, content []byte) string {
	if t, _, err := mime.ParseMediaType(mimeType); err != nil || !strings.Contains(t, "/") {
		mimeType = "application/octet-stream"
	}
	return "data:" + strings.ReplaceAll(mimeType, " ", "") + ";base64," + base64.StdEncoding.EncodeToString(content)
}

func howToAnswer() bridge.Text {
	return bridge.Say(`Let it answer with JSON such as %s, with plain text, or with status 204 for no reply.`, `{"reply": "…"}, {"replies": ["…", "…"]}, {"reaction": "👍"}, {"files": […]}`)
}

// repliesOf returns the replies in the body of a web hook's answer.
func repliesOf(contentType string, body []byte) ([]bridge.Reply, error) {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return nil, nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = strings.ToLower(contentType) // the type is good enough without its parameters
		if t, _, ok := strings.Cut(mediaType, ";"); ok {
			mediaType = strings.TrimSpace(t)
		}
	}
	switch {
	case mediaType == "application/json", strings.HasSuffix(mediaType, "+json"):
		return repliesOfJSON(body)
	case mediaType == "text/plain":
		return repliesOfText(string(body)), nil
	case mediaType == "text/html", mediaType == "":
		_, err := objectOf(body)
		switch _, many := errors.AsType[manyItemsError](err); {
		case err == nil || many:
			return repliesOfJSON(body)
		case isPage(trimmed):
			return nil, pageError(trimmed)
		default:
			return repliesOfText(string(body)), nil
		}
	}
	return nil, &bridge.Error{
		Code:  bridge.CodeInvalid,
		Text:  bridge.Say("The web hook answered with %s, which is no reply", mediaType),
		Hint:  howToAnswer(),
		Cause: fmt.Errorf("%q", start(body)),
	}
}

var (
	// opening matches what a page has and a text with some tags has not.
	opening = regexp.MustCompile(`(?i)^<h1\b|<(?:!doctype|html|head|body|title|meta|link|script|style|frameset|iframe|\?xml)\b`)
	// phpMessage matches what PHP prints of an error where display_errors is on.
	phpMessage = regexp.MustCompile(`(?ms)^(?:PHP |<br />\s*)?(?:<b>)?(?:Fatal error|Recoverable fatal error|Parse error|Warning|Notice|Deprecated)(?:</b>)?:\s.*? in (?:<b>)?(?:/|[A-Za-z]:[\\/]).*? on line (?:<b>)?\d`)
)

// isPage reports whether text that is called HTML is meant for a browser or a
// developer, not for people in a room: a document, or what PHP prints of an
// error. A text with tags in it, such as <b>hi</b>, is none.
func isPage(text []byte) bool {
	return text[0] == '<' && opening.Match(text) || phpMessage.Match(text)
}

func pageError(page []byte) error {
	failure := &bridge.Error{
		Code:  bridge.CodeInvalid,
		Text:  bridge.Say("The web hook answered with a web page, which is no reply"),
		Hint:  howToAnswer(),
		Cause: fmt.Errorf("%q", start(page)),
	}
	switch title := bridge.PageTitle(page); {
	case phpMessage.Match(page):
		failure.Text = bridge.Say("The web hook answered with an error of PHP, which is no reply")
		failure.Hint = bridge.Say("Mend it there, and set display_errors = off in php.ini, so that it stands in PHP's log alone.")
	case title != "":
		failure.Text = bridge.Say("The web hook answered with the web page %s, which is no reply", strconv.Quote(title))
	}
	return failure
}

// repliesOfText returns one reply, or none if the text is blank.
func repliesOfText(text string) []bridge.Reply {
	text = strings.TrimRightFunc(strings.ToValidUTF8(text, "\ufffd"), unicode.IsSpace)
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return []bridge.Reply{{Text: text}}
}

// objectOf returns the fields of a JSON object, or of the one in a list, which
// is how n8n answers with its items; nil for null and for an empty list.
func objectOf(body []byte) (fields map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(body, &fields); err == nil {
		return fields, nil
	}
	var items []map[string]json.RawMessage
	if err := json.Unmarshal(body, &items); err != nil {
		return nil, err
	}
	switch len(items) {
	case 0:
		return nil, nil
	case 1:
		return items[0], nil
	default:
		return nil, manyItemsError(len(items))
	}
}

// manyItemsError is the error of a list of more than one object.
type manyItemsError int

func (n manyItemsError) Error() string { return "a list of " + strconv.Itoa(int(n)) }

func repliesOfJSON(body []byte) ([]bridge.Reply, error) {
	fields, err := objectOf(body)
	if many, ok := errors.AsType[manyItemsError](err); ok {
		return nil, &bridge.Error{
			Code:  bridge.CodeInvalid,
			Text:  bridge.Say("The web hook answered with a list of %s; one object is wanted", strconv.Itoa(int(many))),
			Hint:  bridge.Say("In n8n, set Respond With to First Incoming Item, or Response Data to First Entry JSON. Several replies are %s", `{"replies": ["…", "…"]}`),
			Cause: fmt.Errorf("%q", start(body)),
		}
	}
	if err != nil {
		if !json.Valid(body) {
			return nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("The web hook's answer is said to be JSON, and is not"), Hint: howToAnswer(), Cause: fmt.Errorf("%w in %q", err, start(body))}
		}
		text, ok := textOf(body)
		if !ok {
			return nil, noReply(body)
		}
		return repliesOfText(text), nil
	}
	if fields == nil { // null, or no item
		return nil, nil
	}
	reply, hasReply := fields["reply"]
	list, hasReplies := fields["replies"]
	reaction, hasReaction := fields["reaction"]
	_, hasFiles := fields["files"]
	question, hasQuestion := fields["ask"]
	if hasQuestion && !hasReply {
		reply, hasReply = question, true
	}
	if !hasReply && !hasReplies && !hasReaction && !hasFiles {
		return nil, noReply(body)
	}

	var replies []bridge.Reply
	if hasReaction {
		emoji, ok := textOf(reaction)
		if !ok {
			return nil, wrongField("reaction", body)
		}
		if emoji = strings.TrimSpace(emoji); emoji != "" {
			replies = append(replies, bridge.Reply{Reaction: emoji})
		}
	}
	var texts []json.RawMessage
	if json.Unmarshal(list, &texts) != nil && hasReplies {
		return nil, wrongField("replies", body)
	}
	if len(texts) > maxReplies {
		return nil, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("The web hook answered with %[1]s replies; %[2]s are the most", strconv.Itoa(len(texts)), strconv.Itoa(maxReplies)),
		}
	}
	if hasReply {
		text, ok := textOf(reply)
		if !ok {
			return nil, wrongField("reply", body)
		}
		replies = append(replies, repliesOfText(text)...)
	}
	for _, raw := range texts {
		text, ok := textOf(raw)
		if !ok {
			return nil, wrongField("replies", body)
		}
		replies = append(replies, repliesOfText(text)...)
	}
	if last := len(replies) - 1; hasQuestion && last >= 0 {
		if json.Unmarshal(fields["choices"], &replies[last].Choices) != nil {
			return nil, wrongField("choices", body)
		}
	}
	return replies, nil
}

// textOf returns a JSON string, a number as it is written, or "" for null.
func textOf(raw json.RawMessage) (text string, ok bool) {
	if json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil {
		return number.String(), true
	}
	return "", false
}

func wrongField(name string, body []byte) error {
	return &bridge.Error{
		Code:  bridge.CodeInvalid,
		Text:  bridge.Say("The field %s of the web hook's answer is of another form than it should be", strconv.Quote(name)),
		Hint:  howToAnswer(),
		Cause: fmt.Errorf("%q", start(body)),
	}
}

// noReply returns the error of JSON that has nothing to post in it.
func noReply(body []byte) error {
	failure := &bridge.Error{
		Code:  bridge.CodeInvalid,
		Text:  bridge.Say("There is no reply in the web hook's answer"),
		Hint:  howToAnswer(),
		Cause: fmt.Errorf("%q", start(body)),
	}
	var n8n struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &n8n) == nil && strings.HasPrefix(n8n.Message, "Workflow ") {
		failure.Text = bridge.Say("n8n answered before the workflow had run")
		failure.Hint = bridge.Say("In n8n's Webhook node, set Respond to %s, and add such a node with the JSON %s", `"Using 'Respond to Webhook' Node"`, `{"reply": "…"}`)
	}
	return failure
}
