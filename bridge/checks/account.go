package checks

import (
	"context"
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/doctor"
	"perch/bridge/receive"
	"perch/bridge/talk"
)

func logIn() bridge.Text { return bridge.Say("log in: perch setup") }

// noWebhook stands for the checks of the webhook where none is used.
func (s *session) noWebhook(context.Context) bridge.Result {
	return bridge.Skipped(bridge.Say("messages come with an account, so no port, tunnel or bot entry is looked at"))
}

// login asks whose app password it is.
func (s *session) login(ctx context.Context) bridge.Result {
	why := bridge.Say("Perch reads and answers messages as this account.")
	if s.key(ctx, bridge.AppToken).IsZero() {
		return bridge.Failed(bridge.Say("not logged in: no app token is set"), why, logIn())
	}
	return s.asBot(ctx, func(d talk.Doctor) bridge.Result {
		who, err := d.Client.User(ctx)
		if bridge.CodeOf(err) == bridge.CodeUnauthorized {
			return bridge.Failed(bridge.Say("the server does not know the app token: it was revoked, or is of another server"), why, logIn())
		}
		if err != nil {
			return bridge.FailedBy(err, why)
		}
		s.who = who
		s.Private.Hide(who.ID, doctor.Somebody)
		s.Private.Hide(who.Name, doctor.Somebody)
		return bridge.Passed(bridge.Say("logged in as %[1]s (%[2]s)", who.String(), who.ID))
	})
}

// accountRooms asks which conversations the account is in.
func (s *session) accountRooms(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	why := bridge.Say("Messages come from the conversations that the account is in.")
	return s.asBot(ctx, func(d talk.Doctor) bridge.Result {
		asked := time.Now()
		list, err := d.Client.Conversations(ctx, 0)
		if err != nil {
			return bridge.FailedBy(err, why)
		}
		s.listed = time.Since(asked)
		followed, ignored, news := 0, 0, time.Time{}
		j, journalErr := s.journal(ctx)
		for _, c := range list.All {
			if c.Kind == bridge.KindGenerated {
				continue
			}
			if journalErr == nil {
				if by, err := app.IgnoredFor(ctx, j, cfg.Talk.BaseURL, c.Room.Token); err == nil && by.ID != "" {
					ignored++
					continue
				}
			}
			followed++
			if c.Active.After(news) {
				news = c.Active
			}
		}
		if followed == 0 {
			return bridge.Warned(bridge.Say("the account is in no conversation that is followed"), why,
				bridge.Say("in Talk, write to the account, or add it to a conversation"))
		}
		seen := bridge.Say("%[1]s followed, the last news %[2]s", strconv.Itoa(followed)).With(s.ago(news))
		if ignored > 0 {
			seen = bridge.Say("%[1]s followed, the last news %[3]s; %[2]s ignored, as nobody invited the account who may", strconv.Itoa(followed), strconv.Itoa(ignored)).With(s.ago(news))
		}
		return bridge.Passed(seen)
	})
}

// poll says how soon a message is seen, and what went wrong last.
func (s *session) poll(ctx context.Context) bridge.Result {
	s.listed = max(s.listed, time.Millisecond)
	delay := receive.Delay(s.listed)
	seen := bridge.Say("a list takes %[1]s, so a message is seen within %[2]s; at rest that is %[3]s requests a minute",
		s.listed.Round(time.Millisecond).String(), delay.Round(100*time.Millisecond).String(), strconv.Itoa(int(time.Minute/delay)))
	why := bridge.Say("Until it is fixed, no message comes.")
	if j, err := s.journal(ctx); err == nil {
		if trouble, ok := app.AccountTrouble(ctx, j); ok {
			fix := trouble.Hint
			if fix.IsZero() {
				fix = bridge.Say("see it in full: perch log --level warn")
			}
			return bridge.Warned(bridge.Say("%[1]s; %[2]s: %[3]s").With(seen, s.ago(trouble.Time), trouble.Title), why, fix)
		}
	}
	if delay > 2*time.Second {
		return bridge.Warned(seen, bridge.Say("The server is slow, so it is asked less often."), bridge.Say("see what keeps the server busy: top"))
	}
	return bridge.Passed(seen)
}
