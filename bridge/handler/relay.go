package handler

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"perch/bridge"
)

const (
	// relayTimeout bounds an attempt where the settings do not.
	relayTimeout = 10 * time.Second
	// The pause after a first failed attempt; it doubles with each, up to the most.
	firstPause, mostPause = time.Second, time.Minute
	// giveUpAfter is how long after it came a message is given up.
	giveUpAfter = 24 * time.Hour
	// maxEcho bounds what is read of another bot's answer, in bytes.
	maxEcho = 4 << 10
)

// Relay hands the webhooks of messages on to another bot, which answers them
// itself. It is safe for concurrent use; the fields are not to be changed.
type Relay struct {
	Name    string         // of the handler, as in [handlers.<name>]; empty: that in [handler]
	URL     string         // of the other bot's webhook
	RootCAs *x509.CertPool // who is trusted to name servers; nil: those that the system trusts
	Timeout time.Duration  // of one attempt; 0: 10 s
	Sink    bridge.EventSink

	down atomic.Bool // the last that was seen of the other bot is that it takes nothing
}

// Relay is a Handler.
var _ bridge.Handler = (*Relay)(nil)

// Handle returns when the other bot has taken m's webhook, and no replies. What
// may pass (no connection, status 408, 425, 429 or 5xx) it tries again until ctx
// is done, or 24 hours after m came; other refusals are errors at once. When ctx
// is done, its error is one of ctx, and the other bot may or may not have m.
func (r *Relay) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	e, err := newEndpoint(r.URL, r.Name, r.RootCAs)
	if err != nil {
		return nil, err
	}
	if m.Webhook == nil {
		return nil, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("There is no webhook to hand on: none was kept, or this message did not come by one"),
			Hint: bridge.Say("Webhooks are kept from when a relay is set on. Write the message again."),
		}
	}
	pause := firstPause
	for first := true; ; first = false {
		err := r.attempt(ctx, e, m)
		if err == nil {
			return nil, bridge.ErrPassedOn
		}
		if ctx.Err() != nil {
			return nil, interrupted(ctx, e)
		}
		failure, ok := errors.AsType[*bridge.Error](err)
		if !ok || failure.Code != bridge.CodeUnavailable && failure.Code != bridge.CodeThrottled {
			return nil, err
		}
		if first {
			r.publishDown(e, m, err)
		}
		left := giveUpAfter - time.Since(m.ReceivedAt)
		if left <= 0 {
			return nil, &bridge.Error{
				Code:  bridge.CodeUnavailable,
				Text:  bridge.Say("%s has not taken the message within 24 hours; it is given up", e.url.Host),
				Cause: failure,
			}
		}
		if !wait(ctx, min(max(pause, failure.RetryAfter), left)) {
			return nil, interrupted(ctx, e)
		}
		pause = min(2*pause, mostPause)
	}
}

// attempt posts the webhook once. The error is nil when the other bot took it;
// with CodeUnavailable or CodeThrottled it may take it later.
func (r *Relay) attempt(ctx context.Context, e endpoint, m bridge.Message) error {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = relayTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	started := time.Now()
	a, err := e.post(ctx, endToEnd(m.Webhook.Header), m.Webhook.Body, maxEcho)
	if err != nil {
		return err
	}
	if a.status/100 == 2 {
		r.publishTaken(e, m, a, time.Since(started))
		return nil
	}
	failure := e.refused(a)
	switch {
	case failure.Code == bridge.CodeUnauthorized && bytes.Contains(bytes.ToLower(a.body), []byte("backend")):
		failure.Text = bridge.Say("The bot at %[1]s takes no webhooks of this Nextcloud (%[2]s)", e.url.Host, strconv.Itoa(a.status))
		failure.Hint = bridge.Say("Set its address of Nextcloud to the one that Nextcloud gives itself: %s", strconv.Quote(m.Backend))
	case failure.Code == bridge.CodeUnauthorized:
		failure.Text = bridge.Say("The bot at %[1]s refused the signature (%[2]s)", e.url.Host, strconv.Itoa(a.status))
		failure.Hint = bridge.Say("Give it the same secret that Talk and Perch have. It stands in the commands that this prints: perch occ")
	case failure.Code == bridge.CodeNotFound:
		failure.Hint = bridge.Say("Correct the path of url in %s: it is that of the other bot's webhook. Is Nextcloud Talk switched on there?", e.table)
	}
	return failure
}

// publishTaken says what came back, and that the other bot is back if it was away.
func (r *Relay) publishTaken(e endpoint, m bridge.Message, a response, took time.Duration) {
	if r.down.CompareAndSwap(true, false) {
		r.Sink.Publish(bridge.Event{Stage: bridge.StageHandler, Kind: bridge.EventHandlerNote, Title: bridge.Say("%s takes messages again", e.url.Host)})
	}
	event := bridge.Event{
		Stage: bridge.StageHandler, Kind: bridge.EventMessagePassed,
		Title: bridge.Say("%[1]s took the message (%[2]s)", e.url.Host, strconv.Itoa(a.status)),
		Room:  m.Room, Actor: m.Author, MessageID: m.Key.ID,
		Text:     start(a.body),
		Duration: took,
	}
	if event.Text == "" {
		event.Title = bridge.Say("%[1]s took the message (%[2]s); whether it answers, its own log says", e.url.Host, strconv.Itoa(a.status))
	}
	r.Sink.Publish(event)
}

// publishDown says that the other bot takes nothing, unless that is known.
func (r *Relay) publishDown(e endpoint, m bridge.Message, failure error) {
	if !r.down.CompareAndSwap(false, true) {
		return
	}
	event := bridge.Event{
		Stage: bridge.StageHandler, Kind: bridge.EventHandlerNote,
		Title: bridge.Say("%s takes no messages; they are kept and tried again", e.url.Host),
		Room:  m.Room, Actor: m.Author, MessageID: m.Key.ID,
	}.Failed(failure)
	event.Level = slog.LevelWarn
	r.Sink.Publish(event)
}

func interrupted(ctx context.Context, e endpoint) error {
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("The message was not handed on to %s yet", e.url.Host),
		Cause: ctx.Err(),
	}
}

// wait reports whether d passed before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// endToEnd returns a webhook's headers without those that belong to the
// connection that it came by. Accept-Encoding is one of these: net/http asks for
// what it can read.
func endToEnd(header map[string][]string) http.Header {
	all := http.Header{}
	for name, values := range header {
		for _, value := range values {
			all.Add(name, value)
		}
	}
	for _, names := range all.Values("Connection") {
		for name := range strings.SplitSeq(names, ",") {
			all.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{
		"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		all.Del(name)
	}
	return all
}

// Diagnose connects to the other bot and posts nothing.
func (r *Relay) Diagnose(ctx context.Context) bridge.Result {
	why := bridge.Say("Messages are handed on to the bot there.")
	e, err := newEndpoint(r.URL, r.Name, r.RootCAs)
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	return e.diagnose(ctx, why)
}
