package tray

import (
	"strings"
	"time"

	"perch/bridge"
)

// notice is what a notification says.
type notice struct{ title, body bridge.Text }

const (
	noticeEvery = time.Minute     // there are no more notifications than that
	settled     = 3 * time.Second // what is over sooner is not worth one
)

// notices decides when a person is told what. It compares how the bot is with
// what the person knows, so that what came and went in between is not told.
type notices struct {
	known, now condition
	since      time.Time // of now
	last       time.Time // notification
}

// condition is what of a snapshot is worth a notification.
type condition struct {
	trouble bool   // it does not run as it should
	held    bool   // replies are held back: one was refused
	down    bool   // the tunnel
	address string // of the tunnel; the last one, if it has none

	about, tunnel notice // why; not compared
}

// see takes note of how the bot is.
func (n *notices) see(s bridge.Snapshot, at time.Time) {
	c := n.now
	switch s.State {
	case bridge.StateRunning, bridge.StateDegraded, bridge.StateFailed:
		c.trouble = s.State != bridge.StateRunning
		c.held = s.Held
		c.about = notice{s.Title, s.Detail}
		switch s.Tunnel.Phase {
		case "online", "off", "":
			c.down = false
		case "reconnecting", "failed":
			c.down = true
		}
		if s.Tunnel.Address != "" {
			c.address = s.Tunnel.Address
		}
		if n.known.address == "" { // Nextcloud may know one of an earlier time
			n.known.address = c.address
			if s.Installed != "" && !strings.HasPrefix(s.Installed, c.address) {
				n.known.address = s.Installed
			}
		}
		c.tunnel.body = s.Tunnel.Reason
	case bridge.StatePaused, bridge.StateNew: // a person did that
		n.known = condition{address: n.known.address}
		c = condition{address: c.address}
	case bridge.StateStarting: // it is not known yet
	}
	if !c.same(n.now) {
		n.since = at
	}
	n.now = c
}

func (c condition) same(other condition) bool {
	return c.trouble == other.trouble && c.held == other.held && c.down == other.down && c.address == other.address
}

// due returns what is to be told now, or else when to ask again; a wait of 0
// means not before see is called.
func (n *notices) due(at time.Time) (told notice, ok bool, wait time.Duration) {
	if n.now.same(n.known) {
		return notice{}, false, 0
	}
	wait = max(n.since.Add(settled).Sub(at), n.last.Add(noticeEvery).Sub(at))
	if wait > 0 {
		return notice{}, false, wait
	}
	told = n.now.news(n.known)
	n.known, n.last = n.now, at
	return told, true, 0
}

// news returns what differs from what is known, the most urgent of it.
func (c condition) news(known condition) notice {
	switch {
	case c.address != known.address:
		return notice{bridge.Say("The tunnel has another address"), bridge.Say("Nextcloud still sends to the old one. Perch shows the command that tells it.")}
	case c.held && !known.held:
		return notice{bridge.Say("A reply was refused, and replies are held back"), c.about.body}
	case c.down && !known.down:
		return notice{bridge.Say("The tunnel is down"), c.tunnel.body}
	case c.trouble && !known.trouble:
		return c.about
	case known.held && !c.held:
		return notice{bridge.Say("Replies are sent again"), c.about.title}
	case known.down && !c.down:
		return notice{bridge.Say("The tunnel is up again"), c.about.title}
	default:
		return notice{bridge.Say("Perch runs as it should again"), bridge.Text{}}
	}
}
