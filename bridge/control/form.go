package app

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/handler"
	"perch/bridge/secret"
)

// ConfigFile returns the path of config.toml.
func (d *Desk) ConfigFile() string { return d.Home.ConfigFile() }

// Config returns config.toml as far as it can be read, else what a new one
// would say, and all that is wrong or unwise in it. exists says if there is one.
func (d *Desk) Config() (c config.Config, problems []config.Problem, exists bool) {
	return config.Draft(d.Home.ConfigFile())
}

// Save writes config.toml, if nothing is wrong with c. What changed takes
// effect at once. The error is a *config.InvalidError, or says why it cannot
// be written.
func (d *Desk) Save(_ context.Context, c config.Config) error {
	if _, err := c.Validate(); err != nil {
		return err
	}
	_, err := config.Save(d.Home.ConfigFile(), c)
	return err
}

// Secret returns a stored secret; CodeNotFound if there is none.
func (d *Desk) Secret(ctx context.Context, name string) (bridge.Secret, error) {
	return d.Secrets.Get(ctx, name)
}

// SecretPlace says where a secret is or would be kept, and whether it cannot
// be changed here; the error says what is wrong with that place.
func (d *Desk) SecretPlace(ctx context.Context, name string) (place bridge.Text, fixed bool, err error) {
	place, fixed = d.Secrets.Place(ctx, name)
	if _, err = d.Secrets.Get(ctx, name); bridge.CodeOf(err) == bridge.CodeNotFound {
		err = nil
	}
	return place, fixed, err
}

// SetSecret checks and stores a secret; the empty one removes it. A running
// bot takes it over.
func (d *Desk) SetSecret(ctx context.Context, name string, s bridge.Secret) error {
	s = secret.Normalize(name, s)
	var err error
	if s.IsZero() {
		if err = d.Secrets.Delete(ctx, name); bridge.CodeOf(err) == bridge.CodeNotFound {
			err = nil
		}
	} else if err = secret.Check(name, s); err == nil {
		err = d.Secrets.Set(ctx, name, s)
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	a := d.app
	d.mu.Unlock()
	if a != nil {
		a.Reload()
	}
	request(d.reload)
	return nil
}

// CheckSecret returns what is wrong with a secret as it is typed, or nil.
func (d *Desk) CheckSecret(name string, s bridge.Secret) error {
	return secret.Check(name, secret.Normalize(name, s))
}

// NewSecret returns a new random secret that Talk takes.
func (d *Desk) NewSecret() bridge.Secret { return secret.Generate() }

// TestServer looks at the server of c, which need not be saved, with the app
// token if it is not empty.
func (d *Desk) TestServer(ctx context.Context, c config.Config, appToken bridge.Secret) (doctor.Report, error) {
	only := []string{"server-dns", "server-tcp", "server-tls", "server-status", "capabilities", "clock"}
	trial := secret.Memory()
	if !appToken.IsZero() {
		only = append(only, "app-token")
		if err := trial.Set(ctx, bridge.AppToken, appToken); err != nil {
			return doctor.Report{}, err
		}
	}
	private := &doctor.Private{}
	checks, end := Checks(CheckOptions{
		Home: d.Home, Config: &c, Version: d.Version, Private: private,
		Secrets: secret.Chain(func(string) string { return "" }, trial),
	})
	defer end()
	return doctor.Run(ctx, checks, doctor.Options{Only: only}, func(row doctor.Row) doctor.Row { return private.Redact(row, true) })
}

// Doctor runs every check and calls row with each as it is done, without
// secrets. In the report, which is to be shown to others, what is private is
// hidden too.
func (d *Desk) Doctor(ctx context.Context, row func(doctor.Row)) (doctor.Report, error) {
	private := &doctor.Private{}
	checks, end := Checks(CheckOptions{Home: d.Home, Secrets: d.Secrets, Version: d.Version, Private: private, Getenv: d.Getenv})
	defer end()
	return doctor.Run(ctx, checks, doctor.Options{}, func(r doctor.Row) doctor.Row {
		row(private.Redact(r, true))
		return private.Redact(r, false)
	})
}

// Occ returns the commands that install the bot of c, one for each way in
// which Nextcloud can run; if it is installed with another address, those that
// replace it. CodeNotFound if it is not known at which address it is reached.
func (d *Desk) Occ(ctx context.Context, c config.Config, key bridge.Secret) ([]bridge.Commands, error) {
	d.mu.Lock()
	a, installed := d.app, d.view.installed
	d.mu.Unlock()
	tunnel := ""
	if a != nil && a.current.Load().config.Tunnel == c.Tunnel {
		tunnel = a.tunnelState().Address
	}
	address := Address(c, c.Webhook.Listen, tunnel)
	if address == "" {
		return nil, &bridge.Error{
			Code: bridge.CodeNotFound,
			Text: bridge.Say("The address is not known yet"),
			Hint: bridge.Say("Choose how Nextcloud reaches this computer, and apply."),
		}
	}
	bot := Bot{Name: "Perch", Secret: key, Address: address}
	if installed != address {
		bot.Old = installed
	}
	if bot.Old != "" {
		bot.Rooms = d.rooms(ctx)
	}
	masked := bot
	masked.Secret = bridge.NewSecret("••••••")
	names := map[string]string{"host": "Bare metal", "docker": "Docker", "aio": "AIO", "snap": "Snap"}
	var all []bridge.Commands
	for _, server := range Servers() {
		all = append(all, bridge.Commands{
			Server: names[server],
			Lines:  strings.Join(bot.Install(server), "\n"),
			Shown:  strings.Join(masked.Install(server), "\n"),
		})
	}
	return all, nil
}

// LocalAddresses returns this machine's addresses in its own networks, as
// they stand in a URL.
func (d *Desk) LocalAddresses() []string {
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
func (d *Desk) Models(ctx context.Context, h config.Handler, key bridge.Secret) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	pool, err := d.certPool()
	if err != nil {
		return nil, err
	}
	return handler.Models(ctx, h.BaseURL, key, pool)
}

func (d *Desk) certPool() (*x509.CertPool, error) {
	c, _, _ := d.Config()
	return c.Talk.CertPool(filepath.Dir(d.Home.ConfigFile()))
}

// hostOf returns the host of an address, for a person.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}
