package talk

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"perch/bridge"
)

// Who a Client replies as.
const (
	ReplyAsBot  = "bot"  // through the bot API, signed with the secret
	ReplyAsUser = "user" // through the chat API, as the user whose app token it is
)

// Options say which server a Client talks to, and how.
type Options struct {
	BaseURL   string         // https://cloud.example.com, or with a path: https://example.com/nextcloud
	Secret    bridge.Secret  // shared with Talk; needed to reply as the bot
	AppToken  bridge.Secret  // app password of a user; needed to reply as that user, to read a conversation, and by User
	ReplyAs   string         // ReplyAsBot or ReplyAsUser; empty: ReplyAsBot
	RootCAs   *x509.CertPool // who is trusted to name servers; nil: those that the system trusts
	UserAgent string
	Open      Opener // opens the files that replies share; nil: none is shared
	// Dial connects to servers; nil: as the system does, for dialTimeout at most.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client asks one Nextcloud server. It is safe for concurrent use, and every
// request ends within a minute after the server was to answer. Its errors are *bridge.Error.
type Client struct {
	options   Options
	base      *url.URL
	transport *http.Transport // without an http.Client around it nothing follows a redirection
	waiting   *http.Transport // for requests that the server is to wait with
	recent    recentShares
}

// Client is a Sender.
var _ bridge.Sender = (*Client)(nil)

// The time that the parts of a request may take.
const (
	dialTimeout   = 10 * time.Second
	tlsTimeout    = 10 * time.Second
	answerTimeout = 30 * time.Second
	totalTimeout  = 60 * time.Second
	// idleTimeout is below the five seconds after which Apache closes an idle
	// connection, so that a reply is not written into one that is going away.
	idleTimeout = 4 * time.Second
)

// The most that is read of an answer, in bytes.
const (
	maxAnswer  = 1 << 20
	maxHistory = 8 << 20
)

// NewClient returns a Client. It sends nothing yet. Its errors are of
// CodeInvalid and name the setting at fault.
func NewClient(o Options) (*Client, error) {
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, err
	}
	switch o.ReplyAs {
	case "":
		o.ReplyAs = ReplyAsBot
	case ReplyAsBot, ReplyAsUser:
	default:
		return nil, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("reply_as is %s", quote(o.ReplyAs)),
			Hint: bridge.Say(`Set reply_as to "bot" or "user".`),
		}
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	c := &Client{
		options: o,
		base:    base,
		transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            o.Dial,
			TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    tlsTimeout,
			ResponseHeaderTimeout:  answerTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConns:           4,
			MaxIdleConnsPerHost:    4,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
	}
	c.waiting = c.transport.Clone()
	c.waiting.ResponseHeaderTimeout = MaxPoll + pollGrace
	return c, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.waiting.CloseIdleConnections()
}

// parseBase returns the address of a Nextcloud server, without a slash at the end.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &bridge.Error{ // without err, which repeats a password in the address
			Code: bridge.CodeInvalid,
			Text: bridge.Say("base_url is not the address of a server"),
			Hint: bridge.Say(`Set base_url to the address at which you open Nextcloud, without user name or question mark: base_url = "https://cloud.example.com"`),
		}
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/index.php"), "/")
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

// Send posts r, or adds or removes its reaction, once. It returns the id of the
// posted message where Talk tells it: for messages posted as the user.
func (c *Client) Send(ctx context.Context, r bridge.Reply) (messageID string, err error) {
	if !validToken(r.Room.Token) {
		return "", &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("%s is not the token of a conversation", quote(r.Room.Token)),
			Hint: bridge.Say("The token is the last part of the conversation's address: https://cloud.example.com/call/TOKEN"),
		}
	}
	replyTo, err := strconv.ParseInt(r.ReplyTo, 10, 64)
	if err != nil || replyTo < 1 {
		replyTo = 0
	}
	thread, err := strconv.ParseInt(r.Thread, 10, 64)
	if err != nil || thread < 1 {
		thread = 0
	}
	if r.Reaction != "" && replyTo == 0 {
		return "", &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("A reaction needs the number of the message to react to, not %s", quote(r.ReplyTo)),
		}
	}
	if r.Remove && r.Reaction == "" {
		return "", c.remove(ctx, r, replyTo)
	}
	if replyTo == 0 {
		r.ReplyTo = ""
	}
	// What is signed must be what arrives, and JSON has no invalid UTF-8.
	r.Text = strings.ToValidUTF8(r.Text, "\ufffd")
	r.Reaction = strings.ToValidUTF8(r.Reaction, "\ufffd")

	if r.File != nil {
		return c.share(ctx, r, replyTo, thread)
	}
	q := request{method: http.MethodPost}
	signed := r.Text
	if r.Reaction == "" {
		q.body = struct {
			Message     string `json:"message"`
			ReplyTo     int64  `json:"replyTo,omitempty"`
			ThreadID    int64  `json:"threadId,omitempty"`
			ReferenceID string `json:"referenceId,omitempty"`
			Silent      bool   `json:"silent,omitempty"`
		}{r.Text, replyTo, thread, r.Ref, r.Silent}
	} else {
		signed = r.Reaction
		q.body = struct {
			Reaction string `json:"reaction"`
		}{r.Reaction}
		if r.Remove {
			q.method = http.MethodDelete
		}
	}
	if c.options.ReplyAs == ReplyAsUser {
		return c.sendAsUser(ctx, r, q, replyTo)
	}
	return "", c.sendAsBot(ctx, r, q, replyTo, signed)
}

// remove takes a message of the user whose app token it is away. One that is gone
// is no error.
func (c *Client) remove(ctx context.Context, r bridge.Reply, id int64) error {
	if c.options.ReplyAs != ReplyAsUser {
		return &bridge.Error{Code: bridge.CodeRejected, Text: bridge.Say("A bot cannot remove what it has posted")}
	}
	a, err := c.do(ctx, request{
		method: http.MethodDelete, path: spreed + "/chat/" + r.Room.Token + "/" + strconv.FormatInt(id, 10), query: url.Values{"format": {"json"}}, bearer: true,
	})
	switch {
	case err != nil:
		return idempotent(err)
	case a.taken(), a.fromTalk() && a.status == http.StatusMethodNotAllowed:
		return nil
	case a.lost():
		return idempotent(unclearAnswer(a))
	case a.fromTalk():
		if badToken := c.badToken(ctx, a); badToken != nil {
			return badToken
		}
		return refusedUser(r, a)
	}
	return a.refusal()
}

// Edit gives a message that the user of the app token wrote another text. To edit
// it again changes nothing, so that no error is of CodeUnclear; one of
// CodeRejected says that the message cannot be edited: it is too old, or gone.
func (c *Client) Edit(ctx context.Context, room bridge.Room, messageID, text string) error {
	id, err := strconv.ParseInt(messageID, 10, 64)
	if err != nil || id < 1 || !validToken(room.Token) {
		return &bridge.Error{Code: bridge.CodeRejected, Text: bridge.Say("%s is not the number of a message", quote(messageID))}
	}
	a, err := c.do(ctx, request{
		method: http.MethodPut, path: spreed + "/chat/" + room.Token + "/" + strconv.FormatInt(id, 10), query: url.Values{"format": {"json"}},
		body: map[string]string{"message": strings.ToValidUTF8(text, "\ufffd")}, bearer: true,
	})
	switch {
	case err != nil:
	case a.taken():
		return nil
	case a.lost():
		err = unclearAnswer(a)
	case a.fromTalk():
		if err = c.badToken(ctx, a); err == nil {
			err = &bridge.Error{
				Code: bridge.CodeRejected,
				Text: bridge.Say("Talk does not let message %[1]s be edited (%[2]s): perhaps it is too old, or gone", messageID, strconv.Itoa(a.status)), Cause: a.cause(),
			}
		}
	default:
		err = a.refusal()
	}
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.Code == bridge.CodeUnclear {
		e.Code = bridge.CodeUnavailable
	}
	return err
}

func (c *Client) sendAsBot(ctx context.Context, r bridge.Reply, q request, replyTo int64, signed string) error {
	if c.options.Secret.IsZero() {
		return &bridge.Error{
			Code: bridge.CodeUnauthorized,
			Text: bridge.Say("There is no secret to sign replies with"),
			Hint: bridge.Say("Give Perch the secret that the bot was installed with: %s\nThen send what is waiting: perch retry").With(c.options.Secret.HowTo(bridge.WebhookSecret)),
		}
	}
	q.path = spreed + "/bot/" + r.Room.Token + "/message"
	if r.Reaction != "" {
		q.path = spreed + "/bot/" + r.Room.Token + "/reaction/" + strconv.FormatInt(replyTo, 10)
	}
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	random := hex.EncodeToString(nonce)
	q.headers = map[string]string{
		"X-Nextcloud-Talk-Bot-Random":    random,
		"X-Nextcloud-Talk-Bot-Signature": Sign(c.options.Secret, random, signed),
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return err
	}
	switch {
	case a.taken():
		return nil
	case a.lost():
		return unclearAnswer(a)
	case a.fromTalk():
		return refusedBot(r, a, c.options.Secret)
	}
	return a.refusal()
}

func (c *Client) sendAsUser(ctx context.Context, r bridge.Reply, q request, replyTo int64) (messageID string, err error) {
	q.path = spreed + "/chat/" + r.Room.Token
	if r.Reaction != "" {
		q.path = spreed + "/reaction/" + r.Room.Token + "/" + strconv.FormatInt(replyTo, 10)
	}
	q.query = url.Values{"format": {"json"}}
	q.bearer = true
	a, err := c.do(ctx, q)
	if err != nil {
		return "", err
	}
	switch {
	case a.taken():
	case a.lost():
		return "", unclearAnswer(a)
	case a.fromTalk():
		if badToken := c.badToken(ctx, a); badToken != nil {
			return "", badToken
		}
		return "", refusedUser(r, a)
	default:
		return "", a.refusal()
	}
	data, err := a.ocs()
	if err != nil || r.Reaction != "" {
		return "", nil //nolint:nilerr // it was posted, whatever the data says
	}
	var posted chatMessage
	_ = json.Unmarshal(data, &posted)
	return string(posted.ID), nil
}

// badToken returns an error if the app token is to blame for a, or if it cannot
// be found out. Talk does not say that a token is wrong: it treats who asks as a
// stranger, who finds no conversation.
func (c *Client) badToken(ctx context.Context, a answer) error {
	if a.status == http.StatusUnauthorized || a.status == http.StatusNotFound {
		_, err := c.User(ctx)
		return err
	}
	return nil
}

// request is what to ask. The path starts below the base URL.
type request struct {
	method, path string
	query        url.Values
	headers      map[string]string
	body         any        // as JSON; nil: none
	form         url.Values // the body as a form; nil: none
	content      io.Reader  // the body as it is, of size bytes; nil: none
	size         int64
	bearer       bool          // with the app token
	most         int64         // bytes to read of the answer; 0: maxAnswer
	wait         time.Duration // how long the server was asked to wait with its answer
}

// do asks the server and returns its answer, whatever its status. An error
// means that there is none; it is of CodeUnclear if the request may have had
// its effect, and else of CodeUnavailable, or of CodeUnauthorized if q needs an
// app token and there is none.
func (c *Client) do(ctx context.Context, q request) (answer, error) {
	if q.bearer && c.options.AppToken.IsZero() {
		return answer{}, &bridge.Error{
			Code: bridge.CodeUnauthorized,
			Text: bridge.Say("There is no app token"),
			Hint: newAppToken(c.options.AppToken),
		}
	}
	u := *c.base
	u.Path += q.path
	u.RawQuery = q.query.Encode()

	var body io.Reader
	kind := "application/json"
	switch {
	case q.content != nil:
		body = q.content
	case q.form != nil:
		body, kind = strings.NewReader(q.form.Encode()), "application/x-www-form-urlencoded"
	case q.body != nil:
		data, err := json.Marshal(q.body)
		if err != nil {
			return answer{}, &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The request could not be written as JSON"), Cause: err}
		}
		body = bytes.NewReader(data)
	}

	ctx, cancel := context.WithTimeout(ctx, totalTimeout+q.wait)
	defer cancel()
	// The transport sends a POST again by itself only where nothing of it was
	// written; then it asks for a connection again.
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { written.Store(false) },
		WroteHeaders: func() { written.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return answer{}, &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The request could not be made"), Cause: err}
	}
	if q.content != nil {
		req.ContentLength = q.size
		if q.size == 0 {
			req.Body = http.NoBody
		}
	}
	req.Header.Set("OCS-APIRequest", "true")
	req.Header.Set("Accept", "application/json")
	if c.options.UserAgent != "" {
		req.Header.Set("User-Agent", c.options.UserAgent)
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	for name, value := range q.headers {
		req.Header.Set(name, value)
	}
	if q.bearer {
		req.Header.Set("Authorization", "Bearer "+c.options.AppToken.Reveal())
	}

	transport := c.transport
	if q.wait > 0 {
		transport = c.waiting
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if q.method != http.MethodGet && written.Load() {
			return answer{}, unclear(err)
		}
		return answer{}, unreachable(c.base, err)
	}
	defer resp.Body.Close()
	most := max(q.most, maxAnswer)
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	a := newAnswer(c.base, q.path, resp.StatusCode, resp.Header, data[:min(int64(len(data)), most)])
	a.token = c.options.AppToken
	switch {
	case err == nil && int64(len(data)) <= most,
		// Here the status says enough: a bot is told no more than that it posted.
		resp.StatusCode >= 300, resp.StatusCode == http.StatusCreated && q.method == http.MethodPost && !q.bearer:
		return a, nil
	case err == nil:
		err = io.ErrShortBuffer
	}
	if q.method != http.MethodGet {
		return answer{}, unclear(err)
	}
	return answer{}, unreachable(c.base, err)
}
