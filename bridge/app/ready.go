package app

import (
	"context"
	"errors"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/secret"
)

// Ready returns nil if the bot can work with the settings that are in force,
// else an error: of CodeNotFound if somebody has to set a secret first, of
// another code if what keeps the secrets may yet give them, or if the journal
// cannot be written.
func (a *App) Ready() error {
	s := a.current.Load()
	switch {
	case errors.Is(s.secretErr, secret.ErrNoSession), errors.Is(s.secretErr, secret.ErrNoKeychain):
		return &bridge.Error{
			Code: bridge.CodeNotFound, Text: bridge.TextOf(s.secretErr), Hint: bridge.HintOf(s.secretErr), Cause: s.secretErr,
		}
	case s.secretErr != nil:
		return s.secretErr
	case s.secret.IsZero() && s.config.Webhook.RequireSignature && s.config.Talk.Receive != config.ByAccount:
		return &bridge.Error{
			Code: bridge.CodeNotFound,
			Text: bridge.Say("No webhook secret is set: every webhook is refused"),
			Hint: s.secret.HowTo(bridge.WebhookSecret),
		}
	case s.appToken.IsZero() && s.config.Talk.Voice() == config.User:
		return &bridge.Error{
			Code: bridge.CodeNotFound,
			Text: bridge.Say("No app token is set: no reply can be sent"),
			Hint: bridge.Say("Make an app password in Nextcloud (Settings, Security), then: %s").With(s.appToken.HowTo(bridge.AppToken)),
		}
	}
	return a.journal.Trouble()
}

// Responds returns nil if the bot is not stuck: the journal answers.
func (a *App) Responds(ctx context.Context) error {
	_, err := a.journal.Traffic(ctx, a.started, 0)
	return err
}
