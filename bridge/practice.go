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
	Time     time.Time
	Author   Actor
	Bot      bool
	Text     string        // Markdown if Bot
	Took     time.Duration // of an answer, since the message
	Reaction string        // emoji on the line; empty: none
	Note     Text          // what Perch did instead of answering; zero: Text counts
}

// Commands are what to type on one kind of server to install the bot.
type Commands struct {
	Server string // "Bare metal", "Docker", "AIO" or "Snap"
	Lines  string // with the secret
	Shown  string // with the secret masked
}
