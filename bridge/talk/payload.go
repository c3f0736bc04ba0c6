package talk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"perch/bridge"
)

// Origin is what is known of a webhook beside its body.
type Origin struct {
	Server     string // base URL of the Nextcloud server, as configured
	Nonce      string // X-Nextcloud-Talk-Random
	Backend    string // X-Nextcloud-Talk-Backend
	ReceivedAt time.Time
}

// Decode parses the body of a webhook. It understands the Activity Streams 2.0
// that Talk sends (Create, Activity, Like, Undo, Join, Leave) and the older
// form of custom webhooks, "type": "message". The signature is not looked at.
//
// Every error is a *bridge.Error of CodeInvalid.
func Decode(body []byte, o Origin) (bridge.Message, error) {
	if !utf8.Valid(body) {
		return bridge.Message{}, invalid(bridge.Say("The webhook is not valid UTF-8"))
	}
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return bridge.Message{}, notOurJSON(err)
	}
	m := bridge.Message{
		Key:        bridge.Key{Server: o.Server},
		Nonce:      o.Nonce,
		Backend:    o.Backend,
		ReceivedAt: o.ReceivedAt,
	}
	read := (*envelope).readActivity
	if strings.EqualFold(e.Type, "message") {
		read = (*envelope).readLegacy
	}
	if err := read(&e, &m); err != nil {
		return bridge.Message{}, err
	}
	return m, nil
}

// envelope is a webhook in either format.
type envelope struct {
	Type string `json:"type"`

	// Activity Streams 2.0.
	Actor   actor      `json:"actor"`
	Object  object     `json:"object"`
	Target  collection `json:"target"`
	Content string     `json:"content"` // Like: the emoji
	inThread

	// Legacy: what is not in the message may stand here.
	Message     *legacyMessage `json:"message"`
	ActorType   string         `json:"actorType"`
	ActorID     scalar         `json:"actorId"`
	DisplayName string         `json:"actorDisplayName"`
}

type actor struct {
	ID   string `json:"id"` // "users/alice"
	Name string `json:"name"`
}

type collection struct {
	ID   scalar `json:"id"` // conversation token
	Name string `json:"name"`
	inThread
}

// inThread is what tells the thread of a message. The chat API has these names;
// for webhooks we know of no recording, so that they are taken wherever they
// stand, and nothing in them makes a message invalid.
type inThread struct {
	ThreadID    threadRef `json:"threadId"`
	Thread      threadRef `json:"thread"`
	ThreadTitle any       `json:"threadTitle"`
	IsThread    any       `json:"isThread"` // false: the id is that of the first message of a chain of replies
}

// thread returns the thread that is told; the zero Thread if there is none.
func (t inThread) thread() bridge.Thread {
	thread := bridge.Thread(t.Thread)
	thread.ID = firstOf(t.ThreadID.ID, thread.ID)
	if title, ok := t.ThreadTitle.(string); ok {
		thread.Title = firstOf(title, thread.Title)
	}
	if t.IsThread == false || !validNumber(thread.ID) {
		return bridge.Thread{}
	}
	return thread
}

// threadRef is a thread, written as an object or as its id. Anything else is none.
type threadRef bridge.Thread

// UnmarshalJSON takes anything.
func (t *threadRef) UnmarshalJSON(data []byte) error {
	var id scalar
	if id.UnmarshalJSON(data) == nil {
		t.ID = string(id)
		return nil
	}
	var o struct {
		ID    scalar `json:"id"`
		Title string `json:"title"`
		Name  string `json:"name"`
	}
	if json.Unmarshal(data, &o) == nil {
		t.ID, t.Title = string(o.ID), firstOf(o.Title, o.Name)
	}
	return nil
}

type object struct {
	Type      string  `json:"type"`
	ID        scalar  `json:"id"`
	Name      string  `json:"name"`    // "message", the name of a system message, or nothing
	Content   string  `json:"content"` // JSON: the text and its parameters
	MediaType string  `json:"mediaType"`
	Object    *object `json:"object"` // Undo: object is the Like, object.object the message
	InReplyTo *struct {
		Actor  actor  `json:"actor"`
		Object object `json:"object"`
	} `json:"inReplyTo"`
	Token string `json:"token"` // legacy
	inThread
}

type legacyMessage struct {
	ID            scalar          `json:"id"`
	Token         string          `json:"token"`
	ActorType     string          `json:"actorType"`
	ActorID       scalar          `json:"actorId"`
	DisplayName   string          `json:"actorDisplayName"`
	Timestamp     scalar          `json:"timestamp"`
	MessageType   string          `json:"messageType"`
	SystemMessage string          `json:"systemMessage"`
	Message       string          `json:"message"`
	Parameters    json.RawMessage `json:"messageParameters"`
	inThread
}

// scalar is a string that may be written as a number.
type scalar string

// UnmarshalJSON takes a string, a number or null.
func (s *scalar) UnmarshalJSON(data []byte) error {
	switch c := data[0]; {
	case c == '"':
		if bytes.IndexByte(data, '\\') < 0 {
			*s = scalar(data[1 : len(data)-1])
			return nil
		}
		return json.Unmarshal(data, (*string)(s))
	case c == '-' || '0' <= c && c <= '9':
		*s = scalar(data)
		return nil
	case c == 'n':
		return nil
	case c == '{':
		return wrongType("object")
	case c == '[':
		return wrongType("array")
	default:
		return wrongType("bool")
	}
}

func wrongType(value string) error {
	return &json.UnmarshalTypeError{Value: value, Type: reflect.TypeFor[string]()}
}

// readActivity reads Activity Streams 2.0 into m.
func (e *envelope) readActivity(m *bridge.Message) error {
	room, message := e.Target, &e.Object
	switch e.Type {
	case "Create", "Activity":
	case "Like":
		m.Kind, m.Event = bridge.KindReaction, e.Content
	case "Undo":
		if e.Object.Type != "Like" || e.Object.Object == nil {
			return invalid(bridge.Say("The webhook takes back something that is not a reaction: %s", quote(e.Object.Type)))
		}
		m.Kind, m.Event, message = bridge.KindReactionRemoved, e.Object.Content, e.Object.Object
	case "Join":
		m.Kind, room, message = bridge.KindJoined, collection{ID: e.Object.ID, Name: e.Object.Name}, nil
	case "Leave":
		m.Kind, room, message = bridge.KindLeft, collection{ID: e.Object.ID, Name: e.Object.Name}, nil
	case "":
		return invalid(bridge.Say("The webhook has no type"))
	default:
		return invalid(bridge.Say("The webhook is of the unknown type %s", quote(e.Type)))
	}

	if err := setRoom(m, string(room.ID), room.Name); err != nil {
		return err
	}
	var ok bool
	if m.Author, ok = e.Actor.parse(); !ok {
		return invalid(bridge.Say(`The webhook's actor.id is %s, not of the form "users/alice"`, quote(e.Actor.ID)))
	}
	if message == nil {
		return nil
	}
	if m.Key.ID = string(message.ID); !validID(m.Key.ID) {
		return invalid(bridge.Say("The webhook's message id is missing or too long"))
	}
	attachments, err := message.read(m)
	if err != nil {
		return err
	}
	for _, t := range []inThread{message.inThread, e.Target.inThread, e.inThread} {
		if m.Thread = t.thread(); m.Thread.ID != "" {
			break
		}
	}

	switch e.Type {
	case "Like", "Undo":
		if m.Event == "" {
			return invalid(bridge.Say("The webhook is about a reaction, but has no emoji"))
		}
		return nil
	case "Create":
		m.Kind = bridge.KindChat
		if message.Name != "" && message.Name != "message" && !shares(m, message.Name) {
			m.Kind, m.Event = bridge.KindSystem, message.Name
		}
	case "Activity":
		// Before Talk 23 what a person shares comes as an activity, named or not.
		m.Kind = bridge.KindChat
		if !shares(m, message.Name) {
			m.Kind, m.Event = bridge.KindSystem, message.Name
		}
	}
	if m.Kind == bridge.KindChat {
		m.Attachments = attachments
		return e.readQuoted(m)
	}
	return nil
}

// readQuoted sets the message that m answers, if it answers one. Its author is
// empty where Talk no longer knows.
func (e *envelope) readQuoted(m *bridge.Message) error {
	quoted := e.Object.InReplyTo
	if quoted == nil || !validID(string(quoted.Object.ID)) {
		return nil
	}
	r := bridge.Message{Key: m.Key, Kind: bridge.KindChat, Room: m.Room}
	r.Key.ID = string(quoted.Object.ID)
	r.Author, _ = quoted.Actor.parse()
	var err error
	r.Attachments, err = quoted.Object.read(&r)
	m.InReplyTo = &r
	return err
}

// read reads the text and the parameters of b into m, and returns the
// attachments among the parameters.
func (b *object) read(m *bridge.Message) ([]bridge.Attachment, error) {
	var err error
	m.Markdown = b.MediaType == "text/markdown"
	m.RawText, m.Parameters, err = readContent(b.Content)
	m.Text = render(m.RawText, m.Parameters)
	return attachments(m.Parameters), err
}

// readLegacy reads "type": "message" into m.
func (e *envelope) readLegacy(m *bridge.Message) error {
	w := e.Message
	if w == nil {
		return invalid(bridge.Say("The webhook has no message"))
	}
	if err := setRoom(m, firstOf(e.Object.Token, w.Token), e.Object.Name); err != nil {
		return err
	}

	m.Author.ID = firstOf(string(w.ActorID), string(e.ActorID))
	m.Author.Type = strings.ToLower(firstOf(w.ActorType, e.ActorType))
	if m.Author.Type == "" {
		m.Author = bridge.ParseActor(m.Author.ID)
	}
	m.Author.Name = firstOf(w.DisplayName, e.DisplayName)
	if m.Author.ID == "" || m.Author.Type == "" {
		return invalid(bridge.Say("The webhook names no actorId"))
	}

	var err error
	if m.SentAt, err = readTimestamp(strings.TrimSpace(string(w.Timestamp))); err != nil {
		return err
	}
	m.RawText = w.Message
	if m.Parameters, err = readParameters(w.Parameters); err != nil {
		return err
	}
	m.Text = render(m.RawText, m.Parameters)

	if m.Key.ID = strings.TrimSpace(string(w.ID)); m.Key.ID == "" {
		m.Key.ID = derivedID(m, string(w.Timestamp))
	}
	if !validID(m.Key.ID) {
		return invalid(bridge.Say("The webhook's message id is missing or too long"))
	}

	m.Thread = w.thread()
	if w.spoken(m) {
		m.Kind, m.Attachments = bridge.KindChat, attachments(m.Parameters)
		return nil
	}
	m.Kind, m.Event = bridge.KindSystem, firstOf(w.SystemMessage, w.MessageType)
	return nil
}

// spoken reports whether a person wrote w, or shared something by it. m is w,
// with its text and parameters read.
func (w *legacyMessage) spoken(m *bridge.Message) bool {
	if name := strings.TrimSpace(w.SystemMessage); name != "" {
		return shares(m, name)
	}
	switch strings.ToLower(w.MessageType) {
	case "", "comment", "object_shared", "voice-message", "record-audio", "record-video":
		return true
	}
	return false // "system", "comment_deleted", "command"
}

// shares reports whether m is something that its author shared, and not a
// sentence of Talk about a thing: "{actor} ended the poll {poll}". name is that
// of the system message, which no list can know all of: under a name that Talk
// does not use for sharing, the thing must stand alone, or beside a caption
// that does not speak of it.
func shares(m *bridge.Message, name string) bool {
	things := shared(m.Parameters)
	switch name {
	case "", "file_shared", "object_shared", "voice-message", "record-audio", "record-video":
		return len(things) > 0
	}
	text := strings.TrimSpace(m.RawText)
	return slices.ContainsFunc(things, func(thing string) bool {
		return text == "{"+thing+"}" || !strings.Contains(text, "{"+thing+"}") && !strings.Contains(text, "{actor}")
	})
}

// derivedID returns an id for a message that came without one: the same for the
// same message again, and never a number. Where a timestamp is missing too, the
// nonce tells a message from its repetition, or else the time of arrival.
func derivedID(m *bridge.Message, timestamp string) string {
	if timestamp == "" {
		timestamp = m.Nonce
	}
	if timestamp == "" {
		timestamp = m.ReceivedAt.UTC().Format(time.RFC3339Nano)
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{m.Room.Token, m.Author.Ref(), timestamp, m.RawText}, "\x00")))
	return "derived-" + hex.EncodeToString(sum[:16])
}

// readTimestamp takes seconds or milliseconds since 1970, and returns the zero
// time for nothing and for 0.
func readTimestamp(s string) (time.Time, error) {
	const (
		milliseconds = 1e11         // as seconds that would be the year 5138
		year10000    = 253402300800 // beyond it a time has no JSON
	)
	if s == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err == nil && seconds >= milliseconds {
		seconds /= 1000
	}
	if err != nil || !(seconds >= 0 && seconds < year10000) {
		return time.Time{}, invalid(bridge.Say("The webhook's timestamp is not in seconds or milliseconds since 1970: %s", quote(s)))
	}
	if seconds == 0 {
		return time.Time{}, nil
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// readContent takes object.content: {"message": …, "parameters": …} from Talk,
// plain text from others.
func readContent(content string) (string, map[string]bridge.Parameter, error) {
	if !strings.HasPrefix(content, "{") {
		return content, nil, nil
	}
	var c struct {
		Message    *string         `json:"message"`
		Parameters json.RawMessage `json:"parameters"`
	}
	if ours := json.Unmarshal([]byte(content), &c) == nil && c.Message != nil; !ours {
		return content, nil, nil
	}
	parameters, err := readParameters(c.Parameters)
	return *c.Message, parameters, err
}

// readParameters takes an object of rich objects. PHP writes an empty one as [].
func readParameters(raw json.RawMessage) (map[string]bridge.Parameter, error) {
	if len(raw) == 0 || raw[0] == 'n' || raw[0] == '[' && len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0 {
		return nil, nil
	}
	var parameters map[string]bridge.Parameter
	var texts map[string]map[string]string // nearly always, and read in a third of the time
	if json.Unmarshal(raw, &texts) == nil {
		parameters = make(map[string]bridge.Parameter, len(texts))
		for name, p := range texts {
			parameters[name] = p
		}
	} else if err := json.Unmarshal(raw, &parameters); err != nil {
		return nil, &bridge.Error{
			Code:  bridge.CodeInvalid,
			Text:  bridge.Say("The parameters of the webhook's message are not an object of objects"),
			Cause: err,
		}
	}
	maps.DeleteFunc(parameters, func(_ string, p bridge.Parameter) bool { return len(p) == 0 })
	if len(parameters) == 0 {
		return nil, nil
	}
	return parameters, nil
}

// render replaces the placeholders of text by what they stand for. One without
// a parameter stays as it is.
func render(text string, parameters map[string]bridge.Parameter) string {
	const most = 4 << 20 // a long name can stand in a message many times
	if len(parameters) == 0 {
		return text
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		end := strings.IndexAny(rest, "{}")
		if end >= 0 && rest[end] == '}' && b.Len() < most {
			if s := spoken(rest[:end], parameters[rest[:end]]); s != "" {
				b.WriteString(s)
				text = rest[end+1:]
				continue
			}
		}
		b.WriteByte('{')
		text = rest
	}
}

// spoken returns a parameter for a reader: "@alice", "list.txt".
func spoken(name string, p bridge.Parameter) string {
	s := firstOf(p["name"], p["mention-id"], p["id"])
	switch {
	case !strings.HasPrefix(name, "mention-") || s == "":
		return s
	case p["type"] == "call":
		return "@all"
	default:
		return "@" + s
	}
}

// shared returns the names of the parameters that stand for a thing, in order:
// all but people, conversations and words.
func shared(parameters map[string]bridge.Parameter) []string {
	var names []string
	for name, p := range parameters {
		if name == "actor" || strings.HasPrefix(name, "mention-") {
			continue
		}
		switch p["type"] {
		case "", "user", "guest", "user-group", "group", "circle", "email", "call", "highlight":
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// attachments returns what was shared with a message.
func attachments(parameters map[string]bridge.Parameter) []bridge.Attachment {
	var all []bridge.Attachment
	for _, name := range shared(parameters) {
		p := parameters[name]
		a := bridge.Attachment{
			Type: p["type"],
			ID:   p["id"],
			Name: p["name"],
			Path: p["path"],
			Link: p["link"],
		}
		if a.Type == "file" {
			a.MIMEType = p["mimetype"]
			if size, err := strconv.ParseInt(p["size"], 10, 64); err == nil {
				a.Size = max(size, 0)
			}
		}
		all = append(all, a)
	}
	return all
}

func (a actor) parse() (bridge.Actor, bool) {
	typ, id, _ := strings.Cut(a.ID, "/")
	if typ == "" || id == "" {
		return bridge.Actor{}, false
	}
	return bridge.Actor{Type: typ, ID: id, Name: a.Name}, true
}

func setRoom(m *bridge.Message, token, name string) error {
	switch {
	case token == "":
		return invalid(bridge.Say("The webhook names no conversation"))
	case !validToken(token):
		return invalid(bridge.Say("The webhook's conversation token has characters that none has: %s", quote(token)))
	}
	m.Key.Room = token
	m.Room = bridge.Room{Token: token, Name: roomName(name)}
	return nil
}

// roomName returns the name of a conversation for a reader. Talk names a
// one-to-one conversation by a list of its people: ["alice","bob"].
func roomName(name string) string {
	var people []string
	if strings.HasPrefix(name, "[") && json.Unmarshal([]byte(name), &people) == nil {
		return strings.Join(people, ", ")
	}
	return name
}

// validToken reports whether a conversation token may go into a URL. Talk uses
// letters and digits; custom webhooks have been seen with hyphens.
func validToken(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func validID(s string) bool { return s != "" && len(s) <= 64 }

// validNumber reports whether s is the number of a message, which is not 0.
func validNumber(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n > 0
}

// firstOf returns the first of ss that is not blank, without white space around it.
func firstOf(ss ...string) string {
	for _, s := range ss {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	return ""
}

// quote quotes what somebody else sent, for an error, and shortens it.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

func invalid(text bridge.Text) error {
	return &bridge.Error{Code: bridge.CodeInvalid, Text: text}
}

func notOurJSON(err error) error {
	text := bridge.Say("The webhook is not JSON")
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		text = bridge.Say("The webhook's JSON is not an object")
		if t.Field != "" {
			text = bridge.Say("The webhook's %s has a value of the wrong type", quote(t.Field))
		}
	}
	return &bridge.Error{Code: bridge.CodeInvalid, Text: text, Cause: err}
}
