package bridge

import "time"

// State is how the bot is, in one word.
type State string

// The states of the bot.
const (
	StateNew      State = "new"      // nothing is configured yet
	StateStarting State = "starting" // it will run in a moment
	StateRunning  State = "running"  // all is well, as far as can be known
	StateDegraded State = "degraded" // it runs, but something is wrong
	StatePaused   State = "paused"   // by the user: it takes no messages
	StateFailed   State = "failed"   // it does not run, and should
)

// Snapshot is everything that a person wants to know at a glance.
type Snapshot struct {
	State  State
	Title  Text // "Running"
	Detail Text // why it is in that state, or what came last
	Fix    Text // what to do about it; zero where all is well

	Address   string      // the URL that Nextcloud must reach; empty: none is known
	Local     string      // where Perch listens: "http://127.0.0.1:8460/nextcloud-talk"; empty: it does not
	Installed string      // the address that Talk used last; differs from Address: install the bot anew
	Tunnel    TunnelState // zero where no tunnel is configured

	Server    string // host of the Nextcloud server; empty: none
	Nextcloud string // version; empty: not known
	Talk      string // version; empty: not known

	Last    Message // that was received; ReceivedAt is zero if there is none
	Held    bool    // replies are held back until Resume
	Waiting int     // replies that are not sent yet
	Hour    Traffic // of the last hour
	Problem Event   // the last warning or error that nothing good came after; Time is zero if there is none
}

// Traffic is how many messages came in a time and what became of them. Each
// counts once, whatever was tried.
type Traffic struct {
	Received int           // taken, whether a handler was asked or not
	Answered int           // of those, how many have a reply that was sent
	Failed   int           // of those, how many the handler failed at, or whose reply was given up
	Refused  int           // turned away, and webhooks without a right signature
	Median   time.Duration // from a message to its first reply; 0: none
	Bars     []Bar         // the same time in equal parts, the last being the present
}

// Bar is a part of the time of a Traffic.
type Bar struct{ Messages, Failures int }

// TunnelState is how the tunnel is.
type TunnelState struct {
	Phase       string // "off", "requesting", "connecting", "online", "reconnecting" or "failed"; empty as "off"
	Address     string // public URL without a path
	Connections int
	Location    string // of the edge: "FRA"
	Protocol    string // "quic" or "http2"
	Reason      Text   // why it is not online
	Hint        Text
	RetryAt     time.Time // when it tries again; zero: it is not waiting
}
