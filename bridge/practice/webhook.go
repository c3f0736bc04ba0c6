package practice

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Talk names a bot by the SHA-1 of its URL.
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Delivery is what came of one webhook to one bot.
type Delivery struct {
	Bot    int    // id
	Type   string // "Create", "Activity", "Like", "Undo", "Join" or "Leave"
	Status int    // of the answer; 0 if there was none
	Err    error  // why there was no answer
}

// OK reports whether Talk is content with the answer.
func (d Delivery) OK() bool { return d.Status == http.StatusOK || d.Status == http.StatusAccepted }

// Result is what an action led to.
type Result struct {
	ID         int        // of the message that it stored; 0 if none
	Deliveries []Delivery // every webhook that it sent, answered or given up
}

// hook is a webhook ready to be sent.
type hook struct {
	kind string
	body []byte
	bots []*bot
}

// hookTo returns the webhook for those bots that have the feature; none if
// there are none.
func hookTo(bots []*bot, feature Features, payload object) []hook {
	var to []*bot
	for _, b := range bots {
		if b.Features&feature != 0 {
			to = append(to, b)
		}
	}
	if len(to) == 0 {
		return nil
	}
	kind, _ := payload[0].value.(string)
	return []hook{{kind: kind, body: encode(payload, false), bots: to}}
}

// change runs fn on a room with s.mu held, then sends its webhooks, one after
// the other, each to all its bots at once, and waits for the answers: so does
// who posts in Talk.
func (s *Server) change(ctx context.Context, token string, fn func(*room) (id int, hooks []hook, err error)) (Result, error) {
	if s.ctx.Err() != nil {
		return Result{}, errClosed
	}
	s.mu.Lock()
	r := s.room(token)
	if r == nil {
		s.mu.Unlock()
		return Result{}, errNoRoom
	}
	id, hooks, err := fn(r)
	s.notify()
	s.mu.Unlock()
	if err != nil {
		return Result{}, err
	}
	result := Result{ID: id}
	for _, h := range hooks {
		result.Deliveries = append(result.Deliveries, s.deliver(ctx, h)...)
	}
	return result, nil
}

func (s *Server) deliver(ctx context.Context, h hook) []Delivery {
	ctx, cancel := context.WithTimeout(ctx, s.opts.WebhookTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() //nolint:contextcheck // ctx goes on; Close is a second reason to end.
	deliveries := make([]Delivery, len(h.bots))
	var sent sync.WaitGroup
	for i, b := range h.bots {
		sent.Go(func() {
			status, err := s.send(ctx, b, h.body)
			deliveries[i] = Delivery{Bot: b.id, Type: h.kind, Status: status, Err: err}
		})
	}
	sent.Wait()
	return deliveries
}

func (s *Server) send(ctx context.Context, b *bot, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = webhookHeader(b.Secret, s.random(64, base64Digits), s.backend, body)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // so that the connection can be used again
	return resp.StatusCode, nil
}

// webhookHeader returns the header of a webhook, spelled as Talk does.
func webhookHeader(secret, random, backend string, body []byte) http.Header {
	return http.Header{
		"Content-Type":               {"application/json"},
		"X-Nextcloud-Talk-Random":    {random},
		"X-Nextcloud-Talk-Signature": {sign(secret, random, string(body))},
		"X-Nextcloud-Talk-Backend":   {backend + "/"},
		"OCS-APIRequest":             {"true"},
		"User-Agent":                 {"Nextcloud Server Crawler"},
	}
}

// sign returns the signature of data, the body of a webhook or the text of a
// bot's message: hex(HMAC-SHA256(secret, random + data)).
func sign(secret, random, data string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, random+data) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

func sha1Hex(s string) string {
	sum := sha1.Sum([]byte(s)) //nolint:gosec // Talk names a bot by the SHA-1 of its URL.
	return hex.EncodeToString(sum[:])
}

// note is a message as a webhook tells of it.
type note struct {
	actor      actor
	role       int // of the actor; 0: not told
	id         int
	name       string // "message", the name of a system message, or empty
	text       string // with placeholders
	parameters object
	thread     *thread
}

func (n note) person() object {
	person := object{{"type", "Person"}, {"id", n.actor.kind + "/" + n.actor.id}, {"name", n.actor.name}}
	if n.role != 0 {
		person = append(person, field{"talkParticipantType", strconv.Itoa(n.role)})
	}
	return person
}

// object returns the note itself, whose content is JSON inside JSON.
func (n note) object() object {
	content := encode(object{{"message", n.text}, {"parameters", n.parameters.array()}}, false)
	return append(object{
		{"type", "Note"},
		{"id", strconv.Itoa(n.id)},
		{"name", n.name},
		{"content", string(content)},
		{"mediaType", "text/markdown"},
	}, n.thread.fields()...)
}

func (r *room) collection() object {
	return object{{"type", "Collection"}, {"id", r.token}, {"name", r.name}}
}

// presence tells a bot that it was enabled ("Join") or disabled ("Leave").
func presence(kind string, b *bot, r *room) object {
	return object{
		{"type", kind},
		{"actor", object{{"type", "Application"}, {"id", actorBot + "/bot-" + b.hash()}, {"name", b.Name}}},
		{"object", r.collection()},
	}
}

// creation tells of a message, which can quote another.
func creation(n note, quoted *note, r *room) object {
	about := n.object()
	if quoted != nil {
		about = append(about, field{"inReplyTo", object{
			{"type", "Note"},
			{"actor", quoted.person()},
			{"object", quoted.object()},
		}})
	}
	return object{{"type", "Create"}, {"actor", n.person()}, {"object", about}, {"target", r.collection()}}
}

// activity tells of a system message.
func activity(n note, r *room) object {
	return object{{"type", "Activity"}, {"actor", n.person()}, {"object", n.object()}, {"target", r.collection()}}
}

// like tells of a reaction to n. The actor is who wrote n.
func like(n note, reaction string, r *room) object {
	return object{
		{"type", "Like"},
		{"actor", n.person()},
		{"object", n.object()},
		{"target", r.collection()},
		{"content", reaction},
	}
}

// undo tells that a reaction to n was taken away.
func undo(n note, reaction string, r *room) object {
	return object{
		{"type", "Undo"}, {"actor", n.person()}, {"object", like(n, reaction, r)}, {"target", r.collection()},
	}
}
