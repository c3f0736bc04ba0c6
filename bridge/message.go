package bridge

import (
	"encoding/json"
	"strings"
	"time"
)

// Key identifies a chat message: no two messages share one, and a message that
// is delivered twice has the same one.
type Key struct {
	Server string `json:"server"` // base URL of the Nextcloud server, as configured
	Room   string `json:"room"`   // conversation token
	ID     string `json:"id"`     // message id, a decimal number on every real server
}

// Room is a Talk conversation.
type Room struct {
	Token string `json:"token"`
	Name  string `json:"name,omitempty"` // for people; can be empty, and changes
}

// String returns the name of the room for a person, or its token if it has none.
func (r Room) String() string {
	if r.Name == "" {
		return r.Token
	}
	return r.Name
}

// Thread is a thread within a conversation. The zero Thread is none.
type Thread struct {
	ID    string `json:"id"` // of its first message
	Title string `json:"title,omitempty"`
}

// Actor types of Nextcloud Talk.
const (
	ActorUser  = "users"
	ActorGuest = "guests"
	ActorBot   = "bots"
)

// Actor is who wrote a message.
type Actor struct {
	Type string `json:"type"` // ActorUser, ActorGuest, ActorBot, "emails", "federated_users", "bridged", …
	ID   string `json:"id"`   // unique within Type
	Name string `json:"name,omitempty"`
}

// ParseActor splits "users/alice" into its type and id. Without a slash the
// whole is the id of a user, as people write it in allow lists.
func ParseActor(s string) Actor {
	if typ, id, ok := strings.Cut(s, "/"); ok {
		return Actor{Type: typ, ID: id}
	}
	return Actor{Type: ActorUser, ID: s}
}

// Ref returns the actor as Talk writes it: "users/alice".
func (a Actor) Ref() string { return a.Type + "/" + a.ID }

// String returns the name of the actor for a person, or its Ref if it has none.
func (a Actor) String() string {
	if a.Name == "" {
		return a.Ref()
	}
	return a.Name
}

// Kind says what a webhook tells us.
type Kind string

// A KindChat message is given to a Handler, and a KindReaction that tells who
// reacted to a reply of ours; its Author is who did, its Text the emoji, and
// InReplyTo the reply. The others are logged.
const (
	KindChat            Kind = "chat"             // a person wrote, or shared a file, a poll or a location
	KindSystem          Kind = "system"           // "alice renamed the conversation", "bob edited a message", …
	KindReaction        Kind = "reaction"         // an emoji was added; Author is not who reacted, but who wrote the message (before Talk 23)
	KindReactionRemoved Kind = "reaction-removed" // an emoji was taken away; Author as for KindReaction
	KindJoined          Kind = "joined"           // the bot was enabled in a conversation
	KindLeft            Kind = "left"             // the bot was disabled in a conversation
)

// Message is what Talk told us, after its signature was verified and its
// payload parsed.
type Message struct {
	Key         Key                  `json:"key"`
	Kind        Kind                 `json:"kind"`
	Room        Room                 `json:"room"`
	Thread      Thread               `json:"thread,omitzero"` // that it stands in; Talk 23
	Author      Actor                `json:"author"`
	Text        string               `json:"text"`                 // placeholders rendered: "hello @bob"
	RawText     string               `json:"raw_text,omitempty"`   // as Talk sent it: "hello {mention-user1}"
	Markdown    bool                 `json:"markdown,omitempty"`   // Text is Markdown
	Parameters  map[string]Parameter `json:"parameters,omitempty"` // by placeholder name: "mention-user1"
	Attachments []Attachment         `json:"attachments,omitempty"`
	InReplyTo   *Message             `json:"in_reply_to,omitempty"` // the message this one quotes; at most one deep
	Event       string               `json:"event,omitempty"`       // KindSystem: "message_edited", …; KindReaction…: the emoji
	Nonce       string               `json:"nonce,omitempty"`       // X-Nextcloud-Talk-Random; empty where signatures are off, and of a message that was fetched
	Backend     string               `json:"backend,omitempty"`     // X-Nextcloud-Talk-Backend: the server's own idea of its address; not signed
	SentAt      time.Time            `json:"sent_at,omitzero"`      // zero where Talk does not say: all Activity Streams webhooks
	ReceivedAt  time.Time            `json:"received_at"`
	Ref         string               `json:"ref,omitempty"`       // Talk's referenceId, of a message that was fetched: ours is that of the Reply
	Addressed   string               `json:"addressed,omitempty"` // id of the user we log in as, if they are spoken to: alone, by a mention, or by a reply to them
	Webhook     *Webhook             `json:"webhook,omitempty"`   // only where a handler hands it on
	Voice       *Voice               `json:"voice,omitempty"`     // Text was said, not written: only where a handler is given it
	Reaction    *Reaction            `json:"reaction,omitempty"`  // KindReaction: what is known of it beside the emoji
}

// Reaction tells of a reaction. Only who reads the conversation knows of it:
// webhooks do not say who reacted.
type Reaction struct {
	ID      string    `json:"id"` // of the reaction itself, among those of messages
	By      Actor     `json:"by"`
	At      time.Time `json:"at,omitzero"`
	Answers string    `json:"answers,omitempty"` // id of the message that was asked, where it stands on a reply of ours
	Choice  bool      `json:"choice,omitempty"`  // the reply asked for this emoji
	Call    *Proposal `json:"call,omitempty"`    // what it asked about
}

// Proposal is what a language model wants done, once a person has agreed.
type Proposal struct {
	Tool      string `json:"tool"`
	Arguments string `json:"arguments"` // JSON
	Asker     Actor  `json:"asker"`     // who alone can agree
}

// Voice tells of words that were said.
type Voice struct {
	Duration time.Duration `json:"duration,omitempty"` // 0: not known
	Language string        `json:"language,omitempty"` // as the server that heard them calls it; can be empty
}

// Recording returns the voice message that m is: one audio file without a
// caption. Before Talk 23 a webhook calls every recording a shared file, from
// then on a message, so that nothing else tells it from one.
func (m Message) Recording() (a Attachment, ok bool) {
	name, isObject := strings.CutPrefix(strings.TrimSpace(m.RawText), "{")
	name, closed := strings.CutSuffix(name, "}")
	if !isObject || !closed || len(m.Attachments) != 1 {
		return Attachment{}, false
	}
	a = m.Attachments[0]
	ok = a.Type == "file" && strings.HasPrefix(a.MIMEType, "audio/") && m.Parameters[name]["id"] == a.ID
	return a, ok
}

// Webhook is a request as Talk sent it.
type Webhook struct {
	Header map[string][]string `json:"header"`
	Body   []byte              `json:"body"`
}

// Parameter is a rich object that a placeholder in a message stands for: a
// mention, a file, a poll. Its fields depend on its "type", see
// https://github.com/nextcloud/server/blob/master/lib/public/RichObjectStrings/Definitions.php.
type Parameter map[string]string

// UnmarshalJSON takes an object whose values are strings, numbers or booleans;
// anything deeper is kept as its JSON text.
func (p *Parameter) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*p = make(Parameter, len(raw))
	for k, v := range raw {
		var s string
		if json.Unmarshal(v, &s) != nil {
			s = string(v)
		}
		(*p)[k] = s
	}
	return nil
}

// Attachment is something shared with a message.
type Attachment struct {
	Type     string `json:"type"`                // "file", "talk-poll", "geo-location", …
	ID       string `json:"id"`                  // file id, poll id, "geo:52.52,13.405"
	Name     string `json:"name"`                // file name, poll question, place
	MIMEType string `json:"mime_type,omitempty"` // files only
	Size     int64  `json:"size,omitempty"`      // bytes; files only
	Path     string `json:"path,omitempty"`      // in the files of the sender, not in those of the app token's user
	Link     string `json:"link,omitempty"`      // for a browser
}

// File is a file that a Reply shares. Its content is kept beside the journal
// until the reply was sent, or given up.
type File struct {
	Name     string `json:"name"` // in the conversation; no path
	MIMEType string `json:"mime_type"`
	Size     int64  `json:"size"`
	Key      string `json:"key"` // by which its content is kept
}

// Reply is one request to Talk: a text to post, a file to share, or a reaction to
// add or remove.
type Reply struct {
	Ref      string    `json:"ref"` // Talk's referenceId, 64 hex digits: makes a resend recognisable
	Room     Room      `json:"room"`
	ReplyTo  string    `json:"reply_to,omitempty"` // id of the message quoted or reacted to
	Thread   string    `json:"thread,omitempty"`   // id of the thread it goes into; empty: the conversation itself
	Text     string    `json:"text,omitempty"`     // Markdown; empty for a reaction; the caption of a file
	File     *File     `json:"file,omitempty"`
	Reaction string    `json:"reaction,omitempty"` // one emoji
	Remove   bool      `json:"remove,omitempty"`   // take Reaction away, or, without one, the message ReplyTo itself
	Silent   bool      `json:"silent,omitempty"`   // do not notify people
	Call     *Proposal `json:"call,omitempty"`     // what Text asks about
	Choices  []string  `json:"choices,omitempty"`  // emoji that Text asks for: who reacts with one of them answers
	Edits    string    `json:"edits,omitempty"`    // Ref of an earlier reply, whose message is to have this text, if it can be edited

	Answers string    `json:"answers,omitempty"` // id of the message that was asked
	AskedAt time.Time `json:"asked_at,omitzero"` // when that message came
}
