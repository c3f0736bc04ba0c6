package bridge

import "time"

// Conversation is a room as an account that is in it sees it.
type Conversation struct {
	Room   Room
	Kind   ConversationKind
	Last   int64     // id of its newest message; 0: not known
	Said   bool      // somebody wrote that one; else it tells what happened
	Active time.Time // when something happened there last, by the server's clock
}

// ConversationKind says who can be in a conversation.
type ConversationKind string

// The kinds of conversation.
const (
	KindOneToOne  ConversationKind = "one-to-one"
	KindGroup     ConversationKind = "group"  // also one that guests may join
	KindNotes     ConversationKind = "notes"  // the account's notes to itself
	KindGenerated ConversationKind = "system" // made by the server: what is new in Talk, an example
)

// Direct reports whether every message there is for the account.
func (k ConversationKind) Direct() bool { return k == KindOneToOne || k == KindNotes }

// Conversations are the rooms of an account, or those of them that changed.
type Conversations struct {
	All    []Conversation
	Before int64     // ask for what changed since then next time; 0: the server does not tell changes
	Now    time.Time // the server's clock
}

// Chat is what was said and done in a conversation after a message that was
// known.
type Chat struct {
	Messages []Message // oldest first
	Last     int64     // id of the newest that was looked at; 0: there is nothing new
}
