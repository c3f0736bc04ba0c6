package control

import (
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
)

// Snapshot returns the bot at a glance. changed is closed when something else
// than the time has changed.
func (b *Bot) Snapshot() (s bridge.Snapshot, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s = bridge.Snapshot{
		State: b.state, Held: b.view.held, Waiting: b.view.waiting, Installed: b.view.installed,
		Last: b.view.last, Hour: b.view.hour, Problem: b.problem,
	}
	var facts app.Facts
	if b.app != nil {
		facts = b.app.Facts()
		s.Local, s.Address, s.Tunnel = facts.Local, facts.Address, facts.Tunnel
		s.Server = hostOf(facts.Config.Talk.BaseURL)
		s.Nextcloud, s.Talk = facts.Nextcloud, facts.Talk
	}
	b.explain(&s, facts)
	return s, b.changed
}

// explain finds the words for how the bot is; b.mu is held.
func (b *Bot) explain(s *bridge.Snapshot, facts app.Facts) {
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
		s.Title, s.Detail, s.Fix = bridge.Say("Stopped"), bridge.TextOf(b.failure), bridge.HintOf(b.failure)
		return
	default:
	}
	if b.app != nil {
		if p := problemOf(*s, facts); !p.title.IsZero() {
			s.State, s.Title, s.Detail, s.Fix = bridge.StateDegraded, p.title, p.why, p.fix
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
		s.Detail = bridge.Heard(last, time.Now())
	}
}

// problem is something wrong with a running bot.
type problem struct{ title, why, fix bridge.Text }

// problemOf returns the worst problem of a running bot; zero if there is none.
func problemOf(s bridge.Snapshot, facts app.Facts) problem {
	switch {
	case facts.JournalErr != nil:
		return problem{bridge.Say("Messages are refused"), bridge.TextOf(facts.JournalErr), bridge.HintOf(facts.JournalErr)}
	case facts.SecretErr != nil:
		return problem{bridge.Say("The secrets could not be read"), bridge.TextOf(facts.SecretErr), bridge.HintOf(facts.SecretErr)}
	case facts.Secret.IsZero() && facts.Config.Webhook.RequireSignature && facts.Config.Talk.Receive != config.ByAccount:
		return problem{bridge.Say("No webhook secret"), bridge.Say("No webhook secret is set: every webhook is refused"), facts.Secret.HowTo(bridge.WebhookSecret)}
	case facts.AppToken.IsZero() && facts.Config.Talk.Voice() == config.User:
		return problem{bridge.Say("No app token"), bridge.Say("No app token is set: no reply can be sent"), bridge.Say("Make an app password in Nextcloud (Settings, Security), then: %s").With(facts.AppToken.HowTo(bridge.AppToken))}
	case bridge.CodeOf(facts.AccountErr) == bridge.CodeUnauthorized:
		return problem{bridge.Say("Logged out"), bridge.Say("The server refuses the account; nothing is received until you log in again"), bridge.Say("Log in again: perch setup")}
	case s.Held:
		return problem{bridge.Say("Replies are held back"), bridge.Say("The server refused a reply, so nothing more is sent until the cause is fixed."), bridge.Say("Fix the cause, then: perch retry")}
	case s.Tunnel.Phase != "" && s.Tunnel.Phase != "off" && s.Tunnel.Phase != "online":
		return problem{bridge.Say("The tunnel is not connected"), s.Tunnel.Reason, s.Tunnel.Hint}
	case facts.AccountErr != nil:
		return problem{bridge.Say("The server cannot be reached"), bridge.TextOf(facts.AccountErr), bridge.HintOf(facts.AccountErr)}
	case facts.ServerErr != nil:
		return problem{bridge.Say("The server cannot be reached"), bridge.TextOf(facts.ServerErr), bridge.HintOf(facts.ServerErr)}
	case s.Installed != "" && s.Address != "" && s.Installed != s.Address:
		return problem{bridge.Say("The bot must be installed again"), bridge.Say("Talk has the bot at %[1]s; its address is now %[2]s", s.Installed, s.Address), bridge.Text{}}
	case s.Problem.Stage == bridge.StageSender, s.Problem.Stage == bridge.StageHandler, s.Problem.Stage == bridge.StageJournal:
		return problem{bridge.Say("Something went wrong"), s.Problem.Title, s.Problem.Hint}
	case len(facts.Config.Talk.AllowedUsers) == 0:
		return problem{bridge.Say("Nobody is answered"), bridge.Say("The list of allowed users is empty."), bridge.Say("Add the user ids of those it may answer, in the settings.")}
	default:
		return problem{}
	}
}
