package bridge

import (
	"context"
	"time"
)

// Practice is a Talk server inside the process, with a copy of the bot.
type Practice interface {
	People() []Actor // who can speak; one of them is not among the allowed users
	Rooms() []Room
	// Say posts a message. It returns when the bot has taken the webhook.
	Say(ctx context.Context, room, person, text string) error
	// Lines returns what stands in a room, oldest first, the newest 200.
	Lines(room string) []Line
	// Changed is closed at the next change of any room.
	Changed() <-chan struct{}
	// Clear begins anew with empty rooms.
	Clear(ctx context.Context) error
	Close()
}

// Line is one line of a practice room.
type Line struct {
	Time     time.Time     `json:"time"`
	Author   Actor         `json:"author"`
	Bot      bool          `json:"bot,omitempty"`
	Text     string        `json:"text,omitempty"`     // Markdown if Bot
	Took     time.Duration `json:"took,omitempty"`     // of an answer, since the message
	Reaction string        `json:"reaction,omitempty"` // emoji on the line; empty: none
	Note     Text          `json:"note,omitzero"`      // what Perch did instead of answering; zero: Text counts
}

// Commands are what to type on one kind of server to install the bot.
type Commands struct {
	Server string `json:"server"` // "Bare metal", "Docker", "AIO" or "Snap"
	Lines  string `json:"lines"`  // with the secret
	Shown  string `json:"shown"`  // with the secret masked
}
