package control

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/checks"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/handler"
	"perch/bridge/secret"
)

// ConfigFile returns the path of config.toml.
func (b *Bot) ConfigFile() string { return b.Home.ConfigFile() }

// Config returns config.toml as far as it can be read, else what a new one
// would say, and all that is wrong or unwise in it. exists says if there is one.
func (b *Bot) Config() (c config.Config, problems []config.Problem, exists bool) {
	return config.Draft(b.Home.ConfigFile())
}

// Save writes config.toml, if nothing is wrong with c. What changed takes
// effect at once. The error is a *config.InvalidError, or says why it cannot
// be written.
func (b *Bot) Save(_ context.Context, c config.Config) error {
	if _, err := c.Validate(); err != nil {
		return err
	}
	_, err := config.Save(b.Home.ConfigFile(), c)
	return err
}

// Secret returns a stored secret; CodeNotFound if there is none.
func (b *Bot) Secret(ctx context.Context, name string) (bridge.Secret, error) {
	return b.Secrets.Get(ctx, name)
}

// SecretPlace says where a secret is or would be kept, and whether it cannot
// be changed here; the error says what is wrong with that place.
func (b *Bot) SecretPlace(ctx context.Context, name string) (place bridge.Text, fixed bool, err error) {
	place, fixed = b.Secrets.Place(ctx, name)
	if _, err = b.Secrets.Get(ctx, name); bridge.CodeOf(err) == bridge.CodeNotFound {
		err = nil
	}
	return place, fixed, err
}

// SetSecret checks and stores a secret; the empty one removes it. A running
// bot takes it over.
func (b *Bot) SetSecret(ctx context.Context, name string, s bridge.Secret) error {
	s = secret.Normalize(name, s)
	var err error
	if s.IsZero() {
		if err = b.Secrets.Delete(ctx, name); bridge.CodeOf(err) == bridge.CodeNotFound {
			err = nil
		}
	} else if err = secret.Check(name, s); err == nil {
		err = b.Secrets.Set(ctx, name, s)
	}
	if err != nil {
		return err
	}
	b.reloadSoon()
	return nil
}

// CheckSecret returns what is wrong with a secret as it is typed, or nil.
func (b *Bot) CheckSecret(name string, s bridge.Secret) error {
	return secret.Check(name, secret.Normalize(name, s))
}

// NewSecret returns a new random secret that Talk takes.
func (b *Bot) NewSecret() bridge.Secret { return secret.Generate() }

// TestServer looks at the server of c, which need not be saved, with the app
// token if it is not empty.
func (b *Bot) TestServer(ctx context.Context, c config.Config, appToken bridge.Secret) (doctor.Report, error) {
	only := []string{"server-dns", "server-tcp", "server-tls", "server-status", "capabilities", "clock"}
	trial := secret.Memory()
	if !appToken.IsZero() {
		only = append(only, "app-token")
		if err := trial.Set(ctx, bridge.AppToken, appToken); err != nil {
			return doctor.Report{}, err
		}
	}
	private := &doctor.Private{}
	all, end := checks.New(checks.Options{
		Home: b.Home, Config: &c, Version: b.Version, Private: private,
		Secrets: secret.Chain(func(string) string { return "" }, trial),
	})
	defer end()
	return doctor.Run(ctx, all, doctor.Options{Only: only}, func(row doctor.Row) doctor.Row { return private.Redact(row, true) })
}

// Doctor runs every check and calls row with each as it is done, without
// secrets. In the report, which is to be shown to others, what is private is
// hidden too.
func (b *Bot) Doctor(ctx context.Context, row func(doctor.Row)) (doctor.Report, error) {
	return b.Examine(ctx, doctor.Request{}, func(r, _ doctor.Row) { row(r) })
}

// Examine runs the checks that are asked for, as checks.Examine does.
func (b *Bot) Examine(ctx context.Context, r doctor.Request, row func(whole, shown doctor.Row)) (doctor.Report, error) {
	return checks.Examine(ctx, checks.Options{Home: b.Home, Secrets: b.Secrets, Version: b.Version, Getenv: b.Getenv}, r, row)
}

// Occ returns the commands that install the bot of c, one for each way in
// which Nextcloud can run; if it is installed with another address, those that
// replace it. CodeNotFound if it is not known at which address it is reached.
func (b *Bot) Occ(ctx context.Context, c config.Config, key bridge.Secret) ([]bridge.Commands, error) {
	b.mu.Lock()
	a, installed := b.app, b.view.installed
	b.mu.Unlock()
	tunnel := ""
	if a != nil {
		if facts := a.Facts(); reflect.DeepEqual(facts.Config.Tunnel, c.Tunnel) {
			tunnel = facts.Tunnel.Address
		}
	}
	address := app.Address(c, c.Webhook.Listen, tunnel)
	if address == "" {
		return nil, &bridge.Error{
			Code: bridge.CodeNotFound,
			Text: bridge.Say("The address is not known yet"),
			Hint: bridge.Say("Choose how Nextcloud reaches this computer, and apply."),
		}
	}
	bot := app.Installation{Name: "Perch", Secret: key, Address: address}
	if installed != address {
		bot.Old = installed
	}
	if bot.Old != "" {
		bot.Rooms = b.rooms(ctx)
	}
	masked := bot
	masked.Secret = bridge.NewSecret("••••••")
	names := map[string]string{"host": "Bare metal", "docker": "Docker", "aio": "AIO", "snap": "Snap"}
	var all []bridge.Commands
	for _, server := range app.Servers() {
		all = append(all, bridge.Commands{
			Server: names[server],
			Lines:  strings.Join(bot.Commands(server), "\n"),
			Shown:  strings.Join(masked.Commands(server), "\n"),
		})
	}
	return all, nil
}

// LocalAddresses returns this machine's addresses in its own networks, as
// they stand in a URL.
func (b *Bot) LocalAddresses() []string {
	all, _ := net.InterfaceAddrs() // none is as good as not known
	var local []string
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if ip := prefix.Addr(); err == nil && ip.Is4() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			local = append(local, ip.String())
		}
	}
	return local
}

// Models asks a language model's server for the names of its models.
func (b *Bot) Models(ctx context.Context, h config.Handler, key bridge.Secret) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pool, err := b.certPool()
	if err != nil {
		return nil, err
	}
	return handler.Models(ctx, h.BaseURL, key, pool)
}

func (b *Bot) certPool() (*x509.CertPool, error) {
	c, _, _ := b.Config()
	return c.Talk.CertPool(filepath.Dir(b.Home.ConfigFile()))
}

// hostOf returns the host of an address, for a person.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

// rooms returns the conversations that the journal knows, as far as they are
// to be enabled again.
func (b *Bot) rooms(ctx context.Context) []string {
	j, err := b.guest(ctx)
	if err != nil {
		return nil
	}
	rooms, _ := j.Rooms(ctx) // without them the person fills them in
	tokens := make([]string, len(rooms))
	for i, r := range rooms {
		tokens[i] = r.Token
	}
	return tokens
}
