package app

import (
	"context"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/talk"
	"perch/bridge/webhook"
)

// receivers is the webhook.Source of a running bot.
type receivers struct {
	app   *App
	noter noter
}

func (a *App) receivers() receivers {
	return receivers{a, noter{a, a.intake}}
}

// Current implements webhook.Source.
func (r receivers) Current() webhook.Receiver { return receiver{r.app.current.Load(), r.noter} }

// receiver receives one webhook with the settings that were in force when it
// came. It implements webhook.Receiver.
type receiver struct {
	settings *settings
	noter    noter
}

// Settings implements webhook.Receiver.
func (r receiver) Settings() webhook.Settings {
	cfg := r.settings.config.Webhook
	return webhook.Settings{
		Path: cfg.Path, HasSecret: !r.settings.secret.IsZero(), SecretHowTo: r.settings.secret.HowTo(bridge.WebhookSecret),
		RequireSignature: cfg.RequireSignature,
		TrustedProxies:   r.settings.proxies,
	}
}

// Trouble implements webhook.Receiver.
func (r receiver) Trouble() string {
	switch {
	case r.settings.secret.IsZero() && r.settings.config.Webhook.RequireSignature:
		return "no-secret"
	case r.noter.app.journal.Trouble() != nil:
		return "not-stored"
	default:
		return ""
	}
}

// Verify implements webhook.Receiver.
func (r receiver) Verify(random string, body []byte, signature string) bool {
	return talk.Verify(r.settings.secret, random, body, signature)
}

// Sign implements webhook.Receiver.
func (r receiver) Sign(random, body string) string { return talk.Sign(r.settings.secret, random, body) }

// Decode implements webhook.Receiver.
func (r receiver) Decode(req webhook.Request) (bridge.Message, error) {
	m, err := talk.Decode(req.Body, talk.Origin{
		Server: r.settings.config.Talk.BaseURL,
		Nonce:  req.Random, Backend: req.Backend, ReceivedAt: req.ReceivedAt,
	})
	if r.settings.relays {
		m.Webhook = &bridge.Webhook{Header: req.Header, Body: req.Body}
	}
	return m, err
}

// Accept implements webhook.Receiver. What comes while the listener ends is left
// to the account, which knows whether it was spoken to.
func (r receiver) Accept(ctx context.Context, m bridge.Message) error {
	if r.settings.config.Talk.Receive == config.ByAccount {
		return nil
	}
	return r.noter.Accept(ctx, r.settings, m)
}
