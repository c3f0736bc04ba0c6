package app_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/tunnel/tunneltest"
)

// throughTunnel starts a bot behind an edge, and a server that knows it by the
// edge's public side.
func throughTunnel(t *testing.T, edge *tunneltest.Edge, change func(*config.Config, bridge.SecretStore)) *world {
	t.Helper()
	secrets := secret.Memory()
	w := newWorldWith(t, practice.Options{}, secrets, edge.Getenv, func(c *config.Config) { change(c, secrets) })
	check(t, w.server.UninstallBot(w.url()))
	bot, err := w.server.InstallBot(practice.Bot{Name: "Perch", URL: edge.URL + w.cfg.Webhook.Path, Secret: key})
	check(t, err)
	edge.Wait(1)
	_, err = w.server.EnableBot(t.Context(), w.room, bot)
	check(t, err)
	return w
}

func quick(c *config.Config, _ bridge.SecretStore) { c.Tunnel.Mode = config.TunnelQuick }

func TestThroughAQuickTunnel(t *testing.T) {
	edge := tunneltest.New(t)
	w := throughTunnel(t, edge, func(c *config.Config, secrets bridge.SecretStore) {
		quick(c, secrets)
		c.Notify.Listen = "127.0.0.1:0"
		check(t, secrets.Set(t.Context(), bridge.NotifyToken, bridge.NewSecret(strings.Repeat("n", 40))))
	})
	w.await("The tunnel is online at https://")
	if got := w.ask("!ping"); got != "pong" {
		t.Errorf("answered %q", got)
	}
	for path, want := range map[string]int{
		"/healthz": http.StatusNotFound, "/nextcloud-talk/": http.StatusNotFound, "/": http.StatusNotFound, "/debug/pprof/": http.StatusNotFound,
		"/metrics": http.StatusNotFound, "/v1/rooms/" + w.room + "/messages": http.StatusNotFound,
	} {
		r, err := http.Get(edge.URL + path)
		check(t, err)
		check(t, r.Body.Close())
		if r.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, r.StatusCode, want)
		}
	}

	installed, present, err := app.Addresses(t.Context(), w.home)
	check(t, err)
	if installed == "" || installed != present || !strings.HasPrefix(present, "https://") || !strings.HasSuffix(present, "/nextcloud-talk") {
		t.Errorf("installed at %q, is at %q", installed, present)
	}

	w.stop()
	w.start()
	w.await("The tunnel is online at " + strings.TrimSuffix(present, "/nextcloud-talk"))
	if n := edge.QuickRequests(); n != 1 {
		t.Errorf("%d quick tunnels were requested for two starts", n)
	}

	// Its credentials stand in no file as they are.
	home, err := os.OpenRoot(w.home.DataDir)
	check(t, err)
	files, err := fs.Glob(home.FS(), "*")
	check(t, err)
	for _, name := range files {
		data, err := home.ReadFile(name)
		if err == nil && bytes.Contains(data, []byte(`"secret"`)) {
			t.Errorf("%s has the tunnel's credentials", name)
		}
	}

	// Another webhook secret opens them no more.
	w.stop()
	check(t, w.secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(strings.Repeat("x", 48))))
	w.start()
	w.await("The tunnel is online")
	if n := edge.QuickRequests(); n != 2 {
		t.Errorf("%d quick tunnels were requested after the secret changed", n)
	}
	check(t, w.secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(key)))

	// Cloudflare forgets the tunnel: the next one has another address.
	w.stop()
	edge.Revoke()
	w.start()
	e := w.await("Talk has the bot at " + installed)
	if !strings.Contains(e.Hint.String(), "occ talk:bot:uninstall --url='"+installed+"'") {
		t.Errorf("the hint is %q", e.Hint)
	}
}

func TestThroughANamedTunnel(t *testing.T) {
	edge := tunneltest.New(t)
	token, hostname := edge.Named()
	w := throughTunnel(t, edge, func(c *config.Config, secrets bridge.SecretStore) {
		c.Tunnel.Mode, c.Tunnel.Hostname = config.TunnelNamed, hostname
		check(t, secrets.Set(t.Context(), bridge.TunnelToken, bridge.NewSecret(token)))
	})
	if e := w.await("The tunnel is online"); !strings.Contains(e.Title.String(), hostname) {
		t.Errorf("online: %s", e.Title)
	}
	if got := w.ask("!ping"); got != "pong" {
		t.Errorf("answered %q", got)
	}

	// Another mode takes effect at once.
	w.cfg.Tunnel.Mode = config.TunnelOff
	w.save()
	w.await("The tunnel is closed")
	r, err := http.Get(edge.URL + "/healthz")
	check(t, err)
	check(t, r.Body.Close())
	if r.StatusCode == http.StatusOK {
		t.Error("it can still be reached from outside")
	}
}

func TestTunnelTrouble(t *testing.T) {
	edge := tunneltest.New(t)
	edge.AnswerQuick(func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte("error code: 1015"))
	})
	w := newWorldWith(t, practice.Options{}, secret.Memory(), edge.Getenv, func(c *config.Config) { quick(c, nil) })
	e := w.await("The tunnel cannot be opened")
	if !strings.Contains(e.Reason.String(), "Too many quick tunnels") || e.Hint.IsZero() {
		t.Errorf("the event is %+v", e)
	}
	w.cfg.Tunnel.Mode, w.cfg.Tunnel.Hostname = config.TunnelNamed, "bot.example.com"
	w.save()
	if e = w.await("The tunnel cannot be opened"); !strings.Contains(e.Hint.String(), "perch secret set tunnel_token") {
		t.Errorf("without a token the hint is %q", e.Hint)
	}
	// It listens nevertheless.
	if got := w.ask("!ping"); got != "pong" {
		t.Errorf("answered %q", got)
	}
}
