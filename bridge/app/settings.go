package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/handler"
	"perch/bridge/journal"
	"perch/bridge/pipeline"
	"perch/bridge/secret"
	"perch/bridge/talk"
)

// retrySecrets is how soon secrets are asked for again when the keychain did
// not give them, because it was locked or not running.
const retrySecrets = 30 * time.Second

// settings are the configuration and the secrets, and the parts made of them.
// They are never changed, only replaced as a whole.
type settings struct {
	config      config.Config
	problems    []config.Problem // that do not keep it from working
	secret      bridge.Secret    // empty if there is none
	appToken    bridge.Secret    // empty if there is none
	tunnelToken bridge.Secret    // empty if there is none, or none is needed
	notifyToken bridge.Secret    // empty if there is none, or none is needed
	notifyErr   error            // why it could not be read, if it is not just missing
	secretErr   error            // why a secret could not be read, if it is not just missing
	talk        *talk.Client
	router      *handler.Router
	proxies     []netip.Prefix
	retire      context.CancelFunc // ends what waits with these settings
	relays      bool               // webhooks are kept as they came
}

// Access implements pipeline.Policy.
func (s *settings) Access(room string) pipeline.Access {
	r := s.config.Room(room)
	return pipeline.Access{
		Enabled: r.Enabled, Allowed: r.AllowedUsers, Own: s.config.Rooms[room].AllowedUsers != nil, Limits: s.limits(),
	}
}

func (s *settings) limits() pipeline.Limits {
	return pipeline.Limits{User: s.config.Limits.UserMessages, Room: s.config.Limits.RoomMessages}
}

// Own implements pipeline.Policy.
func (s *settings) Own(m bridge.Message) bool { return s.talk.Shared(m) }

// Route implements pipeline.Policy.
func (s *settings) Route(m bridge.Message) (most int, asked bool) { return s.router.Queue(m) }

// makeSettings reads the secrets and makes the parts.
func (a *App) makeSettings(ctx context.Context, cfg config.Config, problems []config.Problem) (*settings, error) {
	s := &settings{config: cfg, problems: slices.Concat(problems, a.Home.Exposed()), proxies: cfg.Webhook.Proxies()}
	s.secret = s.read(ctx, a.Secrets, bridge.WebhookSecret)
	s.appToken = s.read(ctx, a.Secrets, bridge.AppToken)
	if cfg.Tunnel.Mode == config.TunnelNamed {
		s.tunnelToken = s.read(ctx, a.Secrets, bridge.TunnelToken)
	}
	if cfg.Notify.Listen != "" {
		if s.notifyToken, s.notifyErr = a.Secrets.Get(ctx, bridge.NotifyToken); bridge.CodeOf(s.notifyErr) == bridge.CodeNotFound {
			s.notifyErr = nil
		}
	}
	pool, err := cfg.Talk.CertPool(filepath.Dir(a.Home.ConfigFile()))
	if err != nil {
		return nil, err
	}
	s.talk, err = talk.NewClient(talk.Options{
		BaseURL:   cfg.Talk.BaseURL,
		Secret:    s.secret,
		AppToken:  s.appToken,
		ReplyAs:   string(cfg.Talk.Voice()),
		RootCAs:   pool,
		UserAgent: "Perch/" + a.Version,
		Open:      a.spool().Open,
	})
	if err != nil {
		return nil, err
	}
	s.relays = relays(cfg)
	life, retire := context.WithCancel(context.WithoutCancel(ctx))
	s.retire = retire
	parts := HandlerParts{
		retired: life,
		Home:    a.Home,
		Secret:  func(name string) bridge.Secret { return s.read(ctx, a.Secrets, name) },
		Files:   s.talk, RootCAs: pool, Memory: a.journal, Status: a.statusLines, Sink: a.Bus, Version: a.Version,
		Running: &a.programs, Meter: a.meter, Confirms: cfg.Talk.Receive == config.ByAccount,
	}
	if !s.appToken.IsZero() {
		parts.Outgoing = a.spool()
	}
	s.router, err = handler.NewRouter(cfg, parts.Handler, a.acknowledge, a.Bus)
	if err != nil {
		return nil, err
	}
	if cfg.Voice.BaseURL != "" && !s.appToken.IsZero() {
		s.router.Ear = parts.Ear(cfg.Voice)
	}
	if cfg.Talk.Voice() == config.User {
		s.router.Draft = a.draft
	}
	s.router.Past = a.past
	return s, nil
}

// past returns a message that was asked, or what a reaction to an answer was about.
func (a *App) past(ctx context.Context, room, id string) (bridge.Message, bool, error) {
	const deepest = 20 // asked again and again
	for range deepest {
		records, err := a.journal.Messages(ctx, journal.Filter{Keys: []bridge.Key{{Room: room, ID: id}}})
		if err != nil || len(records) == 0 {
			return bridge.Message{}, false, err
		}
		m := records[0].Message
		if m.Kind != bridge.KindReaction || m.Reaction == nil {
			return m, m.RawText != "", nil // else its text is not kept
		}
		id = m.Reaction.Answers
	}
	return bridge.Message{}, false, nil
}

// acknowledge posts a reaction as soon as it can be.
func (a *App) acknowledge(ctx context.Context, r bridge.Reply) error {
	r.Ref = pipeline.NewRef()
	_, err := a.journal.Enqueue(ctx, []bridge.Reply{r})
	return err
}

func (s *settings) read(ctx context.Context, store bridge.SecretStore, name string) bridge.Secret {
	secret, err := store.Get(ctx, name)
	needed := s.config.Talk.Receive != config.ByAccount
	if name != bridge.WebhookSecret {
		needed = s.config.Talk.Voice() == config.User
	}
	if needed && err != nil && bridge.CodeOf(err) != bridge.CodeNotFound {
		s.secretErr = err
	}
	return secret
}

// locked reports whether a secret could not be read that may be there in a while.
func (s *settings) locked() bool {
	none := errors.Is(s.notifyErr, secret.ErrNoSession) || errors.Is(s.notifyErr, secret.ErrNoKeychain)
	return s.secretErr != nil || s.notifyErr != nil && !none
}

// apply puts a configuration in force, with the secrets as they are now.
func (a *App) apply(ctx context.Context, cfg config.Config, problems []config.Problem) error {
	s, err := a.makeSettings(ctx, cfg, problems)
	if err != nil {
		return err
	}
	fingerprint, err := a.fingerprint(ctx, s)
	if err != nil {
		return err
	}
	changed, err := a.journal.Settings(ctx, fingerprint)
	if err != nil {
		return err
	}
	a.journal.StoreText(cfg.Journal.StoreText)
	a.journal.EchoesReturn(cfg.Talk.Voice() == config.User)
	if old := a.current.Swap(s); old != nil {
		old.retire()
		old.talk.Close()
	}
	request(a.refresh)
	request(a.retunnel)
	request(a.moved)
	request(a.refollow)
	request(a.renotify)
	s.remind(a.Bus)
	a.explainToken(ctx)
	if changed {
		return a.journal.Resume(ctx) // what was refused before may be taken now
	}
	return a.warnOfHold(ctx)
}

// fingerprint returns a value that changes with whatever decides if Talk takes
// our replies. It is too short to tell anything of the secrets in it.
func (a *App) fingerprint(ctx context.Context, s *settings) (string, error) {
	salt, err := a.journal.Salt(ctx)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, salt)
	t := s.config.Talk
	_, _ = fmt.Fprintf(mac, "%q %q %q %q %q", t.BaseURL, t.Voice(), t.CAFile, s.secret.Reveal(), s.appToken.Reveal())
	return hex.EncodeToString(mac.Sum(nil)[:4]), nil
}

// warnOfHold says that replies are held back since an earlier run.
func (a *App) warnOfHold(ctx context.Context) error {
	until, held, err := a.journal.HeldUntil(ctx)
	if err != nil || !held {
		return err
	}
	e := bridge.Event{
		Stage: bridge.StageSender, Kind: bridge.EventHeld, Level: slog.LevelWarn, Code: bridge.CodeUnauthorized,
		Title: bridge.Say("Replies are held back, because the server refused one (401)"),
		Hint:  bridge.Say("Fix the cause, then: perch retry"),
	}
	if !until.IsZero() {
		e.Code = bridge.CodeThrottled
		e.Title = bridge.Say("Replies are held back until %s, because the server asked to slow down (429)", until.Format(time.TimeOnly))
		e.Hint = bridge.Text{}
	}
	a.Bus.Publish(e)
	return nil
}

// remind says what is unwise or missing in the settings.
func (s *settings) remind(sink bridge.EventSink) {
	for _, p := range s.problems {
		sink.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventSettingsProblem, Level: slog.LevelWarn, Code: bridge.CodeInvalid, Title: p.Text, Cause: p.Place(), Hint: p.Hint})
	}
	switch {
	case s.secretErr != nil:
		sink.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventSecretMissing, Title: bridge.Say("The secrets could not be read")}.Failed(s.secretErr))
	case s.secret.IsZero() && s.config.Webhook.RequireSignature && s.config.Talk.Receive != config.ByAccount:
		sink.Publish(bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventSecretMissing, Level: slog.LevelError, Code: bridge.CodeNotFound,
			Title: bridge.Say("No webhook secret is set: every webhook is refused"),
			Hint:  s.secret.HowTo(bridge.WebhookSecret),
		})
	}
	if s.appToken.IsZero() && s.config.Voice.BaseURL != "" && s.config.Talk.Voice() != config.User && s.secretErr == nil {
		sink.Publish(bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventSecretMissing, Level: slog.LevelWarn, Code: bridge.CodeNotFound,
			Title: bridge.Say("No app token is set: voice messages are not heard"),
			Hint:  bridge.Say("Make an app password in Nextcloud (Settings, Security), then: %s").With(s.appToken.HowTo(bridge.AppToken)),
		})
	}
	if s.appToken.IsZero() && s.config.Talk.Voice() == config.User && s.secretErr == nil {
		sink.Publish(bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventSecretMissing, Level: slog.LevelError, Code: bridge.CodeNotFound,
			Title: bridge.Say("No app token is set: no reply can be sent"),
			Hint:  bridge.Say("Make an app password in Nextcloud (Settings, Security), then: %s").With(s.appToken.HowTo(bridge.AppToken)),
		})
	}
}

// keepSettings reads the settings again when that is asked for, and while the
// secrets cannot be read.
func (a *App) keepSettings(ctx context.Context) error {
	for {
		retry := time.NewTimer(retrySecrets)
		if !a.current.Load().locked() {
			retry.Stop()
		}
		select {
		case <-ctx.Done():
			retry.Stop()
			return ctx.Err()
		case <-a.reload:
		case <-retry.C:
		}
		retry.Stop()
		if err := a.reread(ctx); err != nil && ctx.Err() == nil {
			a.Bus.Publish(bridge.Event{
				Stage: bridge.StageApp, Kind: bridge.EventSettingsProblem,
				Title: bridge.Say("The changed settings are not taken over; the old ones stay in force"),
			}.Failed(err))
		}
	}
}

// reread takes over what config.toml and the secrets say now.
func (a *App) reread(ctx context.Context) error {
	cfg, problems, err := config.Load(a.Home.ConfigFile())
	if err != nil {
		return err
	}
	apply := func() error { return a.apply(ctx, cfg, problems) }
	if ListenAt(cfg) == ListenAt(a.current.Load().config) {
		err = apply()
	} else {
		err = a.move(ctx, ListenAt(cfg), apply)
	}
	if err != nil {
		return err
	}
	a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventSettingsApplied, Title: bridge.Say("The settings were read again")})
	return nil
}

// statusLines is what the command !status answers.
func (a *App) statusLines(ctx context.Context) []string {
	up := time.Since(a.started).Round(time.Second)
	lines := []string{"Perch " + a.Version + " on " + runtime.GOOS + ", running for " + up.String() + "."}
	traffic, err := a.journal.Traffic(ctx, a.started, 0)
	if err != nil {
		return append(lines, "The journal could not be read.")
	}
	messages, replies := a.journal.Backlog()
	return append(lines,
		"Since then: "+strconv.Itoa(traffic.Received)+" received, "+strconv.Itoa(traffic.Answered)+" answered, "+strconv.Itoa(traffic.Failed)+" failed.",
		"Waiting: "+strconv.Itoa(messages-1)+" messages, "+strconv.Itoa(replies)+" replies.", // this one is being answered
	)
}
