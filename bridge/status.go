package bridge

import (
	"strconv"
	"time"
)

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
	State  State `json:"state"`
	Title  Text  `json:"title"`        // "Running"
	Detail Text  `json:"detail"`       // why it is in that state, or what came last
	Fix    Text  `json:"fix,omitzero"` // what to do about it; zero where all is well

	Address   string      `json:"address"`         // the URL that Nextcloud must reach; empty: none is known
	Local     string      `json:"local"`           // where Perch listens: "http://127.0.0.1:8460/nextcloud-talk"; empty: it does not
	Installed string      `json:"installed"`       // the address that Talk used last; differs from Address: install the bot anew
	Tunnel    TunnelState `json:"tunnel,omitzero"` // zero where no tunnel is configured

	Server    string `json:"server"`    // host of the Nextcloud server; empty: none
	Nextcloud string `json:"nextcloud"` // version; empty: not known
	Talk      string `json:"talk"`      // version; empty: not known

	Last    Message `json:"last,omitzero"`    // that was received; ReceivedAt is zero if there is none
	Held    bool    `json:"held"`             // replies are held back until Resume
	Waiting int     `json:"waiting"`          // replies that are not sent yet
	Hour    Traffic `json:"hour"`             // of the last hour
	Problem Event   `json:"problem,omitzero"` // the last warning or error that nothing good came after; Time is zero if there is none
}

// Heard says when m came, and from whom, for a person.
func Heard(m Message, now time.Time) Text {
	d, who, room := now.Sub(m.ReceivedAt), m.Author.String(), m.Room.String()
	switch {
	case d < 2*time.Second:
		return Say("A message just now from %s in %s", who, room)
	case d < time.Minute:
		return Say("Last message %s s ago from %s in %s", strconv.Itoa(int(d.Seconds())), who, room)
	case d < time.Hour:
		return Say("Last message %s min ago from %s in %s", strconv.Itoa(int(d.Minutes())), who, room)
	case d < 48*time.Hour:
		return Say("Last message %s h ago from %s in %s", strconv.Itoa(int(d.Hours())), who, room)
	default:
		return Say("Last message %s days ago from %s in %s", strconv.Itoa(int(d.Hours()/24)), who, room)
	}
}

// Traffic is how many messages came in a time and what became of them. Each
// counts once, whatever was tried.
type Traffic struct {
	Received int           `json:"received"`       // taken, whether a handler was asked or not
	Answered int           `json:"answered"`       // of those, how many have a reply that was sent
	Failed   int           `json:"failed"`         // of those, how many the handler failed at, or whose reply was given up
	Refused  int           `json:"refused"`        // turned away, and webhooks without a right signature
	Median   time.Duration `json:"median"`         // from a message to its first reply; 0: none
	Bars     []Bar         `json:"bars,omitempty"` // the same time in equal parts, the last being the present
}

// Bar is a part of the time of a Traffic.
type Bar struct {
	Messages int `json:"messages"`
	Failures int `json:"failures"`
}

// TunnelState is how the tunnel is.
type TunnelState struct {
	Phase       string    `json:"phase"`   // "off", "requesting", "connecting", "online", "reconnecting" or "failed"; empty as "off"
	Address     string    `json:"address"` // public URL without a path
	Connections int       `json:"connections"`
	Location    string    `json:"location,omitempty"` // of the edge: "FRA"
	Protocol    string    `json:"protocol,omitempty"` // "quic" or "http2"
	Reason      Text      `json:"reason,omitzero"`    // why it is not online
	Hint        Text      `json:"hint,omitzero"`
	RetryAt     time.Time `json:"retry_at,omitzero"` // when it tries again; zero: it is not waiting
}
