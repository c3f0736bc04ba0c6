package handler

import (
	"time"

	"perch/bridge"
)

// documentVersion changes when a program that reads a Document must change too.
// A new field does not change it.
const documentVersion = 1

// Document is what a program or a web hook is told of a message, as JSON:
//
//	version      the number 1
//	id           id of the message, a decimal number in a string
//	room         token: of the conversation; name: for people, can be empty, and changes
//	thread       id: of the thread within the conversation; title: can be empty;
//	             null if the message stands in none
//	author       type: "users", "guests", "emails", "federated_users", …;
//	             id: unique within the type; name: for people, can be empty
//	text         with mentions and the like written out: "hello @bob"
//	raw_text     as Talk sent it: "hello {mention-user1}"
//	markdown     whether text is Markdown
//	voice        duration: in seconds, 0 if not known; language: can be empty; null
//	             unless text was said in a voice message, and not written
//	reaction     the emoji, of a reaction to an answer; author is who reacted, text
//	             the emoji too, and in_reply_to the answer; null of a message
//	attachments  what was shared with the message; [] if nothing was
//	in_reply_to  the message that this one quotes, with the same fields but
//	             this one; null if it quotes none
//	received_at  when Perch got it, RFC 3339 in UTC; null within in_reply_to
//
// and each of attachments:
//
//	name         of the file, the question of the poll, the name of the place: a
//	             person chose it, so it is no path
//	mime_type    of a file; else empty
//	size         of a file in bytes, as Talk says; else 0
//	path         where the content is until the program has ended; empty where
//	             it was not asked for, is no file, or is more than Perch hands
//	             on (16 MiB a file, 10 files)
//	link         for a browser that is logged in
//	data         for a web hook, in place of path: a data URL with the content;
//	             missing where path would be empty
//
// Every field but data is always there.
type Document struct {
	Post

	InReplyTo *Post `json:"in_reply_to"`
}

// Post is a message within a Document.
type Post struct {
	Version     int          `json:"version"`
	ID          string       `json:"id"`
	Room        Room         `json:"room"`
	Thread      *Thread      `json:"thread"`
	Author      Author       `json:"author"`
	Text        string       `json:"text"`
	RawText     string       `json:"raw_text"`
	Markdown    bool         `json:"markdown"`
	Voice       *Voice       `json:"voice"`
	Reaction    *string      `json:"reaction"`
	Attachments []Attachment `json:"attachments"`
	ReceivedAt  *time.Time   `json:"received_at"`
}

// Room is a conversation within a Document.
type Room struct {
	Token string `json:"token"`
	Name  string `json:"name"`
}

// Thread is a thread of a conversation within a Document.
type Thread struct {
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Voice tells of a Post whose text was said.
type Voice struct {
	Duration float64 `json:"duration"`
	Language string  `json:"language"`
}

// Author is who wrote a Post.
type Author struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Attachment is something shared with a Post.
type Attachment struct {
	Name     string `json:"name"`
	MIMEType string `json:"mime_type"`
	Size     int64  `json:"size"`
	Path     string `json:"path"`
	Link     string `json:"link"`
	Data     string `json:"data,omitempty"`
}

// NewDocument returns the document of m, without the content of files.
func NewDocument(m bridge.Message) Document {
	d := Document{Post: newPost(m)}
	if m.InReplyTo != nil {
		quoted := newPost(*m.InReplyTo)
		d.InReplyTo = &quoted
	}
	return d
}

func newPost(m bridge.Message) Post {
	p := Post{
		Version:     documentVersion,
		ID:          m.Key.ID,
		Room:        Room{m.Room.Token, m.Room.Name},
		Author:      Author{m.Author.Type, m.Author.ID, m.Author.Name},
		Text:        m.Text,
		RawText:     m.RawText,
		Markdown:    m.Markdown,
		Attachments: make([]Attachment, len(m.Attachments)),
	}
	for i, a := range m.Attachments {
		p.Attachments[i] = Attachment{Name: a.Name, MIMEType: a.MIMEType, Size: a.Size, Link: a.Link}
	}
	if v := m.Voice; v != nil {
		p.Voice = &Voice{v.Duration.Round(100 * time.Millisecond).Seconds(), v.Language}
	}
	if m.Kind == bridge.KindReaction {
		p.Reaction = &m.Event
	}
	if m.Thread.ID != "" {
		p.Thread = &Thread{m.Thread.ID, m.Thread.Title}
	}
	if !m.ReceivedAt.IsZero() {
		at := m.ReceivedAt.UTC()
		p.ReceivedAt = &at
	}
	return p
}
