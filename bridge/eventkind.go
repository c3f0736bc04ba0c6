package bridge

// EventKind says what happened, for programs: code decides by it, never by the
// sentence in Title. The values are stable and part of --log-format json.
type EventKind string

// What becomes of a message. The journal keeps these facts with the message and
// its replies; the events only tell of them as they happen and are not stored.
const (
	EventMessageReceived   EventKind = "message-received"    // stored; a handler is asked, or nobody needs to be
	EventMessageTurnedAway EventKind = "message-turned-away" // stored and never answered: not allowed, room off, busy
	EventMessageMissed     EventKind = "message-missed"      // no webhook brought it, and it cannot be handled without one
	EventMessageRepeated   EventKind = "message-repeated"    // known already
	EventMessageHandled    EventKind = "message-handled"     // with or without a reply
	EventMessagePassed     EventKind = "message-passed"      // another bot took it
	EventMessageFailed     EventKind = "message-failed"      // the handler failed
	EventMessageSilent     EventKind = "message-silent"      // handled, without a reply
	EventMessageNotForBot  EventKind = "message-not-for-bot" // stored; no handler answers to it
	EventReplySent         EventKind = "reply-sent"
	EventReplyDelayed      EventKind = "reply-delayed"  // could not be sent; it is tried again
	EventReplyHeld         EventKind = "reply-held"     // the server refused it; nothing is sent for now
	EventReplyGivenUp      EventKind = "reply-given-up" // it is not tried again
)

// What else a webhook or a conversation tells.
const (
	EventBotEnabled     EventKind = "bot-enabled"     // in a conversation
	EventBotDisabled    EventKind = "bot-disabled"    // in a conversation
	EventReaction       EventKind = "reaction"        // added or removed
	EventRoomChanged    EventKind = "room-changed"    // renamed, somebody joined, a message was edited, …
	EventWebhookRefused EventKind = "webhook-refused" // no or a wrong signature, a wrong path, not a webhook
	EventServerRestored EventKind = "server-restored" // it gives message ids a second time
	EventLoop           EventKind = "loop"            // a conversation answers itself
	EventHandlerNote    EventKind = "handler-note"    // something a handler wants known about a message
	EventHeard          EventKind = "heard"           // a voice message; what was said is its text
	EventTool           EventKind = "tool"            // that a language model used; its arguments are the text
	EventTokens         EventKind = "tokens"          // that a language model used for an answer
)

// What happens to Perch itself.
const (
	EventListening       EventKind = "listening"
	EventStopped         EventKind = "stopped"
	EventPaused          EventKind = "paused" // by a person: no message is taken
	EventSettingsApplied EventKind = "settings-applied"
	EventSettingsProblem EventKind = "settings-problem" // wrong or unwise
	EventNotifyRefused   EventKind = "notify-refused"   // a program without the right token
	EventSecretMissing   EventKind = "secret-missing"   // not set, or it could not be read
	EventNoAppToken      EventKind = "no-app-token"     // and none is needed: said once
	EventHeld            EventKind = "held"             // at a start: replies are still held back
	EventResumed         EventKind = "resumed"          // replies are no longer held back
	EventAddressMoved    EventKind = "address-moved"    // Talk has the bot at another address
	EventServerAsked     EventKind = "server-asked"     // for its capabilities
	EventMissedFetched   EventKind = "missed-fetched"   // messages that no webhook brought
	EventMissedFailed    EventKind = "missed-failed"    // they could not be fetched, or not be handed on
	EventInvited         EventKind = "invited"          // the account was added to a conversation
	EventTooOld          EventKind = "too-old"          // messages came too late to be answered
	EventLoggedIn        EventKind = "logged-in"        // the account is followed
	EventLoggedOut       EventKind = "logged-out"       // the server refuses the account
	EventServerLost      EventKind = "server-lost"      // what is said there cannot be read for now
	EventServerFound     EventKind = "server-found"     // it can be read again
	EventWoke            EventKind = "woke"             // from sleep, or in another network
	EventTunnel          EventKind = "tunnel"           // its state changed
	EventJournalDamaged  EventKind = "journal-damaged"  // and replaced
	EventJournalFailed   EventKind = "journal-failed"   // it cannot be read or written
	EventJournalWorks    EventKind = "journal-works"    // again, after it failed
	EventDropped         EventKind = "events-dropped"   // too many events to keep or to show
	EventPartFailed      EventKind = "part-failed"      // a part of Perch failed and is restarted
	EventLibrary         EventKind = "library"          // what a library logs
)

// OfMessage reports whether the journal keeps the fact with the message that
// the event concerns.
func (k EventKind) OfMessage() bool {
	switch k {
	case EventMessageReceived, EventMessageMissed, EventMessageTurnedAway, EventMessageRepeated, EventMessageHandled, EventMessageSilent,
		EventMessageNotForBot, EventMessageFailed, EventMessagePassed,
		EventReplySent, EventReplyDelayed, EventReplyHeld, EventReplyGivenUp:
		return true
	default:
		return false
	}
}
