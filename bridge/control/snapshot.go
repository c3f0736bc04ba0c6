package app

import (
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/config"
)

// Snapshot returns the bot at a glance. changed is closed when something else
// than the time has changed.
func (d *Desk) Snapshot() (s bridge.Snapshot, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s = bridge.Snapshot{
		State: d.state, Held: d.view.held, Waiting: d.view.waiting, Installed: d.view.installed,
		Last: d.tally.last, Problem: d.tally.problem,
	}
	s.Hour, s.Median = d.tally.hour(time.Now())
	if d.app != nil {
		d.app.describe(&s)
	}
	d.explain(&s)
	return s, d.changed
}

// describe fills in what the running bot knows.
func (a *App) describe(s *bridge.Snapshot) {
	current := a.current.Load()
	s.Local = "http://" + a.Addr() + current.config.Webhook.Path
	s.Tunnel = a.tunnelState()
	s.Address = a.address()
	s.Server = hostOf(current.config.Talk.BaseURL)
	if server := a.server.Load(); server != nil {
		s.Nextcloud, s.Talk = server.caps.ServerVersion, server.caps.TalkVersion
	}
}

// explain finds the words for how the bot is; d.mu is held.
func (d *Desk) explain(s *bridge.Snapshot) {
	switch s.State {
	case bridge.StateNew:
		s.Title, s.Detail = bridge.Say("Not set up yet"), bridge.Say("Perch needs to know your Nextcloud and whom it may answer.")
		return
	case bridge.StateStarting:
		s.Title, s.Detail = bridge.Say("Starting"), bridge.Say("One moment")
		return
	case bridge.StatePaused:
		s.Title, s.Detail = bridge.Say("Paused"), bridge.Say("Messages are not taken, and Talk does not send them again.")
		return
	case bridge.StateFailed:
		s.Title, s.Detail, s.Fix = bridge.Say("Stopped"), bridge.TextOf(d.failure), bridge.HintOf(d.failure)
		return
	default:
	}
	if d.app != nil {
		if wrong := d.app.wrong(*s); !wrong.title.IsZero() {
			s.State, s.Title, s.Detail, s.Fix = bridge.StateDegraded, wrong.title, wrong.why, wrong.fix
			return
		}
	}
	s.Title = bridge.Say("Running")
	switch last := s.Last; {
	case last.ReceivedAt.IsZero() && s.Address == "":
		s.Detail = bridge.Say("Waiting for the first message")
	case last.ReceivedAt.IsZero():
		s.Detail = bridge.Say("Waiting for the first message at %s", s.Address)
	default:
		s.Detail = since(time.Since(last.ReceivedAt), last.Author.String(), last.Room.String())
	}
}

// since says when the last message came.
func since(d time.Duration, who, room string) bridge.Text {
	switch {
	case d < 2*time.Second:
		return bridge.Say("A message just now from %s in %s", who, room)
	case d < time.Minute:
		return bridge.Say("Last message %s s ago from %s in %s", strconv.Itoa(int(d.Seconds())), who, room)
	case d < time.Hour:
		return bridge.Say("Last message %s min ago from %s in %s", strconv.Itoa(int(d.Minutes())), who, room)
	case d < 48*time.Hour:
		return bridge.Say("Last message %s h ago from %s in %s", strconv.Itoa(int(d.Hours())), who, room)
	default:
		return bridge.Say("Last message %s days ago from %s in %s", strconv.Itoa(int(d.Hours()/24)), who, room)
	}
}

// complaint is what is wrong with a running bot, the gravest thing alone.
type complaint struct{ title, why, fix bridge.Text }

func (a *App) wrong(s bridge.Snapshot) complaint {
	current := a.current.Load()
	server := a.server.Load()
	switch {
	case current.secretErr != nil:
		return complaint{bridge.Say("The secrets could not be read"), bridge.TextOf(current.secretErr), bridge.HintOf(current.secretErr)}
	case current.secret.IsZero() && current.config.Webhook.RequireSignature:
		return complaint{bridge.Say("No webhook secret"), bridge.Say("No webhook secret is set: every webhook is refused"), bridge.Say("Make one with: perch secret generate webhook_secret")}
	case current.appToken.IsZero() && current.config.Talk.ReplyAs == config.User:
		return complaint{bridge.Say("No app token"), bridge.Say("No app token is set: no reply can be sent"), bridge.Say("Make an app password in Nextcloud (Settings, Security), then: perch secret set app_token")}
	case s.Held:
		return complaint{bridge.Say("Replies are held back"), bridge.Say("The server refused a reply, so nothing more is sent until its cause is mended."), bridge.Say("Mend its cause, then: perch retry")}
	case s.Tunnel.Phase != "" && s.Tunnel.Phase != "off" && s.Tunnel.Phase != "online":
		return complaint{bridge.Say("The tunnel is not connected"), s.Tunnel.Reason, s.Tunnel.Hint}
	case server != nil && server.err != nil:
		return complaint{bridge.Say("The server cannot be reached"), bridge.TextOf(server.err), bridge.HintOf(server.err)}
	case s.Installed != "" && s.Address != "" && s.Installed != s.Address:
		return complaint{bridge.Say("The bot must be installed anew"), bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", s.Installed, s.Address), bridge.Text{}}
	case s.Problem.Stage == bridge.StageSender, s.Problem.Stage == bridge.StageHandler, s.Problem.Stage == bridge.StageJournal:
		return complaint{bridge.Say("Something went wrong"), s.Problem.Title, s.Problem.Hint}
	case len(current.config.Talk.AllowedUsers) == 0:
		return complaint{bridge.Say("Nobody is answered"), bridge.Say("The list of allowed users is empty."), bridge.Say("Add the user ids of those it may answer, in the settings.")}
	default:
		return complaint{}
	}
}
