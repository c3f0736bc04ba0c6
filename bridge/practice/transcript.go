package practice

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Actor is who wrote or reacted.
type Actor struct {
	Type string // "users", "guests" or "bots"
	ID   string // of a bot "bot-" and the SHA-1 of its URL
	Name string // of a bot with " (Bot)"
}

// Entry is a message as it stands in a room. Reactions and system messages are
// entries, too.
type Entry struct {
	ID          int
	Time        time.Time
	Actor       Actor
	Text        string // as written; system messages in English; of a reaction the emoji
	System      string // "", or "reaction", "message_edited", "conversation_renamed", …
	ReplyTo     int    // id of the message that it quotes, reacts to or tells of; 0 for none
	Thread      int    // id of the thread that it stands in; 0 for none
	ReferenceID string
	File        string // name of the shared file
	Reactions   []Reaction
	Silent      bool
	Deleted     bool
	Edited      bool
}

// Reaction is an emoji on a message.
type Reaction struct {
	Emoji string
	Actor Actor
}

// Transcript returns what stands in a room, oldest first; nil if there is no
// such room.
func (s *Server) Transcript(token string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.room(token)
	if r == nil {
		return nil
	}
	entries := make([]Entry, len(r.messages))
	for i, m := range r.messages {
		entries[i] = m.entry()
	}
	return entries
}

// Wait returns the first entry of a room with an id above after that matches:
// one that stands there, or else the first to come. It returns an error if ctx
// ends or the server closes before.
func (s *Server) Wait(ctx context.Context, token string, after int, match func(Entry) bool) (Entry, error) {
	var entry Entry
	err := s.wait(ctx, func() bool {
		r := s.room(token)
		if r == nil {
			return false
		}
		from, _ := slices.BinarySearchFunc(r.messages, after+1, byID)
		for _, m := range r.messages[from:] {
			if entry = m.entry(); match(entry) {
				return true
			}
		}
		return false
	})
	if err != nil {
		return Entry{}, fmt.Errorf("practice: no matching message in %s: %w", token, err)
	}
	return entry, nil
}

// WaitReply returns the first message that quotes the message id, as Wait does.
func (s *Server) WaitReply(ctx context.Context, token string, id int) (Entry, error) {
	return s.Wait(ctx, token, id, func(e Entry) bool { return e.ReplyTo == id && e.System == "" })
}

// WaitReaction returns the first reaction to the message id, as Wait does.
func (s *Server) WaitReaction(ctx context.Context, token string, id int) (Entry, error) {
	return s.Wait(ctx, token, id, func(e Entry) bool { return e.ReplyTo == id && e.System == "reaction" })
}

func (a actor) exported() Actor { return Actor{a.kind, a.id, a.name} }

func (m *message) entry() Entry {
	e := Entry{
		ID: m.id, Time: m.at, Actor: m.actor.exported(), Text: m.text, System: m.system,
		ReferenceID: m.reference, Silent: m.silent, Deleted: m.deleted, Edited: m.edited != nil,
	}
	if m.system != "" {
		name := m.actor.name
		if name == "" {
			name = "Guest"
		}
		e.Text = strings.Replace(e.Text, "{actor}", name, 1)
		for _, f := range m.objects {
			if o, ok := f.value.(object); ok {
				e.Text = strings.ReplaceAll(e.Text, "{"+f.name+"}", o.text("name"))
			}
		}
	}
	if m.parent != nil {
		e.ReplyTo = m.parent.id
	}
	if m.thread != nil {
		e.Thread = m.thread.id
	}
	if m.file != nil {
		e.File = m.file.name
	}
	for _, r := range m.reactions {
		e.Reactions = append(e.Reactions, Reaction{r.text, r.actor.exported()})
	}
	return e
}

// text returns the value of a field that is a string.
func (o object) text(name string) string {
	for _, f := range o {
		if f.name == name {
			text, _ := f.value.(string)
			return text
		}
	}
	return ""
}
